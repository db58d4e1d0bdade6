package queue

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/pool/queue/queuetest"
)

// A backend has hundreds of slots, and all of them fail when the server goes down:
// the log tells of it once a stream, and once that it is over.
func TestAnOutageOfNATSIsLoggedOnceAStreamAndNotOnceASlot(t *testing.T) {
	t.Parallel()
	server := queuetest.NewNATS(t, queuetest.NATSOption{})
	log := new(testkit.Text)
	backend := mustOpen(t, Config{URL: server.BackendURL(), AckWait: time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))})
	networks := []string{newNetwork(), newNetwork()}
	mustProvision(t, backend, networks...)
	p := startPublisher(t, backend, PublisherConfig{Networks: networks, SpoolDir: t.TempDir(), Timeout: time.Second, EnvelopeShares: 1})
	for _, network := range networks {
		in, err := Subscribe(t.Context(), backend, network, SubscribeConfig{InFlight: 64})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for d := range in {
				d.Ack()
			}
		}()
	}
	told := func(network, what string) (lines int) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, what) && strings.Contains(line, "stream="+natsStream(network)) {
				lines++
			}
		}
		return lines
	}
	for outage := 1; outage <= 2; outage++ {
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, network := range networks {
			testkit.Eventually(t, "the log tells of the outage", patience, func() bool { return told(network, "cannot receive") == outage })
		}
		time.Sleep(500 * time.Millisecond) // every slot tries again, and fails again
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		for _, network := range networks {
			testkit.Eventually(t, "the log tells that the outage is over", patience, func() bool {
				if err := p.Publish(t.Context(), network, newShare(1)); err != nil { // a share for each slot
					t.Fatal(err)
				}
				return told(network, "receiving again") == outage
			})
			if n := told(network, "cannot receive"); n != outage {
				t.Errorf("%d lines tell of %d outages:\n%s", n, outage, log)
			}
		}
	}
}
