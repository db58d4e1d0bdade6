package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func TestOperatorsChangesWorkAndAreWrittenDown(t *testing.T) {
	db := ledgertest.New(t)
	front, back := db.Frontend(), db.Backend()
	worker, err := front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	id, by := worker.Miner.ID, ledger.Reason{Who: "op", Why: "cheats \x00 a lot"}
	target := proof(1)
	if err := errors.Join(
		back.SetMinerEnabled(t.Context(), id, false, by),
		back.SetMinerTarget(t.Context(), id, &target, by),
		back.SetIgnoreShares(t.Context(), id, true, by),
	); err != nil {
		t.Fatal(err)
	}
	now, err := front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil || now.Miner.Enabled || now.Miner.HashTarget == nil || *now.Miner.HashTarget != target {
		t.Fatalf("the frontend sees %+v (%v)", now.Miner, err)
	}
	work := ledger.Work{ID: newID(t), NetworkID: mainNet, WorkerID: worker.ID, IssuedAt: time.Now()}
	if err := front.InsertWorks(t.Context(), []ledger.Work{work}); err != nil {
		t.Fatal(err)
	}
	issued, err := back.IssuedWorks(t.Context(), mainNet, []uuid.UUID{work.ID})
	if err != nil || issued[work.ID].MinerEnabled || !issued[work.ID].IgnoreShares {
		t.Fatalf("the backend sees %+v (%v)", issued[work.ID], err)
	}
	if err := errors.Join(back.SetMinerEnabled(t.Context(), id, true, by), back.SetMinerTarget(t.Context(), id, nil, by)); err != nil {
		t.Fatal(err)
	}
	now, err = front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil || !now.Miner.Enabled || now.Miner.HashTarget != nil {
		t.Fatalf("the frontend sees %+v (%v)", now.Miner, err)
	}
	want := "disable miner, set hash target, ignore shares, enable miner, set hash target"
	got := ledgertest.Value[string](t, db, "SELECT string_agg(action, ', ' ORDER BY id) FROM audit_log WHERE who = 'op' AND why LIKE 'cheats%' AND detail->>'miner_id' = $1::text", id)
	if got != want {
		t.Errorf("audit log: %s", got)
	}
}

func TestChangeOfNobodyOrByNobodyIsRefused(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	if err := back.SetMinerEnabled(t.Context(), 4711, true, ledger.Reason{Who: "op"}); !errors.Is(err, ledger.ErrNoSuchMiner) {
		t.Errorf("of nobody: %v", err)
	}
	if err := back.SetMinerEnabled(t.Context(), 4711, true, ledger.Reason{}); !errors.Is(err, ledger.ErrBadText) {
		t.Errorf("by nobody: %v", err)
	}
	if n := count(t, db, "audit_log"); n != 0 {
		t.Errorf("%d audit records of nothing", n)
	}
}

func TestMinersAreFound(t *testing.T) {
	db := ledgertest.New(t)
	front, back := db.Frontend(), db.Backend()
	var miners []ledger.Miner
	for _, m := range []struct {
		network         int16
		address, worker string
	}{{1, "B1", "a"}, {1, "B1", "b"}, {1, "B2", "a"}, {2, "B1", "a"}} {
		w, err := front.EnsureWorker(t.Context(), m.network, m.address, m.worker, "")
		if err != nil {
			t.Fatal(err)
		}
		if m.worker == "a" {
			miners = append(miners, w.Miner)
		}
	}
	if err := back.SetMinerEnabled(t.Context(), miners[1].ID, false, ledger.Reason{Who: "op"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		query ledger.MinerQuery
		want  []int64
	}{
		"all":      {ledger.MinerQuery{}, []int64{miners[0].ID, miners[1].ID, miners[2].ID}},
		"network":  {ledger.MinerQuery{NetworkID: 2}, []int64{miners[2].ID}},
		"address":  {ledger.MinerQuery{Address: "B1"}, []int64{miners[0].ID, miners[2].ID}},
		"guid":     {ledger.MinerQuery{GUID: miners[1].GUID}, []int64{miners[1].ID}},
		"disabled": {ledger.MinerQuery{Disabled: true}, []int64{miners[1].ID}},
		"limit":    {ledger.MinerQuery{Limit: 1}, []int64{miners[0].ID}},
		"nobody":   {ledger.MinerQuery{Address: "B9"}, nil},
	} {
		found, err := back.FindMiners(t.Context(), c.query)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, m := range found {
			ids = append(ids, m.ID)
		}
		if diff := cmp.Diff(c.want, ids); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	found, err := back.FindMiners(t.Context(), ledger.MinerQuery{Address: "B1", NetworkID: 1})
	if err != nil || len(found) != 1 || found[0].Workers != 2 || found[0].Network != "main" || time.Since(found[0].CreatedAt).Abs() > time.Minute {
		t.Errorf("found %+v (%v)", found, err)
	}
}

func TestCountsAreThoseOfTheLedger(t *testing.T) {
	db := ledgertest.New(t)
	front, back := db.Frontend(), db.Backend()
	empty, err := back.ShareCounts(t.Context())
	if err != nil || empty.Credited != 0 || len(empty.Rejected) != 0 || empty.HashesPerSecond != 0 {
		t.Fatalf("of nothing: %+v (%v)", empty, err)
	}
	if _, err := front.EnsureWorker(t.Context(), 1, someAddress, "rig", ""); err != nil {
		t.Fatal(err)
	}
	unknown := rejected(t, 0, 0, "UnknownWork")
	unknown.WorkerID, unknown.MinerID, unknown.HasProof = 0, 0, false
	recent := credited(t, 10, 1)
	recent.ReceivedAt, recent.Weight = time.Now().Add(-3*time.Minute), 600_000_000
	write(t, back, recent, credited(t, 10, 2), rejected(t, 10, 3, "BibleHashWrong"), rejected(t, 10, 4, "BibleHashWrong"), unknown)
	db.SQL(pgcluster.Superuser).MustExec(`INSERT INTO block (network_id, height, hash, block_time, state) VALUES
		(1, 1, '\x` + hexOf(proof(1)) + `', now(), 'immature'), (1, 2, '\x` + hexOf(proof(2)) + `', now(), 'orphaned')`)
	got, err := back.ShareCounts(t.Context())
	want := ledger.Counts{
		Credited: 2, Rejected: map[string]int64{"BibleHashWrong": 2, "UnknownWork": 1},
		Miners: 1, Workers: 1, Blocks: 1, HashesPerSecond: 1_000_000,
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Fatalf("%s (%v)", cmp.Diff(want, got), err)
	}
}

func TestTipsTellWhatWasTheTipAtAnyMoment(t *testing.T) {
	back := ledgertest.New(t).Backend()
	start := time.Now().UTC().Truncate(time.Hour)
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	tip := func(height int32, hash uint64, minute int) ledger.Tip {
		return ledger.Tip{Height: height, Hash: proof(hash), BlockTime: at(minute - 1), SeenAt: at(minute)}
	}
	first := tip(10, 1, 0)
	first.Approximate = true
	// The same tip again is no new one; one that comes back after another is.
	err := back.RecordTips(t.Context(), mainNet, []ledger.Tip{first, tip(10, 1, 1), tip(11, 2, 2), tip(11, 2, 3), tip(10, 1, 4), tip(11, 3, 5)})
	if err != nil {
		t.Fatal(err)
	}
	if err := back.RecordTips(t.Context(), mainNet, []ledger.Tip{tip(11, 3, 6), tip(11, 3, 5)}); err != nil {
		t.Fatal(err)
	}
	if err := back.RecordTips(t.Context(), 2, []ledger.Tip{tip(99, 9, 3)}); err != nil {
		t.Fatal(err)
	}
	for minute, want := range map[int][]ledger.Tip{
		-5: {first, tip(11, 2, 2), tip(10, 1, 4), tip(11, 3, 5)},
		3:  {tip(11, 2, 2), tip(10, 1, 4), tip(11, 3, 5)},
		4:  {tip(11, 2, 2), tip(10, 1, 4), tip(11, 3, 5)},
		9:  {tip(11, 3, 5)},
	} {
		got, err := back.Tips(t.Context(), mainNet, at(minute))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("since minute %d: %s", minute, diff)
		}
	}
	// Old tips go, but the one that was the tip at the border stays.
	if _, err := back.DropExpired(t.Context(), at(3).Add(16*24*time.Hour), ledger.Retention{}); err != nil {
		t.Fatal(err)
	}
	got, err := back.Tips(t.Context(), mainNet, at(-5))
	if diff := cmp.Diff([]ledger.Tip{tip(11, 2, 2), tip(10, 1, 4), tip(11, 3, 5)}, got); err != nil || diff != "" {
		t.Errorf("after expiry: %s (%v)", diff, err)
	}
}

func TestRecordedWorkCanBeImported(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	guid := uuid.MustParse("7d5d3d68-1c4f-4d7c-9d0b-6d1ab2f8a9f0")
	work := ledger.Work{ID: uuid.MustParse("a2d4f1aa-45a6-4a3c-8a29-6b2d5e0b8c11"), NetworkID: 2, HashTarget: proof(1), IssuedAt: time.Now()}
	for range 2 {
		if err := back.ImportWork(t.Context(), "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", guid, "Default", work); err != nil {
			t.Fatal(err)
		}
	}
	found, err := db.Frontend().IssuedWorks(t.Context(), 2, []uuid.UUID{work.ID})
	if err != nil || found[work.ID].MinerGUID != guid || found[work.ID].HashTarget != work.HashTarget {
		t.Fatalf("found %+v (%v)", found, err)
	}
	taken := work
	taken.ID = uuid.New()
	if err := back.ImportWork(t.Context(), "yOther", guid, "Default", taken); err == nil {
		t.Error("two miners have one GUID")
	}
}
