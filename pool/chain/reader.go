package chain

import (
	"encoding/binary"
	"encoding/hex"
)

// reader walks over serialised bytes. Its first error sticks, and from then on
// every read returns zero, so that decoders check once per structure.
type reader struct {
	rest []byte
	err  error
}

// take returns the next n bytes as part of the input, not a copy. Its capacity
// ends with it: appending to it cannot overwrite what follows.
func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.rest)) {
		r.err = fail(ErrTruncated, "%s wants %d bytes, %d are left", what, n, len(r.rest))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) hash(what string) (h Hash) {
	copy(h[:], r.take(uint64(len(h)), what))
	return h
}

// compactSize reads Bitcoin's variable-length number and refuses any but its
// shortest form, as Bitcoin's ReadCompactSize does: two encodings of one block
// would be two blocks to whoever compares bytes.
func (r *reader) compactSize(what string) uint64 {
	first := r.take(1, what)
	if first == nil {
		return 0
	}
	var value, least uint64
	switch first[0] {
	case 0xfd:
		if b := r.take(2, what); b != nil {
			value, least = uint64(binary.LittleEndian.Uint16(b)), 0xfd
		}
	case 0xfe:
		value, least = uint64(r.uint32(what)), 1<<16
	case 0xff:
		value, least = r.uint64(what), 1<<32
	default:
		return uint64(first[0])
	}
	if r.err == nil && value < least {
		r.err = fail(ErrCompactSize, "%s is not written in its shortest form", what)
	}
	return value
}

// count reads how many elements follow, and refuses more than the rest of the
// input can hold when each takes at least size bytes: the caller may allocate it.
func (r *reader) count(size int, what string) int {
	n := r.compactSize(what)
	if r.err != nil {
		return 0
	}
	if n > uint64(len(r.rest)/size) {
		r.err = fail(ErrTruncated, "%s claims %d, the %d bytes that are left cannot hold them", what, n, len(r.rest))
		return 0
	}
	return int(n)
}

func (r *reader) bytes(what string) []byte {
	return r.take(r.compactSize(what), what)
}

// end refuses what follows the last byte.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.rest) != 0 {
		r.err = fail(ErrTrailing, "%d bytes follow the %s", len(r.rest), what)
	}
	return r.err
}

func appendCompactSize(dst []byte, n int) []byte {
	switch {
	case n < 0xfd:
		return append(dst, byte(n))
	case n <= 0xffff:
		return binary.LittleEndian.AppendUint16(append(dst, 0xfd), uint16(n))
	case int64(n) <= 0xffffffff:
		return binary.LittleEndian.AppendUint32(append(dst, 0xfe), uint32(n))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xff), uint64(n))
}

func compactSizeLen(n int) int {
	switch {
	case n < 0xfd:
		return 1
	case n <= 0xffff:
		return 3
	case int64(n) <= 0xffffffff:
		return 5
	}
	return 9
}

func appendBytes(dst, b []byte) []byte {
	return append(appendCompactSize(dst, len(b)), b...)
}

// decodeHex turns hex digits of either case into bytes, at most MaxBlockSize.
func decodeHex(text []byte, what string) ([]byte, error) {
	if len(text) > 2*MaxBlockSize {
		return nil, fail(ErrTooLarge, "the %s has %d hex digits, at most %d are taken", what, len(text), 2*MaxBlockSize)
	}
	b := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(b, text); err != nil {
		return nil, fail(ErrHex, "the %s is not written in hex", what)
	}
	return b, nil
}
