package queue_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"purepool/pool/queue"
)

// A frontend publishes, a backend consumes: here both in one process, over the
// broker that is embedded in it.
func Example() {
	dir, err := os.MkdirTemp("", "purepool-queue-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())

	b, err := queue.Open(ctx, queue.Config{URL: "embedded:" + dir})
	if err != nil {
		panic(err)
	}
	if err := b.Provision(ctx, "test"); err != nil { // the backend's business
		panic(err)
	}
	p, err := queue.NewPublisher(b, queue.PublisherConfig{Networks: []string{"test"}})
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })

	s := queue.Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now(), Solution: []byte("16 fields")}
	if err := p.Publish(ctx, "test", &s); err == nil {
		fmt.Println("durable: tell the miner ok")
	}

	wg.Go(func() {
		_ = queue.Consume(ctx, b, "test", queue.SubscribeConfig{}, func(_ context.Context, d *queue.Delivery) error {
			fmt.Printf("attempt %d: %s\n", d.Attempt, d.Shares[0].Solution)
			stop()
			return nil // acknowledges
		})
	})
	wg.Wait()
	if err := b.Close(); err != nil {
		panic(err)
	}
	// Output:
	// durable: tell the miner ok
	// attempt 1: 16 fields
}
