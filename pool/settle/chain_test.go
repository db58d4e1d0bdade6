package settle_test

import (
	"sync"
	"testing"
	"time"

	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
)

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
