package queue

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpConfirm is a watermill publisher over a channel in confirm mode. Messages
// are persistent and mandatory: one that no queue is bound for comes back, and
// is an error, although RabbitMQ confirms it.
type amqpConfirm struct {
	d *amqpDriver

	mu      sync.Mutex
	current *amqpChannel
	closers sync.WaitGroup // channels being closed in the background
}

// amqpMaxConfirms bounds the messages on their way on one channel.
const amqpMaxConfirms = 256

// amqpChannel is a channel in confirm mode.
type amqpChannel struct {
	ch      *amqp.Channel
	returns chan amqp.Return
	slots   chan struct{}

	mu       sync.Mutex
	returned map[string]string // message id: why it came back
}

// Publish returns when the queue has the messages on disk.
func (p *amqpConfirm) Publish(topic string, messages ...*message.Message) error {
	word, _, _ := strings.Cut(topic, ".")
	for _, m := range messages {
		if err := p.publish(topicPrefix+word, topic, m); err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: the connection is the broker's.
func (p *amqpConfirm) Close() error { return nil }

func (p *amqpConfirm) publish(exchange, key string, m *message.Message) error {
	c, err := p.channel()
	if err != nil {
		return err
	}
	ctx := m.Context()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	id := m.UUID
	if id == "" {
		id = watermill.NewUUID()
	}
	confirmation, err := c.ch.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		ContentType:  "application/cbor",
		MessageId:    id,
		Body:         m.Payload,
	})
	if err != nil {
		p.discard(c)
		return err
	}
	acked, err := confirmation.WaitContext(ctx)
	if err != nil {
		// A return that comes later would have nobody to take it.
		p.discard(c)
		return err
	}
	if why, ok := c.cameBack(id); ok {
		return fmt.Errorf("%w (%s)", errNotBound, why)
	}
	if !acked {
		if c.ch.IsClosed() {
			p.discard(c)
			return errDisconnected
		}
		return errNotAllowed
	}
	return nil
}

// cameBack reports whether the message was returned. RabbitMQ sends the return
// before the confirmation and the library hands both on in that order, so
// that after the confirmation it lies in the channel.
func (c *amqpChannel) cameBack(id string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		select {
		case r, ok := <-c.returns:
			if ok {
				c.returned[r.MessageId] = r.ReplyText
				continue
			}
		default:
		}
		why, ok := c.returned[id]
		delete(c.returned, id)
		return why, ok
	}
}

// channel returns the current channel, a new one if need be.
func (p *amqpConfirm) channel() (*amqpChannel, error) {
	conn, err := p.d.pub.get()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && !p.current.ch.IsClosed() {
		return p.current, nil
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		ch.Close()
		return nil, err
	}
	p.current = &amqpChannel{
		ch: ch,
		// Room for every message on its way: the library would wait for a reader.
		returns:  ch.NotifyReturn(make(chan amqp.Return, amqpMaxConfirms)),
		slots:    make(chan struct{}, amqpMaxConfirms),
		returned: make(map[string]string),
	}
	return p.current, nil
}

// discard stops using a channel. Everything on its way on it fails.
func (p *amqpConfirm) discard(c *amqpChannel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != c {
		return
	}
	p.current = nil
	p.closers.Go(func() {
		// Closing waits for the broker, which may be what does not answer; the
		// connection's heartbeat ends that.
		_ = c.ch.Close()
	})
}

func (p *amqpConfirm) close() {
	done := make(chan struct{})
	go func() {
		p.closers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second): // closing the connection ends them
	}
}
