package pool

import (
	"fmt"
	"net/netip"
	"time"
)

// WorkRequest asks for work on a classic network, in the words of the wire:
// the fields are the miner's own, neither trimmed nor checked.
type WorkRequest struct {
	Network  string
	Miner    Field // address[/worker[/email]]
	OS       string
	Agent    string
	ThreadID string
	RemoteIP netip.Addr
}

// WorkGrant is the answer to a WorkRequest.
type WorkGrant struct {
	PoolAddress string // where the block's reward must go
	HashTarget  string // 64 hex digits, big-endian
	MinerGUID   string // the miner's public identifier
	WorkID      string // the identifier of this work
}

// SolutionRequest hands in a share on a classic network.
type SolutionRequest struct {
	Network  string
	Solution Field // 16 comma-separated fields
	RemoteIP netip.Addr
	// ReceivedAt is when the last byte of the share had been read.
	ReceivedAt time.Time
	ID         RequestID // 0 where the wire has none
}

// RequestID joins the log lines of a request, and the number that a miner is told
// when something went wrong with it. It is drawn at random.
type RequestID uint32

// String is eight hex digits.
func (r RequestID) String() string { return fmt.Sprintf("%08x", uint32(r)) }

// SolutionReceipt says that a share is durable and will be judged.
type SolutionReceipt struct {
	WorkID string // as the miner spelled it
}

// Field is a value of the wire that may be absent, which is not the same as
// empty: a missing Miner and an empty one get different answers.
type Field struct {
	Value   string
	Present bool
}
