package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// Hash is a 32-byte hash in the order of the wire: little-endian, the reverse of
// how it is printed.
type Hash [32]byte

// DoubleSHA256 is the hash of transactions and merkle nodes: SHA-256 of SHA-256.
func DoubleSHA256(b []byte) Hash {
	first := sha256.Sum256(b)
	return sha256.Sum256(first[:])
}

// ParseHash reads a hash as it is printed: exactly 64 hex digits in either case,
// most significant byte first. Errors: [ErrHashLength], [ErrHex].
func ParseHash(text string) (Hash, error) {
	var h Hash
	if len(text) != 2*len(h) {
		return Hash{}, fail(ErrHashLength, "a hash has 64 hex digits, this has %d characters", len(text))
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		return Hash{}, fail(ErrHex, "a hash holds a character that is no hex digit")
	}
	slices.Reverse(h[:])
	return h, nil
}

// HashFromDisplay is the inverse of [Hash.Display].
func HashFromDisplay(display [32]byte) Hash {
	slices.Reverse(display[:])
	return display
}

// Display returns the hash most significant byte first, the order in which it is
// printed and in which bytes.Compare compares numbers.
func (h Hash) Display() [32]byte {
	slices.Reverse(h[:])
	return h
}

// String returns 64 lower-case hex digits, most significant byte first.
func (h Hash) String() string {
	d := h.Display()
	return hex.EncodeToString(d[:])
}

// IsZero reports whether all bytes are zero, which is the "previous output" of a
// coinbase and the previous block of a genesis block.
func (h Hash) IsZero() bool { return h == Hash{} }
