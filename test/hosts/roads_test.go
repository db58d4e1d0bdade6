package hosts

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
)

// testRoads tries, from the frontend's server, what somebody would who has taken it
// over whole: root there, who has opened its firewall and read its files.
func testRoads(t *testing.T, p *pool, _ *load) {
	p.net.nft(p.frontend.name, "delete table inet purepool")
	defer p.frontend.run("systemctl", "reload", "purepool-firewall.service")
	t.Run("ports", func(t *testing.T) { p.testPorts(t) })
	t.Run("wallet", func(t *testing.T) { p.testWallet(t) })
	t.Run("database", func(t *testing.T) { p.testDatabase(t) })
	t.Run("metrics", func(t *testing.T) { p.testMetrics(t) })
	t.Run("broker", func(t *testing.T) { p.broker.test(t, p) })
	t.Run("frontendUser", func(t *testing.T) { p.testFrontendUser(t) })
}

// reach reports whether a TCP connection from one server to an address comes about.
func (p *pool) reach(from, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := p.net.dialer(from)(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// testPorts reaches for every port of the other servers that is of use to anybody.
func (p *pool) testPorts(t *testing.T) {
	for _, open := range []string{p.data.address + ":5432", fmt.Sprintf("%s:%d", p.data.address, p.broker.port())} {
		if !p.reach(p.frontend.name, open) {
			t.Errorf("the frontend cannot reach %s, which it needs: the test shows nothing", open)
		}
	}
	var calls []func()
	closed := func(h *host, ports ...int) {
		for _, port := range ports {
			address := fmt.Sprintf("%s:%d", h.address, port)
			calls = append(calls, func() {
				if p.reach(p.frontend.name, address) {
					t.Errorf("the frontend reaches %s of %s", address, h.name)
				}
			})
		}
	}
	closed(p.backend, 22, 80, 111, 4222, 5432, 5671, 9101, 9102, 9103, rpcPort)
	closed(p.data, 22, 80, 111, 4369, 5433, 5672, 6222, 8222, 9102, 15672, 25672)
	together(calls...)
	// Who is not on the servers' network reaches nothing but the miners' ports.
	if !p.reach("miners", world+"4:80") || !p.reach("miners", world+"4:3333") {
		t.Error("miners cannot reach the frontend: the test shows nothing")
	}
	if p.reach("miners", p.data.address+":5432") || p.reach("miners", fmt.Sprintf("%s:%d", p.backend.address, rpcPort)) {
		t.Error("the world reaches the servers' own network")
	}
}

// prometheus is the address of METRICS.
const prometheus = lan + "20"

// testMetrics scrapes the roles from the server that the site names, and from
// others: of the same network, and of the world.
func (p *pool) testMetrics(t *testing.T) {
	p.frontend.run("systemctl", "reload", "purepool-firewall.service")
	defer p.net.nft(p.frontend.name, "delete table inet purepool")
	for name, address := range map[string]string{"prometheus": prometheus, "stranger": lan + "21"} {
		p.net.addNamespace(name)
		p.net.plug(name, "lan", address)
	}
	for h, port := range map[*host]int{p.frontend: 9101, p.backend: 9102} {
		address := fmt.Sprintf("%s:%d", h.address, port)
		if text := p.net.get("prometheus", "http://"+address+"/metrics"); !strings.Contains(text, "purepool_build_info{") {
			t.Errorf("Prometheus gets from %s: %.200q", address, text)
		}
		if p.reach("stranger", address) || p.reach("prometheus", h.address+":22") {
			t.Errorf("a stranger reaches %s, or Prometheus more than that", address)
		}
	}
	if p.reach("miners", world+"4:9101") || p.reach("miners", world+"4:22") {
		t.Error("the world reaches the frontend's metrics or ssh")
	}
}

// testWallet asks for the wallet's RPC port, on which the daemon listens for the
// whole network. Only the firewall of the backend's server stands before it, and
// the test proves that by taking it away.
func (p *pool) testWallet(t *testing.T) {
	address := fmt.Sprintf("%s:%d", p.backend.address, rpcPort)
	if !p.reach(p.backend.name, address) {
		t.Fatal("the daemon does not listen on the network: the test shows nothing")
	}
	if p.reach(p.frontend.name, address) {
		t.Error("the frontend reaches the wallet")
	}
	p.net.nft(p.backend.name, "delete table inet purepool")
	if !p.reach(p.frontend.name, address) {
		t.Error("the frontend does not reach the wallet without the firewall either: the test shows nothing")
	}
	p.backend.run("systemctl", "reload", "purepool-firewall.service")
	if p.reach(p.frontend.name, address) {
		t.Error("the frontend reaches the wallet after the firewall was loaded again")
	}
}

// login opens the database from the frontend's server as the site's files say, with
// changes. The certificates are those of the site's folder, which are the same.
func (p *pool) login(t *testing.T, role string, change func(*url.URL, url.Values)) *sql.DB {
	t.Helper()
	server := map[string]string{"frontend": p.frontend.name, "backend": p.backend.name}[role]
	text, err := os.ReadFile(filepath.Join(p.site.dir, "out", server, role, role+".dsn"))
	must(t, err)
	u, err := url.Parse(strings.TrimSpace(string(text)))
	must(t, err)
	u.Host = p.data.address + ":5432"
	q := u.Query()
	folder := filepath.Join(p.site.dir, "out", p.frontend.name, "frontend", "tls")
	q.Set("sslrootcert", filepath.Join(folder, "ca.pem"))
	q.Set("sslcert", filepath.Join(folder, "cert.pem"))
	q.Set("sslkey", filepath.Join(folder, "key.pem"))
	if change != nil {
		change(u, q)
	}
	u.RawQuery = q.Encode()
	connector, err := pq.NewConnector(u.String())
	must(t, err)
	connector.Dialer(pqDialer(p.net.dialer(p.frontend.name)))
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

type pqDialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d pqDialer) Dial(network, address string) (net.Conn, error) {
	return d(context.Background(), network, address)
}

func (d pqDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d(ctx, network, address)
}

func (d pqDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// testDatabase uses the frontend's own login for what it must not do, and tries to
// become somebody else.
func (p *pool) testDatabase(t *testing.T) {
	db := p.login(t, "frontend", nil)
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM purepool.network`).Scan(&n); err != nil || n == 0 {
		t.Fatalf("the frontend cannot do its work: %d networks, %v: the test shows nothing", n, err)
	}
	for _, statement := range []string{
		`UPDATE miner SET enabled = true`, `UPDATE work SET hash_target = hash_target`, `UPDATE share SET weight = weight * 10`,
		`UPDATE balance SET amount = amount + 1`, `UPDATE payout SET threshold = 0`,
		`DELETE FROM work`, `DELETE FROM share`, `DELETE FROM miner`, `TRUNCATE share`, `DROP TABLE share`,
		`SELECT * FROM share`, `SELECT * FROM rejected_share`, `SELECT email FROM worker`, `SELECT remote_ip FROM work`,
		`SELECT * FROM journal`, `SELECT * FROM journal_line`, `SELECT * FROM balance`, `SELECT * FROM account`,
		`SELECT * FROM payment`, `SELECT * FROM payment_item`, `SELECT * FROM payout`, `SELECT * FROM block`, `SELECT * FROM audit_log`,
		`INSERT INTO share SELECT * FROM share`, `INSERT INTO journal (network_id, kind, key) VALUES (1, 'correction', 'x')`,
		`INSERT INTO payment_item DEFAULT VALUES`, `INSERT INTO miner (network_id, address, enabled) VALUES (1, 'x', true)`,
		`CREATE TABLE mine (x int)`, `CREATE TEMPORARY TABLE mine (x int)`, `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		`SET ROLE purepool_backend`, `SET ROLE purepool_owner`, `SET SESSION AUTHORIZATION postgres`, `ALTER ROLE purepool_frontend SUPERUSER`,
		`COPY (SELECT 1) TO PROGRAM 'id'`, `SELECT pg_read_file('/etc/passwd')`, `SELECT lo_import('/etc/passwd')`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'purepool_backend'`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		if pq.As(err, "42501") == nil && !refusedForRights(err) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for what, refused := range map[string]*sql.DB{
		"in the clear":                          p.login(t, "frontend", func(_ *url.URL, q url.Values) { q.Set("sslmode", "disable") }),
		"without a certificate":                 p.login(t, "frontend", func(_ *url.URL, q url.Values) { q.Del("sslcert"); q.Del("sslkey") }),
		"as the backend, with its own password": p.login(t, "backend", nil),
		"as the superuser":                      p.login(t, "frontend", func(u *url.URL, _ url.Values) { u.User = url.UserPassword("postgres", "x") }),
		"in another database":                   p.login(t, "frontend", func(u *url.URL, _ url.Values) { u.Path = "/postgres" }),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := refused.PingContext(ctx)
		cancel()
		if err == nil {
			t.Errorf("the frontend's server logs in %s", what)
		} else if ctx.Err() == context.DeadlineExceeded {
			t.Errorf("a login %s was not refused, but hangs: %v", what, err)
		}
	}
}

// refusedForRights recognises refusals that Postgres does not call 42501.
func refusedForRights(err error) bool {
	if err == nil {
		return false
	}
	return strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error(), "must be")
}

// testFrontendUser looks around as the user as whom the frontend runs, behind the
// server's own firewall.
func (p *pool) testFrontendUser(t *testing.T) {
	p.frontend.run("systemctl", "reload", "purepool-firewall.service")
	asUser := func(script string) error {
		return p.frontend.try("runuser", "-u", "purepool-frontend", "--", "bash", "-c", script)
	}
	if err := asUser("exec 3<>/dev/tcp/" + p.data.address + "/5432"); err != nil {
		t.Errorf("the frontend's user cannot reach the database: %v: the test shows nothing", err)
	}
	for _, address := range []string{"/dev/tcp/" + world + "100/80", "/dev/tcp/" + p.backend.address + "/22", "/dev/tcp/" + p.data.address + "/22"} {
		if err := asUser("exec 3<>" + address); err == nil {
			t.Errorf("the frontend's user reaches %s", address)
		}
	}
	if err := asUser("echo >>/etc/purepool/frontend/purepool.toml"); err == nil {
		t.Error("the frontend's user can change its configuration")
	}
	for _, file := range []string{"frontend.dsn", "queue.password", "tls/key.pem"} {
		if err := p.frontend.try("runuser", "-u", "nobody", "--", "cat", "/etc/purepool/frontend/"+file); err == nil {
			t.Errorf("anybody on the server reads %s", file)
		}
	}
	// Nothing of the others' lies on this server.
	for _, secret := range []string{"postgres-backend", "postgres-web", "queue-backend", "daemon.password"} {
		text, err := os.ReadFile(filepath.Join(p.site.dir, "secrets", secret))
		must(t, err)
		if err := p.frontend.try("grep", "-rqF", strings.TrimSpace(string(text)), "/etc", "/root/release/out", "/var/lib/purepool"); err == nil {
			t.Errorf("%s lies on the frontend's server", secret)
		}
	}
}
