package vardiff_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"purepool/pool/vardiff"
)

func TestRungIsTheNearestOfOneAndOneAndAHalfTimesThePowersOfTwo(t *testing.T) {
	for d, want := range map[float64]float64{
		1: 1, 1.5: 1.5, 2: 2, 0.75: 0.75, 1.2: 1, 1.25: 1.5, 1.7: 1.5, 1.75: 2, 2.5: 3, 1000: 1024, 100: 96,
		0.001: math.Ldexp(1, -10), 0: 0, -3: -3, math.Inf(1): math.Inf(1),
	} {
		if got := vardiff.Rung(d); got != want {
			t.Errorf("rung of %g is %g, want %g", d, got, want)
		}
	}
	if got := vardiff.Rung(math.NaN()); !math.IsNaN(got) {
		t.Errorf("rung of nothing is %g", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := math.Exp(rapid.Float64Range(math.Log(1e-12), math.Log(1e18)).Draw(t, "ln d"))
		r := vardiff.Rung(d)
		if off := math.Max(d/r, r/d); off > math.Sqrt(1.5)*(1+1e-12) {
			t.Fatalf("rung of %g is %g, off by %g", d, r, off)
		}
		if m, _ := math.Frexp(r); m != 0.5 && m != 0.75 || vardiff.Rung(r) != r {
			t.Fatalf("%g is no rung", r)
		}
	})
}

// A thousand miners from a kilohash to a petahash, each with its own hash rate and
// wishes, use fewer difficulties than the ladder has rungs.
func TestManyMinersUseFewDifficulties(t *testing.T) {
	c := control(t)
	used := make(map[float64]int)
	for n := range uint64(1000) {
		rate := math.Pow(10, 3+12*float64(n)/1000)
		var s vardiff.State
		s.SetFloor(1e-8 * (1 + float64(n%7)/10))
		used[c.Start(&s, rate*interval.Seconds()/hashesPerShare, 0)]++
	}
	const rungs = 2 * 41 // 12 decades are 40 octaves
	if len(used) > rungs {
		t.Errorf("%d difficulties", len(used))
	}
}
