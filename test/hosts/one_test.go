package hosts

import (
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/test/page"
)

// One machine, as docs/INSTALL.md begins: deploy/setup all, and miners mine.
func TestOneMachine(t *testing.T) {
	book := page.Open(t, root)
	book.Take(t, "docs/INSTALL.md", "make release") // newSite begins with it
	n := newNetwork(t)
	p := &pool{net: n, disks: storage(t), site: newSite(t, map[string]string{"STRATUM_PORTS": "3333=test"})}
	h := newHost(t, n, p.disks, "pool", 9, true)
	p.data, p.backend = h, h
	h.switchOn()
	p.installDaemon(t)
	testkit.Command(t, "cp", "-r", p.site.release, h.path("/root/release"))
	testkit.Command(t, "cp", "-r", p.site.typed(), h.path("/root/typed"))
	begun := time.Now()
	h.follow(book.Take(t, "docs/INSTALL.md", "deploy/setup all my-site").Text, rpcPassword+"\n")
	h.follow(book.Take(t, "docs/INSTALL.md", "journalctl -u purepool-all").Text, "")
	t.Logf("one machine set up: %v", time.Since(begun).Round(100*time.Millisecond))
	wantConfined(t, h, "purepool-all.service", "purepool-all", "0000000000000400")

	l := startLoad(t, n, world+"9", newNode(p.wallet), 4, 100*time.Millisecond)
	p.eventually(t, "shares flow", time.Minute, func() bool { return l.Taken() > 50 })
	if !p.reach("miners", world+"9:3333") || !p.reach("miners", world+"9:8081") {
		t.Error("the Stratum port or the pages do not answer")
	}
	// Set up again under load, as for a new release: nothing is lost.
	h.follow("deploy/setup all my-site", "")
	seen := l.Taken()
	p.eventually(t, "shares flow again", time.Minute, func() bool { return l.Taken() > seen+20 })
	h.follow(book.Take(t, "docs/BACKUP.md", "purepool-admin backup").Text, "")
	seen, confirmed := l.Taken(), p.number(`SELECT count(*) FROM payment WHERE state = 'confirmed'`)
	p.eventually(t, "shares and payments come that the backup does not know", time.Minute, func() bool {
		return l.Taken() > seen+20 && p.number(`SELECT count(*) FROM payment WHERE state = 'confirmed'`) > confirmed
	})
	l.Stop()
	p.wantEveryShareOnce(t, l)
	p.wantPaidOnce(t)
	// Others on the machine learn nothing, and are not let in.
	for _, try := range []string{"cat /etc/purepool/all/daemon.password", "psql -U purepool_backend -h /run/postgresql purepool -c 'SELECT 1'", "ls /var/lib/purepool/all"} {
		if err := h.try("runuser", "-u", "nobody", "--", "sh", "-c", try); err == nil {
			t.Errorf("anybody on the machine does: %s", try)
		}
	}

	// The books are lost, and put back as they were: what was paid since is found.
	payments := p.number(`SELECT count(*) FROM payment`)
	h.follow(book.Take(t, "docs/BACKUP.md", "purepool-admin restore").Text, "")
	h.eventually("the pool is ready again", time.Minute, func() bool { return h.ready(9101) })
	h.follow(book.Take(t, "docs/BACKUP.md", "purepool-admin payment reconcile --now").Text, "")
	if n := p.number(`SELECT count(*) FROM payment`); n != payments {
		t.Errorf("%d payments stand in the books after the restore, %d were made", n, payments)
	}
	p.wantPaidOnce(t)
	// The role has all of its files back, whoever wrote them.
	if others := h.run("find", "/var/lib/purepool/all", "!", "-user", "purepool-all"); others != "" {
		t.Errorf("files that the role does not own:\n%s", others)
	}
	again := startLoad(t, n, world+"9", newNode(p.wallet), 2, 100*time.Millisecond)
	p.eventually(t, "shares flow after the restore", time.Minute, func() bool { return again.Taken() > 10 })
	again.Stop()
	p.wantEveryShareOnce(t, again)
}
