package queue

import (
	"testing"
)

// With replicas, RabbitMQ's queues are quorum queues, which count deliveries
// for all subscribers.
func TestRabbitMQQuorumQueuesCountDeliveries(t *testing.T) {
	r := sharedRabbitMQ(t)
	network := newNetwork()
	b := mustOpen(t, Config{URL: r.BackendURL(), Replicas: 3})
	mustProvision(t, b, network)
	p := startPublisher(t, b, PublisherConfig{Networks: []string{network}})
	if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
		t.Fatal(err)
	}
	for attempt := 1; attempt <= 3; attempt++ {
		other := mustOpen(t, Config{URL: r.BackendURL()})
		in := subscribe(t, other, network) // remembers nothing
		d := receive(t, in)
		// On a busy machine a subscriber that is closing may fetch it once more.
		if d.Attempt < attempt {
			t.Fatalf("attempt %d, want %d or more", d.Attempt, attempt)
		}
		if attempt == 3 {
			d.Ack()
			return
		}
		d.Nack()
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// RabbitMQ cannot change a queue. A changed configuration must not keep the
// pool from starting.
func TestRabbitMQQueuesOfAnotherConfigurationAreUsedAsTheyAre(t *testing.T) {
	r := sharedRabbitMQ(t)
	network := newNetwork()
	mustProvision(t, mustOpen(t, Config{URL: r.BackendURL()}), network)
	b := mustOpen(t, Config{URL: r.BackendURL(), Replicas: 3, MaxBytes: 1 << 20})
	mustProvision(t, b, network)
	p := startPublisher(t, b, PublisherConfig{Networks: []string{network}})
	if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
		t.Fatal(err)
	}
	receive(t, subscribe(t, b, network)).Ack()
}
