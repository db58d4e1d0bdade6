package queuetest

import "testing"

func TestServersStartStopAndStartAgain(t *testing.T) {
	t.Run("nats", func(t *testing.T) { restart(t, NewNATS(t, NATSOption{})) })
	t.Run("rabbitmq", func(t *testing.T) { restart(t, NewRabbitMQ(t)) })
}

func restart(t *testing.T, b Broker) {
	for _, end := range []func() error{b.Stop, b.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
	}
}
