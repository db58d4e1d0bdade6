package stratum

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets of at most an eighth of their value. It
// is 4 kB, merges by adding, and belongs to one goroutine.
type histogram struct {
	n       int64
	most    time.Duration
	buckets [512]int64
}

// bucket of n: three bits below its highest one, and the place of that.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < 8 {
		return int(n)
	}
	high := bits.Len64(n) - 1
	return high<<3 | int(n>>(high-3)&7)
}

// lowest returns the least duration of a bucket.
func lowest(i int) time.Duration {
	if i < 24 {
		return time.Duration(min(i, 7))
	}
	high := i >> 3
	return time.Duration(uint64(8|i&7) << (high - 3))
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.most = max(h.most, d)
	h.buckets[bucket(d)]++
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	h.most = max(h.most, o.most)
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// Latency is a distribution in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func (h *histogram) latency() Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	at := func(part float64) float64 {
		want := int64(part * float64(h.n))
		for i, n := range h.buckets {
			if want -= n; want < 0 {
				return ms(min(lowest(i+1), h.most))
			}
		}
		return ms(h.most)
	}
	return Latency{Count: h.n, P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: ms(h.most)}
}
