package job

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Extranonce1Size is the number of bytes of an extranonce1.
const Extranonce1Size = 8

// Extranonce1 makes every session's search space its own. Its layout, most
// significant byte first:
//
//	bytes 0-1  the frontend's number, unique over all frontends of the pool
//	bytes 2-7  a counter, unique over all sessions and restarts of the frontend
//
// The counter begins at the frontend's start with the unix time in milliseconds,
// times 256, modulo 2^48, and grows by one with every session. A restart
// therefore begins above everything given out before it, unless more than
// 256,000 sessions a second had begun, or the clock was set back. It comes round
// after 34 years.
type Extranonce1 [Extranonce1Size]byte

// MakeExtranonce1 puts an extranonce1 together; only the counter's low 48 bits
// count.
func MakeExtranonce1(frontend uint16, counter uint64) (x Extranonce1) {
	binary.BigEndian.PutUint64(x[:], uint64(frontend)<<48|counter&(1<<48-1))
	return x
}

// Frontend returns the number of the frontend that gave the extranonce1 out.
func (x Extranonce1) Frontend() uint16 { return binary.BigEndian.Uint16(x[:]) }

// FirstCounter returns the counter's first value for a frontend that starts now.
func FirstCounter(now time.Time) uint64 { return uint64(now.UnixMilli()) << 8 & (1<<48 - 1) }

// Found is what a miner found: everything of a header that the job leaves open.
// It is comparable: two Found are the same share exactly if they are equal.
type Found struct {
	Extranonce1 Extranonce1 `cbor:"1,keyasint"`
	// Extranonce2 is the miner's part, in the first Extranonce2Size bytes, the
	// others zero.
	Extranonce2     [MaxExtranonce2]byte `cbor:"2,keyasint"`
	Extranonce2Size uint8                `cbor:"3,keyasint"`
	Time            uint32               `cbor:"4,keyasint"` // unix seconds
	Nonce           uint32               `cbor:"5,keyasint"`
	// VersionBits are the bits that the miner set within the job's VersionMask.
	VersionBits uint32 `cbor:"6,keyasint,omitempty"`
	// Target is the target that stands in the coinbase, where the job binds it
	// ([Job].BindsTarget), and else zero.
	Target Bits `cbor:"7,keyasint,omitempty"`
}

// Share is one submitted share of a template network on its way from a frontend
// to the backend. Its identity is (Network, Job, Found): sent again it is the
// same share.
type Share struct {
	Job    uint64 `cbor:"1,keyasint"` // Job.Seq
	Found  Found  `cbor:"2,keyasint"`
	Target Bits   `cbor:"3,keyasint"` // what the share was asked to meet, and is weighed by
	Worker int64  `cbor:"4,keyasint"` // the ledger's number of the worker
	// ReceivedAt is when the frontend had read the share.
	ReceivedAt Moment `cbor:"5,keyasint"`
	// RemoteIP is the miner's address as the frontend saw it.
	RemoteIP netip.Addr `cbor:"6,keyasint"`
	// Stale says that a clean job had replaced the share's job when it arrived.
	// Such a share is sent only where it makes a block.
	Stale bool `cbor:"7,keyasint,omitempty"`
	// Proof is the proof as the frontend computed it. The backend computes its own.
	Proof [32]byte `cbor:"8,keyasint"`
}
