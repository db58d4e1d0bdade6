package hosts

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"purepool/internal/testkit"
	"purepool/sim/daemon"
	"purepool/test/page"
)

// The wallet's RPC credentials, and the port on which the simulated daemon listens
// on every address of the backend's server: the worst that an operator can do.
const (
	rpcUser     = "purepool"
	rpcPassword = "wallet-secret"
	rpcPort     = 9998
)

// networks is the site's networks.toml: any hash is a share, one in 256 is a block.
const networks = `
[network.test]
chain = "biblepay-test"
pool_address = %q
hash_target = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
easiest_hash_target = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

[network.test.settlement]
close_depth = 2
share_grace = "1s"
confirmations = 6
orphan_depth = 3

[network.test.payments]
enabled = true
threshold = "0.5"
min_interval = "2s"
confirm_depth = 3
absent_delay = "11s"
retry_min = "1s"
retry_max = "2s"
`

// daemons is the site's daemons.toml; what follows belongs to the backends alone, too.
const daemons = `
[[network.test.daemon]]
url = "http://127.0.0.1:9998"
user = "purepool"
password_file = "daemon.password"

[backend.schedule]
watch = "500ms"
close_rounds = "1s"
share_out = "1s"
pay = "1s"
`

// daemonUnit is the simulated daemon as a unit of the backend's server, with its
// chain and wallet on disk.
const daemonUnit = `[Unit]
Description=Simulated coin daemon
[Service]
ExecStart=/usr/local/bin/purepool sim daemon --listen 0.0.0.0:%d --user %s --password %s --network test --seed 1 ` +
	`--bits 0x2000ffff --maturity 5 --block-interval 1s --base-height 1000 --history 12 --journal /var/lib/sim-daemon/journal
StateDirectory=sim-daemon
Restart=always
[Install]
WantedBy=multi-user.target
`

// site is the folder with which an operator begins, and the release beside it.
type site struct {
	t       testing.TB
	dir     string // a copy of deploy/site
	release string // an unpacked archive
	env     map[string]string
}

// newSite unpacks a release and edits a copy of deploy/site.
func newSite(t testing.TB, env map[string]string) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "site"), release: release(t), env: env}
	testkit.Command(t, "cp", "-r", filepath.Join(s.release, "deploy", "site"), s.dir)
	pool, err := daemon.New(daemon.Options{Network: "test", Seed: 1})
	must(t, err)
	defer pool.Close()
	s.write("networks.toml", fmt.Sprintf(networks, pool.PoolAddress()))
	s.write("daemons.toml", daemons)
	must(t, os.Mkdir(filepath.Join(s.dir, "secrets"), 0o700))
	s.write("secrets/daemon.password", rpcPassword+"\n")
	// All miners of the test have one address.
	const limits = "PUREPOOL_FRONTEND_REQUESTS_PER_SECOND_PER_IP=100000\nPUREPOOL_FRONTEND_BURST_PER_IP=100000\n" +
		"PUREPOOL_FRONTEND_MAX_CONNECTIONS_PER_IP=10000\nPUREPOOL_FRONTEND_WORKS_PER_MINUTE=1000000\n"
	s.write("frontend.env", limits)
	s.write("all.env", limits)
	s.edit()
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

// secret reads a password of the site.
func (s *site) secret(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "secrets", name))
	must(s.t, err)
	return strings.TrimSpace(string(text))
}

// authority is the site's own.
func (s *site) authority() *x509.CertPool {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "ca", "ca.pem"))
	must(s.t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		s.t.Fatal("the authority's certificate is none")
	}
	return pool
}

// make runs deploy/make-site on the site as it is now wanted.
func (s *site) make() {
	s.t.Helper()
	s.edit()
	testkit.Command(s.t, filepath.Join(s.release, "deploy", "make-site"), s.dir)
}

// edit writes site.env as an operator edits it.
func (s *site) edit() {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.release, "deploy", "site", "site.env"))
	must(s.t, err)
	lines := strings.Split(string(text), "\n")
	for key, value := range s.env {
		found := false
		for i, line := range lines {
			if strings.HasPrefix(line, key+"=") {
				lines[i], found = key+"="+strconv.Quote(value), true
			}
		}
		if !found {
			s.t.Fatalf("deploy/site/site.env has no %s", key)
		}
	}
	s.write("site.env", strings.Join(lines, "\n"))
}

// carry copies the release and the server's own folder to a server, as scp would.
func (s *site) carry(h *host) {
	s.t.Helper()
	testkit.Command(s.t, "rm", "-rf", h.path("/root/release"))
	testkit.Command(s.t, "cp", "-r", s.release, h.path("/root/release"))
	testkit.Command(s.t, "mkdir", h.path("/root/release/out"))
	testkit.Command(s.t, "cp", "-r", filepath.Join(s.dir, "out", h.name), h.path("/root/release/out/"+h.name))
}

// setUp sets a server up, as docs/INSTALL.md does.
func (s *site) setUp(h *host, role string) {
	s.t.Helper()
	s.carry(h)
	h.follow("deploy/setup "+role+" out/"+h.name, "")
}

// describe makes the site with a block of docs/INSTALL.md, instead of copying and
// making it: in the release's folder, with an editor that types what the test wants.
func (s *site) describe(b page.Block) {
	s.t.Helper()
	dir := s.t.TempDir()
	must(s.t, os.Symlink(filepath.Join(s.release, "deploy"), filepath.Join(dir, "deploy")))
	must(s.t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	must(s.t, os.WriteFile(filepath.Join(dir, "bin", "nano"), []byte(strings.ReplaceAll(editor, "/root/typed", s.typed())), 0o755)) //nolint:gosec // a program
	cmd := exec.Command("bash", "-c", "set -euo pipefail\n"+b.Text)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(rpcPassword+"\n")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %v\n%s", b, err, out)
	}
	s.dir = filepath.Join(dir, "my-site")
}

// typed is a folder with what the operator types into files of the site.
func (s *site) typed() string {
	s.t.Helper()
	s.edit()
	dir := s.t.TempDir()
	for _, file := range []string{"site.env", "networks.toml", "daemons.toml", "frontend.env", "all.env"} {
		testkit.Command(s.t, "cp", filepath.Join(s.dir, file), dir)
	}
	return dir
}

// scratch is a folder that is removed when all tests have ended.
func scratch() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("purepool-hosts-release-%d", os.Getpid()))
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(scratch())
	os.Exit(code)
}
