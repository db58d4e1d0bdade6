package vardiff_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"purepool/pool/vardiff"
)

// hashesPerShare is what difficulty 1 takes on average: 2^32.
const hashesPerShare = 1 << 32

const interval = 10 * time.Second

func control(t testing.TB) *vardiff.Control {
	t.Helper()
	c, err := vardiff.New(vardiff.Config{Interval: interval, Min: 1e-8, Max: 1e12})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// miner is a machine in simulated time. It takes up a new difficulty a little
// later than it was told, as real ones do.
type miner struct {
	rate     float64 // hashes per second
	lag      time.Duration
	rng      *rand.Rand
	c        *vardiff.Control
	s        vardiff.State
	now      time.Duration
	asked    float64 // what its current job asks
	takeUpAt time.Duration
	next     float64
	shares   int
	changes  []time.Duration
}

func newMiner(c *vardiff.Control, rate, start float64, seed uint64) *miner {
	m := &miner{rate: rate, lag: 300 * time.Millisecond, rng: rand.New(rand.NewPCG(seed, 7)), c: c}
	m.asked = c.Start(&m.s, start, 0)
	m.next = m.asked
	return m
}

// run mines until the given moment, with a sweep every five seconds.
func (m *miner) run(until time.Duration) {
	sweep := m.now.Truncate(5*time.Second) + 5*time.Second
	for m.now < until {
		wait := time.Duration(math.MaxInt64)
		if m.rate > 0 {
			seconds := m.rng.ExpFloat64() * m.asked * hashesPerShare / m.rate
			if seconds < 1e6 {
				wait = time.Duration(seconds * float64(time.Second))
			}
		}
		switch {
		case m.next != m.asked && m.takeUpAt <= min(m.now+wait, sweep): // memoryless: draw again after each event
			m.now, m.asked = m.takeUpAt, m.next
		case wait > sweep-m.now:
			m.now = sweep
			sweep += 5 * time.Second
			m.told(m.c.Sweep(&m.s, m.now))
		default:
			m.now += wait
			m.shares++
			m.told(m.c.Share(&m.s, m.asked, m.now))
		}
	}
	m.now = until
}

func (m *miner) told(difficulty float64, changed bool) {
	if changed {
		m.changes = append(m.changes, m.now)
		m.next, m.takeUpAt = difficulty, m.now+m.lag
	}
}

// share rate in parts of the wanted one, over a while from now on.
func (m *miner) rateOver(d time.Duration) float64 {
	before := m.shares
	m.run(m.now + d)
	return float64(m.shares-before) / (d.Seconds() / interval.Seconds())
}

func (m *miner) changesSince(t time.Duration) (n int) {
	for _, at := range m.changes {
		if at >= t {
			n++
		}
	}
	return n
}

func TestMinersFromKilohashToPetahashConvergeAndStay(t *testing.T) {
	for rate := 1e3; rate <= 1e15; rate *= 10 {
		for seed := range uint64(8) {
			t.Run(fmt.Sprintf("%.0eH/s/%d", rate, seed), func(t *testing.T) {
				const start = 1.0
				m := newMiner(control(t), rate, start, seed)
				right := rate * interval.Seconds() / hashesPerShare
				few := int(math.Ceil(math.Abs(math.Log(right/start))/math.Log(14))) + 3
				m.run(2 * time.Hour)
				if n := len(m.changes); n > few {
					t.Errorf("%d changes on the way, %d are enough", n, few)
				}
				settled := m.now
				if got := m.rateOver(6 * time.Hour); got < 0.5 || got > 2 {
					t.Errorf("%.2f of the wanted rate", got)
				}
				if d := m.s.Difficulty(); d < right/2 || d > right*2 {
					t.Errorf("difficulty %g, right is %g", d, right)
				}
				if n := m.changesSince(settled); n > 4 {
					t.Errorf("%d changes in six steady hours", n)
				}
			})
		}
	}
}

func TestFastMinerIsFoundWithinSecondsNotMinutes(t *testing.T) {
	m := newMiner(control(t), 1e15, 1, 1) // 230,000 shares a second at first
	m.run(2 * time.Minute)
	if got := m.rateOver(time.Hour); got < 0.5 || got > 2 {
		t.Errorf("%.2f of the wanted rate after two minutes", got)
	}
}

func TestSteadyMinersHardlyEverSeeAChange(t *testing.T) {
	changes, hours := 0, 0
	for seed := range uint64(40) {
		m := newMiner(control(t), 1e12, 1e12*interval.Seconds()/hashesPerShare, seed)
		m.run(24 * time.Hour)
		changes += len(m.changes)
		hours += 24
	}
	t.Logf("%d changes in %d hours", changes, hours)
	if perDay := float64(changes) / float64(hours) * 24; perDay > 1 {
		t.Errorf("%.2f changes a day at the right difficulty", perDay)
	}
}

func TestPauseLowersStepwiseAndResumingRecovers(t *testing.T) {
	m := newMiner(control(t), 1e12, 2000, 3)
	m.run(time.Hour)
	before := m.s.Difficulty()
	m.rate = 0
	m.run(m.now + 10*time.Minute)
	if d := m.s.Difficulty(); d >= before || d < before/math.Pow(16, 6) {
		t.Errorf("difficulty %g after ten silent minutes, %g before", d, before)
	}
	m.rate = 1e12
	m.run(m.now + 5*time.Minute)
	if got := m.rateOver(time.Hour); got < 0.5 || got > 2 {
		t.Errorf("%.2f of the wanted rate after the pause", got)
	}
}

func TestBurstsDoNotMakeItFlap(t *testing.T) {
	// The machine works two minutes in three, or its line holds shares back for
	// twenty seconds and delivers them at once.
	m := newMiner(control(t), 1e12, 2000, 5)
	for range 6 * 20 {
		m.rate = 1.5e12
		m.run(m.now + 20*time.Second)
		m.rate = 0
		m.run(m.now + 10*time.Second)
	}
	settled := m.now
	for range 6 * 20 {
		m.rate = 1.5e12
		m.run(m.now + 20*time.Second)
		m.rate = 0
		m.run(m.now + 10*time.Second)
	}
	if n := m.changesSince(settled); n > 4 {
		t.Errorf("%d changes in an hour of bursts", n)
	}
}

func TestMachinesThatJoinAndLeaveAConnectionAreFollowed(t *testing.T) {
	m := newMiner(control(t), 1e12, 2000, 9)
	for _, rate := range []float64{1e12, 8e12, 3e13, 2e12, 5e13, 1e11} {
		m.rate = rate
		before := m.now
		m.run(m.now + 30*time.Minute)
		if n := m.changesSince(before); n > 5 {
			t.Errorf("%g H/s: %d changes", rate, n)
		}
		if got := m.rateOver(time.Hour); got < 0.5 || got > 2 {
			t.Errorf("%g H/s: %.2f of the wanted rate", rate, got)
		}
	}
}

func TestEveryChangeStaysWithinStepFloorAndCeiling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := vardiff.Config{
			Interval: interval, Min: rapid.Float64Range(1e-9, 10).Draw(t, "min"), Max: rapid.Float64Range(10, 1e9).Draw(t, "max"),
		}
		c, err := vardiff.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var s vardiff.State
		floor := rapid.Float64Range(0, 1e10).Draw(t, "floor")
		s.SetFloor(floor)
		c.Start(&s, rapid.Float64().Draw(t, "start"), 0)
		now := time.Duration(0)
		for range 200 {
			before := s.Difficulty()
			now += time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "wait"))
			var got float64
			var changed bool
			if rapid.Bool().Draw(t, "share") {
				got, changed = c.Share(&s, rapid.Float64Range(1e-9, 1e12).Draw(t, "asked"), now)
			} else {
				got, changed = c.Sweep(&s, now)
			}
			if got != s.Difficulty() || changed != (got != before) {
				t.Fatalf("said %g %v, is %g, was %g", got, changed, s.Difficulty(), before)
			}
			if got > before*16*1.23 || got < before/16/1.23 {
				t.Fatalf("%g to %g in one step", before, got)
			}
			if got < cfg.Min || got > cfg.Max || got < math.Min(floor, cfg.Max) {
				t.Fatalf("%g is outside %g..%g, floor %g", got, cfg.Min, cfg.Max, floor)
			}
			if got != vardiff.Rung(got) && got != cfg.Min && got != cfg.Max {
				t.Fatalf("%g is no rung, no floor and no ceiling", got)
			}
		}
	})
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for _, cfg := range []vardiff.Config{
		{},
		{Min: 1},
		{Min: 2, Max: 1},
		{Min: math.NaN(), Max: 1},
		{Min: 1, Max: math.Inf(1)},
		{Min: 1, Max: 2, MaxStep: 1},
		{Min: 1, Max: 2, Hysteresis: 0.5},
		{Min: 1, Max: 2, Window: 2},
		{Min: 1, Max: 2, Interval: time.Microsecond},
	} {
		if _, err := vardiff.New(cfg); !errors.Is(err, vardiff.ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestMemoryIsBoundedAndKeepsTheRecent(t *testing.T) {
	m, err := vardiff.NewMemory[string](2, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m.Remember("a", 1, 0)
	m.Remember("b", 2, 0)
	m.Recall("a", time.Minute)
	m.Remember("c", 3, time.Minute)
	if _, ok := m.Recall("b", time.Minute); ok {
		t.Error("b was used least recently and is still there")
	}
	if d, ok := m.Recall("a", time.Hour); !ok || d != 1 {
		t.Error("a is gone")
	}
	if _, ok := m.Recall("a", time.Hour+time.Second); ok {
		t.Error("a is believed after its time")
	}
}
