package admin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"purepool/internal/testkit"
)

// TestNothingIsPaidTwiceAfterTheBooksWereRestoredToAnEarlierMoment loses the
// database after payments that its backup does not know, and gets it back in both
// ways that docs/BACKUP.md tells, with a real wallet that has paid meanwhile.
func TestNothingIsPaidTwiceAfterTheBooksWereRestoredToAnEarlierMoment(t *testing.T) {
	y := &yard{root: t, t: t, dir: newFolder(t)}
	y.miners = newNode(t)
	y.pool = newNode(t, y.miners)
	y.mine(120, y.pool.Address())
	archive := filepath.Join(y.dir, "archive")
	must(t, os.Mkdir(archive, 0o777))
	must(t, os.Chmod(archive, 0o777))
	y.start(filepath.Join(y.dir, "first"), "postgres", archived(archive))
	must(t, y.cluster.EnsureDatabase(t.Context(), "purepool"))
	y.use("purepool")
	y.purepool(0, "migrate")

	// Before the backup: a payment that all know.
	alice, bob := y.miner(), y.miner()
	y.owe(alice, "5", "a1")
	y.settle()
	base := filepath.Join(y.dir, "base")
	y.wants(y.purepool(0, "admin", "backup", base, "--base"), "made: base")
	y.wants(y.purepool(1, "admin", "backup", base, "--base"), "is not empty", "never written over")

	// After the backup and before the moment: a plan.
	y.owe(alice, "7", "a2")
	y.wants(y.purepool(0, "admin", "payment", "plan"), "1 payment planned")
	var moment string
	must(t, y.db.QueryRowContext(t.Context(), `SELECT now()::text`).Scan(&moment))
	time.Sleep(50 * time.Millisecond)

	// After the moment, and lost with the database: the plan is given up, the same
	// balance is paid with Bob's by another payment, and a miner comes who is paid too.
	y.purepool(0, "admin", "payment", "cancel", "2", "--reason", "a drill")
	y.owe(bob, "3", "b1")
	y.settle()
	carol := y.miner()
	y.owe(carol, "11", "c1")
	y.settle()
	_, err := y.db.ExecContext(t.Context(), `SELECT pg_switch_wal()`)
	must(t, err)
	sent := y.sends()
	y.wantReceived(alice, 12, 2)
	must(t, y.cluster.Halt(t.Context()))

	t.Run("to a point in time", func(t *testing.T) {
		y.t = t
		y.recoverTo(moment, base, archive)
		y.wants(y.purepool(1, "admin", "status", "--no-queue", "--quiet", "0s"), "restored or moved", "purepool admin payment reconcile")
		// By itself the payer rebuilds, and waits, should the old one still be paying.
		y.wants(y.pay(0), "all payments are held", "restored, moved or taken over")
		out := y.purepool(0, "admin", "payment", "reconcile", "--now", "--reason", "the old server is off")
		y.wants(out, "1 plan taken back", "payments may be made")
		y.settle()
		y.wantNothingNew(sent)
		y.wantReceived(alice, 12, 2)
		y.wantReceived(bob, 3, 1)
		y.wantReceived(carol, 11, 1)
		// What was owed after the moment is forgotten with it, what was paid is not.
		for who, want := range map[string]int64{alice: 0, bob: -3 * coin, carol: -11 * coin} {
			if got := y.balance(who); got != want {
				t.Errorf("%s has %d satoshis, want %d", who, got, want)
			}
		}
		y.wants(y.purepool(0, "admin", "audit"), ": clean")
		y.wants(y.purepool(0, "admin", "log", "--action", "rebuild"), "rebuild payment from the wallet")
		y.wants(y.purepool(0, "admin", "payment", "reconcile"), "0 payments rebuilt", "payments may be made")
	})

	t.Run("from a dump", func(t *testing.T) {
		y.t = t
		// The corrections are made again, as an operator would.
		y.owe(bob, "3", "b1")
		y.owe(carol, "11", "c1")
		dump := filepath.Join(y.dir, "dump")
		y.wants(y.purepool(0, "admin", "backup", dump), "made: dump")
		y.owe(bob, "4", "b2")
		y.settle()
		// A person pays Carol by hand, without a tag: nobody can know what that was.
		var txid string
		y.pool.Call("sendtoaddress", &txid, carol, 2)
		y.mine(3, y.miners.Address())
		sent := y.sends()

		y.wants(y.purepool(1, "admin", "restore", dump, "--reason", "a drill"), "holds a pool already")
		must(t, y.cluster.EnsureDatabase(t.Context(), "again"))
		y.use("again")
		y.wants(y.purepool(0, "admin", "restore", dump, "--reason", "a drill"), "restored the state of", "all payments are held")
		y.wants(y.pay(1), "has no tag", txid)
		y.wants(y.purepool(1, "admin", "status", "--no-queue", "--quiet", "0s"), "all payments are held")
		out := y.purepool(1, "admin", "payment", "reconcile", "--now", "--reason", "a drill")
		y.wants(out, "unknown: "+txid, "all payments are held")
		y.wants(y.purepool(1, "admin", "payment", "reconcile", "--ignore", txid), "needs a --reason")
		y.wants(y.purepool(1, "admin", "payment", "reconcile", "--ignore", "xyz", "--reason", "a drill"), "64 hex digits")
		y.wants(y.purepool(0, "admin", "payment", "reconcile", "--ignore", txid, "--now", "--reason", "a gift"), "payments may be made")
		y.settle()
		y.wantNothingNew(sent)
		y.wantReceived(bob, 7, 2)
		y.wants(y.purepool(0, "admin", "audit"), ": clean")

		// New payments go on as ever.
		y.owe(bob, "9", "b3") // 4 of it are what the dump had forgotten
		y.settle()
		y.wantReceived(bob, 12, 3)
		if n := y.sends(); n != sent+1 {
			t.Errorf("%d transactions, want %d", n, sent+1)
		}
		y.wants(y.purepool(0, "admin", "audit"), ": clean")
	})

	t.Run("a damaged backup is refused", func(t *testing.T) {
		y.t = t
		dump := filepath.Join(y.dir, "dump")
		y.wants(y.purepool(0, "admin", "backup", dump, "--verify"), "is whole")
		toc := filepath.Join(dump, "database", "toc.dat")
		content, err := os.ReadFile(toc)
		must(t, err)
		content[len(content)/2] ^= 1
		must(t, os.WriteFile(toc, content, 0o600))
		y.wants(y.purepool(1, "admin", "restore", dump, "--reason", "a drill"), "database/toc.dat was changed", "the backup is damaged")
		y.wants(y.purepool(1, "admin", "restore", t.TempDir(), "--reason", "a drill"), "holds no whole backup")
	})
}

// recoverTo brings a copy of the server's files back as it was at a moment, as
// docs/BACKUP.md tells.
func (y *yard) recoverTo(moment, base, archive string) {
	y.t.Helper()
	folder := filepath.Join(y.dir, "second")
	must(y.t, os.Mkdir(folder, 0o755))
	data := filepath.Join(folder, "data")
	must(y.t, os.CopyFS(data, os.DirFS(filepath.Join(base, "database"))))
	must(y.t, os.Chmod(data, 0o700))
	must(y.t, os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o600))
	own(y.t, data, filepath.Join(y.dir, "first", "data"))
	y.start(folder, "purepool", map[string]string{
		"restore_command":      fmt.Sprintf("cp %s/%%f %%p", archive),
		"recovery_target_time": moment, "recovery_target_action": "promote",
	})
	testkit.Eventually(y.t, "the recovery is over", time.Minute, func() bool {
		var going bool
		return y.db.QueryRowContext(y.t.Context(), `SELECT pg_is_in_recovery()`).Scan(&going) == nil && !going
	})
	var payments int
	must(y.t, y.db.QueryRowContext(y.t.Context(), `SELECT count(*) FROM payment`).Scan(&payments))
	if payments != 2 {
		y.t.Fatalf("%d payments in the recovered books, want 2: the moment was missed", payments)
	}
}

// wantNothingNew checks that the wallet has sent nothing more.
func (y *yard) wantNothingNew(sent int) {
	y.t.Helper()
	if n := y.sends(); n != sent {
		y.t.Errorf("the wallet has sent %d transactions, it were %d before the restore:\n%s", n, sent, strings.TrimSpace(y.purepool(0, "admin", "payment", "list")))
	}
}
