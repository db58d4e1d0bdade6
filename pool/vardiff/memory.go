package vardiff

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Memory remembers difficulties over reconnects, by a key of the caller's: a
// worker on a port, say. It is bounded, forgets the least recently used first, and
// is safe for concurrent use.
type Memory[K comparable] struct {
	ttl   time.Duration
	cache *lru.Cache[K, remembered]
}

type remembered struct {
	difficulty float64
	at         time.Duration
}

// NewMemory returns a memory of at most size entries (about 100 bytes each) that
// are believed for ttl; the machine behind a name may have changed by then.
// Error: ErrConfig for a size below one.
func NewMemory[K comparable](size int, ttl time.Duration) (*Memory[K], error) {
	cache, err := lru.New[K, remembered](size)
	if err != nil {
		return nil, ErrConfig
	}
	return &Memory[K]{ttl, cache}, nil
}

// Remember keeps a difficulty that has been found, not merely started with.
func (m *Memory[K]) Remember(key K, difficulty float64, now time.Duration) {
	m.cache.Add(key, remembered{difficulty, now})
}

// Recall returns what was remembered less than ttl ago.
func (m *Memory[K]) Recall(key K, now time.Duration) (difficulty float64, ok bool) {
	r, ok := m.cache.Get(key)
	if !ok || now-r.at > m.ttl {
		return 0, false
	}
	return r.difficulty, true
}
