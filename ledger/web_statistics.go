package ledger

import (
	"context"
	"time"
)

// ChainSum is what stands in the chain within a span.
type ChainSum struct {
	Blocks  int64
	Subsidy int64 // satoshis
}

// subsidySumSQL uses chain_block_time alone.
const subsidySumSQL = `
SELECT count(*) AS blocks, least(coalesce(sum(subsidy), 0), 9e18)::bigint AS subsidy FROM pool_chain_block
WHERE network_id = $1 AND block_time >= $2 AND block_time < $3`

// SubsidySum sums all blocks of the best chain whose time lies within [from, to).
func (s *WebStore) SubsidySum(ctx context.Context, networkID int16, from, to time.Time) (sum ChainSum, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err = s.getRow(ctx, &sum, subsidySumSQL, networkID, storedTime(from), storedTime(to))
	return sum, wrap(ctx, "sum subsidies", err)
}

// DayFigures are a network's numbers of one day.
type DayFigures struct {
	Day        time.Time // its beginning, UTC
	Shares     int64
	Rejected   int64
	PoolBlocks int64 `db:"blocks"`
	AllBlocks  int64 `db:"all_blocks"`
	Mined      int64 // rewards of the pool's blocks, satoshis
}

// Statistics are a network's numbers of the last day and week.
type Statistics struct {
	At              time.Time
	AllBlocks       int64        `db:"all_blocks"` // of the chain, in 24 hours
	PoolBlocks      int64        `db:"pool_blocks"`
	Mined           int64        // rewards of the pool's blocks in 24 hours, satoshis
	MinersCredited  int64        `db:"miners_moved"` // with a movement of their balance in 24 hours, as of the last roll-up
	SharesDay       int64        `db:"shares"`       // credited, in the last 24 hours
	RejectedDay     int64        `db:"rejected"`
	Days            []DayFigures // today last
	Reasons         []Refusals   // of 24 hours, the most frequent first
	Luck            float64      // what was expected / what it took, of the blocks below; negative: unknown
	LuckBlocks      int64        `db:"luck_blocks"`
	MeanRoundHashes float64      `db:"mean_hashes"`
}

// Refusals counts refused shares by reason.
type Refusals struct {
	Reason string
	Count  int64
}

// statisticsSQL uses chain_block_time alone, block_seen, network_minute_pkey,
// and for the luck of the last hundred blocks block_height.
const statisticsSQL = `
SELECT (SELECT count(*) FROM pool_chain_block WHERE network_id = $1 AND block_time > CAST($2 AS timestamptz) - interval '24 hours' AND block_time <= $2) AS all_blocks,
       p.blocks AS pool_blocks, p.mined, coalesce(n.miners_moved, 0) AS miners_moved,
       coalesce(h.shares, 0)::bigint AS shares, coalesce(h.rejected, 0)::bigint AS rejected,
       l.blocks AS luck_blocks, l.luck, l.mean_hashes
FROM (SELECT count(*) AS blocks, coalesce(sum(reward), 0)::bigint AS mined FROM pool_block
      WHERE network_id = $1 AND main AND state <> 'orphaned' AND block_time > CAST($2 AS timestamptz) - interval '24 hours' AND block_time <= $2
        AND seen_at > CAST($2 AS timestamptz) - interval '3 days') AS p
CROSS JOIN (SELECT sum(shares) AS shares, sum(rejected) AS rejected FROM pool_network_minute
      WHERE network_id = $1 AND minute > CAST($2 AS timestamptz) - interval '24 hours' AND minute <= $2) AS h
CROSS JOIN (SELECT count(*) AS blocks, coalesce((sum(hashes) / nullif(sum(weight), 0))::float8, -1) AS luck, coalesce(avg(weight), 0)::float8 AS mean_hashes
      FROM (SELECT b.hashes, t.weight FROM pool_block b JOIN pool_round r ON r.block_id = b.id JOIN pool_round_total t ON t.round_id = r.id
            WHERE b.network_id = $1 AND b.main AND b.state <> 'orphaned' AND b.hashes > 0
            ORDER BY b.height DESC LIMIT 100) AS last) AS l
LEFT JOIN pool_network_recent n ON n.network_id = $1`

// weekSQL: days are UTC days, half-open, from $3 on; up to $4 in whole hours that
// are rolled up. Uses network_hour_pkey, network_minute_pkey, chain_block_time
// alone, and block_seen.
const weekSQL = `
SELECT date_trunc('day', hour, 'UTC') AS day, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected, 0 AS all_blocks, 0 AS blocks, 0 AS mined
FROM pool_network_hour WHERE network_id = $1 AND hour >= $3 AND hour < $4 GROUP BY 1
UNION ALL
SELECT date_trunc('day', minute, 'UTC'), sum(shares)::bigint, sum(rejected)::bigint, 0, 0, 0
FROM pool_network_minute WHERE network_id = $1 AND minute >= greatest($3, $4) AND minute <= $2 GROUP BY 1
UNION ALL
SELECT date_trunc('day', block_time, 'UTC'), 0, 0, count(*), 0, 0
FROM pool_chain_block WHERE network_id = $1 AND block_time >= $3 AND block_time <= $2 GROUP BY 1
UNION ALL
SELECT date_trunc('day', block_time, 'UTC'), 0, 0, 0, count(*), coalesce(sum(reward), 0)::bigint
FROM pool_block WHERE network_id = $1 AND main AND state <> 'orphaned' AND block_time >= $3 AND block_time <= $2
  AND seen_at >= CAST($3 AS timestamptz) - interval '1 day' GROUP BY 1`

// reasonsSQL uses network_reject_hour_pkey.
const reasonsSQL = `
SELECT reason, sum(rejected)::bigint AS count FROM pool_network_reject_hour
WHERE network_id = $1 AND hour > CAST($2 AS timestamptz) - interval '24 hours' AND hour <= $2
GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 40`

// firstOfWeek is the first of seven UTC days that end with today.
func firstOfWeek(now time.Time) time.Time {
	return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -6)
}

// dayIndex is the place of a day in a week; what lies outside goes to its ends.
func dayIndex(first, day time.Time) int {
	return min(max(int(day.Sub(first)/(24*time.Hour)), 0), 6)
}

// Statistics returns the numbers of the statistics page.
func (s *WebStore) Statistics(ctx context.Context, networkID int16, now time.Time) (Statistics, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	st := Statistics{At: now}
	if err := s.getRow(ctx, &st, statisticsSQL, networkID, now); err != nil {
		return Statistics{}, wrap(ctx, "read statistics of the day", err)
	}
	var days []DayFigures
	first := firstOfWeek(now)
	if err := s.selectRows(ctx, &days, weekSQL, networkID, now, first, rolledHour(now)); err != nil {
		return Statistics{}, wrap(ctx, "read statistics of the week", err)
	}
	st.Days = make([]DayFigures, 7)
	for i := range st.Days {
		st.Days[i].Day = first.AddDate(0, 0, i)
	}
	for _, d := range days {
		f := &st.Days[dayIndex(first, d.Day)]
		f.Shares, f.Rejected = f.Shares+d.Shares, f.Rejected+d.Rejected
		f.PoolBlocks, f.AllBlocks, f.Mined = f.PoolBlocks+d.PoolBlocks, f.AllBlocks+d.AllBlocks, f.Mined+d.Mined
	}
	err := s.selectRows(ctx, &st.Reasons, reasonsSQL, networkID, now)
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
	HashesDay       int64  `db:"rate_day"` // hashes per second, over the day or since he came
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
	err := s.selectRows(ctx, &list, `
		SELECT m.miner_id, a.address, m.workers, m.shares, m.rejected, m.weight::text AS weight,
		       least(m.weight_short / greatest(extract(epoch FROM n.rolled_at - n.short_since), 1), 9e18)::bigint AS rate,
		       least(m.weight / greatest(extract(epoch FROM n.rolled_at - greatest(n.day_since, a.created_at)), 600), 9e18)::bigint AS rate_day
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
	err := s.selectRows(ctx, &rows, `
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
