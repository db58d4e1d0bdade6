package ledger_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func TestManyFirstRequestsMakeOneMinerAndOneWorker(t *testing.T) {
	db := ledgertest.New(t)
	store := openFrontend(t, db.FrontendDSN(), ledger.Options{MaxOpen: 32})
	const askers = 64
	workers, errs := make([]ledger.Worker, askers), make([]error, askers)
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			workers[i], errs[i] = store.EnsureWorker(t.Context(), mainNet, someAddress, "rig1", "me@example.org")
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, w := range workers {
		if w != workers[0] {
			t.Fatalf("two workers: %+v and %+v", w, workers[0])
		}
	}
	if m, w := count(t, db, "miner"), count(t, db, "worker"); m != 1 || w != 1 {
		t.Fatalf("%d miners, %d workers", m, w)
	}
	w := workers[0]
	if w.ID == 0 || w.Name != "rig1" || w.Miner.Address != someAddress || !w.Miner.Enabled || w.Miner.HashTarget != nil || w.Miner.GUID == uuid.Nil {
		t.Fatalf("worker %+v", w)
	}
}

func TestAddressIsAMinerOfItsOwnOnEachNetwork(t *testing.T) {
	store := ledgertest.New(t).Frontend()
	a, errA := store.EnsureWorker(t.Context(), 1, someAddress, "Default", "")
	b, errB := store.EnsureWorker(t.Context(), 2, someAddress, "Default", "")
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if a.Miner.ID == b.Miner.ID || a.Miner.GUID == b.Miner.GUID || a.ID == b.ID {
		t.Fatalf("%+v and %+v", a, b)
	}
}

func TestWorkerNamesAreExactAndCut(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Frontend()
	ids := map[int64]string{}
	for _, name := range []string{
		"my rig", "my__rig", "my  rig", "My rig", "ring\a", "tab\t", "ΩЖ漢🙂", "'; DROP TABLE worker; --", `\`, "%s", strings.Repeat("x", 100),
	} {
		w, err := store.EnsureWorker(t.Context(), mainNet, someAddress, name, "")
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if w.Name != name || ids[w.ID] != "" {
			t.Fatalf("%q is %+v, as is %q", name, w, ids[w.ID])
		}
		ids[w.ID] = name
	}
	long, err := store.EnsureWorker(t.Context(), mainNet, someAddress, strings.Repeat("漢", 300), "")
	if err != nil || long.Name != strings.Repeat("漢", 100) {
		t.Fatalf("long name: %+v (%v)", long, err)
	}
	same, err := store.EnsureWorker(t.Context(), mainNet, someAddress, strings.Repeat("漢", 100), "")
	if err != nil || same.ID != long.ID {
		t.Fatalf("cut name: %+v (%v)", same, err)
	}
}

func TestNamesThatPostgresCannotHoldAreRefused(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Frontend()
	for _, c := range []struct{ address, worker string }{
		{someAddress, "rig\x00"},
		{someAddress, "rig\xff"},
		{someAddress, ""},
		{"B\x00", "rig"},
		{"\xc3(", "rig"},
		{"", "rig"},
		{strings.Repeat("B", 101), "rig"},
	} {
		_, err := store.EnsureWorker(t.Context(), mainNet, c.address, c.worker, "")
		if !errors.Is(err, ledger.ErrBadText) || !ledger.Refused(err) || ledger.Away(err) {
			t.Errorf("%q, %q: %v", c.address, c.worker, err)
		}
	}
	if n := count(t, db, "miner"); n != 0 {
		t.Errorf("%d miners were made", n)
	}
}

func TestEmailIsKeptWithANewWorkerWhereItCanBeOne(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Frontend()
	for i, c := range []struct{ email, want string }{
		{"me@example.org", "me@example.org"}, {"", "none"}, {"bad\x00", "none"}, {"bad\xff", "none"}, {strings.Repeat("x", 255), "none"},
	} {
		w, err := store.EnsureWorker(t.Context(), mainNet, someAddress, fmt.Sprint("rig", i), c.email)
		if err != nil {
			t.Fatal(err)
		}
		got := ledgertest.Value[string](t, db, "SELECT coalesce(email, 'none') FROM worker WHERE id = $1", w.ID)
		if got != c.want {
			t.Errorf("%q became %q", c.email, got)
		}
	}
	w, err := store.EnsureWorker(t.Context(), mainNet, someAddress, "rig0", "thief@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if got := ledgertest.Value[string](t, db, "SELECT email FROM worker WHERE id = $1", w.ID); got != "me@example.org" {
		t.Errorf("somebody else's request changed the address to %q", got)
	}
}

func TestWorksAreIssuedAndFoundAgain(t *testing.T) {
	db := ledgertest.New(t)
	front, back := db.Frontend(), db.Backend()
	worker, err := front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	works := []ledger.Work{
		{ID: newID(t), IssuedAt: now, RemoteIP: netip.MustParseAddr("2001:db8::1"), ThreadID: "0", OS: "LIN", Agent: "1.1.3.8"},
		{ID: uuid.New(), IssuedAt: now.Add(-30 * time.Hour), RemoteIP: netip.MustParseAddr("::ffff:192.0.2.1")},
		{ID: newID(t), IssuedAt: now, ThreadID: strings.Repeat("9", 50), OS: "L\x00N" + strings.Repeat("漢", 60), Agent: "\xff" + strings.Repeat("a", 1<<20)},
		{ID: newID(t), IssuedAt: now, RemoteIP: netip.MustParseAddr("fe80::1%eth0")},
	}
	ids := make([]uuid.UUID, len(works))
	for i := range works {
		works[i].NetworkID, works[i].WorkerID, works[i].HashTarget = mainNet, worker.ID, proof(uint64(i))
		ids[i] = works[i].ID
	}
	for range 2 { // a second time changes nothing
		if err := front.InsertWorks(t.Context(), works); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, db, "work"); n != int64(len(works)) {
		t.Fatalf("%d works", n)
	}
	if got := ledgertest.Value[string](t, db, "SELECT thread_id || ' ' || os || ' ' || agent FROM work WHERE id = $1", ids[2]); got !=
		strings.Repeat("9", 20)+" L\uFFFDN"+strings.Repeat("漢", 47)+" \uFFFD"+strings.Repeat("a", 49) {
		t.Errorf("texts became %q", got)
	}
	if got := ledgertest.Value[string](t, db, "SELECT string_agg(coalesce(host(remote_ip), 'none'), ' ' ORDER BY hash_target) FROM work WHERE id <> $1", ids[2]); !sameWords(got, "2001:db8::1 192.0.2.1 fe80::1") {
		t.Errorf("addresses became %q", got)
	}

	asked := append([]uuid.UUID{uuid.New(), newID(t), ids[0]}, ids...)
	for name, look := range map[string]func() (map[uuid.UUID]ledger.IssuedWork, error){
		"frontend": func() (map[uuid.UUID]ledger.IssuedWork, error) {
			return front.IssuedWorks(t.Context(), mainNet, asked)
		},
		"backend": func() (map[uuid.UUID]ledger.IssuedWork, error) {
			return back.IssuedWorks(t.Context(), mainNet, asked)
		},
	} {
		found, err := look()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := map[uuid.UUID]ledger.IssuedWork{}
		for _, w := range works {
			want[w.ID] = ledger.IssuedWork{
				ID: w.ID, NetworkID: mainNet, WorkerID: worker.ID, MinerID: worker.Miner.ID, MinerGUID: worker.Miner.GUID,
				HashTarget: w.HashTarget, IssuedAt: w.IssuedAt.UTC().Truncate(time.Microsecond), MinerEnabled: true,
			}
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	other, err := front.IssuedWorks(t.Context(), 2, ids)
	if err != nil || len(other) != 0 {
		t.Errorf("on another network: %v (%v)", other, err)
	}
}

func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	seen := map[string]int{}
	for _, w := range x {
		seen[w]++
	}
	for _, w := range y {
		seen[w]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestWorkOfNobodyOrOfAnotherNetworkIsUnknown(t *testing.T) {
	front := ledgertest.New(t).Frontend()
	worker, err := front.EnsureWorker(t.Context(), 2, someAddress, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	forged := ledger.Work{ID: newID(t), NetworkID: mainNet, WorkerID: worker.ID, IssuedAt: time.Now()}
	nobody := ledger.Work{ID: newID(t), NetworkID: mainNet, WorkerID: 4711, IssuedAt: time.Now()}
	if err := front.InsertWorks(t.Context(), []ledger.Work{forged, nobody}); err != nil {
		t.Fatal(err)
	}
	found, err := front.IssuedWorks(t.Context(), mainNet, []uuid.UUID{forged.ID, nobody.ID})
	if err != nil || len(found) != 0 {
		t.Fatalf("found %v (%v)", found, err)
	}
}

func TestWorkWhoseIDTellsAnotherTimeIsRefused(t *testing.T) {
	front := ledgertest.New(t).Frontend()
	err := front.InsertWorks(t.Context(), []ledger.Work{{ID: newID(t), NetworkID: mainNet, IssuedAt: time.Now().Add(-2 * time.Hour)}})
	if !errors.Is(err, ledger.ErrBadRow) || !ledger.Refused(err) {
		t.Fatalf("insert: %v", err)
	}
}

func TestWorkOfADayWithoutPartitionIsNotTheMinersFault(t *testing.T) {
	front := ledgertest.New(t).Frontend()
	err := front.InsertWorks(t.Context(), []ledger.Work{{ID: uuid.New(), NetworkID: mainNet, IssuedAt: time.Now().AddDate(0, 0, 30)}})
	if !ledger.Away(err) || ledger.Refused(err) {
		t.Fatalf("insert: %v", err)
	}
}

func TestNoWorksAreNoStatement(t *testing.T) {
	front := openFrontend(t, "host=/nowhere user=x dbname=x sslmode=disable", ledger.Options{})
	if err := front.InsertWorks(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestLookUpOfTimedWorksReadsOnlyTheirDays(t *testing.T) {
	db := ledgertest.New(t)
	var plan []string
	now := time.Now().UTC()
	err := db.SQL(pgcluster.Superuser).Select(&plan, `EXPLAIN SELECT id FROM work WHERE id = $1 AND issued_at >= $2 AND issued_at < $3`,
		uuid.NewString(), now.Truncate(24*time.Hour).Add(2*time.Hour), now.Truncate(24*time.Hour).Add(3*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(strings.Join(plan, "\n"), "work_d"); got > 2 {
		t.Errorf("the plan reads more than one day:\n%s", strings.Join(plan, "\n"))
	}
}
