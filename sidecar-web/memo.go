package web

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// memo keeps answers of the ledger for a while. An answer that is too old is
// read again once, however many wait for it; where that fails the old one goes
// on being given, with its age and the reason, and the database is left in peace
// for a moment. Bounded: answers not asked for lately are forgotten.
//
// Safe for concurrent access.
type memo[V any] struct {
	fresh   time.Duration
	timeout time.Duration // of one reading
	now     func() time.Time
	metrics *metrics
	name    string

	group singleflight.Group
	cells *lru.Cache[string, *cell[V]]
}

// cell is one answer.
type cell[V any] struct {
	mu       sync.Mutex // guards all below
	value    V
	at       time.Time // zero: there is none yet
	failedAt time.Time // of the last reading, where that failed
	err      error
}

// known is an answer with its age.
type known[V any] struct {
	Value V
	At    time.Time
	// Err is why it is older than it should be; nil where it is not.
	Err error
}

// peace is how long a reading that failed is not tried again.
const peace = 2 * time.Second

func newMemo[V any](name string, size int, fresh, timeout time.Duration, now func() time.Time, m *metrics) *memo[V] {
	cells, err := lru.New[string, *cell[V]](size)
	if err != nil {
		panic(err) // a size below 1 is a mistake in this package
	}
	m.prepare(name)
	return &memo[V]{fresh: fresh, timeout: timeout, now: now, metrics: m, name: name, cells: cells}
}

// get returns the answer for a key, read by load where it is not fresh. The
// error is that of load where there is no answer at all, or ctx's.
func (m *memo[V]) get(ctx context.Context, key string, load func(ctx context.Context) (V, error)) (known[V], error) {
	c := m.cell(key)
	if k, ok := c.usable(m.now(), m.fresh); ok {
		m.metrics.cache.WithLabelValues(m.name, "hit").Inc()
		return k, k.errIfEmpty()
	}
	m.metrics.cache.WithLabelValues(m.name, "miss").Inc()
	// The reading is for all who wait: it does not end with the visitor who asked first.
	done := m.group.DoChan(key, func() (any, error) {
		if k, ok := c.usable(m.now(), m.fresh); ok {
			return k, nil // read while this one was on its way here
		}
		loadCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.timeout)
		defer cancel()
		begun := time.Now()
		value, err := load(loadCtx)
		m.metrics.load(m.name, time.Since(begun), err)
		return c.set(value, err, m.now()), nil
	})
	select {
	case r := <-done:
		k, _ := r.Val.(known[V])
		return k, k.errIfEmpty()
	case <-ctx.Done():
		return known[V]{}, ctx.Err()
	}
}

// last returns the answer for a key, however old, without asking anybody.
func (m *memo[V]) last(key string) (known[V], bool) {
	c, ok := m.cells.Get(key)
	if !ok {
		return known[V]{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return known[V]{c.value, c.at, c.err}, !c.at.IsZero()
}

func (m *memo[V]) cell(key string) *cell[V] {
	if c, ok := m.cells.Get(key); ok {
		return c
	}
	c := &cell[V]{}
	if old, there, _ := m.cells.PeekOrAdd(key, c); there {
		return old
	}
	return c
}

// usable returns what can be given without reading again.
func (c *cell[V]) usable(now time.Time, fresh time.Duration) (known[V], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := known[V]{c.value, c.at, c.err}
	if c.err != nil {
		return k, now.Sub(c.failedAt) < peace && !now.Before(c.failedAt)
	}
	return k, !c.at.IsZero() && now.Sub(c.at) < fresh && !now.Before(c.at)
}

func (c *cell[V]) set(value V, err error, now time.Time) known[V] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = err; err != nil {
		c.failedAt = now
	} else {
		c.value, c.at = value, now
	}
	return known[V]{c.value, c.at, c.err}
}

// errIfEmpty is the error of an answer that there has never been.
func (k known[V]) errIfEmpty() error {
	if k.At.IsZero() {
		return k.Err
	}
	return nil
}
