package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Payout is how a miner is paid, where it differs from the network's settings.
type Payout struct {
	Threshold int64 // his own, in satoshis; 0: the network's
	Held      bool  // his payments are held by a person
	Note      string
	Failures  int       // since the last payment
	RetryAt   time.Time // not before; zero: at once
}

// Payout returns how a miner is paid; the zero value where nothing was set.
func (b *Books) Payout(ctx context.Context, minerID int64) (Payout, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var p Payout
	var retry sql.NullTime
	err := b.db.QueryRowContext(ctx, `SELECT coalesce(threshold, 0), held, note, failures, retry_at FROM payout WHERE miner_id = $1`, minerID).
		Scan(&p.Threshold, &p.Held, &p.Note, &p.Failures, &retry)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	p.RetryAt = utcOrZero(retry)
	return p, wrap(ctx, "read payout", err)
}

// Addresses returns the addresses of miners by their ids.
func (b *Books) Addresses(ctx context.Context, ids []int64) (map[int64]string, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	rows, err := b.db.QueryContext(ctx, `SELECT id, address FROM miner WHERE id = ANY (CAST($1 AS bigint[]))`, int64Array(ids))
	if err != nil {
		return nil, wrap(ctx, "read addresses", err)
	}
	defer rows.Close()
	addresses := make(map[int64]string, len(ids))
	for rows.Next() {
		var id int64
		var address string
		if err := rows.Scan(&id, &address); err != nil {
			return nil, wrap(ctx, "read addresses", err)
		}
		addresses[id] = address
	}
	return addresses, wrap(ctx, "read addresses", rows.Err())
}
