package stratum_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
	"purepool/pool/vardiff"
	sim "purepool/sim/stratum"
	"purepool/stratum"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	)
}

const address = "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"

// backend is jobs, sink and door in one.
type backend struct {
	algorithm string
	mu        sync.Mutex
	seq       uint64
	tell      func(*job.Job, bool)
	stored    atomic.Int64 // that were good, or should not have been stored
	blocks    atomic.Int64 // stored although they are below what was asked of them
	wins      atomic.Int64
}

func (b *backend) make(clean bool) *job.Job {
	b.seq++
	now := uint32(time.Now().Unix())
	return &job.Job{
		Network: "regtest", Seq: b.seq, Algorithm: b.algorithm, Version: 0x20000000, Prev: chain.DoubleSHA256([]byte{byte(b.seq)}),
		Bits: 0x207fffff, Time: now, MinTime: now - 600, Coinbase1: []byte("first half"), Coinbase2: []byte("second half"),
		Extranonce2Size: 4, Branches: []chain.Hash{{1}, {2}, {3}}, Clean: clean, IssuedAt: job.MomentOf(time.Now()),
	}
}

func (b *backend) next(clean bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.make(clean)
	if b.tell != nil {
		b.tell(j, false)
	}
}

func (b *backend) Watch(tell func(*job.Job, bool)) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tell = tell
	tell(b.make(true), false)
	return func() { b.mu.Lock(); b.tell = nil; b.mu.Unlock() }
}

func (b *backend) Put(_ context.Context, shares []job.Share) error {
	target, err := pow.TargetFromCompact(0x207fffff)
	for i := range shares {
		if s := &shares[i]; target.MetBy(s.Proof) && !s.Target.Target().MetBy(s.Proof) {
			b.blocks.Add(1)
		} else {
			b.stored.Add(1)
		}
	}
	return err
}

func (b *backend) Win(context.Context, job.Share) error { b.wins.Add(1); return nil }

func (b *backend) Admit(context.Context, stratum.Arrival) (stratum.Admission, error) {
	return stratum.Admission{Worker: 1}, nil
}

func open(t testing.TB, algorithm string, difficulty float64, change func(*stratum.Config)) (*backend, string) {
	t.Helper()
	b := &backend{algorithm: algorithm}
	cfg := stratum.Config{
		Frontend: 1, DrainTime: time.Millisecond, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Networks: []stratum.Network{{Name: "regtest", Chain: chain.BiblePayRegtest(), Algorithm: algorithm, Jobs: b, Sink: b, Door: b}},
		Ports: []stratum.Port{{
			Name: "t", Address: "127.0.0.1:0", Network: "regtest", Dialect: stratum.Template, StartDifficulty: difficulty,
			Vardiff: vardiff.Config{Min: difficulty, Max: difficulty},
		}},
		Limits: stratum.Limits{PerIP: 1 << 20, PerIPRate: 1e6, AcceptRate: 1e6},
	}
	if change != nil {
		change(&cfg)
	}
	srv, err := stratum.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b, srv.Addr("t").String()
}

func mine(t *testing.T, opt sim.Options) *sim.Stats {
	t.Helper()
	opt.Worker, opt.Pause = address+".rig", 10*time.Millisecond
	m, err := sim.NewMiner(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if opt.Shares > 0 && ctx.Err() != nil {
		t.Fatalf("not done in time: %+v", m.Stats().Snapshot())
	}
	return m.Stats()
}

func TestMinersOfEveryAlgorithmFindSharesThatAreTaken(t *testing.T) {
	for algorithm, difficulty := range map[string]float64{"sha256d": 1e-8, "x11": 1e-8, "scrypt": 1e-4} {
		t.Run(algorithm, func(t *testing.T) {
			b, at := open(t, algorithm, difficulty, nil)
			stats := mine(t, sim.Options{Pool: at, Algorithm: algorithm, Connections: 3, Shares: 30, HashRate: 1e6})
			got := stats.Snapshot()
			if len(got.Refused) != 0 || got.Accepted < 30 {
				t.Errorf("%+v", got)
			}
			if b.stored.Load() < got.Accepted || b.wins.Load() == 0 {
				t.Errorf("%d stored, %d blocks, %d accepted", b.stored.Load(), b.wins.Load(), got.Accepted)
			}
		})
	}
}

func TestOddButRightMinersLoseNoShare(t *testing.T) {
	for _, fault := range []sim.Fault{sim.UpperCase, sim.Split, sim.Resubscribe, sim.Reconnect} {
		t.Run(string(fault), func(t *testing.T) {
			_, at := open(t, "sha256d", 1e-8, nil)
			got := mine(t, sim.Options{Pool: at, Algorithm: "sha256d", Connections: 2, Shares: 20, Fault: fault, HashRate: 1e5}).Snapshot()
			if len(got.Refused) != 0 || got.Accepted < 20 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestEachWrongShareIsRefusedWithItsNumber(t *testing.T) {
	for fault, code := range map[sim.Fault]int{
		sim.Duplicate: 22, sim.LowShares: 23, sim.WrongTime: 20, sim.Malformed: 20, sim.Unauthorized: 24,
	} {
		t.Run(string(fault), func(t *testing.T) {
			b, at := open(t, "sha256d", 1e-8, nil)
			got := mine(t, sim.Options{Pool: at, Algorithm: "sha256d", Shares: 20, Fault: fault, HashRate: 1e5}).Snapshot()
			if got.Refused[code] < 9 || len(got.Refused) != 1 {
				t.Errorf("%+v", got)
			}
			if fault != sim.Duplicate && b.stored.Load() != 0 {
				t.Errorf("%d were stored", b.stored.Load())
			}
			if n := b.blocks.Load(); (n > 0) != (fault == sim.LowShares) {
				t.Errorf("%d blocks were stored", n)
			}
		})
	}
}

func TestSharesForOldJobsAreStaleOnceACleanOneHasCome(t *testing.T) {
	b, at := open(t, "sha256d", 1e-8, nil)
	m, err := sim.NewMiner(sim.Options{Pool: at, Worker: address + ".r", Algorithm: "sha256d", Fault: sim.OldJobs, HashRate: 1e5})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.Run(ctx) }()
	for m.Stats().Accepted.Load() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	b.next(true)
	for m.Stats().Refused[21].Load() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("%+v", m.Stats().Snapshot())
	}
	cancel()
	<-ended
}

// Honest miners beside hostile ones of every kind, under the limits of every day:
// all their shares are taken, every end of a connection has its reason, and the
// memory that was lent is back. How long it takes is a benchmark's business.
func TestHonestMinersLoseNothingToHostileOnes(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, at := open(t, "sha256d", 1e-8, func(c *stratum.Config) {
		c.Registerer = registry
		c.Limits = stratum.Limits{LineTimeout: 2 * time.Second, JunkPerIP: 200}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hostile sync.WaitGroup
	var all []*sim.Miner
	for i, fault := range []sim.Fault{
		sim.Junk, sim.HalfLine, sim.EndlessLine, sim.Nested, sim.Binary, sim.NeverReads, sim.LowShares, sim.Malformed, sim.Duplicate, sim.Reconnect, sim.Churn,
	} {
		m, err := sim.NewMiner(sim.Options{
			Pool: at, Worker: address + ".bad", Algorithm: "sha256d", Connections: 4, Fault: fault, HashRate: 2e4, Pause: time.Millisecond,
			From: netip.AddrFrom4([4]byte{127, 9, 9, byte(i)}), // each kind is banned for itself
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		hostile.Go(func() { _ = m.Run(ctx) })
	}
	// Not before every hostile machine has come once; most have come again by then.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var connects int64
		for _, m := range all {
			connects += m.Stats().Connects.Load()
		}
		if connects >= 40 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("only %d hostile connections", connects)
		}
	}
	got := mine(t, sim.Options{Pool: at, Algorithm: "sha256d", Connections: 4, Shares: 6000, HashRate: 1e5}).Snapshot()
	if len(got.Refused) != 0 || got.Connects != 4 {
		t.Errorf("%+v", got)
	}
	cancel()
	hostile.Wait()
	reasons := make(map[string]float64)
	sum := func(name string) (total float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				n := m.GetCounter().GetValue() + m.GetGauge().GetValue()
				total += n
				for _, l := range m.GetLabel() {
					if l.GetName() == "reason" && n > 0 {
						reasons[l.GetValue()] = n
					}
				}
			}
		}
		return total
	}
	const lent = 256 << 20
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		accepted, closed := sum("purepool_stratum_connections_accepted_total"), sum("purepool_stratum_connections_closed_total")
		if accepted == closed && sum("purepool_stratum_connections") == 0 && sum("purepool_stratum_memory_left_bytes") == lent {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v connections came, %v ended for a reason", accepted, closed)
		}
	}
	t.Logf("connections ended: %v", reasons)
	for _, reason := range []string{"junk", "line_too_long", "flood", "banned", "peer"} {
		if reasons[reason] == 0 {
			t.Errorf("none ended for %s", reason)
		}
	}
}

func TestLoadMeasuresSubmitsAndBroadcasts(t *testing.T) {
	b, at := open(t, "sha256d", 1e-12, nil)
	l, err := sim.NewLoad(sim.LoadOptions{
		Pool: at, Worker: address + ".l", Connections: 50, Pipeline: 8, Duration: 300 * time.Millisecond,
		Broadcasts: 3, NewJob: func() { b.next(true) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var refused int64
	for code, n := range r.Refused {
		if code != 23 { // one hash in 65,536 meets not even the lowest difficulty
			t.Errorf("%d refused with %d", n, code)
		}
		refused += n
	}
	if r.Accepted == 0 || refused > r.Accepted/1000+5 || b.stored.Load() != r.Accepted || r.Broadcast.Count != 150 || r.Lost != 0 {
		t.Errorf("%s; %d stored", r.JSON(), b.stored.Load())
	}
	paced, err := sim.NewLoad(sim.LoadOptions{
		Pool: at, Worker: address + ".p", Connections: 20, Pipeline: 8, Duration: 300 * time.Millisecond, Every: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := paced.Run(t.Context()); err != nil || p.Submit.Count < 60 || p.Submit.Count > 120 || p.Lost != 0 {
		t.Errorf("of 120 paced submits: %v, %v", p, err)
	}
	var table strings.Builder
	if _, err := r.WriteTo(&table); err != nil || strings.Count(table.String(), "\n") != 5 {
		t.Errorf("%s", table.String())
	}
}
