// Package metrics lets a real Prometheus watch two running pools and asks it
// everything that dashboards, annotations, variables and rules ask.
//
// One pool is the demo with its own Prometheus. The other one has what the demo
// has not: a template network on two litecoind nodes, Stratum ports, TLS.
package metrics_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc/litecoindtest"
	"purepool/internal/testkit"
	"purepool/sim/daemon"
	sim "purepool/sim/stratum"
	"purepool/test/house"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a command until the test ends, or until stop is called, which
// returns how it ended after Ctrl-C.
func start(t testing.TB, out io.Writer, name string, args ...string) (stop func() error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	ended := make(chan struct{})
	var result error
	go func() { result = cmd.Wait(); close(ended) }()
	stop = func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			return result
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("%s %s did not stop", name, args)
		}
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return stop
}

// pools are the two pools and the Prometheus that watches them.
type pools struct {
	prometheus string // its address as a URL
	pages      string // of the demo
	dir        string // of the demo
	stopDemo   func() error
	printed    *testkit.Text
}

var places = map[string]*regexp.Regexp{
	"prometheus": regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/alerts`),
	"pages":      regexp.MustCompile(`Pages\s+(http://127\.0\.0\.1:\d+)/`),
}

func startPools(t *testing.T) *pools {
	t.Helper()
	// Postgres does not run as root, and its user cannot enter root's folders.
	parent, err := os.MkdirTemp("", "purepool-metrics-")
	must(t, err)
	must(t, os.Chmod(parent, 0o755))
	t.Cleanup(func() { os.RemoveAll(parent) })
	p := &pools{dir: filepath.Join(parent, "d"), printed: new(testkit.Text)}
	p.stopDemo = start(t, p.printed, house.Binary(t), "demo", "--fast", "--plain", "--prometheus", "--dir", p.dir)
	other := startTemplatePool(t) // while the demo starts
	find := func(name string) (found string) {
		testkit.Eventually(t, "the demo tells where it is: "+name+"\n"+p.printed.String(), 60*time.Second, func() bool {
			m := places[name].FindStringSubmatch(p.printed.String())
			if m != nil {
				found = m[1]
			}
			return m != nil
		})
		return found
	}
	p.prometheus, p.pages = find("prometheus"), find("pages")
	target := fmt.Sprintf("- targets: [%q]\n  labels: { instance: template }\n", other)
	must(t, os.WriteFile(filepath.Join(p.dir, "prometheus/targets/template.yml"), []byte(target), 0o644))
	return p
}

// visit looks at the pages, which nobody else does.
func (p *pools) visit(t testing.TB) {
	t.Helper()
	for _, path := range []string{"/", "/test/", "/test/statistics/", "/nothing/here"} {
		answer, err := http.Get(p.pages + path) //nolint:noctx // ends with the test
		must(t, err)
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// certificate writes a certificate of a year.
func certificate(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pool.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	return certFile, keyFile
}

// minerAddress is nobody's: miners need no key to mine.
const minerAddress = "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E"

// startTemplatePool starts a pool with a template network, TLS and miners on a
// Stratum port, and returns the address of its metrics.
func startTemplatePool(t *testing.T) string {
	t.Helper()
	first := litecoindtest.New(t, litecoindtest.Options{})
	second := litecoindtest.New(t, litecoindtest.Options{Peers: []*litecoindtest.Node{first}})
	address := first.Wallet()
	first.Generate(1, address) // a node without blocks believes that it is still loading the chain
	certFile, keyFile := certificate(t)
	port := testkit.FreeAddress(t)
	extra := fmt.Sprintf(`
[[frontend.http]]
listen = %q
tls = true
[frontend.tls]
cert_file = %q
key_file = %q
[web]
listen = %q
`, testkit.FreeAddress(t), certFile, keyFile, testkit.FreeAddress(t)) + house.Regtest{Port: port, Wallet: address, Start: "0.002"}.Config()
	daemons := house.RegtestDaemon(first) + fmt.Sprintf("zmq_hashblock = [\"tcp://%s\"]\n", testkit.FreeAddress(t)) + house.RegtestDaemon(second)
	t.Setenv("PUREPOOL_BACKEND_STATE_DIR", t.TempDir())
	h := house.New(t, house.Options{
		Extra: extra, BackendExtra: daemons, Daemon: daemon.Options{Network: house.Network, BaseHeight: 1000, History: 2, Bits: 0x1d00ffff},
	})
	h.Start("all").WaitReady(h.Health, time.Minute)
	house.StartMiner(t, sim.Options{ // whether its shares arrive is asked of Prometheus
		Pool: port, Worker: minerAddress + ".rig", Algorithm: "scrypt", Connections: 2, HashRate: 192, Password: "d=0.002", Pause: 100 * time.Millisecond,
	})
	return h.Health
}

// addressLike is what no label may hold: where a miner is, or who.
var addressLike = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b|\b[A-Za-z0-9]{26,}\b`)
