package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gathered runs one item alone, holds its call until n others wait, then lets go.
func gathered(t *testing.T, g *group[int, int], started <-chan struct{}, release chan<- struct{}, n int, check func(n, got int, err error)) {
	t.Helper()
	var wg sync.WaitGroup
	do := func(item int) {
		wg.Go(func() {
			got, err := g.do(t.Context(), item)
			check(item, got, err)
		})
	}
	do(0)
	<-started
	for item := range n {
		do(item + 1)
	}
	for len(g.items) < n {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
}

func TestManyConcurrentItemsMakeFewCalls(t *testing.T) {
	started, release := make(chan struct{}, 100), make(chan struct{})
	var calls atomic.Int32
	g := newGroup(t.Context(), 1, 512, func(error) bool { return true }, func(_ context.Context, in []int) ([]int, error) {
		calls.Add(1)
		started <- struct{}{}
		<-release
		out := make([]int, len(in))
		for i, n := range in {
			out[i] = 2 * n
		}
		return out, nil
	})
	gathered(t, g, started, release, 300, func(n, got int, err error) {
		if err != nil || got != 2*n {
			t.Errorf("item %d: %d, %v", n, got, err)
		}
	})
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls for 301 items", n)
	}
}

func TestOneBadItemFailsAlone(t *testing.T) {
	bad := errors.New("bad row")
	g := newGroup(t.Context(), 1, 8, func(error) bool { return true }, func(_ context.Context, in []int) ([]int, error) {
		for _, n := range in {
			if n == 3 {
				return nil, bad
			}
		}
		return in, nil
	})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			_, err := g.do(t.Context(), n)
			if (n == 3) != errors.Is(err, bad) {
				t.Errorf("item %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func TestFaultOfAllIsNotTriedOneByOne(t *testing.T) {
	away := errors.New("away")
	started, release := make(chan struct{}, 100), make(chan struct{})
	var calls atomic.Int32
	g := newGroup(t.Context(), 1, 64, func(err error) bool { return !errors.Is(err, away) }, func(context.Context, []int) ([]int, error) {
		calls.Add(1)
		started <- struct{}{}
		<-release
		return nil, away
	})
	gathered(t, g, started, release, 50, func(_, _ int, err error) {
		if !errors.Is(err, away) {
			t.Errorf("%v", err)
		}
	})
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls while away", n)
	}
}

func TestCallerMayLeaveBeforeItsTurn(t *testing.T) {
	release := make(chan struct{})
	g := newGroup(t.Context(), 1, 8, func(error) bool { return true }, func(_ context.Context, in []int) ([]int, error) {
		<-release
		return in, nil
	})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := g.do(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(release)
	if got, err := g.do(t.Context(), 2); err != nil || got != 2 {
		t.Errorf("the next one got %d, %v", got, err)
	}
}
