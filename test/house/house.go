// Package house puts up a whole pool for one test: a real Postgres, a real
// broker, a simulated daemon and the program itself, each in a process of its
// own that can be killed.
package house

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver of Open

	"purepool/internal/testkit"
	"purepool/ledger/pgcluster"
	"purepool/pool/queue/queuetest"
	"purepool/sim/daemon"
)

// Network is the network that a house serves.
const Network = "test"

// EasyTarget is met by nearly every hash, so that tests need not search.
const EasyTarget = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

// Options says what kind of house a test wants.
type Options struct {
	// Broker is the broker of a house with a frontend and a backend of its own; nil
	// is the embedded one, for the role all.
	Broker queuetest.Broker
	// Daemon are the simulated daemon's options.
	Daemon daemon.Options
	// HashTarget of the network; empty is EasyTarget.
	HashTarget string
	// PoolAddress; empty is that of the daemon's wallet.
	PoolAddress string
	// Extra is put at the end of the configuration.
	Extra string
	// BackendExtra follows it, in the configuration of the backend and of the role
	// all.
	BackendExtra string
	// TipPoll is tip_poll_interval; empty is 200ms.
	TipPoll string
}

// House is a pool in a folder of its own.
type House struct {
	Cluster *pgcluster.Cluster
	Daemon  *daemon.Daemon
	DB      *sql.DB // as the database's owner
	Config  string  // path of the configuration of the roles all and backend
	Dir     string

	HTTP    string // address of Action.aspx
	Stratum string // address of the Stratum port
	Health  string // address of /readyz of the frontend or of the role all
	Backend string // address of /readyz of the backend

	// Tee, where set, gets everything that processes started from then on print, also
	// from several at a time.
	Tee io.Writer

	t      testing.TB
	binary string
}

// New puts the house up, migrated and with nobody in it yet. Everything ends
// with the test.
func New(t testing.TB, opts Options) *House {
	t.Helper()
	h := &House{t: t, Dir: t.TempDir(), binary: Binary(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	cluster, err := pgcluster.Start(ctx, pgcluster.Options{Dir: pgDir(t), ThrowAway: true})
	must(t, err)
	t.Cleanup(func() { _ = cluster.Stop(context.Background()) })
	h.Cluster = cluster
	must(t, cluster.EnsureDatabase(ctx, "purepool"))

	d, stop, err := daemon.Start(opts.Daemon)
	must(t, err)
	t.Cleanup(stop)
	h.Daemon = d

	for _, address := range []*string{&h.HTTP, &h.Stratum, &h.Health, &h.Backend} {
		*address = testkit.FreeAddress(t)
	}
	h.Config = filepath.Join(h.Dir, "purepool.toml")
	must(t, os.WriteFile(h.Config, []byte(h.config(opts, true)), 0o600))
	must(t, os.WriteFile(h.frontendConfig(), []byte(h.config(opts, false)), 0o600))
	h.Purepool("migrate")

	db, err := sql.Open("postgres", cluster.DSN(pgcluster.Superuser, "purepool"))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	h.DB = db
	return h
}

// frontendConfig is the configuration of the role frontend, which must not know
// the others' secrets.
func (h *House) frontendConfig() string { return filepath.Join(h.Dir, "frontend.toml") }

func (h *House) config(opts Options, backend bool) string {
	if opts.HashTarget == "" {
		opts.HashTarget = EasyTarget
	}
	if opts.PoolAddress == "" {
		opts.PoolAddress = h.Daemon.PoolAddress()
	}
	if opts.TipPoll == "" {
		opts.TipPoll = "200ms"
	}
	if backend {
		opts.Extra += opts.BackendExtra
	}
	dsn := func(role string) string { return h.Cluster.DSN(role, "purepool") }
	queueURL, secrets, daemons := "embedded:"+filepath.Join(h.Dir, "queue"), "", ""
	switch {
	case !backend && opts.Broker != nil:
		queueURL = opts.Broker.FrontendURL()
	case backend:
		if opts.Broker != nil {
			queueURL = opts.Broker.BackendURL()
		}
		secrets = fmt.Sprintf("backend_dsn = %q\nweb_dsn = %q\nowner_dsn = %q",
			dsn("purepool_backend"), dsn("purepool_web"), dsn(pgcluster.Superuser))
		user, password := h.Daemon.Credentials()
		daemons = fmt.Sprintf("[[network.%s.daemon]]\nurl = %q\nuser = %q\npassword = %q\n", Network, h.Daemon.URL(), user, password)
	}
	return fmt.Sprintf(`
[database]
frontend_dsn = %q
%s

[queue]
url = %q
spool_dir = %q

[frontend]
id = "f1"
max_connections_per_ip = 10000
requests_per_second_per_ip = 100000
burst_per_ip = 100000

[[frontend.http]]
listen = %q

[[frontend.stratum]]
listen = %q
network = "test"

[backend]
tip_poll_interval = %q
state_dir = %q
retry_min = "50ms"
retry_max = "1s"

[health]
frontend_listen = %q
backend_listen = %q
web_listen = ""

[network.%s]
chain = "biblepay-test"
pool_address = %q
hash_target = %q
easiest_hash_target = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
%s%s`,
		dsn("purepool_frontend"), secrets, queueURL, filepath.Join(h.Dir, "spool"), h.HTTP, h.Stratum,
		opts.TipPoll, filepath.Join(h.Dir, "state"), h.Health, h.Backend,
		Network, opts.PoolAddress, opts.HashTarget, daemons, opts.Extra)
}

// Count runs a query that returns one number.
func (h *House) Count(query string, args ...any) int64 {
	h.t.Helper()
	var n int64
	must(h.t, h.DB.QueryRowContext(h.t.Context(), query, args...).Scan(&n))
	return n
}

// Eventually waits until the condition holds.
func (h *House) Eventually(what string, within time.Duration, condition func() bool) {
	h.t.Helper()
	testkit.Eventually(h.t, what, within, condition)
}

// Purepool runs the program to its end and returns what it printed.
func (h *House) Purepool(args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), h.binary, append(args, "--config", h.Config)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("purepool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pgDir is a folder that the database server's user can enter, which the
// folders of a test run by root are not.
func pgDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "purepool-pg-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "c")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// RejectedLater is a table of the ledger in which the rejected shares stand that
// a frontend may have taken: not the winners that it refused for coming too late or
// for not meeting what it had asked, which are tried and judged all the same.
const RejectedLater = `(SELECT * FROM purepool.rejected_share AS r
	WHERE NOT EXISTS (SELECT FROM purepool.block_submission AS b WHERE b.share_id = r.id AND (b.stale OR r.reason = 'HashTargetExceeded')))`
