package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// WebStore is the ledger as the pages may read it: through the views named
// pool_…, in which there are no IP addresses and no e-mail addresses. It reads
// roll-ups and never counts shares.
//
// Methods that look back take the moment from which they look, so that a page
// and its tests have one clock.
type WebStore struct{ *conn }

// OpenWeb opens the ledger with the web's role. It does not wait for the
// server: a database that is away shows at the first call (see Ping).
func OpenWeb(_ context.Context, dsn string, opts Options) (*WebStore, error) {
	c, err := open(dsn, "purepool-web", opts)
	if err != nil {
		return nil, err
	}
	return &WebStore{c}, nil
}

// Networks returns the ids of the networks by name.
func (s *WebStore) Networks(ctx context.Context) (map[string]int16, error) {
	return s.networks(ctx, "pool_network")
}

// NetworkPulse is a network at a moment: what a page shows first and what
// changes while one looks.
type NetworkPulse struct {
	At              time.Time
	HashesPerSecond int64     // the pool's, over the last ten minutes, from credited shares
	SharesRecent    int64     // credited in those ten minutes
	LastShareAt     time.Time // to the minute; zero: none within a day
	Height          int32     // of the chain; 0: unknown
	HeightAt        time.Time // when that block came; zero: unknown

	Miners    int64     // with a worker online
	Workers   int64     // online
	MinersDay int64     // with a credited share in a day
	RolledAt  time.Time // when those three were counted; zero: never

	RoundSince  time.Time // when the pool's newest block came; zero: since ever
	RoundHashes float64   // expected hashes of the shares since, to the minute
	// BlockHashes is how many hashes a block takes on average, by the pool's newest
	// block at height BlockHashesAt; 0: unknown.
	BlockHashes   float64
	BlockHashesAt int32
	Scheme        string // of the open round

	LastBlock *PoolBlock // the pool's newest; nil: none
}

// Effort is what the open round has cost so far, 1 being what a block costs on
// average. False where that is not known.
func (p *NetworkPulse) Effort() (float64, bool) {
	if p.BlockHashes <= 0 {
		return 0, false
	}
	return p.RoundHashes / p.BlockHashes, true
}

// pulseSQL reads a few minutes, at most a few thousand hours, and the ends of
// some indexes. A round is ended in the books only when its block is deep enough:
// what is told here begins with the newest block. Its hours that are rolled up
// come from network_hour.
const pulseSQL = `
WITH cut AS (SELECT date_trunc('hour', CAST($2 AS timestamptz) - interval '2 hours', 'UTC') AS at),
open AS (SELECT scheme, greatest(from_at, (SELECT max(seen_at) FROM pool_block
        WHERE network_id = $1 AND main AND state <> 'orphaned' AND seen_at <= $2)) AS from_at
    FROM pool_round WHERE network_id = $1 AND state = 'open' LIMIT 1)
SELECT least(coalesce(m.weight, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($3 AS timestamptz)), 1), 9e18)::bigint AS rate,
       coalesce(m.shares, 0)::bigint AS shares,
       (SELECT minute FROM pool_network_minute WHERE network_id = $1 AND minute <= $2 AND minute > CAST($2 AS timestamptz) - interval '1 day' AND shares > 0
        ORDER BY minute DESC LIMIT 1) AS last_share,
       t.height AS tip_height, t.seen_at AS tip_at, c.height AS chain_height, c.block_time AS chain_at,
       n.miners, n.workers, n.miners_day, n.rolled_at,
       (SELECT from_at FROM open) AS round_since, coalesce((SELECT scheme FROM open), '') AS scheme,
       (coalesce((SELECT sum(weight) FROM pool_network_minute, cut WHERE network_id = $1 AND minute <= $2
            AND minute >= greatest(cut.at, date_trunc('minute', (SELECT from_at FROM open)))), 0)
      + coalesce((SELECT sum(weight) FROM pool_network_hour, cut WHERE network_id = $1 AND hour < cut.at
            AND hour >= (SELECT from_at FROM open)), 0)
      + coalesce((SELECT sum(weight) FROM pool_network_minute, cut, open WHERE network_id = $1 AND from_at > '1970-01-02' AND minute < cut.at
            AND minute >= date_trunc('minute', from_at) AND minute < date_trunc('hour', from_at, 'UTC') + interval '1 hour'
            AND from_at > date_trunc('hour', from_at, 'UTC')), 0))::float8 AS round_hashes,
       coalesce(b.hashes, 0)::float8 AS block_hashes, coalesce(b.height, 0) AS block_height
FROM (SELECT sum(weight) AS weight, sum(shares) AS shares FROM pool_network_minute
      WHERE network_id = $1 AND minute >= $3 AND minute <= $2) AS m
LEFT JOIN LATERAL (SELECT height, seen_at FROM pool_tip WHERE network_id = $1 AND seen_at <= $2 ORDER BY seen_at DESC LIMIT 1) AS t ON true
LEFT JOIN LATERAL (SELECT height, block_time FROM pool_chain_block WHERE network_id = $1 ORDER BY height DESC LIMIT 1) AS c ON true
LEFT JOIN pool_network_recent n ON n.network_id = $1
LEFT JOIN LATERAL (SELECT hashes, height FROM pool_block WHERE network_id = $1 AND hashes > 0 ORDER BY height DESC LIMIT 1) AS b ON true`

// Pulse returns a network as it is at that moment, in one query and that of its
// newest block.
func (s *WebStore) Pulse(ctx context.Context, networkID int16, now time.Time) (NetworkPulse, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	var row struct {
		Rate, Shares int64
		LastShare    sql.NullTime  `db:"last_share"`
		TipHeight    sql.NullInt32 `db:"tip_height"`
		TipAt        sql.NullTime  `db:"tip_at"`
		ChainHeight  sql.NullInt32 `db:"chain_height"`
		ChainAt      sql.NullTime  `db:"chain_at"`
		Miners       sql.NullInt64
		Workers      sql.NullInt64
		MinersDay    sql.NullInt64 `db:"miners_day"`
		RolledAt     sql.NullTime  `db:"rolled_at"`
		RoundSince   sql.NullTime  `db:"round_since"`
		Scheme       string
		RoundHashes  float64 `db:"round_hashes"`
		BlockHashes  float64 `db:"block_hashes"`
		BlockHeight  int32   `db:"block_height"`
	}
	if err := s.db.GetContext(ctx, &row, pulseSQL, networkID, now, now.Add(-shortWindow).Truncate(time.Minute)); err != nil {
		return NetworkPulse{}, wrap(ctx, "read pulse", err)
	}
	p := NetworkPulse{
		At: now, HashesPerSecond: row.Rate, SharesRecent: row.Shares, LastShareAt: utcOrZero(row.LastShare),
		Height: row.ChainHeight.Int32, HeightAt: utcOrZero(row.ChainAt),
		Miners: row.Miners.Int64, Workers: row.Workers.Int64, MinersDay: row.MinersDay.Int64, RolledAt: utcOrZero(row.RolledAt),
		RoundHashes: row.RoundHashes, BlockHashes: row.BlockHashes, BlockHashesAt: row.BlockHeight, Scheme: row.Scheme,
	}
	// The first round of all begins in 1970.
	if row.RoundSince.Valid && row.RoundSince.Time.Year() > 1970 {
		p.RoundSince = row.RoundSince.Time.UTC()
	}
	if row.TipHeight.Valid && row.TipHeight.Int32 > p.Height {
		p.Height, p.HeightAt = row.TipHeight.Int32, utcOrZero(row.TipAt)
	}
	blocks, err := s.poolBlocks(ctx, networkID, 1, math.MaxInt32, 0)
	if err != nil {
		return NetworkPulse{}, wrap(ctx, "read pulse", err)
	}
	if len(blocks) > 0 {
		p.LastBlock = &blocks[0]
	}
	return p, nil
}

// PoolBlock is a block of the pool as pages show it.
type PoolBlock struct {
	ID        int64
	Height    int32
	Hash      [32]byte // display order
	BlockTime time.Time
	SeenAt    time.Time
	Finder    string // address; empty: nobody known
	Reward    int64  // satoshis; -1: unknown
	State     string
	Main      bool // on the best chain
	// Shares, Miners and Hashes are those of its round; 0 while they are not summed up.
	Shares, Miners int64
	// Effort is what its round took, 1 being what a block takes on average;
	// negative: unknown.
	Effort float64
}

// blocksSQL uses block_height. A page ends at (height, id), which is unique.
const blocksSQL = `
SELECT b.id, b.height, b.hash, b.block_time, b.seen_at, coalesce(b.finder, '') AS finder, coalesce(b.reward, -1) AS reward, b.state, b.main,
       coalesce(t.shares, 0)::bigint AS shares, coalesce(t.miners, 0)::bigint AS miners,
       CASE WHEN b.hashes > 0 AND t.round_id IS NOT NULL THEN (t.weight / b.hashes)::float8 ELSE -1 END AS effort
FROM pool_block b
LEFT JOIN pool_round r ON r.block_id = b.id
LEFT JOIN pool_round_total t ON t.round_id = r.id
WHERE b.network_id = $1 AND (b.height, b.id) < ($3, $4)
ORDER BY b.height DESC, b.id DESC LIMIT $2`

func (s *WebStore) poolBlocks(ctx context.Context, networkID int16, limit int, height int32, id int64) ([]PoolBlock, error) {
	var rows []struct {
		ID             int64
		Height         int32
		Hash           []byte
		BlockTime      time.Time `db:"block_time"`
		SeenAt         time.Time `db:"seen_at"`
		Finder         string
		Reward         int64
		State          string
		Main           bool
		Shares, Miners int64
		Effort         float64
	}
	if err := s.db.SelectContext(ctx, &rows, blocksSQL, networkID, limit, height, id); err != nil {
		return nil, err
	}
	blocks := make([]PoolBlock, len(rows))
	for i, r := range rows {
		blocks[i] = PoolBlock{
			ID: r.ID, Height: r.Height, BlockTime: r.BlockTime.UTC(), SeenAt: r.SeenAt.UTC(), Finder: r.Finder, Reward: r.Reward,
			State: r.State, Main: r.Main, Shares: r.Shares, Miners: r.Miners, Effort: r.Effort,
		}
		copy(blocks[i].Hash[:], r.Hash)
	}
	return blocks, nil
}

// Blocks returns blocks of the pool, the newest first, limit at most: those
// before the block with this height and id. For the first page, height is
// math.MaxInt32.
func (s *WebStore) Blocks(ctx context.Context, networkID int16, limit int, height int32, id int64) ([]PoolBlock, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	blocks, err := s.poolBlocks(ctx, networkID, limit, height, id)
	return blocks, wrap(ctx, "list blocks", err)
}

// ChainSum is what stands in the chain within a span.
type ChainSum struct {
	Blocks  int64
	Subsidy int64 // satoshis
}

// SubsidySum sums all blocks of the best chain whose time lies within [from, to).
func (s *WebStore) SubsidySum(ctx context.Context, networkID int16, from, to time.Time) (sum ChainSum, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	// Uses chain_block_time alone.
	err = s.db.QueryRowContext(ctx, `SELECT count(*), least(coalesce(sum(subsidy), 0), 9e18)::bigint FROM pool_chain_block
		WHERE network_id = $1 AND block_time >= $2 AND block_time < $3`, networkID, storedTime(from), storedTime(to)).Scan(&sum.Blocks, &sum.Subsidy)
	return sum, wrap(ctx, "sum subsidies", err)
}

// DayFigures are a network's numbers of one day.
type DayFigures struct {
	Day        time.Time // its beginning, UTC
	Shares     int64
	Rejected   int64
	PoolBlocks int64
	AllBlocks  int64
	Mined      int64 // rewards of the pool's blocks, satoshis
}

// Statistics are a network's numbers of the last day and week.
type Statistics struct {
	At              time.Time
	AllBlocks       int64 // of the chain, in 24 hours
	PoolBlocks      int64
	Mined           int64 // rewards of the pool's blocks in 24 hours, satoshis
	MinersCredited  int64 // with a movement of their balance in 24 hours
	SharesDay       int64 // credited, in the last 24 hours, to the hour
	RejectedDay     int64
	Days            []DayFigures // today last
	Reasons         []Refusals   // of 24 hours, the most frequent first
	Luck            float64      // what was expected / what it took, of the blocks below; negative: unknown
	LuckBlocks      int64
	MeanRoundHashes float64
}

// Refusals counts refused shares by reason.
type Refusals struct {
	Reason string
	Count  int64
}

const daySQL = `
SELECT (SELECT count(*) FROM pool_chain_block WHERE network_id = $1 AND block_time > CAST($2 AS timestamptz) - interval '24 hours' AND block_time <= $2) AS all_blocks,
       p.blocks, p.mined,
       (SELECT count(*) FROM pool_account WHERE network_id = $1 AND kind = 'miner' AND moved_at > CAST($2 AS timestamptz) - interval '24 hours' AND moved_at <= $2) AS credited,
       coalesce(h.shares, 0)::bigint AS shares, coalesce(h.rejected, 0)::bigint AS rejected
FROM (SELECT count(*) AS blocks, coalesce(sum(reward), 0)::bigint AS mined FROM pool_block
      WHERE network_id = $1 AND main AND state <> 'orphaned' AND block_time > CAST($2 AS timestamptz) - interval '24 hours' AND block_time <= $2
        AND seen_at > CAST($2 AS timestamptz) - interval '3 days') AS p,
     (SELECT sum(shares) AS shares, sum(rejected) AS rejected FROM pool_network_minute
      WHERE network_id = $1 AND minute > CAST($2 AS timestamptz) - interval '24 hours' AND minute <= $2) AS h`

// weekSQL: days are UTC days, half-open, from $3 on. Uses network_minute_pkey,
// chain_block_time alone, and block_seen.
const weekSQL = `
SELECT date_trunc('day', minute, 'UTC') AS day, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected, 0 AS all_blocks, 0 AS blocks, 0 AS mined
FROM pool_network_minute WHERE network_id = $1 AND minute >= $3 AND minute <= $2 GROUP BY 1
UNION ALL
SELECT date_trunc('day', block_time, 'UTC'), 0, 0, count(*), 0, 0
FROM pool_chain_block WHERE network_id = $1 AND block_time >= $3 AND block_time <= $2 GROUP BY 1
UNION ALL
SELECT date_trunc('day', block_time, 'UTC'), 0, 0, 0, count(*), coalesce(sum(reward), 0)::bigint
FROM pool_block WHERE network_id = $1 AND main AND state <> 'orphaned' AND block_time >= $3 AND block_time <= $2
  AND seen_at >= CAST($3 AS timestamptz) - interval '1 day' GROUP BY 1`

// luckSQL compares the last hundred blocks whose rounds are summed up.
const luckSQL = `
SELECT count(*), coalesce((sum(hashes) / nullif(sum(weight), 0))::float8, -1), coalesce(avg(weight), 0)::float8
FROM (SELECT b.hashes, t.weight FROM pool_block b JOIN pool_round r ON r.block_id = b.id JOIN pool_round_total t ON t.round_id = r.id
      WHERE b.network_id = $1 AND b.main AND b.state <> 'orphaned' AND b.hashes > 0
      ORDER BY b.height DESC LIMIT 100) AS l`

// firstOfWeek is the first of seven UTC days that end with today.
func firstOfWeek(now time.Time) time.Time {
	return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -6)
}

// Statistics returns the numbers of the statistics page.
func (s *WebStore) Statistics(ctx context.Context, networkID int16, now time.Time) (Statistics, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	st := Statistics{At: now}
	err := s.db.QueryRowContext(ctx, daySQL, networkID, now).
		Scan(&st.AllBlocks, &st.PoolBlocks, &st.Mined, &st.MinersCredited, &st.SharesDay, &st.RejectedDay)
	if err != nil {
		return Statistics{}, wrap(ctx, "read statistics of the day", err)
	}
	var days []struct {
		Day              time.Time
		Shares, Rejected int64
		AllBlocks        int64 `db:"all_blocks"`
		Blocks, Mined    int64
	}
	first := firstOfWeek(now)
	if err := s.db.SelectContext(ctx, &days, weekSQL, networkID, now, first); err != nil {
		return Statistics{}, wrap(ctx, "read statistics of the week", err)
	}
	st.Days = make([]DayFigures, 7)
	for i := range st.Days {
		st.Days[i].Day = first.AddDate(0, 0, i)
	}
	for _, d := range days {
		f := &st.Days[min(max(int(d.Day.Sub(first)/(24*time.Hour)), 0), 6)]
		f.Shares, f.Rejected = f.Shares+d.Shares, f.Rejected+d.Rejected
		f.PoolBlocks, f.AllBlocks, f.Mined = f.PoolBlocks+d.Blocks, f.AllBlocks+d.AllBlocks, f.Mined+d.Mined
	}
	if err := s.db.QueryRowContext(ctx, luckSQL, networkID).Scan(&st.LuckBlocks, &st.Luck, &st.MeanRoundHashes); err != nil {
		return Statistics{}, wrap(ctx, "read luck", err)
	}
	// Uses reject_hour_hour.
	err = s.db.SelectContext(ctx, &st.Reasons, `SELECT reason, sum(rejected)::bigint AS count FROM pool_reject_hour
		WHERE network_id = $1 AND hour > CAST($2 AS timestamptz) - interval '24 hours' AND hour <= $2 GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 40`, networkID, now)
	return st, wrap(ctx, "read refusals", err)
}

// RecentMiner is a miner of the last day.
type RecentMiner struct {
	MinerID         int64 `db:"miner_id"`
	Address         string
	Workers         int64 // online
	Shares          int64 // credited in a day, to the hour
	Rejected        int64
	HashesPerSecond int64  `db:"rate"`     // over ten minutes
	HashesDay       int64  `db:"rate_day"` // hashes per second, over the day
	Weight          string // expected hashes of the day, a whole number: orders the list
}

// Miners returns those who worked in the last day, those who did most first,
// limit at most, after a position that came with the page before (weight and
// miner; empty and 0 begin).
func (s *WebStore) Miners(ctx context.Context, networkID int16, limit int, weight string, minerID int64) ([]RecentMiner, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var after any
	if weight != "" {
		after = weight
	}
	var list []RecentMiner
	// Uses miner_recent_rank, and miner_pkey for those who are listed.
	err := s.db.SelectContext(ctx, &list, `
		SELECT m.miner_id, a.address, m.workers, m.shares, m.rejected, m.weight::text AS weight,
		       least(m.weight_short / greatest(extract(epoch FROM n.rolled_at - n.short_since), 1), 9e18)::bigint AS rate,
		       least(m.weight / greatest(extract(epoch FROM n.rolled_at - n.day_since), 1), 9e18)::bigint AS rate_day
		FROM (SELECT * FROM pool_miner_recent
		      WHERE network_id = $1 AND (CAST($3 AS numeric) IS NULL OR weight < $3 OR weight = $3 AND miner_id > $4)
		      ORDER BY weight DESC, miner_id LIMIT $2) AS m
		JOIN pool_miner a ON a.id = m.miner_id
		JOIN pool_network_recent n ON n.network_id = $1
		ORDER BY m.weight DESC, m.miner_id`, networkID, limit, after, minerID)
	return list, wrap(ctx, "list miners", err)
}

// Transaction is a payment of the pool as pages show it.
type Transaction struct {
	ID            int64
	State         string
	TxID          [32]byte // display order; zero: none yet
	NetworkFee    int64    // satoshis; -1: unknown
	Confirmations int32
	Miners        int64
	Amount        int64 // satoshis, the network's fee included
	CreatedAt     time.Time
	StateAt       time.Time
}

// Transactions returns payments of a network, the newest first: those before
// this id (math.MaxInt64 begins). Payments that were taken back are left out.
func (s *WebStore) Transactions(ctx context.Context, networkID int16, limit int, before int64) ([]Transaction, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		ID            int64
		State         string
		TxID          []byte `db:"txid"`
		NetworkFee    int64  `db:"network_fee"`
		Confirmations int32
		Miners        int64
		Amount        int64
		CreatedAt     time.Time `db:"created_at"`
		StateAt       time.Time `db:"state_at"`
	}
	// Uses payment_network and payment_item_payment_id_miner_id_key.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT t.id, t.state, t.txid, coalesce(t.network_fee, -1) AS network_fee, t.confirmations, t.created_at, t.state_at, i.miners, i.amount
		FROM (SELECT * FROM pool_transaction WHERE network_id = $1 AND id < $3 AND state <> 'cancelled' ORDER BY id DESC LIMIT $2) AS t
		CROSS JOIN LATERAL (SELECT count(*) AS miners, coalesce(sum(amount), 0)::bigint AS amount FROM pool_payment p
			WHERE p.payment_id = t.id AND p.item_state IN ('planned', 'paid')) AS i
		ORDER BY t.id DESC`, networkID, limit, before)
	list := make([]Transaction, len(rows))
	for i, r := range rows {
		list[i] = Transaction{
			ID: r.ID, State: r.State, NetworkFee: r.NetworkFee, Confirmations: r.Confirmations, Miners: r.Miners, Amount: r.Amount,
			CreatedAt: r.CreatedAt.UTC(), StateAt: r.StateAt.UTC(),
		}
		copy(list[i].TxID[:], r.TxID)
	}
	return list, wrap(ctx, "list payments", err)
}

// ErrBadSpan: a series was asked for a span that there is none for.
var ErrBadSpan = errors.New("no such span: day, week or month")

// Point is one step of a series.
type Point struct {
	At              time.Time // its beginning
	HashesPerSecond int64
	Shares          int64
	Rejected        int64
}

// Series is a hash rate over time, without gaps.
type Series struct {
	Span   string
	Step   time.Duration
	Until  time.Time
	Points []Point
}

// spans says how finely a span is drawn.
var spans = map[string]struct {
	length, step time.Duration
	minutes      bool // from the minutes, otherwise from the hours
}{
	"day":   {24 * time.Hour, 10 * time.Minute, true},
	"week":  {7 * 24 * time.Hour, time.Hour, false},
	"month": {30 * 24 * time.Hour, 4 * time.Hour, false},
}

// NetworkSeries returns the pool's hash rate over a day, week or month.
func (s *WebStore) NetworkSeries(ctx context.Context, networkID int16, span string, now time.Time) (Series, error) {
	sp, ok := spans[span]
	if !ok {
		return Series{}, fmt.Errorf("ledger: %q: %w", span, ErrBadSpan)
	}
	source, column := "pool_network_hour", "hour"
	if sp.minutes {
		source, column = "pool_network_minute", "minute"
	}
	// Uses network_minute_pkey or network_hour_pkey.
	return s.series(ctx, span, sp.length, sp.step, now, `
		SELECT date_bin(make_interval(secs => $4), `+column+`, '2000-01-01Z') AS at,
		       least(sum(weight), 9e18)::bigint AS weight, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected
		FROM `+source+` WHERE network_id = $1 AND `+column+` >= $2 AND `+column+` <= $3 GROUP BY 1`, networkID)
}

// series runs a query with the parameters $1 what, $2 from, $3 to, $4 seconds
// of a step, and fills its gaps.
func (s *WebStore) series(ctx context.Context, span string, length, step time.Duration, now time.Time, query string, what any) (Series, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	from := now.Add(-length).Truncate(step).Add(step)
	var rows []struct {
		At                       time.Time
		Weight, Shares, Rejected int64
	}
	if err := s.db.SelectContext(ctx, &rows, query, what, from, now, step.Seconds()); err != nil {
		return Series{}, wrap(ctx, "read series", err)
	}
	found := make(map[int64]int, len(rows))
	for i, r := range rows {
		found[r.At.Unix()] = i
	}
	out := Series{Span: span, Step: step, Until: now}
	for at := from; !at.After(now); at = at.Add(step) {
		elapsed := min(now.Sub(at), step)
		// A step that has only begun says nothing yet.
		if elapsed < step/2 && len(out.Points) > 0 {
			break
		}
		p := Point{At: at}
		if i, ok := found[at.Unix()]; ok {
			p.Shares, p.Rejected = rows[i].Shares, rows[i].Rejected
			p.HashesPerSecond = rows[i].Weight / max(int64(elapsed/time.Second), 1)
		}
		out.Points = append(out.Points, p)
	}
	return out, nil
}
