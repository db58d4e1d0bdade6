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
// whoever waits holds memory too. The budget counts what is in use: what has been
// given back is the garbage collector's.
// All methods are safe for concurrent access.
type memory struct {
	budget     int64
	perVisitor int64
	reserved   atomic.Int64
	sizes      []int     // ascending, from ownSize to the longest head
	own        sync.Pool // of *[ownSize]byte

	// copying is held while values are copied out of a large head, when both are
	// there at once. One at a time, this needs room for one head, which is kept
	// free; as part of each request's price it would turn half of them away.
	copying sync.Mutex
}

func newMemory(l Limits) *memory {
	m := &memory{budget: l.Memory - int64(l.maxHead()), perVisitor: l.MemoryPerIP}
	m.own.New = func() any { return new([ownSize]byte) }
	// Growing by four copies at most a third of the bytes again.
	size := ownSize
	for ; size < l.maxHead(); size *= 4 {
		m.sizes = append(m.sizes, size)
	}
	m.sizes = append(m.sizes, max(l.maxHead(), ownSize))
	return m
}

// reserve takes n bytes from the budget, and from v's part of it if not nil, or
// nothing.
func (m *memory) reserve(n int64, v *visitor) bool {
	if m.reserved.Add(n) > m.budget {
		m.reserved.Add(-n)
		return false
	}
	if v != nil && v.reserved.Add(n) > m.perVisitor {
		m.release(n, v)
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
