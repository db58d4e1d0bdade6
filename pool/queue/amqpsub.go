package queue

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
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
	network, ok := strings.CutPrefix(topic, sharesWord+".")
	if !ok {
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
	s.d.subs.Go(func() { s.run(ctx, amqpQueue(network), out) })
	return out, nil
}

// amqpConsuming is one stretch of receiving, from a channel's opening to its end.
type amqpConsuming struct {
	s     *amqpSubscriber
	out   chan<- *message.Message
	slots chan struct{} // InFlight of them

	senders sync.WaitGroup // may still send to out
	all     sync.WaitGroup // have not been answered
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
	c := &amqpConsuming{s: s, out: out, slots: make(chan struct{}, s.cfg.InFlight)}
	retry := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		err := c.receive(ctx, queue, retry.reset)
		if ctx.Err() == nil {
			if retry.attempt == 0 {
				s.d.log.Warn("amqp: cannot receive, trying on", slog.String("queue", queue), slog.Any("error", err))
			}
			retry.wait(ctx)
		}
	}
	c.senders.Wait()
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
			c.senders.Add(1)
			c.all.Go(func() { c.serve(ctx, &m) })
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

// attempt counts deliveries from 1: quorum queues count those before.
func attempt(m *amqp.Delivery) int {
	switch n := m.Headers["x-delivery-count"].(type) {
	case int64:
		return int(min(n, 1<<30)) + 1
	case int32:
		return int(n) + 1
	default:
		return 1
	}
}

// serve hands a message out and passes the answer on.
func (c *amqpConsuming) serve(ctx context.Context, in *amqp.Delivery) {
	left := sync.OnceFunc(c.senders.Done)
	defer left()
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		c.answer(in.Nack(false, true))
		return
	}
	free := sync.OnceFunc(func() { <-c.slots })
	defer free()

	n := attempt(in)
	m := message.NewMessage(in.MessageId, in.Body)
	m.Metadata.Set(attemptKey, strconv.Itoa(n))
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	m.SetContext(work)

	select {
	case c.out <- m:
	case <-ctx.Done():
		c.answer(in.Nack(false, true))
		return
	}
	left()
	// From now on it is the handler's, even after the subscription's end.
	closing := c.s.d.closing
	select {
	case <-m.Acked():
		c.answer(in.Ack(false))
		return
	case <-m.Nacked():
	case <-closing:
		select {
		case <-m.Acked():
			c.answer(in.Ack(false))
			return
		default:
		}
	}
	free()
	wait := time.NewTimer(c.s.cfg.delay(n))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done(): // another subscriber may have it at once
	case <-closing:
	}
	c.answer(in.Nack(false, true))
}

// answer notes an answer that could not be sent: the message will be delivered
// again, which handlers are made for.
func (c *amqpConsuming) answer(err error) {
	if err != nil {
		c.s.d.log.Debug("amqp: answer not sent", slog.Any("error", err))
	}
}
