package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// ChainLooked returns when a watcher of the network, in any process, last looked
// at the chain and reached its tip; the zero time where none ever has.
func (b *Books) ChainLooked(ctx context.Context, networkID int16) (at time.Time, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	err = b.db.GetContext(ctx, &at, `SELECT looked_at FROM chain_watch WHERE network_id = $1`, networkID)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return at.UTC(), wrap(ctx, "read the last look at the chain", err)
}

// NoteChainLook writes down that a look that began at a moment has reached the
// tip. An earlier one than is known changes nothing.
func (b *Books) NoteChainLook(ctx context.Context, networkID int16, at time.Time) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	_, err := b.db.ExecContext(ctx, `INSERT INTO chain_watch AS w (network_id, looked_at) VALUES ($1, $2)
		ON CONFLICT (network_id) DO UPDATE SET looked_at = excluded.looked_at WHERE w.looked_at < excluded.looked_at`, networkID, storedTime(at))
	return wrap(ctx, "note a look at the chain", err)
}
