package hosts

import (
	"flag"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/test/page"
)

var (
	away = flag.Duration("away", 3*time.Second, "how long a server is off, or a connection is cut")
	long = flag.Bool("long", false, "the same with RabbitMQ, too")
)

// pool is an installation: its servers and the world around it.
type pool struct {
	net      *network
	disks    string
	site     *site
	data     *host
	backend  *host
	frontend *host
	second   *host      // another frontend, once there is one
	book     *page.Book // the documentation's scripts; nil where a test does not follow them
	wallet   string     // address at which this process reaches the daemon
	away     time.Duration
	broker   broker
}

// newPool sets three servers up by docs/INSTALL.md.
func newPool(t *testing.T, env map[string]string, book *page.Book) *pool {
	t.Helper()
	begun := time.Now()
	n := newNetwork(t)
	p := &pool{net: n, disks: storage(t), site: newSite(t, env), book: book}
	if book != nil {
		p.site.describe(book.Take(t, "docs/INSTALL.md", "deploy/make-site my-site"))
	} else {
		p.site.make()
	}
	t.Logf("release and site made: %v", time.Since(begun).Round(100*time.Millisecond))
	begun = time.Now()
	p.data = newHost(t, n, p.disks, "data", 2, false)
	p.backend = newHost(t, n, p.disks, "backend1", 3, false)
	p.frontend = newHost(t, n, p.disks, "frontend1", 4, true)
	for _, h := range []*host{p.data, p.backend, p.frontend} {
		h.switchOn()
	}
	t.Logf("three servers switched on: %v", time.Since(begun).Round(100*time.Millisecond))
	begun = time.Now()
	p.installDaemon(t)
	if book != nil {
		p.followOn(book.Take(t, "docs/INSTALL.md", "deploy/setup data"), map[string]*host{"data server": p.data, "backend's": p.backend, "frontend's": p.frontend})
		p.backend.follow(book.Take(t, "docs/INSTALL.md", "nft list table inet purepool").Text, "")
	} else {
		p.site.setUp(p.data, "data")
		p.site.setUp(p.backend, "backend")
		p.site.setUp(p.frontend, "frontend")
	}
	t.Logf("three servers set up: %v", time.Since(begun).Round(100*time.Millisecond))
	return p
}

// installDaemon puts a coin daemon on the backend's server.
func (p *pool) installDaemon(t *testing.T) {
	t.Helper()
	testkit.Command(t, "install", "-m", "755", p.site.release+"/purepool", p.backend.path("/usr/local/bin/purepool"))
	p.backend.run("sh", "-c", `printf %s "$0" >/etc/systemd/system/sim-daemon.service`, fmt.Sprintf(daemonUnit, rpcPort, rpcUser, rpcPassword))
	p.backend.run("systemctl", "enable", "--now", "sim-daemon.service")
	p.wallet = p.net.forward(p.backend.name, fmt.Sprintf("127.0.0.1:%d", rpcPort))
}

func (p *pool) eventually(t *testing.T, what string, within time.Duration, condition func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !condition() {
		if time.Since(begun) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(begun)
}

// step is a claim about an installation under load.
type step struct {
	claim string
	test  func(*testing.T, *pool, *load)
}

// The three servers of docs/INSTALL.md: what is forbidden fails, what breaks comes
// back, and nothing is lost or paid twice.
func TestThreeServers(t *testing.T) {
	testServers(t, viaNATS{}, *away, page.Open(t, root), nil, []step{
		{"EveryForbiddenRoadFromTheFrontendFails", testRoads},
		{"UnitsRunConfined", testUnits},
		{"SharesSurviveEachServerBeingKilled", testKills},
		{"SharesSurviveEachConnectionBeingCut", testCuts},
		{"RollingRestartOfTwoFrontendsCostsNoShare", testRolling},
	})
}

// The same with the other broker, and shorter.
func TestThreeServersWithRabbitMQ(t *testing.T) {
	if !*long {
		t.Skip("takes minutes: make test-long")
	}
	testServers(t, viaRabbitMQ{}, *away/4, nil, map[string]string{"BROKER": "rabbitmq"}, []step{
		{"EveryForbiddenRoadFromTheFrontendFails", testRoads},
		{"SharesSurviveTheDataServerBeingKilled", func(t *testing.T, p *pool, l *load) { p.testKill(t, l, p.data) }},
		{"SharesSurviveTheBackendBeingKilled", func(t *testing.T, p *pool, l *load) { p.testKill(t, l, p.backend) }},
		{"SharesSurviveTheFrontendBeingCutOff", func(t *testing.T, p *pool, l *load) { p.testCut(t, l, p.frontend, p.data) }},
		{"SharesSurviveTheBackendBeingCutOff", func(t *testing.T, p *pool, l *load) { p.testCut(t, l, p.backend, p.data) }},
	})
}

func testServers(t *testing.T, b broker, away time.Duration, book *page.Book, env map[string]string, steps []step) {
	settings := map[string]string{"STRATUM_PORTS": "3333=test", "METRICS": prometheus}
	maps.Copy(settings, env)
	p := newPool(t, settings, book)
	p.broker, p.away = b, away
	l := startLoad(t, p.net, world+"4", newNode(p.wallet), 6, 120*time.Millisecond)
	p.eventually(t, "shares flow", time.Minute, func() bool { return l.Taken() > 50 && p.number(`SELECT count(*) FROM share`) > 0 })
	for _, step := range steps {
		if !t.Run(step.claim, func(t *testing.T) { step.test(t, p, l) }) {
			return // what follows would fail for the same reason
		}
	}
	counts := l.Stop()
	t.Logf("%d shares were answered ok; refused: %v; requests without an answer: %d", counts.OK, l.Refused(), l.Unanswered())
	p.wantEveryShareOnce(t, l)
	p.wantPaidOnce(t)
	if book != nil {
		p.restore(t)
	}
}

// restore loses the books after a backup and puts them back, as docs/BACKUP.md says
// for three servers.
func (p *pool) restore(t *testing.T) {
	t.Helper()
	p.data.follow(p.book.Take(t, "docs/BACKUP.md", "--without-queue").Text, "")
	shares, payments := p.number(`SELECT count(*) FROM share`), p.number(`SELECT count(*) FROM payment`)
	p.frontend.run("systemctl", "stop", "purepool-frontend.service")
	p.backend.run("systemctl", "stop", "purepool-backend.service")
	p.data.follow(p.book.Take(t, "docs/BACKUP.md", "purepool-admin restore").Text, "")
	if n := p.number(`SELECT count(*) FROM payment_guard WHERE held_since IS NOT NULL`); n != 1 {
		t.Errorf("payments of %d networks are held after the restore, want 1", n)
	}
	p.backend.run("systemctl", "start", "purepool-backend.service")
	p.frontend.run("systemctl", "start", "purepool-frontend.service")
	p.backend.eventually("the backend is ready again", time.Minute, func() bool { return p.backend.ready(9102) })
	p.backend.run("purepool-admin", "payment", "reconcile", "--now", "--reason", "a drill")
	if n := p.number(`SELECT count(*) FROM share`); n != shares {
		t.Errorf("%d shares after the restore, %d before", n, shares)
	}
	if n := p.number(`SELECT count(*) FROM payment`); n < payments {
		t.Errorf("%d payments after the restore, %d before", n, payments)
	}
	p.wantPaidOnce(t)
	p.frontend.eventually("it is ready with the restored books", time.Minute, func() bool { return p.frontend.ready(9101) })
}

// Each server loses its plug under load, is off for a while, and comes back.
func testKills(t *testing.T, p *pool, l *load) {
	for _, h := range []*host{p.data, p.backend, p.frontend} {
		p.testKill(t, l, h)
	}
}

func (p *pool) testKill(t *testing.T, l *load, h *host) {
	t.Helper()
	before := l.Taken()
	h.kill()
	time.Sleep(p.away)
	meanwhile := l.Taken() - before
	returned := time.Now()
	h.comeBack()
	p.recovered(t, l, returned, fmt.Sprintf("%s off for %v: %d shares taken meanwhile", h.name, p.away, meanwhile))
	if h != p.frontend && meanwhile == 0 {
		t.Errorf("no share was taken while %s was off", h.name)
	}
}

// Between each two servers nothing passes for a while.
func testCuts(t *testing.T, p *pool, l *load) {
	p.testCut(t, l, p.frontend, p.data)
	p.testCut(t, l, p.backend, p.data)
	p.testCut(t, l, p.frontend, p.backend)
}

func (p *pool) testCut(t *testing.T, l *load, a, b *host) {
	t.Helper()
	before := l.Taken()
	mend := p.net.cut(a, b)
	time.Sleep(p.away)
	meanwhile := l.Taken() - before
	mend()
	returned := time.Now()
	p.recovered(t, l, returned, fmt.Sprintf("%s and %s apart for %v: %d shares taken meanwhile", a.name, b.name, p.away, meanwhile))
	if meanwhile == 0 {
		t.Errorf("no share was taken while %s and %s were apart", a.name, b.name)
	}
}

// recovered waits until the miners are served again, and everything that was
// answered ok until then is in the ledger, and prints how long both took.
func (p *pool) recovered(t *testing.T, l *load, since time.Time, what string) {
	t.Helper()
	p.eventually(t, "miners are served again", time.Minute, func() bool { return l.AnsweredAfter(since) })
	served := time.Since(since)
	until := time.Now()
	proofs := l.Until(until)
	p.eventually(t, "the ledger has caught up", time.Minute, func() bool { return p.missing(proofs) == 0 })
	t.Logf("%s; served again after %v, ledger level after %v", what, served.Round(10*time.Millisecond), time.Since(since).Round(10*time.Millisecond))
}

// together calls functions at the same time and waits for all.
func together(calls ...func()) {
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(call)
	}
	wg.Wait()
}
