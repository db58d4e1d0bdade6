package settle_test

import (
	"errors"
	"fmt"
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

// P10.
func TestSharesOfAnOrphanedBlockArePaidByTheNextOne(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 3)
	w.find("ben", 1000) // ben 1
	w.closeRounds()
	w.chain.cut(1)
	w.strangers(1)
	if p := w.look(); p.Orphaned != 0 {
		t.Fatal("orphaned before the other block is deep enough")
	}
	w.strangers(1)
	w.pass(time.Second)
	w.share("carl", 3)
	w.find("ben", 800) // ben 1
	w.strangers(3)
	done := w.settle()
	if len(done) != 1 || len(done[0].Rounds) != 2 {
		t.Fatalf("shared out %+v", done)
	}
	w.wantBalances(map[string]int64{"anna": 300, "ben": 200, "carl": 300})
	w.audit()
}

func TestABlockThatComesBackIsPaidToItsOwnRound(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	w.find("anna", 1000)
	w.closeRounds()
	gone := w.chain.cut(1)
	others := []*testBlock{w.chain.mine(0), w.chain.mine(0)}
	if p := w.look(); p.Orphaned != 1 {
		t.Fatalf("%+v", p)
	}
	w.pass(time.Second)
	w.share("ben", 1)
	w.chain.cut(len(others))
	w.chain.put(gone...)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 1000, "ben": 0})
	w.audit()
}

func TestAReorganisationDeeperThanMaturityIsTakenBackAndForth(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	first := w.find("ben", 1000)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 500, "ben": 500})
	gone := w.chain.cut(4)
	w.strangers(6)
	w.wantBalances(map[string]int64{"anna": 0, "ben": 0})
	w.audit()
	w.pass(time.Second)
	w.chain.cut(6)
	w.chain.put(gone...) // and back
	w.strangers(3)
	done := w.settle()
	if len(done) != 1 || done[0].Block.Hash != first.Hash {
		t.Fatalf("shared out %+v", done)
	}
	w.wantBalances(map[string]int64{"anna": 500, "ben": 500})
	w.audit()
}

// P17.
func TestAReorganisationThatMakesAHeightOursIsSeenAndSoIsTheOpposite(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	w.strangers(2)
	w.chain.cut(2)
	w.pass(time.Second)
	w.find("anna", 100) // instead of a stranger's
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 100})
	w.pass(time.Second)
	w.find("anna", 70)
	w.chain.cut(1)
	if p := w.look(); p.Left != 0 || p.Orphaned != 0 {
		t.Errorf("a chain that is only shorter was taken as a reorganisation: %+v", p)
	}
	w.strangers(4)
	if done := w.settle(); len(done) != 0 {
		t.Errorf("an orphan was shared out: %+v", done)
	}
	w.audit()
}

func TestANodeThatIsNotSyncedOrphansNothing(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.find("anna", 100)
	w.chain.cut(1)
	w.chain.behind = 5
	w.chain.mine(0)
	w.chain.mine(0)
	w.chain.mine(0)
	if p := w.look(); p.Orphaned != 0 || p.Left != 0 {
		t.Errorf("%+v", p)
	}
	w.chain.behind = 0
	if p := w.look(); p.Orphaned != 1 || p.Left != 1 {
		t.Errorf("synced: %+v", p)
	}
}

// P18, P19.
func TestWatchersThatStartAtOnceWriteEachBlockOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for range 30 {
		w.pass(time.Second)
		w.chain.mine(100)
	}
	var all sync.WaitGroup
	for range 6 {
		watcher := settle.NewWatcher(settle.WatcherOptions{Network: w.name, NetworkID: w.net, Step: 7, Now: func() time.Time { return w.now }}, w.chain, w.books)
		all.Go(func() {
			for range 3 {
				if _, err := watcher.Look(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.look()
	if n := ledgertest.Value[int](t, w.db, "SELECT count(*) FROM block"); n != 30 {
		t.Errorf("%d blocks of the pool", n)
	}
	if n := ledgertest.Value[int](t, w.db, "SELECT count(*) FROM chain_block WHERE main"); n != 31 {
		t.Errorf("%d blocks of the chain", n)
	}
}

func TestTheFirstStartIsAtTheTipOrWhereItIsTold(t *testing.T) {
	e := newEnv(t)
	w := newWorldOn(t, e, "main", worldOptions{})
	if h := ledgertest.Value[int](t, e.db, "SELECT min(height) FROM chain_block WHERE network_id = $1", w.net); h != 99 {
		t.Errorf("begins at %d", h)
	}
	v := newWorldOn(t, e, "test", worldOptions{watcher: settle.WatcherOptions{StartHeight: 42, Step: 10}})
	if h := ledgertest.Value[int](t, e.db, "SELECT min(height) FROM chain_block WHERE network_id = $1", v.net); h != 41 {
		t.Errorf("told to begin at 42, begins after %d", h)
	}
	sum, count, err := v.books.SubsidySum(t.Context(), v.net, v.now.Add(-time.Hour), v.now.Add(time.Hour))
	if err != nil || count != 59 || sum != 59*20*coin {
		t.Errorf("%d blocks, %d satoshis, %v", count, sum, err)
	}
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

// P13.
func TestTheTimeZoneChangesNothing(t *testing.T) {
	zone := time.Local
	defer func() { time.Local = zone }()
	for _, name := range []string{"CET", "America/New_York", "UTC"} {
		location, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		time.Local = location
		w := newWorld(t, worldOptions{})
		w.share("anna", 1)
		w.pass(time.Second)
		w.find("ben", 100)
		w.pass(time.Second)
		w.share("carl", 1)
		w.pass(time.Second)
		w.find("carl", 60)
		w.strangers(3)
		w.settle()
		w.wantBalances(map[string]int64{"anna": 50, "ben": 50, "carl": 60})
		blocks, err := w.books.PoolBlocks(t.Context(), w.net, 1)
		if err != nil || !blocks[0].BlockTime.Equal(w.now) || blocks[0].BlockTime.Location() != time.UTC {
			t.Errorf("%s: block time %s, want %s, %v", name, blocks[0].BlockTime, w.now, err)
		}
		w.audit()
	}
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

// W6.
func TestTheAuditOfAPoolWithoutBlocksIsCleanAndOwesNothing(t *testing.T) {
	w := newWorld(t, worldOptions{})
	audit := w.audit()
	if !audit.Clean || audit.Wallet.Owed != 0 || audit.Wallet.Missing != 0 || audit.Wallet.Coverage != settle.Covered {
		t.Errorf("%+v", audit)
	}
}

func TestTheAuditSaysWhatTheWalletLacks(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	w.find("anna", 100)
	if a := w.audit(); a.Totals.Immature != 100 || a.Wallet.Owed != 0 {
		t.Errorf("before the share-out: %+v", a)
	}
	w.strangers(3)
	w.settle()
	if a := w.audit(); !a.Clean || a.Wallet.Owed != 100 {
		t.Errorf("after it: %+v", a)
	}
	w.wallet.spent = 40 // somebody has taken coins
	if a := w.audit(); a.Clean || a.Wallet.Missing != 40 || a.Wallet.Coverage != settle.Short {
		t.Errorf("with 40 missing: %+v", a.Wallet)
	}
	w.wallet.err = away(false)
	if a := w.audit(); a.Clean || a.Wallet.Coverage != settle.CoverageUnknown {
		t.Errorf("without the wallet: %+v", a.Wallet)
	}
}

func TestAPaymentThatIsMadeDuringTheAuditIsNothingThatLacks(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.asked = func() { // after the books were read, before the wallet is
		w.wallet.asked = nil
		w.pay()
		w.strangers(3)
		w.pay()
	}
	if a := w.audit(); !a.Clean || a.Wallet.Coverage != settle.Covered || a.Wallet.Owed != 0 || a.Totals.Paid != 5*coin {
		t.Errorf("%+v %+v", a.Wallet, a.Totals)
	}
	// Where it is missing for good, audits end.
	w.credit("anna", 5*coin)
	w.wallet.spent += 3 * coin
	if a := w.audit(); a.Clean || a.Wallet.Coverage != settle.Short || a.Wallet.Missing != 3*coin {
		t.Errorf("with 3 coins missing: %+v", a.Wallet)
	}
}

// P20: a balance is what its entries say, or the audit tells.
func TestTheAuditFindsWhatDoesNotAddUp(t *testing.T) {
	for _, damage := range []struct{ check, sql string }{
		{"balances equal their entries", "UPDATE balance SET amount = amount + 1 WHERE account_id = (SELECT min(id) FROM account WHERE kind = 'miner')"},
		{"every credited share counts in one round", "UPDATE round_weight SET weight = weight + 1"},
		{"every credited share counts in one round", "DELETE FROM share WHERE weight = 3"},
		{"rounds follow one another without a gap", "UPDATE round SET from_at = from_at + interval '1 second' WHERE state = 'open'"},
		{"one round is open", "DELETE FROM round WHERE state = 'open'"},
		{"shared out blocks are credited once and in full", "UPDATE block SET reward = reward + 1"},
		{"shared out blocks are credited once and in full", "UPDATE block SET state = 'orphaned'"},
		{"paid rounds were paid by a block that stands", "UPDATE block SET state = 'orphaned'"},
		{"reserved amounts are those of unfinished payments", "INSERT INTO payment (network_id, tag) VALUES (1, 'x'); INSERT INTO payment_item (payment_id, miner_id, address, amount) SELECT p.id, m.id, m.address, 5 FROM payment p, miner m WHERE m.id = 1"},
		{"payments stand in the journal as they are", "INSERT INTO payment (network_id, tag, state) VALUES (1, 'x', 'confirmed')"},
	} {
		t.Run(damage.check, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.share("anna", 3)
			w.find("ben", 100)
			w.strangers(3)
			w.settle()
			w.audit()
			if _, err := w.super.Exec("SET session_replication_role = replica; " + damage.sql); err != nil {
				t.Fatal(err)
			}
			audit, err := w.auditor.Audit(t.Context())
			if err != nil || audit.Clean {
				t.Fatalf("clean: %v, %v", audit.Clean, err)
			}
			for _, c := range audit.Checks {
				if c.Name == damage.check && c.Faults > 0 && c.Detail != "" {
					return
				}
			}
			t.Errorf("not found: %s", fmt.Sprint(audit.Checks))
		})
	}
}
