package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// Job is a job of a template network as it is kept.
type Job struct {
	Seq      uint64
	IssuedAt time.Time
	Height   int32    // of the block that it would make
	Prev     [32]byte // display order
	Clean    bool
	Body     []byte // the job, as pool/job encodes it
	Block    []byte // the rest of its block, as pool/chain encodes it; not always read
}

// InsertJob writes a job down; it is durable when it returns. Writing the same
// number again changes nothing.
func (s *BackendStore) InsertJob(ctx context.Context, networkID int16, j *Job) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if j.Seq == 0 || j.Seq >= 1<<63 {
		return fmt.Errorf("ledger: insert job: number %d: %w", j.Seq, ErrBadRow)
	}
	_, err := s.db.ExecContext(ctx, `
		WITH b AS (
			INSERT INTO job_block (network_id, seq, issued_at, body) VALUES ($1, $2, $3, $8) ON CONFLICT DO NOTHING)
		INSERT INTO job (network_id, seq, issued_at, height, prev, clean, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		networkID, int64(j.Seq), storedTime(j.IssuedAt), j.Height, j.Prev[:], j.Clean, j.Body, j.Block)
	return wrap(ctx, "insert job", err)
}

// LastJob returns the newest job of a network, with the rest of its block where
// that is still there; false where there is none.
func (s *BackendStore) LastJob(ctx context.Context, networkID int16) (Job, bool, error) {
	return s.job(ctx, "last job", `ORDER BY j.seq DESC LIMIT 1`, networkID)
}

// FindJob returns a job with the rest of its block where that is still there;
// false where there is no such job.
func (s *BackendStore) FindJob(ctx context.Context, networkID int16, seq uint64) (Job, bool, error) {
	return s.job(ctx, "find job", `AND j.seq = $2`, networkID, int64(seq))
}

func (s *BackendStore) job(ctx context.Context, what, which string, args ...any) (Job, bool, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var row struct {
		Seq      int64
		IssuedAt time.Time `db:"issued_at"`
		Height   int32
		Prev     []byte
		Clean    bool
		Body     []byte
		Block    []byte
	}
	err := s.db.GetContext(ctx, &row, `
		SELECT j.seq, j.issued_at, j.height, j.prev, j.clean, j.body, b.body AS block
		FROM job j LEFT JOIN job_block b ON b.network_id = j.network_id AND b.seq = j.seq
		WHERE j.network_id = $1 `+which, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return Job{}, false, nil
	}
	if err != nil {
		return Job{}, false, wrap(ctx, what, err)
	}
	j := Job{
		Seq: uint64(row.Seq), IssuedAt: row.IssuedAt.UTC(), Height: row.Height, Clean: row.Clean, Body: row.Body, Block: row.Block,
	}
	copy(j.Prev[:], row.Prev)
	return j, true, nil
}

// DropJobs forgets jobs issued before jobs, and the rest of the blocks of those
// issued before blocks. The newest job of each network stays: its number is the
// one that the next must exceed.
func (s *BackendStore) DropJobs(ctx context.Context, jobs, blocks time.Time) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.db.ExecContext(ctx, `DELETE FROM job_block WHERE issued_at < $1`, storedTime(blocks))
	if err == nil {
		_, err = s.db.ExecContext(ctx, `DELETE FROM job j WHERE issued_at < $1
			AND seq < (SELECT max(seq) FROM job l WHERE l.network_id = j.network_id)`, storedTime(jobs))
	}
	return wrap(ctx, "drop jobs", err)
}

// WorkerState is who a worker is, and whether its shares count.
type WorkerState struct {
	MinerID      int64
	MinerGUID    uuid.UUID
	Enabled      bool // the miner is not disabled
	IgnoreShares bool
}

// WorkerStates looks workers of a network up. Workers of other networks, and
// those that do not exist, are missing in the answer.
func (s *BackendStore) WorkerStates(ctx context.Context, networkID int16, ids []int64) (map[int64]WorkerState, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, `
		SELECT w.id, m.id, m.guid, m.enabled, m.ignore_shares
		FROM worker w JOIN miner m ON m.id = w.miner_id
		WHERE w.id = ANY (CAST($1 AS bigint[])) AND m.network_id = $2`, pq.Array(ids), networkID)
	if err != nil {
		return nil, wrap(ctx, "look up workers", err)
	}
	defer rows.Close()
	found := make(map[int64]WorkerState, len(ids))
	for rows.Next() {
		var id int64
		var w WorkerState
		if err := rows.Scan(&id, &w.MinerID, &w.MinerGUID, &w.Enabled, &w.IgnoreShares); err != nil {
			return nil, wrap(ctx, "look up workers", err)
		}
		found[id] = w
	}
	return found, wrap(ctx, "look up workers", rows.Err())
}

// Results of a [BlockSubmission].
const (
	SubmissionPending      = "pending"
	SubmissionAccepted     = "accepted"
	SubmissionInconclusive = "inconclusive"
	SubmissionRefused      = "refused"
)

// BlockSubmission is a block that the pool has submitted, and what came of it.
type BlockSubmission struct {
	Hash        [32]byte `db:"-"` // display order
	Height      int32
	Seq         uint64    // of its job
	ShareID     uuid.UUID `db:"share_id"`
	Proof       [32]byte  `db:"-"` // of the share, as the backend computed it; zero where that is not known
	WorkerID    int64     `db:"worker_id"`
	ReceivedAt  time.Time `db:"received_at"`  // of the share
	SubmittedAt time.Time `db:"submitted_at"` // the first time
	Stale       bool      // the tip had changed when the share arrived
	Result      string    // SubmissionPending, …
	Detail      string    // the daemons' words
	Attempts    int
}

// RecordSubmission writes down what has become of a submitted block. What was
// accepted stays so.
func (s *BackendStore) RecordSubmission(ctx context.Context, networkID int16, b *BlockSubmission) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var proof []byte // null where it is not known
	if b.Proof != [32]byte{} {
		proof = b.Proof[:]
	}
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO block_submission AS s (network_id, hash, height, seq, share_id, worker_id, received_at, submitted_at,
			stale, result, detail, attempts, proof)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (network_id, hash) DO UPDATE SET
			result = excluded.result, detail = excluded.detail, attempts = excluded.attempts, updated_at = now(),
			proof = coalesce(s.proof, excluded.proof)
		WHERE s.result <> 'accepted'`,
		networkID, b.Hash[:], b.Height, int64(b.Seq), b.ShareID, b.WorkerID, storedTime(b.ReceivedAt), storedTime(b.SubmittedAt),
		b.Stale, b.Result, freeText(b.Detail, MaxDetail), b.Attempts, proof)
	return wrap(ctx, "record submission", err)
}

// Submissions returns the blocks submitted since, the oldest first.
func (s *BackendStore) Submissions(ctx context.Context, networkID int16, since time.Time) ([]BlockSubmission, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		BlockSubmission
		RawHash  []byte `db:"hash"`
		RawProof []byte `db:"proof"`
		RawSeq   int64  `db:"raw_seq"`
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT hash, height, seq AS raw_seq, share_id, worker_id, received_at, submitted_at, stale, result, detail, attempts, proof
		FROM block_submission WHERE network_id = $1 AND submitted_at >= $2 ORDER BY submitted_at, hash`,
		networkID, storedTime(since))
	if err != nil {
		return nil, wrap(ctx, "read submissions", err)
	}
	list := make([]BlockSubmission, len(rows))
	for i := range rows {
		list[i] = rows[i].BlockSubmission
		list[i].Seq = uint64(rows[i].RawSeq)
		list[i].ReceivedAt, list[i].SubmittedAt = list[i].ReceivedAt.UTC(), list[i].SubmittedAt.UTC()
		copy(list[i].Hash[:], rows[i].RawHash)
		copy(list[i].Proof[:], rows[i].RawProof)
	}
	return list, nil
}

// Leadership is the right to issue the jobs of a network, held by one process
// at a time. It is a lock of the database's on a connection of its own: it ends
// with the process, or with the connection.
type Leadership struct{ conn *sql.Conn }

// jobLocks keeps the numbers of these locks apart from all others.
const jobLocks = 7310587600000

// LeadJobs tries to become the one that issues the jobs of a network. It returns
// nil where somebody else is.
func (s *BackendStore) LeadJobs(ctx context.Context, networkID int16) (*Leadership, error) {
	bounded, cancel := s.bound(ctx)
	defer cancel()
	conn, err := s.db.Conn(bounded)
	if err != nil {
		return nil, wrap(bounded, "lead jobs", err)
	}
	var got bool
	err = conn.QueryRowContext(bounded, `SELECT pg_try_advisory_lock($1)`, jobLocks+int64(networkID)).Scan(&got)
	if err != nil || !got {
		_ = conn.Close()
		return nil, wrap(bounded, "lead jobs", err)
	}
	return &Leadership{conn}, nil
}

// Holds reports whether the right is still there.
func (l *Leadership) Holds(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := l.conn.ExecContext(ctx, `SELECT 1`)
	return err == nil
}

// Release gives the right back.
func (l *Leadership) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Otherwise the lock would go back into the pool with its connection.
	if _, err := l.conn.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`); err != nil {
		_ = l.conn.Raw(func(any) error { return driver.ErrBadConn }) // never back into the pool
	}
	_ = l.conn.Close()
}
