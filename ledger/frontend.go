package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// FrontendStore is the ledger as a frontend may use it.
type FrontendStore struct{ *conn }

// OpenFrontend opens the ledger with the frontend's role. It does not wait for
// the server: a database that is away shows at the first call (see Ping).
func OpenFrontend(_ context.Context, dsn string, opts Options) (*FrontendStore, error) {
	c, err := open(dsn, "purepool-frontend", opts)
	if err != nil {
		return nil, err
	}
	return &FrontendStore{c}, nil
}

// findWorkerSQL uses the unique keys miner (network_id, address) and worker
// (miner_id, name).
const findWorkerSQL = `
SELECT m.id AS miner_id, m.guid, m.enabled, m.hash_target, w.id AS worker_id
FROM miner m LEFT JOIN worker w ON w.miner_id = m.id AND w.name = $3
WHERE m.network_id = $1 AND m.address = $2`

// ensureTries bounds EnsureWorker's rounds. Each makes what the one before
// found missing: miner, worker, and a last look.
const ensureTries = 4

// EnsureWorker returns the worker of that name of the miner at that address,
// and creates both where they are missing. Many first requests at once create
// one miner and one worker. A name longer than MaxWorkerName is cut. The email
// is written with a new worker only, and left out where it cannot be one.
//
// ErrBadText: the address or the name is empty, holds NUL or is not UTF-8, or
// the address is longer than MaxAddress.
func (s *FrontendStore) EnsureWorker(ctx context.Context, networkID int16, address, worker, email string) (Worker, error) {
	kept, err := nameText(address, MaxAddress)
	if err == nil && kept != address {
		err = ErrBadText // a part of an address is another address
	}
	worker, errWorker := nameText(worker, MaxWorkerName)
	if err := errors.Join(err, errWorker); err != nil {
		return Worker{}, fmt.Errorf("ledger: ensure worker: %w", err)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for range ensureTries {
		var row struct {
			MinerID    int64 `db:"miner_id"`
			GUID       uuid.UUID
			Enabled    bool
			HashTarget []byte        `db:"hash_target"`
			WorkerID   sql.NullInt64 `db:"worker_id"`
		}
		err := s.db.GetContext(ctx, &row, findWorkerSQL, networkID, address, worker)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err = s.db.ExecContext(ctx,
				`INSERT INTO miner (network_id, address) VALUES ($1, $2) ON CONFLICT (network_id, address) DO NOTHING`,
				networkID, address)
		case err == nil && !row.WorkerID.Valid:
			_, err = s.db.ExecContext(ctx,
				`INSERT INTO worker (miner_id, name, email) VALUES ($1, $2, $3) ON CONFLICT (miner_id, name) DO NOTHING`,
				row.MinerID, worker, emailText(email))
		case err == nil:
			return Worker{ID: row.WorkerID.Int64, Name: worker, Miner: Miner{
				ID: row.MinerID, GUID: row.GUID, Address: address, Enabled: row.Enabled, HashTarget: hashPointer(row.HashTarget),
			}}, nil
		}
		if err != nil {
			return Worker{}, wrap(ctx, "ensure worker", err)
		}
	}
	return Worker{}, errors.New("ledger: ensure worker: a new row cannot be read")
}

// emailText returns the address to keep, nil where there is none: a part of an
// address, or one that was changed, is worse than none.
func emailText(email string) *string {
	kept, err := nameText(email, MaxEmail)
	if err != nil || kept != email {
		return nil
	}
	return &kept
}

func hashPointer(b []byte) *[32]byte {
	if len(b) != 32 {
		return nil
	}
	return (*[32]byte)(b)
}

// InsertWorks writes a group of works with one statement; they are durable when
// it returns. Writing the same works again changes nothing. Texts are cut to
// their limits, and characters that Postgres does not take become U+FFFD: one
// hostile request does not spoil the group.
func (s *FrontendStore) InsertWorks(ctx context.Context, works []Work) error {
	return s.insertWorks(ctx, works)
}

// IssuedWorks looks works up by id, with worker and miner. Ids that were not
// issued on this network are missing in the answer.
func (s *FrontendStore) IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]IssuedWork, error) {
	return s.issuedWorks(ctx, fmt.Sprintf(issuedWorksSQL, "false"), networkID, ids)
}

// OpenJobs returns the newest jobs of a template network that were issued since, as
// they were encoded, oldest first: at most so many.
func (s *FrontendStore) OpenJobs(ctx context.Context, networkID int16, since time.Time, most int) ([][]byte, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var bodies [][]byte
	// The primary key job (network_id, seq) has them in order.
	err := s.db.SelectContext(ctx, &bodies, `SELECT body FROM job WHERE network_id = $1 AND issued_at >= $2 ORDER BY seq DESC LIMIT $3`,
		networkID, storedTime(since), most)
	slices.Reverse(bodies)
	return bodies, wrap(ctx, "open jobs", err)
}
