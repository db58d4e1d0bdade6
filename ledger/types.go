package ledger

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Limits of text columns, in characters. Longer text is cut by the stores: the
// protocol cuts, it does not refuse (docs/PROTOCOL.md, classic HTTP).
const (
	MaxWorkerName = 100
	MaxThreadID   = 20
	MaxOS         = 50
	MaxAgent      = 50
	MaxAddress    = 100
	MaxEmail      = 254
	MaxReason     = 64
	MaxDetail     = 500
)

// Miner is an address on a network: who is paid.
type Miner struct {
	ID      int64
	GUID    uuid.UUID // the public MINERGUID
	Address string
	Enabled bool
	// HashTarget overrides the network's target for this miner; nil is none.
	HashTarget *[32]byte
}

// Worker is one rig of a miner.
type Worker struct {
	ID    int64
	Name  string
	Miner Miner
}

// Work is one piece of issued work as the front desk writes it down.
type Work struct {
	// ID is the public WORKID. A version 7 UUID must carry IssuedAt (to the
	// hour): looking the work up reads only the days that its id names.
	ID         uuid.UUID
	NetworkID  int16
	WorkerID   int64
	HashTarget [32]byte
	IssuedAt   time.Time
	ThreadID   string
	OS         string
	Agent      string
	RemoteIP   netip.Addr // the zero Addr where unknown
}

// IssuedWork is a work as it was written down, with its owner as he is now.
type IssuedWork struct {
	ID         uuid.UUID
	NetworkID  int16
	WorkerID   int64
	MinerID    int64
	MinerGUID  uuid.UUID
	HashTarget [32]byte
	IssuedAt   time.Time
	// MinerEnabled is false where the operator has disabled the miner.
	MinerEnabled bool
	// IgnoreShares is true where the operator wants this miner's shares judged
	// but not credited. The frontend's store always reads false.
	IgnoreShares bool
}

// ProofKey names a share's proof on a network: unique in the whole ledger.
type ProofKey struct {
	Height int32    // the height of the previous block, as the share says it
	Proof  [32]byte // the BibleHash
}

// Verdict is what a validator concluded about one share.
type Verdict struct {
	ShareID    uuid.UUID
	ReceivedAt time.Time
	RemoteIP   netip.Addr // the zero Addr where unknown
	WorkID     uuid.UUID  // the zero UUID where the miner sent none
	WorkerID   int64      // 0 where the work is unknown
	MinerID    int64      // 0 where the work is unknown

	// Height and Proof are to be set whenever the solution could be read, for
	// rejections too: by them the ledger recognises a share that it has
	// credited before. HasProof says that they are set.
	Height   int32
	Proof    [32]byte
	HasProof bool

	// Weight is the expected number of hashes of the work's target, at least 1
	// for a credited share. Of a share that is refused for its place in the chain
	// and for nothing else it is what the share is worth should its block come to
	// stand on the best chain; 0 for all other refusals.
	Weight int64
	// Reason is empty for a credited share, otherwise the stable public name of
	// the rejection. Detail is for the operator.
	Reason string
	Detail string

	// Solution is the text as the miner sent it, any bytes; empty is not kept.
	Solution []byte
	// HashesPerSecond is the miner's own claim, for statistics; 0 is unknown.
	HashesPerSecond int64
}

// Written counts what WriteVerdicts did with a batch. Their sum is the number
// of verdicts in it.
type Written struct {
	Credited    int
	Rejected    int // refused by their verdict, written now
	Redelivered int // written before, by this or another validator; nothing done
	Duplicates  int // credited by their verdict, but another share has the proof
}

// Tip is a chain tip as the backend saw it.
type Tip struct {
	Height    int32
	Hash      [32]byte // display order
	BlockTime time.Time
	SeenAt    time.Time
	// Approximate is true where SeenAt is later than the block's arrival may
	// have been, for example for the first tip after a start.
	Approximate bool
}

// Retention says for how long what is kept. A zero field means its default.
type Retention struct {
	Shares    time.Duration // credited shares, once settled; 14 days
	Works     time.Duration // issued works; 16 days
	Rejected  time.Duration // rejected shares; 3 days
	Solutions time.Duration // texts of solutions; 2 days
	Minutes   time.Duration // roll-ups by minute; 8 days
	Tips      time.Duration // chain tips; 16 days
}

// Counts is the pool in numbers, read from roll-ups.
type Counts struct {
	Credited int64
	Rejected map[string]int64 // by reason
	Miners   int64            // miners ever seen
	Workers  int64
	Blocks   int64 // blocks of this pool that are not orphaned
	// HashesPerSecond is the pool's rate over the last ten whole minutes, from
	// the weight of credited shares.
	HashesPerSecond int64
}

// MinerRecord is a miner as the operator sees it.
type MinerRecord struct {
	Miner
	NetworkID    int16
	Network      string
	IgnoreShares bool
	CreatedAt    time.Time
	Workers      int
}

// MinerQuery selects miners; zero fields select all.
type MinerQuery struct {
	NetworkID int16
	Address   string // the exact address
	Prefix    string // the beginning of the address
	Worker    string // has a worker of this name
	ID        int64
	GUID      uuid.UUID
	Disabled  bool // only disabled ones
	Limit     int  // 0 means 100
}

// Reason says who changes something and why, for the audit log.
type Reason struct {
	Who string
	Why string
}
