package stratum

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"purepool/pool/job"
)

// A share that makes a block has two roads, and none of them is closed to one that
// its miner is refused (it came too late, or its miner was asked for more than the
// network asks): the road of its own, which is quick and gives up while the broker is
// away, and the way of all shares, which ends on a disk before the miner is answered.
// A share for which both are closed is kept here and takes either as soon as it is
// open.

const (
	winsWaiting = 4096 // block candidates that wait for their own road
	winSenders  = 4    // per network
	// rescuePause is how long nothing is tried after both roads were closed.
	rescuePause = time.Second
	// winsFor is how long after its arrival a block may still count: so long does the
	// backend try it, too.
	winsFor = time.Hour
)

// won puts a share that makes a block on its own road. It never waits.
func (b *book) won(o *op) {
	select {
	case b.wins <- o.share():
	default:
		b.winsFailed.Inc()
		b.log.Warn("too many block candidates at once, this one goes the way of all shares alone",
			slog.String("network", b.name), slog.Uint64("job", o.open.job.Seq), slog.Bool("stale", o.stale))
	}
}

// sendWins hands block candidates over, until the channel is closed.
func (b *book) sendWins(ctx context.Context) {
	for share := range b.wins {
		if err := b.sink.Win(ctx, share); err != nil {
			b.winsFailed.Inc()
			b.log.Warn("block candidate could not be handed over, it goes the way of all shares alone", slog.String("network", b.name),
				slog.Uint64("job", share.Job), slog.Bool("stale", share.Stale), slog.Any("error", err))
			continue
		}
		b.winsHandedOver.Inc()
	}
}

// stranded are block candidates that could not be stored. They count as shares
// under way (Limits.InFlight), which bounds them. Safe for concurrent use.
type stranded struct {
	mu     sync.Mutex
	shares []job.Share
	end    chan struct{} // closed when no more will come
}

func (st *stranded) add(shares ...job.Share) {
	st.mu.Lock()
	st.shares = append(st.shares, shares...)
	st.mu.Unlock()
}

func (st *stranded) take() []job.Share {
	st.mu.Lock()
	defer st.mu.Unlock()
	shares := st.shares
	st.shares = nil
	return shares
}

// keep keeps a share that makes a block and could not be stored.
func (srv *Server) keep(b *book, share job.Share) {
	srv.inFlight.Add(1)
	b.stranded.add(share)
}

// rescue tries kept shares again until none can come any more and none is left, or
// ctx ends.
func (srv *Server) rescue(ctx context.Context, b *book) {
	tick := time.NewTicker(rescuePause)
	defer tick.Stop()
	end := b.stranded.end
	for last := false; ; {
		shares := b.stranded.take()
		left := srv.retry(ctx, b, shares)
		srv.inFlight.Add(-int64(len(shares) - len(left)))
		b.stranded.add(left...)
		if last && len(left) == 0 {
			return
		}
		select {
		case <-end:
			last, end = true, nil // at once, and then as before
		case <-tick.C:
		case <-ctx.Done():
			last = true // nothing waits any more, and nothing is kept
		}
	}
}

// retry tries both roads and returns those for which both are closed. What cannot
// count any more, or has no time left, is given up.
func (srv *Server) retry(ctx context.Context, b *book, shares []job.Share) (left []job.Share) {
	for len(shares) > 0 {
		err := b.sink.Win(ctx, shares[0])
		if err == nil {
			b.winsHandedOver.Inc()
			shares = shares[1:]
			continue
		}
		some := shares[:min(len(shares), srv.cfg.BatchShares)]
		if err = srv.put(ctx, b, some); err == nil {
			shares = shares[len(some):]
			continue
		}
		// The next one begins the next time, should this one be at fault.
		left = append(left, shares[1:]...)
		if share := &shares[0]; ctx.Err() == nil && time.Since(share.ReceivedAt.Time()) < winsFor {
			left = append(left, *share)
		} else {
			b.winsGivenUp.Inc()
			b.log.Error("block candidate is lost: neither the broker nor the spool has taken it", slog.String("network", b.name),
				slog.Uint64("job", share.Job), slog.Bool("stale", share.Stale), slog.Any("error", err))
		}
		return left
	}
	return nil
}
