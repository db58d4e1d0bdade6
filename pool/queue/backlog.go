package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// backlog is what a broker holds of a network's shares: those that nobody has
// judged yet.
type backlog struct {
	envelopes int64
	bytes     int64     // -1 where the broker does not tell
	oldest    time.Time // when the oldest came; zero where there is none, or the broker does not tell
}

// watchEvery is how often the backlog is looked at. It costs the broker two
// small requests a network.
const watchEvery = 5 * time.Second

// Watch keeps the metrics of the networks' backlogs and of the dead letters up
// to date until ctx ends, which is no error. It is the backend's: a frontend has
// no permission for it. While the broker is away, the numbers stay as they were,
// and purepool_queue_backlog_timestamp_seconds tells how old they are.
func (b *Broker) Watch(ctx context.Context, networks ...string) error {
	if err := checkNetworks(networks...); err != nil {
		return err
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	pending := make(map[string]time.Time, len(networks))
	for {
		if err := b.look(ctx, networks, pending); err != nil && ctx.Err() == nil {
			b.log.Warn("queue: the backlog cannot be read", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look reads the backlog once. pending holds since when each network has had one.
func (b *Broker) look(ctx context.Context, networks []string, pending map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	m := b.metrics
	var errs []error
	for _, n := range networks {
		back, err := b.driver.backlog(ctx, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		now := time.Now()
		if back.envelopes == 0 {
			delete(pending, n)
		} else if _, known := pending[n]; !known {
			pending[n] = now
		}
		oldest := back.oldest
		if oldest.IsZero() {
			oldest = pending[n]
		}
		lag := 0.0
		if back.envelopes > 0 {
			lag = max(now.Sub(oldest), 0).Seconds()
		}
		m.backlogEnvelopes.WithLabelValues(n).Set(float64(back.envelopes))
		m.backlogLag.WithLabelValues(n).Set(lag)
		if back.bytes >= 0 {
			m.backlogBytes.WithLabelValues(n).Set(float64(back.bytes))
		}
		m.backlogAt.WithLabelValues(n).SetToCurrentTime()
	}
	letters, err := b.driver.lettersKept(ctx)
	if err == nil {
		m.lettersKept.WithLabelValues().Set(float64(letters))
	}
	return errors.Join(append(errs, err)...)
}

// backlog: the stream holds what is not acknowledged.
func (d *natsDriver) backlog(ctx context.Context, network string) (backlog, error) {
	stream, err := d.js.Stream(ctx, natsStream(network)) // asks for its state
	if err != nil {
		return backlog{}, err
	}
	state := stream.CachedInfo().State
	back := backlog{envelopes: int64(state.Msgs), bytes: int64(state.Bytes)} //nolint:gosec // bounded by the disk
	if state.Msgs > 0 {
		back.oldest = state.FirstTime
	}
	return back, nil
}

func (d *natsDriver) lettersKept(ctx context.Context) (int64, error) {
	stream, err := d.js.Stream(ctx, natsDeadLetters)
	if err != nil {
		return 0, err
	}
	return int64(stream.CachedInfo().State.Msgs), nil //nolint:gosec // bounded by the disk
}

// backlog: RabbitMQ counts what nobody has taken, and knows neither bytes nor ages.
func (d *amqpDriver) backlog(_ context.Context, network string) (backlog, error) {
	n, err := d.messages(amqpQueue(network))
	return backlog{envelopes: n, bytes: -1}, err
}

func (d *amqpDriver) lettersKept(context.Context) (int64, error) {
	return d.messages(amqpDeadLetterQueue)
}

// messages counts the messages of a queue that are ready to be taken.
func (d *amqpDriver) messages(name string) (n int64, err error) {
	ch, err := d.channel()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, ch.Close()) }()
	state, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	return int64(state.Messages), err
}
