package stratum

import "sync/atomic"

// budget is memory that many connections share. Safe for concurrent use.
type budget struct {
	left    atomic.Int64
	reserve int64 // what is kept for authorized miners
}

func newBudget(bytes int64) *budget {
	b := &budget{reserve: bytes / 2}
	b.left.Store(bytes)
	return b
}

// take reports whether n bytes could be had; an unauthorized connection may not
// touch the reserve.
func (b *budget) take(n int, authorized bool) bool {
	keep := b.reserve
	if authorized {
		keep = 0
	}
	if b.left.Add(-int64(n)) >= keep {
		return true
	}
	b.left.Add(int64(n))
	return false
}

func (b *budget) give(n int) { b.left.Add(int64(n)) }
