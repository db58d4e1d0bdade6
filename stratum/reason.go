package stratum

// CloseReason says why a connection ended. Every connection ends for exactly one
// reason, which goes to the log and to purepool_stratum_closed_total.
type CloseReason uint8

// The reasons. The first group is the miner's doing, the second the limits', the
// third the pool's.
const (
	notClosed CloseReason = iota

	// ClosedByPeer: the miner hung up.
	ClosedByPeer
	// ClosedReadError: the operating system reported an error while reading.
	ClosedReadError
	// ClosedWriteError: the same while writing.
	ClosedWriteError
	// ClosedTLS: the TLS handshake failed.
	ClosedTLS
	// ClosedProxyHeader: a connection from a balancer without a sound PROXY header.
	ClosedProxyHeader
	// ClosedJunk: too many lines that are no requests.
	ClosedJunk
	// ClosedLineTooLong: a line beyond the port's bound.
	ClosedLineTooLong
	// ClosedFlood: requests that are no shares came faster than any miner has use
	// for, or kept coming while a worker was still being admitted.
	ClosedFlood
	// ClosedAuthTimeout: nobody was authorized in time.
	ClosedAuthTimeout
	// ClosedIdle: no line in a long time.
	ClosedIdle
	// ClosedLineTimeout: a line was begun and not finished in time.
	ClosedLineTimeout
	// ClosedSlowReader: the miner does not read what it is sent.
	ClosedSlowReader

	// ClosedTooMany: the bound of connections in all.
	ClosedTooMany
	// ClosedTooManyOfIP: the bound of connections of one address.
	ClosedTooManyOfIP
	// ClosedRateOfIP: the address connects too often.
	ClosedRateOfIP
	// ClosedBanned: the address is banned, or was banned while it was connected.
	ClosedBanned
	// ClosedMemory: the shared memory for unfinished lines is used up.
	ClosedMemory
	// ClosedNoJob: there is nothing to mine on, or what there was is worthless now.
	ClosedNoJob
	// ClosedFiles: the process may not open more files.
	ClosedFiles

	// ClosedExtranonce: a new job has another extranonce2 size, which the miner
	// cannot be told.
	ClosedExtranonce
	// ClosedDraining: the server is stopping.
	ClosedDraining
	// ClosedPanic: a fault in this program.
	ClosedPanic

	closeReasons
)

func (r CloseReason) String() string {
	return [closeReasons]string{
		"open", "peer", "read_error", "write_error", "tls", "proxy_header", "junk", "line_too_long", "flood",
		"auth_timeout", "idle", "line_timeout", "slow_reader", "too_many", "too_many_of_ip", "rate_of_ip", "banned",
		"memory", "no_job", "files", "extranonce", "draining", "panic",
	}[min(r, closeReasons-1)]
}

// Outcome is what became of a share; it labels purepool_stratum_shares_total.
type Outcome uint8

// The outcomes of a share.
const (
	Accepted      Outcome = iota
	Stale                 // its job was replaced by a clean one, or is not known (any more)
	Duplicate             // sent before
	LowDifficulty         // the proof does not meet what its job asked
	TimeRange             // its time lies outside what the chain allows
	Malformed             // parameters that cannot be read
	Unauthorized          // a worker that was not authorized here
	Unsubscribed          // submitted before mining.subscribe
	Busy                  // the pool could not take it; the miner's fault in no way
	outcomes
)

// answer is the Stratum error of an outcome: code and text.
type answer struct {
	code int
	text string
}

func (o Outcome) String() string {
	return [outcomes]string{
		"accepted", "stale", "duplicate", "low_difficulty", "time", "malformed", "unauthorized", "unsubscribed", "busy",
	}[min(o, outcomes-1)]
}

// answer returns the error of docs/PROTOCOL.md, "Stratum over TCP".
func (o Outcome) answer() answer {
	return [outcomes]answer{
		{},
		{21, "Job not found"},
		{22, "Duplicate share"},
		{23, "Low difficulty share"},
		{20, "Time out of range"},
		{20, "Malformed share"},
		{24, "Unauthorized worker"},
		{25, "Not subscribed"},
		{20, "The pool is busy, please submit again"},
	}[min(o, outcomes-1)]
}

// invalid reports whether the share counts against its address.
func (o Outcome) invalid() bool {
	switch o {
	case Duplicate, LowDifficulty, TimeRange, Malformed:
		return true
	}
	return false
}
