package stratum

import (
	"bytes"
	"context"
	"net/netip"

	"purepool/pool/job"
)

// A long line, a block as a rule, is kept in pieces until its end has come: a
// buffer that doubles would hold the event loop up for milliseconds each time that
// it moves, and all miners of the loop with it. For the same reason its pieces are
// joined and read by a caller: eight megabytes take thirty milliseconds.

// pieceSize is that of the pieces, and the most that an unfinished line has in one.
const pieceSize = 64 << 10

// kept returns the bytes of the unfinished line.
func (s *session) kept() int {
	n := len(s.partial)
	if s.extra != nil {
		n += s.extra.heldBytes
	}
	return n
}

// room makes room for n more bytes of the unfinished line, on the shared memory;
// where it cannot it closes the connection.
func (s *session) room(n int) bool {
	size := len(s.partial) + n
	if size <= cap(s.partial) {
		return true
	}
	long := len(s.partial) > 0 && size > pieceSize
	if long && !s.has(resuming) && s.srv().guard.haul(s.from, pieceSize, s.now()) {
		s.overdone()
		return false
	}
	room := max(256, 2*cap(s.partial))
	if long {
		size, room = n, pieceSize
	}
	for room < size {
		room *= 2
	}
	memory := s.srv().memory
	if !memory.take(room, s.worker != nil) {
		s.fail(ClosedMemory)
		return false
	}
	grown := make([]byte, 0, room)
	switch {
	case s.partial == nil:
		s.lineSince = s.seen
	case long:
		x := s.more()
		x.held, x.heldBytes = append(x.held, s.partial), x.heldBytes+len(s.partial)
	default:
		grown = append(grown, s.partial...)
		memory.give(cap(s.partial))
	}
	s.partial = grown
	return true
}

// takeKept takes what is kept of the unfinished line, in its pieces, which still
// count as taken from the shared memory.
func (s *session) takeKept() (pieces [][]byte) {
	if s.extra != nil {
		pieces = s.extra.held
		s.extra.held, s.extra.heldBytes = nil, 0
	}
	if s.partial != nil {
		pieces = append(pieces, s.partial)
		s.partial = nil
	}
	return pieces
}

// lengths returns how many bytes the pieces have, and how many of the shared memory
// they hold.
func lengths(pieces [][]byte) (size, charged int) {
	for _, p := range pieces {
		size, charged = size+len(p), charged+cap(p)
	}
	return size, charged
}

// unkeep returns what is kept of a line in one piece, and how much of the shared
// memory it holds, which the caller gives back.
func (s *session) unkeep() (line []byte, charged int) {
	if s.extra == nil || s.extra.held == nil {
		line, s.partial = s.partial, nil
		return line, cap(line)
	}
	pieces := s.takeKept()
	_, charged = lengths(pieces)
	return bytes.Join(pieces, nil), charged
}

// drop forgets the unfinished line.
func (s *session) drop() {
	_, charged := lengths(s.takeKept())
	s.srv().memory.give(charged)
}

// again reads a piece that has waited. It is not copied where it is a part of a long
// line, or has to wait on.
func (s *session) again(piece []byte) {
	waits := s.has(suspended)
	switch {
	case s.has(closed):
	case !waits && bytes.IndexByte(piece, '\n') >= 0:
		s.feed(piece)
	case !waits && s.kept()+len(piece) > s.port.MaxLine:
		s.tooLong()
	default:
		if s.partial == nil {
			s.lineSince = s.seen
		} else {
			x := s.more()
			x.held, x.heldBytes = append(x.held, s.partial), x.heldBytes+len(s.partial)
		}
		s.partial = piece
		return
	}
	s.srv().memory.give(cap(piece))
}

// isLong reports whether the line that is kept is too long to be read on the event
// loop. Only classic ports have such lines.
func (s *session) isLong() bool { return s.port.Dialect == Classic && s.kept() > pieceSize }

// longLine is a line that a caller joins and reads, and what of its session it needs
// for that, as it was when the line had come.
type longLine struct {
	srv      *Server
	port     *port
	pieces   [][]byte
	from     *visitor
	addr     netip.Addr
	received job.Moment
	workers  workers // those that are authorized
	busy     bool    // it is read for its id alone, and refused
}

// readLong has a caller read the line that is kept. As many of them as requests may
// wait are refused beyond those.
func (s *session) readLong() {
	srv := s.srv()
	l := &longLine{srv: srv, port: s.port, pieces: s.takeKept(), from: s.from, addr: s.addr, received: s.moment()}
	size, charged := lengths(l.pieces)
	if int(s.pending) >= 2*s.port.pending {
		srv.memory.give(charged)
		s.overdone()
		return
	}
	if s.worker != nil {
		l.workers = append(l.workers, s.worker)
	}
	if s.extra != nil {
		l.workers = append(l.workers, s.extra.workers...)
	}
	l.busy = srv.calls.Add(1) > int64(srv.cfg.Limits.Calls) || s.full()
	if !l.busy && srv.memory.take(size, s.worker != nil) { // here, and at the front desk
		charged += size
	} else {
		l.busy = true
	}
	o := s.loop.newOp(s, opCall)
	o.charged, o.call = charged, l.call
	s.link(o)
	srv.callers.push(o)
}

func (l *longLine) call(ctx context.Context, o *op) {
	if x := l.read(o); x != nil {
		x.submit(ctx, o)
	}
}

// read joins and reads the line. Few lines are read at once: this is work for a
// processor, which the event loops need, too. Where there is nothing to hand in, the
// request is answered.
func (l *longLine) read(o *op) *submission {
	l.srv.reading <- struct{}{}
	defer func() { <-l.srv.reading }()
	line := bytes.Join(l.pieces, nil)
	l.pieces = nil
	var m message
	err := parseMessage(line, &m)
	o.setID(m.id)
	if err != nil {
		l.junk(o, methodJunk, err.Error())
		return nil
	}
	var h handing
	which := methodOf(m.method)
	switch which {
	case methodSolution:
		h = readSolution(&m, l.port.Network)
	case methodSubmit:
		h = readSubmit(&m, l.workers.named)
	default:
		l.junk(o, which, "Only a solution may be as long as that")
		return nil
	}
	l.port.metrics.requests[which].Inc()
	if l.busy && h.refusal.code == 0 {
		h.refusal, h.outcome = Busy.answer(), Busy
	}
	if h.refusal.code != 0 {
		o.fault = h.refusal
		o.then = func(s *session) { s.refused(h.outcome) }
		return nil
	}
	return l.srv.submission(&h, l.port.Network, l.addr, l.received)
}

// junk answers a line that is no request, or none that may be long. It counts also
// where its sender has gone.
func (l *longLine) junk(o *op, which method, text string) {
	l.port.metrics.requests[which].Inc()
	o.fault = answer{20, text}
	banned := l.srv.misbehaved(l.from, l.addr, 1)
	o.then = func(s *session) {
		if banned {
			s.fail(ClosedBanned)
		} else {
			s.countJunk()
		}
	}
}
