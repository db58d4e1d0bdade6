package classic

import (
	"context"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"purepool/sim/miner"
	"purepool/test/house"
)

// load is honest miners at work, and every share of theirs that was answered ok.
type load struct {
	mu      sync.Mutex
	ok      map[string]time.Time // proof to the time of the answer
	refused map[string]int       // by text
	failed  int                  // no answer came

	stop func() miner.Snapshot
}

// startLoad lets honest miners mine until stop.
func startLoad(t *testing.T, h *house.House, miners int, interval time.Duration) *load {
	t.Helper()
	l := &load{ok: map[string]time.Time{}, refused: map[string]int{}}
	c := client(t, h)
	c.Timeout = 15 * time.Second
	fleet, err := miner.NewFleet(miner.FleetOptions{
		Miner: miner.Options{
			Client: c, Source: miner.InProcess(h.Daemon.Chain()), Network: "test",
			Interval: interval, Retry: 100 * time.Millisecond, OnSent: l.note,
		},
		Miners: miners, Rigs: 4,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = fleet.Run(ctx)
	}()
	l.stop = sync.OnceValue(func() miner.Snapshot {
		cancel()
		<-done
		return fleet.Stats().Snapshot()
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) note(s miner.Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.Err != nil:
		l.failed++
	case s.OK:
		l.ok[hex.EncodeToString(s.Solution.Proof[:])] = time.Now()
	default:
		l.refused[s.Answer.Error]++
	}
}

// taken is the number of shares that were answered ok.
func (l *load) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ok)
}

// wantAllInTheLedgerOnce checks the promise: what was answered ok is in the
// ledger once, and credited, since all of it was honest.
func (l *load) wantAllInTheLedgerOnce(t *testing.T, h *house.House, within time.Duration) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	deadline := time.Now().Add(within)
	for {
		inLedger := proofs(t, h, `SELECT encode(proof, 'hex'), count(*) FROM purepool.share GROUP BY 1`)
		missing := 0
		for proof := range l.ok {
			if inLedger[proof] == 0 {
				missing++
			}
		}
		if missing > 0 && time.Now().Before(deadline) {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		twice := 0
		for _, n := range inLedger {
			if n > 1 {
				twice++
			}
		}
		if missing > 0 || twice > 0 {
			t.Errorf("of %d shares answered ok %d are missing after %v, %d stand there twice", len(l.ok), missing, within, twice)
			for reason, n := range proofs(t, h, `SELECT reason, count(*) FROM purepool.rejected_share GROUP BY 1`) {
				t.Logf("rejected: %d × %s", n, reason)
			}
		}
		// One statement sees one moment, and at every moment the two agree.
		if off := h.Count(`SELECT (SELECT coalesce(sum(shares), 0) FROM purepool.share_minute) - (SELECT count(*) FROM purepool.share)`); off != 0 {
			t.Errorf("roll-ups count %d shares more than the ledger holds", off)
		}
		return
	}
}

// wantNoneRejected checks that no honest share was rejected, whatever was away.
// A share that was handed in again because its answer was lost may be known.
func wantNoneRejected(t *testing.T, h *house.House) {
	t.Helper()
	for reason, n := range proofs(t, h, `SELECT reason, count(*) FROM purepool.rejected_share WHERE reason <> 'BibleHashAlreadyKnown' GROUP BY 1`) {
		t.Errorf("%d honest shares rejected: %s", n, reason)
	}
}

func proofs(t *testing.T, h *house.House, query string) map[string]int {
	t.Helper()
	rows, err := h.DB.QueryContext(t.Context(), query)
	must(t, err)
	defer rows.Close()
	found := map[string]int{}
	for rows.Next() {
		var proof string
		var n int
		must(t, rows.Scan(&proof, &n))
		found[proof] = n
	}
	must(t, rows.Err())
	return found
}
