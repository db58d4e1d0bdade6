package admin

import (
	"os"
	"path/filepath"
	"testing"

	"purepool/sim/daemon"
	"purepool/test/house"
)

// TestBooksOfTheOriginalAreTakenOverFromADump is the move as docs/MIGRATING.md
// tells it, from a file.
func TestBooksOfTheOriginalAreTakenOverFromADump(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	y := &yard{root: t, t: t, config: h.Config}
	script, err := os.ReadFile(filepath.Join("..", "..", "ledger", "importer", "testdata", "original.sql"))
	must(t, err)
	dump := filepath.Join(t.TempDir(), "original.sql")
	must(t, os.WriteFile(dump, script, 0o600))

	y.wants(y.purepool(2, "admin", "import-original", "--dump", dump), "missing flags: --reason")
	y.wants(y.purepool(1, "admin", "import-original", "--reason", "the move"), "--from DSN or --dump FILE")
	y.wants(y.purepool(1, "admin", "import-original", "--dump", dump+"x", "--reason", "the move"), "no such file")
	y.wants(y.purepool(1, "admin", "import-original", "--from", h.Cluster.DSN("postgres", "purepool"), "--reason", "the move"),
		"miner_miner", "is it the original's database")
	// The house serves the network test alone.
	y.wants(y.purepool(1, "admin", "import-original", "--dump", dump, "--reason", "the move"), `network "main" of the original is not configured here`, "--skip main")
	args := []string{"admin", "import-original", "--dump", dump, "--skip", "main", "--reason", "the move"}
	y.wants(y.purepool(0, append(args, "--dry-run")...), "balances 7.50000000 coins", "nothing was written")
	if n := h.Count(`SELECT count(*) FROM purepool.miner`); n != 0 {
		t.Errorf("%d miners after a dry run", n)
	}
	y.wants(y.purepool(0, args...), "1 miner (1 new)", "balances 7.50000000 coins")
	y.wants(y.purepool(0, append(args, "--json")...), `"new_miners":0`, `"opened_now":0`, `"balances":750000000`)
	y.wants(y.purepool(0, "admin", "miner", "show", "yDave44444444444444444444444444444"), "7.50000000")
	y.wants(y.purepool(0, "admin", "audit", "--books-only"), ": clean")
	y.wants(y.purepool(0, "admin", "log", "--action", "import"), "import books", "the move")
	// The database into which the dump was loaded is gone.
	if n := h.Count(`SELECT count(*) FROM pg_database WHERE datname LIKE 'purepool_import%'`); n != 0 {
		t.Errorf("%d databases were left behind", n)
	}
}
