package jobs

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"purepool/pool/chain"
	"purepool/pool/job"
)

func TestNewTipGivesACleanJobAtOnce(t *testing.T) {
	d := newFakeDaemon("a")
	m := run(t, newMemory(), t.TempDir(), func(c *Config) { c.Poll = time.Hour }, d)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	for range 5 {
		before := m.teller.current()
		d.newTip()
		await(t, "a job on the new tip", func() bool { return m.teller.current().Height == before.Height+1 })
		if j := m.teller.current(); !j.Clean || j.Seq <= before.Seq || j.Prev == before.Prev {
			t.Errorf("%+v after %+v", j, before)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proposed < 6 {
		t.Errorf("%d of 6 templates were proposed", d.proposed)
	}
}

func TestChangedTransactionsGiveAJobThatIsNotClean(t *testing.T) {
	d := newFakeDaemon("a")
	m := run(t, newMemory(), t.TempDir(), nil, d)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	d.change(func() {
		d.template.Transactions = []chain.TemplateTransaction{{Data: []byte{1}, ID: chain.DoubleSHA256([]byte("tx"))}}
		d.template.Value++
	})
	await(t, "a job with the transaction", func() bool { return len(m.teller.current().Branches) == 1 })
	if j := m.teller.current(); j.Clean || j.Height != 2 {
		t.Errorf("%+v", j)
	}
}

func TestSameTemplateGivesNoJobUntilItIsOld(t *testing.T) {
	d := newFakeDaemon("a")
	m := run(t, newMemory(), t.TempDir(), func(c *Config) { c.Refresh = 100 * time.Millisecond }, d)
	await(t, "a refreshed job", func() bool { return len(m.teller.all()) >= 3 })
	all := m.teller.all()
	for i := 1; i < len(all); i++ {
		if all[i].Clean || all[i].IssuedAt-all[i-1].IssuedAt < 90_000 {
			t.Errorf("job %d came %d µs after the one before", i, all[i].IssuedAt-all[i-1].IssuedAt)
		}
	}
	if m.teller.told < 6 {
		t.Errorf("told %d times only", m.teller.told)
	}
}

func TestNothingIsIssuedThatTheDaemonWouldRefuse(t *testing.T) {
	d := newFakeDaemon("a")
	d.reason = "bad-cb-payee"
	m := run(t, newMemory(), t.TempDir(), nil, d)
	await(t, "proposals", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.proposed >= 3 })
	if m.teller.current() != nil || m.Ready(t.Context()) == nil {
		t.Error("a job that the daemon refuses was told")
	}
	d.change(func() { d.reason = "" })
	await(t, "a job", func() bool { return m.teller.current() != nil })
}

func TestDaemonThatIsNotSyncedIsNotMinedOn(t *testing.T) {
	d := newFakeDaemon("a")
	d.behind = 1
	m := run(t, newMemory(), t.TempDir(), nil, d)
	time.Sleep(50 * time.Millisecond)
	if m.teller.current() != nil {
		t.Error("a job on an old tip")
	}
	d.change(func() { d.behind = 0 })
	await(t, "a job", func() bool { return m.teller.current() != nil })
	d.change(func() { d.behind = 3 })
	await(t, "nothing to mine on", func() bool { return m.teller.current() == nil })
	if m.teller.withdrew() {
		t.Error("nobody knows that the tip is another one")
	}
	if m.Ready(t.Context()) == nil {
		t.Error("ready")
	}
	d.change(func() { d.behind = 0 })
	await(t, "a job again", func() bool { return m.teller.current() != nil && m.Ready(t.Context()) == nil })
}

// A daemon that has a new tip and makes no template on it: the old job's shares
// would be taken and rejected later.
func TestJobOfAnOldTipIsWithdrawnWhereTheNewOneHasNoTemplate(t *testing.T) {
	d := newFakeDaemon("a")
	m := run(t, newMemory(), t.TempDir(), func(c *Config) { c.MaxStale, c.MaxMoved = time.Hour, 50*time.Millisecond }, d)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	d.newTip()
	await(t, "a job on the new tip", func() bool { j := m.teller.current(); return j != nil && j.Height == 3 })
	d.change(func() { d.noTemplate = errors.New("TestBlockValidity failed") })
	time.Sleep(150 * time.Millisecond)
	if m.teller.current() == nil {
		t.Error("the job of the daemon's own tip is withdrawn")
	}
	d.newTip()
	await(t, "it is withdrawn", m.teller.withdrew)
	if m.teller.current() != nil || m.Ready(t.Context()) == nil {
		t.Error("something is worth mining on")
	}
	d.change(func() { d.err = errAway })
	time.Sleep(50 * time.Millisecond)
	if !m.teller.withdrew() {
		t.Error("it is worth something again because the daemon is away")
	}
	d.change(func() { d.err, d.noTemplate = nil, nil })
	await(t, "a job again", func() bool { j := m.teller.current(); return j != nil && j.Height == 4 && m.Ready(t.Context()) == nil })
}

func TestOtherDaemonTakesOverWithoutALostJob(t *testing.T) {
	a, b := newFakeDaemon("a"), newFakeDaemon("b")
	m := run(t, newMemory(), t.TempDir(), nil, a, b)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	a.change(func() { a.err = errAway })
	b.newTip()
	await(t, "a job of the other daemon", func() bool { return m.teller.current() != nil && m.teller.current().Height == 3 })
	// The preferred daemon comes back behind: it is not mined on until it is level.
	a.change(func() { a.err = nil })
	time.Sleep(30 * time.Millisecond)
	if m.teller.current().Height != 3 {
		t.Error("jobs went back to a daemon that is behind")
	}
	a.newTip()
	a.newTip()
	await(t, "a job of the first daemon", func() bool { return m.teller.current().Height == 4 })
	for i, j := range m.teller.all() {
		if i > 0 && j.Seq <= m.teller.all()[i-1].Seq {
			t.Error("numbers do not grow")
		}
	}
}

func TestJobsGoOnAfterARestartAndStandInTheLedger(t *testing.T) {
	store, dir, d := newMemory(), t.TempDir(), newFakeDaemon("a")
	m := run(t, store, dir, nil, d)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	first := m.teller.current()
	m.stop()
	again := run(t, store, dir, nil, d)
	await(t, "a job", func() bool { return again.teller.current() != nil })
	if j := again.teller.current(); j.Seq <= first.Seq || j.Clean {
		t.Errorf("%+v after %+v: the tip has not changed", j, first)
	}
	kept, unknown, err := again.keeper.Job(t.Context(), first.Seq)
	if err != nil || unknown || kept.Height != first.Height || string(kept.Coinbase1) != string(first.Coinbase1) {
		t.Errorf("%+v, %v, %v", kept, unknown, err)
	}
	if _, unknown, err := again.keeper.Job(t.Context(), first.Seq+1<<30); !unknown || err != nil {
		t.Errorf("a job that nobody issued: %v", err)
	}
}

func TestOneOfTwoBackendsIssues(t *testing.T) {
	store, d := newMemory(), newFakeDaemon("a")
	first := run(t, store, t.TempDir(), nil, d)
	await(t, "a job", func() bool { return first.teller.current() != nil })
	second := run(t, store, t.TempDir(), nil, d)
	time.Sleep(50 * time.Millisecond)
	if second.teller.current() != nil {
		t.Error("both issue")
	}
	first.stop()
	await(t, "the other takes over", func() bool { return second.teller.current() != nil })
	if second.teller.current().Seq <= first.teller.all()[0].Seq {
		t.Error("the numbers go back")
	}
}

func TestJobsAreIssuedWhileTheLedgerIsAwayAndReachItLater(t *testing.T) {
	store, dir, d := newMemory(), t.TempDir(), newFakeDaemon("a")
	m := run(t, store, dir, nil, d)
	await(t, "a job", func() bool { return m.teller.current() != nil })
	store.away(errors.New("away"))
	d.newTip()
	await(t, "a job on the new tip", func() bool { return m.teller.current().Height == 3 })
	missing := m.teller.current()
	// The process dies now: the job is in a file.
	m.stop()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	keeper, err := NewKeeper("regtest", 1, store, dir, silent)
	must(t, err)
	if j, unknown, err := keeper.Job(t.Context(), missing.Seq); err != nil || unknown || j.Height != 3 {
		t.Errorf("%+v, %v, %v", j, unknown, err)
	}
	store.away(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- keeper.Run(ctx) }()
	await(t, "the ledger has the job", func() bool { _, ok, _ := store.FindJob(ctx, 1, missing.Seq); return ok })
	await(t, "the file is gone", func() bool { entries, _ := os.ReadDir(dir); return len(entries) == 0 })
	cancel()
	must(t, <-done)
}

func TestJobOfASuperblockPaysEverybodyExactly(t *testing.T) {
	b, err := newBuilder(Plan{
		Network: "regtest", Algorithm: "x11", Chain: chain.BiblePayRegtest(), PoolAddress: "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", Tag: "/p/",
	})
	must(t, err)
	tmpl := newFakeDaemon("a").template.Template
	tmpl.WitnessCommitment, tmpl.Payload, tmpl.Value = nil, nil, 1000
	for range 300 {
		tmpl.Payees = append(tmpl.Payees, chain.Payee{Script: make([]byte, 25), Value: 3})
	}
	i, err := b.build(&tmpl, 1, true, time.Now())
	must(t, err)
	var a job.Assembler
	tx, err := chain.DecodeTransaction(a.Coinbase(i.Job, &job.Found{Extranonce2Size: 4}))
	must(t, err)
	if len(tx.Outputs) != 301 || tx.Outputs[0].Value != 100 || tx.Outputs[300].Value != 3 {
		t.Errorf("%d outputs, the pool gets %d", len(tx.Outputs), tx.Outputs[0].Value)
	}
	tmpl.Payees[7].Value = 104
	if _, err := b.build(&tmpl, 1, true, time.Now()); !errors.Is(err, chain.ErrValue) {
		t.Errorf("more is paid than there is: %v", err)
	}
}
