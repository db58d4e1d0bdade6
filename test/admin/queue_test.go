package admin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"purepool/internal/backup"
	"purepool/pool/queue"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// TestSharesThatWaitedWhenTheBackupWasMadeAreCreditedOnceAfterTheRestore backs a
// running pool up whose daemon is away, so that shares wait in its queue.
func TestSharesThatWaitedWhenTheBackupWasMadeAreCreditedOnceAfterTheRestore(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	y := &yard{root: t, t: t, config: h.Config, dir: newFolder(t)}
	p := h.Run("all")
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: 10 * time.Millisecond}, Miners: 1})
	h.Eventually("shares are credited", 30*time.Second, func() bool { return h.Count(`SELECT count(*) FROM purepool.share`) >= 5 })
	must(t, h.Daemon.SetFaults(daemon.Fault{Kind: daemon.FaultRefuse}))
	taken := l.Counts().OK
	h.Eventually("shares wait in the queue", 30*time.Second, func() bool { return l.Counts().OK >= taken+20 })
	all := l.Stop().OK // and perhaps one more, of which the miner did not wait for the answer
	y.wants(y.purepool(1, "admin", "status", "--quiet", "0s"), "the daemon does not answer", "network test")

	dump := filepath.Join(y.dir, "dump")
	out := y.purepool(0, "admin", "backup", dump)
	y.wants(out, "made: dump")
	m, err := backup.Verify(dump)
	must(t, err)
	if m.Queue[house.Network] == 0 {
		t.Fatalf("no share waits in the backup: %s", out)
	}
	y.wants(y.purepool(1, "admin", "restore", dump, "--reason", "a drill"), "a pool is running")
	p.Stop()

	// Another server, another folder: nothing of the old one is used.
	must(t, h.Cluster.EnsureDatabase(t.Context(), "again"))
	text, err := os.ReadFile(h.Config)
	must(t, err)
	folder := filepath.Join(h.Dir, "again")
	moved := strings.NewReplacer("dbname='purepool'", "dbname='again'", h.Dir+"/queue", folder+"/queue", h.Dir+"/spool", folder+"/spool").Replace(string(text))
	if strings.Count(moved, "'again'") < 4 {
		t.Fatalf("the configuration is not what this test thinks:\n%s", moved)
	}
	must(t, os.WriteFile(h.Config, []byte(moved), 0o600))
	y.wants(y.purepool(0, "admin", "restore", dump, "--reason", "a drill"), "restored the state of", "envelope")
	must(t, h.Daemon.SetFaults())
	accounted := func() int64 {
		var n int64
		must(t, again(t, h, `SELECT (SELECT count(*) FROM purepool.share) + (SELECT count(*) FROM purepool.rejected_share)`, &n))
		return n
	}
	p = h.Run("all")
	h.Eventually("every share that was answered ok is in the ledger", 30*time.Second, func() bool { return accounted() >= all })
	p.Stop()

	// The same envelopes once more: the ledger knows them.
	broker, err := queue.Open(t.Context(), queue.Config{URL: "embedded:" + folder + "/queue"})
	must(t, err)
	must(t, broker.Provision(t.Context(), house.Network))
	n, err := backup.RestoreQueue(t.Context(), dump, &m, broker, broker.DeadLetters())
	must(t, err)
	must(t, broker.Close())
	p = h.Run("all")
	h.Eventually("they were all judged again", 30*time.Second, func() bool {
		return strings.Contains(y.purepool(1, "admin", "status", "--quiet", "0s", "--json"), `"queue":{"envelopes":0`)
	})
	if got := accounted(); got < all || got > all+1 {
		t.Errorf("%d envelopes came twice, and made %d shares of %d", n, got, all)
	}
	p.Stop()
}

func again(t *testing.T, h *house.House, query string, into any) error {
	t.Helper()
	db, err := openDB(h.Cluster.DSN("postgres", "again"))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(into); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	return nil
}
