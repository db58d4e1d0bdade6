package hosts

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// testRolling adds a second frontend and a balancer to the site, as docs/INSTALL.md
// says, and restarts both frontends one after the other under load.
func testRolling(t *testing.T, p *pool, l *load) {
	edge := p.grow(t, l)
	sessions := startSessions(t, p.net, world+"6:3333", 24)
	p.eventually(t, "both frontends have sessions and shares", 30*time.Second, func() bool {
		return sessions.granted() == 24 && p.number(`SELECT count(DISTINCT frontend) FROM share WHERE frontend IN ('frontend1', 'frontend2')`) != 0
	})
	rolling := p.book.Take(t, "docs/INSTALL.md", "systemctl restart purepool-frontend")
	before, failed := l.Taken(), l.Unanswered()
	begun := time.Now()
	for _, h := range []*host{p.frontend, p.second} {
		h.follow(rolling.Text, "") // ends when it is ready again
	}
	took := time.Since(begun)
	p.eventually(t, "every session has its work again", 30*time.Second, func() bool { return sessions.granted() == 24 })
	reconnects, longest := sessions.stop()
	if l.Taken() == before {
		t.Error("no share was taken during the restart: the test shows nothing")
	}
	if reconnects < 20 {
		t.Errorf("only %d sessions were cut by restarts of both frontends: the test shows nothing", reconnects)
	}
	if longest > 10*time.Second {
		t.Errorf("a miner was without work for %v", longest)
	}
	p.wantEveryShareOnce(t, l)
	t.Logf("both frontends restarted within %v: %d shares taken meanwhile, %d requests without an answer; %d Stratum sessions cut, the longest was back after %v",
		took.Round(10*time.Millisecond), l.Taken()-before, l.Unanswered()-failed, reconnects, longest.Round(10*time.Millisecond))
	// The balancer says for whom it speaks, and is believed: shares and work are those
	// of the miners' address.
	if n := p.number(`SELECT count(DISTINCT remote_ip) FROM work WHERE issued_at > now() - interval '10 seconds'`); n != 1 {
		t.Errorf("work was given to %d addresses, want the miners' alone", n)
	}
	if rows, err := p.query(`SELECT DISTINCT host(remote_ip) FROM work WHERE issued_at > now() - interval '10 seconds'`); err != nil || len(rows) != 1 || rows[0] != world+"100" {
		t.Errorf("work was given to %v, %v; want %s100", rows, err, world)
	}
	p.testWeb(t)
	p.backend.follow(p.book.Take(t, "docs/UPGRADE.md", "systemctl restart purepool-backend").Text, "")
	if p.reach(edge.name, p.data.address+":5432") || p.reach("miners", world+"4:80") {
		t.Error("the balancer reaches the database, or miners get past the balancer")
	}
}

// grow makes the site larger: what an operator does for a second frontend.
func (p *pool) grow(t *testing.T, l *load) *host {
	t.Helper()
	p.second = newHost(t, p.net, p.disks, "frontend2", 5, false)
	edge := newHost(t, p.net, p.disks, "balancer1", 6, true)
	p.site.env["FRONTENDS"] = fmt.Sprintf("frontend1=%s frontend2=%s", p.frontend.address, p.second.address)
	p.site.env["BALANCER"] = "balancer1=" + edge.address
	p.site.env["WEB"] = fmt.Sprintf("web1=%s7", lan)
	p.site.make()
	p.second.switchOn()
	edge.switchOn()
	p.site.setUp(p.data, "data") // lets the new one in
	p.site.setUp(p.second, "frontend")
	// From here on miners get to the first frontend by the balancer alone: the pool's
	// name is made to point there.
	p.site.setUp(p.frontend, "frontend")
	p.followOn(p.book.Take(t, "docs/INSTALL.md", "deploy/setup balancer"), map[string]*host{"balancer's server": edge})
	l.move(world + "6")
	// A server that is set up again has everything once.
	if n := strings.Count(p.data.run("sh", "-c", "cat /etc/hosts /etc/postgresql/*/main/pg_hba.conf"), "# BEGIN purepool"); n != 2 {
		t.Errorf("/etc/hosts and pg_hba.conf have %d blocks of the pool, want one each", n)
	}
	return edge
}

// testWeb sets up a server for the pages. Whoever takes it over reads what visitors
// read, and reaches the database and nothing else.
func (p *pool) testWeb(t *testing.T) {
	t.Helper()
	h := newHost(t, p.net, p.disks, "web1", 7, true)
	h.switchOn()
	p.site.setUp(h, "web")
	wantConfined(t, h, "purepool-web.service", "purepool-web", "0000000000000000")
	if page := h.get("http://127.0.0.1:8081/"); !strings.Contains(page, "<html") {
		t.Errorf("the page: %.200s", page)
	}
	p.net.nft(h.name, "delete table inet purepool") // root there opens it
	defer h.run("systemctl", "reload", "purepool-firewall.service")
	if !p.reach(h.name, p.data.address+":5432") {
		t.Error("the web's server cannot reach the database: the test shows nothing")
	}
	for _, closed := range []string{p.data.address + ":4222", p.data.address + ":22", fmt.Sprintf("%s:%d", p.backend.address, rpcPort), p.frontend.address + ":80", p.frontend.address + ":9101"} {
		if p.reach(h.name, closed) {
			t.Errorf("the web's server reaches %s", closed)
		}
	}
}

// sessions are Stratum miners which are connected all the time, and come back at once
// where they are cut off.
type sessions struct {
	mu      sync.Mutex
	with    int           // connections with work
	cuts    int           // connections that ended
	longest time.Duration // without work, after a cut
	stop    func() (reconnects int, longest time.Duration)
}

func startSessions(t testing.TB, n *network, address string, count int) *sessions {
	s := &sessions{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	dial := n.dialer("miners")
	for range count {
		wg.Go(func() {
			var lost time.Time
			for ctx.Err() == nil {
				s.session(ctx, dial, address, lost)
				if lost = time.Now(); ctx.Err() == nil {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	s.stop = sync.OnceValues(func() (int, time.Duration) {
		cancel()
		wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.cuts, s.longest
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// session is one connection: work is asked for again and again until it ends.
func (s *sessions) session(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), address string, lost time.Time) {
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	in := bufio.NewReader(c)
	for id := 1; ctx.Err() == nil; id++ {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := fmt.Fprintf(c, `{"id":%d,"method":"readytomine2","params":{"Miner":"yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop/rig7","NetworkID":"test"}}`+"\n", id)
		if err != nil {
			break
		}
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var answer struct{ Result map[string]string }
		if json.Unmarshal(line, &answer) != nil || answer.Result["WORKID"] == "" {
			break
		}
		if id == 1 {
			s.mu.Lock()
			s.with++
			if !lost.IsZero() {
				s.longest = max(s.longest, time.Since(lost))
			}
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.with--
				if ctx.Err() == nil {
					s.cuts++
				}
			}()
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *sessions) granted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with
}
