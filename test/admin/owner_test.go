package admin

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/sim/daemon"
	"purepool/test/house"
)

// TestAnOwnerWhoIsNoSuperuserBacksUpAndRestores has the database belong to a user
// who may make roles and nothing else, as at providers who keep the superuser for
// themselves: docs/BACKUP.md promises a dump and its restore to him, too.
func TestAnOwnerWhoIsNoSuperuserBacksUpAndRestores(t *testing.T) {
	dir := newFolder(t)
	cluster, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: filepath.Join(dir, "server"), ThrowAway: true})
	must(t, err)
	t.Cleanup(func() { _ = cluster.Stop(context.Background()) })
	super, err := sql.Open("postgres", cluster.DSN(pgcluster.Superuser, "postgres"))
	must(t, err)
	t.Cleanup(func() { _ = super.Close() })
	run := func(statement string) {
		t.Helper()
		_, err := super.ExecContext(t.Context(), statement)
		must(t, err)
	}
	run(`CREATE ROLE keeper LOGIN CREATEROLE`)
	d, stop, err := daemon.Start(daemon.Options{Network: house.Network})
	must(t, err)
	t.Cleanup(stop)

	y := &yard{root: t, t: t, dir: dir, cluster: cluster}
	use := func(database string) {
		t.Helper()
		run("CREATE DATABASE " + database + " OWNER keeper")
		y.database, y.config = database, filepath.Join(dir, database+".toml")
		must(t, os.WriteFile(y.config, fmt.Appendf(nil, `%s
[network.regtest]
chain = "biblepay-test"
pool_address = %q
hash_target = %q
`, configOf(cluster, database, "keeper", filepath.Join(dir, database)), d.PoolAddress(), house.EasyTarget), 0o600))
	}
	use("before")
	y.purepool(0, "migrate")
	front, err := ledger.OpenFrontend(t.Context(), cluster.DSN(ledger.RoleFrontend, y.database), ledger.Options{MaxOpen: 1})
	must(t, err)
	defer front.Close()
	networks, err := front.Networks(t.Context())
	must(t, err)
	const anna = "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop"
	_, err = front.EnsureWorker(t.Context(), networks["regtest"], anna, "rig", "")
	must(t, err)
	y.owe(anna, "7", "a1")
	dump := filepath.Join(dir, "dump")
	y.wants(y.purepool(0, "admin", "backup", dump), "made: dump")

	// The database that is there is never touched; another one is filled.
	y.wants(y.purepool(1, "admin", "restore", dump, "--reason", "a drill"), "holds a pool already")
	use("after")
	y.wants(y.purepool(0, "admin", "restore", dump, "--reason", "a drill"), "restored the state of", "all payments are held")
	y.wants(y.purepool(0, "admin", "audit", "--books-only"), ": clean")
	y.wants(y.purepool(0, "admin", "log"), "hold all payments", "a drill")
	if got := y.balance(anna); got != 7*coin {
		t.Errorf("anna has %d satoshis, want 7 coins", got)
	}
	// What each role may do came along, and no right too many was left behind.
	schema := func(database string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+cluster.DSN(pgcluster.Superuser, database), "--schema-only", "--schema=purepool").CombinedOutput()
		if err != nil {
			t.Fatalf("pg_dump: %v\n%s", err, out)
		}
		return string(out)
	}
	before, after := strings.Split(schema("before"), "\n"), strings.Split(schema("after"), "\n")
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] && !strings.HasPrefix(before[i], `\`) { // \restrict has a word of its own each time
			t.Fatalf("the restored database has other tables, owners or rights: %q, before %q", after[i], before[i])
		}
	}
	if len(before) != len(after) || len(before) < 1000 {
		t.Errorf("%d lines of schema before, %d after", len(before), len(after))
	}
	var acl [2]string
	must(t, super.QueryRowContext(t.Context(), `SELECT (SELECT datacl::text FROM pg_database WHERE datname = 'before'),
		(SELECT datacl::text FROM pg_database WHERE datname = 'after')`).Scan(&acl[0], &acl[1]))
	if acl[0] != acl[1] || acl[0] == "" {
		t.Errorf("rights on the database before %s, after %s", acl[0], acl[1])
	}
	// For all of the server's files Postgres wants more than an owner.
	y.wants(y.purepool(1, "admin", "backup", filepath.Join(dir, "base"), "--base"), "must be superuser or replication role")
}
