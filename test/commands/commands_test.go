// Package commands tests what an operator does: migrate, start, look, change,
// stop, on real servers.
package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/internal/testkit"
	"purepool/pool/queue"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// purepool runs the program to its end and returns its exit code and what it
// printed.
func purepool(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, house.Binary(t), args...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// mine lets one miner hand in shares until n were answered ok.
func mine(t *testing.T, h *house.House, n int64) {
	t.Helper()
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: 10 * time.Millisecond}, Miners: 1})
	h.Eventually("shares are taken", 30*time.Second, func() bool { return l.Counts().OK >= n })
	l.Stop()
}

func TestMigrateMayBeRunAgainAndSaysWhatItDid(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	if out := h.Purepool("migrate"); !strings.Contains(out, "the database is up to date") || !strings.Contains(out, "networks: test") {
		t.Errorf("migrate: %s", out)
	}
	code, out := purepool(t, "migrate", "--json", "--config", h.Config)
	if code != 0 || !strings.Contains(out, `"networks":["test"]`) {
		t.Errorf("migrate --json: %d %s", code, out)
	}
}

func TestRoleSaysWhyItDoesNotStart(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	text, err := os.ReadFile(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(h.Dir, "unknown.toml")
	changed := strings.NewReplacer("network.test", "network.regtest", `network = "test"`, `network = "regtest"`).Replace(string(text))
	if err := os.WriteFile(unknown, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := purepool(t, "all", "--config", unknown); code != 1 || !strings.Contains(out, "network regtest is not in the database: run purepool migrate") {
		t.Errorf("a network that was never migrated: %d %s", code, out)
	}
	if _, err := h.DB.ExecContext(t.Context(), `DELETE FROM purepool.goose_db_version WHERE version_id > 1`); err != nil {
		t.Fatal(err)
	}
	if code, out := purepool(t, "all", "--config", h.Config); code != 1 || !strings.Contains(out, "older than this program: run purepool migrate") {
		t.Errorf("an older database: %d %s", code, out)
	}
}

func TestOperatorFindsDisablesAndEnablesAMiner(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}, Extra: "\n"})
	p := h.Run("all")
	mine(t, h, 3)

	var miners []struct {
		Address    string
		GUID       string `json:"miner_guid"`
		Enabled    bool
		HashTarget string `json:"hash_target"`
	}
	find := func(args ...string) int {
		t.Helper()
		code, out := purepool(t, append([]string{"admin", "miner", "find", "--json", "--config", h.Config}, args...)...)
		if code != 0 {
			t.Fatalf("find: %s", out)
		}
		miners = nil
		if err := json.Unmarshal([]byte(out), &miners); err != nil {
			t.Fatal(err, out)
		}
		return len(miners)
	}
	if find() != 1 || !miners[0].Enabled {
		t.Fatalf("miners: %+v", miners)
	}
	who := miners[0]
	h.Purepool("admin", "miner", "disable", who.Address, "--reason", "asked for it")
	if find("--disabled", who.GUID) != 1 || miners[0].Enabled {
		t.Errorf("after disable: %+v", miners)
	}
	target := strings.Repeat("7", 64)
	h.Purepool("admin", "miner", "set-target", who.GUID, target)
	if find(who.Address, "--network", house.Network) != 1 || miners[0].HashTarget != target {
		t.Errorf("after set-target: %+v", miners)
	}
	h.Purepool("admin", "miner", "set-target", who.Address, "none")
	h.Purepool("admin", "miner", "enable", who.Address)
	if find(who.Address) != 1 || !miners[0].Enabled || miners[0].HashTarget != "" {
		t.Errorf("after enable: %+v", miners)
	}
	if code, out := purepool(t, "admin", "miner", "disable", "nobody", "--config", h.Config); code != 1 || !strings.Contains(out, "there is no miner nobody") {
		t.Errorf("a miner that is none: %d %s", code, out)
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
}

func TestOperatorReachesDeadLettersOfTheEmbeddedBrokerWhetherItRunsOrNot(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	folder := filepath.Join(h.Dir, "queue")
	id := uuid.Must(uuid.NewV7())
	letter := queue.DeadLetter{
		ID: id, Network: house.Network, Reason: "a test", Attempts: 3,
		Share: &queue.Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now(), Solution: []byte("garbage"), Refusal: "SolutionInvalid"},
	}
	broker, err := queue.Open(t.Context(), queue.Config{URL: "embedded:" + folder})
	if err != nil {
		t.Fatal(err)
	}
	err = broker.Provision(t.Context(), house.Network)
	if err == nil {
		err = broker.DeadLetters().Add(t.Context(), letter)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}

	if out := h.Purepool("admin", "deadletter", "list"); !strings.Contains(out, id.String()) || !strings.Contains(out, "a test") {
		t.Errorf("while nobody runs: %s", out)
	}
	p := h.Run("all")
	if out := h.Purepool("admin", "deadletter", "list", "--json"); !strings.Contains(out, id.String()) || !strings.Contains(out, `"solution":"garbage"`) {
		t.Errorf("while the pool runs: %s", out)
	}
	if out := h.Purepool("admin", "deadletter", "replay", id.String()); !strings.Contains(out, "1 dead letter replayed") {
		t.Errorf("replay: %s", out)
	}
	// What is replayed is judged: this one was refused when it arrived.
	h.Eventually("the replayed share is written down", 20*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.rejected_share`) == 1
	})
	if code, out := purepool(t, "admin", "deadletter", "discard", id.String(), "--reason", "a test", "--config", h.Config); code != 1 || !strings.Contains(out, "dead letter not found") {
		t.Errorf("discarding what is gone: %d %s", code, out)
	}
	p.Stop()
}

func TestRoleStopsInGoodOrderAlsoWhileItStarts(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	p := h.Run("all")
	mine(t, h, 20)
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := p.Output(); !strings.Contains(out, "msg=stopped") {
		t.Errorf("the log does not say that it stopped:\n%s", out)
	}

	// A start that waits for its database ends at once when it is told to.
	if err := h.Cluster.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := h.Start("all")
	h.Eventually("it waits for the database", 20*time.Second, func() bool { return strings.Contains(waiting.Output(), "for=database") })
	code, body := house.Get(t, "http://"+h.Health+"/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for the database") {
		t.Errorf("readyz while waiting: %d %s", code, body)
	}
	if code, _ := house.Get(t, "http://"+h.Health+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz while waiting: %d", code)
	}
	if code := waiting.Stop(); code != 0 {
		t.Errorf("exit code %d while waiting", code)
	}
}

func TestSecondSignalKillsARoleThatStillDrains(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	var out testkit.Text
	cmd := exec.Command(house.Binary(t), "all", "--config", h.Config)
	cmd.Stderr = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.Eventually("it is ready", 30*time.Second, func() bool { return strings.Contains(out.String(), "msg=ready") })
	// A request that is on its way keeps the drain waiting.
	conn, err := net.Dial("tcp", h.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST /Action.aspx HTTP/1.1\r\nMiner: ")); err != nil {
		t.Fatal(err)
	}
	h.Eventually("the request is being read", 10*time.Second, func() bool {
		_, body := house.Get(t, "http://"+h.Health+"/metrics")
		return strings.Contains(body, `purepool_http_connections{port="http-0",state="reading"} 1`)
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.Eventually("it drains", 10*time.Second, func() bool {
		code, body := house.Get(t, "http://"+h.Health+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || time.Since(begun) > 5*time.Second {
		t.Errorf("after the second signal it ended with %v, %v later", cmd.ProcessState, time.Since(begun))
	}
}

func TestStartWaitsForTheDatabaseAndThenServes(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	if err := h.Cluster.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := h.Start("all")
	h.Eventually("it waits for the database", 20*time.Second, func() bool { return strings.Contains(p.Output(), "for=database") })
	if err := h.Cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.WaitReady(h.Health, 30*time.Second)
	mine(t, h, 1)
	p.Stop()
}

func TestWebServesACalmPageUntilItsDatabaseIsThereWithNoRightButItsOwn(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	if err := h.Cluster.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	pages, health := testkit.FreeAddress(t), testkit.FreeAddress(t)
	config := filepath.Join(h.Dir, "web.toml")
	text := fmt.Sprintf("[database]\nweb_dsn = %q\n[web]\nlisten = %q\n[health]\nweb_listen = %q\n"+
		"[network.test]\npool_address = %q\nhash_target = %q\n",
		h.Cluster.DSN("purepool_web", "purepool"), pages, health, h.Daemon.PoolAddress(), house.EasyTarget)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(house.Binary(t), "web", "--config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	look := func(url string) (int, string) { return tryGet(t, "http://"+url) }
	h.Eventually("it listens", 10*time.Second, func() bool { code, _ := look(pages + "/assets/x"); return code != 0 })
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/test/":            {503, "Back in a moment"},
		"/test/statistics":  {503, "Back in a moment"},
		"/test/howtojoin/":  {200, "How to join"},
		"/api/v1/test":      {503, "the database does not answer"},
		"/api/v1/pool":      {503, "the database does not answer"},
		"/test/live":        {503, "the database does not answer"},
		"/bogus/":           {404, "There is nothing here"},
		"/test/miner/xyz/":  {503, "Back in a moment"},
		"/test/live.json":   {503, "the database does not answer"},
		"/test/search?q=xy": {503, "Back in a moment"}, // after the redirection
	} {
		if code, body := look(pages + path); code != want.code || !strings.Contains(body, want.text) {
			t.Errorf("%s: %d %.300s", path, code, body)
		}
	}
	if code, body := look(health + "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for the database") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if err := h.Cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Eventually("it is ready by itself", 20*time.Second, func() bool { code, _ := look(health + "/readyz"); return code == http.StatusOK })
	if code, body := look(pages + "/test/"); code != http.StatusOK || !strings.Contains(body, "How is my miner doing?") {
		t.Errorf("page: %d %.500s", code, body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// freeAddress is one on which nobody listens.

// tryGet is get where nobody may answer: status 0.
func tryGet(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, ""
	}
	return r.StatusCode, string(body)
}
