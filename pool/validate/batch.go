package validate

import (
	"context"
	"sync"

	"purepool/pool/queue"
)

// inBatches hands deliveries to cfg.Parallel workers, many at once where many
// are there, until the channel is closed or ctx ends and the last handler has
// returned.
func inBatches(ctx context.Context, cfg *Config, deliveries <-chan *queue.Delivery, handle func(context.Context, []*queue.Delivery)) {
	var wg sync.WaitGroup
	for range cfg.Parallel {
		wg.Go(func() {
			for {
				batch := gather(ctx, cfg.Batch, deliveries)
				if len(batch) == 0 {
					return
				}
				handle(ctx, batch)
			}
		})
	}
	wg.Wait()
}

// gather waits for one delivery and takes along what else is there already, up
// to about as many shares as most says.
func gather(ctx context.Context, most int, deliveries <-chan *queue.Delivery) []*queue.Delivery {
	var batch []*queue.Delivery
	select {
	case <-ctx.Done():
		return nil
	case d, ok := <-deliveries:
		if !ok {
			return nil
		}
		batch = append(batch, d)
	}
	for n := inside(batch[0]); n < most; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return batch
			}
			batch = append(batch, d)
			n += inside(d)
		default:
			return batch
		}
	}
	return batch
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
