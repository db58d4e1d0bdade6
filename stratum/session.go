package stratum

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"purepool/pool/job"
	"purepool/pool/vardiff"
)

// session is one connection and what is known of its miner: about 400 bytes while
// it is idle, and no goroutine and no timer of its own. It belongs to its loop's
// goroutine; nothing of it is touched from elsewhere.
type session struct {
	conn  gnet.Conn // a plain connection
	other wire      // any other one
	loop  *loop
	port  *port
	from  *visitor // nil for allowed addresses
	addr  netip.Addr

	partial []byte // an unfinished line, or lines that wait while suspended
	head    *op    // requests without an answer yet, oldest first
	tail    *op

	worker *worker // the last one authorized
	extra  *extra  // what few miners have
	agent  string

	vary asksAndVardiff

	opened, seen    uint32 // seconds since the server's start
	lineSince       uint32
	replacedAt      uint32 // when a job was last sent again with another difficulty
	workSince       uint32 // classic: when work was last granted
	at              int32  // in loop.sessions
	pending         uint16 // length of the list at head
	junk            uint8
	chatter         uint16 // requests that are no shares, less what time has forgiven
	reason          CloseReason
	extranonce2Size uint8
	flags           flags
	mask            uint32 // version bits that were asked for
	maskSent        uint32
	extranonce1     job.Extranonce1
}

// asksAndVardiff is what only template sessions use.
type asksAndVardiff struct {
	vardiff.State
	want  job.Bits // the target of the current difficulty
	asked asks
	sent  uint64 // key of the job sent last; 0: none
}

// worker is an authorized worker. Sessions of the same one do not share it.
type worker struct {
	name string // as the miner writes it
	id   int64  // template networks: the ledger's number
}

type workers []*worker

// named returns the worker of this name; nil: there is none.
func (all workers) named(name []byte) *worker {
	for _, w := range all {
		if w.name == string(name) { // does not allocate
			return w
		}
	}
	return nil
}

// extra is what most sessions never need.
type extra struct {
	workers   workers  // further authorized workers
	suggested float64  // difficulty that the miner asked for
	fixed     float64  // d= of the password; 0: none
	held      [][]byte // of an unfinished line what comes before partial
	heldBytes int
}

// maxWorkers bounds the workers authorized on one connection.
const maxWorkers = 64

// wire is a connection that is not gnet's. Its methods are called on the loop.
type wire interface {
	// Write takes all of p, never blocks and keeps no reference to p.
	Write(p []byte) (int, error)
	// Buffered returns how many bytes have not left yet.
	Buffered() int
	// Close ends the connection; session.closed follows, perhaps at once.
	Close() error
}

type flags uint16

const (
	closed flags = 1 << iota
	subscribed
	suspended     // lines wait until a worker has been admitted
	resuming      // lines that waited are being read
	proxied       // a PROXY header comes first
	admitted      // counted by the guard
	tellsNonce    // mining.extranonce.subscribe
	rollsVersion  // mining.configure version-rolling
	fixed         // difficulty was fixed by the password
	found         // vardiff has changed the difficulty at least once
	touched       // in loop.touched
	countedAuthed // counted in the gauge of authorized connections
	resumed       // it has the extranonce1 of an earlier session
)

func (s *session) has(f flags) bool { return s.flags&f != 0 }
func (s *session) set(f flags)      { s.flags |= f }
func (s *session) unset(f flags)    { s.flags &^= f }

func (s *session) srv() *Server      { return s.loop.srv }
func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// now and moment are when the session's turn began: one look at the clock serves
// all lines of a read, and all answers of a batch.
func (s *session) now() time.Duration { return s.loop.clock.Sub(s.srv().started) }
func (s *session) moment() job.Moment { return job.MomentOf(s.loop.clock) }

func since(a uint32, now time.Duration) time.Duration {
	return now - time.Duration(a)*time.Second
}

// open is called on the loop when the connection is there. Without a PROXY header
// to come, the guard has counted it already.
func (s *session) open() {
	s.opened = seconds(s.srv().now())
	s.seen = s.opened
	if s.srv().draining.Load() { // it came too late to be seen by drain
		s.close(ClosedDraining)
	}
}

// out is where the answer to the request at hand goes: straight to the miner, or
// behind the answers that are not known yet, so that answers leave in the order
// of their requests.
func (s *session) out() *[]byte {
	if s.head == nil {
		return &s.loop.out
	}
	if s.tail.kind != opReply {
		o := s.loop.newOp(s, opReply)
		o.ready = true
		s.link(o)
	}
	return &s.tail.buf
}

func (s *session) link(o *op) {
	if s.tail == nil {
		s.head = o
	} else {
		s.tail.next = o
	}
	s.tail = o
	s.pending++
}

// full reports whether another request may wait.
func (s *session) full() bool { return int(s.pending) >= s.port.pending }

// pop writes the answers whose turn has come.
func (s *session) pop() {
	for s.head != nil && s.head.ready {
		o := s.head
		if s.head = o.next; s.head == nil {
			s.tail = nil
		}
		s.pending--
		s.finish(o)
		s.loop.freeOp(o)
	}
	if s.has(suspended) && s.head == nil && !s.has(closed) {
		s.resume()
	}
}

func (s *session) finish(o *op) {
	if o.charged > 0 {
		s.srv().memory.give(o.charged)
	}
	if o.kind == opCall {
		s.srv().calls.Add(-1)
	}
	if s.has(closed) {
		return
	}
	l := s.loop
	switch {
	case o.kind == opReply:
		l.out = append(l.out, o.buf...)
	case o.kind == opShare:
		s.judged(o)
	case o.silent:
	case o.fault.code != 0:
		l.out = appendError(l.out, o.id(), o.fault)
	default:
		l.out = appendResult(l.out, o.id(), o.buf)
	}
	if o.then != nil {
		o.then(s)
	}
}

// flush sends what has been answered.
func (s *session) flush() {
	l := s.loop
	if len(l.out) == 0 || s.has(closed) {
		return
	}
	out := l.out
	l.out = l.out[:0]
	s.write(out)
}

// write hands bytes to the connection and closes it where too many are left.
func (s *session) write(p []byte) {
	if s.has(closed) {
		return
	}
	var left int
	if s.other != nil {
		_, _ = s.other.Write(p) // its failure closes the session by itself
		left = s.other.Buffered()
	} else {
		if _, err := s.conn.Write(p); err != nil {
			return // gnet has closed it
		}
		left = s.conn.OutboundBuffered()
	}
	if left > s.srv().cfg.Limits.OutboundBytes {
		s.close(ClosedSlowReader)
	}
}

// fail sends what has been answered, then closes.
func (s *session) fail(why CloseReason) {
	if s.loop.current == s {
		s.flush()
	}
	s.close(why)
}

// close ends the connection; gone follows before it returns, or soon.
func (s *session) close(why CloseReason) {
	if s.has(closed) {
		return
	}
	if s.reason == notClosed {
		s.reason = why
	}
	if s.other != nil {
		_ = s.other.Close() // gone follows
		return
	}
	_ = s.conn.EventLoop().Close(s.conn) // calls OnClose; its error says that it was closed before
}

// gone is called on the loop, once, when the connection has ended.
func (s *session) gone(err error) {
	if s.has(closed) {
		return
	}
	s.set(closed)
	if s.reason == notClosed {
		s.reason = reasonOf(err)
	}
	srv := s.srv()
	s.loop.remove(s)
	if s.partial != nil {
		s.drop()
	}
	s.remember()
	if s.has(countedAuthed) {
		s.port.metrics.authorized.Dec()
	} else {
		s.port.metrics.fresh.Dec()
	}
	if s.has(admitted) {
		srv.guard.depart(s.from)
	}
	srv.left(s.port, s.reason, s.addr)
}

func reasonOf(err error) CloseReason {
	var call *os.SyscallError
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ClosedByPeer
	case errors.As(err, &call) && call.Syscall == "write":
		return ClosedWriteError
	}
	return ClosedReadError
}

// feed takes bytes as they come, in any pieces, and handles every line that is
// complete.
func (s *session) feed(data []byte) {
	s.seen = seconds(s.now())
	for len(data) > 0 && !s.has(closed) {
		if s.has(suspended) {
			s.wait(data)
			return
		}
		if s.has(proxied) {
			data = s.proxyHeader(data)
			continue
		}
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			s.keep(data, s.port.MaxLine)
			return
		}
		piece := data[:end]
		data = data[end+1:]
		if s.partial == nil {
			if len(piece) > s.port.MaxLine {
				s.tooLong()
				return
			}
			s.line(piece)
			continue
		}
		if !s.keep(piece, s.port.MaxLine) {
			return
		}
		if s.isLong() {
			s.readLong()
			continue
		}
		line, charged := s.unkeep()
		s.line(line)
		s.srv().memory.give(charged)
	}
}

// keep appends to the unfinished line, within bounds; where it cannot it closes
// the connection.
func (s *session) keep(data []byte, most int) bool {
	if s.kept()+len(data) > most {
		s.tooLong()
		return false
	}
	if !s.room(len(data)) {
		return false
	}
	s.partial = append(s.partial, data...)
	return true
}

func (s *session) tooLong() {
	s.misbehaved(1)
	s.fail(ClosedLineTooLong)
}

// overdone closes who asks for more than any miner needs. It counts towards a ban
// as much as a connection that is closed for its junk, or reconnecting would wipe
// it out.
func (s *session) overdone() {
	s.misbehaved(s.srv().cfg.Limits.JunkLines)
	s.fail(ClosedFlood)
}

// waitRoom is what may wait beside one line while a worker is being admitted.
const waitRoom = 64 << 10

// wait keeps lines for later.
func (s *session) wait(data []byte) {
	if s.kept()+len(data) > s.port.MaxLine+waitRoom {
		s.overdone()
		return
	}
	s.keep(data, s.port.MaxLine+waitRoom)
}

// resume reads the lines that have waited. A worker among them suspends again.
func (s *session) resume() {
	if s.has(resuming) {
		return
	}
	s.set(resuming)
	for s.has(suspended) && s.head == nil && !s.has(closed) {
		s.unset(suspended)
		for _, piece := range s.takeKept() {
			s.again(piece)
		}
	}
	s.unset(resuming)
}

// line handles one line.
func (s *session) line(line []byte) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) == 0 {
		return // some miners send an empty line to keep the connection open
	}
	var m message
	if err := parseMessage(line, &m); err != nil {
		s.port.metrics.requests[methodJunk].Inc()
		out := s.out()
		*out = appendError(*out, m.id, answer{20, err.Error()})
		s.badLine()
		return
	}
	s.dispatch(&m)
}

// badLine counts a line that is no request.
func (s *session) badLine() {
	if !s.misbehaved(1) {
		s.countJunk()
	}
}

// countJunk closes a session for its junk.
func (s *session) countJunk() {
	if s.junk++; int(s.junk) >= s.srv().cfg.Limits.JunkLines {
		s.fail(ClosedJunk)
	}
}

// misbehaved counts so much misbehaviour of the address, in lines of junk.
func (s *session) misbehaved(lines int) (banned bool) {
	if !s.srv().misbehaved(s.from, s.addr, lines) {
		return false
	}
	s.fail(ClosedBanned)
	return true
}

// misbehaved is the same for callers, who have no session.
func (srv *Server) misbehaved(from *visitor, addr netip.Addr, lines int) (banned bool) {
	if !srv.guard.junk(from, lines, srv.now()) {
		return false
	}
	srv.banned(addr, "junk")
	return true
}

func (srv *Server) banned(addr netip.Addr, cause string) {
	srv.metrics.bansDecided.WithLabelValues(cause).Inc()
	srv.log.Info("address banned", slog.String("address", addr.String()), slog.String("cause", cause),
		slog.Duration("for", srv.cfg.Limits.BanTime))
}
