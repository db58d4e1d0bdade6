package queue

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	lru "github.com/hashicorp/golang-lru/v2"
	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpWaiting is how many refused messages may sit out their delay besides
// those being worked on: RabbitMQ has no delayed redelivery, so they are held here.
const amqpWaiting = 4

func (d *amqpDriver) subscriber(cfg SubscribeConfig) message.Subscriber {
	return &amqpSubscriber{d: d, cfg: cfg}
}

// amqpSubscriber is a watermill subscriber of a network's queue.
type amqpSubscriber struct {
	d   *amqpDriver
	cfg SubscribeConfig
}

// Close does nothing: subscriptions end with their contexts.
func (s *amqpSubscriber) Close() error { return nil }

// Subscribe receives until ctx ends. A broker or queue that is away is waited for.
func (s *amqpSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if !isWorkTopic(topic) {
		return nil, fmt.Errorf("topic %q has no subscribers", topic)
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	select {
	case <-s.d.closing:
		return nil, ErrClosed
	default:
	}
	out := make(chan *message.Message)
	s.d.subs.Go(func() { s.run(ctx, topicPrefix+topic, out) })
	return out, nil
}

// amqpConsuming is one stretch of receiving, from a channel's opening to its end.
type amqpConsuming struct {
	s       *amqpSubscriber
	out     chan<- *message.Message
	slots   chan struct{}           // InFlight of them
	all     sync.WaitGroup          // messages that have not been answered
	refused *lru.Cache[string, int] // how often this subscription gave messages back, by id
}

func (s *amqpSubscriber) run(ctx context.Context, queue string, out chan<- *message.Message) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.d.subs.Go(func() {
		select {
		case <-s.d.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	refused, err := lru.New[string, int](1024)
	if err != nil {
		panic(err) // the size is positive
	}
	c := &amqpConsuming{s: s, out: out, slots: make(chan struct{}, s.cfg.InFlight), refused: refused}
	retry := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		err = c.receive(ctx, queue, retry.reset)
		if ctx.Err() == nil {
			if retry.attempt == 0 {
				s.d.log.Warn("amqp: cannot receive, trying on", slog.String("queue", queue), slog.Any("error", err))
			}
			retry.wait(ctx)
		}
	}
	close(out)
}

// receive consumes on one channel until that ends, or ctx.
func (c *amqpConsuming) receive(ctx context.Context, queue string, began func()) error {
	ch, err := c.s.d.channel()
	if err != nil {
		return err
	}
	// What has been handed out can be answered as long as the channel is open.
	defer func() {
		c.s.d.subs.Go(func() {
			c.all.Wait()
			ch.Close()
		})
	}()
	if err := ch.Qos(c.s.cfg.InFlight+amqpWaiting, 0, false); err != nil {
		return err
	}
	tag := watermill.NewUUID()
	in, err := ch.Consume(queue, tag, false, false, false, false, nil)
	if err != nil {
		return err
	}
	began()
	for {
		select {
		case m, ok := <-in:
			if !ok {
				return errDisconnected
			}
			c.serve(ctx, &m)
		case <-ctx.Done():
			// The rest of in goes back to the queue.
			err := ch.Cancel(tag, false)
			for m := range in {
				_ = m.Nack(false, true)
			}
			return err
		}
	}
}

// attempt counts deliveries from 1. Quorum queues tell; classic ones only tell
// that there was one before, so that the subscription remembers its own.
func (c *amqpConsuming) attempt(m *amqp.Delivery) int {
	n := 1
	if m.Redelivered {
		n = 2
	}
	if count, ok := m.Headers["x-delivery-count"].(int64); ok {
		n = int(min(count, 1<<30)) + 1
	}
	if own, ok := c.refused.Get(m.MessageId); ok {
		n = max(n, own+1)
	}
	return n
}

// serve hands a message out when a slot is free, in order, and sees to its
// answer.
func (c *amqpConsuming) serve(ctx context.Context, in *amqp.Delivery) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		c.answer(in.Nack(false, true))
		return
	}
	n := c.attempt(in)
	m := message.NewMessage(in.MessageId, in.Body)
	m.Metadata.Set(attemptKey, strconv.Itoa(n))
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.SetContext(work)
	select {
	case c.out <- m:
	case <-ctx.Done():
		cancel()
		<-c.slots
		c.answer(in.Nack(false, true))
		return
	}
	// From now on it is the handler's, even after the subscription's end.
	c.all.Go(func() {
		defer cancel()
		if c.acked(m) {
			c.refused.Remove(in.MessageId)
			<-c.slots
			c.answer(in.Ack(false))
			return
		}
		c.refused.Add(in.MessageId, n)
		<-c.slots // another message may be worked on meanwhile
		wait := time.NewTimer(c.s.cfg.delay(n))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done(): // another subscriber may have it at once
		}
		c.answer(in.Nack(false, true))
	})
}

// acked waits for the answer, or for the broker's end, which refuses.
func (c *amqpConsuming) acked(m *message.Message) bool {
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
		return false
	case <-c.s.d.closing:
	}
	select {
	case <-m.Acked():
		return true
	default:
		return false
	}
}

// answer notes an answer that could not be sent: the message will be delivered
// again, which handlers are made for.
func (c *amqpConsuming) answer(err error) {
	if err != nil {
		c.s.d.log.Debug("amqp: answer not sent", slog.Any("error", err))
	}
}
