package ledger

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
)

// BackendStore is the ledger as the backend may use it.
type BackendStore struct {
	*conn
	parts   partitions
	repeats atomic.Int32 // batches still to be looked up first: see firstRoad
}

// OpenBackend opens the ledger with the backend's role. It does not wait for
// the server: a database that is away shows at the first call (see Ping).
func OpenBackend(_ context.Context, dsn string, opts Options) (*BackendStore, error) {
	c, err := open(dsn, "purepool-backend", opts)
	if err != nil {
		return nil, err
	}
	return &BackendStore{conn: c}, nil
}

// IssuedWorks looks works up by id, with worker and miner. Ids that were not
// issued on this network are missing in the answer.
func (s *BackendStore) IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]IssuedWork, error) {
	return s.issuedWorks(ctx, fmt.Sprintf(issuedWorksSQL, "m.ignore_shares"), networkID, ids)
}

// ImportWork writes down a work that this pool has not issued, with its miner
// and worker: for replaying recorded exchanges. Its WorkerID is ignored. Works
// of days without partitions cannot be imported. What is there already stays as
// it is.
func (s *BackendStore) ImportWork(ctx context.Context, address string, guid uuid.UUID, worker string, work Work) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO miner (network_id, address, guid) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		work.NetworkID, address, guid)
	if err != nil {
		return wrap(ctx, "import work", err)
	}
	_, err = s.db.ExecContext(ctx, `
		INSERT INTO worker (miner_id, name)
		SELECT id, $3 FROM miner WHERE network_id = $1 AND address = $2 ON CONFLICT DO NOTHING`,
		work.NetworkID, address, worker)
	if err != nil {
		return wrap(ctx, "import work", err)
	}
	err = s.db.GetContext(ctx, &work.WorkerID, `
		SELECT w.id FROM worker w JOIN miner m ON m.id = w.miner_id
		WHERE m.network_id = $1 AND m.address = $2 AND w.name = $3`,
		work.NetworkID, address, worker)
	if err != nil {
		return wrap(ctx, "import work", err)
	}
	return s.insertWorks(ctx, []Work{work})
}
