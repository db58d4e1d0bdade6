package job

import (
	"encoding/binary"
	"sync"
)

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
	seen map[packed]struct{}
	_    [40]byte // a cache line each
}

// packed is a Found without gaps between its fields, which is hashed and compared
// in one piece.
type packed [5]uint64

func pack(f *Found) packed {
	return packed{
		binary.BigEndian.Uint64(f.Extranonce1[:]), binary.BigEndian.Uint64(f.Extranonce2[:]), uint64(f.Extranonce2Size),
		uint64(f.Time)<<32 | uint64(f.Nonce), uint64(f.VersionBits)<<32 | uint64(f.Target),
	}
}

// NewDuplicates returns an empty set of at most n shares, about 60 bytes each.
func NewDuplicates(n int) *Duplicates { return &Duplicates{most: max(n/duplicateShards, 1)} }

// Add puts a share into the set and reports whether it is new.
func (d *Duplicates) Add(f *Found) bool {
	s, key := d.shard(f), pack(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.seen)
	if before >= d.most {
		_, known := s.seen[key]
		return !known
	}
	if s.seen == nil {
		s.seen = make(map[packed]struct{})
	}
	s.seen[key] = struct{}{}
	return len(s.seen) > before
}

// Remove takes a share out again, for one that could not be stored: its miner
// may send it once more.
func (d *Duplicates) Remove(f *Found) {
	s := d.shard(f)
	s.mu.Lock()
	delete(s.seen, pack(f))
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
