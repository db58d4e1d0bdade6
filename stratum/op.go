package stratum

import (
	"context"
	"sync"

	"purepool/pool/job"
)

// op is one request whose answer is not known yet, or an answer that waits for
// the one before it. Ops belong to the event loop of their session; a share or a
// call is lent to the checkers or callers, who touch no field of the session.
type op struct {
	s    *session
	next *op // in the session's list of unanswered requests, or in the free list

	kind  opKind
	ready bool // its answer is known; set on the event loop
	idLen uint8
	small [23]byte // the id, where it fits
	large []byte   // the id, where it does not

	// buf is an answer's text (opReply) or a result in JSON (opCall).
	buf []byte

	// Of a share:
	open     *openJob
	found    job.Found
	target   job.Bits
	worker   int64
	received job.Moment
	outcome  Outcome
	proof    [32]byte
	stale    bool
	wins     bool // it makes a block

	// Of a call:
	call    func(context.Context, *op) // runs on a caller
	fault   answer                     // code 0: none
	then    func(*session)             // runs on the event loop, after the answer is written
	silent  bool                       // no answer: nobody asked
	charged int                        // bytes of the shared memory
}

type opKind uint8

const (
	opReply opKind = iota
	opShare
	opCall
)

func (o *op) setID(id []byte) {
	if len(id) <= len(o.small) {
		o.idLen = uint8(copy(o.small[:], id))
		return
	}
	o.large = append([]byte(nil), id...)
}

func (o *op) id() []byte {
	if o.large != nil {
		return o.large
	}
	return o.small[:o.idLen]
}

// Bounds of an event loop's free list, so that a burst does not keep its memory.
const (
	maxFreeOps = 4096
	maxFreeBuf = 1 << 10
)

func (l *loop) newOp(s *session, kind opKind) *op {
	o := l.free
	if o == nil {
		o = new(op)
	} else {
		l.free, l.freeOps, o.next = o.next, l.freeOps-1, nil
	}
	o.s, o.kind = s, kind
	return o
}

func (l *loop) freeOp(o *op) {
	if l.freeOps >= maxFreeOps {
		return
	}
	buf := o.buf
	if cap(buf) > maxFreeBuf {
		buf = nil
	}
	*o = op{next: l.free, buf: buf[:0]}
	l.free, l.freeOps = o, l.freeOps+1
}

// queue hands ops from one stage to the next, in order. Its length is bounded by
// what may be under way in all (Limits.InFlight, Limits.Calls), which is counted
// where ops enter.
type queue struct {
	mu      sync.Mutex
	some    sync.Cond
	ops     []*op
	head    int
	waiting int
	closed  bool
}

func newQueue() *queue {
	q := new(queue)
	q.some.L = &q.mu
	return q
}

// push never blocks.
func (q *queue) push(ops ...*op) {
	if len(ops) == 0 {
		return
	}
	q.mu.Lock()
	if q.head > 0 && len(q.ops)+len(ops) > cap(q.ops) {
		n := copy(q.ops, q.ops[q.head:])
		clear(q.ops[n:])
		q.ops, q.head = q.ops[:n], 0
	}
	q.ops = append(q.ops, ops...)
	wake := min(q.waiting, len(ops))
	q.mu.Unlock()
	for range wake {
		q.some.Signal()
	}
}

// pop waits until there is something and moves up to cap(dst) ops to dst. It
// returns none once the queue is closed and empty.
//
// What a miner has sent together stays together where it fits: it is answered with
// one write then, and what the miner sends next comes in one read again.
func (q *queue) pop(dst []*op) []*op {
	dst = dst[:0]
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.ops) {
		if q.closed {
			return nil
		}
		q.waiting++
		q.some.Wait()
		q.waiting--
	}
	end := min(q.head+cap(dst), len(q.ops))
	for cut := end; cut > q.head && cut < len(q.ops); cut-- {
		if q.ops[cut].s != q.ops[cut-1].s {
			end = cut
			break
		}
	}
	dst = append(dst, q.ops[q.head:end]...)
	clear(q.ops[q.head:end])
	q.head = end
	if q.head == len(q.ops) {
		q.ops, q.head = q.ops[:0], 0
	}
	return dst
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.some.Broadcast()
}
