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
	out    house.Text
}

// newStage starts the demo and waits until it has paid.
func newStage(t *testing.T) *stage {
	t.Helper()
	// Postgres does not run as root, and its user cannot enter root's folders.
	base, err := os.MkdirTemp("", "purepool-docs-")
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &stage{t: t, dir: filepath.Join(base, "demo"), bin: t.TempDir()}
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
	s.learn()
	s.prepareOwn(base)
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
	if len(miners) < 2 || len(payments) == 0 {
		s.t.Fatalf("%d miners, %d payments", len(miners), len(payments))
	}
	config, err := os.ReadFile(s.config)
	must(s.t, err)
	listen := regexp.MustCompile(`(?m)^(?:frontend_)?listen = "([^"]+)"`).FindAllStringSubmatch(string(config), -1)
	if len(listen) != 3 {
		s.t.Fatalf("listeners of the demo: %v", listen)
	}
	s.values = strings.NewReplacer(
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

// prepareOwn makes an empty database beside the demo's, and the environment in
// which the example configuration serves it.
func (s *stage) prepareOwn(base string) {
	config, err := os.ReadFile(s.config)
	must(s.t, err)
	env := map[string]string{
		"QUEUE_URL": "embedded:" + filepath.Join(base, "queue"), "QUEUE_SPOOL_DIR": filepath.Join(base, "spool"),
		"BACKEND_STATE_DIR": filepath.Join(base, "state"), "FRONTEND_HTTP_0_LISTEN": "127.0.0.1:0",
		"FRONTEND_STRATUM_0_LISTEN": "127.0.0.1:0", "WEB_LISTEN": "127.0.0.1:0", "HEALTH_FRONTEND_LISTEN": "127.0.0.1:0",
	}
	for _, m := range regexp.MustCompile(`(?m)^(\w+_dsn) = "(.*)"$`).FindAllStringSubmatch(string(config), -1) {
		env["DATABASE_"+strings.ToUpper(m[1])] = strings.ReplaceAll(m[2], "dbname='purepool'", "dbname='own'")
	}
	owner := env["DATABASE_OWNER_DSN"]
	db, err := sql.Open("postgres", strings.ReplaceAll(owner, "dbname='own'", "dbname='purepool'"))
	must(s.t, err)
	defer db.Close()
	_, err = db.ExecContext(s.t.Context(), "CREATE DATABASE own")
	must(s.t, err)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		s.own = append(s.own, "PUREPOOL_"+name+"="+env[name])
	}
}

// env is the environment of a block.
func (s *stage) env(b page.Block, dir string) []string {
	env := []string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8"}
	if b.Note.OwnPool {
		return append(env, s.own...)
	}
	return append(env, "PUREPOOL_CONFIG="+s.config)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
