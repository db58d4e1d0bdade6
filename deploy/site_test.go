package deploy

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/internal/testkit"
)

// copySite copies the folder site, as an operator does, with other lines in site.env.
func copySite(t *testing.T, env ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "site")
	testkit.Command(t, "cp", "-r", "site", dir)
	must(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "secrets", "daemon.password"), []byte("wallet-secret\n"), 0o600))
	text, err := os.ReadFile(filepath.Join(dir, "site.env"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "site.env"), []byte(string(text)+strings.Join(env, "\n")+"\n"), 0o600))
	return dir
}

var large = []string{
	`FRONTENDS="frontend1=10.77.0.4 frontend2=10.77.0.5"`, `BACKENDS="backend1=10.77.0.3 backend2=10.77.0.8"`,
	`WEB="web1=10.77.0.7"`, `BALANCER="edge=10.77.0.6"`, `HTTP_PORTS="80, 8080"`, `STRATUM_PORTS="3333=main 3334=main"`, `METRICS="10.77.0.20, 10.77.0.21"`,
}

// Whatever site is written: each server's configuration is good for its role, and
// holds nothing of another's.
func TestEveryServersConfigurationIsGood(t *testing.T) {
	for name, env := range map[string][]string{
		"as it stands": nil, "large": large, "rabbitmq": {`BROKER=rabbitmq`}, "no stratum": {`STRATUM_PORTS=""`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copySite(t, env...)
			testkit.Command(t, "./make-site", dir)
			files, err := filepath.Glob(filepath.Join(dir, "out", "*", "*", "*.toml"))
			must(t, err)
			if len(files) < 3 {
				t.Fatalf("configurations: %v", files)
			}
			for _, file := range files {
				role := filepath.Base(filepath.Dir(file))
				if role == "data" {
					role = "migrate"
				}
				out := testkit.Command(t, binary(t), "config", "check", "--role", role, file)
				// The example's address is for nobody, which is said.
				for line := range strings.Lines(out) {
					if !strings.Contains(line, "pool_address") && !strings.Contains(line, ": good for the role "+role) {
						t.Errorf("%s: %s", file, line)
					}
				}
			}
			wantSecretsApart(t, dir)
		})
	}
}

// wantSecretsApart checks that a server's folder holds the secrets of its role alone.
func wantSecretsApart(t *testing.T, dir string) {
	t.Helper()
	holders := map[string]*regexp.Regexp{
		"postgres-frontend": regexp.MustCompile(`^(data|frontend\d)$`), "postgres-backend": regexp.MustCompile(`^(data|backend\d)$`),
		"postgres-web": regexp.MustCompile(`^(data|web\d)$`), "queue-frontend": regexp.MustCompile(`^(data|frontend\d)$`),
		"queue-backend": regexp.MustCompile(`^(data|backend\d)$`), "daemon.password": regexp.MustCompile(`^backend\d$`),
	}
	servers, err := os.ReadDir(filepath.Join(dir, "out"))
	must(t, err)
	authority, err := os.ReadFile(filepath.Join(dir, "ca", "ca-key.pem"))
	must(t, err)
	for _, server := range servers {
		var all bytes.Buffer
		must(t, filepath.Walk(filepath.Join(dir, "out", server.Name()), func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v", path, info.Mode())
			}
			return err
		}))
		if bytes.Contains(all.Bytes(), authority) {
			t.Errorf("%s has the authority's key", server.Name())
		}
		for secret, who := range holders {
			text, err := os.ReadFile(filepath.Join(dir, "secrets", secret))
			must(t, err)
			holds := bytes.Contains(all.Bytes(), bytes.TrimSpace(text))
			// RabbitMQ is given hashes.
			if holds && !who.MatchString(server.Name()) {
				t.Errorf("%s holds %s", server.Name(), secret)
			}
		}
	}
}

func TestCertificatesAreTheSitesOwnAndNameTheirServers(t *testing.T) {
	dir := copySite(t)
	testkit.Command(t, "./make-site", dir)
	read := func(path string) *x509.Certificate {
		text, err := os.ReadFile(filepath.Join(dir, path))
		must(t, err)
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		return c
	}
	authority := read("ca/ca.pem")
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	for server, names := range map[string][]string{
		"data": {"data.purepool.internal", "10.77.0.2"}, "backend1": {"backend1.purepool.internal", "10.77.0.3"},
		"frontend1": {"frontend1.purepool.internal"},
	} {
		c := read("certs/" + server + "/cert.pem")
		for _, name := range names {
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
				if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
					t.Errorf("%s as %s: %v", server, name, err)
				}
			}
		}
		if c.VerifyHostname("other.purepool.internal") == nil || c.IsCA || time.Until(c.NotAfter) < 700*24*time.Hour {
			t.Errorf("%s: %v, CA %v, until %v", server, c.DNSNames, c.IsCA, c.NotAfter)
		}
	}
	// A second run keeps what is good.
	before, err := os.ReadFile(filepath.Join(dir, "certs/data/cert.pem"))
	must(t, err)
	password, err := os.ReadFile(filepath.Join(dir, "secrets/postgres-frontend"))
	must(t, err)
	testkit.Command(t, "./make-site", dir)
	after, err := os.ReadFile(filepath.Join(dir, "certs/data/cert.pem"))
	must(t, err)
	again, err := os.ReadFile(filepath.Join(dir, "secrets/postgres-frontend"))
	must(t, err)
	if !bytes.Equal(before, after) || !bytes.Equal(password, again) {
		t.Error("a second run made certificates or passwords anew")
	}
}

func TestMakeSiteSaysWhatIsWrong(t *testing.T) {
	for env, want := range map[string]string{
		`DATA="data"`:                           `DATA: "data" is no server`,
		`FRONTENDS=""`:                          `FRONTENDS names no server`,
		`FRONTENDS="Front=10.0.0.1"`:            `"Front=10.0.0.1" is no server`,
		`FRONTENDS="data=10.0.0.1"`:             `two servers have the same name`,
		`BROKER=kafka`:                          `BROKER is nats or rabbitmq, not "kafka"`,
		`HTTP_PORTS=""`:                         `HTTP_PORTS wants port numbers`,
		`STRATUM_PORTS="3333"`:                  `"3333" is no PORT=NETWORK`,
		`ADMINS="everybody"`:                    `ADMINS wants addresses`,
		`METRICS="10.77.0.0/24"`:                `METRICS wants addresses`,
		`BALANCER="a=10.77.0.8 b=10.77.0.9"`:    `BALANCER wants one server`,
		`DATA="data=10.77.0.2 data2=10.77.0.9"`: `DATA wants one server`,
	} {
		out, err := exec.CommandContext(t.Context(), "./make-site", copySite(t, env)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want %q", env, err, out, want)
		}
	}
	dir := copySite(t)
	must(t, os.Remove(filepath.Join(dir, "secrets", "daemon.password")))
	out, err := exec.CommandContext(t.Context(), "./make-site", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "put the coin daemon's rpcpassword there") {
		t.Errorf("without the daemon's password: %v, %s", err, out)
	}
}

func TestFirewallsAreSound(t *testing.T) {
	dir := copySite(t, large...)
	testkit.Command(t, "./make-site", dir)
	servers, err := filepath.Glob(filepath.Join(dir, "out", "*", "firewall"))
	must(t, err)
	users := regexp.MustCompile(`purepool-(frontend|backend|web)`)
	for _, folder := range servers {
		files, err := filepath.Glob(filepath.Join(folder, "*.nft"))
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			// Where the servers' users are not known, and the folder is not yet in its place.
			changed := users.ReplaceAllString(strings.ReplaceAll(string(text), "/etc/purepool/firewall", folder), "nobody")
			must(t, os.WriteFile(file, []byte(changed), 0o600))
		}
		// In a network namespace of its own: nothing of this machine's is touched.
		out := testkit.Command(t, "unshare", "--net", "sh", "-c", "nft -f $0 && nft list table inet purepool", filepath.Join(folder, "purepool.nft"))
		if !strings.Contains(out, "ip saddr { 10.77.0.20, 10.77.0.21 } tcp dport 9101-9103 accept") {
			t.Errorf("%s does not let Prometheus in: %s", folder, out)
		}
	}
	if len(servers) != 7 {
		t.Errorf("%d firewalls", len(servers))
	}
}

// Metrics are for the servers that METRICS names, and without it for nobody: then the
// roles listen on loopback, and no rule speaks of their ports.
func TestMetricsAreForThoseWhomTheSiteNames(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		must(t, err)
		return string(text)
	}
	dir := copySite(t, large...)
	testkit.Command(t, "./make-site", dir)
	for file, want := range map[string]string{
		"out/frontend2/frontend/purepool.toml": "[health]\nmetrics_address = \"10.77.0.5\"\n",
		"out/backend1/backend/purepool.toml":   "[health]\nmetrics_address = \"10.77.0.3\"\n",
		"out/web1/web/purepool.toml":           "[health]\nmetrics_address = \"10.77.0.7\"\n",
	} {
		if text := read(filepath.Join(dir, file)); !strings.Contains(text, want) {
			t.Errorf("%s has no %q: %s", file, want, text)
		}
	}
	// Prometheus takes the targets as they were written.
	prometheus := t.TempDir()
	testkit.Command(t, "cp", "-r", "../grafana/prometheus/prometheus.yml", "../grafana/prometheus/rules", prometheus)
	must(t, os.Mkdir(filepath.Join(prometheus, "targets"), 0o700))
	targets := read(filepath.Join(dir, "prometheus-targets.yml"))
	must(t, os.WriteFile(filepath.Join(prometheus, "targets", "purepool.yml"), []byte(targets), 0o600))
	testkit.Command(t, "promtool", "check", "config", filepath.Join(prometheus, "prometheus.yml"))
	for _, want := range []string{`["10.77.0.4:9101"]`, `["10.77.0.5:9101"]`, `["10.77.0.3:9102"]`, `["10.77.0.8:9102"]`, `["10.77.0.7:9103"]`, "instance: frontend2 "} {
		if !strings.Contains(targets, want) {
			t.Errorf("no %s in %s", want, targets)
		}
	}

	dir = copySite(t)
	testkit.Command(t, "./make-site", dir)
	for _, words := range []string{"[health]", "METRICS", "dport 9101"} {
		if out, err := exec.CommandContext(t.Context(), "grep", "-rF", words, filepath.Join(dir, "out")).CombinedOutput(); err == nil {
			t.Errorf("without METRICS: %s", out)
		}
	}
}

func TestHAProxyTakesItsConfigurations(t *testing.T) {
	dir := copySite(t, large...)
	testkit.Command(t, "./make-site", dir)
	for _, file := range []string{"haproxy/haproxy.cfg", filepath.Join(dir, "out/edge/balancer/haproxy.cfg")} {
		text, err := os.ReadFile(file)
		must(t, err)
		// The names stand in the balancer's /etc/hosts, the users in its /etc/passwd.
		changed := regexp.MustCompile(`\S+\.purepool\.internal`).ReplaceAllString(string(text), "192.0.2.1")
		copied := filepath.Join(t.TempDir(), "haproxy.cfg")
		must(t, os.WriteFile(copied, []byte(changed), 0o600))
		out := testkit.Command(t, "haproxy", "-c", "-f", copied)
		if strings.Contains(out, "WARNING") {
			t.Errorf("%s: %s", file, out)
		}
	}
	made, err := os.ReadFile(filepath.Join(dir, "out/edge/balancer/haproxy.cfg"))
	must(t, err)
	for _, want := range []string{"bind :80\n", "bind :8080\n", "bind :3333\n", "bind :3334\n", "server frontend2 frontend2.purepool.internal:3334\n"} {
		if !strings.Contains(string(made), want) {
			t.Errorf("no %q in\n%s", want, made)
		}
	}
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := testkit.Folder()
	if err != nil {
		return "", err
	}
	// As scripts/release builds it, so that most is built once.
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/purepool", "purepool/cmd/purepool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building purepool: %w\n%s", err, out)
	}
	return dir + "/purepool", nil
})

func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	must(t, err)
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
