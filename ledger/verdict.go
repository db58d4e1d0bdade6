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
		by := careful
		if try == 0 {
			by = s.firstRoad()
		}
		written, err := s.writeBatch(ctx, b, by)
		if err == nil {
			return written, nil
		}
		if by == straight && pq.As(err, pqerror.UniqueViolation) != nil {
			s.repeats.Store(lookingBatches)
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
	if e := pq.As(err); e != nil && (missingPartition(e) || e.Code == pqerror.UndefinedTable) {
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
	rows      []row // each share once
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

// road is how a batch is written: the first one that is fit for it.
type road int

const (
	// The proofs of credited shares are taken for new, as all but a few are. The
	// unique key fails the batch where one is not.
	straight road = iota
	// All proofs are looked up first. The batch fails where another validator
	// writes one of them at the same time.
	looking
	// Postgres decides for each row.
	careful
)

// lookingBatches is how many batches are looked up first after one has brought a
// proof again: whoever hands shares in twice, and a redelivery of many, cost a
// failed batch seldom.
const lookingBatches = 64

// firstRoad is the road on which a batch is tried first.
func (s *BackendStore) firstRoad() road {
	for n := s.repeats.Load(); n > 0; n = s.repeats.Load() {
		if s.repeats.CompareAndSwap(n, n-1) {
			return looking
		}
	}
	return straight
}

// writeBatch writes the batch in one transaction.
//
// All writers take their locks in the same order (shares by proof, rejected
// shares by arrival, roll-ups by key), so none waits in a circle.
func (s *BackendStore) writeBatch(ctx context.Context, b *batch, by road) (Written, error) {
	conn, err := s.db.Connx(ctx)
	if err != nil {
		return Written{}, err
	}
	defer conn.Close()
	tx, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return Written{}, err
	}
	defer tx.Rollback()
	w := &writer{tx: tx, batch: b}
	if err := w.sort(ctx, by); err != nil {
		return Written{}, err
	}
	if by == careful {
		err = w.insertCredited(ctx)
	} else {
		err = w.copyCredited(ctx, conn)
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
	rejected []*row // to be written
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
func (w *writer) sort(ctx context.Context, by road) error {
	look := w.lookUpAll
	if by == straight {
		look = w.lookUpRefused
	}
	k, err := look(ctx)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	w.written.Redelivered += w.batch.repeats
	w.credited = make([]*row, 0, len(w.batch.rows))
	for i := range w.batch.rows {
		r := &w.batch.rows[i]
		owner, known := k.owner(r)
		switch {
		case k.refused[i], known && owner == r.ShareID:
			w.written.Redelivered++
		case r.Reason != "":
			w.rejected = append(w.rejected, r)
		case known:
			w.reject(r)
		default:
			w.credited = append(w.credited, r)
		}
	}
	w.once()
	return nil
}

// once sorts the credited shares by proof, and turns all but the first to arrive
// of those with the same proof into duplicates.
func (w *writer) once() {
	slices.SortFunc(w.credited, func(x, y *row) int {
		if c := cmp.Or(cmp.Compare(x.Height, y.Height), bytes.Compare(x.Proof[:], y.Proof[:])); c != 0 {
			return c
		}
		return cmp.Or(x.ReceivedAt.Compare(y.ReceivedAt), bytes.Compare(x.ShareID[:], y.ShareID[:]))
	})
	kept := w.credited[:0]
	for _, r := range w.credited {
		if n := len(kept); n > 0 && kept[n-1].Height == r.Height && kept[n-1].Proof == r.Proof {
			w.reject(r)
		} else {
			kept = append(kept, r)
		}
	}
	w.credited = kept
}

// reject turns a credited share into the rejection of a duplicate.
func (w *writer) reject(r *row) {
	dup := *r
	dup.Reason, dup.Detail, dup.Weight, dup.duplicate = ReasonDuplicate, "", 0, true
	w.rejected = append(w.rejected, &dup)
}

// known is what stands in the ledger of a batch.
type known struct {
	owners  map[ProofKey]uuid.UUID // who has a proof
	refused map[int]bool           // places of rows that stand among the rejected shares
}

func (k *known) owner(r *row) (id uuid.UUID, known bool) {
	if r.HasProof && len(k.owners) > 0 {
		id, known = k.owners[r.key()]
	}
	return id, known
}

// lookUp looks the rows of these places up.
func (w *writer) lookUp(ctx context.Context, places []int) (known, error) {
	k := known{make(map[ProofKey]uuid.UUID, len(places)), map[int]bool{}}
	if len(places) == 0 {
		return k, nil
	}
	var keys []ProofKey
	days, ids := make([]string, len(places)), make([]string, len(places))
	for i, place := range places {
		r := &w.batch.rows[place]
		if r.HasProof {
			keys = append(keys, r.key())
		}
		days[i], ids[i] = timeText(r.dayAt), r.id
	}
	heights, proofs := proofArrays(keys)
	found, err := w.tx.QueryContext(ctx, knownSQL, w.batch.networkID, heights, proofs, pq.Array(days), pq.Array(ids))
	if err != nil {
		return known{}, err
	}
	defer found.Close()
	for found.Next() {
		var n int
		var id uuid.NullUUID
		if err := found.Scan(&n, &id); err != nil {
			return known{}, err
		}
		if n < 0 {
			k.refused[places[-n-1]] = true
		} else {
			k.owners[keys[n-1]] = id.UUID
		}
	}
	return k, found.Err()
}

// lookUpAll looks all rows up.
func (w *writer) lookUpAll(ctx context.Context) (known, error) {
	places := make([]int, len(w.batch.rows))
	for i := range places {
		places[i] = i
	}
	return w.lookUp(ctx, places)
}

// refusedSQL finds the rejected shares of a stretch of time by
// rejected_share_pkey.
const refusedSQL = `SELECT received_at, id FROM rejected_share WHERE received_at BETWEEN $1 AND $2 LIMIT $3`

// lookUpRefused looks up everything but whether the proofs of credited shares
// are new. Few shares are rejected as a rule: instead of asking for each share, all
// refusals of the batch's time are fetched.
func (w *writer) lookUpRefused(ctx context.Context) (known, error) {
	rows := w.batch.rows
	first, last := rows[0].dayAt, rows[0].dayAt
	var rejected []int
	for i := range rows {
		if rows[i].Reason != "" {
			rejected = append(rejected, i)
		}
		if at := rows[i].dayAt; at.Before(first) {
			first = at
		} else if at.After(last) {
			last = at
		}
	}
	k, err := w.lookUp(ctx, rejected)
	if err != nil || len(rejected) == len(rows) {
		return k, err
	}
	stand, err := w.refusals(ctx, first, last, len(rows))
	if err != nil {
		return known{}, err
	}
	if len(stand) == len(rows) { // there may be more
		return w.lookUpAll(ctx)
	}
	for i := 0; i < len(rows) && len(stand) > 0; i++ {
		if stand[refusal{rows[i].dayAt.UnixMicro(), rows[i].ShareID}] {
			k.refused[i] = true
		}
	}
	return k, nil
}

// refusal is the key of rejected_share.
type refusal struct {
	at int64 // unix microseconds
	id uuid.UUID
}

// refusals returns the rejected shares of a stretch of time, of all networks, at
// most so many.
func (w *writer) refusals(ctx context.Context, first, last time.Time, most int) (map[refusal]bool, error) {
	found, err := w.tx.QueryContext(ctx, refusedSQL, first, last, most)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	stand := map[refusal]bool{}
	for found.Next() {
		var at time.Time
		var id uuid.UUID
		if err := found.Scan(&at, &id); err != nil {
			return nil, err
		}
		stand[refusal{at.UnixMicro(), id}] = true
	}
	return stand, found.Err()
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
