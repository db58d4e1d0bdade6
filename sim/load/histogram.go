package load

import (
	"math/bits"
	"time"
)

// Each power of two is split into this many buckets, so that a value is known to
// about three per cent.
const (
	subBits = 5
	sub     = 1 << subBits
	buckets = (64 - subBits + 1) * sub
)

// Histogram counts durations by their logarithm, in a fixed room of 15 kB. Its
// zero value is empty. Not safe for concurrent use.
type Histogram struct {
	counts [buckets]uint64
	total  uint64
	max    time.Duration
}

// Record counts one duration; a negative one is 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// bucket returns where a value is counted: below 2*sub in a bucket of its own,
// above by its subBits+1 leading bits.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift*sub + int(v>>shift)
}

// bound returns the greatest value of a bucket.
func bound(b int) uint64 {
	shift := max(b/sub-1, 0)
	lead := uint64(b - shift*sub)
	return (lead+1)<<shift - 1
}

// Add adds the counts of another histogram.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max returns the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Percentile returns a duration that p per cent of the recorded ones do not
// exceed, to about three per cent; 0 where nothing was recorded.
func (h *Histogram) Percentile(p float64) time.Duration {
	wanted := uint64(p / 100 * float64(h.total))
	var seen uint64
	for b, n := range h.counts {
		if seen += n; n > 0 && seen >= wanted {
			return min(time.Duration(bound(b)), h.max)
		}
	}
	return h.max
}
