package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
)

const (
	mainPool   = "BLYpMhrivkozk8Tz4CfFrrKYnDeiGTJYAb"
	testPool   = "yQRnSo2Fa4KofZdWVuTFqtYoxeTZqXYU7y"
	mainTarget = "0000011110000000000000000000000000000000000000000000000000000000"
)

// front is a front desk on a real ledger and a real queue.
type front struct {
	*Desk
	db      *ledgertest.DB
	backend *ledger.BackendStore
	ids     map[string]int16
	shares  <-chan *queue.Delivery

	mu  sync.Mutex
	now time.Time
}

func (f *front) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *front) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func openFront(t *testing.T) *front {
	t.Helper()
	f := &front{db: ledgertest.New(t), now: time.Now()}
	f.backend = f.db.Backend()
	store := f.db.Frontend()
	ids, err := store.Networks(t.Context())
	must(t, err)
	f.ids = ids

	ctx, stop := context.WithCancel(context.Background())
	broker, err := queue.Open(ctx, queue.Config{URL: "embedded:" + filepath.Join(t.TempDir(), "queue")})
	must(t, err)
	must(t, broker.Provision(ctx, "main", "test"))
	publisher, err := queue.NewPublisher(broker, queue.PublisherConfig{Networks: []string{"main", "test"}})
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = publisher.Run(ctx) })
	f.shares, err = queue.Subscribe(ctx, broker, "main", queue.SubscribeConfig{})
	must(t, err)

	target, err := pow.ParseTarget(mainTarget)
	must(t, err)
	f.Desk, err = NewDesk(Config{
		Frontend: "f1",
		Networks: []Network{
			{Name: "main", ID: ids["main"], Chain: chain.BiblePayMain(), PoolAddress: mainPool, HashTarget: target},
			{Name: "test", ID: ids["test"], Chain: chain.BiblePayTest(), PoolAddress: testPool, HashTarget: target},
		},
		Now: f.clock, Registerer: prometheus.NewRegistry(),
	}, store, publisher)
	must(t, err)
	t.Cleanup(func() {
		f.Close()
		must(t, publisher.Close())
		stop()
		wg.Wait()
		must(t, broker.Close())
	})
	return f
}

// next returns the next share on the queue.
func (f *front) next(t *testing.T) queue.Share {
	t.Helper()
	select {
	case d := <-f.shares:
		d.Ack()
		if len(d.Shares) != 1 {
			t.Fatalf("%d shares at once", len(d.Shares))
		}
		return d.Shares[0]
	case <-time.After(10 * time.Second):
		t.Fatal("no share on the queue")
	}
	panic("unreachable")
}

func (f *front) grant(t *testing.T, miner string) WorkGrant {
	t.Helper()
	g, err := f.RequestWork(t.Context(), WorkRequest{Network: "main", Miner: Field{miner, true}, RemoteIP: netip.MustParseAddr("192.0.2.1")})
	must(t, err)
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRefusal(t *testing.T, err error, kind Kind, text string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Kind != kind || !strings.Contains(r.Text, text) {
		t.Errorf("got %#v, want a refusal %s with %q", err, kind, text)
	}
}

// solutionFor is a well-formed solution for a grant; what only the daemon or the
// block could tell is nonsense.
func solutionFor(g WorkGrant, n int) []string {
	proof := fmt.Sprintf("00000011%056x", n)
	return []string{
		strings.Repeat("ab", 32), "1526817500", "1526817400", "31369", proof, g.MinerGUID, g.WorkID, "0",
		"332694", "1518040817888", "1769512", "1518037739857", "1518041527556", "14217", "b10c", "7c",
	}
}

func (f *front) submit(t *testing.T, fields []string) (SolutionReceipt, error) {
	t.Helper()
	return f.SubmitSolution(t.Context(), SolutionRequest{
		Network: "main", Solution: Field{strings.Join(fields, ","), true},
		RemoteIP: netip.MustParseAddr("192.0.2.1"), ReceivedAt: f.clock(),
	})
}

func TestWorkStandsInTheLedgerWhenItIsGranted(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress+"/rig1/a@b.c")
	if g.PoolAddress != mainPool || g.HashTarget != mainTarget {
		t.Errorf("grant %+v", g)
	}
	works, err := f.backend.IssuedWorks(t.Context(), f.ids["main"], []uuid.UUID{uuid.MustParse(g.WorkID)})
	must(t, err)
	if w := works[uuid.MustParse(g.WorkID)]; w.MinerGUID.String() != g.MinerGUID || !w.MinerEnabled {
		t.Errorf("in the ledger: %+v", w)
	}
	if again := f.grant(t, someAddress+"/rig1"); again.MinerGUID != g.MinerGUID || again.WorkID == g.WorkID {
		t.Errorf("second grant %+v", again)
	}
}

// Hazards H1, H2, H6: the original answered these with an error page, or took
// addresses that can never be paid.
func TestUnusableWorkerIDsAreRefusedWithTheReason(t *testing.T) {
	f := openFront(t)
	for miner, text := range map[string]string{
		"":                                       "WorkerID  is invalid",
		"/":                                      "WorkerID / is invalid",
		"//x":                                    "WorkerID //x is invalid",
		"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxxx/rig1": "is invalid",
		"X91RjV9UoZa5qLNbWZFXJ42sFWbJCyxxxx/rig1":   "is invalid",
		"B000000000000000000000000000000000":        "is invalid",
		"ybZfedpL4Qpb9btqoZoRywK92P4HecTG4p":        "test",
		"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTJ":        "checksum",
		"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUT\xd6/r":   "is invalid",
		strings.Repeat("B", 100_000) + "/very-long": "is invalid",
	} {
		_, err := f.RequestWork(t.Context(), WorkRequest{Network: "main", Miner: Field{miner, true}})
		wantRefusal(t, err, KindWorkerInvalid, text)
	}
	_, err := f.RequestWork(t.Context(), WorkRequest{Network: "main"})
	wantRefusal(t, err, KindWorkerMissing, "WorkerID is missing")
	for _, network := range []string{"", "regtest", "MAIN", "main ", "\x00"} {
		_, err = f.RequestWork(t.Context(), WorkRequest{Network: network, Miner: Field{someAddress, true}})
		wantRefusal(t, err, KindInvalidNetwork, "Invalid network")
	}
}

// Hazard H4: the original kept addresses unique over all networks.
func TestMinersOfTwoNetworksAreTwoMiners(t *testing.T) {
	f := openFront(t)
	a := f.grant(t, someAddress)
	b, err := f.RequestWork(t.Context(), WorkRequest{Network: "test", Miner: Field{"yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop", true}})
	must(t, err)
	if a.MinerGUID == b.MinerGUID || b.PoolAddress != testPool {
		t.Errorf("%+v %+v", a, b)
	}
}

// Hazard H5: of sixteen first requests at once the original failed up to three,
// and made a worker twice in six of ten trials.
func TestSixtyFourFirstRequestsMakeOneMinerAndOneWorker(t *testing.T) {
	f := openFront(t)
	var wg sync.WaitGroup
	guids := make([]string, 64)
	for i := range guids {
		wg.Go(func() { guids[i] = f.grant(t, someAddress+"/new").MinerGUID })
	}
	wg.Wait()
	for _, g := range guids {
		if g != guids[0] {
			t.Fatalf("two miners: %s %s", g, guids[0])
		}
	}
	found, err := f.backend.FindMiners(t.Context(), ledger.MinerQuery{NetworkID: f.ids["main"], Address: someAddress})
	must(t, err)
	if len(found) != 1 || found[0].Workers != 1 {
		t.Errorf("in the ledger: %+v", found)
	}
}

// Hazards H7 and H9: names that were mixed up, and names that failed.
func TestAnyWorkerNameWorksAndIsItsOwn(t *testing.T) {
	f := openFront(t)
	long := strings.Repeat("w", 240)
	names := []string{"my rig", "my__rig", "a\tb", "<b>x", "w\xf6rker", "x", "X", "e\u0301", "\u00e9", long, "'; DROP TABLE miner; --"}
	for _, name := range names {
		f.grant(t, someAddress+"/"+name)
	}
	found, err := f.backend.FindMiners(t.Context(), ledger.MinerQuery{NetworkID: f.ids["main"], Address: someAddress})
	must(t, err)
	if found[0].Workers != len(names) {
		t.Errorf("%d workers of %d names", found[0].Workers, len(names))
	}
	_, err = f.RequestWork(t.Context(), WorkRequest{
		Network: "main", Miner: Field{someAddress + "/x", true},
		OS: strings.Repeat("o", 51), Agent: strings.Repeat("ä", 500), ThreadID: strings.Repeat("t\x00", 21),
	})
	must(t, err)
}

// Hazard H8: the original believed its cache for five minutes, both ways.
func TestDisablingAMinerTakesEffectWithinAMinute(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	setEnabled := func(enabled bool) {
		found, err := f.backend.FindMiners(t.Context(), ledger.MinerQuery{NetworkID: f.ids["main"], Address: someAddress})
		must(t, err)
		must(t, f.backend.SetMinerEnabled(t.Context(), found[0].ID, enabled, ledger.Reason{Who: "test", Why: "test"}))
		f.pass(31 * time.Second)
	}
	setEnabled(false)
	_, err := f.RequestWork(t.Context(), WorkRequest{Network: "main", Miner: Field{someAddress, true}})
	wantRefusal(t, err, KindMinerDisabled, "Miner "+someAddress+" is disabled")
	_, err = f.submit(t, solutionFor(g, 1))
	wantRefusal(t, err, KindMinerDisabled, "is disabled")
	setEnabled(true)
	f.grant(t, someAddress)
	_, err = f.submit(t, solutionFor(g, 1))
	must(t, err)
}

// Hazard H8, other half: rows that have gone.
func TestRemovedWorkerIsMadeAgain(t *testing.T) {
	f := openFront(t)
	f.grant(t, someAddress+"/rig1")
	db := f.db.SQL("postgres")
	for _, table := range []string{"work", "worker", "miner"} {
		_, err := db.ExecContext(t.Context(), "DELETE FROM purepool."+table)
		must(t, err)
	}
	f.grant(t, someAddress+"/rig1")
}

// Hazard H14: in the original every request added a row, without a bound.
func TestWorkerThatAsksTooOftenGetsTheSameWorkAgain(t *testing.T) {
	f := openFront(t)
	given := map[string]bool{}
	for range 200 {
		given[f.grant(t, someAddress).WorkID] = true
	}
	rows := func() int64 {
		return ledgertest.Value[int64](t, f.db, `SELECT count(*) FROM work`)
	}
	if n := rows(); n > 120 || n < 60 || int(n) != len(given) { // at most two minutes' worth: one may have begun meanwhile
		t.Errorf("%d rows for %d pieces of work in 200 requests", n, len(given))
	}
	before := rows()
	f.grant(t, someAddress+"/other")
	f.pass(time.Minute)
	f.grant(t, someAddress)
	if n := rows() - before; n != 2 {
		t.Errorf("%d rows for another worker and another minute", n)
	}
}

func TestTakenShareIsOnTheQueueAsItWasSent(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	fields := solutionFor(g, 1)
	receipt, err := f.submit(t, fields)
	must(t, err)
	if receipt.WorkID != g.WorkID {
		t.Errorf("receipt %+v", receipt)
	}
	s := f.next(t)
	if string(s.Solution) != strings.Join(fields, ",") || s.WorkID.String() != g.WorkID || s.MinerID.String() != g.MinerGUID ||
		s.Refusal != "" || s.Frontend != "f1" || s.RemoteIP.String() != "192.0.2.1" || s.ID.Version() != 7 ||
		!s.ReceivedAt.Equal(f.clock().Truncate(time.Microsecond)) {
		t.Errorf("on the queue: %+v", s)
	}
}

func TestBlanksAroundTheWorkIDAreEchoed(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	fields := solutionFor(g, 1)
	fields[6] = " " + g.WorkID + " "
	receipt, err := f.submit(t, fields)
	must(t, err)
	if receipt.WorkID != fields[6] {
		t.Errorf("%q", receipt.WorkID)
	}
}

// Hazards V1, V3, V4, V8, V9: what the original took, or refused without a trace.
func TestEveryRefusedShareLeavesOneRecord(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	other := f.grant(t, "BLzS3xeaoiXUchbBofi7dzNqwrGyUeUdC6")
	with := func(field int, value string) []string {
		fields := solutionFor(g, 7)
		fields[field] = value
		return fields
	}
	taken := solutionFor(g, 8)
	_, err := f.submit(t, taken)
	must(t, err)
	f.next(t)

	for _, c := range []struct {
		name   string
		fields []string
		kind   Kind
		text   string
	}{
		{"too few fields", taken[:15], KindSolutionInvalid, "Invalit Solution"},
		{"empty", nil, KindSolutionInvalid, "Invalit Solution"},
		{"only commas", make([]string, 16), KindSolutionInvalid, "field 0 (block_hash)"},
		{"negative nonce", with(13, "-5"), KindSolutionInvalid, "field 13 (nonce)"},
		{"block is no hex", with(14, "b\xc3\xa9"), KindSolutionInvalid, "field 14 (block_hex)"},
		{"work is no uuid", with(6, "not-a-uuid"), KindSolutionInvalid, "field 6 (work_id)"},
		{"unknown work", with(6, "ffffffff-0000-4000-8000-00000000ffff"), KindUnknownWork, "please ask for new work"},
		{"miner of another work", with(5, other.MinerGUID), KindUnknownWork, "was not given to miner"},
		{"proof equal to the target", with(4, mainTarget), KindHashTargetExceeded, "not below the target"},
		{"proof above the target", with(4, strings.Repeat("f", 64)), KindHashTargetExceeded, "not below the target"},
		{"handed in before", taken, KindDuplicate, "BibleHashAlreadyKnown"},
		{"handed in before in capitals", append(append(taken[:4:4], strings.ToUpper(taken[4])), taken[5:]...), KindDuplicate, "BibleHashAlreadyKnown"},
	} {
		_, err := f.submit(t, c.fields)
		wantRefusal(t, err, c.kind, c.text)
		if s := f.next(t); s.Refusal != string(c.kind) || len(s.Solution) != 0 {
			t.Errorf("%s: on the queue %+v", c.name, s)
		}
	}
	_, err = f.SubmitSolution(t.Context(), SolutionRequest{Network: "main"})
	wantRefusal(t, err, KindSolutionMissing, "Solution is missing")
	_, err = f.SubmitSolution(t.Context(), SolutionRequest{Network: "regtest", Solution: Field{"x", true}})
	wantRefusal(t, err, KindInvalidNetwork, "Invalid network")
}

// Hazard V4: in the original a work id was good for ever.
func TestWorkExpires(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	f.pass(24*time.Hour - time.Second)
	_, err := f.submit(t, solutionFor(g, 1))
	must(t, err)
	f.pass(2 * time.Second)
	_, err = f.submit(t, solutionFor(g, 2))
	wantRefusal(t, err, KindWorkExpired, "please ask for new work")
}

func TestSharesAreTakenWhileTheLedgerIsAway(t *testing.T) {
	f := openFront(t)
	g := f.grant(t, someAddress)
	known := solutionFor(g, 1)
	unknown := solutionFor(WorkGrant{MinerGUID: g.MinerGUID, WorkID: uuid.NewString()}, 2)
	f.Desk.cfg.StoreTimeout = 200 * time.Millisecond
	f.store = awayStore{}
	f.pass(time.Hour) // what is in memory is stale
	for _, fields := range [][]string{known, unknown} {
		_, err := f.submit(t, fields)
		must(t, err)
		if s := f.next(t); s.Refusal != "" {
			t.Errorf("refused: %+v", s)
		}
	}
	if n := testutil.ToFloat64(f.metrics.unchecked.WithLabelValues("main")); n != 1 {
		t.Errorf("%v shares counted as unchecked", n)
	}
	_, err := f.RequestWork(t.Context(), WorkRequest{Network: "main", Miner: Field{someAddress, true}})
	wantRefusal(t, err, KindUnavailable, "try again")
}

// awayStore is a database that cannot be reached, which a real one becomes in
// the tests of the whole house.
type awayStore struct{}

func (awayStore) EnsureWorker(context.Context, int16, string, string, string) (ledger.Worker, error) {
	return ledger.Worker{}, context.DeadlineExceeded
}

func (awayStore) InsertWorks(context.Context, []ledger.Work) error { return context.DeadlineExceeded }

func (awayStore) IssuedWorks(context.Context, int16, []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error) {
	return nil, context.DeadlineExceeded
}

// The bytes of the real solution of 2018 pass the front desk, for the miner and
// the work that they were made for.
func TestRealSolutionPassesTheFrontDesk(t *testing.T) {
	f := openFront(t)
	raw, err := os.ReadFile("solution/testdata/testnet-solution-2018.json")
	must(t, err)
	var real struct {
		Solution string
		Fields   struct {
			MinerID uuid.UUID `json:"miner_id"`
			WorkID  uuid.UUID `json:"work_id"`
		}
	}
	must(t, json.Unmarshal(raw, &real))
	target, _ := pow.ParseTarget(mainTarget)
	must(t, f.backend.ImportWork(t.Context(), testPool, real.Fields.MinerID, "Default", ledger.Work{
		ID: real.Fields.WorkID, NetworkID: f.ids["test"], HashTarget: target, IssuedAt: f.clock(),
	}))
	receipt, err := f.SubmitSolution(t.Context(), SolutionRequest{
		Network: "test", Solution: Field{real.Solution, true}, ReceivedAt: f.clock(),
	})
	must(t, err)
	if receipt.WorkID != real.Fields.WorkID.String() {
		t.Errorf("%+v", receipt)
	}
}
