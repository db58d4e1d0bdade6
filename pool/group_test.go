package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestManyConcurrentItemsMakeFewCalls(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	release := make(chan struct{})
	var calls atomic.Int32
	g := newGroup(ctx, 1, 512, func(error) bool { return true }, func(_ context.Context, in []int) ([]int, error) {
		calls.Add(1)
		<-release
		out := make([]int, len(in))
		for i, n := range in {
			out[i] = 2 * n
		}
		return out, nil
	})
	var wg sync.WaitGroup
	for n := range 300 {
		wg.Go(func() {
			if got, err := g.do(ctx, n); err != nil || got != 2*n {
				t.Errorf("item %d: %d, %v", n, got, err)
			}
		})
	}
	for len(g.items) < 290 { // the first call is held until nearly all have gathered
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if n := calls.Load(); n > 11 {
		t.Errorf("%d calls for 300 items", n)
	}
	stop()
	g.wait()
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
	var calls atomic.Int32
	started := make(chan struct{})
	g := newGroup(t.Context(), 1, 64, func(err error) bool { return !errors.Is(err, away) }, func(_ context.Context, in []int) ([]int, error) {
		if calls.Add(1) == 1 {
			<-started
		}
		return nil, away
	})
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if _, err := g.do(t.Context(), n); !errors.Is(err, away) {
				t.Errorf("%v", err)
			}
		})
	}
	for len(g.items) < 45 {
		time.Sleep(time.Millisecond)
	}
	close(started)
	wg.Wait()
	if n := calls.Load(); n > 6 {
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
