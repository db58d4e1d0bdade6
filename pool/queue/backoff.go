package queue

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits longer after each failure, doubling from min to max, with up to
// a quarter of jitter so that many waiters do not wake together.
type backoff struct {
	min, max time.Duration
	attempt  int
}

func (b *backoff) next() time.Duration {
	d := doubled(b.min, b.max, b.attempt)
	b.attempt++
	return d + rand.N(d/4+1) //nolint:gosec // jitter
}

func (b *backoff) reset() { b.attempt = 0 }

// wait returns after the next delay, or when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// doubled is lo·2^n, at most hi.
func doubled(lo, hi time.Duration, n int) time.Duration {
	for ; n > 0 && lo < hi; n-- {
		lo *= 2
	}
	return min(lo, hi)
}
