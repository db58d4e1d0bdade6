// Package solution reads the classic solution: the 16 comma-separated fields
// in which a BiblePay miner hands in a share (docs/PROTOCOL.md, "The 16 fields").
//
// It is pure: a string in, a [Solution] or an error out. The front desk uses it
// to turn malformed shares away, the validator to judge well-formed ones, so
// that both read the same bytes in the same way.
package solution

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"github.com/google/uuid"
)

// FieldCount is the number of fields that a solution needs. Further fields are
// ignored, as the original did.
const FieldCount = 16

// MaxStatText is the longest text kept of a field that is only a statistic.
const MaxStatText = 20

// Solution is a well-formed solution. Nothing in it has been checked beyond its
// shape. The byte slices point into the string that was parsed.
type Solution struct {
	BlockHash     [32]byte  // X11 of the header, big-endian
	BlockTime     uint32    // header time, Unix seconds
	PrevBlockTime uint32    // time of the previous block, Unix seconds
	PrevHeight    int32     // height of the previous block
	BibleHash     [32]byte  // the share's proof, big-endian
	MinerID       uuid.UUID // MINERGUID
	WorkID        uuid.UUID // WORKID
	WorkIDText    []byte    // WORKID as spelled by the miner
	ThreadID      []byte    // at most MaxStatText bytes
	Nonce         uint32    // header nonce
	BlockHex      []byte    // the whole block, an even number of hex digits
	TransHex      []byte    // the coinbase transaction, likewise

	// The miner's own claims, worth nothing but statistics: hashes since
	// TimerStart, and the span in milliseconds since the epoch. Garbage is 0.
	HashCounter int64
	TimerStart  int64
	TimerEnd    int64
}

// Error says which field is malformed. Field is its index, -1 for a solution
// with too few fields.
type Error struct {
	Field  int
	Reason string
}

func (e *Error) Error() string {
	if e.Field < 0 {
		return e.Reason
	}
	return fmt.Sprintf("field %d (%s) %s", e.Field, fieldNames[e.Field], e.Reason)
}

var fieldNames = [FieldCount]string{
	"block_hash", "block_time", "prev_block_time", "prev_height", "bible_hash", "miner_id", "work_id", "thread_id",
	"thread_hash_counter", "thread_start", "hash_counter", "timer_start", "timer_end", "nonce", "block_hex", "transaction_hex",
}

// Parse reads a solution. Any error is an *Error. A negative or spaced number, a
// second spelling of a number's digits or a number out of its range is an
// error, since the daemon would turn it into another number; garbage in a
// statistic is not.
func Parse(text []byte) (*Solution, error) {
	fields, ok := split(text)
	if !ok {
		return nil, &Error{Field: -1, Reason: "has fewer than 16 fields"}
	}
	s := &Solution{WorkIDText: fields[6], ThreadID: fields[7][:min(len(fields[7]), MaxStatText)]}
	p := parser{fields: &fields}
	s.BlockHash = p.hash(0)
	s.BlockTime = p.uint32(1)
	s.PrevBlockTime = p.uint32(2)
	s.PrevHeight = p.height(3)
	s.BibleHash = p.hash(4)
	s.MinerID = p.uuid(5)
	s.WorkID = p.uuid(6)
	s.Nonce = p.uint32(13)
	s.BlockHex = p.hex(14)
	s.TransHex = p.hex(15)
	if p.err != nil {
		return nil, p.err
	}
	s.HashCounter = statistic(fields[10])
	s.TimerStart = statistic(fields[11])
	s.TimerEnd = statistic(fields[12])
	return s, nil
}

// HashesPerSecond is the miner's claimed hash rate: 1000 · hash_counter /
// (timer_end − timer_start). Both ends are the miner's, so what cannot be a
// rate (no span, a negative one, an overflow) is 0 and never an error.
func (s *Solution) HashesPerSecond() int64 {
	span := s.TimerEnd - s.TimerStart
	if span <= 0 || s.HashCounter <= 0 || s.TimerStart < 0 || s.HashCounter > math.MaxInt64/1000 {
		return 0
	}
	return 1000 * s.HashCounter / span
}

func split(text []byte) (fields [FieldCount][]byte, ok bool) {
	for i := range fields {
		field, rest, found := bytes.Cut(text, []byte{','})
		if !found && i < FieldCount-1 {
			return fields, false
		}
		fields[i], text = field, rest
	}
	return fields, true
}

// parser keeps the first error, so that Parse reads as a list of fields.
type parser struct {
	fields *[FieldCount][]byte
	err    error
}

func (p *parser) fail(field int, reason string) {
	if p.err == nil {
		p.err = &Error{Field: field, Reason: reason}
	}
}

func (p *parser) hash(i int) (h [32]byte) {
	if len(p.fields[i]) != 2*len(h) {
		p.fail(i, "is not 64 hex digits")
		return h
	}
	if _, err := hex.Decode(h[:], p.fields[i]); err != nil {
		p.fail(i, "is not 64 hex digits")
	}
	return h
}

// number takes plain decimal digits alone: no sign, blank, underscore or digit
// of another script, all of which the original let through.
func (p *parser) number(i, maxDigits int, limit uint64) uint64 {
	f := p.fields[i]
	if len(f) == 0 || len(f) > maxDigits {
		p.fail(i, "is not a number of 1 to "+strconv.Itoa(maxDigits)+" digits")
		return 0
	}
	var n uint64
	for _, c := range f {
		if c < '0' || c > '9' {
			p.fail(i, "is not a number of 1 to "+strconv.Itoa(maxDigits)+" digits")
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	if n > limit {
		p.fail(i, "is greater than "+strconv.FormatUint(limit, 10))
		return 0
	}
	return n
}

func (p *parser) uint32(i int) uint32 { return uint32(p.number(i, 10, math.MaxUint32)) }

func (p *parser) height(i int) int32 { return int32(p.number(i, 10, math.MaxInt32-1)) }

// uuid takes the hyphenated form, with blanks around it as the recorded case
// 100 has them; the other spellings that the library knows are not a miner's.
func (p *parser) uuid(i int) uuid.UUID {
	f := bytes.Trim(p.fields[i], " ")
	if len(f) != 36 {
		p.fail(i, "is not a UUID")
		return uuid.UUID{}
	}
	id, err := uuid.ParseBytes(f)
	if err != nil {
		p.fail(i, "is not a UUID")
	}
	return id
}

func (p *parser) hex(i int) []byte {
	f := p.fields[i]
	if len(f) == 0 || len(f)%2 != 0 {
		p.fail(i, "is not an even number of hex digits")
		return nil
	}
	for _, c := range f {
		if hexDigit[c] == 0 {
			p.fail(i, "is not an even number of hex digits")
			return nil
		}
	}
	return f
}

var hexDigit = func() (t [256]byte) {
	for _, c := range []byte("0123456789abcdefABCDEF") {
		t[c] = 1
	}
	return t
}()

func statistic(f []byte) int64 {
	if len(f) == 0 || len(f) > 19 {
		return 0
	}
	n, err := strconv.ParseInt(string(f), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
