package validate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"purepool/pool/queue"
)

func TestABatchWaitsForMoreOnlyWhileOthersAreJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deliveries := make(chan *queue.Delivery, 10)
		send := func(n int) {
			for range n {
				deliveries <- &queue.Delivery{Shares: make([]queue.Share, 1)}
			}
			synctest.Wait()
		}
		type taken struct {
			size int
			free chan struct{}
		}
		batches := make(chan taken, 10)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			inBatches(t.Context(), 2, 3, deliveries, func(_ context.Context, batch []*queue.Delivery) {
				free := make(chan struct{})
				batches <- taken{len(batch), free}
				<-free
			})
		}()
		began := time.Now()
		want := func(size int, after time.Duration) taken {
			t.Helper()
			got := <-batches
			if got.size != size || time.Since(began) != after {
				t.Fatalf("a batch of %d after %v, want %d after %v", got.size, time.Since(began), size, after)
			}
			began = time.Now()
			return got
		}
		send(1)
		first := want(1, 0) // alone: at once
		send(1)
		time.Sleep(linger / 2)
		send(1)
		second := want(2, linger) // the first is still being judged
		close(second.free)
		send(3)
		third := want(3, 0) // as many as there may be
		close(third.free)
		send(2)
		time.Sleep(linger / 3)
		close(first.free)
		fourth := want(2, linger/3) // nobody else is busy any more
		close(fourth.free)
		send(1)
		fifth := want(1, 0)
		close(deliveries)
		close(fifth.free)
		<-ended
	})
}
