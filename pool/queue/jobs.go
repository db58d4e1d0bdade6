package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Template networks have two more topics beside their shares: jobs, which the
// backend tells to every frontend that listens, and blocks, the short way of a
// winning share to the backend.

const (
	jobsWord   = "jobs"
	blocksWord = "blocks"
)

// JobsTopic is the topic of a template network's jobs.
func JobsTopic(network string) string { return jobsWord + "." + network }

// MaxJobBytes bounds a job as it is told.
const MaxJobBytes = 1 << 20

// ProvisionTemplate creates what template networks need in the broker beside
// [Broker.Provision]. It is the backend's business.
func (b *Broker) ProvisionTemplate(ctx context.Context, networks ...string) error {
	if err := checkNetworks(networks...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, provisionTimeout)
	defer cancel()
	if err := b.driver.provisionTemplate(ctx, networks); err != nil {
		return fmt.Errorf("provision queue for templates: %w", err)
	}
	return nil
}

// TellJob tells a job to the frontends that listen now. Nothing keeps it: the
// backend tells the current job again and again, so that whoever comes later, or
// missed it, hears it soon. An empty body says that there is none.
func (b *Broker) TellJob(ctx context.Context, network string, body []byte) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	if len(body) > MaxJobBytes {
		return ErrTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, natsRequestTimeout)
	defer cancel()
	if err := b.driver.tellJob(ctx, network, body); err != nil {
		return fmt.Errorf("tell a job of %s: %w", network, err)
	}
	return nil
}

// HearJobs calls hear with every job told on a network, from one goroutine, until
// ctx ends; then it returns nil. While the broker is away there is silence. hear
// owns the bytes.
func (b *Broker) HearJobs(ctx context.Context, network string, hear func(body []byte)) error {
	if err := checkNetworks(network); err != nil {
		return err
	}
	return b.driver.hearJobs(ctx, network, hear)
}

func (d *natsDriver) tellJob(_ context.Context, network string, body []byte) error {
	if !d.nc.IsConnected() {
		return errDisconnected
	}
	return d.nc.Publish(topicPrefix+JobsTopic(network), body)
}

func (d *natsDriver) hearJobs(ctx context.Context, network string, hear func([]byte)) error {
	in := make(chan *nats.Msg, 64)
	// The client subscribes again by itself whenever it has reconnected.
	sub, err := d.nc.ChanSubscribe(topicPrefix+JobsTopic(network), in)
	if err != nil {
		return fmt.Errorf("listen to jobs of %s: %w", network, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.closing:
			return ErrClosed
		case m := <-in:
			hear(m.Data)
		}
	}
}

const (
	amqpJobsExchange   = topicPrefix + jobsWord
	amqpBlocksExchange = topicPrefix + blocksWord
	// amqpEar begins the names of the queues in which frontends hear jobs: one for
	// each connection, gone with it.
	amqpEar = topicPrefix + "hear."
)

// tellJob publishes on a channel of its own, without confirmation: a job that is
// lost is told again.
func (d *amqpDriver) tellJob(ctx context.Context, network string, body []byte) error {
	conn, err := d.pub.get()
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return ch.PublishWithContext(ctx, amqpJobsExchange, JobsTopic(network), false, false, amqp.Publishing{
		DeliveryMode: amqp.Transient, ContentType: "application/cbor", Body: body,
	})
}

func (d *amqpDriver) hearJobs(ctx context.Context, network string, hear func([]byte)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-d.closing:
			cancel()
		case <-stop:
		}
	}()
	retry := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		if err := d.listen(ctx, network, hear, retry.reset); err != nil && ctx.Err() == nil {
			retry.wait(ctx)
		}
	}
	return nil
}

// listen hears jobs on one channel until that ends, or ctx.
func (d *amqpDriver) listen(ctx context.Context, network string, hear func([]byte), began func()) error {
	ch, err := d.channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	q, err := ch.QueueDeclare(amqpEar+newID(), false, true, true, false, nil)
	if err != nil {
		return err
	}
	if err := ch.QueueBind(q.Name, JobsTopic(network), amqpJobsExchange, false, nil); err != nil {
		return err
	}
	in, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	began()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-in:
			if !ok {
				return errors.New("the channel was closed")
			}
			hear(m.Body)
		}
	}
}
