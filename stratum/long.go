package stratum

// A long line, a block as a rule, is kept in pieces until its end has come: a
// buffer that doubles would hold the event loop up for milliseconds each time that
// it moves, and all miners of the loop with it.

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
	if long && s.srv().guard.haul(s.from, pieceSize, s.now()) {
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

// unkeep returns what is kept of a line in one piece, and how much of the shared
// memory it holds, which the caller gives back.
func (s *session) unkeep() (line []byte, charged int) {
	line, charged = s.partial, cap(s.partial)
	s.partial = nil
	if s.extra == nil || s.extra.held == nil {
		return line, charged
	}
	whole := make([]byte, 0, s.extra.heldBytes+len(line))
	for _, piece := range s.extra.held {
		whole, charged = append(whole, piece...), charged+cap(piece)
	}
	s.extra.held, s.extra.heldBytes = nil, 0
	return append(whole, line...), charged
}

// drop forgets the unfinished line.
func (s *session) drop() {
	charged := cap(s.partial)
	if s.extra != nil {
		for _, piece := range s.extra.held {
			charged += cap(piece)
		}
		s.extra.held, s.extra.heldBytes = nil, 0
	}
	s.srv().memory.give(charged)
	s.partial = nil
}
