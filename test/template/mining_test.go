package template_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/ledger/ledgertest"
	"purepool/pool"
	"purepool/pool/job"
	sim "purepool/sim/stratum"
	"purepool/stratum"
	program "purepool/test/house"
)

// nodes starts daemons that know each other, with one block on their chain: a
// daemon whose tip is old gives no templates.
func nodes(t *testing.T, n int) []*litecoind {
	t.Helper()
	var all []*litecoind
	for range n {
		all = append(all, newLitecoind(t, all...))
	}
	all[0].wallet()
	all[0].Generate(1, all[0].address)
	for _, d := range all {
		testkit.Eventually(t, "the nodes are connected", time.Minute, func() bool { return d.Height() == 1 })
	}
	return all
}

// allShares waits until every share that a miner was told true for has its
// verdict, and returns how many were credited.
func (h *house) allShares(accepted int64) int64 {
	h.t.Helper()
	total := func() int64 {
		return h.count(`SELECT (SELECT count(*) FROM share) + (SELECT count(*) FROM ` + program.RejectedLater + ` AS r)`)
	}
	testkit.Eventually(h.t, fmt.Sprintf("%d shares stand in the ledger, %d do", accepted, total()), time.Minute, func() bool { return total() >= accepted })
	return h.count(`SELECT count(*) FROM share`)
}

// everyShareIsCredited checks that what miners were told is what stands in the
// ledger. A miner that was stopped may have missed its last answers.
func (h *house) everyShareIsCredited(stats *sim.Snapshot) {
	h.t.Helper()
	credited := h.allShares(stats.Accepted)
	if rejected := h.count(`SELECT count(*) FROM ` + program.RejectedLater + ` AS r`); credited < stats.Accepted || credited > stats.Submitted || rejected != 0 {
		h.t.Errorf("%d shares credited, %d rejected, miners were told %d of %d", credited, rejected, stats.Accepted, stats.Submitted)
	}
}

// paysThePool checks who is paid by the blocks above a height.
func (h *house) paysThePool(d *litecoind, address string, above int64) {
	h.t.Helper()
	for height := above + 1; height <= d.Height(); height++ {
		b := d.block(height)
		outputs := b.Tx[0].Vout
		if len(outputs) != 2 || !slices.Equal(outputs[0].Script.Addresses, []string{address}) || outputs[0].Value == 0 ||
			outputs[1].Script.Type != "nulldata" || outputs[1].Value != 0 {
			h.t.Errorf("block %d pays %+v", height, outputs)
		}
	}
}

// spans reads a histogram of seconds: how many there are, their mean, and a bound
// that 95 of 100 keep.
func (b *backend) spans(name string) (n uint64, mean, most float64) {
	b.t.Helper()
	for _, m := range b.series(name) {
		h := m.GetHistogram()
		n, mean, most = h.GetSampleCount(), h.GetSampleSum()/float64(h.GetSampleCount()), math.Inf(1)
		for _, bucket := range h.GetBucket() {
			if 100*bucket.GetCumulativeCount() >= 95*n {
				return n, mean, bucket.GetUpperBound()
			}
		}
	}
	return n, mean, most
}

func TestHundredBlocksFoundThroughThePortAreAcceptedAndPayThePool(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	b := h.openBackend(d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	stop := h.miners(sim.Options{Pool: f.addr, Connections: 2, HashRate: 448, Password: "d=0.0007"})
	testkit.Eventually(t, "a hundred blocks", 2*time.Minute, func() bool { return d[0].Height() > 100 })
	stats := stop()
	testkit.Eventually(t, "all blocks are decided", time.Minute, func() bool { return h.submissions()["pending"] == 0 })
	s := h.submissions()
	t.Logf("blocks %v, miners %+v", s, stats)
	if s["refused"] != 0 {
		t.Errorf("blocks %v", s)
	}
	n, mean, most := b.spans("purepool_block_submission_seconds")
	t.Logf("from the arrival of %d winning shares to submitblock: %.1f ms in the mean, 95 %% within %.0f ms", n, 1000*mean, 1000*most)
	if n < 100 {
		t.Errorf("%d blocks were timed", n)
	}
	// One that came second at its height is sound, and not on the best chain.
	if n := h.count(`SELECT count(*) FROM block_submission i WHERE result = 'inconclusive'
		AND NOT EXISTS (SELECT FROM block_submission a WHERE a.height = i.height AND a.result = 'accepted')`); n != 0 {
		t.Errorf("%d blocks were taken by nobody although they came first", n)
	}
	h.paysThePool(d[0], d[0].address, 1)
	for height := int64(2); height <= d[0].Height(); height++ {
		hash := d[0].block(height).Hash
		if h.count(`SELECT count(*) FROM block_submission WHERE encode(hash, 'hex') = $1 AND result = 'accepted'`, hash) != 1 {
			t.Errorf("block %d of the chain was not submitted by the pool", height)
		}
	}
	h.everyShareIsCredited(&stats)
}

// steady are miners that find a block or two each second.
func steady(addr string) sim.Options {
	return sim.Options{Pool: addr, Connections: 2, HashRate: 256, Password: "d=0.001"}
}

func (h *house) moreBlocks(n int64) {
	h.t.Helper()
	want := h.submissions()["accepted"] + n
	testkit.Eventually(h.t, fmt.Sprintf("%d more blocks", n), time.Minute, func() bool { return h.submissions()["accepted"] >= want })
}

func TestReorganisationMovesMinersToTheNewTip(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	b := h.openBackend(d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	stop := h.miners(steady(f.addr))
	h.moreBlocks(10)
	forked := d[0].Height() - 3
	var hash string
	d[0].Call("getblockhash", &hash, forked)
	for _, node := range d {
		node.Call("invalidateblock", nil, hash)
	}
	h.moreBlocks(15)
	stats := stop()
	if blk := d[0].block(forked); blk.Hash == hash {
		t.Errorf("the block at %d is the one that was invalidated", forked)
	}
	if d[0].Height() < forked+8 {
		t.Errorf("height %d after a reorganisation at %d", d[0].Height(), forked)
	}
	h.paysThePool(d[0], d[0].address, 1)
	h.allShares(stats.Accepted)
	// Whoever mined on the block that is gone was told so at once or within the
	// grace of a tip that changes.
	reasons := map[string]int64{}
	var rows []struct {
		Reason string
		N      int64
	}
	must(t, h.sql.SelectContext(t.Context(), &rows, `SELECT reason, count(*) AS n FROM rejected_share GROUP BY reason`))
	for _, r := range rows {
		reasons[r.Reason] = r.N
	}
	t.Logf("blocks %v, miners %+v, rejected %v", h.submissions(), stats, reasons)
	for reason := range reasons {
		if reason != "StaleShare" && reason != "PrevBlockHashWrong" {
			t.Errorf("shares rejected: %v", reasons)
		}
	}
	if err := b.maker.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKilledDaemonCostsNoShareAndNoJob(t *testing.T) {
	t.Parallel()
	d := nodes(t, 3) // a node without peers gives no templates
	h := newHouse(t)
	h.openBackend(d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	stop := h.miners(steady(f.addr))
	h.moreBlocks(5)
	for range 2 {
		d[0].kill()
		h.moreBlocks(8)
		d[0].start()
		d[0].Call("addnode", nil, d[2].P2P, "onetry")
		h.moreBlocks(3)
		testkit.Eventually(t, "the daemon has caught up", time.Minute, func() bool { return d[0].Height() >= d[1].Height() })
	}
	stats := stop()
	testkit.Eventually(t, "all blocks are decided", time.Minute, func() bool { return h.submissions()["pending"] == 0 })
	s := h.submissions()
	t.Logf("blocks %v, miners %+v", s, stats)
	if s["refused"] != 0 {
		t.Errorf("blocks %v", s)
	}
	h.everyShareIsCredited(&stats)
	if stats.Disconnects > stats.Connects || stats.Connects != 2 {
		t.Errorf("miners were thrown out: %+v", stats)
	}
	h.paysThePool(d[1], d[0].address, 1)
}

// echo hands every share in again over another frontend, as it is and in somebody
// else's name.
type echo struct {
	*pool.TemplateDesk
	mu     sync.Mutex
	others []*pool.TemplateDesk
	thief  int64
}

func (e *echo) Put(ctx context.Context, shares []job.Share) error {
	if err := e.TemplateDesk.Put(ctx, shares); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// What is refused for being late counts for nobody.
	renamed := slices.DeleteFunc(slices.Clone(shares), func(s job.Share) bool { return s.Stale })
	for i := range renamed {
		renamed[i].Worker = e.thief
	}
	for _, other := range append(e.others, e.TemplateDesk) {
		if err := other.Put(ctx, shares); err != nil {
			return err
		}
	}
	for _, other := range e.others {
		if len(renamed) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond) // a copy is later than what it copies
		if err := other.Put(ctx, renamed); err != nil {
			return err
		}
	}
	return nil
}

func TestNoShareCountsTwiceOverTwoFrontends(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	h.openBackend(d[0].address, d[0], d[1])
	second := h.openFrontend(2)
	thief, err := second.desk.Admit(t.Context(), pool.TemplateArrival{Address: minerAddress, Worker: "thief"})
	must(t, err)
	first := h.openFrontend(1, func(desk *pool.TemplateDesk) stratum.ShareSink {
		return &echo{TemplateDesk: desk, others: []*pool.TemplateDesk{second.desk}, thief: thief}
	})
	// The same miners, under the same names, on both; some send every share twice.
	var stops []func() sim.Snapshot
	for _, addr := range []string{first.addr, second.addr} {
		for _, fault := range []sim.Fault{sim.Honest, sim.Duplicate} {
			opt := steady(addr)
			opt.Fault, opt.Connections, opt.HashRate = fault, 1, 96
			stops = append(stops, h.miners(opt))
		}
	}
	h.moreBlocks(20)
	var accepted, submitted int64
	for _, stop := range stops {
		stats := stop()
		accepted += stats.Accepted
		submitted += stats.Submitted
	}
	testkit.Eventually(t, "every accepted share is credited", 30*time.Second, func() bool { return h.count(`SELECT count(*) FROM share`) >= accepted })
	credited := h.count(`SELECT count(*) FROM share`)
	stolen := ledgertest.Value[int64](t, h.db, `SELECT count(*) FROM share WHERE worker_id = $1`, thief)
	known := h.count(`SELECT count(*) FROM rejected_share WHERE reason = 'BibleHashAlreadyKnown'`)
	t.Logf("%d accepted, %d credited, %d refused as known, blocks %v", accepted, credited, known, h.submissions())
	// A miner that is stopped may have missed its last answer.
	if credited > accepted+int64(len(stops)) || credited >= submitted || stolen != 0 || known == 0 {
		t.Errorf("%d accepted, %d credited, %d of them to a thief, %d refused as known", accepted, credited, stolen, known)
	}
	if n := h.count(`SELECT count(*) FROM (SELECT proof FROM share GROUP BY proof HAVING count(*) > 1) AS twice`); n != 0 {
		t.Errorf("%d proofs count twice", n)
	}
	if n := h.count(`SELECT count(*) FROM ` + program.RejectedLater + ` AS r WHERE reason <> 'BibleHashAlreadyKnown'`); n != 0 {
		t.Errorf("%d shares rejected for other reasons", n)
	}
}

func TestBackendThatWasAwayJudgesEveryShareAndSubmitsEveryBlock(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	b := h.openBackend(d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	stop := h.miners(steady(f.addr))
	h.moreBlocks(5)
	b.end()
	before := h.submissions()["accepted"]
	var height int64
	testkit.Eventually(t, "miners go on without a backend", time.Minute, func() bool {
		height = d[0].Height()
		return f.desk.Ready(t.Context()) != nil // told by silence, after five seconds of it
	})
	again := h.openBackend(d[0].address, d[0], d[1])
	h.moreBlocks(5)
	testkit.Eventually(t, "the frontend has jobs again", 30*time.Second, func() bool { return f.desk.Ready(t.Context()) == nil })
	stats := stop()
	t.Logf("blocks %v, %d accepted before, height %d, miners %+v", h.submissions(), before, height, stats)
	h.everyShareIsCredited(&stats)
	if stats.Connects != 2 {
		t.Errorf("miners were thrown out: %+v", stats)
	}
	if err := again.maker.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShareInFlightOverAFrontendsRestartIsJudgedRight hands in, to a frontend that
// has restarted, what was found for a job of before: credited while the job's tip
// stands, stale afterwards, and a block of it is tried nevertheless.
func TestShareInFlightOverAFrontendsRestartIsJudgedRight(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	h.openBackendThat(knowing{refresh: 500 * time.Millisecond}, d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	w := newWinnerAs(t, f.addr, "scrypt", "")
	first, second, block := w.find(false), w.find(false), w.find(true)
	f.end()
	jobs := h.count(`SELECT count(*) FROM job`)
	testkit.Eventually(t, "another job of the same tip", 30*time.Second, func() bool { return h.count(`SELECT count(*) FROM job`) > jobs })

	handIn := func(share []byte, want string) {
		t.Helper()
		again := newWinnerAs(t, f.addr, "scrypt", w.session)
		if again.f.Extranonce1 != w.f.Extranonce1 || again.key == w.key {
			t.Fatalf("extranonce1 was %x and is %x, the job was %s and is %s", w.f.Extranonce1, again.f.Extranonce1, w.key, again.key)
		}
		_, err := again.conn.Write(share)
		must(t, err)
		if got := <-again.answers; !strings.Contains(got, want) {
			t.Errorf("answered %s, not %s", got, want)
		}
		again.conn.Close()
	}
	f = h.openFrontend(1)
	handIn(first, `"result":true`)
	testkit.Eventually(t, "it is credited", 20*time.Second, func() bool { return h.count(`SELECT count(*) FROM share`) == 1 })

	f.end()
	d[1].Generate(1, minerAddress)
	testkit.Eventually(t, "a job of the new tip", 20*time.Second, func() bool { return h.count(`SELECT max(height) FROM job`) == 3 })
	f = h.openFrontend(1)
	testkit.Eventually(t, "the new tip's job is heard", 20*time.Second, func() bool {
		w := newWinnerAs(t, f.addr, "scrypt", "")
		defer w.conn.Close()
		return h.count(`SELECT height FROM job WHERE to_hex(seq) = $1`, w.key[:len(w.key)-10]) == 3
	})
	handIn(second, `[21,`)
	handIn(block, `[21,`)
	testkit.Eventually(t, "the late block is tried", 20*time.Second, func() bool {
		return h.count(`SELECT count(*) FROM block_submission WHERE stale AND result = 'inconclusive'`) == 1
	})
	if n := h.count(`SELECT count(*) FROM share`); n != 1 {
		t.Errorf("%d shares credited", n)
	}
}

// TestStaleTemplatesCloseThePortToNewMinersAndAreLoud lets all daemons hang, and
// go on with the tip that they had.
func TestStaleTemplatesCloseThePortToNewMinersAndAreLoud(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	h := newHouse(t)
	b := h.openBackendThat(knowing{maxStale: time.Second}, d[0].address, d[0], d[1])
	f := h.openFrontend(1)
	there := newWinnerAs(t, f.addr, "scrypt", "")
	letsIn := func() bool {
		time.Sleep(200 * time.Millisecond) // more often is more than one address may
		conn, err := net.Dial("tcp", f.addr)
		must(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n"))
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = conn.Read(make([]byte, 1))
		}
		return err == nil
	}
	if !letsIn() || b.metric("purepool_jobs_ready") != 1 || b.metric("purepool_jobs_daemon_synced") != 2 {
		t.Fatal("a pool whose daemons are up is closed, or says so")
	}
	for _, node := range d { // they hang: their connections stay
		node.Signal(syscall.SIGSTOP)
	}
	testkit.Eventually(t, "the port is closed to new miners", 20*time.Second, func() bool { return !letsIn() })
	if age := b.metric("purepool_jobs_template_age_seconds"); b.metric("purepool_jobs_ready") != 0 || age < 1 ||
		b.metric("purepool_jobs_daemon_synced") != 0 || b.maker.Ready(t.Context()) == nil || f.desk.Ready(t.Context()) == nil {
		t.Errorf("the template is %v s old, ready %v, daemons %v", age, b.metric("purepool_jobs_ready"), b.metric("purepool_jobs_daemon_synced"))
	}
	// Who is there stays, and its share counts: the tip may well still stand.
	_, err := there.conn.Write(there.find(false))
	must(t, err)
	if got := <-there.answers; !strings.Contains(got, `"result":true`) {
		t.Errorf("a miner that was there is answered %s", got)
	}
	for _, node := range d {
		node.Signal(syscall.SIGCONT)
	}
	testkit.Eventually(t, "the port is open again", 30*time.Second, letsIn)
	if b.metric("purepool_jobs_ready") != 1 {
		t.Error("the port is open, and the metrics do not show it")
	}
}
