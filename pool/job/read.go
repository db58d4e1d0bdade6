package job

import (
	"encoding/binary"
	"math"
)

// readShares reads what EncodeShares writes, and nothing else: ok is false where b,
// which begins after the version, is anything different, whether it holds shares or
// not. What it reads, the library would have read as well, which tests compare; it
// takes a tenth of the library's time.
func readShares(b []byte) (shares []Share, ok bool) {
	r := reader{text: b}
	n := r.number(cborArray, maxShares)
	if r.odd || n > uint64(len(b)/shareLeast) {
		return nil, false
	}
	shares = make([]Share, n)
	for i := range shares {
		if r.share(&shares[i]); r.odd {
			return nil, false
		}
	}
	return shares, r.next == len(b)
}

// shareLeast is what an encoded share takes at least, in bytes.
const shareLeast = 64

// reader takes one item of text after the other, until something is not as it is
// written here; from then on it is odd, and what it returns means nothing.
type reader struct {
	text []byte
	next int // in text; an index, since writing a pointer costs more while garbage is collected
	odd  bool
}

// number takes the head of an item of this type, and returns its number.
func (r *reader) number(major byte, most uint64) (n uint64) {
	rest := r.text[r.next:]
	if len(rest) == 0 || rest[0]&0xe0 != major {
		r.odd = true
		return 0
	}
	size := 0 // of the number, where it does not fit into the first byte
	if n = uint64(rest[0] & 0x1f); n >= 24 {
		size = 1 << (n - 24)
		if n > 27 || len(rest) < 1+size {
			r.odd = true
			return 0
		}
		switch text := rest[1:]; size {
		case 1:
			n = uint64(text[0])
		case 2:
			n = uint64(binary.BigEndian.Uint16(text))
		case 4:
			n = uint64(binary.BigEndian.Uint32(text))
		default:
			n = binary.BigEndian.Uint64(text)
		}
	}
	r.next += 1 + size
	r.odd = r.odd || n > most
	return n
}

// signed takes an integer.
func (r *reader) signed() int64 {
	if r.next < len(r.text) && r.text[r.next]&0xe0 == cborInt {
		return ^int64(r.number(cborInt, math.MaxInt64)) //nolint:gosec // bounded
	}
	return int64(r.number(cborUint, math.MaxInt64)) //nolint:gosec // bounded
}

// at takes a key if it is this one.
func (r *reader) at(key byte) bool {
	if r.next == len(r.text) || r.text[r.next] != key {
		return false
	}
	r.next++
	return true
}

// key takes this key.
func (r *reader) key(key byte) { r.odd = !r.at(key) || r.odd }

// field takes a key and a number, as its counterpart writes them.
func (r *reader) field(key byte, most uint64) uint64 {
	r.key(key)
	return r.number(cborUint, most)
}

// bytes takes bytes, and keeps none of them.
func (r *reader) bytes(most uint64) []byte {
	n := r.number(cborBytes, most)
	if r.odd || n > uint64(len(r.text)-r.next) {
		r.odd = true
		return nil
	}
	r.next += int(n)                      //nolint:gosec // bounded
	return r.text[r.next-int(n) : r.next] //nolint:gosec // bounded
}

// fill takes bytes that fill dst.
func (r *reader) fill(dst []byte) {
	r.odd = copy(dst, r.bytes(uint64(len(dst)))) != len(dst) || r.odd
}

func (r *reader) share(s *Share) {
	fields := r.number(cborMap, 8)
	s.Job = r.field(1, math.MaxUint64)
	r.key(2)
	r.found(&s.Found)
	s.Target = Bits(r.field(3, math.MaxUint32)) //nolint:gosec // bounded
	r.key(4)
	s.Worker = r.signed()
	r.key(5)
	s.ReceivedAt = Moment(r.signed())
	r.key(6)
	// 4 and 16 bytes are addresses; a zone may follow the latter.
	r.odd = s.RemoteIP.UnmarshalBinary(r.bytes(64)) != nil || r.odd
	taken := uint64(7)
	if s.Stale = r.at(7); s.Stale {
		r.key(cborTrue)
		taken++
	}
	r.key(8)
	r.fill(s.Proof[:])
	r.odd = r.odd || fields != taken
}

func (r *reader) found(f *Found) {
	fields := r.number(cborMap, 7)
	r.key(1)
	r.fill(f.Extranonce1[:])
	r.key(2)
	r.fill(f.Extranonce2[:])
	f.Extranonce2Size = uint8(r.field(3, MaxExtranonce2)) //nolint:gosec // bounded
	f.Time = uint32(r.field(4, math.MaxUint32))           //nolint:gosec // bounded
	f.Nonce = uint32(r.field(5, math.MaxUint32))          //nolint:gosec // bounded
	taken := uint64(5)
	if r.at(6) {
		f.VersionBits = uint32(r.number(cborUint, math.MaxUint32)) //nolint:gosec // bounded
		taken++
	}
	if r.at(7) {
		f.Target = Bits(r.number(cborUint, math.MaxUint32)) //nolint:gosec // bounded
		taken++
	}
	r.odd = r.odd || fields != taken
}
