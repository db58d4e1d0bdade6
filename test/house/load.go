package house

import (
	"context"
	"encoding/hex"
	"maps"
	"sync"
	"testing"
	"time"

	"purepool/sim/miner"
)

// Load is honest miners at work, and every share of theirs that was answered ok.
// Safe for concurrent use.
type Load struct {
	mu      sync.Mutex
	ok      map[string]time.Time // proof to the time of the answer
	last    time.Time            // of an answer
	refused map[string]int       // by text
	failed  int                  // no answer came

	stats *miner.Stats
	stop  func() miner.Snapshot
}

// Mine lets a fleet mine on the house's classic network until Stop. Client, Source
// and Network are the house's where the options name none.
func (h *House) Mine(opts miner.FleetOptions) *Load {
	h.t.Helper()
	if opts.Miner.Client == nil {
		client, err := miner.NewClient(h.HTTP)
		must(h.t, err)
		opts.Miner.Client = client
	}
	if opts.Miner.Source == nil {
		opts.Miner.Source = miner.InProcess(h.Daemon.Chain())
	}
	if opts.Miner.Network == "" {
		opts.Miner.Network = Network
	}
	return StartLoad(h.t, opts)
}

// StartLoad lets a fleet mine until Stop, at the latest until the test ends.
func StartLoad(t testing.TB, opts miner.FleetOptions) *Load {
	t.Helper()
	l := &Load{ok: map[string]time.Time{}, refused: map[string]int{}}
	onSent := opts.Miner.OnSent
	opts.Miner.OnSent = func(s miner.Sent) {
		l.note(s)
		if onSent != nil {
			onSent(s)
		}
	}
	fleet, err := miner.NewFleet(opts)
	must(t, err)
	l.stats = fleet.Stats()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	l.stop = sync.OnceValue(func() miner.Snapshot {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("miners: %v", err)
		}
		return l.Counts()
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *Load) note(s miner.Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.Err != nil:
		l.failed++
	case s.OK:
		l.last = time.Now()
		l.ok[hex.EncodeToString(s.Solution.Proof[:])] = l.last
	default:
		l.refused[s.Answer.Error]++
	}
}

// Counts is what the miners have counted until now.
func (l *Load) Counts() miner.Snapshot { return l.stats.Snapshot() }

// Stop ends the miners, waits for them and returns what they have counted.
func (l *Load) Stop() miner.Snapshot { return l.stop() }

// Taken is the number of shares that were answered ok.
func (l *Load) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ok)
}

// Unanswered is the number of shares to which no answer came.
func (l *Load) Unanswered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Refused is the number of shares that were refused, by the text of the answer.
func (l *Load) Refused() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refused)
}

// AnsweredAfter reports whether a share was answered ok after a moment.
func (l *Load) AnsweredAfter(moment time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.After(moment)
}

// Until returns the proofs, in hexadecimal, of the shares that were answered ok
// until a moment.
func (l *Load) Until(moment time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var proofs []string
	for proof, at := range l.ok {
		if !at.After(moment) {
			proofs = append(proofs, proof)
		}
	}
	return proofs
}
