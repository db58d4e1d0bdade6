package pow

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/big"
)

// ErrorKind is a kind of malformed number. Match it with errors.Is.
type ErrorKind string

// The kinds of malformed numbers.
const (
	// ErrLength: not exactly 64 hex digits.
	ErrLength ErrorKind = "a 256-bit number has 64 hex digits"
	// ErrHex: a character that is no hex digit.
	ErrHex ErrorKind = "a 256-bit number holds a character that is no hex digit"
	// ErrCompactNegative: compact bits with the sign bit set.
	ErrCompactNegative ErrorKind = "compact bits are negative"
	// ErrCompactOverflow: compact bits of more than 256 bits.
	ErrCompactOverflow ErrorKind = "compact bits exceed 256 bits"
	// ErrCompactZero: compact bits of zero, a target that no hash meets.
	ErrCompactZero ErrorKind = "compact bits are zero"
	// ErrUnknownAlgorithm: no hash function has this name.
	ErrUnknownAlgorithm ErrorKind = "unknown algorithm; there are x11, scrypt and sha256d"
)

// Error returns a text for people.
func (k ErrorKind) Error() string { return string(k) }

// Target is the bound that a proof must stay below; 32 bytes, most significant
// first.
type Target [32]byte

// ParseTarget reads exactly 64 hex digits in either case, most significant
// first. Errors: [ErrLength], [ErrHex].
func ParseTarget(text string) (Target, error) {
	n, err := ParseNumber(text)
	return n, err
}

// ParseNumber reads a proof or block hash as it is written: exactly 64 hex digits
// in either case, most significant first. Errors: [ErrLength], [ErrHex].
func ParseNumber[T ~string | ~[]byte](text T) (n [32]byte, err error) {
	if len(text) != 2*len(n) {
		return n, ErrLength
	}
	var digits [64]byte
	copy(digits[:], text)
	if _, err := hex.Decode(n[:], digits[:]); err != nil {
		return [32]byte{}, ErrHex
	}
	return n, nil
}

// String returns 64 lower-case hex digits, most significant first.
func (t Target) String() string { return hex.EncodeToString(t[:]) }

// MetBy reports whether a proof meets the target: it must be strictly below it
// (docs/PROTOCOL.md, "Classic validation"). A target of zero is met by nothing.
func (t Target) MetBy(proof [32]byte) bool { return bytes.Compare(proof[:], t[:]) < 0 }

// ExpectedHashes returns how many hashes it takes, on average, to meet the
// target: 2^256 / (target+1), rounded down, at least 1. This is Bitcoin's
// GetBlockProof.
func (t Target) ExpectedHashes() *big.Int {
	divisor := new(big.Int).SetBytes(t[:])
	divisor.Add(divisor, big.NewInt(1))
	space := new(big.Int).Lsh(big.NewInt(1), 256)
	return space.Quo(space, divisor) // never below 1: the divisor is at most 2^256
}

// Weight is [Target.ExpectedHashes] as the ledger keeps it: capped to the
// largest int64, which only targets below 2^193 reach.
func (t Target) Weight() int64 {
	if n := t.ExpectedHashes(); n.IsInt64() {
		return n.Int64()
	}
	return math.MaxInt64
}

// TargetFromCompact expands the compact form of block headers ("bits") by the
// rules of Bitcoin's arith_uint256::SetCompact. Errors: [ErrCompactNegative],
// [ErrCompactOverflow], [ErrCompactZero].
func TargetFromCompact(bits uint32) (Target, error) {
	size := int(bits >> 24)
	mantissa := bits & 0x007fffff
	if size < 3 {
		mantissa >>= 8 * (3 - size)
	}
	switch {
	case mantissa == 0:
		return Target{}, ErrCompactZero
	case bits&0x00800000 != 0:
		return Target{}, ErrCompactNegative
	case size > 34 || size > 33 && mantissa > 0xff || size > 32 && mantissa > 0xffff:
		return Target{}, ErrCompactOverflow
	}
	var t Target
	// The mantissa's least significant byte stands at 256^(size-3).
	for i := max(size-3, 0); mantissa != 0; i++ {
		t[31-i] = byte(mantissa)
		mantissa >>= 8
	}
	return t, nil
}

// Compact returns the compact form of the target, rounded down to its 15 to 23
// most significant bits, as Bitcoin's arith_uint256::GetCompact does.
func (t Target) Compact() uint32 {
	first := 0
	for first < len(t) && t[first] == 0 {
		first++
	}
	size := len(t) - first
	var mantissa uint32
	for i := first; i < first+3; i++ {
		mantissa <<= 8
		if i < len(t) {
			mantissa |= uint32(t[i])
		}
	}
	if mantissa&0x00800000 != 0 { // the top bit is the sign
		mantissa >>= 8
		size++
	}
	return uint32(size)<<24 | mantissa
}
