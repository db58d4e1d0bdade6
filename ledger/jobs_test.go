package ledger_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestJobIsFoundAsItWasIssuedUntilItExpires(t *testing.T) {
	s, ctx := ledgertest.New(t).Backend(), t.Context()
	issued := time.Date(2026, 11, 1, 12, 0, 0, 1000, time.UTC)
	if _, ok, err := s.LastJob(ctx, mainNet); ok || err != nil {
		t.Fatalf("a job in an empty ledger: %v, %v", ok, err)
	}
	for i := range uint64(3) {
		j := &ledger.Job{
			Seq: 1000 + i, IssuedAt: issued.Add(time.Duration(i) * time.Hour), Height: 7, Prev: [32]byte{1},
			Clean: i == 0, Body: []byte{byte(i)}, Block: []byte("block"),
		}
		must(t, s.InsertJob(ctx, mainNet, j))
		must(t, s.InsertJob(ctx, mainNet, j)) // again, as after a lost answer
	}
	last, ok, err := s.LastJob(ctx, mainNet)
	if err != nil || !ok || last.Seq != 1002 || last.Clean || string(last.Block) != "block" {
		t.Errorf("%+v, %v, %v", last, ok, err)
	}
	first, ok, err := s.FindJob(ctx, mainNet, 1000)
	if err != nil || !ok || !first.Clean || !first.IssuedAt.Equal(issued) || !bytes.Equal(first.Body, []byte{0}) || first.Prev[0] != 1 {
		t.Errorf("%+v, %v, %v", first, ok, err)
	}
	if _, ok, err := s.FindJob(ctx, mainNet+1, 1000); ok || err != nil {
		t.Errorf("another network has the job: %v, %v", ok, err)
	}
	must(t, s.DropJobs(ctx, issued.Add(time.Minute), issued.Add(90*time.Minute)))
	if _, ok, _ := s.FindJob(ctx, mainNet, 1000); ok {
		t.Error("an expired job is there")
	}
	if j, ok, _ := s.FindJob(ctx, mainNet, 1001); !ok || j.Block != nil {
		t.Errorf("%+v, %v: the job stays longer than its block", j, ok)
	}
	must(t, s.DropJobs(ctx, issued.Add(time.Hour*100), issued.Add(time.Hour*100)))
	if j, ok, _ := s.LastJob(ctx, mainNet); !ok || j.Seq != 1002 {
		t.Error("the number of the last job is forgotten")
	}
}

func TestOneBackendLeadsTheJobsOfANetwork(t *testing.T) {
	db := ledgertest.New(t)
	first, second, ctx := db.Backend(), db.Backend(), t.Context()
	lead, err := first.LeadJobs(ctx, mainNet)
	if err != nil || lead == nil || !lead.Holds(ctx) {
		t.Fatalf("%v, %v", lead, err)
	}
	for _, s := range []*ledger.BackendStore{first, second} {
		if other, err := s.LeadJobs(ctx, mainNet); other != nil || err != nil {
			t.Fatalf("two lead (%v)", err)
		}
	}
	if other, err := second.LeadJobs(ctx, mainNet+1); other == nil || err != nil {
		t.Errorf("another network: %v, %v", other, err)
	} else {
		other.Release()
	}
	lead.Release()
	lead, err = second.LeadJobs(ctx, mainNet)
	if err != nil || lead == nil {
		t.Fatalf("after the release: %v, %v", lead, err)
	}
	_, err = db.SQL("postgres").ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	must(t, err)
	if lead.Holds(ctx) {
		t.Error("leads without its connection")
	}
	lead.Release()
	if lead, err = first.LeadJobs(ctx, mainNet); err != nil || lead == nil {
		t.Fatalf("after the connection was cut: %v, %v", lead, err)
	}
	lead.Release()
}

func TestWorkersAreKnownOnTheirOwnNetworkOnly(t *testing.T) {
	db := ledgertest.New(t)
	s, ctx := db.Backend(), t.Context()
	w, err := db.Frontend().EnsureWorker(ctx, mainNet, someAddress, "rig", "")
	must(t, err)
	_, err = db.SQL("postgres").ExecContext(ctx, `UPDATE miner SET enabled = false, ignore_shares = true`)
	must(t, err)
	found, err := s.WorkerStates(ctx, mainNet, []int64{w.ID, w.ID, -1, 1 << 60})
	if err != nil || len(found) != 1 || found[w.ID] != (ledger.WorkerState{MinerID: w.Miner.ID, MinerGUID: w.Miner.GUID, IgnoreShares: true}) {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := s.WorkerStates(ctx, mainNet+1, []int64{w.ID}); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAcceptedSubmissionStaysAccepted(t *testing.T) {
	s, ctx := ledgertest.New(t).Backend(), t.Context()
	b := ledger.BlockSubmission{
		Hash: [32]byte{9}, Height: 8, Seq: 1 << 59, ShareID: uuid.New(), WorkerID: 3, Stale: true,
		ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), SubmittedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	for i, result := range []string{ledger.SubmissionPending, ledger.SubmissionAccepted, ledger.SubmissionRefused} {
		b.Result, b.Attempts, b.Detail = result, i+1, "\x00"+result
		must(t, s.RecordSubmission(ctx, mainNet, &b))
	}
	list, err := s.Submissions(ctx, mainNet, time.Now().Add(-time.Hour))
	must(t, err)
	b.Result, b.Attempts = ledger.SubmissionAccepted, 2
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	b.Detail = list[0].Detail
	if list[0] != b {
		t.Errorf("%+v, want %+v", list[0], b)
	}
}
