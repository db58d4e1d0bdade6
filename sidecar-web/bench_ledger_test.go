package web_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	"purepool/test/web/fixture"
)

// The large ledger: -web.shares=10000000 takes some minutes to make and some
// gigabytes of disk; -web.keep keeps it for the next run.
var (
	benchShares = flag.Int("web.shares", 100_000, "shares in the ledger of the benchmarks")
	benchMiners = flag.Int("web.miners", 2_000, "miners in it")
	benchDays   = flag.Int("web.days", 30, "days of roll-ups in it")
	benchKeep   = flag.String("web.keep", "", "folder in which the ledger of the benchmarks is kept, and found again")
)

// benchLedger opens the ledger on a server with usual settings, on disk, and the
// clock that goes with it: a ledger that was kept goes on at its own time.
func benchLedger(b *testing.B) (*ledger.WebStore, func() time.Time) {
	b.Helper()
	dir := filepath.Join(*benchKeep, fmt.Sprintf("%d-%d-%d", *benchShares, *benchMiners, *benchDays))
	if *benchKeep == "" {
		var err error
		if dir, err = os.MkdirTemp("", "webbench"); err != nil {
			b.Fatal(err)
		}
	}
	madeFile := filepath.Join(dir, "made")
	text, err := os.ReadFile(madeFile)
	if errors.Is(err, fs.ErrNotExist) {
		at := makeBenchLedger(b, dir)
		text = []byte(at.Format(time.RFC3339Nano))
		if err := os.WriteFile(madeFile, text, 0o600); err != nil {
			b.Fatal(err)
		}
	} else if err != nil {
		b.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		b.Fatalf("%s: %v; remove the folder", madeFile, err)
	}
	cluster := startBench(b, dir, *benchKeep == "", nil)
	b.Cleanup(func() { _ = cluster.StopImmediate() })
	begun := time.Now()
	clock := func() time.Time { return at.Add(time.Since(begun)) }
	rollUpBench(b, cluster, at)
	store, err := ledger.OpenWeb(b.Context(), cluster.DSN(ledger.RoleWeb, "pool"), ledger.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	if err := store.CheckVersion(b.Context()); err != nil {
		b.Fatalf("%v; remove %s", err, dir)
	}
	warm(b, store, clock())
	return store, clock
}

// warm reads what the pages of all miners show once, so that it is in memory as
// that of a pool at work is.
func warm(b *testing.B, store *ledger.WebStore, now time.Time) {
	b.Helper()
	begun := time.Now()
	for first := 1; first <= *benchMiners; first += 100 {
		ids := make([]int64, 100)
		for i := range ids {
			ids[i] = int64(first + i)
		}
		if _, err := store.MinerFigures(b.Context(), ids, 21, now); err != nil {
			b.Fatal(err)
		}
		if _, err := store.MinerSeries(b.Context(), ids, "day", now); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("all miners read in %v", time.Since(begun).Round(time.Millisecond))
}

func startBench(b *testing.B, dir string, throwAway bool, settings map[string]string) *pgcluster.Cluster {
	b.Helper()
	all := map[string]string{"shared_buffers": "2GB", "max_wal_size": "4GB"}
	for name, value := range settings {
		all[name] = value
	}
	cluster, err := pgcluster.Start(b.Context(), pgcluster.Options{Dir: dir, ThrowAway: throwAway, Fast: settings != nil, Settings: all})
	if err != nil {
		b.Fatal(err)
	}
	return cluster
}

// makeBenchLedger fills a new ledger on a server that writes as little as it can
// beside it, and returns the ledger's moment.
func makeBenchLedger(b *testing.B, dir string) time.Time {
	b.Helper()
	if err := os.RemoveAll(dir); err != nil { // half made
		b.Fatal(err)
	}
	cluster := startBench(b, dir, false, map[string]string{"wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off"})
	defer func() {
		if err := cluster.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}()
	if err := cluster.EnsureDatabase(b.Context(), "pool"); err != nil {
		b.Fatal(err)
	}
	dsn := cluster.DSN(pgcluster.Superuser, "pool")
	if err := ledger.Migrate(b.Context(), dsn, ledger.MigrateOptions{Networks: ledgertest.Networks()}); err != nil {
		b.Fatal(err)
	}
	super, err := sqlx.Open("postgres", dsn+" search_path=purepool TimeZone=UTC")
	if err != nil {
		b.Fatal(err)
	}
	defer super.Close()
	begun := time.Now()
	at := fixture.Large(b, super, fixture.Size{Miners: *benchMiners, Days: *benchDays, Shares: *benchShares, Blocks: 60 * *benchDays})
	b.Logf("%d shares, %d miners, %d days: made in %v", *benchShares, *benchMiners, *benchDays, time.Since(begun).Round(time.Second))
	return at
}

// rollUpBench rolls up as the backend would, twice: the second time there is
// little to do.
func rollUpBench(b *testing.B, cluster *pgcluster.Cluster, at time.Time) {
	b.Helper()
	backend, err := ledger.OpenBackend(b.Context(), cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	for range 2 {
		begun := time.Now()
		if _, err := backend.RollUp(b.Context(), fixture.Main, at); err != nil {
			b.Fatal(err)
		}
		b.Logf("rolled up in %v", time.Since(begun).Round(time.Millisecond))
	}
}
