package stratum

import (
	"net"
	"sync"
	"time"
)

// tlsLoop runs the sessions of all TLS connections on one goroutine, as an event
// loop of gnet's does for plain ones. Reading, writing and their cryptography
// happen on goroutines of the connections.
type tlsLoop struct {
	loop *loop

	mu     sync.Mutex
	some   sync.Cond
	tasks  []func()
	closed bool
}

func newTLSLoop() *tlsLoop {
	t := new(tlsLoop)
	t.some.L = &t.mu
	return t
}

// do queues a task. Safe for concurrent use; also on the loop itself.
func (t *tlsLoop) do(f func()) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	t.tasks = append(t.tasks, f)
	t.some.Signal()
	return nil
}

// run executes tasks until the loop is closed and nothing is left.
func (t *tlsLoop) run() {
	var batch []func()
	for {
		t.mu.Lock()
		for len(t.tasks) == 0 && !t.closed {
			t.some.Wait()
		}
		if len(t.tasks) == 0 {
			t.mu.Unlock()
			return
		}
		batch, t.tasks = t.tasks, batch[:0]
		t.mu.Unlock()
		for i, f := range batch {
			f()
			batch[i] = nil
		}
	}
}

func (t *tlsLoop) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.some.Broadcast()
}

// serve reads a connection until it ends. It waits until what was read has been
// handled before it reads on, so a miner that is faster than the pool is held
// back by TCP.
func (t *tlsLoop) serve(s *session, conn net.Conn) {
	w := &tlsWire{conn: conn, loop: t, session: s}
	w.some.L = &w.mu
	handled := make(chan struct{}, 1)
	if t.do(func() {
		s.other = w
		t.loop.add(s)
		s.open()
		handled <- struct{}{}
	}) != nil {
		_ = conn.Close()
		t.loop.srv.abandon(s, ClosedDraining)
		return
	}
	<-handled
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		w.writeOut()
	}()
	buf := make([]byte, 4096)
	var err error
	for {
		var n int
		if n, err = conn.Read(buf); n > 0 {
			if t.do(func() {
				if !s.has(closed) {
					t.loop.traffic(s, buf[:n])
				}
				handled <- struct{}{}
			}) != nil {
				break
			}
			<-handled
		}
		if err != nil {
			break
		}
	}
	w.stop()
	<-writing
	_ = conn.Close()
	if t.do(func() { s.gone(err); handled <- struct{}{} }) == nil {
		<-handled
	}
}

// tlsWire is a TLS connection as a session sees it: writes go to a buffer, which
// the connection's writer empties. The session bounds the buffer.
type tlsWire struct {
	conn    net.Conn
	loop    *tlsLoop
	session *session

	mu      sync.Mutex
	some    sync.Cond
	waiting []byte // to be written
	writing int    // bytes under way
	closed  bool
}

// Write implements wire.
func (w *tlsWire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, net.ErrClosed
	}
	w.waiting = append(w.waiting, p...)
	w.some.Signal()
	return len(p), nil
}

// Buffered implements wire.
func (w *tlsWire) Buffered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting) + w.writing
}

// Close implements wire: what is waiting is still written, for a moment.
func (w *tlsWire) Close() error {
	w.stop()
	w.session.gone(nil)
	_ = w.conn.SetReadDeadline(time.Now()) // ends the reader, which closes
	return w.conn.SetWriteDeadline(time.Now().Add(time.Second))
}

func (w *tlsWire) stop() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.some.Signal()
}

// writeStall is how long a single write may take; a miner that reads nothing for
// that long is gone.
const writeStall = 30 * time.Second

func (w *tlsWire) writeOut() {
	var out []byte
	for {
		w.mu.Lock()
		w.writing = 0
		for len(w.waiting) == 0 && !w.closed {
			if cap(out) > 8<<10 {
				out = nil // an idle connection keeps no large buffer
			}
			w.some.Wait()
		}
		if len(w.waiting) == 0 {
			w.mu.Unlock()
			return
		}
		out, w.waiting = w.waiting, out[:0]
		w.writing = len(out)
		stopping := w.closed
		w.mu.Unlock()
		if !stopping {
			_ = w.conn.SetWriteDeadline(time.Now().Add(writeStall))
		}
		if _, err := w.conn.Write(out); err != nil {
			_ = w.conn.SetReadDeadline(time.Now())
			w.stop()
			return
		}
	}
}
