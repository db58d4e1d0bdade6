package miner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/pool/chain"
	"purepool/sim/daemon"
)

// mineUntil runs a miner until it has been answered n times, and returns that.
func mineUntil(t *testing.T, opts Options, n int) []Sent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	var sent []Sent
	opts.OnSent = func(s Sent) {
		mu.Lock()
		defer mu.Unlock()
		if sent = append(sent, s); len(sent) >= n {
			cancel()
		}
	}
	m, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sent) < n {
		t.Fatalf("%d solutions of %d; %+v", len(sent), n, m.Stats().Snapshot())
	}
	return sent
}

func TestSoundSolutionsPassEveryCheck(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	sent := mineUntil(t, Options{Client: p.client(), Source: InProcess(p.node.Chain()), Threads: 2, Worker: "rig1"}, 20)
	for i := range sent {
		s := &sent[i]
		if !s.OK || !s.Expected || s.Err != nil || !strings.HasSuffix(s.Miner, "/rig1") {
			t.Errorf("%+v", s.Answer)
		}
		if reason, known := p.verdict(s.Solution); reason != "" || !known {
			t.Errorf("rejected: %s", reason)
		}
	}
	if asked := p.timesAsked(); asked != 1 {
		t.Errorf("work was asked for %d times, once was enough", asked)
	}
}

func TestEveryFaultIsWhatItSaysItIs(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	for i, f := range Faults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			for _, s := range mineUntil(t, Options{
				Client: p.client(), Source: InProcess(p.node.Chain()), FaultPerMille: 1000, Faults: []string{f.Name}, Seed: uint64(i),
			}, 4) {
				if s.Fault == "" { // the first of a pair
					continue
				}
				if !s.Expected {
					t.Errorf("answered %q", s.Answer.Error)
				}
				if f.Answer != "" {
					continue
				}
				if reason, _ := p.verdict(s.Solution); reason != f.Reason {
					t.Errorf("rejected as %q, the table says %q", reason, f.Reason)
				}
			}
		})
	}
}

func TestFaultNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] || f.Name == "" || f.Answer == "" && f.Reason == "" {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
	}
	if _, err := FaultByName("nothing"); err == nil || !strings.Contains(err.Error(), "high-nonce") {
		t.Errorf("%v", err)
	}
}

func TestMinersFindBlocksThroughTheirNodesRPC(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	d, stop, err := daemon.Start(daemon.Options{Bits: 0x2003ffff, History: 3, PoolAddress: p.node.PoolAddress()})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	user, password := d.Credentials()
	source := &RPC{URL: d.URL(), User: user, Password: password}
	changed := d.Chain().Changed()
	stats := new(Stats)
	sent := mineUntil(t, Options{Client: p.client(), Source: source, Stats: stats}, 3)
	<-changed
	tip := d.Chain().Tip()
	if tip.Recipient != p.node.PoolAddress() || tip.MinerGUID != testGUID || tip.Height < 4 {
		t.Errorf("tip: %+v", tip)
	}
	if sent[0].Solution.Block == nil || sent[0].Solution.Height != 3 {
		t.Errorf("the first solution is no block: height %d", sent[0].Solution.Height)
	}
	if s := stats.Snapshot(); s.Blocks < 1 || s.OK != 3 || s.Hashes < 3 {
		t.Errorf("%+v", s)
	}
}

func TestMinerWaitsForANodeAndAPoolThatAreAway(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	d, stop, err := daemon.Start(daemon.Options{Faults: []daemon.Fault{{Kind: daemon.FaultRefuse}}, AdminListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	user, password := d.Credentials()
	tries := 0
	p.answer = func(string) (string, bool) {
		tries++
		if tries == 8 {
			if err := d.SetFaults(); err != nil {
				t.Error(err)
			}
		}
		return refuse("try later, work 01234567890123456789x"), tries < 8
	}
	stats := new(Stats)
	mineUntil(t, Options{
		Client: p.client(), Source: &RPC{URL: d.URL(), User: user, Password: password}, Retry: time.Millisecond, Stats: stats,
	}, 1)
	s := stats.Snapshot()
	if s.WorkAsked != 8 || s.WorkGiven != 1 || s.Refused["no work: try later, work …"] != 7 || s.OK != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedMinerAsksForNewWork(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	refusals := 2
	p.answer = func(action string) (string, bool) {
		if action != "solution" || refusals == 0 {
			return "", false
		}
		refusals--
		return refuse("Work has expired"), true
	}
	stats := new(Stats)
	mineUntil(t, Options{Client: p.client(), Source: InProcess(p.node.Chain()), Stats: stats}, 4)
	if s := stats.Snapshot(); p.timesAsked() != 3 || s.Unexpected != 2 || s.Refused["Work has expired"] != 2 || s.OK != 2 || s.Miners != 0 {
		t.Errorf("asked %d times; %+v", p.timesAsked(), s)
	}
}

func TestFleetJoinsAndLeaves(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	names := map[string]int{}
	f, err := NewFleet(FleetOptions{
		Miner: Options{
			Client: p.client(), Source: InProcess(p.node.Chain()), Interval: time.Millisecond, FaultPerMille: 200,
			OnSent: func(s Sent) {
				mu.Lock()
				defer mu.Unlock()
				if names[s.Miner]++; len(names) >= 9 {
					cancel()
				}
			},
		},
		Miners: 6, Rigs: 2, Churn: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.Join() == nil {
		t.Error("somebody joined a fleet that does not run")
	}
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	s := f.Stats().Snapshot()
	if s.Miners != 0 || s.OK == 0 || s.Unexpected != 0 || f.Leave() || f.Join() == nil {
		t.Errorf("%+v", s)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(names) < 9 {
		t.Errorf("%d miners were there, six at once and more after them: %v", len(names), names)
	}
	addresses := map[string]int{}
	for name := range names {
		address, _, _ := strings.Cut(name, "/")
		addresses[address]++
	}
	for address, n := range addresses {
		if n > 2 {
			t.Errorf("%d rigs at %s", n, address)
		}
	}
}

func TestSameSeedMakesTheSameMiners(t *testing.T) {
	t.Parallel()
	c, _ := NewClient("127.0.0.1:1")
	name := func(seed uint64, number int) string {
		f, err := NewFleet(FleetOptions{Miner: Options{Client: c, Source: InProcess(nil), Seed: seed}, Rigs: 2})
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.next(number)
		if err != nil {
			t.Fatal(err)
		}
		return m.Name()
	}
	first, again := name(1, 4), name(1, 4)
	if first != again || name(1, 4) == name(2, 4) || name(1, 4) == name(1, 6) || name(1, 5) != name(1, 4)+"/rig1" {
		t.Error(name(1, 4), name(2, 4), name(1, 5), name(1, 6))
	}
}

func TestAddressesAreValidOnTheirNetworkAlone(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	main, test := chain.BiblePayMain(), chain.BiblePayTest()
	for range 100 {
		a := RandomAddress(rng, main)
		if _, err := chain.DecodeAddress(a, main); err != nil || a[0] != 'B' || len(a) != 34 {
			t.Fatal(a, err)
		}
		if _, err := chain.DecodeAddress(a, test); err == nil {
			t.Fatal(a)
		}
		if a := RandomAddress(rng, test); a[0] != 'y' {
			t.Fatal(a)
		}
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	c, _ := NewClient("127.0.0.1:1")
	good := Options{Client: c, Source: InProcess(nil)}
	for i, spoil := range []func(*Options){
		func(o *Options) { o.Client = nil },
		func(o *Options) { o.Source = nil },
		func(o *Options) { o.Network = "prod" },
		func(o *Options) { o.Address = "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH" },
		func(o *Options) { o.FaultPerMille = 1001 },
		func(o *Options) { o.Interval = -1 },
		func(o *Options) { o.Faults = []string{"odd"} },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("case %d was taken", i)
		}
	}
	if _, err := NewFleet(FleetOptions{Miner: good, Miners: -1}); err == nil {
		t.Error("a negative fleet was taken")
	}
}

func TestReplaySendsTheRecordedBytes(t *testing.T) {
	t.Parallel()
	p := newTestPool(t)
	var got string
	p.answer = func(action string) (string, bool) {
		got = action
		return fmt.Sprintf("<RESPONSE><STATUS>ok</STATUS><WORKID>%s</WORKID></RESPONSE><END></HTML>", daemon.Recorded().WorkID()), true
	}
	answer, err := Replay(t.Context(), p.client())
	if err != nil || !answer.OK() || got != "solution" {
		t.Errorf("%+v %v", answer, err)
	}
}
