package settle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
	"purepool/pool/settle/scheme"
)

// count counts the open round along, up to a moment.
func (w *world) count(until time.Time) {
	w.t.Helper()
	if _, err := w.books.CountShares(w.t.Context(), w.net, until, 0); err != nil {
		w.t.Fatal(err)
	}
}

func TestHowFarARoundIsCountedAlongNeverChangesWhatIsPaid(t *testing.T) {
	e := newEnv(t)
	for i, test := range []struct {
		name   string
		counts []time.Duration // after the round's beginning; the block comes at 20 s
	}{
		{"never", nil},
		{"once, in its middle", []time.Duration{12 * time.Second}},
		{"again and again, also backwards", []time.Duration{5 * time.Second, 5 * time.Second, 15 * time.Second, 2 * time.Second}},
		{"beyond its end", []time.Duration{15 * time.Second, 28 * time.Second}},
		{"beyond all shares", []time.Duration{time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			network := fmt.Sprintf("count%d", i)
			if err := ledger.Migrate(t.Context(), e.db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: network}}}); err != nil {
				t.Fatal(err)
			}
			w := newWorldOn(t, e, network, worldOptions{})
			w.t = t
			begin := w.now
			late := w.verdict("late", begin.Add(3*time.Second), 30)
			afterwards := w.verdict("late", begin.Add(25*time.Second), 50)
			for range 10 { // anna has 1 before the block and carl 1 after it, every two seconds, ben both
				w.share("anna", 1)
				w.pass(time.Second)
				w.share("ben", 1)
				w.pass(time.Second)
			}
			border := w.now
			for range 5 {
				w.pass(time.Second)
				w.share("ben", 2)
				w.share("carl", 2)
				w.pass(time.Second)
			}
			for _, at := range test.counts {
				w.count(begin.Add(at))
				w.audit()
			}
			w.judge(late, afterwards)
			w.audit()
			// The pool was not watching: the header's time is what is known.
			w.chain.mineAt(5000, border)
			w.pass(10 * time.Minute)
			w.look()
			w.strangers(3)
			w.settle()
			w.wantBalances(map[string]int64{"anna": 1000, "ben": 1000, "late": 3000, "carl": 0})
			w.audit()
			w.pass(time.Second)
			w.chain.mine(700)
			w.look()
			w.strangers(3)
			w.settle()
			w.wantBalances(map[string]int64{"anna": 1000, "ben": 1100, "late": 3500, "carl": 100})
			w.audit()
		})
	}
}

func TestSharesAreCountedOnceWhileVerdictsAreWritten(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var batches [][]ledger.Verdict
	for i := range 40 {
		w.pass(time.Second)
		batches = append(batches, []ledger.Verdict{
			w.verdict("anna", w.now, 1), w.verdict("ben", w.now.Add(-time.Duration(i)*time.Second/2), 1),
		})
	}
	var group errgroup.Group
	for part := range 2 {
		group.Go(func() error {
			for i := part; i < len(batches); i += 2 {
				if _, err := w.store.WriteVerdicts(t.Context(), w.net, batches[i]); err != nil {
					return err
				}
			}
			return nil
		})
		group.Go(func() error {
			for i := range 20 {
				if _, err := w.books.CountShares(t.Context(), w.net, w.now, time.Duration(20-i)*time.Second); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.count(w.now.Add(time.Second))
	w.audit()
	if n := ledgertest.Value[int](t, w.db, `SELECT sum(shares) FROM round_weight`); n != 80 {
		t.Errorf("%d shares are counted of 80", n)
	}
}

func TestNothingIsCountedBeyondABlockWhoseRoundHasNotEnded(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{CloseDepth: 3, CountLag: -1}})
	w.share("anna", 1)
	w.pass(time.Second)
	w.find("ben", 100)
	border := w.now.Add(time.Microsecond)
	w.pass(time.Minute)
	w.share("carl", 1)
	until, err := w.settler.CountShares(t.Context())
	if err != nil || until.After(border) || until.Before(border.Add(-time.Millisecond)) {
		t.Errorf("counted until %s, the block came at %s (%v)", until, border, err)
	}
	w.strangers(5)
	w.closeRounds()
	if until, err = w.settler.CountShares(t.Context()); err != nil || !until.After(border) {
		t.Errorf("counted until %s although the round has ended (%v)", until, err)
	}
	w.audit()
}

// Under pplns a share counts for every block that is found while it is among the
// last ones. Where it is judged after some of them were paid, the next block
// makes up for each.
func TestUnderPPLNSTheNextBlockMakesUpForALateVerdict(t *testing.T) {
	// 0x207fffff is 2 hashes a block; a window of 5 blocks is 10.
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.PPLNS, WindowFactor: 5000}})
	tooOld := w.verdict("carl", w.now, 5)
	w.pass(time.Second)
	w.share("anna", 10)
	w.pass(time.Second)
	late := w.verdict("ben", w.now, 4)
	w.pass(time.Second)
	w.find("anna", 1000) // 1, and 9 of the 10
	w.pass(time.Second)
	w.find("anna", 1000) // 1 and 1, and 8 of the 10
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 2000})
	w.judge(late, tooOld) // ben has missed two windows, carl none
	w.audit()
	w.pass(time.Second)
	w.find("anna", 1800)
	w.strangers(3)
	w.settle()
	// The window is anna's 3, ben's 4 and 3 of anna's 10; ben is owed 4 twice.
	w.wantBalances(map[string]int64{"anna": 2000 + 600, "ben": 400 + 800, "carl": 0})
	w.audit()
	w.pass(time.Second)
	w.find("anna", 1000)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 2600 + 600, "ben": 1200 + 400}) // made up for once
	w.audit()
}

func TestALateVerdictIsNotMadeUpForWhereItsWindowIsPaidAgain(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.PPLNS, WindowFactor: 5000}})
	w.share("anna", 10)
	w.pass(time.Second)
	late := w.verdict("ben", w.now, 4)
	w.pass(time.Second)
	w.find("anna", 1000)
	w.strangers(3)
	w.settle()
	w.judge(late)
	w.audit()
	w.chain.cut(4)
	w.pass(time.Second)
	w.strangers(6) // the block is orphaned, what it had credited is taken back
	w.wantBalances(map[string]int64{"anna": 0})
	w.audit()
	w.pass(time.Second)
	w.find("anna", 1000)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 600, "ben": 400}) // in the window, and no more
	w.audit()
}

// A pool that changes its scheme owes what came too late for the old one.
func TestALateVerdictIsPaidAcrossAChangeOfScheme(t *testing.T) {
	for _, test := range []struct {
		from, to scheme.Name
		ben      int64
	}{
		{scheme.Prop, scheme.PPLNS, 400 + 400}, // his own round, and the window of the next block
		{scheme.PPLNS, scheme.Prop, 800},       // the window of the block that was paid; four fifths of a round with one other share
	} {
		w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: test.from, WindowFactor: 5000}})
		w.share("anna", 10)
		w.pass(time.Second)
		late := w.verdict("ben", w.now, 4)
		w.pass(time.Second)
		w.find("anna", 1000)
		w.strangers(3)
		w.settle()
		w.judge(late)
		w.audit()
		w.build(worldOptions{settler: settle.SettlerOptions{Scheme: test.to, WindowFactor: 5000}})
		w.pass(time.Second)
		w.find("anna", map[scheme.Name]int64{scheme.PPLNS: 1400, scheme.Prop: 1000}[test.to])
		w.strangers(3)
		w.settle()
		w.wantBalances(map[string]int64{"ben": test.ben})
		w.audit()
	}
}

func TestTheAuditFindsALateShareThatNobodyMakesUpFor(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.PPLNS, WindowFactor: 5000}})
	w.share("anna", 10)
	w.pass(time.Second)
	late := w.verdict("ben", w.now, 4)
	w.find("anna", 1000)
	w.strangers(3)
	w.settle()
	w.judge(late)
	w.audit()
	w.super.MustExec(`DELETE FROM late_window`)
	audit, err := w.auditor.Audit(t.Context())
	if err != nil || audit.Clean {
		t.Fatalf("clean: %v, %v", audit.Clean, err)
	}
	for _, c := range audit.Checks {
		if (c.Faults > 0) != (c.Name == "late shares are made up for") {
			t.Errorf("%+v", c)
		}
	}
}

// A backend of the version before, which runs on while the first new one starts,
// ended rounds by moving the beginning of the open one.
func TestAnOlderBackendCannotEndARoundThatIsCountedAlong(t *testing.T) {
	w := newWorld(t, worldOptions{})
	older := func() error {
		_, err := w.db.SQL(ledger.RoleBackend).Exec(`UPDATE round SET from_at = from_at + interval '1 microsecond' WHERE network_id = $1 AND state = 'open'`, w.net)
		return err
	}
	if err := older(); err != nil {
		t.Errorf("before anything is counted: %v", err)
	}
	w.share("anna", 1)
	w.pass(time.Second)
	w.count(w.now)
	if err := older(); err == nil || !strings.Contains(err.Error(), "must leave its end to a newer one") {
		t.Errorf("afterwards: %v", err)
	}
	w.find("ben", 100)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 50, "ben": 50})
	w.audit()
}
