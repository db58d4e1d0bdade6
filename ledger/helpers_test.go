package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

// mainNet is the id of the first network that is seeded.
const mainNet int16 = 1

const someAddress = "BAcoPEr2Jzx5sMjmM8vuJ3LRLkkYi81ZNy"

// startDurable starts a server with fsync, and with a migrated database.
func startDurable(t testing.TB) *pgcluster.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "ledger-durable")
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: dir, ThrowAway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.StopImmediate() })
	if err := cluster.EnsureDatabase(t.Context(), "pool"); err != nil {
		t.Fatal(err)
	}
	err = ledger.Migrate(t.Context(), cluster.DSN(pgcluster.Superuser, "pool"), ledger.MigrateOptions{Networks: ledgertest.Networks()})
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func openBackend(t testing.TB, dsn string, opts ledger.Options) *ledger.BackendStore {
	t.Helper()
	store, err := ledger.OpenBackend(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func openFrontend(t testing.TB, dsn string, opts ledger.Options) *ledger.FrontendStore {
	t.Helper()
	store, err := ledger.OpenFrontend(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newID(t testing.TB) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// proof returns a proof that looks like a hash: the n-th.
func proof(n uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
}

// credited returns a verdict that credits a share of worker 7 of miner 5.
func credited(t testing.TB, height int32, n uint64) ledger.Verdict {
	t.Helper()
	return ledger.Verdict{
		ShareID: newID(t), ReceivedAt: time.Now(), RemoteIP: netip.MustParseAddr("192.0.2.7"), WorkID: newID(t),
		WorkerID: 7, MinerID: 5, Height: height, Proof: proof(n), HasProof: true, Weight: 65536,
		Solution: []byte("a,solution"), HashesPerSecond: 1000,
	}
}

func rejected(t testing.TB, height int32, n uint64, reason string) ledger.Verdict {
	t.Helper()
	v := credited(t, height, n)
	v.Reason, v.Detail = reason, "found so"
	return v
}

// solutionText looks like a real solution: 16 fields, 3.4 kB, most of it hex,
// the transaction once more within the block.
func solutionText(rng *rand.Rand) []byte {
	digits := func(n int) string {
		raw := make([]byte, n/2)
		for i := range raw {
			raw[i] = byte(rng.Uint32())
		}
		return hex.EncodeToString(raw)
	}
	tx := digits(1000)
	fields := []string{
		digits(64), "1524312345", "1524312000", "19309", digits(64), uuid.NewString(), uuid.NewString(), "3",
		"123456", "1524312000123", "1234567", "1524312000456", "1524312345678", "51234", digits(1000) + tx, tx,
	}
	return []byte(strings.Join(fields, ","))
}

func write(t testing.TB, store *ledger.BackendStore, verdicts ...ledger.Verdict) ledger.Written {
	t.Helper()
	written, err := store.WriteVerdicts(t.Context(), mainNet, verdicts)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func count(t testing.TB, db *ledgertest.DB, what string) int64 {
	t.Helper()
	return ledgertest.Value[int64](t, db, "SELECT count(*) FROM "+what)
}

// checkRollUps compares every roll-up with the rows it stands for.
func checkRollUps(t testing.TB, db *ledgertest.DB) {
	t.Helper()
	for name, query := range map[string]string{
		"share_minute, credited": `
			SELECT (SELECT (coalesce(sum(shares), 0), coalesce(sum(weight), 0))::text FROM share_minute)
			     = (SELECT (count(*), coalesce(sum(weight), 0))::text FROM share)`,
		"share_minute, per worker": `
			SELECT NOT EXISTS (
				SELECT worker_id, sum(shares), sum(weight) FROM share_minute GROUP BY 1 HAVING sum(shares) > 0
				EXCEPT SELECT worker_id, count(*), sum(weight) FROM share GROUP BY 1)`,
		"share_minute, rejected": `
			SELECT (SELECT coalesce(sum(rejected), 0) FROM share_minute)
			     = (SELECT count(*) FROM rejected_share WHERE worker_id IS NOT NULL)`,
		"reject_hour": `
			SELECT NOT EXISTS (
				(SELECT coalesce(worker_id, 0), reason, count(*) FROM rejected_share GROUP BY 1, 2)
				EXCEPT SELECT worker_id, reason, sum(rejected) FROM reject_hour GROUP BY 1, 2)
			   AND (SELECT coalesce(sum(rejected), 0) FROM reject_hour) = (SELECT count(*) FROM rejected_share)`,
		"network_minute": `
			SELECT (SELECT (coalesce(sum(shares), 0), coalesce(sum(weight), 0), coalesce(sum(rejected), 0), coalesce(sum(rejected_unknown), 0))::text FROM network_minute)
			     = (SELECT (count(*), coalesce(sum(weight), 0),
			               (SELECT count(*) FROM rejected_share), (SELECT count(*) FROM rejected_share WHERE worker_id IS NULL))::text FROM share)`,
	} {
		if !ledgertest.Value[bool](t, db, query) {
			t.Errorf("roll-up %s does not fit its rows", name)
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// writeHBA replaces the server's rules of authentication.
func writeHBA(t *testing.T, cluster *pgcluster.Cluster, rules string) {
	t.Helper()
	file := filepath.Join(cluster.Dir(), "data", "pg_hba.conf")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func hexOf(hash [32]byte) string { return hex.EncodeToString(hash[:]) }
