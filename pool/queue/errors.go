package queue

import "errors"

// Errors of the package, matched with errors.Is.
var (
	// ErrFull: the memory or the spool is at its bound, so the share was not
	// taken. The same share can be published later.
	ErrFull = errors.New("queue is full")
	// ErrUnavailable: neither the broker nor the spool could take the share. The
	// same share can be published later.
	ErrUnavailable = errors.New("queue is unavailable")
	// ErrTooLarge: the share exceeds MaxShareBytes. It will never be taken.
	ErrTooLarge = errors.New("share is too large")
	// ErrUnknownNetwork: the publisher was not told to serve this network.
	ErrUnknownNetwork = errors.New("network is not served by the queue")
	// ErrClosed: the publisher or the broker has been closed.
	ErrClosed = errors.New("queue is closed")
	// ErrEnvelope: a message is no envelope, or a damaged one.
	ErrEnvelope = errors.New("envelope is malformed")
	// ErrEnvelopeVersion: an envelope of a version that this program does not
	// know, written by a newer one. It is intact: it can be replayed after an
	// upgrade.
	ErrEnvelopeVersion = errors.New("envelope version is not supported")
	// ErrNotFound: there is no dead letter of this identifier.
	ErrNotFound = errors.New("dead letter not found")
)
