// Package admin drills what an operator does on a bad day, with the program
// itself, a real Postgres and a real wallet: lose the database and get it back.
package admin

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "github.com/lib/pq" // the driver of yard.db

	"purepool/bbprpc/litecoindtest"
	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/test/house"
)

const coin = 100_000_000

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newNode is a real daemon with a real wallet.
func newNode(t *testing.T, peers ...*litecoindtest.Node) *litecoindtest.Node {
	t.Helper()
	n := litecoindtest.New(t, litecoindtest.Options{User: "pool", Password: "secret", Peers: peers})
	n.Wallet()
	return n
}

// yard is a pool's books and wallet, without anybody who mines.
type yard struct {
	root, t      *testing.T // of the whole test, of the part that runs
	dir          string     // that the database's server may enter
	pool, miners *litecoindtest.Node
	cluster      *pgcluster.Cluster
	database     string
	config       string
	db           *sql.DB
}

// newFolder is one that the database server's user can enter and write.
func newFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "purepool-admin-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// archived are the settings that docs/BACKUP.md names for recovery to a point in
// time.
func archived(archive string) map[string]string {
	return map[string]string{
		"wal_level": "replica", "archive_mode": "on", "max_wal_senders": "4",
		"archive_command": fmt.Sprintf("test ! -f %[1]s/%%f && cp %%p %[1]s/%%f", archive),
	}
}

func (y *yard) start(folder, database string, settings map[string]string) {
	y.t.Helper()
	cluster, err := pgcluster.Start(y.t.Context(), pgcluster.Options{Dir: folder, ThrowAway: true, Settings: settings})
	must(y.t, err)
	y.root.Cleanup(func() { _ = cluster.Stop(context.Background()) })
	y.cluster = cluster
	y.use(database)
}

// use points the configuration at a database of the server.
func (y *yard) use(database string) {
	y.t.Helper()
	y.database = database
	folder, err := os.MkdirTemp(y.dir, "pool-") // it outlives a subtest
	must(y.t, err)
	y.config = filepath.Join(folder, "purepool.toml")
	must(y.t, os.WriteFile(y.config, fmt.Appendf(nil, `%s
[network.regtest]
chain = "litecoin-regtest"
mode = "template"
algorithm = "scrypt"
pool_address = %q

[network.regtest.payments]
threshold = "1"
min_interval = "0s"
confirm_depth = 2

[[network.regtest.daemon]]
url = %q
user = "pool"
password = "secret"
`, configOf(y.cluster, database, pgcluster.Superuser, folder), y.pool.Address(), y.pool.URL), 0o600))
	db, err := sql.Open("postgres", y.cluster.DSN(pgcluster.Superuser, database)+" search_path=purepool")
	must(y.t, err)
	y.db = db
}

// configOf is a configuration that lacks its network: a database and its owner, and a
// folder for what the pool keeps itself.
func configOf(cluster *pgcluster.Cluster, database, owner, folder string) string {
	dsn := func(role string) string { return cluster.DSN(role, database) }
	return fmt.Sprintf(`
[database]
frontend_dsn = %q
backend_dsn = %q
web_dsn = %q
owner_dsn = %q

[queue]
url = "embedded:%s"

[backend]
state_dir = %q
`, dsn(ledger.RoleFrontend), dsn(ledger.RoleBackend), dsn(ledger.RoleWeb), dsn(owner), filepath.Join(folder, "queue"), filepath.Join(folder, "state"))
}

// purepool runs the program and wants an exit code.
func (y *yard) purepool(want int, args ...string) string {
	y.t.Helper()
	cmd := exec.CommandContext(y.t.Context(), house.Binary(y.t), append(args, "--config", y.config)...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		y.t.Fatalf("purepool %s: exit code %d, %v\n%s", strings.Join(args, " "), code, err, out)
	}
	return string(out)
}

func (y *yard) wants(out string, words ...string) {
	y.t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			y.t.Errorf("%q is missing in:\n%s", w, out)
		}
	}
}

// miner is an address of the miners' wallet, known to the books.
func (y *yard) miner() string {
	y.t.Helper()
	address := y.miners.Address()
	front, err := ledger.OpenFrontend(y.t.Context(), y.cluster.DSN(ledger.RoleFrontend, y.database), ledger.Options{MaxOpen: 1})
	must(y.t, err)
	defer front.Close()
	networks, err := front.Networks(y.t.Context())
	must(y.t, err)
	_, err = front.EnsureWorker(y.t.Context(), networks["regtest"], address, "rig", "")
	must(y.t, err)
	return address
}

func (y *yard) owe(address, coins, key string) {
	y.t.Helper()
	y.purepool(0, "admin", "miner", "correct", address, coins, "--key", key, "--reason", "a drill")
}

func (y *yard) pay(want int) string {
	y.t.Helper()
	return y.purepool(want, "admin", "payment", "run", "--now", "--reason", "a drill")
}

// mine makes blocks that pay the miners' node, and waits until both have them.
func (y *yard) mine(n int, address string) {
	y.t.Helper()
	y.pool.Generate(n, address)
	y.pool.Agree(y.miners)
}

// settle runs payments and mines until nothing is under way.
func (y *yard) settle() {
	y.t.Helper()
	stranger := y.miners.Address()
	for range 8 {
		y.pay(0)
		var open int
		must(y.t, y.db.QueryRowContext(y.t.Context(), `SELECT count(*) FROM payment WHERE state NOT IN ('confirmed', 'cancelled')`).Scan(&open))
		if open == 0 {
			return
		}
		y.mine(1, stranger)
	}
	y.t.Fatalf("payments do not come to an end: %s", y.purepool(0, "admin", "payment", "list"))
}

// balance is a miner's, in satoshis.
func (y *yard) balance(address string) int64 {
	y.t.Helper()
	var list []struct{ Balance, Reserved int64 }
	must(y.t, json.Unmarshal([]byte(y.purepool(0, "admin", "miner", "show", address, "--json")), &list))
	return list[0].Balance
}

// sends is how many transactions the pool's wallet has sent.
func (y *yard) sends() int {
	y.t.Helper()
	entries, err := y.pool.Client.WalletEntries(y.t.Context(), 1000, 0)
	must(y.t, err)
	ids := map[string]bool{}
	for _, e := range entries {
		if e.Category == "send" {
			ids[e.TxID.String()] = true
		}
	}
	return len(ids)
}

// wantReceived checks what the miners' own wallet has got: less the network fee.
func (y *yard) wantReceived(address string, coins int64, transactions int) {
	y.t.Helper()
	got, n := y.miners.Received(address)
	if want := coins * coin; n != transactions || got > want || got < want-coin/10 {
		y.t.Errorf("%s got %d satoshis in %d transactions, want %d in %d", address, got, n, want, transactions)
	}
}

// own gives a tree to whom another one belongs.
func own(t *testing.T, tree, like string) {
	t.Helper()
	info, err := os.Stat(like)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	must(t, filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	}))
}

func openDB(dsn string) (*sql.DB, error) { return sql.Open("postgres", dsn) }

// either runs the program, whatever its exit code.
func (y *yard) either(args ...string) string {
	y.t.Helper()
	out, _ := exec.CommandContext(y.t.Context(), house.Binary(y.t), append(args, "--config", y.config)...).CombinedOutput()
	return string(out)
}
