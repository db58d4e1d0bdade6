package settle

import (
	"context"
	"log/slog"
	"time"

	"purepool/ledger"
)

// UpkeepBooks is what the upkeep needs of the ledger.
type UpkeepBooks interface {
	Rate(ctx context.Context, networkID int16, since time.Time, f func([]ledger.MinerWork) []ledger.MinerRating) error
}

// Dropper drops what is old; *ledger.BackendStore is one. It never drops shares
// of rounds that are not paid.
type Dropper interface {
	DropExpired(ctx context.Context, now time.Time, keep ledger.Retention) ([]string, error)
}

// RatingSpan is over how long miners are compared.
const RatingSpan = 3 * 24 * time.Hour

// Rate rates the miners of one network over the last three days.
func Rate(ctx context.Context, books UpkeepBooks, networkID int16, now time.Time) error {
	return books.Rate(ctx, networkID, now.Add(-RatingSpan), RateMiners)
}

// CleanUp drops what is older than the retention, over all networks: the
// original's cleanup_solutions. It returns the names of what was dropped.
func CleanUp(ctx context.Context, store Dropper, now time.Time, keep ledger.Retention, log *slog.Logger) ([]string, error) {
	dropped, err := store.DropExpired(ctx, now, keep)
	if len(dropped) > 0 && log != nil {
		log.Info("old partitions were dropped", slog.Int("partitions", len(dropped)))
	}
	return dropped, err
}
