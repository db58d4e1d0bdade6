// Package classic tests the classic pool as a whole: the program in processes of
// its own, a real Postgres, a real broker, and a simulated daemon, since no real
// one of that age can be had.
package classic

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/pow"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client speaks to the house as a real client does.
func client(t testing.TB, h *house.House) *miner.Client {
	t.Helper()
	c, err := miner.NewClient(h.HTTP)
	must(t, err)
	return c
}

// backendStore opens the ledger as the backend does.
func backendStore(t testing.TB, h *house.House) *ledger.BackendStore {
	t.Helper()
	store, err := ledger.OpenBackend(t.Context(), h.Cluster.DSN(ledger.RoleBackend, "purepool"), ledger.Options{})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// importWork writes the miner and work of a recording down.
func importWork(t testing.TB, h *house.House, network, address, guid, worker, work, target string) {
	t.Helper()
	store := backendStore(t, h)
	ids, err := store.Networks(t.Context())
	must(t, err)
	bound, err := pow.ParseTarget(target)
	must(t, err)
	must(t, store.ImportWork(t.Context(), address, uuid.MustParse(guid), worker, ledger.Work{
		ID: uuid.MustParse(work), NetworkID: ids[network], HashTarget: bound, IssuedAt: time.Now(),
	}))
}

// credited counts the credited shares.
func credited(h *house.House) int64 { return h.Count(`SELECT count(*) FROM purepool.share`) }

func TestRealSolutionOf2018BecomesACreditedShare(t *testing.T) {
	recording := daemon.Recorded()
	h := house.New(t, house.Options{
		Daemon:     daemon.Options{StandAtRecorded: true},
		HashTarget: "0000011110000000000000000000000000000000000000000000000000000000",
	})
	importWork(t, h, "test", "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop", recording.MinerGUID(), "Default", recording.WorkID(),
		"0000011110000000000000000000000000000000000000000000000000000000")
	h.Run("all")
	answer, err := miner.Replay(t.Context(), client(t, h))
	must(t, err)
	want := "<RESPONSE><STATUS>ok</STATUS><WORKID>" + recording.WorkID() + "</WORKID></RESPONSE><END>" // where the client stops reading
	if !strings.HasSuffix(answer.Text, "\r\n\r\n"+want) {
		t.Errorf("answered %q", answer.Text)
	}
	h.Eventually("the share stands in the ledger", 10*time.Second, func() bool { return credited(h) == 1 })
	var proof, solution, guid string
	var height, weight int64
	must(t, h.DB.QueryRowContext(t.Context(), `
		SELECT encode(s.proof, 'hex'), s.height, s.weight, convert_from(t.solution, 'UTF8'), m.guid
		FROM purepool.share s
		JOIN purepool.share_solution t ON t.share_id = s.id
		JOIN purepool.miner m ON m.id = s.miner_id`).Scan(&proof, &height, &weight, &solution, &guid))
	if proof != recording.Fields[4] || height != 19309 || solution != recording.Solution || guid != recording.MinerGUID() {
		t.Errorf("share %s at %d of %s", proof, height, guid)
	}
	if weight != 15728880 { // 2^256 / (0x0000011110… + 1), rounded down
		t.Errorf("weight %d", weight)
	}

	// The same bytes again are a share that is known.
	again, err := miner.Replay(t.Context(), client(t, h))
	must(t, err)
	if !strings.Contains(again.Error, "BibleHashAlreadyKnown") {
		t.Errorf("answered %q", again.Text)
	}
	h.Eventually("the second one stands there as rejected", 10*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.rejected_share WHERE reason = 'BibleHashAlreadyKnown'`) == 1
	})
	if n := credited(h); n != 1 {
		t.Errorf("credited %d times", n)
	}
}

// Each way in which a solution can be wrong gets the answer and stands in the
// ledger under the name that docs/PROTOCOL.md gives it: hazards V1, V2, V3, V8,
// V9, V10, V12 and the holes that the original left open.
func TestEveryFaultIsNamedInTheAnswerOrTheLedger(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{
		Network: "test", BaseHeight: 1000, History: 3, Bits: 0x1d00ffff, // blocks are out of reach: the tip stands still
	}})
	h.Run("all")
	for n, fault := range miner.Faults() {
		t.Run(fault.Name, func(t *testing.T) {
			before := h.Count(`SELECT count(*) FROM purepool.rejected_share WHERE reason = $1`, fault.Reason)
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			sent := make(chan miner.Sent, 100)
			m, err := miner.New(miner.Options{
				Client: client(t, h), Source: miner.InProcess(h.Daemon.Chain()), Network: "test",
				FaultPerMille: 1000, Faults: []string{fault.Name}, Interval: time.Hour, Seed: uint64(n), // each its own: the same solution twice is another fault
				OnSent: func(s miner.Sent) { sent <- s },
			})
			must(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = m.Run(ctx)
			}()
			wrong := 0
			for wrong == 0 {
				select {
				case s := <-sent:
					if s.Err != nil {
						t.Fatal(s.Err)
					}
					if !s.Expected {
						t.Errorf("answered %q", s.Answer.Text)
					}
					if s.Fault != "" {
						wrong++
					}
				case <-ctx.Done():
					t.Fatal("nothing was sent")
				}
			}
			stop()
			<-done
			if fault.Reason == "" {
				return
			}
			h.Eventually("rejected as "+fault.Reason, 10*time.Second, func() bool {
				return h.Count(`SELECT count(*) FROM purepool.rejected_share WHERE reason = $1`, fault.Reason) > before
			})
		})
	}
}

func TestMinersOfAHealthyPoolAreCreditedForEveryShare(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: "test", BlockInterval: 3 * time.Second, Bits: 0x1e00ffff}})
	h.Run("all")
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: 50 * time.Millisecond}, Miners: 10, Rigs: 2})
	time.Sleep(8 * time.Second)
	counts := l.Stop()
	if counts.OK < 100 || counts.Unexpected != 0 {
		t.Fatalf("fleet: %+v", counts)
	}
	h.Eventually("every share is judged", 20*time.Second, func() bool {
		return credited(h)+h.Count(`SELECT count(*) FROM purepool.rejected_share`) >= counts.OK
	})
	if n := h.Count(`SELECT count(*) FROM purepool.rejected_share`); n != 0 {
		rows, err := h.DB.QueryContext(t.Context(), `SELECT reason, detail, count(*) FROM purepool.rejected_share GROUP BY 1, 2`)
		must(t, err)
		for rows.Next() {
			var reason, detail string
			var n int
			_ = rows.Scan(&reason, &detail, &n)
			t.Logf("%d × %s %s", n, reason, detail)
		}
		t.Errorf("%d of %d honest shares rejected", n, counts.OK)
	}
	if n := h.Count(`SELECT sum(shares) FROM purepool.share_minute`); n != credited(h) {
		t.Errorf("roll-ups count %d shares of %d", n, credited(h))
	}
}
