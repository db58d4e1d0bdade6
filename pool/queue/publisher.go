package queue

import (
	"context"
	"errors"
	"time"
)

// PublisherConfig bounds a Publisher. The zero value of every field but
// Networks means its default.
type PublisherConfig struct {
	// Networks are the networks served: main, test, regtest.
	Networks []string
	// SpoolDir is the folder of the disk spool. Empty: no spool, a broker that
	// is away makes Publish fail with ErrUnavailable (fit for the embedded
	// broker, whose disk is the same).
	SpoolDir string
	// SpoolBytes bounds the spool over all networks, 1 GiB by default.
	SpoolBytes int64
	// MemoryBytes bounds the shares that wait in memory, 64 MiB by default.
	MemoryBytes int64
	// EnvelopeShares and EnvelopeBytes close an envelope, 512 and 1 MiB by default.
	EnvelopeShares, EnvelopeBytes int
	// Linger is how long an open envelope waits for more shares while another
	// one is on its way, 2 ms by default. A lone share never waits.
	Linger time.Duration
	// InFlight is how many envelopes of a network are on their way at once, 4 by default.
	InFlight int
	// Timeout is how long the broker may take to acknowledge an envelope before
	// it goes to the spool instead, 2 s by default.
	Timeout time.Duration
	// DrainTimeout is how long Run goes on emptying its memory after its context
	// has ended, 10 s by default.
	DrainTimeout time.Duration
}

// Publisher makes shares durable. All methods are safe for concurrent use.
type Publisher struct{}

// NewPublisher opens the spool and prepares a publisher. Nothing is published
// before Run.
func NewPublisher(b *Broker, cfg PublisherConfig) (*Publisher, error) {
	return nil, errors.New("not built")
}

// Run publishes until ctx ends, then flushes what was taken and returns. Shares that
// the broker does not take within DrainTimeout stay in the spool for the next start.
func (p *Publisher) Run(ctx context.Context) error { return errors.New("not built") }

// Publish returns nil when the share is durable: acknowledged by the broker or
// fsynced into the spool. Otherwise the share was not taken, and errors.Is
// tells ErrFull, ErrUnavailable, ErrTooLarge, ErrUnknownNetwork or ErrClosed. When ctx ends
// first, its error is returned and the share may or may not have been taken: it
// is harmless to publish it again with the same ID. The share is copied: the
// caller may reuse it when Publish returns.
func (p *Publisher) Publish(ctx context.Context, network string, s *Share) error {
	return errors.New("not built")
}

// Close ends Run and waits for it.
func (p *Publisher) Close() error { return nil }
