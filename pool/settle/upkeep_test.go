package settle_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
)

func TestRatingsFollowTheOriginalsRules(t *testing.T) {
	// 10 blocks, 1000 shares by finders: the pool's ratio is 100.
	rate := func(shares, blocks int64) (int, string) {
		work := []ledger.MinerWork{{MinerID: 1, Shares: shares, Blocks: blocks}}
		if blocks > 0 {
			work = append(work, ledger.MinerWork{MinerID: 2, Shares: 1000 - shares, Blocks: 10 - blocks})
		} else {
			work = append(work, ledger.MinerWork{MinerID: 2, Shares: 1000, Blocks: 10})
		}
		r := settle.RateMiners(work)
		return r[0].Rating, r[0].Percent
	}
	for _, test := range []struct {
		shares, blocks int64
		want           int
		percent        string
	}{
		{100, 1, 0, "100.00"},
		{70, 1, 0, "70.00"},
		{69, 1, -1, "69.00"},
		{30, 1, -1, "30.00"},
		{29, 1, -2, "29.00"},
		{130, 1, 0, "130.00"},
		{131, 1, 1, "131.00"},
		{250, 1, 1, "250.00"},
		{251, 1, 2, "251.00"},
		{400, 1, 2, "400.00"},
		{401, 1, 3, "401.00"},
		{480, 6, 0, "80.00"},
		{479, 6, -1, "79.83"},
		{420, 6, -1, "70.00"},
		{419, 6, -2, "69.83"},
		{360, 6, -2, "60.00"},
		{359, 6, -3, "59.83"},
		{10, 0, 0, "10.00"},
		{99, 0, 0, "99.00"},
		{131, 0, 1, "131.00"},
		{500, 0, 3, "500.00"},
	} {
		if got, percent := rate(test.shares, test.blocks); got != test.want || percent != test.percent {
			t.Errorf("%d shares, %d blocks: rating %d, %s percent; want %d, %s", test.shares, test.blocks, got, percent, test.want, test.percent)
		}
	}
}

// W5.
func TestRatingsNeverDivideByZero(t *testing.T) {
	for _, work := range [][]ledger.MinerWork{
		nil,
		{{MinerID: 1, Shares: 5}}, // no block
		{{MinerID: 1, Blocks: 5}}, // no share of a finder
		{{MinerID: 0, Blocks: 3}, {MinerID: 1, Shares: 9}}, // no known finder
	} {
		for _, r := range settle.RateMiners(work) {
			if r.Rating != 0 || r.MinerID == 0 {
				t.Errorf("%v: %+v", work, r)
			}
		}
	}
}

// W5, P21.
func TestRatingChangesOneNetworkAndNoOtherColumn(t *testing.T) {
	e := newEnv(t)
	main := newWorldOn(t, e, "main", worldOptions{})
	test := newWorldOn(t, e, "test", worldOptions{})
	main.now, test.now = time.Now(), time.Now()
	for _, w := range []*world{main, test} {
		for range 20 {
			w.share("anna", 1)
		}
		w.find("ben", 100)
		if err := settle.Rate(t.Context(), w.books, w.net, w.now); err != nil {
			t.Fatal(err)
		}
	}
	ratings := func(w *world) string {
		return ledgertest.Value[string](t, e.db, "SELECT coalesce(string_agg(shares || '/' || blocks || ':' || rating, ' ' ORDER BY miner_id), '') FROM miner_rating WHERE network_id = $1", w.net)
	}
	if got := ratings(main); got != "20/0:3 1/1:0" {
		t.Errorf("ratings %s", got)
	}
	// Disabled while the rating runs: it stays disabled, whoever is first.
	before := ratings(test)
	err := main.books.Rate(t.Context(), main.net, main.now.Add(-time.Hour), func(work []ledger.MinerWork) []ledger.MinerRating {
		if err := e.store.SetMinerEnabled(t.Context(), main.miner("anna"), false, operator); err != nil {
			t.Error(err)
		}
		return settle.RateMiners(work)
	})
	if err != nil {
		t.Fatal(err)
	}
	if ledgertest.Value[bool](t, e.db, "SELECT enabled FROM miner WHERE id = $1", main.miner("anna")) {
		t.Error("the rating has enabled the miner again")
	}
	// Nothing in the last three days: the ratings of this network go, no other's.
	if err := settle.Rate(t.Context(), main.books, main.net, main.now.Add(10*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := ratings(main); got != "" {
		t.Errorf("ratings are left: %s", got)
	}
	if got := ratings(test); got != before {
		t.Errorf("the other network had %s and has %s", before, got)
	}
}

func TestTheLastShareOfAWorkerIsKnownToTheMinute(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.now = time.Now().UTC()
	w.share("anna", 1)
	list, err := w.books.LastShares(t.Context(), w.miner("anna"))
	if err != nil || len(list) != 1 || !list[0].At.Equal(w.now.Truncate(time.Minute)) || list[0].WorkerID != w.miners["anna"].ID {
		t.Errorf("%+v, %v", list, err)
	}
}

type dropper struct{ names []string }

func (d dropper) DropExpired(context.Context, time.Time, ledger.Retention) ([]string, error) {
	return d.names, nil
}

func TestCleaningUpSaysWhatItDropped(t *testing.T) {
	got, err := settle.CleanUp(t.Context(), dropper{[]string{"work_d20180601"}}, time.Now(), ledger.Retention{}, nil)
	if err != nil || fmt.Sprint(got) != "[work_d20180601]" {
		t.Errorf("%v, %v", got, err)
	}
}
