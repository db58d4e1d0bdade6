package ledger

import (
	"context"

	"github.com/google/uuid"
)

// FrontendStore is the ledger as a frontend may use it.
type FrontendStore struct{ *conn }

// OpenFrontend opens the ledger with the frontend's role. It does not wait for
// the server: a database that is away shows at the first call (see Ping).
func OpenFrontend(ctx context.Context, dsn string, opts Options) (*FrontendStore, error) {
	c, err := open(ctx, dsn, opts)
	if err != nil {
		return nil, err
	}
	return &FrontendStore{c}, nil
}

// EnsureWorker returns the worker of that name of the miner at that address,
// and creates both where they are missing. Many first requests at once create
// one miner and one worker. The email is written with a new worker only.
func (s *FrontendStore) EnsureWorker(ctx context.Context, networkID int16, address, worker, email string) (Worker, error) {
	return Worker{}, errNotBuilt
}

// InsertWorks writes a group of works with one statement; they are durable when
// it returns. Writing the same works again changes nothing.
func (s *FrontendStore) InsertWorks(ctx context.Context, works []Work) error {
	return errNotBuilt
}

// IssuedWorks looks works up by id, with worker and miner. Ids that were not
// issued on this network are missing in the answer.
func (s *FrontendStore) IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]IssuedWork, error) {
	return nil, errNotBuilt
}
