package classic

import (
	"testing"
	"time"

	"purepool/sim/miner"
	"purepool/test/house"
)

// startLoad lets honest miners mine, with more patience than an outage has.
func startLoad(t *testing.T, h *house.House, miners int, interval time.Duration) *house.Load {
	t.Helper()
	c := client(t, h)
	c.Timeout = 15 * time.Second
	return h.Mine(miner.FleetOptions{
		Miner:  miner.Options{Client: c, Interval: interval, Retry: 100 * time.Millisecond},
		Miners: miners, Rigs: 4,
	})
}

// wantAllInTheLedgerOnce checks the promise: what was answered ok is in the
// ledger once, and credited, since all of it was honest.
func wantAllInTheLedgerOnce(t *testing.T, h *house.House, l *house.Load, within time.Duration) {
	t.Helper()
	taken := l.Until(time.Now())
	deadline := time.Now().Add(within)
	for {
		inLedger := proofs(t, h, `SELECT encode(proof, 'hex'), count(*) FROM purepool.share GROUP BY 1`)
		missing := 0
		for _, proof := range taken {
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
			t.Errorf("of %d shares answered ok %d are missing after %v, %d stand there twice", len(taken), missing, within, twice)
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
