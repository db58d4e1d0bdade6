package stratum

import (
	"context"
	"log/slog"
	"time"

	"purepool/pool/job"
)

// The way of a share, off the event loops: checkers hash it, writers make batches
// durable, and its loop answers. Each stage takes whatever has gathered while it
// was busy, so a lone share waits for nobody and a crowd shares its costs.

const (
	checkBatch = 64 // shares a checker takes at once: a few milliseconds of x11
	writeWait  = 30 * time.Second
)

// check runs one checker until the queue is closed.
func (srv *Server) check() {
	var a job.Assembler
	buf := make([]*op, 0, checkBatch)
	finished := make([]*op, 0, checkBatch)
	out := outbox{srv: srv}
	for {
		ops := srv.checks.pop(buf)
		if ops == nil {
			return
		}
		finished = finished[:0]
		stored := ops[:0]
		for _, o := range ops {
			if srv.judge(&a, o) {
				stored = append(stored, o)
			} else {
				finished = append(finished, o)
			}
		}
		// Shares of one batch are, as a rule, of one network.
		for len(stored) > 0 {
			b, n := stored[0].s.port.book, 1
			for n < len(stored) && stored[n].s.port.book == b {
				n++
			}
			b.writes.push(stored[:n]...)
			stored = stored[n:]
		}
		if len(finished) > 0 {
			out.send(finished)
		}
		clear(finished)
		clear(buf[:cap(buf)])
	}
}

// judge computes the proof and reports whether the share is to be stored, as is one
// that makes a block although its miner is refused it.
func (srv *Server) judge(a *job.Assembler, o *op) (store bool) {
	defer func() {
		if fault := recover(); fault != nil {
			srv.metrics.panics.Inc()
			srv.log.Error("fault while checking a share", slog.Any("fault", fault))
			o.outcome, store = Busy, false
		}
	}()
	o.proof = a.Proof(o.open.job, &o.found)
	if o.wins = o.open.target.MetBy(o.proof); o.wins {
		o.s.port.book.won(o)
	}
	switch {
	case o.stale:
		o.outcome = Stale
	case !o.target.Target().MetBy(o.proof):
		o.outcome = LowDifficulty
	default:
		o.outcome = Accepted
	}
	return o.wins || o.outcome == Accepted
}

func (o *op) share() job.Share {
	return job.Share{
		Job: o.open.job.Seq, Found: o.found, Target: o.target, Worker: o.worker,
		ReceivedAt: o.received, RemoteIP: o.s.addr, Stale: o.stale, Proof: o.proof,
	}
}

// write makes batches of shares durable, until the queue is closed.
func (srv *Server) write(ctx context.Context, b *book) {
	buf := make([]*op, 0, srv.cfg.BatchShares)
	shares := make([]job.Share, 0, srv.cfg.BatchShares)
	out := outbox{srv: srv}
	for {
		ops := b.writes.pop(buf)
		if ops == nil {
			return
		}
		shares = shares[:0]
		for _, o := range ops {
			shares = append(shares, o.share())
		}
		srv.metrics.batch.Observe(float64(len(ops)))
		if err := srv.put(ctx, b, shares); err != nil {
			srv.log.Warn("shares could not be stored", slog.String("network", b.name), slog.Int("shares", len(ops)), slog.Any("error", err))
			for _, o := range ops {
				if o.outcome == Accepted {
					o.outcome = Busy
				}
				if o.wins {
					srv.keep(b, o.share())
				}
				o.open.seen.Remove(&o.found) // so that it may be sent again
			}
		}
		out.send(ops)
		clear(buf[:cap(buf)])
	}
}

func (srv *Server) put(ctx context.Context, b *book, shares []job.Share) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return b.sink.Put(ctx, shares)
}

// serveCalls runs requests to the front desk and the door, until the queue is
// closed.
func (srv *Server) serveCalls(ctx context.Context) {
	buf := make([]*op, 0, 1)
	out := outbox{srv: srv}
	for {
		ops := srv.callers.pop(buf)
		if ops == nil {
			return
		}
		srv.call(ctx, ops[0])
		out.send(ops)
		clear(buf[:cap(buf)])
	}
}

func (srv *Server) call(ctx context.Context, o *op) {
	defer func() {
		if fault := recover(); fault != nil {
			srv.metrics.panics.Inc()
			srv.log.Error("fault while serving a request", slog.Any("fault", fault))
			o.fault, o.then = answer{20, "The pool cannot serve this request"}, nil
		}
	}()
	o.call(ctx, o)
}
