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
