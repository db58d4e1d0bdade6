package validate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"purepool/pool/queue"
)

// linger is how long a batch waits for more shares while others are being judged:
// the processors have work, and a larger batch costs less a share. A batch that is
// alone never waits.
const linger = 150 * time.Millisecond

// batcher hands deliveries to workers in batches.
type batcher struct {
	deliveries <-chan *queue.Delivery
	most       int           // shares of a batch, about
	turn       chan struct{} // held by the worker that gathers
	busy       atomic.Int32  // workers that judge a batch
	idle       chan struct{} // the last of them has become free
}

// inBatches hands deliveries to so many workers, many at once where many are
// there, until the channel is closed or ctx ends and the last handler has
// returned.
func inBatches(ctx context.Context, workers, most int, deliveries <-chan *queue.Delivery, handle func(context.Context, []*queue.Delivery)) {
	b := &batcher{deliveries: deliveries, most: most, turn: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				batch := b.gather(ctx)
				if len(batch) == 0 {
					return
				}
				handle(ctx, batch)
				b.done()
			}
		})
	}
	wg.Wait()
}

// gather waits for one delivery and takes along what else is there already, and
// what comes soon where others are busy, up to about as many shares as there may
// be. It returns nothing at the end.
func (b *batcher) gather(ctx context.Context) (batch []*queue.Delivery) {
	select {
	case <-ctx.Done():
		return nil
	case b.turn <- struct{}{}:
	}
	defer func() {
		if len(batch) > 0 {
			b.busy.Add(1)
		}
		<-b.turn
	}()
	select {
	case <-ctx.Done():
		return nil
	case d, ok := <-b.deliveries:
		if !ok {
			return nil
		}
		batch = append(batch, d)
	}
	var late <-chan time.Time
	for n := inside(batch[0]); n < b.most; {
		var d *queue.Delivery
		var ok bool
		select {
		case d, ok = <-b.deliveries:
		default:
			if b.busy.Load() == 0 {
				return batch
			}
			if late == nil {
				late = time.After(linger)
			}
			select {
			case d, ok = <-b.deliveries:
			case <-b.idle: // see whether it is still so
				continue
			case <-late:
				return batch
			case <-ctx.Done():
				return batch
			}
		}
		if !ok {
			return batch
		}
		batch = append(batch, d)
		n += inside(d)
	}
	return batch
}

// done says that a batch has been dealt with.
func (b *batcher) done() {
	if b.busy.Add(-1) == 0 {
		select {
		case b.idle <- struct{}{}:
		default:
		}
	}
}

// shareBytes is about what a template share takes in a message.
const shareBytes = 96

// inside is about how many shares a delivery holds: a message of a template
// network holds many, one of a classic network one.
func inside(d *queue.Delivery) (n int) {
	for i := range d.Shares {
		n += 1 + len(d.Shares[i].Template)/shareBytes
	}
	return n
}
