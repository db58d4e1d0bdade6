package ledger_test

import (
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

// rollUp rolls main up and returns what was done.
func rollUp(t testing.TB, store *ledger.BackendStore, now time.Time) ledger.RolledUp {
	t.Helper()
	done, err := store.RollUp(t.Context(), mainNet, now)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// checkHours compares hours and whole days with the minutes they stand for.
func checkHours(t testing.TB, db *ledgertest.DB) {
	t.Helper()
	for name, query := range map[string]string{
		"share_hour": `SELECT NOT EXISTS (
			(SELECT worker_id, date_trunc('hour', minute), sum(shares), sum(rejected), sum(weight) FROM share_minute GROUP BY 1, 2)
			EXCEPT SELECT worker_id, hour, shares, rejected, weight FROM share_hour)`,
		"network_hour": `SELECT NOT EXISTS (
			(SELECT network_id, date_trunc('hour', minute), sum(shares), sum(rejected), sum(rejected_unknown), sum(weight) FROM network_minute GROUP BY 1, 2)
			EXCEPT SELECT network_id, hour, shares, rejected, rejected_unknown, weight FROM network_hour)`,
		"share_day": `SELECT NOT EXISTS (
			(SELECT worker_id, day, shares, rejected, weight FROM share_day)
			EXCEPT SELECT worker_id, minute::date, sum(shares), sum(rejected), sum(weight) FROM share_minute GROUP BY 1, 2)`,
	} {
		if !ledgertest.Value[bool](t, db, query) {
			t.Errorf("%s does not fit its minutes", name)
		}
	}
}

func TestRollingUpTwiceChangesNothing(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	now := time.Now()
	write(t, store, credited(t, 10, 1), credited(t, 10, 2), rejected(t, 10, 3, "WorkExpired"))
	if done := rollUp(t, store, now); done.Hours != 1 || done.Miners != 1 {
		t.Errorf("first run: %+v", done)
	}
	checkHours(t, db)
	before := ledgertest.Value[string](t, db, `SELECT string_agg(h::text, '') FROM share_hour h`)
	if done := rollUp(t, store, now); done.Hours != 0 || done.Days != 0 {
		t.Errorf("second run: %+v", done)
	}
	if after := ledgertest.Value[string](t, db, `SELECT string_agg(h::text, '') FROM share_hour h`); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

func TestAShareJudgedADayLateIsRolledUp(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	now := time.Now()
	early := credited(t, 10, 1)
	early.ReceivedAt = now.Add(-26 * time.Hour)
	write(t, store, early, credited(t, 10, 2))
	if done := rollUp(t, store, now); done.Hours != 2 || done.Days != 1 {
		t.Errorf("first run: %+v", done)
	}
	late := credited(t, 10, 3)
	late.ReceivedAt = now.Add(-26 * time.Hour)
	write(t, store, late)
	if done := rollUp(t, store, now); done.Hours != 1 || done.Days != 1 {
		t.Errorf("after the late share: %+v", done)
	}
	checkHours(t, db)
	if n := ledgertest.Value[int64](t, db, `SELECT sum(shares) FROM share_day`); n != 2 {
		t.Errorf("the day has %d shares", n)
	}
}

func TestDroppedMinutesLeaveTheirHoursAlone(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	now := time.Now()
	write(t, store, credited(t, 10, 1))
	rollUp(t, store, now)
	db.SQL(pgcluster.Superuser).MustExec(`DELETE FROM share_minute`) // as if their day was dropped
	rollUp(t, store, now.Add(time.Hour))
	if n := ledgertest.Value[int64](t, db, `SELECT sum(shares) FROM share_hour`); n != 1 {
		t.Errorf("%d shares left", n)
	}
}

func TestWhoIsAwayForADayIsNoRecentMiner(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	now := time.Now()
	write(t, store, credited(t, 10, 1))
	rollUp(t, store, now)
	if n := ledgertest.Value[int](t, db, `SELECT miners FROM network_recent`); n != 1 {
		t.Errorf("%d miners online", n)
	}
	if done := rollUp(t, store, now.Add(time.Hour)); done.Miners != 1 {
		t.Errorf("an hour later: %+v", done)
	}
	if n := ledgertest.Value[int](t, db, `SELECT miners FROM network_recent`); n != 0 {
		t.Errorf("an hour later %d miners are online", n)
	}
	if done := rollUp(t, store, now.Add(25*time.Hour)); done.Miners != 0 || count(t, db, "miner_recent") != 0 {
		t.Errorf("a day later: %+v", done)
	}
}

func TestManyRollingUpAtOnceRollUpOnce(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	write(t, store, credited(t, 10, 1), credited(t, 10, 2))
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := store.RollUp(t.Context(), mainNet, time.Now())
			if err != nil && ledger.Away(err) {
				err = nil // another one was faster: to be tried again
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	rollUp(t, store, time.Now())
	checkHours(t, db)
}
