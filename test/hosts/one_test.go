package hosts

import (
	"encoding/json"
	"testing"
	"time"
)

// One machine, as docs/INSTALL.md begins: deploy/setup all, and miners mine.
func TestOneMachine(t *testing.T) {
	n := newNetwork(t)
	p := &pool{net: n, disks: storage(t), site: newSite(t, map[string]string{"STRATUM_PORTS": "3333=test"})}
	h := newHost(t, n, p.disks, "pool", 9, true)
	p.data, p.backend = h, h
	h.switchOn()
	p.installDaemon(t)
	command(t, "cp", "-r", p.site.release, h.path("/root/release"))
	command(t, "cp", "-r", p.site.dir, h.path("/root/site"))
	begun := time.Now()
	h.run("/root/release/deploy/setup", "all", "/root/site")
	t.Logf("one machine set up: %v", time.Since(begun).Round(100*time.Millisecond))
	wantConfined(t, h, "purepool-all.service", "purepool-all", "0000000000000400")

	l := startLoad(t, n, world+"9", newNode(p.wallet), 4, 100*time.Millisecond)
	p.eventually(t, "shares flow", time.Minute, func() bool { return l.Taken() > 50 })
	if !p.reach("miners", world+"9:3333") || !p.reach("miners", world+"9:8081") {
		t.Error("the Stratum port or the pages do not answer")
	}
	// Set up again under load, as for a new release: nothing is lost.
	h.run("/root/release/deploy/setup", "all", "/root/site")
	seen := l.Taken()
	p.eventually(t, "shares flow again", time.Minute, func() bool { return l.Taken() > seen+20 })
	l.Stop()
	p.wantEveryShareOnce(t, l)
	var audits []struct{ Clean bool }
	out := h.run("runuser", "-u", "purepool-all", "--", "purepool", "admin", "audit", "--json", "--config", "/etc/purepool/all/purepool.toml")
	if err := json.Unmarshal([]byte(out), &audits); err != nil || len(audits) != 1 || !audits[0].Clean {
		t.Errorf("audit: %v %s", err, out)
	}
	// Others on the machine learn nothing, and are not let in.
	for _, try := range []string{"cat /etc/purepool/all/daemon.password", "psql -U purepool_backend -h /run/postgresql purepool -c 'SELECT 1'", "ls /var/lib/purepool/all"} {
		if err := h.try("runuser", "-u", "nobody", "--", "sh", "-c", try); err == nil {
			t.Errorf("anybody on the machine does: %s", try)
		}
	}
}
