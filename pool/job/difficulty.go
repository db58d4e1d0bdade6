package job

import (
	"encoding/binary"
	"math"
	"math/bits"

	"purepool/pool/pow"
)

// Bits is a share's target in compact form, as in block headers.
type Bits uint32

// Target expands the compact form; the zero Target, which nothing meets, for
// bits that are malformed.
func (b Bits) Target() pow.Target {
	t, err := pow.TargetFromCompact(uint32(b))
	if err != nil {
		return pow.Target{}
	}
	return t
}

// MinDifficulty and MaxDifficulty bound every difficulty. At the lowest every
// hash of every algorithm is a share; the highest is beyond any machine, and its
// target is still far above zero.
const (
	MinDifficulty = 1e-12
	MaxDifficulty = 1e18
)

// Difficulty1 returns the target of difficulty 1 (docs/PROTOCOL.md, "Stratum
// over TCP"): 0x0000ffff0000… for scrypt, 0x00000000ffff0000… for the others.
func Difficulty1(algorithm string) pow.Target {
	var t pow.Target
	at := 4
	if algorithm == "scrypt" {
		at = 2
	}
	t[at], t[at+1] = 0xff, 0xff
	return t
}

// BitsOf returns the target of a difficulty, rounded up to the next compact one,
// and at most the largest compact target there is. A difficulty outside
// MinDifficulty and MaxDifficulty, or none at all (NaN), is moved to the nearer
// bound, NaN to the lower one. It allocates nothing.
func BitsOf(algorithm string, difficulty float64) Bits {
	if !(difficulty > MinDifficulty) {
		difficulty = MinDifficulty
	}
	difficulty = min(difficulty, MaxDifficulty)
	// difficulty = mantissa · 2^exponent, exactly, with 53 bits of mantissa.
	fraction, exponent := math.Frexp(difficulty)
	mantissa := uint64(math.Ldexp(fraction, 53))
	exponent -= 53

	// 384 bits hold the quotient of a target shifted left by up to 128 bits; the
	// exponent lies in -92..7 for the bounds above.
	n := wideTarget(Difficulty1(algorithm))
	if exponent < 0 {
		n = n.shiftLeft(uint(-exponent))
	}
	n, rest := n.divide(mantissa)
	if exponent > 0 {
		n = n.shiftRight(uint(exponent))
		rest = 1 // what was shifted out does not matter: it is rounded up anyway
	}
	return n.compactUp(rest != 0)
}

// DifficultyOf returns the difficulty of a target, for people and for
// mining.set_difficulty after a miner has asked for a target.
func DifficultyOf(algorithm string, t pow.Target) float64 {
	return float(Difficulty1(algorithm)) / math.Max(float(t), 1)
}

func float(t pow.Target) float64 {
	f := 0.0
	for i := 0; i < 32; i += 8 {
		f = f*0x1p64 + float64(binary.BigEndian.Uint64(t[i:]))
	}
	return f
}

// wide is a 384-bit number, least significant word first.
type wide [6]uint64

func wideTarget(t pow.Target) (w wide) {
	for i := range 4 {
		w[i] = binary.BigEndian.Uint64(t[24-8*i:])
	}
	return w
}

func (w wide) shiftLeft(n uint) (out wide) {
	words, rest := int(n/64), n%64
	for i := len(w) - 1; i >= words; i-- {
		out[i] = w[i-words] << rest
		if rest > 0 && i > words {
			out[i] |= w[i-words-1] >> (64 - rest)
		}
	}
	return out
}

func (w wide) shiftRight(n uint) (out wide) {
	words, rest := int(n/64), n%64
	for i := 0; i+words < len(w); i++ {
		out[i] = w[i+words] >> rest
		if rest > 0 && i+words+1 < len(w) {
			out[i] |= w[i+words+1] << (64 - rest)
		}
	}
	return out
}

func (w wide) divide(by uint64) (quotient wide, rest uint64) {
	for i := len(w) - 1; i >= 0; i-- {
		quotient[i], rest = bits.Div64(rest, w[i], by)
	}
	return quotient, rest
}

// compactUp returns the least compact form that is not below the number. more
// says that a fraction was cut off.
func (w wide) compactUp(more bool) Bits {
	size := 0
	for i := len(w) - 1; i >= 0; i-- {
		if w[i] != 0 {
			size = i*8 + (bits.Len64(w[i])+7)/8
			break
		}
	}
	if size > 32 {
		return anyHash
	}
	if size < 3 {
		size = 3
	}
	cut := w.shiftRight(uint(8 * (size - 3)))
	mantissa := cut[0]
	if back := cut.shiftLeft(uint(8 * (size - 3))); back != w || more {
		mantissa++
	}
	if mantissa > 0x7fffff { // the top bit is the sign
		mantissa = (mantissa + 0xff) >> 8
		size++
	}
	if size > 33 || size == 33 && mantissa > 0xffff {
		return anyHash
	}
	return Bits(uint32(size)<<24 | uint32(mantissa))
}

// anyHash is the largest compact target below 2^256: one hash in 65,536 misses
// it, so that it stands for a single hash.
const anyHash Bits = 0x2100ffff
