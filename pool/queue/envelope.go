package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Sizes, in bytes. Each is larger than the one before it, so that whatever was
// taken at the door fits through every door behind it.
const (
	// MaxShareBytes bounds one encoded share. A solution is a header value of at
	// most 8 MiB; the rest is room for the other fields.
	MaxShareBytes = 9 << 20
	// MaxEnvelopeBytes bounds one envelope. A share over the publisher's
	// envelope size travels in an envelope of its own.
	MaxEnvelopeBytes = 10 << 20
	// MaxMessageBytes is what a broker must let through: an envelope that has
	// become a dead letter. NATS calls it max_payload, RabbitMQ max_message_size.
	MaxMessageBytes = 12 << 20
	// MaxEnvelopeShares bounds the shares of one envelope.
	MaxEnvelopeShares = 4096
)

// envelopeVersion is raised whenever an older program would misread an envelope.
const envelopeVersion = 1

// An envelope is the CBOR array [version, [share, …]]. The head is written with
// a fixed length of five bytes (the count always takes two), so that shares can
// be appended before their number is known and envelopes can be joined by
// copying:
//
//	82          array of two
//	01          version
//	99 nn nn    array of nnnn (big-endian) shares
const envelopeHead = 5

// wireShare is a share in an envelope: a CBOR map with small integer keys.
// UUIDs and addresses are byte strings of 16, and of 4 or 16 bytes in network
// order; ReceivedAt is microseconds since the Unix epoch.
type wireShare struct {
	ID         [16]byte `cbor:"1,keyasint"`
	ReceivedAt int64    `cbor:"2,keyasint"`
	Frontend   string   `cbor:"3,keyasint,omitempty"`
	RemoteIP   []byte   `cbor:"4,keyasint,omitempty"`
	WorkID     [16]byte `cbor:"5,keyasint"`
	MinerID    [16]byte `cbor:"6,keyasint"`
	Solution   []byte   `cbor:"7,keyasint,omitempty"`
	Refusal    string   `cbor:"8,keyasint,omitempty"`
	Template   []byte   `cbor:"9,keyasint,omitempty"`
}

// codec encodes and decodes shares. Safe for concurrent use.
type codec struct {
	enc     cbor.UserBufferEncMode
	dec     cbor.DecMode
	scratch sync.Pool // of *shareBuffer
}

// shareBuffer is one share being encoded.
type shareBuffer struct {
	bytes.Buffer
	wire wireShare
	ip   [16]byte
}

// maxPooledShare keeps the few multi-megabyte shares from pinning memory. A thousand
// shares of a template network, which travel as one, still fit.
const maxPooledShare = 256 << 10

func newCodec() (*codec, error) {
	enc, err := cbor.EncOptions{}.UserBufferEncMode()
	if err != nil {
		return nil, fmt.Errorf("cbor encoding options: %w", err)
	}
	// The limits are for hostile input: a frontend is not trusted.
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   4,
		MaxArrayElements:  MaxEnvelopeShares,
		MaxMapPairs:       16,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("cbor decoding options: %w", err)
	}
	c := &codec{enc: enc, dec: dec}
	c.scratch.New = func() any { return new(shareBuffer) }
	return c, nil
}

// encodeShare returns the share's encoding in a buffer that the caller gives
// back with release. ErrTooLarge when it exceeds MaxShareBytes.
func (c *codec) encodeShare(s *Share) (*shareBuffer, error) {
	if len(s.Solution)+len(s.Template)+len(s.Refusal)+len(s.Frontend) > MaxShareBytes {
		return nil, ErrTooLarge
	}
	b := c.scratch.Get().(*shareBuffer)
	b.Reset()
	b.wire = wireShare{
		ID:         s.ID,
		ReceivedAt: s.ReceivedAt.UnixMicro(),
		Frontend:   strings.ToValidUTF8(s.Frontend, "�"),
		WorkID:     s.WorkID,
		MinerID:    s.MinerID,
		Solution:   s.Solution,
		Refusal:    strings.ToValidUTF8(s.Refusal, "�"),
		Template:   s.Template,
	}
	switch ip := s.RemoteIP; {
	case ip.Is4():
		a := ip.As4()
		b.wire.RemoteIP = append(b.ip[:0], a[:]...)
	case ip.IsValid():
		b.ip = ip.As16()
		b.wire.RemoteIP = b.ip[:]
	}
	err := c.enc.MarshalToBuffer(&b.wire, &b.Buffer)
	b.wire = wireShare{} // hold no reference to the caller's bytes
	if err != nil {
		c.release(b)
		return nil, fmt.Errorf("encode share: %w", err)
	}
	if b.Len() > MaxShareBytes {
		c.release(b)
		return nil, ErrTooLarge
	}
	return b, nil
}

// release takes a buffer of encodeShare back.
func (c *codec) release(b *shareBuffer) {
	if b.Cap() <= maxPooledShare {
		c.scratch.Put(b)
	}
}

// appendHead begins an envelope of no shares yet.
func appendHead(dst []byte) []byte {
	return append(dst, 0x82, envelopeVersion, 0x99, 0, 0)
}

// setCount writes the number of shares into the head of an envelope.
func setCount(envelope []byte, n int) {
	binary.BigEndian.PutUint16(envelope[3:envelopeHead], uint16(n)) //nolint:gosec // bounded by MaxEnvelopeShares
}

// countShares reads the number of shares from the head, if it is a head that
// this program writes.
func countShares(envelope []byte) (int, bool) {
	if len(envelope) < envelopeHead || envelope[0] != 0x82 || envelope[1] != envelopeVersion || envelope[2] != 0x99 {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(envelope[3:envelopeHead])), true
}

// encodeEnvelope encodes a whole envelope at once.
func (c *codec) encodeEnvelope(shares ...Share) ([]byte, error) {
	if len(shares) > MaxEnvelopeShares {
		return nil, ErrTooLarge
	}
	out := appendHead(nil)
	for i := range shares {
		b, err := c.encodeShare(&shares[i])
		if err != nil {
			return nil, err
		}
		out = append(out, b.Bytes()...)
		c.release(b)
	}
	if len(out) > MaxEnvelopeBytes {
		return nil, ErrTooLarge
	}
	setCount(out, len(shares))
	return out, nil
}

// decodeEnvelope returns the shares of an envelope; they share no memory with
// it. The error is an ErrEnvelope or an ErrEnvelopeVersion.
func (c *codec) decodeEnvelope(data []byte) ([]Share, error) {
	if len(data) > MaxEnvelopeBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrEnvelope, len(data))
	}
	// Only the version is read before it is known: a later version may differ in
	// everything behind it.
	if len(data) < 2 || data[0]>>5 != 4 {
		return nil, fmt.Errorf("%w: not an array", ErrEnvelope)
	}
	var version uint64
	rest, err := c.dec.UnmarshalFirst(data[1:], &version)
	if err != nil {
		return nil, fmt.Errorf("%w: version: %w", ErrEnvelope, err)
	}
	if version > envelopeVersion {
		return nil, fmt.Errorf("%w: version %d, known up to %d", ErrEnvelopeVersion, version, envelopeVersion)
	}
	if version == 0 || data[0] != 0x82 {
		return nil, fmt.Errorf("%w: head %x", ErrEnvelope, data[:2])
	}
	var wire []wireShare
	if err := c.dec.Unmarshal(rest, &wire); err != nil {
		return nil, fmt.Errorf("%w: shares: %w", ErrEnvelope, err)
	}
	shares := make([]Share, len(wire))
	for i := range wire {
		if err := wire[i].share(&shares[i]); err != nil {
			return nil, fmt.Errorf("%w: share %d: %w", ErrEnvelope, i, err)
		}
	}
	return shares, nil
}

var errAddress = errors.New("address is neither 4 nor 16 bytes")

func (w *wireShare) share(s *Share) error {
	*s = Share{
		ID:         w.ID,
		ReceivedAt: time.UnixMicro(w.ReceivedAt).UTC(),
		Frontend:   w.Frontend,
		WorkID:     w.WorkID,
		MinerID:    w.MinerID,
		Solution:   w.Solution,
		Refusal:    w.Refusal,
		Template:   w.Template,
	}
	if len(w.RemoteIP) > 0 {
		ip, ok := netip.AddrFromSlice(w.RemoteIP)
		if !ok {
			return errAddress
		}
		s.RemoteIP = ip
	}
	return nil
}
