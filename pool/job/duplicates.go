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
// outside knows: a fifth of the memory that whole shares take. A share is taken for
// one that it is not once in 10^14 where a million are kept. Its miner is told
// "duplicate" then; it is never the other way round.
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
	seen keySet
	_    [24]byte // a cache line each
}

// NewDuplicates returns an empty set of at most n shares, 11 to 22 bytes each.
func NewDuplicates(n int) *Duplicates {
	return &Duplicates{seed: maphash.MakeSeed(), most: max(n/duplicateShards, 1)}
}

// Add puts a share into the set and reports whether it is new.
func (d *Duplicates) Add(f *Found) bool {
	s, key := d.shard(f), d.key(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.seen.find(key)
	if !known && s.seen.count < d.most {
		s.seen.put(at, key)
	}
	return !known
}

// Remove takes a share out again, for one that could not be stored: its miner
// may send it once more.
func (d *Duplicates) Remove(f *Found) {
	s := d.shard(f)
	s.mu.Lock()
	s.seen.remove(d.key(f))
	s.mu.Unlock()
}

// Len returns the number of shares in the set.
func (d *Duplicates) Len() (n int) {
	for i := range d.shards {
		d.shards[i].mu.Lock()
		n += d.shards[i].seen.count
		d.shards[i].mu.Unlock()
	}
	return n
}

// shard chooses by the session, whose shares come from one event loop.
func (d *Duplicates) shard(f *Found) *duplicateShard {
	return &d.shards[f.Extranonce1[Extranonce1Size-1]%duplicateShards]
}

// key has its lowest bit set, so it is neither free nor removed.
func (d *Duplicates) key(f *Found) uint64 { return maphash.Comparable(d.seed, *f) | 1 }

// keySet is a set of keys that are hashes already, by open addressing: a look at it
// touches one line of the processor's cache, where Go's map touches three, and with a
// million shares each of them is fetched from memory.
type keySet struct {
	slots []uint64 // a power of two; free, removed or a key
	used  int      // slots that are not free
	count int      // keys
}

const (
	free    = 0
	removed = 2
)

// find returns where the key is, or where put may put it.
func (s *keySet) find(key uint64) (at int, known bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	mask := len(s.slots) - 1
	for at = int(key>>1) & mask; s.slots[at] != free; at = (at + 1) & mask {
		if s.slots[at] == key {
			return at, true
		}
	}
	return at, false
}

// put takes in a key that find has not found.
func (s *keySet) put(at int, key uint64) {
	if 4*(s.used+1) > 3*len(s.slots) {
		s.grow()
		at, _ = s.find(key)
	}
	s.slots[at] = key
	s.used++
	s.count++
}

// grow makes room: by forgetting which keys were removed, where that is much, and
// else by doubling.
func (s *keySet) grow() {
	old, size := s.slots, max(8, len(s.slots))
	if 2*s.count >= len(old) {
		size = max(size, 2*len(old))
	}
	s.slots, s.used = make([]uint64, size), 0
	for _, key := range old {
		if key != free && key != removed {
			at, _ := s.find(key)
			s.slots[at] = key
			s.used++
		}
	}
}

func (s *keySet) remove(key uint64) {
	if at, known := s.find(key); known {
		s.slots[at] = removed
		s.count--
	}
}
