package queue

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestBacklogAndDeadLettersAreCounted(t *testing.T) {
	onEachAlone(t, func(t *testing.T, k kind, frontend, backend *Broker, network string) {
		reg := prometheus.NewRegistry()
		reg.MustRegister(backend.metrics.all...)
		pending := make(map[string]time.Time)
		look := func() {
			t.Helper()
			if err := backend.look(t.Context(), []string{network}, pending); err != nil {
				t.Fatal(err)
			}
		}
		look()
		if n, lag := metric(t, reg, "purepool_queue_backlog_envelopes"), metric(t, reg, "purepool_queue_lag_seconds"); n != 0 || lag != 0 {
			t.Fatalf("%v envelopes wait for %v s in an empty queue", n, lag)
		}
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		for n := range 3 {
			if err := p.Publish(t.Context(), network, newShare(n)); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(patience); metric(t, reg, "purepool_queue_lag_seconds") < 0.1; time.Sleep(20 * time.Millisecond) {
			if look(); time.Now().After(deadline) {
				t.Fatal("the queue does not lag")
			}
		}
		if n := metric(t, reg, "purepool_queue_backlog_envelopes"); n != 3 {
			t.Errorf("%v envelopes wait, want 3", n)
		}
		in := subscribe(t, backend, network)
		for range 3 {
			receive(t, in).Ack()
		}
		for deadline := time.Now().Add(patience); metric(t, reg, "purepool_queue_backlog_envelopes") != 0; time.Sleep(20 * time.Millisecond) {
			if look(); time.Now().After(deadline) {
				t.Fatal("the queue is never empty")
			}
		}
		if lag := metric(t, reg, "purepool_queue_lag_seconds"); lag != 0 {
			t.Errorf("an empty queue lags by %v s", lag)
		}
		before := metric(t, reg, "purepool_queue_dead_letters")
		if err := backend.DeadLetters().Add(context.WithoutCancel(t.Context()), DeadLetter{Network: network, Reason: "test", Share: newShare(9)}); err != nil {
			t.Fatal(err)
		}
		if look(); metric(t, reg, "purepool_queue_dead_letters") != before+1 {
			t.Errorf("%v dead letters, want one more than %v", metric(t, reg, "purepool_queue_dead_letters"), before)
		}
	})
}
