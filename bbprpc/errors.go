package bbprpc

import (
	"errors"
	"fmt"
	"strings"
)

// ErrorKind is a kind of error. Match it with errors.Is.
type ErrorKind string

const (
	// ErrAway: the daemon gave no answer that can be used. Wait and ask again.
	ErrAway ErrorKind = "daemon is away"
	// ErrNoBibleHash: the daemon answered without a BibleHash, as it does when an
	// argument is out of its range. The daemon said no.
	ErrNoBibleHash ErrorKind = "daemon gave no BibleHash"
	// ErrBlockNotFound: exec subsidy knows no block of this height. The daemon
	// said no.
	ErrBlockNotFound ErrorKind = "block not found"
	// ErrAmount: a text that is no amount of whole satoshis within int64.
	ErrAmount ErrorKind = "not an amount"
	// ErrConfig: the configuration of the client is wrong.
	ErrConfig ErrorKind = "bad daemon configuration"
)

// Error returns a text for people.
func (k ErrorKind) Error() string { return string(k) }

// Codes with which a daemon says no (Bitcoin's rpc/protocol.h).
const (
	CodeMisc             = -1     // an exception inside the call
	CodeInvalidAddress   = -5     // an address or key that is none
	CodeInsufficient     = -6     // not enough coins
	CodeInvalidParameter = -8     // out of range, such as a height above the tip
	CodeDeserialization  = -22    // bytes that are no block or transaction
	CodeInvalidRequest   = -32600 // a request that is none
	CodeMethodNotFound   = -32601 // a call that this daemon does not know
)

// Codes that speak about the daemon's state, not about the call: they count as
// away.
const (
	codeOutOfMemory = -7
	codeWarmingUp   = -28
	codeInternal    = -32603
	codeParse       = -32700
)

// DaemonError is the daemon's own refusal of a call.
type DaemonError struct {
	Code    int
	Message string // printable, at most 500 bytes
}

func (e *DaemonError) Error() string {
	return fmt.Sprintf("daemon said no: %s (%d)", e.Message, e.Code)
}

// IsCode reports whether err is the daemon's refusal with this code.
func IsCode(err error, code int) bool {
	var refusal *DaemonError
	return errors.As(err, &refusal) && refusal.Code == code
}

// Reason says in what way a daemon is away. It labels a metric.
type Reason string

// The ways of being away.
const (
	// AwayConnect: no connection could be made.
	AwayConnect Reason = "connect"
	// AwayBroken: the connection broke before the whole answer was there.
	AwayBroken Reason = "broken"
	// AwayTimeout: no answer in time.
	AwayTimeout Reason = "timeout"
	// AwayCancelled: the caller gave up. The daemon is not blamed for it.
	AwayCancelled Reason = "cancelled"
	// AwayCredentials: the credentials were refused or could not be read.
	AwayCredentials Reason = "credentials"
	// AwayBusy: the daemon's work queue is full.
	AwayBusy Reason = "busy"
	// AwayWarmingUp: the daemon is starting.
	AwayWarmingUp Reason = "warming-up"
	// AwayFault: the daemon failed inside (out of memory, internal error).
	AwayFault Reason = "fault"
	// AwayGarbled: an answer that cannot be understood.
	AwayGarbled Reason = "garbled"
	// AwayBackOff: every daemon was away a moment ago; nothing was sent.
	AwayBackOff Reason = "back-off"
)

// AwayError says that nothing is known about a call but that it got no answer.
type AwayError struct {
	// Endpoint is the daemon's URL without credentials.
	Endpoint string
	Reason   Reason
	// Answered is true where the daemon is there and gave answers, and only that to
	// this call cannot be used. Asked again it may go wrong in the same way for
	// ever: bound the tries.
	Answered bool
	// NotExecuted is true where the daemon certainly did not execute the call.
	// Otherwise it may have.
	NotExecuted bool
	// Err is the cause; never nil.
	Err error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("daemon %s is away (%s): %v", e.Endpoint, e.Reason, e.Err)
}

// Unwrap returns [ErrAway] and the cause.
func (e *AwayError) Unwrap() []error { return []error{ErrAway, e.Err} }

// printable makes a daemon's text fit for logs and for the database.
func printable(text string) string {
	const most = 500
	if len(text) > most {
		text = text[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
