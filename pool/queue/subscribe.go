package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// SubscribeConfig bounds a subscription. Zero values mean the defaults.
type SubscribeConfig struct {
	// InFlight is how many deliveries may be unanswered (neither Ack nor Nack) at
	// once, 4 by default.
	InFlight int
	// MinDelay and MaxDelay bound the delay before a refused delivery comes
	// again; it doubles with every attempt. 250 ms and 30 s by default.
	MinDelay, MaxDelay time.Duration
	// MaxPanics is the attempt from which on a panic of a handler of Consume
	// makes its delivery dead letters, 5 by default.
	MaxPanics int
}

func (c SubscribeConfig) withDefaults() SubscribeConfig {
	if c.InFlight <= 0 {
		c.InFlight = 4
	}
	if c.MinDelay <= 0 {
		c.MinDelay = 250 * time.Millisecond
	}
	if c.MaxDelay <= 0 {
		c.MaxDelay = 30 * time.Second
	}
	if c.MaxPanics <= 0 {
		c.MaxPanics = 5
	}
	return c
}

// delay is how long a message refused at this attempt (from 1) waits.
func (c SubscribeConfig) delay(attempt int) time.Duration {
	return doubled(c.MinDelay, c.MaxDelay, attempt-1)
}

// attemptKey is the metadata in which subscribers count deliveries, from 1.
const attemptKey = "purepool_attempt"

// Delivery is one envelope on its way to a validator. Exactly one of Ack and
// Nack must be called, from any goroutine; further calls do nothing. While
// neither has been called the broker is told that work goes on; should the
// process die, the envelope is delivered again, perhaps to another subscriber.
type Delivery struct {
	Network string
	Shares  []Share
	// Attempt counts the deliveries of this envelope, from 1. A delivery that
	// was lost with its process counts too. RabbitMQ's classic queues do not
	// count: there it is 1 at the first time, and else what this subscription knows, at least 2.
	Attempt int

	ack, nack func()
}

// Ack says that every share of the delivery has been dealt with for good.
func (d *Delivery) Ack() { d.ack() }

// Nack gives the whole delivery back, to be delivered again after a delay that
// grows with Attempt.
func (d *Delivery) Nack() { d.nack() }

// Subscribe delivers the shares of a network until ctx ends, then closes the
// channel. Any number of subscriptions, in any number of processes, compete for
// the shares. While the broker is away, or not provisioned, the channel is
// silent and recovers by itself; the error speaks of the arguments and of a
// closed broker only. What is no envelope goes to the dead letters.
//
// After ctx has ended, deliveries already handed out can still be answered
// until the broker is closed.
func Subscribe(ctx context.Context, b *Broker, network string, cfg SubscribeConfig) (<-chan *Delivery, error) {
	if err := checkNetworks(network); err != nil {
		return nil, err
	}
	for _, result := range []string{"ack", "nack", "undecodable", "panic"} {
		b.metrics.deliveries.WithLabelValues(network, result)
	}
	b.metrics.deliveredShare.WithLabelValues(network)
	b.metrics.deadLetters.WithLabelValues(network)
	in, err := b.Subscriber(cfg).Subscribe(ctx, SharesTopic(network))
	if err != nil {
		return nil, fmt.Errorf("subscribe to shares of %s: %w", network, err)
	}
	// What has been fetched waits here, so that a handler can take all that is there.
	out := make(chan *Delivery, cfg.withDefaults().InFlight)
	go func() {
		defer close(out)
		for m := range in {
			d := b.delivery(ctx, network, m)
			if d == nil {
				continue
			}
			select {
			case out <- d:
			case <-ctx.Done():
				m.Nack()
			}
		}
	}()
	return out, nil
}

// delivery decodes a message. What is no envelope becomes a dead letter; then,
// and when that fails, the message is answered and there is no delivery.
func (b *Broker) delivery(ctx context.Context, network string, m *message.Message) (d *Delivery) {
	attempt, err := strconv.Atoi(m.Metadata.Get(attemptKey))
	if err != nil {
		attempt = 1
	}
	shares, err := b.decode(m.Payload)
	if err != nil {
		b.metrics.deliveries.WithLabelValues(network, "undecodable").Inc()
		b.log.Error("queue: a message is no envelope and becomes a dead letter", slog.String("network", network),
			slog.Int("bytes", len(m.Payload)), slog.Any("error", err))
		raw := m.Payload[:min(len(m.Payload), MaxEnvelopeBytes)]
		letter := DeadLetter{Network: network, Reason: err.Error(), Attempts: attempt, Raw: raw}
		if err := b.DeadLetters().Add(ctx, letter); err != nil {
			b.log.Error("queue: dead letter not written, the message comes again", slog.String("network", network), slog.Any("error", err))
			m.Nack()
			return nil
		}
		m.Ack()
		return nil
	}
	ack, nack := b.metrics.deliveries.WithLabelValues(network, "ack"), b.metrics.deliveries.WithLabelValues(network, "nack")
	delivered := b.metrics.deliveredShare.WithLabelValues(network)
	var once sync.Once
	return &Delivery{
		Network: network, Shares: shares, Attempt: attempt,
		ack: func() {
			once.Do(func() {
				ack.Inc()
				delivered.Add(float64(len(shares)))
				m.Ack()
			})
		},
		nack: func() {
			once.Do(func() {
				nack.Inc()
				m.Nack()
			})
		},
	}
}

// decode turns a panic of the decoder, which hostile bytes might provoke, into
// an error.
func (b *Broker) decode(data []byte) (shares []Share, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: decoder panics: %v", ErrEnvelope, p)
		}
	}()
	return b.codec.decodeEnvelope(data)
}

// Consume runs handle for every delivery, InFlight at a time, until ctx ends
// and the last handler has returned. A handler that returns nil acknowledges;
// one that returns an error gives the delivery back. So does one that panics,
// but for the last of MaxPanics attempts, when the shares become dead letters. A
// handler may also answer the delivery itself. Its context does not end with ctx: it
// finishes what it has begun, and bounds itself.
func Consume(ctx context.Context, b *Broker, network string, cfg SubscribeConfig, handle func(context.Context, *Delivery) error) error {
	cfg = cfg.withDefaults()
	in, err := Subscribe(ctx, b, network, cfg)
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range cfg.InFlight {
		workers.Go(func() {
			for d := range in {
				b.handle(context.WithoutCancel(ctx), d, cfg, handle)
			}
		})
	}
	workers.Wait()
	return nil
}

// errPanic is a panic of a handler.
var errPanic = errors.New("handler panics")

func (b *Broker) handle(ctx context.Context, d *Delivery, cfg SubscribeConfig, handle func(context.Context, *Delivery) error) {
	err := guard(ctx, d, handle)
	switch {
	case err == nil:
		d.Ack()
	case errors.Is(err, errPanic):
		b.metrics.deliveries.WithLabelValues(d.Network, "panic").Inc()
		b.log.Error("queue: handler panics", slog.String("network", d.Network), slog.Int("attempt", d.Attempt), slog.Any("error", err))
		if d.Attempt >= cfg.MaxPanics && b.bury(ctx, d, err) {
			d.Ack()
			return
		}
		d.Nack()
	default:
		b.log.Warn("queue: handler gives a delivery back", slog.String("network", d.Network), slog.Int("attempt", d.Attempt), slog.Any("error", err))
		d.Nack()
	}
}

func guard(ctx context.Context, d *Delivery, handle func(context.Context, *Delivery) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return handle(ctx, d)
}

// bury makes dead letters of all shares of a delivery.
func (b *Broker) bury(ctx context.Context, d *Delivery, cause error) bool {
	for i := range d.Shares {
		letter := DeadLetter{Network: d.Network, Reason: cause.Error(), Attempts: d.Attempt, Share: &d.Shares[i]}
		if err := b.DeadLetters().Add(ctx, letter); err != nil {
			b.log.Error("queue: dead letter not written, the delivery comes again", slog.String("network", d.Network), slog.Any("error", err))
			return false
		}
	}
	return true
}
