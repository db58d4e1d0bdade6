package job

import (
	"errors"
	"fmt"
	"time"

	"purepool/pool/chain"
	"purepool/pool/pow"
)

// Bounds of a job. A template that needs more is refused by [Job.Validate], so
// that a notification has a known largest size.
const (
	// MaxCoinbaseBytes bounds the two halves of the coinbase together. A superblock
	// with some hundred payees takes about 15 kB.
	MaxCoinbaseBytes = 64 << 10
	// MaxBranches bounds the merkle branches: 2^20 transactions.
	MaxBranches = 20
	// MaxExtranonce2 and MinExtranonce2 bound what the miner searches, in bytes.
	MinExtranonce2, MaxExtranonce2 = 4, 8
	// MaxNetwork bounds the network's name, in bytes.
	MaxNetwork = 64
	// MaxSeq bounds job numbers: a miner sees the number shifted by four bits.
	MaxSeq = 1<<60 - 1
)

// ErrInvalid is what every error of [Job.Validate] and [Decode] is.
var ErrInvalid = errors.New("job is invalid")

// Job is what the miners of a network work on. It never changes once it has been
// issued, and may be shared by any number of goroutines.
type Job struct {
	// Network is the network's name: main, test or regtest.
	Network string `cbor:"1,keyasint"`
	// Seq is the job's number: higher than that of every earlier job of the
	// network, also over restarts of the backend. At most MaxSeq.
	Seq uint64 `cbor:"2,keyasint"`
	// Algorithm is the hash function of the proof of work: x11, scrypt or sha256d.
	Algorithm string `cbor:"3,keyasint"`
	// Height is the height of the block that the job would make.
	Height int32 `cbor:"4,keyasint"`
	// Version is the header's version.
	Version uint32 `cbor:"5,keyasint"`
	// VersionMask holds the bits of the version that a miner may change (BIP 320);
	// zero on a chain that does not allow it.
	VersionMask uint32 `cbor:"6,keyasint,omitempty"`
	// Prev is the previous block.
	Prev chain.Hash `cbor:"7,keyasint"`
	// Bits is the network's target in compact form.
	Bits uint32 `cbor:"8,keyasint"`
	// Time is the template's time, MinTime the earliest that consensus allows
	// (the template's mintime). Unix seconds.
	Time    uint32 `cbor:"9,keyasint"`
	MinTime uint32 `cbor:"10,keyasint"`
	// Coinbase1 and Coinbase2 are the coinbase before and after the extranonces,
	// without witness data.
	Coinbase1 []byte `cbor:"11,keyasint"`
	Coinbase2 []byte `cbor:"12,keyasint"`
	// Extranonce2Size is the number of bytes that the miner searches.
	Extranonce2Size uint8 `cbor:"13,keyasint"`
	// Branches are the merkle branches of the coinbase, from the leaves up, in
	// internal order.
	Branches []chain.Hash `cbor:"14,keyasint,omitempty"`
	// Clean says that everything before this job is worth nothing any more: the
	// tip has changed.
	Clean bool `cbor:"15,keyasint,omitempty"`
	// IssuedAt is when the backend issued the job.
	IssuedAt Moment `cbor:"16,keyasint"`
	// BindsTarget says that between Coinbase1 and extranonce1 stand four more bytes:
	// the target that the share is asked to meet, in compact form, big-endian. What
	// a share weighs is so fixed before its proof is looked for; whoever chooses it
	// afterwards, for each proof the hardest target that it happens to meet, is paid
	// several times for the same work. See [Found].Target.
	BindsTarget bool `cbor:"17,keyasint,omitempty"`
}

// Target returns the network's target. The error is that of the compact form and
// never occurs for a job that passed Validate.
func (j *Job) Target() (pow.Target, error) { return pow.TargetFromCompact(j.Bits) }

// Validate checks everything that the rest of the pool relies on. Its errors are
// ErrInvalid.
func (j *Job) Validate() error {
	if _, err := pow.AlgorithmByName(j.Algorithm); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := j.Target(); err != nil {
		return fmt.Errorf("%w: bits %08x: %w", ErrInvalid, j.Bits, err)
	}
	coinbase := len(j.Coinbase1) + len(j.Coinbase2)
	switch {
	case j.Network == "" || len(j.Network) > MaxNetwork:
		return fmt.Errorf("%w: its network's name has %d bytes, 1 to %d are taken", ErrInvalid, len(j.Network), MaxNetwork)
	case j.Seq == 0 || j.Seq > MaxSeq:
		return fmt.Errorf("%w: its number %d is not in 1..%d", ErrInvalid, j.Seq, uint64(MaxSeq))
	case j.Height < 0:
		return fmt.Errorf("%w: its height is %d", ErrInvalid, j.Height)
	case len(j.Coinbase1) == 0 || len(j.Coinbase2) == 0 || coinbase > MaxCoinbaseBytes:
		return fmt.Errorf("%w: its coinbase has %d and %d bytes, at most %d in all are taken",
			ErrInvalid, len(j.Coinbase1), len(j.Coinbase2), MaxCoinbaseBytes)
	case j.Extranonce2Size < MinExtranonce2 || j.Extranonce2Size > MaxExtranonce2:
		return fmt.Errorf("%w: its extranonce2 has %d bytes, %d to %d are taken",
			ErrInvalid, j.Extranonce2Size, MinExtranonce2, MaxExtranonce2)
	case len(j.Branches) > MaxBranches:
		return fmt.Errorf("%w: it has %d merkle branches, at most %d are taken", ErrInvalid, len(j.Branches), MaxBranches)
	case j.MinTime > j.Time:
		return fmt.Errorf("%w: its earliest time %d is after its time %d", ErrInvalid, j.MinTime, j.Time)
	}
	return nil
}

// Moment is a moment in microseconds since 1970, UTC: the precision of the
// ledger, in a form that compares, travels and costs eight bytes.
type Moment int64

// MomentOf cuts a time to the microsecond.
func MomentOf(t time.Time) Moment { return Moment(t.UnixMicro()) }

// Time returns the moment in UTC.
func (m Moment) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }
