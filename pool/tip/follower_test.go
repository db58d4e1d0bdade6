package tip

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the daemon is away")

// chain is a daemon's chain under the test's control. The real daemon's calls
// are exercised in pool/validate; here it is the order of events that counts.
type testChain struct {
	mu     sync.Mutex
	away   bool
	blocks map[[32]byte]Header
	best   [32]byte
	now    time.Time
}

func newTestChain() *testChain {
	c := &testChain{blocks: map[[32]byte]Header{}, now: noon}
	c.mine(1, 100, 0, noon.Add(-time.Minute))
	return c
}

func (c *testChain) mine(id byte, height int32, prev byte, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks[hash(id)] = Header{Height: height, Hash: hash(id), Prev: hash(prev), Time: at}
	c.best = hash(id)
}

func (c *testChain) set(away bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.now = away, now
}

func (c *testChain) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testChain) BestBlock(context.Context) ([32]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return [32]byte{}, errAway
	}
	return c.best, nil
}

func (c *testChain) Block(_ context.Context, h [32]byte) (Header, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return Header{}, errAway
	}
	return c.blocks[h], nil
}

func (c *testChain) Age(context.Context) (int32, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return 0, 0, errAway
	}
	tip := c.blocks[c.best]
	return tip.Height, c.now.Sub(tip.Time), nil
}

// testStore is a ledger that can be away.
type testStore struct {
	mu   sync.Mutex
	away bool
	tips []Tip
}

func (s *testStore) RecordTips(_ context.Context, tips []Tip) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	s.tips = append(s.tips, tips...)
	return nil
}

func (s *testStore) Tips(context.Context, time.Time) ([]Tip, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	return slices.Clone(s.tips), nil
}

func (s *testStore) hashes() (h []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tips {
		h = append(h, t.Hash[31])
	}
	return h
}

func follower(c *testChain, s *testStore) *Follower {
	return NewFollower(Config{Network: "test", Interval: time.Millisecond, Now: c.clock}, c, s)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTipsAreRememberedOverARestart(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := follower(c, s)
	must(t, f.follow(t.Context()))
	c.set(false, at(60))
	c.mine(2, 101, 1, at(55))
	must(t, f.follow(t.Context()))

	// Down for an hour, in which two blocks come.
	c.mine(3, 102, 2, at(600))
	c.mine(4, 103, 3, at(3000))
	c.set(false, at(3660))
	f = follower(c, s)
	must(t, f.follow(t.Context()))
	if got := s.hashes(); !slices.Equal(got, []byte{1, 2, 3, 4}) {
		t.Fatalf("tips in the ledger: %v", got)
	}
	for _, tc := range []struct {
		block  byte
		second int
		want   Standing
	}{{2, 300, Current}, {3, 300, Current}, {2, 1300, Stale}, {3, 2000, Current}, {4, 3660, Current}} {
		_, got, err := f.Judge(t.Context(), hash(tc.block), 0, at(tc.second))
		must(t, err)
		if got != tc.want {
			t.Errorf("block %d at second %d: %v, want %v", tc.block, tc.second, got, tc.want)
		}
	}
}

func TestReorganisationIsFollowedToTheFork(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := follower(c, s)
	must(t, f.follow(t.Context()))
	c.mine(2, 101, 1, at(1))
	c.set(false, at(5))
	must(t, f.follow(t.Context()))
	c.mine(12, 101, 1, at(2))
	c.mine(13, 102, 12, at(8))
	c.set(false, at(10))
	must(t, f.follow(t.Context()))
	if got := s.hashes(); !slices.Equal(got, []byte{1, 2, 12, 13}) {
		t.Fatalf("tips: %v", got)
	}
	if last, _ := f.Tip(); last.Hash != hash(13) {
		t.Errorf("present tip %v", last)
	}
}

// Silence never decides: while the daemon is away, a share waits.
func TestJudgementWaitsWhileTheDaemonIsAway(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := follower(c, s)
	must(t, f.follow(t.Context()))
	c.set(true, at(300))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()

	judged := make(chan Standing, 1)
	go func() {
		_, standing, err := f.Judge(ctx, hash(1), 100, at(300))
		if err != nil {
			standing = -1
		}
		judged <- standing
	}()
	select {
	case got := <-judged:
		t.Fatalf("judged %v while nobody could know", got)
	case <-time.After(50 * time.Millisecond):
	}
	c.mine(2, 101, 1, at(100)) // came while we did not see
	c.set(false, at(1000))
	if got := <-judged; got != Current { // within ten minutes of the new tip's header time
		t.Errorf("judged %v", got)
	}
	if _, got, _ := f.Judge(ctx, hash(1), 100, at(710)); got != Stale {
		t.Errorf("long after the new tip: %v", got)
	}
	stop()
	must(t, <-done)
}

func TestUnknownBlockOfThePresentHeightIsGivenTimeToSettle(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := follower(c, s)
	must(t, f.follow(t.Context()))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	judged := make(chan Standing, 1)
	go func() {
		_, standing, _ := f.Judge(ctx, hash(2), 101, at(1))
		judged <- standing
	}()
	c.set(false, at(2)) // confirmed after the arrival, but within the settling time
	select {
	case got := <-judged:
		t.Fatalf("judged %v before the block could have come", got)
	case <-time.After(50 * time.Millisecond):
	}
	c.mine(2, 101, 1, at(1))
	if got := <-judged; got == Unknown {
		t.Errorf("judged %v although the block came", got)
	}
	// An invented block of another height waits for nothing.
	if _, got, _ := f.Judge(ctx, hash(99), 7, at(2)); got != Unknown {
		t.Errorf("invented block: %v", got)
	}
	stop()
	must(t, <-done)
}

func TestTipsReachTheLedgerOnceItIsBack(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := follower(c, s)
	must(t, f.follow(t.Context()))
	s.mu.Lock()
	s.away = true
	s.mu.Unlock()
	c.mine(2, 101, 1, at(3))
	c.set(false, at(4))
	if err := f.follow(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("%v", err)
	}
	if last, _ := f.Tip(); last.Hash != hash(2) {
		t.Error("the new tip counts for nothing while the ledger is away")
	}
	s.mu.Lock()
	s.away = false
	s.mu.Unlock()
	must(t, f.follow(t.Context()))
	if got := s.hashes(); !slices.Equal(got, []byte{1, 2}) {
		t.Fatalf("tips in the ledger: %v", got)
	}
}

func TestNonceRuleGoesByTheDaemonsClock(t *testing.T) {
	c, s := newTestChain(), &testStore{}
	f := NewFollower(Config{Network: "test", Now: func() time.Time { return c.clock().Add(-100 * time.Second) }}, c, s)
	c.mine(2, 101, 1, at(0))
	c.set(false, at(120)) // by the daemon's clock 120 s, by ours 20 s after the block
	must(t, f.follow(t.Context()))
	tip, _ := f.Tip()
	if got := f.MaxNonce(tip, at(20)); got != 120*256 {
		t.Errorf("highest nonce %d, want %d", got, 120*256)
	}
}
