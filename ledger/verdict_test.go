package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func TestVerdictsAreWrittenAsGiven(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	good := credited(t, 19309, 1)
	good.Solution = []byte("0,1\x00\xff\\x41\n\t'\"é\\N\\.")
	bad := rejected(t, 19309, 2, "HashTargetExceeded")
	unknown := rejected(t, 0, 0, "UnknownWork")
	unknown.WorkerID, unknown.MinerID, unknown.WorkID, unknown.HasProof, unknown.Solution = 0, 0, uuid.Nil, false, nil
	if got, want := write(t, back, good, bad, unknown), (ledger.Written{Credited: 1, Rejected: 2}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	for what, query := range map[string]string{
		"share": fmt.Sprintf(`SELECT count(*) FROM share WHERE network_id = 1 AND height = 19309 AND proof = '\x%x' AND id = '%s'
			AND work_id = '%s' AND worker_id = 7 AND miner_id = 5 AND weight = 65536 AND hashes_per_second = 1000
			AND received_at = '%s'`, good.Proof, good.ShareID, good.WorkID, good.ReceivedAt.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)),
		"solution": fmt.Sprintf(`SELECT count(*) FROM share_solution WHERE share_id = '%s' AND solution = '\x%x'`, good.ShareID, good.Solution),
		"rejected": fmt.Sprintf(`SELECT count(*) FROM rejected_share WHERE id = '%s' AND reason = 'HashTargetExceeded' AND detail = 'found so'
			AND worker_id = 7 AND miner_id = 5 AND work_id = '%s' AND height = 19309 AND proof = '\x%x' AND host(remote_ip) = '192.0.2.7'`,
			bad.ShareID, bad.WorkID, bad.Proof),
		"unknown": fmt.Sprintf(`SELECT count(*) FROM rejected_share WHERE id = '%s' AND reason = 'UnknownWork'
			AND worker_id IS NULL AND miner_id IS NULL AND work_id IS NULL AND height IS NULL AND proof IS NULL`, unknown.ShareID),
	} {
		if n := ledgertest.Value[int](t, db, query); n != 1 {
			t.Errorf("%s: %d rows", what, n)
		}
	}
	if n := count(t, db, "share_solution"); n != 2 {
		t.Errorf("%d solutions, want those of the shares that have one", n)
	}
	checkRollUps(t, db)
}

func TestWritingABatchAgainChangesNothing(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	batch := []ledger.Verdict{credited(t, 10, 1), credited(t, 10, 2), rejected(t, 10, 3, "HashTargetExceeded"), rejected(t, 11, 4, "UnknownWork")}
	write(t, back, batch...)
	for range 2 {
		if got, want := write(t, back, batch...), (ledger.Written{Redelivered: 4}); got != want {
			t.Fatalf("written %+v, want %+v", got, want)
		}
	}
	if s, r, x := count(t, db, "share"), count(t, db, "rejected_share"), count(t, db, "share_solution"); s != 2 || r != 2 || x != 4 {
		t.Fatalf("%d shares, %d rejected, %d solutions", s, r, x)
	}
	checkRollUps(t, db)
}

func TestRedeliveredShareKeepsItsFirstVerdict(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	good, bad := credited(t, 10, 1), rejected(t, 10, 2, "WorkExpired")
	write(t, back, good, bad)
	// Judged again, both have turned round: the miner was disabled, or enabled.
	good.Reason, bad.Reason = "MinerDisabled", ""
	if got, want := write(t, back, good, bad), (ledger.Written{Redelivered: 2}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	checkRollUps(t, db)
}

func TestProofIsCreditedOnce(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	early, late := credited(t, 10, 1), credited(t, 10, 1)
	late.ReceivedAt = early.ReceivedAt.Add(time.Second)
	third := credited(t, 10, 1)
	// In one batch the first to arrive wins, wherever it stands.
	if got, want := write(t, back, late, early), (ledger.Written{Credited: 1, Duplicates: 1}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	if got, want := write(t, back, third, late, early), (ledger.Written{Duplicates: 1, Redelivered: 2}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	if id := ledgertest.Value[uuid.UUID](t, db, "SELECT id FROM share"); id != early.ShareID {
		t.Errorf("credited is %s, not the first %s", id, early.ShareID)
	}
	if n := count(t, db, "rejected_share WHERE reason = '"+ledger.ReasonDuplicate+"'"); n != 2 {
		t.Errorf("%d duplicates", n)
	}
	// Another height or another network is another share.
	if got := write(t, back, credited(t, 11, 1)); got.Credited != 1 {
		t.Errorf("another height: %+v", got)
	}
	if got, err := back.WriteVerdicts(t.Context(), 2, []ledger.Verdict{credited(t, 10, 1)}); err != nil || got.Credited != 1 {
		t.Errorf("another network: %+v (%v)", got, err)
	}
	checkRollUps(t, db)
}

func TestSameShareTwiceInABatchCountsOnce(t *testing.T) {
	db := ledgertest.New(t)
	v, r := credited(t, 10, 1), rejected(t, 10, 2, "UnknownWork")
	if got, want := write(t, db.Backend(), v, r, v, r, v), (ledger.Written{Credited: 1, Rejected: 1, Redelivered: 3}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	checkRollUps(t, db)
}

func TestKnownProofsTellWhoseTheyAre(t *testing.T) {
	back := ledgertest.New(t).Backend()
	a, b := credited(t, 10, 1), credited(t, 900, 2)
	write(t, back, a, b, rejected(t, 10, 3, "BibleHashWrong"))
	key := func(height int32, n uint64) ledger.ProofKey { return ledger.ProofKey{Height: height, Proof: proof(n)} }
	known, err := back.KnownProofs(t.Context(), mainNet, []ledger.ProofKey{key(10, 1), key(900, 2), key(10, 2), key(10, 3), key(500000, 1)})
	if err != nil || len(known) != 2 || known[key(10, 1)] != a.ShareID || known[key(900, 2)] != b.ShareID {
		t.Fatalf("known %v (%v)", known, err)
	}
	if none, err := back.KnownProofs(t.Context(), 2, []ledger.ProofKey{key(10, 1)}); err != nil || len(none) != 0 {
		t.Fatalf("on another network: %v (%v)", none, err)
	}
	if none, err := back.KnownProofs(t.Context(), mainNet, nil); err != nil || len(none) != 0 {
		t.Fatalf("nothing asked: %v (%v)", none, err)
	}
}

func TestBadStatisticsAndTextsCostNoShare(t *testing.T) {
	db := ledgertest.New(t)
	good := credited(t, 10, 1)
	good.HashesPerSecond = math.MinInt64
	most := credited(t, 10, 2)
	most.HashesPerSecond, most.Weight = math.MaxInt64, math.MaxInt64
	full := credited(t, 10, 3)
	full.Weight = math.MaxInt64
	bad := rejected(t, 10, 4, strings.Repeat("R", 200))
	bad.Detail = "\x00\xff" + strings.Repeat("漢", 1000)
	if got, want := write(t, db.Backend(), good, most, full, bad), (ledger.Written{Credited: 3, Rejected: 1}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	if !ledgertest.Value[bool](t, db, fmt.Sprintf("SELECT hashes_per_second IS NULL FROM share WHERE id = '%s'", good.ShareID)) {
		t.Error("a negative rate is kept")
	}
	checkRollUps(t, db) // sums beyond 64 bits included
}

func TestCreditWithoutSubstanceIsRefused(t *testing.T) {
	back := ledgertest.New(t).Backend()
	for name, spoil := range map[string]func(*ledger.Verdict){
		"no proof":        func(v *ledger.Verdict) { v.HasProof = false },
		"no weight":       func(v *ledger.Verdict) { v.Weight = 0 },
		"negative weight": func(v *ledger.Verdict) { v.Weight = -1 },
		"no worker":       func(v *ledger.Verdict) { v.WorkerID = 0 },
		"no miner":        func(v *ledger.Verdict) { v.MinerID = 0 },
		"negative height": func(v *ledger.Verdict) { v.Height = -1 },
	} {
		v := credited(t, 10, 1)
		spoil(&v)
		if _, err := back.WriteVerdicts(t.Context(), mainNet, []ledger.Verdict{v}); !errors.Is(err, ledger.ErrBadRow) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimesOutsideAllPartitionsStillCount(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	var batch []ledger.Verdict
	for i, at := range []time.Time{
		{}, time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -3), time.Now().AddDate(0, 0, 30), time.Now().AddDate(400, 0, 0), time.Unix(1<<40, 0),
	} {
		v, r := credited(t, 10, uint64(i)), rejected(t, 10, uint64(100+i), "UnknownWork")
		v.ReceivedAt, r.ReceivedAt = at, at
		batch = append(batch, v, r)
	}
	if got, want := write(t, back, batch...), (ledger.Written{Credited: 6, Rejected: 6}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	if got, want := write(t, back, batch...), (ledger.Written{Redelivered: 12}); got != want {
		t.Fatalf("again: written %+v, want %+v", got, want)
	}
	if n := count(t, db, "share WHERE received_at > now() + interval '6 days'"); n != 0 {
		t.Errorf("%d shares of a far future would keep their partition for ever", n)
	}
	if n := count(t, db, "share WHERE received_at < now() - interval '300 days'"); n != 2 {
		t.Errorf("old shares have lost their time of arrival: %d are left", n)
	}
	checkRollUps(t, db)
}

func TestValidatorsThatOverlapCreditEachProofOnce(t *testing.T) {
	db := ledgertest.New(t)
	const validators, rounds, size, proofs = 8, 6, 60, 400
	// Each validator is its own process: a store of its own.
	stores := make([]*ledger.BackendStore, validators)
	for i := range stores {
		stores[i] = openBackend(t, db.BackendDSN(), ledger.Options{MaxOpen: 2})
	}
	// Shares: each proof is handed in by three shares; a share may be delivered
	// to several validators.
	var shares []ledger.Verdict
	for n := range proofs {
		for range 3 {
			v := credited(t, int32(190+n%20), uint64(n)) // over a border of partitions
			v.WorkerID, v.MinerID = int64(1+rand.IntN(9)), 1
			shares = append(shares, v)
		}
	}
	for n := range 200 {
		shares = append(shares, rejected(t, 10, uint64(10000+n), fmt.Sprint("Reason", n%3)))
	}
	var sum ledger.Written
	var mu sync.Mutex // guards sum
	delivered := map[uuid.UUID]bool{}
	var group errgroup.Group
	for i := range validators {
		batches := make([][]ledger.Verdict, rounds)
		for r := range batches {
			for range size {
				v := shares[rand.IntN(len(shares))]
				delivered[v.ShareID] = true
				batches[r] = append(batches[r], v)
			}
		}
		group.Go(func() error {
			for _, batch := range batches {
				got, err := stores[i].WriteVerdicts(t.Context(), mainNet, batch)
				if err != nil {
					return err
				}
				mu.Lock()
				sum.Credited += got.Credited
				sum.Rejected += got.Rejected
				sum.Duplicates += got.Duplicates
				sum.Redelivered += got.Redelivered
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if total := sum.Credited + sum.Rejected + sum.Duplicates + sum.Redelivered; total != validators*rounds*size {
		t.Errorf("%+v make %d verdicts, want %d", sum, total, validators*rounds*size)
	}
	if s, r := count(t, db, "share"), count(t, db, "rejected_share"); int(s) != sum.Credited || int(r) != sum.Rejected+sum.Duplicates {
		t.Errorf("%d shares and %d rejected, counted were %+v", s, r, sum)
	}
	if once := count(t, db, "(SELECT DISTINCT height, proof FROM share) AS x"); int(once) != sum.Credited {
		t.Errorf("%d proofs for %d shares", once, sum.Credited)
	}
	if all := count(t, db, "(SELECT id FROM share UNION ALL SELECT id FROM rejected_share) AS x"); int(all) != len(delivered) {
		t.Errorf("%d shares were delivered, %d stand in the ledger", len(delivered), all)
	}
	if n := count(t, db, "share_solution"); int(n) != len(delivered) {
		t.Errorf("%d solutions of %d shares", n, len(delivered))
	}
	checkRollUps(t, db)
}

func TestLoserOfARaceBecomesADuplicate(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	write(t, back, credited(t, 10, 0))
	// Another validator holds the proof in an open transaction, after this one
	// has looked it up and before it has copied.
	other := db.SQL(pgcluster.Superuser).MustBegin()
	winner := uuid.New()
	p := proof(1)
	other.MustExec(`INSERT INTO share (received_at, worker_id, miner_id, weight, height, network_id, id, work_id, proof)
		VALUES (now(), 1, 1, 1, 10, 1, $1, $1, $2)`, winner, p[:])
	loser, bystander, same := credited(t, 10, 1), credited(t, 10, 2), rejected(t, 10, 3, "UnknownWork")
	var got ledger.Written
	var group errgroup.Group
	group.Go(func() (err error) {
		got, err = back.WriteVerdicts(t.Context(), mainNet, []ledger.Verdict{loser, bystander, same})
		return err
	})
	waitUntil(t, "the batch waits for the winner", func() bool {
		return count(t, db, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1
	})
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := (ledger.Written{Credited: 1, Rejected: 1, Duplicates: 1}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	if n := count(t, db, fmt.Sprintf("rejected_share WHERE id = '%s' AND reason = '%s'", loser.ShareID, ledger.ReasonDuplicate)); n != 1 {
		t.Fatalf("%d rejections of the loser", n)
	}
}

func TestPartitionDroppedByAnotherProcessIsMadeAgain(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	write(t, back, credited(t, 10, 1))
	db.SQL(pgcluster.Superuser).MustExec("DROP TABLE share_n1_h0")
	if got := write(t, back, credited(t, 10, 2)); got.Credited != 1 {
		t.Fatalf("written %+v", got)
	}
}

func TestUnknownNetworkIsNoReasonToReject(t *testing.T) {
	back := ledgertest.New(t).Backend()
	_, err := back.WriteVerdicts(t.Context(), 99, []ledger.Verdict{credited(t, 10, 1)})
	if err == nil || ledger.Refused(err) || ledger.Away(err) {
		t.Fatalf("write: %v", err)
	}
}

func TestSolutionOfAnyBytesIsKept(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	all := make([]byte, 0, 3*256)
	for c := range 256 {
		all = append(all, byte(c), '\\', byte(c))
	}
	big := bytes.Repeat([]byte("0123456789abcdef,"), 200000) // 3.4 MB
	for _, solution := range [][]byte{all, []byte(`\x41`), []byte(`\`), []byte(`\.`), []byte(`\N`), big} {
		v := credited(t, 10, rand.Uint64())
		v.Solution = solution
		write(t, back, v)
		got := ledgertest.Value[[]byte](t, db, "SELECT solution FROM share_solution WHERE share_id = $1", v.ShareID)
		if !bytes.Equal(got, solution) {
			t.Errorf("%.20q… became %.20q…", solution, got)
		}
	}
}

func waitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
