package web

import (
	"context"
	"sync"
)

// together reads for several visitors at once. Who asks while readings are under
// way waits for the next one, which is for all who wait: many visitors who look
// at different miners cost little more than one of them.
//
// The first who asks for a reading does it, in his own goroutine, for all who
// have joined by the time it begins. Safe for concurrent access.
type together[K comparable, V any] struct {
	load  func(ctx context.Context, keys []K) (map[K]V, error)
	lanes chan struct{} // as many readings are under way at most

	mu   sync.Mutex // guards next
	next *reading[K, V]
}

// reading is one query for many keys.
type reading[K comparable, V any] struct {
	keys   []K
	done   chan struct{} // closed when the two below are there
	values map[K]V
	err    error
}

const (
	// togetherLanes is few: what waits is joined.
	togetherLanes = 2
	// togetherMost bounds the keys of one reading, and so its time.
	togetherMost = 64
)

func newTogether[K comparable, V any](load func(ctx context.Context, keys []K) (map[K]V, error)) *together[K, V] {
	return &together[K, V]{load: load, lanes: make(chan struct{}, togetherLanes)}
}

// get returns the value of a key; the zero value where the reading brought none.
func (t *together[K, V]) get(ctx context.Context, key K) (V, error) {
	r, mine := t.join(key)
	if mine {
		t.read(ctx, r)
	}
	select {
	case <-r.done:
		return r.values[key], r.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// join adds a key to the next reading; mine is true for the first one, who has
// to read.
func (t *together[K, V]) join(key K) (r *reading[K, V], mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r = t.next; r == nil {
		r, mine = &reading[K, V]{done: make(chan struct{})}, true
		t.next = r
	}
	r.keys = append(r.keys, key)
	if len(r.keys) == togetherMost {
		t.next = nil
	}
	return r, mine
}

// read waits for a lane, closes the reading to others, and reads.
func (t *together[K, V]) read(ctx context.Context, r *reading[K, V]) {
	defer close(r.done)
	select {
	case t.lanes <- struct{}{}:
		defer func() { <-t.lanes }()
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	t.mu.Lock()
	if t.next == r {
		t.next = nil
	}
	t.mu.Unlock()
	if r.err == nil {
		r.values, r.err = t.load(ctx, r.keys)
	}
}
