package job

import "sync"

// duplicateShards splits the set so that event loops rarely meet at one lock.
const duplicateShards = 16

// Duplicates is the set of shares seen of one job. It compares bytes, not
// spellings, and it is safe for concurrent use.
//
// It is bounded: once it is full it takes no more and lets everything pass. That
// costs nobody money, since the ledger knows every proof; it only moves the
// answer "duplicate" from the frontend to the backend.
type Duplicates struct {
	most   int // per shard
	shards [duplicateShards]duplicateShard
}

type duplicateShard struct {
	mu   sync.Mutex
	seen map[Found]struct{}
	_    [40]byte // a cache line each
}

// NewDuplicates returns an empty set of at most n shares, about 60 bytes each.
func NewDuplicates(n int) *Duplicates { return &Duplicates{most: max(n/duplicateShards, 1)} }

// Add puts a share into the set and reports whether it is new.
func (d *Duplicates) Add(f *Found) bool {
	s := d.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[*f]; ok {
		return false
	}
	if s.seen == nil {
		s.seen = make(map[Found]struct{})
	}
	if len(s.seen) < d.most {
		s.seen[*f] = struct{}{}
	}
	return true
}

// Remove takes a share out again, for one that could not be stored: its miner
// may send it once more.
func (d *Duplicates) Remove(f *Found) {
	s := d.shard(f)
	s.mu.Lock()
	delete(s.seen, *f)
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
