package ledger

import (
	"context"
	"time"
)

// recordTipSQL writes a tip unless it is the one that was last seen before it:
// several backends see the same tip, and one that restarts sees it again. A tip
// that comes back after another one is written.
const recordTipSQL = `
INSERT INTO tip (network_id, seen_at, height, hash, block_time, approximate)
SELECT $1, $2, $3, $4, $5, $6
WHERE $4 IS DISTINCT FROM (
    SELECT hash FROM tip WHERE network_id = $1 AND seen_at <= $2 ORDER BY seen_at DESC LIMIT 1)
ON CONFLICT DO NOTHING`

// RecordTips writes down chain tips in the given order. A tip that is the same
// as the one seen before it is left out and keeps its first SeenAt.
func (s *BackendStore) RecordTips(ctx context.Context, networkID int16, tips []Tip) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for _, t := range tips {
		_, err := s.db.ExecContext(ctx, recordTipSQL, networkID, storedTime(t.SeenAt), t.Height, t.Hash[:], storedTime(t.BlockTime), t.Approximate)
		if err != nil {
			return wrap(ctx, "record tip", err)
		}
	}
	return nil
}

// Tips returns the tips seen since that moment, and the last one before it, in
// the order in which they were seen: what was the tip at any moment since.
func (s *BackendStore) Tips(ctx context.Context, networkID int16, since time.Time) ([]Tip, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		Height      int32
		Hash        []byte
		BlockTime   time.Time `db:"block_time"`
		SeenAt      time.Time `db:"seen_at"`
		Approximate bool
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT height, hash, block_time, seen_at, approximate FROM tip
		WHERE network_id = $1 AND seen_at >= coalesce(
			(SELECT max(seen_at) FROM tip WHERE network_id = $1 AND seen_at < $2), $2)
		ORDER BY seen_at, height`, networkID, storedTime(since))
	if err != nil {
		return nil, wrap(ctx, "read tips", err)
	}
	tips := make([]Tip, len(rows))
	for i, r := range rows {
		tips[i] = Tip{Height: r.Height, BlockTime: r.BlockTime.UTC(), SeenAt: r.SeenAt.UTC(), Approximate: r.Approximate}
		copy(tips[i].Hash[:], r.Hash)
	}
	return tips, nil
}
