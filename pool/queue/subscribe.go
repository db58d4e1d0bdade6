package queue

import (
	"context"
	"errors"
	"time"
)

// SubscribeConfig bounds a subscription. Zero values mean the defaults.
type SubscribeConfig struct {
	// InFlight is how many deliveries may be unanswered (neither Ack nor Nack) at
	// once, 4 by default.
	InFlight int
	// MinDelay and MaxDelay bound the delay before a refused delivery comes
	// again; it doubles with every attempt. 250 ms and 30 s by default.
	MinDelay, MaxDelay time.Duration
	// MaxPanics is how many times Consume hands out a delivery whose handler
	// panics before it becomes a dead letter, 5 by default.
	MaxPanics int
}

// Delivery is one envelope on its way to a validator. Exactly one of Ack and
// Nack must be called, from any goroutine; further calls do nothing. While
// neither has been called the broker is told that work goes on; should the
// process die, the envelope is delivered again, perhaps to another subscriber.
type Delivery struct {
	Network string
	Shares  []Share
	// Attempt counts the deliveries of this envelope, from 1.
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
// the shares. While the broker is away the channel is silent and recovers by
// itself; the error speaks of the arguments only. What is no envelope goes to the dead letters.
//
// After ctx has ended, deliveries already handed out can still be answered
// until the broker is closed.
func Subscribe(ctx context.Context, b *Broker, network string, cfg SubscribeConfig) (<-chan *Delivery, error) {
	return nil, errors.New("not built")
}

// Consume runs handle for every delivery, InFlight at a time, until ctx ends
// and the last handler has returned. A handler that returns nil acknowledges, one
// that returns an error or panics gives the delivery back; see MaxPanics.
func Consume(ctx context.Context, b *Broker, network string, cfg SubscribeConfig, handle func(context.Context, *Delivery) error) error {
	return errors.New("not built")
}
