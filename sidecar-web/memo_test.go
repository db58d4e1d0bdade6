package web

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time      { return time.Unix(0, c.at.Load()) }
func (c *clock) add(d time.Duration) { c.at.Add(int64(d)) }
func newClock() *clock               { c := &clock{}; c.add(1_500_000_000 * time.Second); return c }
func testMemo(c *clock) *memo[int] {
	return newMemo[int]("test", 16, time.Second, time.Minute, c.now, newMetrics(prometheus.NewRegistry()))
}

func always(n int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return n, nil }
}

var errAway = errors.New("away")

func away(context.Context) (int, error) { return 0, errAway }

func TestAnAnswerIsReadOnceForAllWhoWait(t *testing.T) {
	m := testMemo(newClock())
	var reads atomic.Int32
	release := make(chan struct{})
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			k, err := m.get(t.Context(), "key", func(context.Context) (int, error) {
				reads.Add(1)
				<-release
				return 7, nil
			})
			if k.Value != 7 || err != nil {
				t.Errorf("%v, %v", k, err)
			}
		})
	}
	close(release)
	group.Wait()
	if n := reads.Load(); n != 1 {
		t.Errorf("read %d times", n)
	}
}

func TestAnAnswerIsReadAgainWhenItIsOld(t *testing.T) {
	c := newClock()
	m := testMemo(c)
	for i, want := range []int{1, 1, 3} {
		if k, err := m.get(t.Context(), "key", always(i+1)); k.Value != want || err != nil {
			t.Errorf("%d: %v, %v", i, k, err)
		}
		c.add(600 * time.Millisecond)
	}
}

func TestAFailureLeavesTheOldAnswerWithItsAge(t *testing.T) {
	c := newClock()
	m := testMemo(c)
	at := c.now()
	if _, err := m.get(t.Context(), "key", always(1)); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	for range 3 {
		k, err := m.get(t.Context(), "key", away)
		if err != nil || k.Value != 1 || !k.At.Equal(at) || !errors.Is(k.Err, errAway) {
			t.Errorf("%v, %v", k, err)
		}
	}
	// The database is left in peace for a moment, then asked again.
	if k, _ := m.get(t.Context(), "key", always(2)); k.Value != 1 {
		t.Errorf("asked at once: %v", k)
	}
	c.add(peace)
	if k, err := m.get(t.Context(), "key", always(2)); k.Value != 2 || k.Err != nil || err != nil {
		t.Errorf("after the pause: %v, %v", k, err)
	}
}

func TestAFailureWithoutAnOldAnswerIsAnError(t *testing.T) {
	m := testMemo(newClock())
	for range 2 {
		if _, err := m.get(t.Context(), "key", away); !errors.Is(err, errAway) {
			t.Errorf("%v", err)
		}
	}
	if _, ok := m.last("key"); ok {
		t.Error("there is a last answer")
	}
}

func TestAVisitorWhoLeavesDoesNotStopTheReadingOfOthers(t *testing.T) {
	m := testMemo(newClock())
	ctx, leave := context.WithCancel(t.Context())
	begun, release := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		_, err := m.get(ctx, "key", func(ctx context.Context) (int, error) {
			close(begun)
			<-release
			return 5, ctx.Err()
		})
		first <- err
	}()
	<-begun
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the visitor who left got %v", err)
	}
	close(release)
	if k, err := m.get(t.Context(), "key", always(6)); k.Value != 5 || err != nil {
		t.Errorf("the other got %v, %v", k, err)
	}
}
