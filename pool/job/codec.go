package job

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// codecVersion is the first byte of an encoded job or list of shares. A reader
// refuses what it does not know; fields may be added without a new version.
const codecVersion = 1

// maxEncoded bounds what Decode looks at, in bytes.
const maxEncoded = MaxCoinbaseBytes + 8<<10

// Codec encodes jobs and shares. Make one with [NewCodec]; it is safe for
// concurrent use.
type Codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// NewCodec returns a codec.
func NewCodec() (*Codec, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("making an encoder: %w", err)
	}
	dec, err := cbor.DecOptions{
		MaxNestedLevels: 8, MaxArrayElements: maxShares, MaxMapPairs: 64,
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("making a decoder: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// EncodeJob returns the job as it travels.
func (c *Codec) EncodeJob(j *Job) ([]byte, error) { return c.encode(j) }

// DecodeJob reads a job that fills b, and validates it. Errors: ErrInvalid.
func (c *Codec) DecodeJob(b []byte) (*Job, error) {
	j := new(Job)
	if len(b) > maxEncoded {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalid, len(b))
	}
	if err := c.decode(b, j); err != nil {
		return nil, err
	}
	return j, j.Validate()
}

// Withdrawn returns what is told in a job's place where the last one has become
// worthless: a synced daemon has another tip, and there is no job on it. It begins
// with a version that no job has; a frontend from before it was thought of takes it
// for no job at all. (That nothing is known to be worth mining on is told by no
// bytes: then what is there may still count.)
func Withdrawn() []byte { return []byte(withdrawn) }

// IsWithdrawn reports whether b is what Withdrawn returns.
func IsWithdrawn(b []byte) bool { return string(b) == withdrawn }

const withdrawn = "\x00withdrawn"

// maxShares bounds one encoded list.
const maxShares = 4096

// EncodeShares returns shares as they travel, at most 4,096 of them.
func (c *Codec) EncodeShares(shares []Share) ([]byte, error) {
	if len(shares) > maxShares {
		return nil, fmt.Errorf("%d shares, at most %d travel together", len(shares), maxShares)
	}
	b := make([]byte, 0, 8+shareRoom*len(shares))
	b = appendHead(append(b, codecVersion), cborArray, uint64(len(shares)))
	for i := range shares {
		b = appendShare(b, &shares[i])
	}
	return b, nil
}

// DecodeShares reads shares that fill b. Nothing in them is checked but their
// shape. Errors: ErrInvalid.
func (c *Codec) DecodeShares(b []byte) ([]Share, error) {
	if len(b) > 0 && b[0] == codecVersion {
		if shares, ok := readShares(b[1:]); ok {
			return shares, nil
		}
	}
	// Of a frontend of another version, or nothing that any frontend sends.
	var shares []Share
	if err := c.decode(b, &shares); err != nil {
		return nil, err
	}
	for i := range shares {
		if shares[i].Found.Extranonce2Size > MaxExtranonce2 {
			return nil, fmt.Errorf("%w: an extranonce2 of %d bytes", ErrInvalid, shares[i].Found.Extranonce2Size)
		}
	}
	return shares, nil
}

func (c *Codec) encode(v any) ([]byte, error) {
	body, err := c.enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return append([]byte{codecVersion}, body...), nil
}

func (c *Codec) decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != codecVersion {
		return fmt.Errorf("%w: unknown version", ErrInvalid)
	}
	if err := c.dec.Unmarshal(b[1:], v); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
