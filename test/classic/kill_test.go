package classic

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/test/house"
)

var kills = flag.Int("kills", 100, "how often the program is killed under load")

// Acknowledged means durable: whatever process is killed at whatever moment,
// each share that was answered ok is in the ledger, once. Hazard V6: the
// original's worker lost the share in its hands.
//
// Two pools share the kills: one of them starts while the other works.
func TestSharesSurviveAHundredKills(t *testing.T) {
	for pool := range uint64(2) {
		t.Run(fmt.Sprintf("pool%d", pool), func(t *testing.T) {
			t.Parallel()
			survivesKills(t, (*kills+1)/2, pool)
		})
	}
}

func survivesKills(t *testing.T, kills int, seed uint64) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: "test", Bits: 0x1d00ffff, BlockInterval: 20 * time.Second}})
	l := startLoad(t, h, 12, 20*time.Millisecond)
	rng := rand.New(rand.NewPCG(2018, seed))
	for range kills {
		p := h.Run("all")
		time.Sleep(time.Duration(rng.Int64N(int64(700 * time.Millisecond))))
		p.Kill()
	}
	h.Run("all")
	counts := l.Stop()
	t.Logf("%d kills: %d shares sent, %d answered ok, requests without an answer: %v", kills, counts.Sent, counts.OK, counts.Failed)
	if l.Taken() < 10*kills {
		t.Fatalf("only %d shares were taken: the test shows nothing", l.Taken())
	}
	wantAllInTheLedgerOnce(t, h, l, time.Minute)
	wantNoneRejected(t, h)
}
