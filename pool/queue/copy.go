package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrCannotCopy: the broker does not show what it holds without giving it away.
var ErrCannotCopy = errors.New("RabbitMQ shows no message without giving it away")

// Copy shows every envelope of a network that waits in the broker now, the
// oldest first, and takes none. What a backend acknowledges meanwhile may be
// missing. ErrCannotCopy where the broker is RabbitMQ.
func (b *Broker) Copy(ctx context.Context, network string, see func(envelope []byte) error) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	d, ok := b.driver.(*natsDriver)
	if !ok {
		return ErrCannotCopy
	}
	if err := d.copy(ctx, natsStream(network), topicPrefix+SharesTopic(network), see); err != nil {
		return fmt.Errorf("copy the backlog of %s: %w", network, err)
	}
	return nil
}

func (d *natsDriver) copy(ctx context.Context, name, subject string, see func([]byte) error) error {
	stream, err := d.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // never provisioned: nothing waits
	}
	if err != nil {
		return err
	}
	return eachMessage(ctx, stream, subject, func(_ uint64, data []byte) (bool, error) { return true, see(data) })
}

// PutBack publishes an envelope as it was copied. The shares in it that the
// ledger knows are dropped there.
func (b *Broker) PutBack(ctx context.Context, network string, envelope []byte) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	if _, err := b.codec.decodeEnvelope(envelope); err != nil {
		return fmt.Errorf("put an envelope back: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	m := message.NewMessageWithContext(ctx, watermill.NewUUID(), envelope)
	if err := b.Publisher().Publish(SharesTopic(network), m); err != nil {
		return fmt.Errorf("put an envelope back: %w", err)
	}
	return nil
}

// Depth is what waits in the broker.
type Depth struct {
	Envelopes int64     `json:"envelopes"`
	Oldest    time.Time `json:"oldest"` // when the oldest came; zero where nothing waits, or the broker does not tell
}

// Depth tells how much of a network waits to be judged.
func (b *Broker) Depth(ctx context.Context, network string) (Depth, error) {
	if err := checkNetworks(network); err != nil {
		return Depth{}, err
	}
	switch d := b.driver.(type) {
	case *natsDriver:
		stream, err := d.js.Stream(ctx, natsStream(network))
		if err != nil {
			return Depth{}, fmt.Errorf("depth of the queue: %w", err)
		}
		state := stream.CachedInfo().State
		out := Depth{Envelopes: int64(state.Msgs)} //nolint:gosec // bounded by the disk
		if state.Msgs > 0 {
			out.Oldest = state.FirstTime.UTC()
		}
		return out, nil
	case *amqpDriver:
		ch, err := d.channel()
		if err != nil {
			return Depth{}, fmt.Errorf("depth of the queue: %w", err)
		}
		state, err := ch.QueueDeclarePassive(amqpQueue(network), true, false, false, false, nil)
		return Depth{Envelopes: int64(state.Messages)}, errors.Join(err, ch.Close())
	}
	return Depth{}, errors.New("depth of the queue: unknown broker")
}
