package docs

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver of Open

	"purepool/internal/testkit"
	"purepool/test/house"
	"purepool/test/page"
)

// stage is what the pages' commands are run on: a demo pool that has shared out
// blocks and paid miners, and beside it a database for a pool of one's own.
type stage struct {
	t      *testing.T
	dir    string // the demo's
	config string // the demo's
	bin    string // folder of the program, under its name
	values *strings.Replacer
	own    []string // environment of a pool of one's own
	moved  []string // environment of one that moves here from the original
	owner  string   // the connection of the demo's owner
	db     *sql.DB  // the demo's, as its owner
	base   string   // folder for everything
	out    testkit.Text
}

// newStage starts the demo and waits until it has paid.
func newStage(t *testing.T) *stage {
	t.Helper()
	// Postgres does not run as root, and its user cannot enter root's folders.
	base, err := os.MkdirTemp("", "purepool-docs-")
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &stage{t: t, base: base, dir: filepath.Join(base, "demo"), bin: t.TempDir()}
	s.config = filepath.Join(s.dir, "purepool.toml")
	must(t, os.Symlink(house.Binary(t), filepath.Join(s.bin, "purepool")))

	cmd := exec.Command(house.Binary(t), "demo", "--fast", "--dir", s.dir)
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil { // its books are audited at the end
			t.Errorf("the demo ended badly: %v\n%s", err, s.out.String())
		}
	})
	paid := regexp.MustCompile(`shared_out=[1-9]\d* .*payments=[1-9]`)
	s.await("the demo has paid", time.Minute, func() bool { return paid.MatchString(s.out.String()) })
	s.prepareOwn(s.open())
	s.learn()
	return s
}

func (s *stage) await(what string, within time.Duration, condition func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s\n%s", within, what, s.out.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// learn finds out what stands for the values on the pages.
func (s *stage) learn() {
	var miners []struct {
		Address string
		GUID    string `json:"miner_guid"`
	}
	s.ask(&miners, "admin", "miner", "find", "--json")
	var payments []struct{ ID int64 }
	s.ask(&payments, "admin", "payment", "list", "--json")
	if len(miners) < 4 || len(payments) == 0 {
		s.t.Fatalf("%d miners, %d payments", len(miners), len(payments))
	}
	config, err := os.ReadFile(s.config)
	must(s.t, err)
	listen := regexp.MustCompile(`(?m)^(?:frontend_)?listen = "([^"]+)"`).FindAllStringSubmatch(string(config), -1)
	if len(listen) != 3 {
		s.t.Fatalf("listeners of the demo: %v", listen)
	}
	folder := regexp.MustCompile(`host='([^']+)'`).FindSubmatch(config)
	rejected := s.value(`SELECT id::text FROM purepool.rejected_share LIMIT 1`)
	ban := s.value(`SELECT (coalesce(max(id), 0) + 1)::text FROM purepool.ban`)
	s.values = strings.NewReplacer(
		// The demo's miners are to stay who they are: two that nothing else speaks of.
		"merge ADDRESS OTHER", "merge "+miners[len(miners)-1].Address+" "+miners[len(miners)-2].Address,
		"--host oldhost --dbname purepool", "--dbname original",
		"postgres://reader@oldhost/purepool?sslmode=require", strings.ReplaceAll(s.owner, "dbname='purepool'", "dbname='original'"),
		"-h data.purepool.internal", "-h "+string(folder[1]), "-D /var/lib/postgresql/15/main", "-D "+filepath.Join(s.base, "replica"),
		"/etc/prometheus", filepath.Join(s.base, "prometheus"), "/etc/grafana", filepath.Join(s.base, "grafana"), "/var/lib/grafana", filepath.Join(s.base, "grafana"),
		"SHAREID", rejected, "BANID", ban,
		"127.0.0.1:8080", listen[0][1], "127.0.0.1:9101", listen[1][1], "127.0.0.1:8081", listen[2][1],
		"ADDRESS", miners[0].Address, "OTHER", miners[1].Address, "MINERGUID", miners[0].GUID,
		"ID", fmt.Sprint(payments[0].ID), "NAME", "roll-up", "NETWORK", "test", "WORD", "christmas-2018",
	)
}

// ask runs the program on the demo and reads the JSON that it prints.
func (s *stage) ask(answer any, args ...string) {
	s.t.Helper()
	out, err := exec.Command(house.Binary(s.t), append(args, "--config", s.config)...).Output()
	must(s.t, err)
	if err := json.Unmarshal(out, answer); err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// value asks the demo's database for one.
func (s *stage) value(query string) (value string) {
	s.t.Helper()
	must(s.t, s.db.QueryRowContext(s.t.Context(), query).Scan(&value))
	return value
}

// open opens the demo's database, and returns the connections of its roles by key.
func (s *stage) open() map[string]string {
	s.t.Helper()
	config, err := os.ReadFile(s.config)
	must(s.t, err)
	dsn := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^(\w+_dsn) = "(.*)"$`).FindAllStringSubmatch(string(config), -1) {
		dsn["DATABASE_"+strings.ToUpper(m[1])] = m[2]
	}
	s.owner = dsn["DATABASE_OWNER_DSN"]
	s.db, err = sql.Open("postgres", s.owner)
	must(s.t, err)
	s.t.Cleanup(func() { _ = s.db.Close() })
	return dsn
}

// prepareOwn makes databases beside the demo's: an empty one with the environment in
// which the example configuration serves it, a migrated one with the demo's
// configuration, and an original pool's, from which the latter moves here. There is a
// login for a replica, too.
func (s *stage) prepareOwn(dsn map[string]string) {
	s.t.Helper()
	own := map[string]string{
		"QUEUE_URL": "embedded:" + filepath.Join(s.base, "queue"), "QUEUE_SPOOL_DIR": filepath.Join(s.base, "spool"),
		"BACKEND_STATE_DIR": filepath.Join(s.base, "state"), "FRONTEND_HTTP_0_LISTEN": "127.0.0.1:0",
		"FRONTEND_STRATUM_0_LISTEN": "127.0.0.1:0", "WEB_LISTEN": "127.0.0.1:0", "HEALTH_FRONTEND_LISTEN": "127.0.0.1:0",
	}
	moved := make(map[string]string)
	for key, value := range dsn {
		own[key] = strings.ReplaceAll(value, "dbname='purepool'", "dbname='own'")
		moved[key] = strings.ReplaceAll(value, "dbname='purepool'", "dbname='moved'")
	}
	for _, statement := range []string{"CREATE DATABASE own", "CREATE DATABASE moved", "CREATE DATABASE original", "CREATE ROLE replicator REPLICATION LOGIN"} {
		_, err := s.db.ExecContext(s.t.Context(), statement)
		must(s.t, err)
	}
	s.own = environment(own)
	s.moved = append(environment(moved), "PUREPOOL_CONFIG="+s.config)
	migrate := exec.Command(house.Binary(s.t), "migrate")
	migrate.Env = append(os.Environ(), s.moved...)
	if out, err := migrate.CombinedOutput(); err != nil {
		s.t.Fatalf("migrate: %v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join(root, "ledger", "importer", "testdata", "original.sql"))
	must(s.t, err)
	original, err := sql.Open("postgres", strings.ReplaceAll(s.owner, "dbname='purepool'", "dbname='original'"))
	must(s.t, err)
	defer original.Close()
	// The demo has one network.
	_, err = original.ExecContext(s.t.Context(), "BEGIN;"+string(script)+`; DELETE FROM puretransaction_transaction WHERE network <> 'test';
		DELETE FROM block_block WHERE network <> 'test'; DELETE FROM miner_worker WHERE miner_id IN (SELECT id FROM miner_miner WHERE network <> 'test');
		DELETE FROM miner_miner WHERE network <> 'test'; COMMIT`)
	must(s.t, err)
}

// environment is what the configuration's keys are in a process's environment.
func environment(keys map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		list = append(list, "PUREPOOL_"+name+"="+keys[name])
	}
	return list
}

// env is the environment of a block. Postgres' own programs find the demo's server.
func (s *stage) env(b page.Block, dir string) []string {
	env := []string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8"}
	for word, name := range map[string]string{"host": "PGHOST", "port": "PGPORT", "user": "PGUSER"} {
		if m := regexp.MustCompile(word + `='?([^' ]+)`).FindStringSubmatch(s.owner); m != nil {
			env = append(env, name+"="+m[1])
		}
	}
	switch {
	case b.Note.OwnPool:
		return append(env, s.own...)
	case b.Note.MovedPool:
		return append(env, s.moved...)
	}
	return append(env, "PUREPOOL_CONFIG="+s.config)
}

// calm waits until nothing is wrong with the demo: it hurries, and now and then one
// of its jobs is late.
func (s *stage) calm() {
	s.await("the demo is well", time.Minute, func() bool {
		return exec.Command(house.Binary(s.t), "admin", "status", "--config", s.config).Run() == nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
