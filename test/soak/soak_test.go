package soak

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/pool/queue/queuetest"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	sim "purepool/sim/stratum"
	"purepool/test/house"
)

var (
	only     = flag.String("soak.broker", "", "the broker to soak with; empty: both")
	duration = flag.Duration("soak.duration", 10*time.Second, "how long the houses are soaked, one for each broker, side by side")
)

func TestSoak(t *testing.T) {
	for _, kind := range []struct {
		name  string
		start func(t *testing.T) queuetest.Broker
	}{
		{"nats", func(t *testing.T) queuetest.Broker { return queuetest.NewNATS(t, queuetest.NATSOption{}) }},
		{"rabbitmq", func(t *testing.T) queuetest.Broker { return queuetest.NewRabbitMQ(t) }},
	} {
		if *only != "" && *only != kind.name {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			soak(t, kind.name, kind.start(t), *duration)
		})
	}
}

// soak runs one house.
func soak(t *testing.T, name string, broker queuetest.Broker, over time.Duration) {
	nodes, address := startNodes(t)
	port := testkit.FreeAddress(t)
	h := house.New(t, house.Options{
		Broker: broker, Daemon: daemon.Options{Network: house.Network, BlockInterval: 20 * time.Second, Bits: 0x1d00ffff},
		Extra:        house.Regtest{Port: port, Wallet: address, Start: "0.0003", Least: "0.0003"}.Config(),
		BackendExtra: house.RegtestDaemon(nodes[0]) + house.RegtestDaemon(nodes[1]),
	})
	backend, frontend := h.Run("backend"), h.Run("frontend")
	testkit.WaitOpen(t, port)

	crowd := newCrowd(t, h, port)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { crowd.run(ctx) })
	// The time counts from when shares flow.
	h.Eventually("shares of both networks are taken", time.Minute, func() bool {
		for _, n := range crowd.told() {
			if n.taken == 0 {
				return false
			}
		}
		return true
	})
	w := &watch{over: over, began: time.Now()}
	w.add("frontend", frontend.PID(), h.Health)
	w.add("backend", backend.PID(), h.Backend)
	time.AfterFunc(over, stop)
	all.Go(func() { w.run(ctx, t) })
	var outages int
	var away time.Duration
	all.Go(func() { outages, away = restart(ctx, t, broker, over) })
	all.Wait()

	told := crowd.told()
	inLedger := func(table, network string) int64 {
		return h.Count(`SELECT count(*) FROM `+table+` s JOIN purepool.network n ON n.id = s.network_id WHERE n.name = $1`, network)
	}
	for network, n := range told {
		h.Eventually(fmt.Sprintf("%d shares of %s stand in the ledger", n.taken, network), 2*time.Minute, func() bool {
			n.credited, n.rejected = inLedger("purepool.share", network), inLedger(house.RejectedLater, network)
			return n.credited+n.rejected >= n.taken
		})
		if twice := h.Count(`SELECT count(*) - count(DISTINCT s.proof) FROM purepool.share s JOIN purepool.network n ON n.id = s.network_id WHERE n.name = $1`, network); twice != 0 {
			t.Errorf("%s: %d shares are credited twice", network, twice)
		}
		if n.taken == 0 {
			t.Errorf("%s: no share was taken", network)
		}
	}
	later := rejections(t, h)
	for reason, n := range later {
		// One that was handed in again, because its answer was lost, is known. Jobs do not
		// come while the broker is away, and this chain has a new tip every second or so:
		// what is found meanwhile, and one in a hundred besides, may be late. Nothing
		// else is wrong with a share that a frontend has taken.
		taken := told["regtest"].taken
		few := reason == "regtest StaleShare" && n <= taken/100+int64(float64(taken)*away.Seconds()/over.Seconds())
		if !few && !strings.HasSuffix(reason, " BibleHashAlreadyKnown") {
			t.Errorf("%d shares that were taken are rejected later: %s", n, reason)
		}
	}
	w.report(t, fmt.Sprintf("%s, %v, broker killed or stopped %d times, away for %v, rejected later: %v", name, over, outages, away, later), told, h)
	w.check(t)
	if code := frontend.Stop(); code != 0 {
		t.Errorf("the frontend ends with %d", code)
	}
	if code := backend.Stop(); code != 0 {
		t.Errorf("the backend ends with %d", code)
	}
}

// rejections counts what the backend has rejected, by network and reason.
func rejections(t *testing.T, h *house.House) map[string]int64 {
	t.Helper()
	rows, err := h.DB.QueryContext(t.Context(), `
		SELECT n.name || ' ' || s.reason, count(*) FROM `+house.RejectedLater+` s JOIN purepool.network n ON n.id = s.network_id GROUP BY 1`)
	must(t, err)
	defer rows.Close()
	all := make(map[string]int64)
	for rows.Next() {
		var reason string
		var n int64
		must(t, rows.Scan(&reason, &n))
		all[reason] = n
	}
	must(t, rows.Err())
	return all
}

// restart kills or stops the broker, six times over the whole duration, and starts
// it again a little later. It returns how often, and for how long it was away in all.
func restart(ctx context.Context, t *testing.T, broker queuetest.Broker, over time.Duration) (outages int, away time.Duration) {
	const times = 6
	rng := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(over / (times + 1))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return outages, away
		case <-tick.C:
		}
		if outages == times || ctx.Err() != nil {
			return outages, away
		}
		end := broker.Kill
		if outages%2 == 1 {
			end = broker.Stop
		}
		gone := time.Now()
		if err := end(); err != nil {
			t.Error(err)
			return outages, away
		}
		time.Sleep(min(over/30, time.Duration(1+rng.IntN(10))*time.Second))
		err := broker.Start()
		for range 2 { // a machine that is busy with other things may be too slow for its patience
			if err == nil {
				break
			}
			t.Logf("starting the broker again: %.300v", err)
			err = broker.Start()
		}
		if err != nil {
			t.Error(err)
			return outages, away
		}
		outages++
		away += time.Since(gone).Round(time.Second / 10)
	}
}

// count is what became of a network's shares.
type count struct {
	sent, taken, refused int64 // as the miners saw it
	credited, rejected   int64 // as the ledger has it
}

// crowd is all miners. Each kind comes from an address of its own, so that a ban
// meets those who earned it.
type crowd struct {
	t       *testing.T
	port    string
	classic *miner.Fleet

	mu      sync.Mutex
	miners  []*sim.Miner
	hostile []*sim.Miner
}

func newCrowd(t *testing.T, h *house.House, port string) *crowd {
	t.Helper()
	client, err := miner.NewClient(h.HTTP)
	must(t, err)
	client.Timeout = 15 * time.Second
	fleet, err := miner.NewFleet(miner.FleetOptions{
		Miner: miner.Options{
			Client: client, Source: miner.InProcess(h.Daemon.Chain()), Network: house.Network,
			Interval: 500 * time.Millisecond, Retry: 100 * time.Millisecond,
		},
		Miners: 6, Rigs: 2, Churn: 5 * time.Second,
	})
	must(t, err)
	return &crowd{t: t, port: port, classic: fleet}
}

func (c *crowd) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { _ = c.classic.Run(ctx) })
	odd := []sim.Fault{sim.Honest, sim.UpperCase, sim.Split, sim.Resubscribe, sim.Reconnect}
	for i, fault := range odd {
		all.Go(func() { c.mine(ctx, i, fault, false) })
	}
	for i, fault := range sim.Faults() {
		switch fault {
		case sim.UpperCase, sim.Split, sim.Resubscribe, sim.Reconnect:
		default:
			all.Go(func() { c.mine(ctx, 100+i, fault, true) })
		}
	}
	all.Go(func() { c.comeAndGo(ctx) })
	all.Wait()
}

// mine mines until ctx ends.
func (c *crowd) mine(ctx context.Context, number int, fault sim.Fault, hostile bool) {
	pause := 100 * time.Millisecond
	if hostile {
		pause = 2 * time.Second
	}
	m, err := sim.NewMiner(sim.Options{
		Pool: c.port, Worker: fmt.Sprintf("%s.m%d", minerAddress, number), Algorithm: "scrypt", Password: "d=0.0003", HashRate: 32, Fault: fault,
		Pause: pause, From: netip.AddrFrom4([4]byte{127, 1, byte(number >> 8), byte(number)}),
	})
	if err != nil {
		c.t.Error(err)
		return
	}
	c.mu.Lock()
	if hostile {
		c.hostile = append(c.hostile, m)
	} else {
		c.miners = append(c.miners, m)
	}
	c.mu.Unlock()
	_ = m.Run(ctx) // it ends with ctx
}

// comeAndGo has a miner join and leave again, and then the next one.
func (c *crowd) comeAndGo(ctx context.Context) {
	for n := 1000; ctx.Err() == nil; n++ {
		stay, leave := context.WithTimeout(ctx, time.Duration(1+n%5)*time.Second)
		c.mine(stay, 1000+n%500, sim.Honest, false)
		leave()
	}
}

// told is what miners were told, by network.
func (c *crowd) told() map[string]*count {
	classic := c.classic.Stats().Snapshot()
	template := new(count)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range append(c.miners, c.hostile...) {
		s := m.Stats().Snapshot()
		template.sent += s.Submitted
		template.taken += s.Accepted
		for _, n := range s.Refused {
			template.refused += n
		}
	}
	var refused int64
	for _, n := range classic.Refused {
		refused += n
	}
	return map[string]*count{
		house.Network: {sent: classic.Sent, taken: classic.OK, refused: refused},
		"regtest":     template,
	}
}

// minerAddress is nobody's: miners need no key to mine.
const minerAddress = "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E"
