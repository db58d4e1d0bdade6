package classic

import (
	"context"
	"flag"
	"testing"
	"time"

	"purepool/pool/queue/queuetest"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

var outage = flag.Duration("outage", time.Minute, "how long a part of the house is away")

// A broker that is away for a minute costs no share and refuses none: they wait
// in the frontend's spool. Hazard H13: the original lost the share.
func TestSharesSurviveAMinuteWithoutTheBroker(t *testing.T) {
	t.Parallel()
	broker := queuetest.NewNATS(t, queuetest.NATSOption{})
	h := house.New(t, house.Options{
		Broker: broker, Daemon: daemon.Options{Network: "test", Bits: 0x1d00ffff, BlockInterval: 20 * time.Second},
	})
	h.Run("backend")
	h.Run("frontend")
	l := startLoad(t, h, 8, 50*time.Millisecond)
	h.Eventually("shares flow", 20*time.Second, func() bool { return credited(h) > 20 })

	must(t, broker.Stop())
	before := l.Taken()
	time.Sleep(*outage)
	taken := l.Taken() - before
	must(t, broker.Start())
	time.Sleep(2 * time.Second)
	counts := l.Stop()

	t.Logf("taken without a broker: %d shares; in all: %d", taken, counts.OK)
	if taken < 20 {
		t.Errorf("only %d shares were taken while the broker was away", taken)
	}
	if counts.Unexpected != 0 || len(counts.Failed) != 0 {
		t.Errorf("shares were refused: %+v", counts)
	}
	wantAllInTheLedgerOnce(t, h, l, time.Minute)
	wantNoneRejected(t, h)
}

// The daemon decides, silence does not: no share is rejected because the daemon
// is away, and all are judged by the moment of their arrival when it returns.
// Hazards V5 and V7.
func TestNoShareIsRejectedForADaemonThatIsAway(t *testing.T) {
	t.Parallel()
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: "test", Bits: 0x1d00ffff, BaseHeight: 500, History: 2}})
	h.Run("all")
	l := startLoad(t, h, 8, 50*time.Millisecond)
	h.Eventually("shares flow", 20*time.Second, func() bool { return credited(h) > 20 })

	// Three ways of being away, one after the other, while the chain goes on: the
	// miners' own nodes see each block, the pool's daemon tells of none.
	for _, kind := range []daemon.FaultKind{daemon.FaultRefuse, daemon.FaultHang, daemon.FaultGarbled} {
		must(t, h.Daemon.SetFaults(daemon.Fault{Kind: kind}))
		time.Sleep(*outage / 6)
		h.Daemon.MineStranger()
		time.Sleep(*outage / 6)
	}
	judged := credited(h)
	taken := l.Taken()
	must(t, h.Daemon.SetFaults())
	time.Sleep(2 * time.Second)
	counts := l.Stop()

	t.Logf("judged when the daemon returned: %d of %d; in all: %d", judged, taken, counts.OK)
	if int64(taken)-judged < 20 {
		t.Errorf("only %d shares waited for the daemon", int64(taken)-judged)
	}
	if counts.Unexpected != 0 || len(counts.Failed) != 0 {
		t.Errorf("shares were refused: %+v", counts)
	}
	wantAllInTheLedgerOnce(t, h, l, time.Minute)
	wantNoneRejected(t, h)
}

// Without the database solutions are taken and none is lost; requests for work
// get a clear error that the client understands, and work again by themselves.
func TestSharesSurviveAMinuteWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: "test", Bits: 0x1d00ffff, BlockInterval: 20 * time.Second}})
	h.Run("all")
	l := startLoad(t, h, 8, 50*time.Millisecond)
	h.Eventually("shares flow", 20*time.Second, func() bool { return credited(h) > 20 })

	must(t, h.Cluster.Halt(t.Context()))
	before := l.Taken()
	ask := func() (miner.Answer, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		return client(t, h).Do(ctx, &miner.Request{Action: "readytomine2", Miner: h.Daemon.PoolAddress() + "/new", Network: "test"})
	}
	answer, err := ask()
	must(t, err)
	if answer.Error != "The pool cannot reach its database, please try again in a minute" {
		t.Errorf("request for work answered %q", answer.Text)
	}
	time.Sleep(*outage)
	taken := l.Taken() - before
	must(t, h.Cluster.Restart(t.Context()))
	h.Eventually("work is given again", 20*time.Second, func() bool {
		answer, err := ask()
		return err == nil && answer.Error == ""
	})
	counts := l.Stop()

	t.Logf("taken without a database: %d shares; in all: %d", taken, counts.OK)
	if taken < 20 {
		t.Errorf("only %d shares were taken while the database was away", taken)
	}
	if len(counts.Failed) != 0 {
		t.Errorf("requests without an answer: %+v", counts)
	}
	wantAllInTheLedgerOnce(t, h, l, time.Minute)
	wantNoneRejected(t, h)
}
