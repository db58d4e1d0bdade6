package ledger_test

import (
	"context"
	"database/sql"
	"flag"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/migrations"
	"purepool/ledger/pgcluster"
)

// The figures of docs/UPGRADE.md: -migrate.shares 1000000 -test.v.
var migrateShares = flag.Int("migrate.shares", 5000, "how many shares a database of an older version holds before it is migrated")

// oldest is the first version of the tables with which a pool has run.
const oldest = 30

// A database that a pool has worked in for a while, of the oldest version and in use,
// becomes one of this version: with everything that was in it, and fit for work.
func TestADatabaseOfAnOlderVersionIsBroughtUpToDateWithItsShares(t *testing.T) {
	ledgertest.New(t) // the server's roles are there
	db := ledgertest.NewEmpty(t)
	super := db.SQL(pgcluster.Superuser)
	super.MustExec(`CREATE SCHEMA purepool AUTHORIZATION purepool_owner`)
	owner, err := sql.Open("postgres", db.Super()+" role=purepool_owner search_path=purepool TimeZone=UTC")
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	steps, err := goose.NewProvider(goose.DialectPostgres, owner, migrations.Files, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := steps.UpTo(t.Context(), oldest); err != nil {
		t.Fatal(err)
	}
	fill(t, owner, *migrateShares)

	timeSteps(t, steps)
	if err := ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{Networks: ledgertest.Networks()}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "share"); n != int64(*migrateShares) {
		t.Errorf("%d shares, %d were there", n, *migrateShares)
	}
	if n := count(t, db, "rejected_share"); n != int64(*migrateShares/5) {
		t.Errorf("%d refused shares, %d were there", n, *migrateShares/5)
	}
	// And it works: a share is credited, the round that is open counts them all, the
	// books add up.
	write(t, db.Backend(), credited(t, 10, 1))
	books := db.Backend().Books()
	if _, err := books.CountShares(t.Context(), mainNet, time.Now(), 0); err != nil {
		t.Error(err)
	}
	audit, err := books.Audit(t.Context(), mainNet, ledger.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range audit.Checks {
		if c.Faults > 0 {
			t.Errorf("%s: %d faults, such as %s", c.Name, c.Faults, c.Detail)
		}
	}
}

// fill puts shares and refused ones into a database of the oldest version, of the day
// until now and a hundred miners.
func fill(t *testing.T, owner *sql.DB, shares int) {
	t.Helper()
	for _, statement := range []string{
		`SELECT ensure_network('main'), ensure_day_partitions(current_date - 2, current_date + 1)`,
		`SELECT ensure_share_partitions(1::smallint, 0, 999)`,
		`INSERT INTO miner (network_id, address) SELECT 1, 'B' || lpad(n::text, 33, 'x') FROM generate_series(1, 100) AS n`,
		`INSERT INTO worker (miner_id, name) SELECT id, 'rig' FROM miner`,
	} {
		if _, err := owner.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	_, err := owner.ExecContext(t.Context(), `INSERT INTO share (received_at, worker_id, miner_id, weight, height, network_id, id, work_id, proof)
		SELECT now() - interval '1 day' * (1 - n::float8 / $1), w.id, w.miner_id, 1000, n * 900 / $1, 1, gen_random_uuid(), gen_random_uuid(), sha256(n::text::bytea)
		FROM generate_series(1, $1::bigint) AS n JOIN worker w ON w.id = 1 + n % 100 ORDER BY n`, shares)
	if err != nil {
		t.Fatal(err)
	}
	_, err = owner.ExecContext(t.Context(), `INSERT INTO rejected_share (received_at, worker_id, miner_id, height, network_id, id, work_id, proof, reason)
		SELECT now() - interval '1 day' * (1 - n::float8 / $1), w.id, w.miner_id, n * 900 / $1, 1, gen_random_uuid(), gen_random_uuid(), sha256(n::text::bytea), 'BlockIsStale'
		FROM generate_series(1, $1::bigint) AS n JOIN worker w ON w.id = 1 + n % 100 ORDER BY n`, shares/5)
	if err != nil {
		t.Fatal(err)
	}
}

// timeSteps migrates step by step, and prints what each takes.
func timeSteps(t *testing.T, steps *goose.Provider) {
	t.Helper()
	results, err := steps.Up(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Logf("%s: %v", r.Source.Path, r.Duration.Round(time.Millisecond))
	}
	if len(results) == 0 {
		t.Error("there is no migration after the oldest version: the test shows nothing")
	}
}
