package settle_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
	"purepool/pool/settle/scheme"
)

// P15: the border is the finding share's arrival, and belongs to its round.
func TestTheFindingShareEndsItsOwnRound(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 10)
	w.pass(time.Second)
	border := w.now
	w.find("ben", 100) // weight 1, at the border
	w.judge(w.verdict("carl", border, 7))
	w.judge(w.verdict("dora", border.Add(time.Microsecond), 1000))
	w.pass(time.Minute)
	w.strangers(2)
	if done := w.settle(); len(done) != 1 {
		t.Fatalf("%d blocks were shared out", len(done))
	}
	// 10 : 1 : 7 of 100; carl came in the same microsecond, dora one later.
	w.wantBalances(map[string]int64{"anna": 56, "ben": 5, "carl": 39, "dora": 0})
	w.pass(time.Second)
	w.find("ben", 1001)
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 56, "ben": 6, "carl": 39, "dora": 1000})
	w.audit()
}

// P15, P16: neither block clocks nor queues move a share to another round.
func TestRoundsFollowArrivalNotBlockTimesNorVerdicts(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var late []ledger.Verdict
	for i, at := range []time.Duration{time.Hour, -time.Hour, 0} { // block times jump
		w.pass(time.Minute)
		late = append(late, w.verdict("anna", w.now, int64(i)+1))
		w.pass(time.Second)
		b := w.chain.mineAt(1000, w.now.Add(at))
		v := w.verdict("ben", w.now, 1)
		v.Height, v.Proof = int32(b.Height)-1, b.Hash
		late = append(late, v)
		w.look()
	}
	w.judge(late...) // all verdicts come after all blocks
	w.pass(time.Minute)
	w.strangers(2)
	done := w.settle()
	for i, want := range []int64{500, 667, 750} {
		if i >= len(done) || done[i].Credits[0].Amount != want {
			t.Fatalf("shared out %+v", done)
		}
	}
	w.audit()
}

func TestWithoutAShareTheRoundEndsWhenTheBlockWasSeen(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	w.pass(time.Second)
	w.chain.mine(100) // no share of the pool has its proof
	w.look()
	w.share("ben", 1) // at the very moment
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 100, "ben": 0})

	// The watcher was away: the block's own time is what is known.
	w.pass(time.Second)
	w.share("ben", 1)
	w.pass(time.Minute)
	w.chain.mine(50)
	w.pass(time.Second)
	w.share("anna", 1)
	w.pass(time.Hour)
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 100, "ben": 50})
	w.audit()
}

func TestAFindingShareThatComesAfterTheGraceTimeBelongsToTheNextRound(t *testing.T) {
	b := ledger.Block{SeenAt: time.Unix(1000, 0), FoundAt: time.Unix(1060, 0)}
	if got := settle.Border(b, time.Minute); !got.Equal(time.Unix(1060, 1000)) {
		t.Errorf("within the grace time: %s", got)
	}
	if got := settle.Border(b, 59*time.Second); !got.Equal(b.SeenAt) {
		t.Errorf("after it: %s", got)
	}
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Grace: time.Minute}})
	w.find("anna", 100)
	w.strangers(2)
	if w.closeRounds() != 0 {
		t.Error("a round has ended while its share may be on its way")
	}
	w.pass(time.Minute)
	if w.closeRounds() != 1 {
		t.Error("the round has not ended")
	}
}

func TestALateVerdictCountsInItsRoundUntilThatIsPaidAndThenInTheNext(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	first := w.verdict("ben", w.now, 1)
	second := w.verdict("carl", w.now, 2)
	w.pass(time.Second)
	w.find("anna", 999)
	w.closeRounds()
	w.judge(first) // after the round was counted, before it was paid
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 666, "ben": 333})
	w.judge(second) // after it was paid
	w.judge(second) // and delivered again
	w.audit()
	w.pass(time.Second)
	w.find("anna", 300) // weight 1
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 766, "ben": 333, "carl": 200})
	w.audit()
	rounds, err := w.books.Rounds(t.Context(), w.net, 10)
	if err != nil || len(rounds) != 3 || rounds[1].Carried != 1 || rounds[1].Shares != 2 {
		t.Errorf("rounds %+v, %v", rounds, err)
	}
}

func TestVerdictsThatRaceWithTheEndOfARoundCountOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	from := w.now
	w.miner("anna")
	w.miner("ben")
	for range 8 {
		w.pass(time.Second)
		w.find("anna", 1000)
	}
	var batches [][]ledger.Verdict
	for range 60 {
		var batch []ledger.Verdict
		for i := range 10 {
			batch = append(batch, w.verdict([]string{"anna", "ben"}[i%2], from.Add(time.Duration(w.shares%9000)*time.Millisecond), 1+int64(w.shares%3)))
		}
		batches = append(batches, batch)
	}
	w.strangers(3)
	var all errgroup.Group
	next := make(chan []ledger.Verdict)
	for range 4 {
		all.Go(func() error {
			for batch := range next {
				if _, err := w.store.WriteVerdicts(t.Context(), w.net, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all.Go(func() error {
		defer close(next)
		for i, batch := range batches {
			next <- batch
			if i%10 != 5 {
				continue
			}
			if _, err := w.settler.CloseRounds(t.Context()); err != nil {
				return err
			}
			if _, err := w.settler.ShareOutAll(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	w.audit()
}

// P8.
func TestTwoShareOutsAtOnceShareOutOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 3)
	w.find("ben", 1000)
	w.strangers(3)
	w.closeRounds()
	var all sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 8 {
		all.Go(func() {
			results, err := w.settler.ShareOutAll(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			done += len(results)
		})
	}
	all.Wait()
	if done != 1 {
		t.Errorf("shared out %d times", done)
	}
	w.wantBalances(map[string]int64{"anna": 750, "ben": 250})
	w.audit()
}

// P9.
func TestADaemonThatWasAwayStopsNothingForLong(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.find("anna", 1000)
	w.pass(time.Second)
	w.find("ben", 500)
	w.strangers(3)
	w.chain.fail(away(false))
	if _, err := w.settler.CloseRounds(t.Context()); err == nil {
		t.Error("no error while the daemon is away")
	}
	w.chain.fail(nil)
	w.closeRounds()
	w.chain.fail(away(false))
	if _, err := w.settler.ShareOutAll(t.Context()); err == nil {
		t.Error("no error while the daemon is away")
	}
	if _, err := w.watcher.Look(t.Context()); err == nil {
		t.Error("no error while the daemon is away")
	}
	w.chain.fail(nil)
	if done := w.settle(); len(done) != 2 {
		t.Errorf("%d blocks were shared out after its return", len(done))
	}
	w.audit()
}

// P11, P12.
func TestFeeAndRemainderAreExact(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Fee: 2_500_000}}) // 2.5 percent
	w.share("anna", 1)
	w.share("ben", 1)
	w.find("carl", 5492*coin)
	w.strangers(3)
	w.settle()
	// 5492 · 0.975 = 5354.7 coins, in three equal parts.
	w.wantBalances(map[string]int64{"anna": 178_490_000_000, "ben": 178_490_000_000, "carl": 178_490_000_000})
	if fee := w.account("fee"); fee != 13_730_000_000 {
		t.Errorf("the fee is %d", fee)
	}
	w.audit()
}

// P14.
func TestABlockWithoutSharesIsKeptByThePoolForAllToSee(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Fee: 1_000_000}})
	w.chain.mine(1000)
	w.look()
	w.strangers(3)
	done := w.settle()
	if len(done) != 1 || done[0].Unclaimed != 990 || done[0].Fee != 10 || len(done[0].Credits) != 0 {
		t.Errorf("shared out %+v", done)
	}
	audit := w.audit()
	if audit.Totals.Unclaimed != 990 || audit.Totals.Fee != 10 || audit.Totals.Miners != 0 {
		t.Errorf("%+v", audit.Totals)
	}
	note := ledgertest.Value[string](t, w.db, "SELECT note FROM journal")
	if note != "Block 100 had no shares: the pool keeps it" {
		t.Errorf("the journal says %q", note)
	}
}

// P22.
func TestOneBlockIsSharedOutOnlyWhenItIsMatureAndItsTurnHasCome(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{MaturityAge: time.Hour}})
	first := w.find("anna", 100)
	w.pass(time.Second)
	second := w.find("ben", 50)
	shareOut := func(b *testBlock, dry bool) error {
		_, err := w.settler.ShareOutBlock(t.Context(), int32(b.Height), dry)
		return err
	}
	want := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: %v", what, got)
		}
	}
	w.strangers(5)
	want("too young", shareOut(first, false), settle.ErrImmature)
	w.pass(2 * time.Hour)
	want("its round is open", shareOut(first, false), ledger.ErrNotDue)
	w.closeRounds()
	want("another one waits before it", shareOut(second, false), ledger.ErrNotDue)
	want("dry", shareOut(first, true), nil)
	w.wantBalances(map[string]int64{"anna": 0})
	want("its turn", shareOut(first, false), nil)
	w.wantBalances(map[string]int64{"anna": 100})
	want("again", shareOut(first, false), ledger.ErrNotDue)
	want("its turn", shareOut(second, false), nil)
	want("a stranger's", shareOut(&testBlock{Height: 3}, false), ledger.ErrNoSuchBlock)
	w.pass(time.Second)
	third := w.find("anna", 7)
	w.pass(3 * time.Hour)
	want("too few confirmations", shareOut(third, false), settle.ErrImmature)
	w.audit()
}

func TestPPLNSPaysTheLastSharesBeforeTheBlock(t *testing.T) {
	// 0x207fffff is 2 hashes a block; a window of 5 blocks is 10.
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.PPLNS, WindowFactor: 5000}})
	w.share("anna", 100)
	w.pass(2 * time.Minute)
	w.share("ben", 6)
	w.pass(time.Second)
	w.find("ben", 100) // 1
	w.pass(time.Second)
	w.find("carl", 1000) // 1
	w.strangers(3)
	done := w.settle()
	if len(done) != 2 {
		t.Fatalf("%+v", done)
	}
	// First: ben 7, anna 3 of her 100. Second: carl 1, ben 7, anna 2.
	w.wantBalances(map[string]int64{"anna": 30 + 200, "ben": 70 + 700, "carl": 100})
	w.audit()
}

func TestPPLNSWithFewerSharesThanTheWindowPaysThemAll(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.PPLNS, WindowFactor: 1_000_000}})
	w.share("anna", 3)
	w.find("ben", 100)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 75, "ben": 25})
	w.audit()
}

func TestSoloPaysTheFinderAlone(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Scheme: scheme.Solo}})
	w.share("anna", 100)
	w.pass(time.Second)
	w.find("ben", 100)
	w.pass(time.Second)
	w.chain.mine(30) // nobody known found it
	w.look()
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 0, "ben": 100})
	if kept := w.account("unclaimed"); kept != 30 {
		t.Errorf("the pool keeps %d", kept)
	}
	w.audit()
}

// W7, W9.
func TestSharesThatAreNotPaidAreNeverDropped(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.now = w.now.AddDate(0, 0, -40)
	drop := func() {
		t.Helper()
		if _, err := w.store.DropExpired(t.Context(), time.Now(), ledger.Retention{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 450 { // more than two partitions of heights
		w.chain.mine(0)
	}
	w.look()
	w.share("anna", 3)
	w.find("ben", 100)
	w.super.MustExec("UPDATE miner SET created_at = created_at - interval '41 days'")
	for range 450 {
		w.chain.mine(0)
	}
	w.look()
	w.pass(time.Second)
	w.share("carl", 1)
	w.closeRounds()
	drop()
	if n := ledgertest.Value[int](t, w.db, "SELECT count(*) FROM share"); n != 3 {
		t.Fatalf("%d shares are left before they are paid", n)
	}
	w.settle()
	drop()
	if n := ledgertest.Value[int](t, w.db, "SELECT count(*) FROM share"); n != 1 {
		t.Errorf("%d shares are left after", n)
	}
	w.wantBalances(map[string]int64{"anna": 75, "ben": 25})
	w.audit()
}
