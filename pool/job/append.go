package job

import "encoding/binary"

// Shares are written and read by hand: they are the one thing that is encoded some
// hundred thousand times a second. The bytes are those of the library's deterministic
// encoding (RFC 8949, section 4.2), which a test compares.

// Major types of CBOR, in the upper three bits.
const (
	cborUint  = 0 << 5
	cborInt   = 1 << 5
	cborBytes = 2 << 5
	cborArray = 4 << 5
	cborMap   = 5 << 5
	cborTrue  = 0xf5
)

// shareRoom is what an encoded share takes at most, in bytes.
const shareRoom = 160

// appendHead appends the head of an item: its type and its number, in the fewest
// bytes.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, cborInt, uint64(^n)) //nolint:gosec // not negative
	}
	return appendHead(b, cborUint, uint64(n))
}

func appendBytes(b, text []byte) []byte {
	return append(appendHead(b, cborBytes, uint64(len(text))), text...)
}

// field appends a key and a number.
func field(b []byte, key byte, n uint64) []byte {
	return appendHead(append(b, key), cborUint, n)
}

// appendShare appends a map with the keys of [Share]'s fields.
func appendShare(b []byte, s *Share) []byte {
	fields := uint64(7)
	if s.Stale {
		fields++
	}
	b = appendHead(b, cborMap, fields)
	b = field(b, 1, s.Job)
	b = appendFound(append(b, 2), &s.Found)
	b = field(b, 3, uint64(s.Target))
	b = appendInt(append(b, 4), s.Worker)
	b = appendInt(append(b, 5), int64(s.ReceivedAt))
	b = append(b, 6)
	switch ip := s.RemoteIP; {
	case ip.Is4():
		text := ip.As4()
		b = appendBytes(b, text[:])
	case ip.IsValid() && ip.Zone() == "":
		text := ip.As16()
		b = appendBytes(b, text[:])
	case ip.IsValid():
		text := ip.As16()
		b = append(appendHead(b, cborBytes, uint64(len(text)+len(ip.Zone()))), text[:]...)
		b = append(b, ip.Zone()...)
	default:
		b = appendHead(b, cborBytes, 0)
	}
	if s.Stale {
		b = append(b, 7, cborTrue)
	}
	return appendBytes(append(b, 8), s.Proof[:])
}

func appendFound(b []byte, f *Found) []byte {
	fields := uint64(5)
	if f.VersionBits != 0 {
		fields++
	}
	if f.Target != 0 {
		fields++
	}
	b = appendHead(b, cborMap, fields)
	b = appendBytes(append(b, 1), f.Extranonce1[:])
	b = appendBytes(append(b, 2), f.Extranonce2[:])
	b = field(b, 3, uint64(f.Extranonce2Size))
	b = field(b, 4, uint64(f.Time))
	b = field(b, 5, uint64(f.Nonce))
	if f.VersionBits != 0 {
		b = field(b, 6, uint64(f.VersionBits))
	}
	if f.Target != 0 {
		b = field(b, 7, uint64(f.Target))
	}
	return b
}
