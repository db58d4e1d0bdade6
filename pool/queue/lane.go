package queue

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// batch is an envelope being filled, and those who wait for it.
type batch struct {
	seq    uint64 // order of arrival in its lane
	data   []byte
	shares int
	sealed bool
	opened time.Time

	done    chan struct{} // closed when err and spooled are set
	err     error
	spooled bool
}

// result is the broker's answer to an envelope.
type result struct {
	b   *batch
	err error
}

// lane carries the shares of one network: callers fill the open batch, one
// goroutine (run) sends batches to the broker or writes them to the spool, another
// one (drain) empties the spool.
//
// Order: while the spool holds anything, everything new goes behind it. Without a spool in
// use, the few envelopes in flight together may overtake each other.
type lane struct {
	p       *Publisher
	network string
	topic   string
	serves  bool   // false: only drained
	spool   *spool // nil: none

	directSeconds, spoolSeconds prometheus.Observer
	failures                    prometheus.Counter

	kick    chan struct{} // wakes run
	spooled chan struct{} // wakes drain
	results chan result

	mu      sync.Mutex
	stopped bool
	open    *batch   // being filled, nil when there is none
	closed  []*batch // full, waiting to be sent, oldest first
	lastSeq uint64
	free    [][]byte // buffers of batches that are done

	// Used by run alone.
	inFlight int
	failed   []*batch // refused by the broker, waiting for the others in flight
}

// add puts a share into the open batch and returns the batch.
func (l *lane) add(s *Share) (*batch, error) {
	enc, err := l.p.b.codec.encodeShare(s)
	if err != nil {
		return nil, err
	}
	defer l.p.b.codec.release(enc)
	if !l.p.memory.take(int64(enc.Len())) {
		return nil, ErrFull
	}
	b, wake, err := l.put(enc.Bytes())
	if err != nil {
		l.p.memory.give(int64(enc.Len()))
		return nil, err
	}
	if wake {
		l.wake()
	}
	return b, nil
}

// put appends an encoded share to the open batch, or to a new one where it is
// full, and tells whether run has something new to decide.
func (l *lane) put(share []byte) (b *batch, wake bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil, false, ErrClosed
	}
	if l.open != nil && len(l.open.data)+len(share) > l.p.cfg.EnvelopeBytes {
		l.closed = append(l.closed, l.open)
		l.open = nil
		wake = true
	}
	if l.open == nil {
		l.lastSeq++
		l.open = &batch{seq: l.lastSeq, data: appendHead(l.buffer()), opened: time.Now(), done: make(chan struct{})}
		wake = true
	}
	b = l.open
	b.data = append(b.data, share...)
	b.shares++
	if b.shares >= l.p.cfg.EnvelopeShares || len(b.data) >= l.p.cfg.EnvelopeBytes {
		l.closed = append(l.closed, b)
		l.open = nil
		wake = true
	}
	return b, wake, nil
}

// buffer returns an empty buffer, used before if possible. l.mu is held.
func (l *lane) buffer() []byte {
	if n := len(l.free); n > 0 {
		buf := l.free[n-1]
		l.free = l.free[:n-1]
		return buf[:0]
	}
	return nil
}

func (l *lane) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// stop refuses further shares.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// run decides what is sent when, until ctx has ended and everything taken has
// been answered.
func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ended := ctx.Done()
	var deadline time.Time
	for {
		wait := l.step(!deadline.IsZero() && time.Now().After(deadline))
		if ended == nil && l.idle() {
			return
		}
		timer.Reset(wait)
		select {
		case <-l.kick:
			// Let everybody who is about to run first: an acknowledged envelope
			// wakes its callers, whose next shares then travel together.
			runtime.Gosched()
		case <-timer.C:
		case r := <-l.results:
			l.answered(r)
		case <-ended:
			ended = nil
			deadline = time.Now().Add(l.p.cfg.DrainTimeout)
			l.stop()
		}
	}
}

// idle reports whether nothing is waiting for an answer.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open == nil && len(l.closed) == 0 && l.inFlight == 0 && len(l.failed) == 0
}

// step starts what can be started now and returns how long to wait for
// something to happen. Once late, nothing more is given to the broker.
func (l *lane) step(late bool) time.Duration {
	const long = time.Hour
	if len(l.failed) > 0 {
		if l.inFlight > 0 {
			return long // the others may fail too, and must come in order
		}
		failed := l.failed
		l.failed = nil
		slices.SortFunc(failed, func(a, b *batch) int { return int(a.seq) - int(b.seq) }) //nolint:gosec // close together
		l.store(failed)
	}
	if l.spool != nil && (late || !l.spool.empty()) {
		if l.inFlight > 0 {
			return long
		}
		// What gathers during this fsync shares the next one.
		if batches := l.take(); len(batches) > 0 {
			l.store(batches)
			return 0
		}
		return long
	}
	if late {
		for _, b := range l.take() {
			l.finish(b, ErrClosed)
		}
		return long
	}
	for l.inFlight < l.p.cfg.InFlight {
		b, wait := l.ready()
		if b == nil {
			return wait
		}
		l.send(b)
	}
	return long
}

// ready returns the next batch to send, if one is due: a full one always, an
// open one when nothing else is on its way or when it has lingered.
func (l *lane) ready() (*batch, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.closed) > 0 {
		b := l.closed[0]
		l.closed = slices.Delete(l.closed, 0, 1)
		return b, 0
	}
	if l.open == nil {
		return nil, time.Hour
	}
	if l.inFlight > 0 {
		if left := l.p.cfg.Linger - time.Since(l.open.opened); left > 0 {
			return nil, left
		}
	}
	b := l.open
	l.open = nil
	return b, 0
}

// take returns all batches, the open one included.
func (l *lane) take() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.closed
	l.closed = nil
	if l.open != nil {
		out = append(out, l.open)
		l.open = nil
	}
	return out
}

// send gives a batch to the broker; the answer comes through results.
func (l *lane) send(b *batch) {
	l.seal(b)
	l.inFlight++
	go func() { l.results <- result{b, l.p.send(l.topic, b.data)} }()
}

// seal makes an envelope of a batch.
func (l *lane) seal(b *batch) {
	if b.sealed {
		return // it has been on its way to the broker already
	}
	b.sealed = true
	setCount(b.data, b.shares)
	l.p.b.metrics.envelopeBytes.Observe(float64(len(b.data)))
	l.p.b.metrics.envelopeShares.Observe(float64(b.shares))
}

// answered takes the broker's answer to a batch.
func (l *lane) answered(r result) {
	l.inFlight--
	if r.err == nil {
		l.finish(r.b, nil)
		return
	}
	l.failures.Inc()
	if l.spool == nil {
		l.finish(r.b, fmt.Errorf("%w: %w", ErrUnavailable, r.err))
		return
	}
	if len(l.failed) == 0 {
		l.p.log.Warn("queue: the broker does not take shares, they go to the spool", slog.String("network", l.network), slog.Any("error", r.err))
	}
	l.failed = append(l.failed, r.b)
}

// store writes batches to the spool with one fsync.
func (l *lane) store(batches []*batch) {
	payloads := make([][]byte, len(batches))
	for i, b := range batches {
		l.seal(b)
		payloads[i] = b.data
	}
	n, err := l.spool.append(payloads...)
	for i, b := range batches {
		if i < n {
			b.spooled = true
			l.finish(b, nil)
			continue
		}
		l.finish(b, err)
	}
	if n > 0 {
		select {
		case l.spooled <- struct{}{}:
		default:
		}
	}
}

// finish tells those who wait for a batch.
func (l *lane) finish(b *batch, err error) {
	l.p.memory.give(int64(len(b.data) - envelopeHead))
	buf := b.data
	b.data, b.err = nil, err
	close(b.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.free) <= l.p.cfg.InFlight && cap(buf) <= 2*l.p.cfg.EnvelopeBytes {
		l.free = append(l.free, buf)
	}
}

// drain gives the spool's envelopes to the broker, in order, until ctx ends.
func (l *lane) drain(ctx context.Context) {
	retry := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		maxBytes, maxShares := l.p.cfg.EnvelopeBytes, l.p.cfg.EnvelopeShares
		if retry.attempt > 0 {
			maxBytes, maxShares = 0, 1 // a broker that is nearly full may still take a small one
		}
		envelope, frames, err := l.spool.peek(maxBytes, maxShares)
		if err == nil && frames == 0 {
			l.wake() // back to the direct way
			select {
			case <-l.spooled:
			case <-ctx.Done():
			}
			continue
		}
		if err == nil {
			err = l.p.send(l.topic, envelope)
		}
		if err != nil {
			if retry.attempt%16 == 0 {
				l.p.log.Warn("queue: the spool cannot be emptied yet", slog.String("network", l.network), slog.Any("error", err))
			}
			retry.wait(ctx)
			continue
		}
		l.spool.consume(frames)
		if retry.attempt > 0 {
			retry.reset()
			l.p.log.Info("queue: the broker takes shares again", slog.String("network", l.network))
		}
	}
}
