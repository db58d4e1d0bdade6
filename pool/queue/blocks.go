package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
)

// BlocksTopic is the topic of a template network's winning shares.
func BlocksTopic(network string) string { return blocksWord + "." + network }

const (
	// MaxBlockBytes bounds a message about a winning share.
	MaxBlockBytes = 64 << 10
	// maxBlocksBytes bounds those that wait in the broker.
	maxBlocksBytes = 64 << 20
	// blockAge is when a winning share is worth nothing any more.
	blockAge = 24 * time.Hour
)

// PublishBlock hands a winning share over, past everything that waits. It
// returns nil when the broker has it on disk, and tries again until ctx ends.
// It does not spool: the share itself goes the way of all shares beside it, and
// a block that is minutes late is no block.
func (b *Broker) PublishBlock(ctx context.Context, network string, body []byte) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	if len(body) > MaxBlockBytes {
		return ErrTooLarge
	}
	retry := backoff{min: 50 * time.Millisecond, max: time.Second}
	for {
		attempt, cancel := context.WithTimeout(ctx, natsRequestTimeout)
		err := b.driver.publisher().Publish(BlocksTopic(network), message.NewMessageWithContext(attempt, watermill.NewUUID(), body))
		cancel()
		if err == nil {
			return nil
		}
		retry.wait(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// ConsumeBlocks calls handle with every winning share of a network until ctx
// ends, several at a time. A message is answered when handle has returned nil,
// and comes again otherwise; any number of processes share the work. Errors: as
// those of [Subscribe].
func (b *Broker) ConsumeBlocks(ctx context.Context, network string, handle func(ctx context.Context, body []byte) error) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	cfg := SubscribeConfig{InFlight: 8, MinDelay: 100 * time.Millisecond, MaxDelay: 5 * time.Second}
	in, err := b.Subscriber(cfg).Subscribe(ctx, BlocksTopic(network))
	if err != nil {
		return fmt.Errorf("subscribe to blocks of %s: %w", network, err)
	}
	done := make(chan struct{}, cfg.InFlight)
	for range cfg.InFlight {
		go func() {
			defer func() { done <- struct{}{} }()
			for m := range in {
				if err := handle(context.WithoutCancel(ctx), m.Payload); err != nil {
					m.Nack()
				} else {
					m.Ack()
				}
			}
		}()
	}
	for range cfg.InFlight {
		<-done
	}
	return nil
}

// isWorkTopic reports whether a topic's messages wait for somebody to work on
// them.
func isWorkTopic(topic string) bool {
	word, network, ok := strings.Cut(topic, ".")
	return ok && network != "" && (word == sharesWord || word == blocksWord)
}

func newID() string { return uuid.NewString() }

func natsBlocksStream(network string) string { return "PUREPOOL_BLOCKS_" + network }

// natsStreamOf returns the stream of a topic on whose messages somebody works.
func natsStreamOf(topic string) (string, bool) {
	if !isWorkTopic(topic) {
		return "", false
	}
	word, network, _ := strings.Cut(topic, ".")
	if word == blocksWord {
		return natsBlocksStream(network), true
	}
	return natsStream(network), true
}

func (d *natsDriver) provisionTemplate(ctx context.Context, networks []string) error {
	for _, n := range networks {
		_, err := d.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:       natsBlocksStream(n),
			Subjects:   []string{topicPrefix + BlocksTopic(n)},
			Retention:  jetstream.WorkQueuePolicy,
			Storage:    jetstream.FileStorage,
			Discard:    jetstream.DiscardNew,
			MaxBytes:   maxBlocksBytes,
			MaxMsgSize: MaxBlockBytes,
			MaxAge:     blockAge,
			Replicas:   d.cfg.Replicas,
		})
		if err != nil {
			return fmt.Errorf("stream %s: %w", natsBlocksStream(n), err)
		}
		_, err = d.js.CreateOrUpdateConsumer(ctx, natsBlocksStream(n), jetstream.ConsumerConfig{
			Durable: natsDurable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: d.cfg.AckWait,
			MaxDeliver: -1, MaxAckPending: natsMaxAckPending,
		})
		if err != nil {
			return fmt.Errorf("consumer of stream %s: %w", natsBlocksStream(n), err)
		}
	}
	return nil
}

func (d *amqpDriver) provisionTemplate(ctx context.Context, networks []string) error {
	for _, exchange := range []string{amqpJobsExchange, amqpBlocksExchange} {
		if err := d.declareExchange(exchange, amqp.ExchangeDirect); err != nil {
			return err
		}
	}
	for _, n := range networks {
		if err := d.declareQueue(topicPrefix+BlocksTopic(n), BlocksTopic(n), amqpBlocksExchange, maxBlocksBytes); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
