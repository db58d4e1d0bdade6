package ledger

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"
)

// FindMiners lists miners for the operator, in the order of their ids.
func (s *BackendStore) FindMiners(ctx context.Context, q MinerQuery) ([]MinerRecord, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if q.Limit <= 0 {
		q.Limit = 100
	}
	var rows []struct {
		ID           int64
		GUID         uuid.UUID
		Address      string
		Enabled      bool
		HashTarget   []byte `db:"hash_target"`
		NetworkID    int16  `db:"network_id"`
		Network      string
		IgnoreShares bool      `db:"ignore_shares"`
		CreatedAt    time.Time `db:"created_at"`
		Workers      int
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT m.id, m.guid, m.address, m.enabled, m.hash_target, m.network_id, n.name AS network, m.ignore_shares, m.created_at,
		       (SELECT count(*) FROM worker w WHERE w.miner_id = m.id) AS workers
		FROM miner m JOIN network n ON n.id = m.network_id
		WHERE ($1 = 0 OR m.network_id = $1)
		  AND ($2 = '' OR m.address = $2)
		  AND ($3 OR m.guid = $4)
		  AND (NOT $5 OR NOT m.enabled)
		  AND starts_with(m.address, $7)
		  AND ($8 = '' OR EXISTS (SELECT FROM worker w WHERE w.miner_id = m.id AND w.name = $8))
		  AND ($9 = 0 OR m.id = $9)
		ORDER BY m.id LIMIT $6`, q.NetworkID, q.Address, q.GUID == uuid.Nil, q.GUID, q.Disabled, q.Limit, q.Prefix, q.Worker, q.ID)
	if err != nil {
		return nil, wrap(ctx, "find miners", err)
	}
	miners := make([]MinerRecord, len(rows))
	for i, r := range rows {
		miners[i] = MinerRecord{
			Miner:     Miner{ID: r.ID, GUID: r.GUID, Address: r.Address, Enabled: r.Enabled, HashTarget: hashPointer(r.HashTarget)},
			NetworkID: r.NetworkID, Network: r.Network, IgnoreShares: r.IgnoreShares, CreatedAt: r.CreatedAt.UTC(), Workers: r.Workers,
		}
	}
	return miners, nil
}

// SetMinerEnabled enables or disables a miner and writes an audit record.
// ErrNoSuchMiner where there is none of this id.
func (s *BackendStore) SetMinerEnabled(ctx context.Context, minerID int64, enabled bool, by Reason) error {
	action := "disable miner"
	if enabled {
		action = "enable miner"
	}
	return s.changeMiner(ctx, minerID, by, action, nil, `UPDATE miner SET enabled = $2 WHERE id = $1`, enabled)
}

// SetIgnoreShares has a miner's shares judged but not credited, or credited
// again, and writes an audit record.
func (s *BackendStore) SetIgnoreShares(ctx context.Context, minerID int64, ignore bool, by Reason) error {
	action := "credit shares"
	if ignore {
		action = "ignore shares"
	}
	return s.changeMiner(ctx, minerID, by, action, nil, `UPDATE miner SET ignore_shares = $2 WHERE id = $1`, ignore)
}

// SetMinerTarget sets or (nil) removes a miner's own hash target and writes an
// audit record. Work that is out keeps its target.
func (s *BackendStore) SetMinerTarget(ctx context.Context, minerID int64, target *[32]byte, by Reason) error {
	var value []byte
	if target != nil {
		value = target[:]
	}
	detail := map[string]any{"target": hex.EncodeToString(value)}
	return s.changeMiner(ctx, minerID, by, "set hash target", detail, `UPDATE miner SET hash_target = $2 WHERE id = $1`, value)
}

// changeMiner makes one change of one miner and writes it down, or neither.
func (s *BackendStore) changeMiner(ctx context.Context, minerID int64, by Reason, action string, detail map[string]any, query string, value any) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	who, err := nameText(by.Who, 100)
	if err != nil {
		return fmt.Errorf("ledger: %s: who does it: %w", action, err)
	}
	record := map[string]any{"miner_id": minerID}
	for k, v := range detail {
		record[k] = v
	}
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return wrap(ctx, action, err)
	}
	defer tx.Rollback()
	done, err := tx.ExecContext(ctx, query, minerID, value)
	if err != nil {
		return wrap(ctx, action, err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return wrap(ctx, action, cmp.Or(err, ErrNoSuchMiner))
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit_log (who, action, why, detail) VALUES ($1, $2, $3, $4)`,
		who, action, freeText(by.Why, 1000), string(text))
	if err != nil {
		return wrap(ctx, action, err)
	}
	return wrap(ctx, action, tx.Commit())
}

// rateMinutes is the span over which ShareCounts measures the pool's rate.
const rateMinutes = 10

// ShareCounts returns the pool in numbers, over all networks and for as long as
// roll-ups are kept.
func (s *BackendStore) ShareCounts(ctx context.Context) (Counts, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	until := s.now().UTC().Truncate(time.Minute)
	counts := Counts{Rejected: map[string]int64{}}
	var weight string
	// Uses network_minute_pkey for the rate.
	err := s.db.QueryRowContext(ctx, `
		SELECT coalesce((SELECT sum(shares) FROM network_minute), 0)::bigint,
		       (SELECT count(*) FROM miner), (SELECT count(*) FROM worker),
		       (SELECT count(*) FROM block WHERE state <> 'orphaned'),
		       coalesce((SELECT sum(m.weight) FROM network n JOIN network_minute m ON m.network_id = n.id
		                 WHERE m.minute >= $1 AND m.minute < $2), 0)::text`,
		until.Add(-rateMinutes*time.Minute), until).
		Scan(&counts.Credited, &counts.Miners, &counts.Workers, &counts.Blocks, &weight)
	if err != nil {
		return Counts{}, wrap(ctx, "share counts", err)
	}
	if sum, ok := new(big.Int).SetString(weight, 10); ok {
		rate := sum.Quo(sum, big.NewInt(rateMinutes*60))
		counts.HashesPerSecond = 1<<63 - 1
		if rate.IsInt64() {
			counts.HashesPerSecond = rate.Int64()
		}
	}
	rows, err := s.db.QueryContext(ctx, `SELECT reason, sum(rejected)::bigint FROM reject_hour GROUP BY reason`)
	if err != nil {
		return Counts{}, wrap(ctx, "share counts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var reason string
		var n int64
		if err := rows.Scan(&reason, &n); err != nil {
			return Counts{}, wrap(ctx, "share counts", err)
		}
		counts.Rejected[reason] = n
	}
	return counts, wrap(ctx, "share counts", rows.Err())
}
