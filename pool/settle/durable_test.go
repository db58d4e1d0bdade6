package settle_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/pool/settle"
)

// A block whose share is not known ends its round when it was seen, if somebody
// was watching: any process of the pool, also one that has ended since.
func TestWhetherThePoolWasWatchingIsKnownToEveryProcess(t *testing.T) {
	w := newWorld(t, worldOptions{watcher: settle.WatcherOptions{Slack: 2 * time.Minute}})
	seen := func(b *testBlock) time.Time {
		t.Helper()
		blocks, err := w.books.PoolBlocks(t.Context(), w.net, 10)
		if err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			if blocks[i].Hash == b.Hash {
				return blocks[i].SeenAt
			}
		}
		t.Fatal("the block is not known")
		return time.Time{}
	}
	restart := func() { w.build(worldOptions{watcher: settle.WatcherOptions{Slack: 2 * time.Minute}}) }
	w.look()
	w.pass(time.Minute)
	b := w.chain.mineAt(100, w.now.Add(-time.Hour)) // its finder's clock is slow
	restart()
	w.look()
	if got := seen(b); !got.Equal(w.now) {
		t.Errorf("after a restart of a minute: seen %s, it is %s", got, w.now)
	}
	w.pass(3 * time.Minute)
	b = w.chain.mineAt(100, w.now.Add(-time.Minute))
	restart()
	w.look()
	if got := seen(b); !got.Equal(b.Time) {
		t.Errorf("after an absence of three minutes: seen %s, the block says %s", got, b.Time)
	}
	w.chain.fail(away(false))
	w.pass(3 * time.Minute)
	if _, err := w.watcher.Look(t.Context()); err == nil {
		t.Error("no error from a daemon that is away")
	}
	w.chain.fail(nil)
	b = w.chain.mineAt(100, w.now.Add(-time.Minute))
	w.look()
	if got := seen(b); !got.Equal(b.Time) {
		t.Errorf("a look that failed was taken for watching: seen %s, the block says %s", got, b.Time)
	}
}

func TestACorrectionIsMadeOnceUnderItsKey(t *testing.T) {
	w := newWorld(t, worldOptions{})
	correct := func(name string, amount int64, key string) error {
		return w.books.Correct(t.Context(), w.miner(name), amount, key, operator)
	}
	var group errgroup.Group
	var made atomic.Int32
	w.miner("anna")
	for range 4 { // at the same time, or after an answer that was lost
		group.Go(func() error {
			err := correct("anna", 100, "ticket 7")
			if err == nil {
				made.Add(1)
				return nil
			}
			if !errors.Is(err, ledger.ErrKeyUsed) || !strings.Contains(err.Error(), "this very one") {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || made.Load() != 1 {
		t.Fatalf("made %d times: %v", made.Load(), err)
	}
	for _, err := range []error{correct("anna", 50, "ticket 7"), correct("ben", 100, "ticket 7")} {
		if !errors.Is(err, ledger.ErrKeyUsed) || !strings.Contains(err.Error(), "another one, of 100 satoshis for "+address("anna")) {
			t.Errorf("another one under its key: %v", err)
		}
	}
	if err := correct("ben", 50, "ticket 8"); err != nil {
		t.Error(err)
	}
	w.wantBalances(map[string]int64{"anna": 100, "ben": 50})
	w.audit()
}
