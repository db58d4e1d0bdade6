package web

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestWhoWaitsIsReadForTogether(t *testing.T) {
	gate := make(chan struct{})
	var mu sync.Mutex
	var sizes []int
	read := newTogether(func(_ context.Context, keys []int) (map[int]int, error) {
		<-gate
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(keys))
		values := map[int]int{}
		for _, k := range keys {
			values[k] = k * k
		}
		return values, nil
	})
	var group sync.WaitGroup
	visit := func(key int) {
		group.Go(func() {
			if v, err := read.get(t.Context(), key); err != nil || v != key*key {
				t.Errorf("%d: %d, %v", key, v, err)
			}
		})
	}
	for lane := range togetherLanes {
		visit(lane)
		for len(read.lanes) <= lane {
			time.Sleep(time.Millisecond)
		}
	}
	// All lanes are busy: whoever comes now joins the others.
	for key := range 40 {
		visit(100 + key)
	}
	waiting := func() int {
		read.mu.Lock()
		defer read.mu.Unlock()
		if read.next == nil {
			return 0
		}
		return len(read.next.keys)
	}
	for waiting() < 40 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	group.Wait()
	if slices.Sort(sizes); !slices.Equal(sizes, []int{1, 1, 40}) {
		t.Errorf("readings of %v", sizes)
	}
}

func TestAReadingIsBounded(t *testing.T) {
	read := newTogether(func(context.Context, []int) (map[int]int, error) { return nil, nil })
	first, mine := read.join(0)
	for i := 1; i < togetherMost; i++ {
		if r, again := read.join(i); r != first || again {
			t.Fatalf("%d reads by himself", i)
		}
	}
	if r, again := read.join(togetherMost); !mine || r == first || !again {
		t.Error("a reading without a bound")
	}
}

func TestAReadingThatFailsFailsForAllWhoWaited(t *testing.T) {
	away := errors.New("away")
	read := newTogether(func(context.Context, []int) (map[int]int, error) { return nil, away })
	if _, err := read.get(t.Context(), 1); !errors.Is(err, away) {
		t.Error(err)
	}
	// The next one reads anew; a visitor who has gone waits for nobody.
	read.lanes <- struct{}{}
	read.lanes <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read.get(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-read.lanes
	if _, err := read.get(t.Context(), 3); !errors.Is(err, away) {
		t.Error(err)
	}
}
