package httpcompat

import (
	"sync"
	"sync/atomic"
)

const (
	// inlineSize is the part of a head that lies in the connection itself: every
	// request for work fits, and the usual solution of 3 to 4 kB mostly does.
	inlineSize = 4 << 10
	// ownSize is what a connection may take without asking the budget.
	ownSize = 16 << 10
)

// memory hands out the buffers for heads. What is larger than ownSize is taken
// from a budget that all connections share; nobody ever waits for it, because
// whoever waits holds memory too.
// All methods are safe for concurrent access.
type memory struct {
	reserved atomic.Int64
	budget   int64
	classes  []bufferClass // ascending by size, from ownSize to the longest head
}

type bufferClass struct {
	size int
	pool sync.Pool // of *[]byte
}

func newMemory(budget int64, maxHead int) *memory {
	m := &memory{budget: budget}
	// Growing by four copies at most a third of the bytes again.
	size := ownSize
	for ; size < maxHead; size *= 4 {
		m.classes = append(m.classes, bufferClass{size: size})
	}
	m.classes = append(m.classes, bufferClass{size: max(maxHead, ownSize)})
	return m
}

// reserve takes n bytes from the budget, for v if not nil, or nothing.
func (m *memory) reserve(n, perVisitor int64, v *visitor) bool {
	if m.reserved.Add(n) > m.budget {
		m.reserved.Add(-n)
		return false
	}
	if v != nil && v.reserved.Add(n) > perVisitor {
		v.reserved.Add(-n)
		m.reserved.Add(-n)
		return false
	}
	return true
}

func (m *memory) release(n int64, v *visitor) {
	m.reserved.Add(-n)
	if v != nil {
		v.reserved.Add(-n)
	}
}

// price is what a buffer of a class costs of the budget.
func (m *memory) price(class int) int64 {
	if size := m.classes[class].size; size > ownSize {
		return int64(size)
	}
	return 0
}

// take returns a buffer of a class; its price must have been reserved.
func (m *memory) take(class int) *[]byte {
	c := &m.classes[class]
	if b, ok := c.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, c.size)
	return &b
}

// put gives a buffer back. Nothing may point into it any more.
func (m *memory) put(class int, b *[]byte) { m.classes[class].pool.Put(b) }
