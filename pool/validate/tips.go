package validate

import (
	"context"
	"time"

	"purepool/ledger"
	"purepool/pool/tip"
)

// TipStore is a network's part of the ledger as a follower of its chain wants it.
type TipStore struct {
	store *ledger.BackendStore
	id    int16
}

// NewTipStore returns the part of a network, by its number in the ledger.
func NewTipStore(store *ledger.BackendStore, network int16) TipStore { return TipStore{store, network} }

// RecordTips is part of tip.Store.
func (s TipStore) RecordTips(ctx context.Context, tips []tip.Tip) error {
	rows := make([]ledger.Tip, len(tips))
	for i, t := range tips {
		rows[i] = ledger.Tip(t)
	}
	return s.store.RecordTips(ctx, s.id, rows)
}

// Tips is part of tip.Store.
func (s TipStore) Tips(ctx context.Context, since time.Time) ([]tip.Tip, error) {
	rows, err := s.store.Tips(ctx, s.id, since)
	if err != nil {
		return nil, err
	}
	tips := make([]tip.Tip, len(rows))
	for i, r := range rows {
		tips[i] = tip.Tip(r)
	}
	return tips, nil
}
