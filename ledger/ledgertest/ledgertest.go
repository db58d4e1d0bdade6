// Package ledgertest gives each test a database of its own, with the ledger's
// tables and roles, on a real Postgres server.
//
// The server is started with the first test that asks, shared by the tests of
// the process, and ends with the process, however that ends (see pgcluster).
// A database is a copy of one that was migrated, which takes some tens of
// milliseconds.
//
// The server runs without fsync: tests of durability start their own.
package ledgertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
)

// Networks are the networks that every test database knows.
func Networks() []ledger.NetworkSeed {
	return []ledger.NetworkSeed{{Name: "main"}, {Name: "test"}, {Name: "regtest"}}
}

// template is the migrated database that is copied.
const template = "purepool_template"

// server is the process's one server. A value that is made once and never
// changed; the cluster ends with the process, so nobody has to.
var server = sync.OnceValues(startServer)

func startServer() (*pgcluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(fastFolder(), "ledgertest")
	if err != nil {
		return nil, err
	}
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{
		Dir: dir, Fast: true, ThrowAway: true,
		Settings: map[string]string{
			"autovacuum": "off", "shared_buffers": "64MB", "max_wal_size": "256MB", "wal_level": "minimal", "max_wal_senders": "0",
		},
	})
	if err != nil {
		return nil, err
	}
	if err := cluster.EnsureDatabase(ctx, template); err != nil {
		return nil, err
	}
	if err := ledger.Migrate(ctx, cluster.DSN(pgcluster.Superuser, template), ledger.MigrateOptions{Networks: Networks()}); err != nil {
		return nil, err
	}
	return cluster, nil
}

// fastFolder returns a folder in memory where there is room for a server's
// files, else "", the temp folder: copying a database is making hundreds of
// files, which a disk makes five times slower.
func fastFolder() string {
	const memory, room = "/dev/shm", 1 << 30
	var stat syscall.Statfs_t
	if syscall.Statfs(memory, &stat) != nil || stat.Bavail*uint64(stat.Bsize) < room {
		return ""
	}
	return memory
}

// DB is a test's own database.
type DB struct {
	t       testing.TB
	cluster *pgcluster.Cluster
	name    string
}

// New returns a migrated database, which is dropped at the end of the test.
func New(t testing.TB) *DB {
	t.Helper()
	db := newDB(t, " TEMPLATE "+template+" STRATEGY FILE_COPY")
	// Rights on the database itself are not part of a copy.
	if err := ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{}); err != nil {
		t.Fatalf("migrate the test's database: %v", err)
	}
	return db
}

// NewEmpty returns a database in which there is nothing yet.
func NewEmpty(t testing.TB) *DB {
	t.Helper()
	return newDB(t, "")
}

func newDB(t testing.TB, how string) *DB {
	t.Helper()
	cluster, err := server()
	if err != nil {
		t.Fatalf("start the test server: %v", err)
	}
	db := &DB{t: t, cluster: cluster, name: "t_" + strings.ToLower(rand.Text())}
	db.admin("CREATE DATABASE " + pq.QuoteIdentifier(db.name) + how)
	t.Cleanup(func() { db.admin("DROP DATABASE IF EXISTS " + pq.QuoteIdentifier(db.name) + " WITH (FORCE)") })
	return db
}

// admin runs a statement that concerns whole databases.
func (db *DB) admin(stmt string) {
	db.t.Helper()
	conn, err := sqlx.Open("postgres", db.cluster.DSN(pgcluster.Superuser, "postgres"))
	if err != nil {
		db.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Exec(stmt); err != nil {
		db.t.Fatalf("%s: %v", stmt, err)
	}
}

// DSN returns the connection string of a user.
func (db *DB) DSN(user string) string { return db.cluster.DSN(user, db.name) }

// Super is the connection string of the server's superuser, as whom Migrate
// may run.
func (db *DB) Super() string { return db.DSN(pgcluster.Superuser) }

// FrontendDSN is the connection string of the frontend's role.
func (db *DB) FrontendDSN() string { return db.DSN(ledger.RoleFrontend) }

// BackendDSN is the connection string of the backend's role.
func (db *DB) BackendDSN() string { return db.DSN(ledger.RoleBackend) }

// WebDSN is the connection string of the web's role.
func (db *DB) WebDSN() string { return db.DSN(ledger.RoleWeb) }

// Frontend opens the frontend's store for the length of the test.
func (db *DB) Frontend() *ledger.FrontendStore {
	db.t.Helper()
	store, err := ledger.OpenFrontend(db.t.Context(), db.FrontendDSN(), ledger.Options{})
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(func() { _ = store.Close() })
	return store
}

// Backend opens the backend's store for the length of the test.
func (db *DB) Backend() *ledger.BackendStore {
	db.t.Helper()
	store, err := ledger.OpenBackend(db.t.Context(), db.BackendDSN(), ledger.Options{})
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(func() { _ = store.Close() })
	return store
}

// SQL opens the database as a user, for looking behind the stores.
func (db *DB) SQL(user string) *sqlx.DB {
	db.t.Helper()
	conn, err := sqlx.Open("postgres", db.DSN(user)+" search_path=purepool TimeZone=UTC")
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Value returns the first column of the first row, read as the superuser.
func Value[T any](t testing.TB, db *DB, query string, args ...any) T {
	t.Helper()
	conn, err := sqlx.Open("postgres", db.Super()+" search_path=purepool TimeZone=UTC")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var value T
	if err := conn.Get(&value, query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// String says where to look: a psql command line.
func (db *DB) String() string {
	return fmt.Sprintf("psql -h %s -U %s %s", db.cluster.Host(), pgcluster.Superuser, db.name)
}
