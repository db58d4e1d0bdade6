package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func (d *natsDriver) subscriber(cfg SubscribeConfig) message.Subscriber {
	return &natsSubscriber{d: d, cfg: cfg}
}

// natsSubscriber is a watermill subscriber of a network's stream. Each of its
// slots pulls one message, keeps it reserved while somebody works on it, and pulls the
// next when it has been answered: nothing waits in a buffer where its
// reservation could end unseen.
type natsSubscriber struct {
	d   *natsDriver
	cfg SubscribeConfig
}

// Close does nothing: subscriptions end with their contexts.
func (s *natsSubscriber) Close() error { return nil }

// Subscribe starts the slots. A stream that cannot be reached, or is not there
// yet, is waited for.
func (s *natsSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	stream, ok := natsStreamOf(topic)
	if !ok {
		return nil, fmt.Errorf("topic %q has no subscribers", topic)
	}
	if !s.d.addSlots(s.cfg.InFlight) {
		return nil, ErrClosed
	}
	out := make(chan *message.Message)
	away := &outage{log: s.d.log.With(slog.String("stream", stream))}
	var slots sync.WaitGroup
	slots.Add(s.cfg.InFlight)
	for range s.cfg.InFlight {
		go func() {
			defer s.d.subs.Done()
			s.slot(ctx, stream, away, out, slots.Done)
		}()
	}
	go func() {
		slots.Wait()
		close(out)
	}()
	return out, nil
}

// slot works until ctx ends. It calls quit when it will send nothing more to
// out, and returns when its last message has been answered.
func (s *natsSubscriber) slot(ctx context.Context, stream string, away *outage, out chan<- *message.Message, quit func()) {
	left := sync.OnceFunc(quit)
	defer left()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.d.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	var consumer jetstream.Consumer
	retry := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	failing := false
	defer func() {
		if failing {
			away.end(false)
		}
	}()
	for ctx.Err() == nil {
		msg, err := s.pull(ctx, stream, &consumer)
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			consumer = nil // it may have been deleted, or moved
			if !failing {
				failing = true
				away.begin(err)
			}
			retry.wait(ctx)
			continue
		case failing:
			failing = false
			away.end(true)
			retry.reset()
		}
		if msg != nil {
			s.serve(ctx, consumer.CachedInfo().Config.AckWait, msg, out, left)
		}
	}
}

// pull returns the next message, or nil when there is none for a while.
func (s *natsSubscriber) pull(ctx context.Context, stream string, consumer *jetstream.Consumer) (jetstream.Msg, error) {
	ctx, cancel := s.d.connected(ctx)
	defer cancel()
	ctx, cancelWait := context.WithTimeout(ctx, natsPullWait)
	defer cancelWait()
	if *consumer == nil {
		c, err := s.d.js.Consumer(ctx, stream, natsDurable)
		if err != nil {
			return nil, err
		}
		*consumer = c
	}
	msg, err := (*consumer).Next(jetstream.FetchContext(ctx))
	if msg != nil {
		return msg, nil
	}
	// The client says nats.ErrTimeout when the server has ended a pull without messages.
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, jetstream.ErrNoMessages) || errors.Is(err, nats.ErrTimeout) {
		return nil, nil //nolint:nilnil // silence is no error
	}
	return nil, err
}

// serve hands a message out and passes the answer on. Until then it tells the
// server, well within ackWait, that the message is being worked on.
func (s *natsSubscriber) serve(ctx context.Context, ackWait time.Duration, in jetstream.Msg, out chan<- *message.Message, left func()) {
	attempt := 1
	if meta, err := in.Metadata(); err == nil {
		attempt = int(min(meta.NumDelivered, 1<<30)) //nolint:gosec // bounded
	}
	m := message.NewMessage(watermill.NewUUID(), in.Data())
	m.Metadata.Set(attemptKey, strconv.Itoa(attempt))
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	m.SetContext(work)

	alive := time.NewTicker(max(ackWait/3, 10*time.Millisecond))
	defer alive.Stop()
	for sent := false; !sent; {
		select {
		case out <- m:
			sent = true
		case <-alive.C:
			s.answer(in.InProgress())
		case <-ctx.Done():
			s.answer(in.Nak())
			return
		}
	}
	// From now on it is the handler's, even after the subscription's end.
	ended := ctx.Done()
	for {
		select {
		case <-m.Acked():
			s.answer(in.Ack())
			return
		case <-m.Nacked():
			s.answer(in.NakWithDelay(s.cfg.delay(attempt)))
			return
		case <-alive.C:
			s.answer(in.InProgress())
		case <-ended:
			left()
			ended = nil
		case <-s.d.closing:
			s.lastAnswer(m, in)
			return
		}
	}
}

// lastAnswer passes on the answer that came together with the end, or gives
// the message back.
func (s *natsSubscriber) lastAnswer(m *message.Message, in jetstream.Msg) {
	select {
	case <-m.Acked():
		s.answer(in.Ack())
	default:
		s.answer(in.Nak())
	}
}

// answer notes an answer that could not be sent: the message will be delivered
// again, which handlers are made for.
func (s *natsSubscriber) answer(err error) {
	if err != nil {
		s.d.log.Debug("nats: answer not sent", slog.Any("error", err))
	}
}

// outage is what the slots of one stream know together of a time in which they
// cannot receive: it begins with the first slot that fails and is over when every slot
// that failed receives again. Of an outage one line is logged at either end, however
// many slots there are.
type outage struct {
	log *slog.Logger // names the stream

	mu      sync.Mutex
	since   time.Time
	failing int // slots
}

// begin is called by a slot that fails and did not before.
func (o *outage) begin(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failing++; o.failing == 1 {
		o.since = time.Now()
		o.log.Warn("nats: cannot receive, trying on", slog.Any("error", err))
	}
}

// end is called once by each slot that called begin, when it receives again or is
// told to stop.
func (o *outage) end(receives bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failing--; o.failing == 0 && receives {
		o.log.Info("nats: receiving again", slog.Duration("after", time.Since(o.since)))
	}
}
