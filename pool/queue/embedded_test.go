package queue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

func mustOpen(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLog(t)
	}
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func mustProvision(t testing.TB, b *Broker, networks ...string) {
	t.Helper()
	if err := b.Provision(t.Context(), networks...); err != nil {
		t.Fatal(err)
	}
}

// startPublisher runs a publisher until the test ends.
func startPublisher(t testing.TB, b *Broker, cfg PublisherConfig) *Publisher {
	t.Helper()
	p, err := NewPublisher(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = p.Close()
		wg.Wait()
	})
	return p
}

func newShare(n int) *Share {
	return &Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Refusal: fmt.Sprint(n), Solution: make([]byte, 3438)}
}

func TestEmbeddedRoundTrip(t *testing.T) {
	b := mustOpen(t, Config{URL: "embedded:" + t.TempDir()})
	mustProvision(t, b, "test")
	p := startPublisher(t, b, PublisherConfig{Networks: []string{"test"}})
	in, err := Subscribe(t.Context(), b, "test", SubscribeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := newShare(1)
	if err := p.Publish(t.Context(), "test", s); err != nil {
		t.Fatal(err)
	}
	d := <-in
	if len(d.Shares) != 1 || d.Shares[0].ID != s.ID || d.Attempt != 1 {
		t.Fatalf("got %+v", d)
	}
	d.Ack()
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			br := mustOpen(b, Config{URL: "embedded:" + b.TempDir()})
			mustProvision(b, br, "test")
			p := startPublisher(b, br, PublisherConfig{Networks: []string{"test"}})
			b.SetBytes(3438)
			b.ResetTimer()
			var wg sync.WaitGroup
			left := make(chan struct{}, b.N)
			for range b.N {
				left <- struct{}{}
			}
			close(left)
			for range n {
				wg.Go(func() {
					s := newShare(1)
					for range left {
						if err := p.Publish(b.Context(), "test", s); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
