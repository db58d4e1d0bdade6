package template_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"purepool/internal/testkit"
)

// cleanJobs connects a miner to a port and returns when a job came that throws
// all older ones away, again and again.
func cleanJobs(t *testing.T, addr string) <-chan time.Time {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	came, done := make(chan time.Time, 100), make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if bytes.Contains(lines.Bytes(), []byte(`"mining.notify"`)) && bytes.Contains(lines.Bytes(), []byte(`,true]`)) {
				came <- time.Now()
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	_, err = fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":[]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["%s.x","d=1"]}`+"\n", minerAddress)
	must(t, err)
	return came
}

// series returns all that a metric has, a series for each set of its labels.
func (b *backend) series(name string) []*dto.Metric {
	b.t.Helper()
	families, err := b.registry.Gather()
	must(b.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	return nil
}

// metric returns a metric's value, summed over its labels.
func (b *backend) metric(name string) (sum float64) {
	b.t.Helper()
	for _, m := range b.series(name) {
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return sum
}

// TestPushedBlockIsAJobAtTheMinerLongBeforeAPolledOne measures from the block's
// being mined to the job's line at the miner, for every way in which the pool can
// learn of a block; and a daemon that was killed is listened to again.
func TestPushedBlockIsAJobAtTheMinerLongBeforeAPolledOne(t *testing.T) {
	t.Parallel()
	first := newLitecoind(t)
	d := newPublishingLitecoind(t, first)
	first.wallet()
	first.Generate(1, first.address)
	testkit.Eventually(t, "the nodes are connected", time.Minute, func() bool { return d.Height() == 1 })
	h := newHouse(t)
	// mined has the daemon mine a block and returns how long the job took.
	mined := func(came <-chan time.Time) time.Duration {
		t.Helper()
		for len(came) > 0 {
			<-came
		}
		start := time.Now()
		d.Generate(1, first.address)
		select {
		case at := <-came:
			return at.Sub(start)
		case <-time.After(20 * time.Second):
			t.Fatal("no job on the new block")
			return 0
		}
	}
	median := make(map[string]time.Duration)
	mute := *d
	mute.publisher = nil
	quiet := time.Hour // nothing is found by asking
	var b *backend
	var f *frontend
	var came <-chan time.Time
	for _, way := range []struct {
		name string
		how  knowing
		node *litecoind
	}{
		{"polling every second", knowing{poll: time.Second, noLongPoll: true}, &mute},
		{"long polling alone", knowing{poll: quiet}, &mute},
		{"publishing alone", knowing{poll: quiet, noLongPoll: true}, d},
	} {
		if b != nil {
			b.end()
		}
		b = h.openBackendThat(way.how, first.address, way.node)
		if f == nil {
			f = h.openFrontend(1)
			came = cleanJobs(t, f.addr)
		}
		testkit.Eventually(t, "jobs are issued and pushed", 30*time.Second, func() bool {
			return b.maker.Ready(t.Context()) == nil && (way.node.publisher == nil || b.metric("purepool_push_connected") == 1)
		})
		mined(came) // whatever has to be set up is
		var took []time.Duration
		for range 5 {
			time.Sleep(rand.N(time.Second)) // so that polls come at any moment
			took = append(took, mined(came))
		}
		slices.Sort(took)
		median[way.name] = took[len(took)/2]
		t.Logf("%s: a block is a job at the miner after %v", way.name, took)
	}
	polled := median["polling every second"]
	for _, way := range []string{"long polling alone", "publishing alone"} {
		if median[way] > polled/2 || median[way] > 250*time.Millisecond {
			t.Errorf("%s: %v, where polling takes %v", way, median[way], polled)
		}
	}
	for range 2 {
		d.kill()
		testkit.Eventually(t, "the loss is noticed", 30*time.Second, func() bool { return b.metric("purepool_push_connected") == 0 })
		d.start()
		testkit.Eventually(t, "the publisher is listened to again", 30*time.Second, func() bool { return b.metric("purepool_push_connected") == 1 })
		testkit.Eventually(t, "the daemon has peers and is believed to be up", time.Minute, func() bool {
			var n int
			d.Call("getconnectioncount", &n)
			return n > 0 && b.client.Status()[0].Up
		})
		if took := mined(came); took > 5*time.Second {
			t.Errorf("after the daemon's restart a job takes %v", took)
		}
	}
	if n := b.metric("purepool_tip_push_missed_total"); n != 0 {
		t.Errorf("%v blocks were found by other ways before they were pushed", n)
	}
}
