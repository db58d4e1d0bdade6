package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lib/pq"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func TestMigrationsMayRunTogether(t *testing.T) {
	db := ledgertest.NewEmpty(t)
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{Networks: ledgertest.Networks()})
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "network"); n != 3 {
		t.Fatalf("%d networks", n)
	}
	networks, err := db.Frontend().Networks(t.Context())
	if err != nil || networks["main"] != mainNet || networks["regtest"] != 3 {
		t.Fatalf("networks %v (%v)", networks, err)
	}
}

func TestTwoDatabasesOfOneServerMayBeMigratedTogether(t *testing.T) {
	var all sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		db := ledgertest.NewEmpty(t)
		all.Go(func() { errs[i] = ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{}) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestMigratingAgainKeepsEverythingAndAddsNetworks(t *testing.T) {
	db := ledgertest.New(t)
	worker, err := db.Frontend().EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	err = ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: "signet"}, {Name: "main"}}})
	if err != nil {
		t.Fatal(err)
	}
	networks, err := db.Backend().Networks(t.Context())
	if err != nil || len(networks) != 4 || networks["main"] != mainNet {
		t.Fatalf("networks %v (%v)", networks, err)
	}
	again, err := db.Frontend().EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil || again != worker {
		t.Fatalf("worker %+v became %+v (%v)", worker, again, err)
	}
}

func TestBadNetworkNameIsRefused(t *testing.T) {
	db := ledgertest.New(t)
	for _, name := range []string{"", "Main Net", "a;b", strings.Repeat("x", 21)} {
		err := ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: name}}})
		if !ledger.Refused(err) {
			t.Errorf("network %q: %v", name, err)
		}
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	db := ledgertest.New(t)
	db.SQL(pgcluster.Superuser).MustExec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	if err := ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{}); !errors.Is(err, ledger.ErrDatabaseNewer) {
		t.Errorf("migrate: %v", err)
	}
	if err := db.Frontend().CheckVersion(t.Context()); !errors.Is(err, ledger.ErrDatabaseNewer) {
		t.Errorf("check: %v", err)
	}
}

func TestRolesNoticeAnOlderDatabase(t *testing.T) {
	db := ledgertest.NewEmpty(t)
	if err := db.Backend().CheckVersion(t.Context()); !errors.Is(err, ledger.ErrDatabaseOlder) {
		t.Errorf("empty database: %v", err)
	}
	db = ledgertest.New(t)
	for name, check := range map[string]func() error{
		"frontend": func() error { return db.Frontend().CheckVersion(t.Context()) },
		"backend":  func() error { return db.Backend().CheckVersion(t.Context()) },
	} {
		if err := check(); err != nil {
			t.Errorf("%s, up to date: %v", name, err)
		}
	}
	db.SQL(pgcluster.Superuser).MustExec("DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
	if err := db.Backend().CheckVersion(t.Context()); !errors.Is(err, ledger.ErrDatabaseOlder) {
		t.Errorf("a migration is missing: %v", err)
	}
}

func TestAnOrdinaryOwnerWithCreateroleMayMigrate(t *testing.T) {
	db := ledgertest.NewEmpty(t)
	super := db.SQL(pgcluster.Superuser)
	super.MustExec(`DO $$ BEGIN CREATE ROLE migrator LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	if err := ledger.Migrate(t.Context(), db.DSN("migrator"), ledger.MigrateOptions{}); !errors.Is(err, ledger.ErrMigrateRights) {
		t.Fatalf("of somebody else's database: %v", err)
	}
	super.MustExec("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO migrator', current_database()); END $$")
	err := ledger.Migrate(t.Context(), db.DSN("migrator"), ledger.MigrateOptions{Networks: ledgertest.Networks()})
	if err != nil {
		t.Fatal(err)
	}
	write(t, db.Backend(), credited(t, 10, 1))
	if owner := ledgertest.Value[string](t, db, "SELECT tableowner FROM pg_tables WHERE schemaname = 'purepool' AND tablename = 'miner'"); owner != ledger.RoleOwner {
		t.Errorf("tables belong to %s", owner)
	}
}

func TestPasswordsAreStoredAsVerifiers(t *testing.T) {
	cluster := startDurable(t)
	super := cluster.DSN(pgcluster.Superuser, "pool")
	const secret = `it's "quoted" \ and long enough`
	err := ledger.Migrate(t.Context(), super, ledger.MigrateOptions{FrontendPassword: secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Migrate(t.Context(), super, ledger.MigrateOptions{WebPassword: "naïve"}); !errors.Is(err, ledger.ErrBadPassword) {
		t.Errorf("password that is not ASCII: %v", err)
	}
	// The private cluster trusts its socket; have it ask for the password.
	writeHBA(t, cluster, "local all purepool_frontend scram-sha-256\nlocal all all trust\n")
	for password, want := range map[string]bool{secret: true, "wrong": false} {
		dsn := cluster.DSN(ledger.RoleFrontend, "pool") + " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
		err := openFrontend(t, dsn, ledger.Options{}).Ping(t.Context())
		if (err == nil) != want {
			t.Errorf("password %q: %v", password, err)
		}
		if err != nil && (ledger.Away(err) || ledger.Refused(err)) {
			t.Errorf("a wrong password is neither away nor bad data: %v", err)
		}
	}
}

func TestSettingsOfTheServerDoNotChangeResults(t *testing.T) {
	db := ledgertest.New(t)
	super := db.SQL(pgcluster.Superuser)
	for _, setting := range []string{"timezone = 'Pacific/Kiritimati'", "datestyle = 'SQL, DMY'", "bytea_output = 'escape'", "intervalstyle = 'sql_standard'"} {
		super.MustExec(fmt.Sprintf("DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET %s', current_database()); END $$", strings.ReplaceAll(setting, "'", "''")))
	}
	var tz string
	if err := super.Get(&tz, "SELECT current_setting('TimeZone')"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TZ", "America/Caracas")
	t.Setenv("PGTZ", "America/Caracas")
	back := db.Backend()
	v := credited(t, 10, 1)
	write(t, back, v)
	if err := back.EnsurePartitions(t.Context(), v.ReceivedAt.AddDate(0, 0, 9), nil); err != nil {
		t.Fatal(err)
	}
	if !ledgertest.Value[bool](t, db, "SELECT received_at = $1 FROM share", v.ReceivedAt.UTC().Truncate(1000)) {
		t.Error("the time of arrival has moved")
	}
	var bounds []string
	err := super.Select(&bounds, `SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname LIKE 'work\_d%' AND relispartition AND relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bounds {
		if strings.Count(b, "00:00:00") != 2 && strings.Count(b, "14:00:00") != 2 {
			t.Errorf("partition %s", b)
		}
	}
	if bad := ledgertest.Value[int](t, db, `
		SELECT count(*) FROM pg_class WHERE relname LIKE 'work\_d%' AND relkind = 'r' AND relpartbound IS NOT NULL
		AND pg_get_expr(relpartbound, oid) NOT LIKE '%' || to_char(right(relname, 8)::date, 'YYYY-MM-DD') || ' 00:00:00+00''%'`); bad != 0 {
		t.Errorf("%d partitions are not cut at midnight UTC: %v", bad, pq.StringArray(bounds))
	}
}
