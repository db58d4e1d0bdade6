package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// ReasonDuplicate is the rejection of a share whose proof another share has
// brought before.
const ReasonDuplicate = "BibleHashAlreadyKnown"

// writeTries bounds how often a batch is tried again at once, after another
// validator has written one of its proofs or has crossed its locks.
const writeTries = 6

// WriteVerdicts writes a batch of verdicts of one network in one transaction:
// credited shares, rejected ones, solutions, and the roll-ups of exactly what
// was written. When it returns without an error the batch is durable.
//
// Each proof is credited once, by whichever share comes first; another share
// with it is written as rejected (ReasonDuplicate). A share that stands in the
// ledger already, credited or rejected, is left alone, so a batch may be
// delivered and written any number of times, also after an answer was lost and
// by several validators at once. That a rejected share was written is known for
// as long as rejected shares are kept.
//
// Times of arrival that are not within the days that have partitions count for
// the nearest of these days; a credited share keeps its own.
func (s *BackendStore) WriteVerdicts(ctx context.Context, networkID int16, verdicts []Verdict) (Written, error) {
	if len(verdicts) == 0 {
		return Written{}, nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	b, err := s.prepareBatch(networkID, verdicts)
	if err != nil {
		return Written{}, fmt.Errorf("ledger: write verdicts: %w", err)
	}
	for try := 0; ; try++ {
		if err := s.ensureFor(ctx, b); err != nil {
			return Written{}, wrap(ctx, "write verdicts: partitions", err)
		}
		written, err := s.writeBatch(ctx, b, try > 0)
		if err == nil {
			return written, nil
		}
		if try == writeTries || !s.worthAnotherTry(err) {
			return Written{}, wrap(ctx, "write verdicts", err)
		}
		if err := pauseBetweenTries(ctx, try); err != nil {
			return Written{}, wrap(ctx, "write verdicts", err)
		}
	}
}

// worthAnotherTry says whether the same batch may succeed at once.
func (s *BackendStore) worthAnotherTry(err error) bool {
	if pq.As(err, pqerror.UniqueViolation, pqerror.TRDeadlockDetected, pqerror.TRSerializationFailure) != nil {
		return true
	}
	if e := pq.As(err); e != nil && missingPartition(e) {
		s.parts.forget() // dropped by somebody else since we looked
		return true
	}
	return false
}

func pauseBetweenTries(ctx context.Context, try int) error {
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(5*time.Millisecond) << try)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// batch is a group of verdicts made ready for the database. It is not changed
// by writing it, so it can be written again.
type batch struct {
	networkID int16
	now       time.Time
	rows      []row // in order of arrival, each share once
	repeats   int   // the same share twice in the batch
}

// row is a verdict whose values fit their columns.
type row struct {
	Verdict
	dayAt     time.Time // ReceivedAt within the days that have partitions
	id        string    // ShareID as text
	duplicate bool      // credited by its verdict, but another share has the proof
}

func (r *row) key() ProofKey { return ProofKey{Height: r.Height, Proof: r.Proof} }

func (s *BackendStore) prepareBatch(networkID int16, verdicts []Verdict) (*batch, error) {
	b := &batch{networkID: networkID, now: storedTime(s.now()), rows: make([]row, 0, len(verdicts))}
	from, to := dayRange(b.now)
	last := to.AddDate(0, 0, 1).Add(-time.Microsecond)
	seen := make(map[uuid.UUID]struct{}, len(verdicts))
	for _, v := range verdicts {
		if _, again := seen[v.ShareID]; again {
			b.repeats++
			continue
		}
		seen[v.ShareID] = struct{}{}
		if v.Reason == "" && (!v.HasProof || v.Weight < 1 || v.Height < 0 || v.WorkerID < 1 || v.MinerID < 1) {
			return nil, fmt.Errorf("share %s is credited without proof, weight, height or owner: %w", v.ShareID, ErrBadRow)
		}
		if v.Reason != "" {
			v.Reason = freeText(v.Reason, MaxReason)
			if !v.HasProof || v.Height < 0 || v.WorkerID < 1 || v.MinerID < 1 {
				v.Weight = 0 // nobody's, whatever becomes of its block
			}
			v.Weight = max(v.Weight, 0)
		}
		v.Detail = freeText(v.Detail, MaxDetail)
		v.HashesPerSecond = max(v.HashesPerSecond, 0)
		// A share from the future would keep its partition for ever.
		v.ReceivedAt = clampTime(storedTime(v.ReceivedAt), workBeginning, last)
		b.rows = append(b.rows, row{Verdict: v, dayAt: clampTime(v.ReceivedAt, from, last), id: v.ShareID.String()})
	}
	slices.SortFunc(b.rows, func(x, y row) int {
		return cmp.Or(x.ReceivedAt.Compare(y.ReceivedAt), bytes.Compare(x.ShareID[:], y.ShareID[:]))
	})
	return b, nil
}

// sortByArrival sorts by the key of rejected_share.
func sortByArrival(rows []*row) {
	slices.SortFunc(rows, func(x, y *row) int {
		return cmp.Or(x.dayAt.Compare(y.dayAt), bytes.Compare(x.ShareID[:], y.ShareID[:]))
	})
}

func clampTime(t, from, to time.Time) time.Time {
	if t.Before(from) {
		return from
	}
	if t.After(to) {
		return to
	}
	return t
}

// writeBatch writes the batch in one transaction. The fast road copies the
// credited shares and fails where another validator writes one of their proofs
// at the same time; the slow road lets Postgres decide for each row.
//
// All writers take their locks in the same order (shares by proof, rejected
// shares by arrival, roll-ups by key), so none waits in a circle.
func (s *BackendStore) writeBatch(ctx context.Context, b *batch, slow bool) (Written, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return Written{}, err
	}
	defer tx.Rollback()
	w := &writer{tx: tx, batch: b}
	if err := w.sort(ctx); err != nil {
		return Written{}, err
	}
	if slow {
		err = w.insertCredited(ctx)
	} else {
		err = w.copyCredited(ctx)
	}
	if err != nil {
		return Written{}, fmt.Errorf("credited shares: %w", err)
	}
	if err := w.insertRejected(ctx); err != nil {
		return Written{}, fmt.Errorf("rejected shares: %w", err)
	}
	if err := w.copySolutions(ctx); err != nil {
		return Written{}, fmt.Errorf("solutions: %w", err)
	}
	if err := w.rollUp(ctx); err != nil {
		return Written{}, fmt.Errorf("roll-ups: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return Written{}, err
	}
	return w.written, nil
}

// writer is one attempt to write a batch.
type writer struct {
	tx       *sqlx.Tx
	batch    *batch
	credited []*row // to be written, sorted by proof
	rejected []*row // to be written, in order of arrival
	// revoked are refusals that stood and are credited now: see creditWinners.
	revoked []*row
	written Written
}

// knownSQL finds the batch's proofs by share_network_id_height_proof_key and
// its rejected shares by rejected_share_pkey, one index probe for each.
const knownSQL = `
SELECT k.n, s.id FROM unnest(CAST($2 AS integer[]), CAST($3 AS bytea[])) WITH ORDINALITY AS k (height, proof, n)
CROSS JOIN LATERAL (
    SELECT id FROM share WHERE network_id = $1 AND height = k.height AND proof = k.proof OFFSET 0
) AS s
UNION ALL
SELECT -k.n, NULL FROM unnest(CAST($4 AS timestamptz[]), CAST($5 AS uuid[])) WITH ORDINALITY AS k (received_at, id, n)
CROSS JOIN LATERAL (
    SELECT FROM rejected_share WHERE received_at = k.received_at AND id = k.id OFFSET 0
) AS r`

// sort looks up what stands in the ledger already and decides for each share
// what is to be written.
func (w *writer) sort(ctx context.Context) error {
	owners, refused, err := w.lookUp(ctx)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	w.written.Redelivered += w.batch.repeats
	for i := range w.batch.rows {
		r := &w.batch.rows[i]
		owner, known := owners[r.key()]
		known = known && r.HasProof
		switch {
		case refused[i], known && owner == r.ShareID:
			w.written.Redelivered++
		case r.Reason != "":
			w.rejected = append(w.rejected, r)
		case known:
			w.reject(r)
		default:
			w.credited = append(w.credited, r)
			owners[r.key()] = r.ShareID // the next one in this batch is a duplicate
		}
	}
	slices.SortFunc(w.credited, func(x, y *row) int {
		return cmp.Or(cmp.Compare(x.Height, y.Height), bytes.Compare(x.Proof[:], y.Proof[:]))
	})
	return nil
}

// reject turns a credited share into the rejection of a duplicate.
func (w *writer) reject(r *row) {
	dup := *r
	dup.Reason, dup.Detail, dup.Weight, dup.duplicate = ReasonDuplicate, "", 0, true
	w.rejected = append(w.rejected, &dup)
}

// lookUp returns who has the batch's proofs, and which of its rows stand among
// the rejected shares.
func (w *writer) lookUp(ctx context.Context) (map[ProofKey]uuid.UUID, map[int]bool, error) {
	rows := w.batch.rows
	var keys []ProofKey
	days, ids := make([]string, len(rows)), make([]string, len(rows))
	for i := range rows {
		if rows[i].HasProof {
			keys = append(keys, rows[i].key())
		}
		days[i], ids[i] = timeText(rows[i].dayAt), rows[i].id
	}
	heights, proofs := proofArrays(keys)
	found, err := w.tx.QueryContext(ctx, knownSQL, w.batch.networkID, heights, proofs, pq.Array(days), pq.Array(ids))
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	owners, refused := make(map[ProofKey]uuid.UUID, len(rows)), map[int]bool{}
	for found.Next() {
		var n int
		var id uuid.NullUUID
		if err := found.Scan(&n, &id); err != nil {
			return nil, nil, err
		}
		if n < 0 {
			refused[-n-1] = true
		} else {
			owners[keys[n-1]] = id.UUID
		}
	}
	return owners, refused, found.Err()
}

// proofArrays writes keys as two Postgres arrays.
func proofArrays(keys []ProofKey) (heights, proofs any) {
	h, p := make([]int32, len(keys)), make([][]byte, len(keys))
	for i := range keys {
		h[i], p[i] = keys[i].Height, keys[i].Proof[:]
	}
	return pq.Array(h), pq.Array(p)
}

// KnownProofs returns the share ids of those proofs that stand in the ledger.
func (s *BackendStore) KnownProofs(ctx context.Context, networkID int16, keys []ProofKey) (map[ProofKey]uuid.UUID, error) {
	known := make(map[ProofKey]uuid.UUID)
	if len(keys) == 0 {
		return known, nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	heights, proofs := proofArrays(keys)
	found, err := s.db.QueryContext(ctx, knownSQL, networkID, heights, proofs, "{}", "{}")
	if err != nil {
		return nil, wrap(ctx, "known proofs", err)
	}
	defer found.Close()
	for found.Next() {
		var n int
		var id uuid.UUID
		if err := found.Scan(&n, &id); err != nil {
			return nil, wrap(ctx, "known proofs", err)
		}
		known[keys[n-1]] = id
	}
	return known, wrap(ctx, "known proofs", found.Err())
}

var errLost = errors.New("a proof that is there cannot be found")
