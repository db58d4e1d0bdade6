package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// WebStore is the ledger as the pages may read it: through the views named
// pool_…, in which there are no IP addresses and no e-mail addresses. It reads
// roll-ups and never counts shares.
//
// Methods that look back take the moment from which they look, so that a page
// and its tests have one clock.
//
// Its queries are prepared: planned once for each connection and not for each
// visitor, since planning a query over many partitions takes longer than
// running it.
type WebStore struct {
	*conn

	mu    sync.Mutex // guards stmts
	stmts map[string]*sqlx.Stmt
}

// OpenWeb opens the ledger with the web's role. It does not wait for the
// server: a database that is away shows at the first call (see Ping).
func OpenWeb(_ context.Context, dsn string, opts Options) (*WebStore, error) {
	opts = opts.withDefaults()
	db, err := openDB(dsn, opts, map[string]string{
		"application_name": "purepool-web",
		// Every query finds its rows by an index, whatever it is asked for.
		"plan_cache_mode": "force_generic_plan", "jit": "off",
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &WebStore{conn: &conn{db: db, opts: opts, now: time.Now}, stmts: map[string]*sqlx.Stmt{}}, nil
}

// prepared returns a query of this package in its prepared form, made with the
// first call that finds the database there.
func (s *WebStore) prepared(ctx context.Context, query string) (*sqlx.Stmt, error) {
	s.mu.Lock()
	stmt := s.stmts[query]
	s.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.PreparexContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.stmts[query]; other != nil { // made meanwhile
		_ = stmt.Close()
		return other, nil
	}
	if s.stmts == nil { // a store within another one
		s.stmts = make(map[string]*sqlx.Stmt)
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// selectRows reads all rows of a query into a slice of structs.
func (s *WebStore) selectRows(ctx context.Context, rows any, query string, args ...any) error {
	stmt, err := s.prepared(ctx, query)
	if err != nil {
		return err
	}
	return stmt.SelectContext(ctx, rows, args...)
}

// getRow reads one row into a struct; sql.ErrNoRows.
func (s *WebStore) getRow(ctx context.Context, row any, query string, args ...any) error {
	stmt, err := s.prepared(ctx, query)
	if err != nil {
		return err
	}
	return stmt.GetContext(ctx, row, args...)
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
	// BlockHashes is how many hashes a block takes on average, by the newest block
	// of the chain, or where its target is not known by the newest of the pool, at
	// height BlockHashesAt; 0: unknown.
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

// rolledHour is up to where hours are taken for rolled up: a backend does so
// every half minute, and late shares come within minutes.
func rolledHour(now time.Time) time.Time {
	return now.Add(-2 * time.Hour).UTC().Truncate(time.Hour)
}

// pulseSQL reads a few minutes, at most a few thousand hours, and the ends of
// some indexes. A round is ended in the books only when its block is deep enough:
// what is told here begins with the newest block. Its hours up to $4 come from
// network_hour, since they are rolled up. The first round of all begins in 1970.
const pulseSQL = `
WITH open AS (SELECT scheme, greatest(from_at, (SELECT max(seen_at) FROM pool_block
        WHERE network_id = $1 AND main AND state <> 'orphaned' AND seen_at <= $2)) AS from_at
    FROM pool_round WHERE network_id = $1 AND state = 'open' LIMIT 1)
SELECT least(coalesce(m.weight, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($3 AS timestamptz)), 1), 9e18)::bigint AS rate,
       coalesce(m.shares, 0)::bigint AS shares,
       (SELECT minute FROM pool_network_minute WHERE network_id = $1 AND minute <= $2 AND minute > CAST($2 AS timestamptz) - interval '1 day' AND shares > 0
        ORDER BY minute DESC LIMIT 1) AS last_share,
       t.height AS tip_height, t.seen_at AS tip_at, c.height AS chain_height, c.block_time AS chain_at,
       n.miners, n.workers, n.miners_day, n.rolled_at,
       o.from_at AS round_since, coalesce(o.scheme, '') AS scheme,
       (coalesce((SELECT sum(weight) FROM pool_network_minute WHERE network_id = $1 AND minute <= $2
            AND minute >= greatest(CAST($4 AS timestamptz), date_trunc('minute', o.from_at))), 0)
      + coalesce((SELECT sum(weight) FROM pool_network_hour WHERE network_id = $1 AND hour < $4
            AND hour >= o.from_at), 0)
      + coalesce((SELECT sum(weight) FROM pool_network_minute WHERE network_id = $1 AND o.from_at > '1970-01-02' AND minute < $4
            AND minute >= date_trunc('minute', o.from_at) AND minute < date_trunc('hour', o.from_at, 'UTC') + interval '1 hour'
            AND o.from_at > date_trunc('hour', o.from_at, 'UTC')), 0))::float8 AS round_hashes,
       coalesce(c.hashes, b.hashes, 0)::float8 AS block_hashes, CASE WHEN c.hashes IS NULL THEN coalesce(b.height, 0) ELSE c.height END AS block_height
FROM (SELECT sum(weight) AS weight, sum(shares) AS shares FROM pool_network_minute
      WHERE network_id = $1 AND minute >= $3 AND minute <= $2) AS m
LEFT JOIN open o ON true
LEFT JOIN LATERAL (SELECT height, seen_at FROM pool_tip WHERE network_id = $1 AND seen_at <= $2 ORDER BY seen_at DESC LIMIT 1) AS t ON true
LEFT JOIN LATERAL (SELECT height, block_time, hashes FROM pool_chain_block WHERE network_id = $1 ORDER BY height DESC LIMIT 1) AS c ON true
LEFT JOIN pool_network_recent n ON n.network_id = $1
LEFT JOIN LATERAL (SELECT hashes, height FROM pool_block WHERE network_id = $1 AND hashes > 0 ORDER BY height DESC LIMIT 1) AS b ON true`

// Pulse returns a network as it is at that moment.
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
	if err := s.getRow(ctx, &row, pulseSQL, networkID, now, now.Add(-shortWindow).Truncate(time.Minute), rolledHour(now)); err != nil {
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
	if err := s.selectRows(ctx, &rows, blocksSQL, networkID, limit, height, id); err != nil {
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
