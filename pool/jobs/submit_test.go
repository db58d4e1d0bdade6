package jobs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/job"
)

// fakeDaemons answer to submitblock as a test says, daemon by daemon.
type fakeDaemons struct {
	mu      sync.Mutex
	answers []bbprpc.Submission
	asked   func(block []byte) // called before each answer; nil: nobody asks
	blocks  [][]byte
	height  int64
}

func (d *fakeDaemons) say(answers ...bbprpc.Submission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = answers
}

func (d *fakeDaemons) SubmitEverywhere(_ context.Context, block []byte) <-chan bbprpc.Submission {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocks = append(d.blocks, bytes.Clone(block))
	if d.asked != nil {
		d.asked(block)
	}
	out := make(chan bbprpc.Submission, len(d.answers))
	for _, a := range d.answers {
		out <- a
	}
	close(out)
	return out
}

func (d *fakeDaemons) BlockCount(context.Context) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.height, nil
}

func (d *fakeDaemons) rounds() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.blocks)
}

// records are what the ledger was told.
type records struct {
	mu   sync.Mutex
	rows []ledger.BlockSubmission
	err  error // is the answer; nil: taken
}

func (r *records) RecordSubmission(_ context.Context, _ int16, b *ledger.BlockSubmission) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.rows = append(r.rows, *b)
	}
	return r.err
}

func (r *records) away(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *records) last() (b ledger.BlockSubmission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) > 0 {
		b = r.rows[len(r.rows)-1]
	}
	return b
}

// office is a submitter with one job.
type office struct {
	*Submitter
	daemons *fakeDaemons
	records *records
	keeper  *Keeper
	dir     string
	job     *job.Job
	judge   func(ctx context.Context, share *job.Share) error // of stale shares, from the next opening on
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{daemons: &fakeDaemons{answers: []bbprpc.Submission{{Endpoint: "a"}}}, records: &records{}, dir: t.TempDir()}
	var err error
	o.keeper, err = NewKeeper("regtest", 1, newMemory(), filepath.Join(o.dir, "jobs"), silent)
	must(t, err)
	b, err := newBuilder(plan())
	must(t, err)
	tmpl := newFakeDaemon("a").template.Template
	issued, err := b.build(&tmpl, 7, true, time.Now())
	must(t, err)
	must(t, o.keeper.Keep(t.Context(), issued))
	o.job = issued.Job
	o.reopen(t)
	return o
}

func (o *office) reopen(t *testing.T) {
	t.Helper()
	s, err := NewSubmitter(SubmitConfig{
		Network: "regtest", NetworkID: 1, Dir: o.dir, MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond, Logger: silent, Late: o.judge,
	}, o.keeper, o.daemons, o.records)
	must(t, err)
	o.Submitter = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
}

// winner returns a share that makes a block, or, where wins is false, one that
// does not.
func (o *office) winner(t *testing.T, wins bool) job.Share {
	t.Helper()
	s := job.Share{Job: o.job.Seq, Worker: 3, ReceivedAt: job.MomentOf(time.Now()), Target: 0x207fffff, Found: job.Found{
		Extranonce2Size: 4, Time: o.job.Time, Target: 0x207fffff, Extranonce1: job.MakeExtranonce1(1, uint64(time.Now().UnixNano())),
	}}
	var a job.Assembler
	target, err := o.job.Target()
	must(t, err)
	for target.MetBy(a.Proof(o.job, &s.Found)) != wins {
		s.Found.Nonce++
	}
	return s
}

func TestWinningShareIsSubmittedOnceAndRecorded(t *testing.T) {
	o := openOffice(t)
	s := o.winner(t, true)
	for range 3 { // by its own way, redelivered, and by the way of all shares
		must(t, o.Win(t.Context(), &s))
	}
	await(t, "it is recorded", func() bool { return o.records.last().Result == ledger.SubmissionAccepted })
	if o.daemons.rounds() != 1 {
		t.Errorf("submitted %d times", o.daemons.rounds())
	}
	row := o.records.last()
	if row.Height != o.job.Height || row.Seq != 7 || row.WorkerID != 3 || row.ShareID != uuid.UUID(job.Identity("regtest", &s)) || row.Attempts != 1 {
		t.Errorf("%+v", row)
	}
	if row.Proof == [32]byte{} || row.Proof != o.proof(&s) {
		t.Errorf("its proof is %x", row.Proof)
	}
	await(t, "the journal is done with it", func() bool { return len(o.journal.unfinished()) == 0 })
}

func (o *office) proof(s *job.Share) [32]byte {
	var a job.Assembler
	return a.Proof(o.job, &s.Found)
}

func TestBlockIsJournaledOnDiskBeforeItIsSubmittedAndItsResultAfter(t *testing.T) {
	o := openOffice(t)
	journaled := func() (unfinished [][]byte) {
		// As the next process would read it, were this one killed now.
		data, err := os.ReadFile(filepath.Join(o.dir, "blocks-regtest.journal"))
		must(t, err)
		copied := filepath.Join(t.TempDir(), "journal")
		must(t, os.WriteFile(copied, data, 0o600))
		j, err := openJournal(copied)
		must(t, err)
		defer func() { must(t, j.close()) }()
		for _, r := range j.unfinished() {
			unfinished = append(unfinished, r.Block)
		}
		return unfinished
	}
	var before [][]byte
	o.daemons.asked = func([]byte) {
		before = journaled()
		if rows := o.records.last(); rows.Result == ledger.SubmissionAccepted {
			t.Error("recorded as accepted before any daemon was asked")
		}
	}
	s := o.winner(t, true)
	must(t, o.Win(t.Context(), &s))
	await(t, "it is recorded", func() bool { return o.records.last().Result == ledger.SubmissionAccepted })
	if len(before) != 1 || len(o.daemons.blocks) != 1 || !bytes.Equal(before[0], o.daemons.blocks[0]) {
		t.Errorf("%d blocks stood in the journal when the daemons were asked", len(before))
	}
	await(t, "the journal has a result, too", func() bool { return len(journaled()) == 0 })
}

func TestLateWinnerIsTriedLikeAnyOther(t *testing.T) {
	o := openOffice(t)
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Verdict: "inconclusive"})
	s := o.winner(t, true)
	s.Stale = true
	must(t, o.Win(t.Context(), &s))
	await(t, "it is recorded", func() bool { return o.records.last().Result == ledger.SubmissionInconclusive })
	if o.daemons.rounds() != 1 || !o.records.last().Stale {
		t.Errorf("%d rounds, %+v", o.daemons.rounds(), o.records.last())
	}
}

func TestLateWinnerIsJudgedBesideItsSubmissionAndAgainWhereThatWasNotDone(t *testing.T) {
	o := openOffice(t)
	must(t, o.Close())
	var mu sync.Mutex
	var judged []job.Share
	hang := true
	o.judge = func(ctx context.Context, share *job.Share) error {
		mu.Lock()
		judged = append(judged, *share)
		wait := hang
		mu.Unlock()
		if wait { // the ledger is away
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	o.reopen(t)
	times := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(judged)
	}
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Verdict: "inconclusive"})
	timely, late := o.winner(t, true), o.winner(t, true)
	late.Stale = true
	must(t, o.Win(t.Context(), &timely))
	must(t, o.Win(t.Context(), &late))
	await(t, "both are submitted and one is judged", func() bool { return o.daemons.rounds() == 2 && times() == 1 })
	must(t, o.Close())
	mu.Lock()
	hang = false
	mu.Unlock()
	o.reopen(t)
	await(t, "it is judged again and done with", func() bool { return times() == 2 && len(o.journal.unfinished()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	for _, s := range judged {
		if s.Found != late.Found || !s.Stale {
			t.Errorf("judged was %+v", s)
		}
	}
}

func TestResultThatTheLedgerHasNotTakenComesThereAtTheNextStart(t *testing.T) {
	o := openOffice(t)
	o.records.away(errAway)
	s := o.winner(t, true)
	must(t, o.Win(t.Context(), &s))
	await(t, "a daemon takes it", func() bool { return o.daemons.rounds() == 1 })
	must(t, o.Close())
	if last := o.records.last(); last.Result != "" {
		t.Fatalf("the ledger knows of it: %+v", last)
	}
	o.records.away(nil)
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Verdict: "duplicate"})
	o.reopen(t)
	await(t, "it is recorded", func() bool { return o.records.last().Result == ledger.SubmissionAccepted })
}

func TestShareThatMakesNoBlockReachesNoDaemon(t *testing.T) {
	o := openOffice(t)
	s := o.winner(t, false)
	s.Proof = [32]byte{} // whatever a frontend says of it
	must(t, o.Win(t.Context(), &s))
	won := o.winner(t, true)
	won.Job++
	if err := o.Win(t.Context(), &won); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("a share for no job: %v", err)
	}
	must(t, o.Message(t.Context(), []byte("junk")))
	if o.daemons.rounds() != 0 {
		t.Error("submitted")
	}
}

func TestBlockIsTriedUntilADaemonIsBack(t *testing.T) {
	o := openOffice(t)
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Err: errAway}, bbprpc.Submission{Endpoint: "b", Verdict: "prev-blk-not-found"})
	s := o.winner(t, true)
	must(t, o.Win(t.Context(), &s))
	await(t, "it is tried again", func() bool { return o.daemons.rounds() >= 4 })
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Err: errAway}, bbprpc.Submission{Endpoint: "b"})
	await(t, "it is accepted", func() bool { return o.records.last().Result == ledger.SubmissionAccepted })
	if o.records.last().Attempts < 4 {
		t.Errorf("%+v", o.records.last())
	}
}

func TestBlockOfADeadProcessIsSubmittedAtItsNextStart(t *testing.T) {
	o := openOffice(t)
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Err: errAway})
	s := o.winner(t, true)
	must(t, o.Win(t.Context(), &s))
	await(t, "it is tried", func() bool { return o.daemons.rounds() >= 1 })
	must(t, o.Close())
	// A torn record, as a power failure leaves it.
	f, err := os.OpenFile(filepath.Join(o.dir, "blocks-regtest.journal"), os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.Write([]byte{200, 0, 0, 0, 1, 2, 3})
	must(t, err)
	must(t, f.Close())
	o.daemons.say(bbprpc.Submission{Endpoint: "a"})
	o.reopen(t)
	await(t, "it is accepted", func() bool { return o.records.last().Result == ledger.SubmissionAccepted })
	await(t, "the journal is done with it", func() bool { return len(o.journal.unfinished()) == 0 })
	must(t, o.Close())
	before := o.daemons.rounds()
	o.reopen(t)
	if len(o.journal.unfinished()) != 0 || o.daemons.rounds() != before {
		t.Error("a block that was accepted is submitted again")
	}
}

func TestFateOfABlockFollowsFromWhatAllDaemonsSay(t *testing.T) {
	for _, c := range []struct {
		say  []string
		want string
	}{
		{[]string{""}, ledger.SubmissionAccepted},
		{[]string{"duplicate", "high-hash"}, ledger.SubmissionAccepted},
		{[]string{"bad-cb-amount", ""}, ledger.SubmissionAccepted},
		{[]string{"inconclusive", "inconclusive"}, ledger.SubmissionInconclusive},
		{[]string{"inconclusive", "bad-cb-payee"}, ledger.SubmissionInconclusive},
		{[]string{"bad-cb-payee", "high-hash"}, ledger.SubmissionRefused},
	} {
		o := openOffice(t)
		var answers []bbprpc.Submission
		for _, word := range c.say {
			answers = append(answers, bbprpc.Submission{Endpoint: "x", Verdict: word})
		}
		o.daemons.say(answers...)
		s := o.winner(t, true)
		must(t, o.Win(t.Context(), &s))
		await(t, "it is decided", func() bool { return o.records.last().Result == c.want })
	}
}

func TestBlockThatCannotCountIsGivenUp(t *testing.T) {
	o := openOffice(t)
	o.daemons.say(bbprpc.Submission{Endpoint: "a", Verdict: "prev-blk-not-found"})
	s := o.winner(t, true)
	must(t, o.Win(t.Context(), &s))
	await(t, "it is tried again", func() bool { return o.daemons.rounds() >= 2 })
	o.daemons.mu.Lock()
	o.daemons.height = int64(o.job.Height) + 20
	o.daemons.mu.Unlock()
	await(t, "it is given up", func() bool { return o.records.last().Result == ledger.SubmissionRefused })
}

func TestJournalBeginsAnewWithWhatIsUnfinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, err := openJournal(path)
	must(t, err)
	must(t, j.write(record{Hash: [32]byte{1}, Block: []byte("open")}))
	must(t, j.write(record{Hash: [32]byte{2}, Block: []byte("done")}))
	must(t, j.write(record{Hash: [32]byte{2}, Result: "accepted"}))
	j.size = maxJournal + 1 // as if it were large
	must(t, j.renew())
	must(t, j.write(record{Hash: [32]byte{3}, Block: []byte("new")}))
	must(t, j.close())
	j, err = openJournal(path)
	must(t, err)
	left := j.unfinished()
	if len(left) != 2 {
		t.Errorf("%d unfinished", len(left))
	}
	must(t, j.close())
}

func FuzzJournal(f *testing.F) {
	r := record{At: 1, Hash: [32]byte{1}, Block: []byte("block")}
	b, err := encodeRecord(&r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(append(bytes.Clone(b), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "j")
		must(t, os.WriteFile(path, data, 0o600))
		j, err := openJournal(path)
		must(t, err)
		n := len(j.unfinished())
		must(t, j.write(record{Hash: [32]byte{0xfe, 1, 2}, Block: []byte("more")}))
		must(t, j.close())
		j, err = openJournal(path)
		must(t, err)
		if got := len(j.unfinished()); got < n {
			t.Errorf("%d unfinished, %d before", got, n)
		}
		must(t, j.close())
	})
}
