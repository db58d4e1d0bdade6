package stratum

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// loop is one goroutine's worth of sessions: an event loop of gnet's, or the one
// goroutine that serves all TLS connections. Everything without another comment
// is touched by that goroutine only; others reach it with run.
type loop struct {
	srv *Server
	idx int // in Server.loops
	// run has a function called on the loop's goroutine, soon. Safe for concurrent
	// use until the loop has stopped.
	run func(func()) error

	sessions []*session
	current  *session  // whose answers are in out
	clock    time.Time // when current's turn began
	out      []byte    // answers of one read, sent in one write
	batch    []*op     // shares of one read, handed on together
	touched  []*session
	free     *op
	freeOps  int

	mu       sync.Mutex // guards what is below
	done     []*op      // answers that are known now
	draining bool       // deliver has been asked for
	spare    []*op

	wake chan struct{} // capacity 1: there is a new job
}

func newLoop(srv *Server, idx int, run func(func()) error) *loop {
	return &loop{srv: srv, idx: idx, run: run, wake: make(chan struct{}, 1)}
}

func (l *loop) add(s *session) {
	s.loop, s.at = l, int32(len(l.sessions))
	l.sessions = append(l.sessions, s)
}

func (l *loop) remove(s *session) {
	last := len(l.sessions) - 1
	moved := l.sessions[last]
	l.sessions[s.at] = moved
	moved.at = s.at
	l.sessions[last] = nil
	l.sessions = l.sessions[:last]
}

// begin makes out the session's; end sends what was answered in the meantime and
// hands its shares to the checkers. They do not nest.
func (l *loop) begin(s *session) {
	l.current = s
	l.clock = time.Now()
	l.out = l.out[:0]
}

func (l *loop) end(s *session) {
	if len(l.batch) > 0 {
		l.srv.inFlight.Add(int64(len(l.batch)))
		l.srv.checks.push(l.batch...)
		clear(l.batch)
		l.batch = l.batch[:0]
	}
	s.flush()
	l.current = nil
	if cap(l.out) > 1<<20 {
		l.out = nil
	}
}

// traffic is what a connection has sent.
func (l *loop) traffic(s *session, data []byte) {
	defer l.survive(s)
	l.begin(s)
	s.feed(data)
	l.end(s)
}

// survive keeps a fault in the handling of one session from ending the process.
// It must be deferred directly.
func (l *loop) survive(s *session) {
	fault := recover()
	if fault == nil {
		return
	}
	l.srv.metrics.panics.Inc()
	l.srv.log.Error("fault while serving a miner", slog.Any("fault", fault), slog.String("stack", string(debug.Stack())))
	clear(l.batch)
	l.batch, l.out, l.current = l.batch[:0], l.out[:0], nil
	if s != nil {
		s.close(ClosedPanic)
	}
}

// outbox hands ops whose answers are known back to their loops. One goroutine's.
type outbox struct {
	srv     *Server
	perLoop [][]*op
}

// send gives the ops away: the loops may use them again at once.
func (b *outbox) send(ops []*op) {
	for _, o := range ops {
		idx := o.s.loop.idx
		for len(b.perLoop) <= idx {
			b.perLoop = append(b.perLoop, nil)
		}
		b.perLoop[idx] = append(b.perLoop[idx], o)
	}
	b.srv.loopMu.RLock()
	loops := b.srv.loops
	b.srv.loopMu.RUnlock()
	for idx, own := range b.perLoop {
		if len(own) == 0 {
			continue
		}
		loops[idx].finished(own)
		clear(own)
		b.perLoop[idx] = own[:0]
	}
}

func (l *loop) finished(ops []*op) {
	l.mu.Lock()
	l.done = append(l.done, ops...)
	ask := !l.draining
	l.draining = true
	l.mu.Unlock()
	if ask {
		if err := l.run(l.deliver); err != nil {
			l.srv.log.Error("event loop is gone", slog.Any("error", err))
		}
	}
}

// deliver writes the answers that have become known, one write per session.
func (l *loop) deliver() {
	l.mu.Lock()
	done := l.done
	l.done, l.spare = l.spare[:0], nil
	l.draining = false
	l.mu.Unlock()

	shares := 0
	for _, o := range done {
		if o.kind == opShare {
			shares++
		}
		o.ready = true
		if s := o.s; !s.has(touched) {
			s.set(touched)
			l.touched = append(l.touched, s)
		}
	}
	l.srv.inFlight.Add(-int64(shares))
	for i, s := range l.touched {
		s.unset(touched)
		l.answer(s)
		l.touched[i] = nil
	}
	l.touched = l.touched[:0]

	clear(done)
	l.mu.Lock()
	if l.spare == nil && cap(done) <= maxFreeOps {
		l.spare = done[:0]
	}
	l.mu.Unlock()
}

func (l *loop) answer(s *session) {
	defer l.survive(s)
	l.begin(s)
	s.pop()
	l.end(s)
}

// keep serves a loop's timers and broadcasts until stop is closed. It waits for
// the loop between two pieces of work, so that miners' requests come in between.
func (l *loop) keep(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	sent := make([]*openJob, len(l.srv.books))
	shown := l.srv.message.Load()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			l.inChunks(stop, sweepChunk, l.sweep)
		case <-l.wake:
			if text := l.srv.message.Load(); text != shown {
				shown = text
				l.inChunks(stop, broadcastChunk, func(s *session) { l.show(s, text) })
			}
			for i, b := range l.srv.books {
				if now := b.current(); now != nil && now != sent[i] {
					began := time.Now()
					l.inChunks(stop, broadcastChunk, func(s *session) { l.renew(s, b) })
					b.broadcastSeconds.Observe(time.Since(began).Seconds())
					sent[i] = now
				}
			}
		}
	}
}

// Sessions looked at in one go. A write takes a few microseconds, a look at a
// timer a few nanoseconds; either way the loop is back at its miners within two
// milliseconds.
const (
	sweepChunk     = 8192
	broadcastChunk = 256
)

// inChunks calls f for every session that is there now, on the loop, from the
// last to the first: a session that leaves puts the last one into its place,
// which then has been seen.
func (l *loop) inChunks(stop <-chan struct{}, size int, f func(*session)) {
	next := -1
	done := make(chan bool)
	for {
		err := l.run(func() {
			if next < 0 || next > len(l.sessions) {
				next = len(l.sessions)
			}
			for range size {
				if next--; next < 0 {
					break
				}
				if next < len(l.sessions) {
					l.visit(l.sessions[next], f)
				}
			}
			done <- next <= 0
		})
		if err != nil {
			return
		}
		// The loop runs for as long as its keeper does, so this ends.
		if <-done {
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (l *loop) show(s *session, text *notice) {
	if s.port.Dialect == Template && s.port.Network == text.network && s.has(subscribed) {
		s.write(text.line)
	}
}

func (l *loop) visit(s *session, f func(*session)) {
	defer l.survive(s)
	l.begin(s)
	f(s)
	l.end(s)
}

// execute adapts run to gnet's event loops.
func execute(el gnet.EventLoop) func(func()) error {
	return func(f func()) error {
		return el.Execute(background, runnable(f))
	}
}
