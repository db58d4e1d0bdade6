package job_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"purepool/pool/job"
)

func TestBoundTargetIsPartOfWhatIsHashed(t *testing.T) {
	_, j, f := load(t, templates[0])
	var a job.Assembler
	free := bytes.Clone(a.Coinbase(j, f))
	j.BindsTarget = true
	f.Target = 0x1d00ffff
	bound := bytes.Clone(a.Coinbase(j, f))
	n := len(j.Coinbase1)
	if !bytes.Equal(bound[:n], free[:n]) || !bytes.Equal(bound[n:n+4], []byte{0x1d, 0, 0xff, 0xff}) || !bytes.Equal(bound[n+4:], free[n:]) {
		t.Errorf("%x", bound)
	}
	proof := a.Proof(j, f)
	f.Target++
	if a.Proof(j, f) == proof {
		t.Error("another target, the same proof")
	}
}

// What choosing the target after the proof is worth: the reason for binding it.
// With the hardest target met by each proof, of a range of 2^16, the same work
// weighs many times as much; with a target fixed before, whichever, it weighs the
// same on average.
func TestTargetChosenAfterTheProofIsPaidManyTimes(t *testing.T) {
	const proofs, octaves = 1 << 20, 16
	random := rand.New(rand.NewPCG(1, 2))
	var chosen, fixed, varied float64
	for range proofs {
		// A proof as a number in [0, 1) of the easiest target.
		u := random.Float64()
		if hardest := math.Floor(-math.Log2(u)); hardest >= 0 {
			chosen += math.Exp2(math.Min(hardest, octaves))
		}
		if u < math.Exp2(-4) {
			fixed += math.Exp2(4)
		}
		if k := float64(random.IntN(6)); u < math.Exp2(-k) { // decided before the proof was seen
			varied += math.Exp2(k)
		}
	}
	if got := chosen / proofs; got < 7 || got > 12 { // 1 + 16/2
		t.Errorf("chosen afterwards: %.2f of the work", got)
	}
	for name, got := range map[string]float64{"fixed": fixed / proofs, "varied": varied / proofs} {
		if math.Abs(got-1) > 0.05 {
			t.Errorf("%s: %.2f of the work", name, got)
		}
	}
}
