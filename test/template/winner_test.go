package template_test

import (
	"strings"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/ledger"
	"purepool/pool/settle"
)

// everywhere makes a call to all nodes.
func everywhere(t *testing.T, all []*litecoind, method string, params ...any) {
	t.Helper()
	for _, d := range all {
		d.Call(method, nil, params...)
	}
}

func hashAt(t *testing.T, d *litecoind, height int) (hash string) {
	t.Helper()
	d.Call("getblockhash", &hash, height)
	return hash
}

// TestStaleWinnerIsCreditedWhenItsBranchWinsAndPaidAfterItLost lets a winning share
// come after somebody else's block of the same height, and the nodes change their
// mind about the two, there and back.
func TestStaleWinnerIsCreditedWhenItsBranchWinsAndPaidAfterItLost(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	b := h.openBackend(d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	books := b.store.Books()
	source := settle.NewTemplateSource(d[0].Client, d[0].address)
	watcher := settle.NewWatcher(settle.WatcherOptions{Network: network, NetworkID: h.id, StartHeight: 2, OrphanDepth: 2}, source, books)
	settler, err := settle.NewSettler(settle.SettlerOptions{Network: network, NetworkID: h.id, CloseDepth: 1, Grace: -1, Confirmations: 1}, source, books)
	must(t, err)
	look := func() settle.Progress {
		t.Helper()
		p, err := watcher.Look(t.Context())
		must(t, err)
		return p
	}
	audit := func() {
		t.Helper()
		a, err := settle.NewAuditor(network, h.id, books, nil, ledger.AuditOptions{}, nil).Audit(t.Context())
		if err != nil || !a.Clean {
			t.Errorf("%+v, %v", a.Checks, err)
		}
	}
	stands := func(credited, refused int64) {
		t.Helper()
		if s, r := h.count(`SELECT count(*) FROM share`), h.count(`SELECT count(*) FROM rejected_share`); s != credited || r != refused {
			t.Errorf("%d shares credited, %d refused; want %d and %d", s, r, credited, refused)
		}
		audit()
	}
	look()

	w := newWinnerAs(t, f.addr, "scrypt", "")
	block := w.find(true)
	clean := cleanJobs(t, f.addr)
	d[1].Generate(1, minerAddress)
	var heard time.Time
	testkit.Eventually(t, "the new tip's job is heard", 20*time.Second, func() bool {
		select {
		case heard = <-clean:
		default:
		}
		return h.count(`SELECT count(*) FROM job WHERE height = 3 AND issued_at < $1`, heard) > 0
	})
	_, err = w.conn.Write(block)
	must(t, err)
	if got := <-w.answers; !strings.Contains(got, `[21,`) {
		t.Errorf("answered %s", got)
	}
	testkit.Eventually(t, "the late block is tried, and its share refused", 20*time.Second, func() bool {
		return h.count(`SELECT count(*) FROM block_submission WHERE stale AND result = 'inconclusive'`) == 1 &&
			h.count(`SELECT count(*) FROM rejected_share WHERE reason = 'StaleShare' AND weight > 0`) == 1
	})
	if p := look(); p.Ours != 0 || p.Won != 0 {
		t.Errorf("%+v", p)
	}
	stands(0, 1)

	theirs := hashAt(t, d[0], 2)
	everywhere(t, d, "invalidateblock", theirs)
	for _, node := range d {
		testkit.Eventually(t, "the late block stands", 20*time.Second, func() bool { return hashAt(t, node, 2) != theirs })
	}
	ours := hashAt(t, d[0], 2)
	if p := look(); p.Ours != 1 || p.Won != 1 || p.Left != 1 {
		t.Errorf("%+v", p)
	}
	stands(1, 0)
	if n, err := settler.CloseRounds(t.Context()); n != 1 || err != nil {
		t.Errorf("%d rounds ended: %v", n, err)
	}

	everywhere(t, d, "reconsiderblock", theirs)
	everywhere(t, d, "invalidateblock", ours)
	d[1].Generate(3, minerAddress)
	testkit.Eventually(t, "the other branch has won", 20*time.Second, func() bool {
		n, err := d[0].Client.BlockCount(t.Context())
		return err == nil && n >= 5
	})
	if p := look(); p.Orphaned != 1 {
		t.Errorf("%+v", p)
	}
	stands(1, 0)
	d[0].Generate(1, d[0].address)
	if p := look(); p.Ours != 1 || p.Won != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := settler.CloseRounds(t.Context()); err != nil {
		t.Error(err)
	}
	done, err := settler.ShareOutAll(t.Context())
	if err != nil || len(done) != 1 || done[0].Unclaimed != 0 || len(done[0].Credits) != 1 || done[0].Credits[0].Amount != done[0].Block.Reward {
		t.Errorf("shared out %+v, %v", done, err)
	}
	stands(1, 0)
}
