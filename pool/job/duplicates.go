package job

import (
	"hash/maphash"
	"sync"
)

// duplicateShards splits the set so that event loops rarely meet at one lock.
const duplicateShards = 16

// Duplicates is the set of shares seen of one job. It compares bytes, not
// spellings, and it is safe for concurrent use.
//
// It keeps 64 bits of each share, hashed under a seed of its own that nobody
// outside knows: a fifth of the memory that whole shares take, most of which would
// be missed by the processor's caches. A share is taken for one that it is not once
// in 10^14 where a million are kept. Its miner is told "duplicate" then; it is never
// the other way round.
//
// It is bounded: once it is full it takes no more and lets everything pass. That
// costs nobody money, since the ledger knows every proof; it only moves the
// answer "duplicate" from the frontend to the backend.
type Duplicates struct {
	seed   maphash.Seed
	most   int // per shard
	shards [duplicateShards]duplicateShard
}

type duplicateShard struct {
	mu   sync.Mutex
	seen map[uint64]struct{}
	_    [40]byte // a cache line each
}

// NewDuplicates returns an empty set of at most n shares, about 15 bytes each.
func NewDuplicates(n int) *Duplicates {
	return &Duplicates{seed: maphash.MakeSeed(), most: max(n/duplicateShards, 1)}
}

// Add puts a share into the set and reports whether it is new.
func (d *Duplicates) Add(f *Found) bool {
	s, key := d.shard(f), maphash.Comparable(d.seed, *f)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.seen)
	if before >= d.most {
		_, known := s.seen[key]
		return !known
	}
	if s.seen == nil {
		s.seen = make(map[uint64]struct{})
	}
	s.seen[key] = struct{}{}
	return len(s.seen) > before
}

// Remove takes a share out again, for one that could not be stored: its miner
// may send it once more.
func (d *Duplicates) Remove(f *Found) {
	s := d.shard(f)
	s.mu.Lock()
	delete(s.seen, maphash.Comparable(d.seed, *f))
	s.mu.Unlock()
}

// Len returns the number of shares in the set.
func (d *Duplicates) Len() (n int) {
	for i := range d.shards {
		d.shards[i].mu.Lock()
		n += len(d.shards[i].seen)
		d.shards[i].mu.Unlock()
	}
	return n
}

// shard chooses by the session, whose shares come from one event loop.
func (d *Duplicates) shard(f *Found) *duplicateShard {
	return &d.shards[f.Extranonce1[Extranonce1Size-1]%duplicateShards]
}
