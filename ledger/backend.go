package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// BackendStore is the ledger as the backend may use it.
type BackendStore struct{ *conn }

// OpenBackend opens the ledger with the backend's role. It does not wait for
// the server: a database that is away shows at the first call (see Ping).
func OpenBackend(ctx context.Context, dsn string, opts Options) (*BackendStore, error) {
	c, err := open(ctx, dsn, opts)
	if err != nil {
		return nil, err
	}
	return &BackendStore{c}, nil
}

// IssuedWorks looks works up by id, with worker and miner. Ids that were not
// issued on this network are missing in the answer.
func (s *BackendStore) IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]IssuedWork, error) {
	return nil, errNotBuilt
}

// KnownProofs returns the share ids of those proofs that stand in the ledger.
func (s *BackendStore) KnownProofs(ctx context.Context, networkID int16, keys []ProofKey) (map[ProofKey]uuid.UUID, error) {
	return nil, errNotBuilt
}

// WriteVerdicts writes a batch of verdicts of one network in one transaction.
func (s *BackendStore) WriteVerdicts(ctx context.Context, networkID int16, verdicts []Verdict) (Written, error) {
	return Written{}, errNotBuilt
}

// ImportWork writes down a work that this pool has not issued, with its miner
// and worker: for replaying recorded exchanges.
func (s *BackendStore) ImportWork(ctx context.Context, address string, guid uuid.UUID, worker string, work Work) error {
	return errNotBuilt
}

// RecordTips writes down chain tips; a known (height, hash) keeps its first
// SeenAt.
func (s *BackendStore) RecordTips(ctx context.Context, networkID int16, tips []Tip) error {
	return errNotBuilt
}

// Tips returns the tips seen since that moment, and the last one before it, in
// the order in which they were seen.
func (s *BackendStore) Tips(ctx context.Context, networkID int16, since time.Time) ([]Tip, error) {
	return nil, errNotBuilt
}

// EnsurePartitions makes partitions ahead: days around now, and heights around
// the given tips (network id to height).
func (s *BackendStore) EnsurePartitions(ctx context.Context, now time.Time, tips map[int16]int32) error {
	return errNotBuilt
}

// DropExpired drops what is older than the retention, and returns the names of
// the dropped partitions. Shares that are not settled are never dropped.
func (s *BackendStore) DropExpired(ctx context.Context, now time.Time, keep Retention) ([]string, error) {
	return nil, errNotBuilt
}

// FindMiners lists miners for the operator.
func (s *BackendStore) FindMiners(ctx context.Context, q MinerQuery) ([]MinerRecord, error) {
	return nil, errNotBuilt
}

// SetMinerEnabled enables or disables a miner and writes an audit record.
func (s *BackendStore) SetMinerEnabled(ctx context.Context, minerID int64, enabled bool, by Reason) error {
	return errNotBuilt
}

// SetMinerTarget sets or (nil) removes a miner's own hash target and writes an
// audit record.
func (s *BackendStore) SetMinerTarget(ctx context.Context, minerID int64, target *[32]byte, by Reason) error {
	return errNotBuilt
}

// ShareCounts returns the pool in numbers, over all networks.
func (s *BackendStore) ShareCounts(ctx context.Context) (Counts, error) {
	return Counts{}, errNotBuilt
}
