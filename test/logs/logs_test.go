// Package logs tests what the whole program writes down: the way of a share over
// two roles, on either road (HTTP and work, Stratum and jobs), nothing that is secret, and no address in full where that is wanted.
package logs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc/litecoindtest"
	"purepool/internal/testkit"
	"purepool/pool/queue/queuetest"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// minersIP is where the balancer says that the miners of these tests are.
const minersIP = "203.0.113.77"

// databasePassword of every role is this with its name before it.
const databasePassword = "-keeps-this-to-itself"

// text is what processes write.
type text struct{ testkit.Text }

// line is one line of the log.
type line struct {
	Level, Msg, Role, Share, Request, Network string
	whole                                     string
}

// lines reads what was logged since mark, a line at a time; all of it is JSON.
func (o *text) lines(t *testing.T, mark int) []line {
	t.Helper()
	var all []line
	for l := range strings.Lines(o.String()[mark:]) {
		parsed := line{whole: l}
		if err := json.Unmarshal([]byte(l), &parsed); err != nil {
			t.Errorf("not JSON: %s", l)
			continue
		}
		all = append(all, parsed)
	}
	return all
}

// yard is a pool in two processes whose log is read.
type yard struct {
	*house.House
	t        *testing.T
	log      *text
	broker   *queuetest.NATS
	frontend *house.Process
	backend  *house.Process
	secure   string // address of a Stratum port with TLS
	certs    string // folder of its certificate

	// Of a second network, which is mined with jobs of block templates:
	node *litecoindtest.Node
	home string // the pool's address on it
	jobs string // address of its Stratum port
}

func newYard(t *testing.T) *yard {
	y := &yard{t: t, log: new(text), broker: queuetest.NewNATS(t, queuetest.NATSOption{}), certs: t.TempDir(), secure: free(t), jobs: free(t)}
	y.node = litecoindtest.New(t, litecoindtest.Options{User: "litecoin-user-of-the-tests", Password: nodePassword})
	y.home = y.node.Wallet()
	y.node.Generate(1, y.home)
	// Alone a daemon makes no template.
	peer := litecoindtest.New(t, litecoindtest.Options{Peers: []*litecoindtest.Node{y.node}})
	testkit.Eventually(t, "the daemons are connected", 30*time.Second, func() bool { return peer.Height() == 1 })
	certificate, err := queuetest.NewCertificate(y.certs)
	must(t, err)
	y.House = house.New(t, house.Options{
		Broker: y.broker,
		Daemon: daemon.Options{Network: house.Network, User: "rpc-user-of-the-tests", Password: "rpc-password-of-the-tests"},
		Extra: fmt.Sprintf("\n[log]\nlevel = \"debug\"\nformat = \"json\"\n[frontend.tls]\ncert_file = %q\nkey_file = %q\n"+
			"[[frontend.stratum]]\nlisten = %q\nnetwork = \"test\"\ntls = true\n", certificate.Cert, certificate.Key, y.secure) +
			house.Regtest{Port: y.jobs, Wallet: y.home, Start: "0.001"}.Config(),
		BackendExtra: house.RegtestDaemon(y.node),
	})
	t.Setenv("PUREPOOL_FRONTEND_TRUSTED_PROXIES", "127.0.0.1")
	t.Setenv("PUREPOOL_FRONTEND_HTTP_0_PROXY_PROTOCOL", "true")
	t.Setenv("PUREPOOL_FRONTEND_STRATUM_0_PROXY_PROTOCOL", "true")
	t.Setenv("PUREPOOL_FRONTEND_STRATUM_2_PROXY_PROTOCOL", "true")
	for _, name := range []string{"purepool.toml", "frontend.toml"} {
		path := filepath.Join(y.Dir, name)
		config, err := os.ReadFile(path)
		must(t, err)
		for _, role := range []string{"frontend", "backend", "web"} {
			user := "user='purepool_" + role + "'"
			config = bytes.ReplaceAll(config, []byte(user), []byte("password='"+role+databasePassword+"' "+user))
		}
		must(t, os.WriteFile(path, config, 0o600))
	}
	y.Tee = y.log
	y.log.print(y.Purepool("migrate")) // gives the roles these passwords
	y.backend, y.frontend = y.Start("backend"), y.Start("frontend")
	y.backend.WaitReady(y.Backend, 30*time.Second)
	y.frontend.WaitReady(y.Health, 30*time.Second)
	return y
}

// print keeps the lines of a command that are log lines.
func (o *text) print(printed string) {
	for l := range strings.Lines(printed) {
		if strings.HasPrefix(l, "{") {
			_, _ = o.Write([]byte(l))
		}
	}
}

// mine lets a miner behind the balancer work until n more of its shares are
// answered ok, and returns its address.
func (y *yard) mine(n int64) {
	y.t.Helper()
	client, err := miner.NewClient("http://" + y.HTTP)
	must(y.t, err)
	client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_, err = conn.Write([]byte("PROXY TCP4 " + minersIP + " 127.0.0.1 5555 80\r\n"))
		}
		return conn, err
	}
	l := y.Mine(miner.FleetOptions{
		Miner:  miner.Options{Client: client, Interval: 10 * time.Millisecond, FaultPerMille: 300},
		Miners: 1,
	})
	y.Eventually("shares are taken", 30*time.Second, func() bool { return l.Counts().OK >= n })
	l.Stop()
}

// waitFor waits for a line of the log since mark.
func (y *yard) waitFor(mark int, what string, fits func(line) bool) {
	y.t.Helper()
	y.Eventually(what, 30*time.Second, func() bool { return slices.ContainsFunc(y.log.lines(y.t, mark), fits) })
}

func (y *yard) mark() int { return len(y.log.String()) }

func TestTheLogOfTheWholeProgram(t *testing.T) {
	y := newYard(t)
	t.Run("FollowsAShareOverTheRoles", y.followsAShare)
	t.Run("FollowsAShareOfAJobOverTheRoles", y.followsAShareOfAJob)
	t.Run("NamesABannedAddressByItsNetwork", y.namesABannedAddressByItsNetwork)
	t.Run("ChangesItsLevelWhileTheProgramRuns", y.changesItsLevel)
	t.Run("IsReadAgainAtSIGHUPWithTheCertificates", y.isReadAgain)
	y.trouble()
	t.Run("HoldsNoSecretHoweverMuchGoesWrong", y.holdsNoSecret)
	t.Run("HoldsNoAddressInFullButAtLevelDebug", y.holdsNoAddress)
}

func (y *yard) followsAShare(t *testing.T) {
	y.mine(5)
	for _, road := range [][]string{
		{"share received", "share durable", "share judged", "share in the ledger"},
		{"share received", "share refused", "share judged", "share in the ledger"},
	} {
		y.Eventually("a share's lines are all there", 20*time.Second, func() bool {
			said := make(map[string][]string)
			for _, l := range y.log.lines(t, 0) {
				if l.Share == "" {
					continue
				}
				behindTheQueue := l.Msg == "share judged" || l.Msg == "share in the ledger"
				if want := map[bool]string{true: "backend", false: "frontend"}[behindTheQueue]; l.Role != want {
					t.Fatalf("written by the wrong role: %s", l.whole)
				}
				said[l.Share] = append(said[l.Share], l.Msg)
			}
			for _, lines := range said {
				if slices.ContainsFunc(road, func(msg string) bool { return !slices.Contains(lines, msg) }) {
					continue
				}
				return true
			}
			return false
		})
	}
	requests := make(map[string]bool)
	for _, l := range y.log.lines(t, 0) {
		if l.Msg == "share received" {
			requests[l.Request] = true
		}
		if l.Msg == "Request answered" && requests[l.Request] {
			return
		}
	}
	t.Error("no request's line has the number of a share's")
}

func (y *yard) namesABannedAddressByItsNetwork(t *testing.T) {
	mark := y.mark()
	y.waitForAfter(mark, "the address is banned", func() {
		conn, err := net.Dial("tcp", y.Stratum)
		must(t, err)
		defer conn.Close()
		_, _ = conn.Write([]byte("PROXY TCP4 " + minersIP + " 127.0.0.1 5555 80\r\n" + strings.Repeat("junk\n", 50)))
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = conn.Read(make([]byte, 1))
	}, func(l line) bool {
		return l.Level == "INFO" && strings.Contains(l.whole, "banned") && strings.Contains(l.whole, "203.0.113.0/24")
	})
}

// waitForAfter does something again and again until a line says that it worked.
func (y *yard) waitForAfter(mark int, what string, do func(), fits func(line) bool) {
	y.t.Helper()
	y.Eventually(what, 20*time.Second, func() bool {
		do()
		return slices.ContainsFunc(y.log.lines(y.t, mark), fits)
	})
}

func (y *yard) changesItsLevel(t *testing.T) {
	debug := func(role string, mark int) bool {
		return slices.ContainsFunc(y.log.lines(t, mark), func(l line) bool { return l.Level == "DEBUG" && l.Role == role })
	}
	if out := y.Purepool("admin", "log-level", "frontend"); out != "frontend debug\n" {
		t.Errorf("the level: %s", out)
	}
	if out := y.Purepool("admin", "log-level", "frontend", "warn"); out != "frontend warn\n" {
		t.Errorf("changing it: %s", out)
	}
	mark := y.mark()
	y.mine(3)
	y.waitFor(mark, "the backend still says everything", func(l line) bool { return l.Msg == "share in the ledger" })
	if debug("frontend", mark) {
		t.Error("the frontend still says everything")
	}
	if out := y.Purepool("admin", "log-level", "--json", "backend", "info"); out != `{"backend":"info"}`+"\n" {
		t.Errorf("changing the backend's: %s", out)
	}
	out, err := exec.CommandContext(t.Context(), house.Binary(t), "admin", "log-level", "web", "info", "--config", y.Config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "health listener") {
		t.Errorf("a role that does not run: %v %s", err, out)
	}
	// Who comes over a proxy is not the machine's operator.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+y.Health+"/log-level?role=frontend&level=debug", nil)
	must(t, err)
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("over a proxy: %s", answer.Status)
	}
}

func (y *yard) isReadAgain(t *testing.T) {
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", y.secure) //nolint:gosec // what it shows is looked at
		must(t, err)
		defer conn.Close()
		return string(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Signature)
	}
	before := serial()
	_, err := queuetest.NewCertificate(y.certs)
	must(t, err)
	mark := y.mark()
	y.frontend.Signal(syscall.SIGHUP)
	y.backend.Signal(syscall.SIGHUP)
	for _, role := range []string{"frontend", "backend"} {
		y.waitFor(mark, "the "+role+" says that it read its configuration again", func(l line) bool {
			return l.Role == role && l.Msg == "configuration read again" && strings.Contains(l.whole, `"restart_needed":false`)
		})
	}
	if serial() == before {
		t.Error("the Stratum port shows the old certificate")
	}
	if out := y.Purepool("admin", "log-level", "frontend"); out != "frontend debug\n" {
		t.Errorf("the configured level is not back: %s", out)
	}

	// A configuration with faults changes nothing, one with more than levels says so.
	good, err := os.ReadFile(y.Config)
	must(t, err)
	mark = y.mark()
	must(t, os.WriteFile(y.Config, append(slices.Clone(good), "nonsense = 1\n"...), 0o600))
	y.backend.Signal(syscall.SIGHUP)
	y.waitFor(mark, "the faults are named", func(l line) bool {
		return l.Level == "ERROR" && l.Msg == "the configuration was not read again: it has faults"
	})
	must(t, os.WriteFile(y.Config, bytes.Replace(good, []byte("[backend]\n"), []byte("[backend]\nbatch_shares = 7\n"), 1), 0o600))
	y.backend.Signal(syscall.SIGHUP)
	y.waitFor(mark, "it says that the rest waits", func(l line) bool { return strings.Contains(l.whole, `"restart_needed":true`) })
	must(t, os.WriteFile(y.Config, good, 0o600))
}

// trouble takes everything away for a moment, and lets a frontend and an operator
// come with wrong words: errors are where secrets slip out.
func (y *yard) trouble() {
	t := y.t
	mark := y.mark()
	must(t, y.Cluster.Halt(t.Context()))
	must(t, y.broker.Stop())
	must(t, y.Daemon.SetFaults(daemon.Fault{Kind: daemon.FaultRefuse}))
	y.node.Kill()
	for _, url := range []string{y.Daemon.URL(), y.node.URL} {
		y.waitFor(mark, "the daemon is away", func(l line) bool { return l.Msg == "daemon is away" && strings.Contains(l.whole, url) })
	}
	y.waitFor(mark, "the broker is away", func(l line) bool { return strings.HasPrefix(l.Msg, "nats: ") && l.Level == "WARN" })
	must(t, y.broker.Start())
	must(t, y.Cluster.Restart(t.Context()))
	must(t, y.Daemon.SetFaults())
	y.node.Start()
	y.node.WaitReady()
	y.backend.WaitReady(y.Backend, 30*time.Second)

	wrong := filepath.Join(y.Dir, "wrong.toml")
	config, err := os.ReadFile(filepath.Join(y.Dir, "frontend.toml"))
	must(t, err)
	config = bytes.ReplaceAll(config, []byte(y.Health), []byte("127.0.0.1:0"))
	config = bytes.ReplaceAll(config, []byte(y.HTTP), []byte("127.0.0.1:0"))
	config = bytes.ReplaceAll(config, []byte(queuetest.FrontendPassword), []byte("mistyped-"+queuetest.FrontendPassword))
	must(t, os.WriteFile(wrong, config, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, house.Binary(t), "frontend", "--config", wrong)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, _ := cmd.CombinedOutput()
	if !strings.Contains(strings.ToLower(string(out)), "authorization") {
		t.Errorf("a wrong password at the broker is not named:\n%s", out)
	}
	y.log.print(string(out))

	// Mistakes in a configuration, beside a secret.
	for _, mistake := range []string{"backend_dsn = 7391846520", "backend_dsn = [\"hunter2-hunter2\"]", "backend_dsn = \"host=h password='hunter2-hunter2"} {
		must(t, os.WriteFile(wrong, []byte("[database]\n"+mistake+"\n"), 0o600))
		out, err := exec.CommandContext(t.Context(), house.Binary(t), "config", "check", "--role", "backend", wrong).CombinedOutput()
		if err == nil || bytes.Contains(out, []byte("hunter2-hunter2")) || bytes.Contains(out, []byte("7391846520")) {
			t.Errorf("%s: %v %s", mistake, err, out)
		}
	}
}

func (y *yard) holdsNoSecret(t *testing.T) {
	user, password := y.Daemon.Credentials()
	key, err := os.ReadFile(filepath.Join(y.certs, "key.pem"))
	must(t, err)
	secrets := []string{
		databasePassword, queuetest.FrontendPassword, queuetest.BackendPassword, password,
		base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), nodePassword, strings.Split(string(key), "\n")[1],
	}
	log := y.log.String()
	for _, secret := range secrets {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("%s stands in the log: …%.300s", secret, log[max(0, at-150):])
		}
	}
	// So that this can fail: it is a whole log, at level debug, of both roles.
	for _, text := range []string{`"level":"DEBUG"`, `"role":"backend"`, `"role":"frontend"`, "daemon is away"} {
		if !strings.Contains(log, text) {
			t.Errorf("%s is missing in the log", text)
		}
	}
}

func (y *yard) holdsNoAddress(t *testing.T) {
	rows, err := y.DB.QueryContext(t.Context(), `SELECT address FROM purepool.miner`)
	must(t, err)
	defer rows.Close()
	secrets := []string{minersIP, y.Daemon.PoolAddress(), y.home}
	for rows.Next() {
		var address string
		must(t, rows.Scan(&address))
		secrets = append(secrets, address)
	}
	must(t, rows.Err())
	inFull := 0
	for _, l := range y.log.lines(t, 0) {
		for _, secret := range secrets {
			if !strings.Contains(l.whole, secret) {
				continue
			}
			if l.Level != "DEBUG" {
				t.Errorf("%s stands in %s", secret, l.whole)
			}
			inFull++
		}
	}
	if inFull == 0 || !slices.Contains(secrets, jobMiner) || len(secrets) < 5 {
		t.Errorf("%d addresses, %d lines of level debug name one: nothing was tested", len(secrets), inFull)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
