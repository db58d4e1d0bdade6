package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"purepool/pool/queue/queuetest"
)

// Three servers keep each share three times: the one that leads is killed, and comes
// back; what was acknowledged is delivered, and shares are taken all the time.
func TestNATSClusterLosesAServerAndNoShare(t *testing.T) {
	servers := queuetest.NewNATSCluster(t)
	urls := func(url func(*queuetest.NATS) string) string {
		var all []string
		for _, s := range servers {
			all = append(all, url(s))
		}
		return strings.Join(all, ",")
	}
	network := newNetwork()
	backend := mustOpen(t, Config{URL: urls((*queuetest.NATS).BackendURL), Replicas: 3, MaxBytes: 64 << 20, AckWait: 2 * time.Second})
	// The servers choose a leader first.
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := backend.Provision(t.Context(), network)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	frontend := mustOpen(t, Config{URL: urls((*queuetest.NATS).FrontendURL)})
	p := startPublisher(t, frontend, PublisherConfig{
		Networks: []string{network}, SpoolDir: t.TempDir(), SpoolBytes: 64 << 20, Timeout: time.Second,
	})
	in := subscribe(t, backend, network)
	received := map[int]bool{}
	next := 0
	publish := func(n int) {
		t.Helper()
		for range n {
			if err := p.Publish(t.Context(), network, newShare(next)); err != nil {
				t.Fatalf("share %d: %v", next, err)
			}
			next++
		}
	}
	receiveAll := func() {
		t.Helper()
		for len(received) < next {
			d := receive(t, in)
			for i := range d.Shares {
				received[number(t, &d.Shares[i])] = true
			}
			d.Ack()
		}
	}
	publish(20)
	receiveAll()
	leader := waitForReplicas(t, backend, network)
	for i, s := range servers {
		if fmt.Sprintf("queue%d", i+1) != leader {
			continue
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		publish(50)
		receiveAll()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if next != 70 {
		t.Fatalf("the leader %q is none of the servers", leader)
	}
	waitForReplicas(t, backend, network)
}

// waitForReplicas waits until every server has what the others have, and returns
// the leader's name.
func waitForReplicas(t *testing.T, b *Broker, network string) (leader string) {
	t.Helper()
	js := b.driver.(*natsDriver).js
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		stream, err := js.Stream(t.Context(), natsStream(network))
		if err != nil {
			continue
		}
		c := stream.CachedInfo().Cluster
		current := c != nil && c.Leader != "" && len(c.Replicas) == 2
		for i := 0; current && i < len(c.Replicas); i++ {
			current = c.Replicas[i].Current && !c.Replicas[i].Offline
		}
		if current {
			return c.Leader
		}
	}
	t.Fatal("the servers do not agree")
	return ""
}
