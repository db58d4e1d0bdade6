package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func partitionsOf(t *testing.T, db *ledgertest.DB, parent string) []string {
	t.Helper()
	var names []string
	err := db.SQL(pgcluster.Superuser).Select(&names, `
		SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = $1::regclass ORDER BY c.relname`, parent)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestFrontendsCanWorkForDaysWithoutABackend(t *testing.T) {
	db := ledgertest.New(t)
	front := db.Frontend()
	for ahead := range 4 {
		at := time.Now().AddDate(0, 0, ahead)
		if err := front.InsertWorks(t.Context(), []ledger.Work{{ID: uuid.New(), NetworkID: mainNet, IssuedAt: at}}); err != nil {
			t.Errorf("%d days ahead: %v", ahead, err)
		}
	}
}

func TestPartitionsAreMadeAheadByManyAtOnce(t *testing.T) {
	db := ledgertest.New(t)
	var group errgroup.Group
	now := time.Now().AddDate(0, 0, 20)
	for range 6 {
		back := openBackend(t, db.BackendDSN(), ledger.Options{MaxOpen: 2})
		group.Go(func() error {
			return back.EnsurePartitions(t.Context(), now, map[int16]int32{1: 19309, 2: 0, 3: 100})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(partitionsOf(t, db, "share_n1"), " "), "share_n1_h19000 share_n1_h19200 share_n1_h19400 share_n1_h19600"; got != want {
		t.Errorf("for height 19309: %s, want %s", got, want)
	}
	for _, table := range []string{"work", "share_solution", "rejected_share", "share_minute"} {
		if want := fmt.Sprintf("%s_d%s", table, now.UTC().AddDate(0, 0, 3).Format("20060102")); !slices.Contains(partitionsOf(t, db, table), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if got := partitionsOf(t, db, "share_n2"); got[0] != "share_n2_h0" {
		t.Errorf("at the chain's beginning: %v", got)
	}
}

func TestPartitionsAreMadeWhileOthersReadAndWrite(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	write(t, back, credited(t, 10, 1))
	// A long transaction that has read and written all parents.
	busy := db.SQL(ledger.RoleBackend).MustBegin()
	defer busy.Rollback()
	busy.MustExec("SELECT count(*) FROM share, work, rejected_share, share_solution, share_minute")
	busy.MustExec("INSERT INTO rejected_share (received_at, network_id, id, reason) VALUES (now(), 1, gen_random_uuid(), 'x')")
	if err := back.EnsurePartitions(within(t, 5*time.Second), time.Now().AddDate(0, 0, 9), map[int16]int32{1: 5000}); err != nil {
		t.Fatal(err)
	}
	if got := write(t, back, credited(t, 5000, 2)); got.Credited != 1 {
		t.Fatalf("written %+v", got)
	}
}

func TestAbsurdRangesAreRefused(t *testing.T) {
	back := ledgertest.New(t).Backend()
	for _, height := range []int32{-1, 1<<31 - 1} {
		if err := back.EnsurePartitions(t.Context(), time.Now(), map[int16]int32{1: height}); err == nil {
			t.Errorf("height %d was taken", height)
		}
	}
	if got := write(t, back, credited(t, 1<<31-2, 1)); got.Credited != 1 {
		t.Errorf("the highest height: %+v", got)
	}
}

func TestExpiredDaysAreDropped(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	later := time.Now().AddDate(0, 0, 20)
	if err := back.EnsurePartitions(t.Context(), later, nil); err != nil {
		t.Fatal(err)
	}
	dropped, err := back.DropExpired(t.Context(), later, ledger.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	for table, age := range map[string]int{"work": 16, "rejected_share": 3, "share_solution": 2, "share_minute": 8} {
		oldest := fmt.Sprintf("%s_d%s", table, later.UTC().AddDate(0, 0, -age).Format("20060102"))
		for _, name := range partitionsOf(t, db, table) {
			if name < oldest {
				t.Errorf("%s is kept, though %d days are to be", name, age)
			}
		}
		for _, name := range dropped {
			if strings.HasPrefix(name, table+"_d") && name >= oldest {
				t.Errorf("%s is dropped, though %d days are to be kept", name, age)
			}
		}
	}
	if len(dropped) < 8 {
		t.Errorf("dropped are only %v", dropped)
	}
	// What is left can still be written to.
	if got := write(t, back, credited(t, 10, 1), rejected(t, 10, 2, "UnknownWork")); got.Credited != 1 || got.Rejected != 1 {
		t.Errorf("written %+v", got)
	}
}

func TestRetentionIsNeverShorterThanVerdictsMayTake(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	write(t, back, rejected(t, 10, 1, "UnknownWork"))
	second := time.Second
	_, err := back.DropExpired(t.Context(), time.Now(), ledger.Retention{Shares: second, Works: second, Rejected: second, Solutions: second, Minutes: second, Tips: second})
	if err != nil {
		t.Fatal(err)
	}
	v := rejected(t, 10, 2, "UnknownWork")
	v.ReceivedAt = time.Now().Add(-40 * time.Hour)
	if got := write(t, back, v); got.Rejected != 1 {
		t.Errorf("written %+v", got)
	}
	checkRollUps(t, db)
}

// oldShare returns a share that arrived long ago.
func oldShare(t *testing.T, height int32, n uint64, age time.Duration) ledger.Verdict {
	v := credited(t, height, n)
	v.ReceivedAt = time.Now().Add(-age)
	return v
}

func TestSharesAreDroppedOnlyOnceTheyAreSettled(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	super := db.SQL(pgcluster.Superuser)
	const day = 24 * time.Hour
	write(t, back, oldShare(t, 100, 1, 30*day), oldShare(t, 300, 2, 20*day), oldShare(t, 500, 3, 16*day), credited(t, 900, 4))
	drop := func() string {
		t.Helper()
		dropped, err := back.DropExpired(t.Context(), time.Now(), ledger.Retention{})
		if err != nil {
			t.Fatal(err)
		}
		dropped = slices.DeleteFunc(dropped, func(name string) bool { return !strings.HasPrefix(name, "share_n") })
		return strings.Join(dropped, " ")
	}
	if got := drop(); got != "" {
		t.Fatalf("nothing is settled, dropped is %s", got)
	}
	// The first round ends 18 days ago: closed, but not shared out.
	super.MustExec(`UPDATE round SET state = 'closed', until_at = now() - interval '18 days' WHERE network_id = 1`)
	super.MustExec(`INSERT INTO round (network_id, from_at) VALUES (1, now() - interval '18 days')`)
	if got := drop(); got != "" {
		t.Fatalf("the round is open, dropped is %s", got)
	}
	super.MustExec(`UPDATE round SET state = 'settled', settled_at = now() WHERE network_id = 1 AND state = 'closed'`)
	if got, want := drop(), "share_n1_h0 share_n1_h200"; got != want {
		t.Fatalf("dropped is %q, want %q: the open round has the share at 500", got, want)
	}
	if n := count(t, db, "share"); n != 2 {
		t.Fatalf("%d shares are left", n)
	}
	if got := drop(); got != "" {
		t.Fatalf("dropped again: %s", got)
	}
}

func TestSettledSharesAreKeptForTheirRetention(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	write(t, back, oldShare(t, 100, 1, 13*24*time.Hour), oldShare(t, 101, 2, 30*24*time.Hour), credited(t, 900, 3))
	db.SQL(pgcluster.Superuser).MustExec("UPDATE round SET state = 'settled', until_at = now(), settled_at = now()")
	dropped, err := back.DropExpired(t.Context(), time.Now(), ledger.Retention{})
	if err != nil || len(dropped) != 0 {
		t.Fatalf("dropped %v (%v)", dropped, err)
	}
	if n := count(t, db, "share"); n != 3 {
		t.Fatalf("%d shares are left", n)
	}
}

func TestPartitionsAheadOfTheTipAreNotDropped(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	// Heights before the pool's first share, the share, and heights ahead.
	if err := back.EnsurePartitions(t.Context(), time.Now(), map[int16]int32{1: 1000}); err != nil {
		t.Fatal(err)
	}
	write(t, back, oldShare(t, 1000, 1, 30*24*time.Hour))
	db.SQL(pgcluster.Superuser).MustExec("UPDATE round SET from_at = now() WHERE network_id = 1")
	dropped, err := back.DropExpired(t.Context(), time.Now(), ledger.Retention{})
	if err != nil || fmt.Sprint(dropped) != "[share_n1_h800]" {
		t.Fatalf("dropped %v (%v)", dropped, err)
	}
}

func TestDroppingDoesNotWaitForLongReaders(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	reader := db.SQL(ledger.RoleBackend).MustBegin()
	defer reader.Rollback()
	var n int
	if err := reader.Get(&n, "SELECT count(*) FROM rejected_share"); err != nil {
		t.Fatal(err)
	}
	later := time.Now().AddDate(0, 0, 20)
	_, err := back.DropExpired(within(t, 20*time.Second), later, ledger.Retention{})
	if !ledger.Away(err) {
		t.Fatalf("dropping under a reader: %v", err)
	}
	// Everything else went, and the rest goes next time.
	if left := partitionsOf(t, db, "work"); len(left) != 0 && left[0] < "work_d"+later.UTC().AddDate(0, 0, -16).Format("20060102") {
		t.Errorf("works are left: %v", left)
	}
	if err := reader.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := back.DropExpired(t.Context(), later, ledger.Retention{}); err != nil {
		t.Fatal(err)
	}
}
