package config

import (
	"fmt"
	"strconv"
)

// Difficulty is how hard a share is, as miners count it: 1 is 2^32 hashes for
// x11 and sha256d, 2^16 for scrypt. The zero value means that none is set. It
// steers miners and touches no money.
type Difficulty float64

// Bounds of difficulties: below, every hash is a share; above, no machine finds
// one.
const (
	minDifficulty = 1e-12
	maxDifficulty = 1e18
)

// UnmarshalText reads a decimal number.
func (d *Difficulty) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= minDifficulty && f <= maxDifficulty) {
		return fmt.Errorf(`%q is no difficulty, write a number like "1" or "0.0001"`, text)
	}
	*d = Difficulty(f)
	return nil
}

// String writes the shortest form that reads back as the same number.
func (d Difficulty) String() string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(d), 'g', -1, 64)
}
