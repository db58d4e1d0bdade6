package ledger_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/test/web/fixture"
)

func openWeb(t testing.TB, db *ledgertest.DB) *ledger.WebStore {
	t.Helper()
	store, err := ledger.OpenWeb(t.Context(), db.WebDSN(), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func get[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestWebReadsALivingPoolWithItsOwnRole(t *testing.T) {
	db := ledgertest.New(t)
	now := time.Now().UTC()
	addresses := fixture.Living(t, db, now, fixture.Options{})
	now = time.Now().UTC()
	web := openWeb(t, db)
	ctx := t.Context()

	if ids := get[map[string]int16](t)(web.Networks(ctx)); ids["main"] != fixture.Main || len(ids) != 3 {
		t.Errorf("networks %v", ids)
	}
	if err := web.CheckVersion(ctx); err != nil {
		t.Error(err)
	}
	p := get[ledger.NetworkPulse](t)(web.Pulse(ctx, fixture.Main, now))
	if p.HashesPerSecond < 1000 || p.Miners != 24 || p.Workers < 40 || p.MinersDay != 24 || p.Height != 31_179 || p.LastBlock == nil || p.LastShareAt.IsZero() {
		t.Errorf("pulse %+v", p)
	}
	if effort, ok := p.Effort(); !ok || effort <= 0 {
		t.Errorf("effort %v, %v", effort, ok)
	}
	if p.LastBlock.Finder == "" && p.LastBlock.Height%5 != 0 || p.LastBlock.Effort <= 0 {
		t.Errorf("last block %+v", *p.LastBlock)
	}
	st := get[ledger.Statistics](t)(web.Statistics(ctx, fixture.Main, now))
	if len(st.Days) != 7 || st.AllBlocks < 20 || st.PoolBlocks < 6 || st.MinersCredited != 24 || st.Luck <= 0 || len(st.Reasons) < 4 || st.Mined < 6*5492*fixture.Coin {
		t.Errorf("statistics %+v", st)
	}
	for _, span := range []string{"day", "week", "month"} {
		s := get[ledger.Series](t)(web.NetworkSeries(ctx, fixture.Main, span, now))
		if len(s.Points) < 140 || s.Points[len(s.Points)-1].HashesPerSecond == 0 || s.Points[3].HashesPerSecond == 0 {
			t.Errorf("%s: %d points", span, len(s.Points))
		}
	}
	if list := get[[]ledger.RecentMiner](t)(web.Miners(ctx, fixture.Main, 10, "", 0)); len(list) != 10 || list[0].Address != addresses[0] || list[0].HashesPerSecond == 0 {
		t.Errorf("miners %+v", list)
	}
	if list := get[[]ledger.Transaction](t)(web.Transactions(ctx, fixture.Main, 10, math.MaxInt64)); len(list) != 3 || list[2].State != "confirmed" || list[2].Miners != 8 {
		t.Errorf("payments %+v", list)
	}
}

func TestWebReadsAMiner(t *testing.T) {
	db := ledgertest.New(t)
	now := time.Now().UTC()
	addresses := fixture.Living(t, db, now, fixture.Options{})
	now = time.Now().UTC()
	web := openWeb(t, db)
	ctx := t.Context()
	m := get[map[string]ledger.WebMiner](t)(web.FindMiners(ctx, fixture.Main, []string{addresses[3], addresses[0], "nobody"}))[addresses[0]]
	// The others of the same reading must not be mixed in.
	all := get[map[int64]*ledger.MinerFigures](t)(web.MinerFigures(ctx, []int64{m.ID + 1, m.ID, 77}, 20, now))
	if len(all) != 3 || len(all[77].Workers) != 0 || len(all[m.ID+1].Workers) != 3 || len(all[77].Days) != 7 {
		t.Fatalf("figures %+v", all)
	}
	figures := all[m.ID]
	workers := figures.Workers
	online := 0
	for _, w := range workers {
		if w.Online(now) {
			online++
		}
		if w.Shares == 0 || w.RateDay == 0 {
			t.Errorf("worker %+v", w)
		}
	}
	if len(workers) != 9 || online != 8 || workers[8].Name != "old" {
		t.Errorf("%d workers, %d online: %+v", len(workers), online, workers)
	}
	if money := figures.Money; money.Immature <= 0 || money.Paid <= 0 || money.LastPaymentAt.IsZero() {
		t.Errorf("money %+v", money)
	}
	if list := figures.Refusals; len(list) < 9 {
		t.Errorf("refusals %+v", list)
	}
	entries := figures.Entries
	if len(entries) != 20 || entries[0].Kind != "block" || entries[0].Height == 0 || entries[7].Kind != "payment" || entries[7].Amount >= 0 {
		t.Errorf("entries %+v", entries)
	}
	next := get[[]ledger.Entry](t)(web.Entries(ctx, m.ID, 20, entries[19].ID))
	if len(next) == 0 || next[0].ID >= entries[19].ID {
		t.Errorf("next page %+v", next)
	}
	if list := figures.Payments; len(list) != 1 || list[0].TxID == [32]byte{} {
		t.Errorf("payments %+v", list)
	}
	if pulses := get[map[int64]ledger.MinerPulse](t)(web.MinerPulses(ctx, []int64{m.ID, 2, 77}, now)); len(pulses) != 2 || pulses[m.ID].HashesPerSecond == 0 {
		t.Errorf("pulses %+v", pulses)
	}
	if days := figures.Days; len(days) != 7 || days[5].Shares == 0 {
		t.Errorf("days %+v", days)
	}
	for _, span := range []string{"day", "week", "month"} {
		if s := get[map[int64]ledger.Series](t)(web.MinerSeries(ctx, []int64{2, m.ID}, span, now)); len(s) != 2 || len(s[m.ID].Points) < 140 || s[m.ID].Points[len(s[m.ID].Points)-3].Shares <= 0 || s[m.ID].Points[139] == s[2].Points[139] && span != "month" {
			t.Errorf("%s: %d points, %+v", span, len(s[m.ID].Points), s[m.ID].Points[max(0, len(s[m.ID].Points)-3):])
		}
	}
	if r := figures.Rating; r != nil {
		t.Errorf("a rating of nobody: %+v", r)
	}
}

// The chain's newest block says what a block costs now, whoever found it; where
// its target was not known, the pool's newest block does.
func TestEffortIsMeasuredAgainstTheNetworksDifficultyOfNow(t *testing.T) {
	db := ledgertest.New(t)
	now := time.Now().UTC()
	fixture.Living(t, db, now, fixture.Options{})
	web := openWeb(t, db)
	tip := get[ledger.NetworkPulse](t)(web.Pulse(t.Context(), fixture.Main, now))
	want := ledgertest.Value[float64](t, db, `SELECT hashes::float8 FROM chain_block WHERE main ORDER BY height DESC LIMIT 1`)
	if effort, _ := tip.Effort(); tip.BlockHashes != want || tip.BlockHashesAt != 31_179 || effort != tip.RoundHashes/want {
		t.Errorf("%v hashes at block %d, want %v", tip.BlockHashes, tip.BlockHashesAt, want)
	}
	db.SQL("postgres").MustExec(`UPDATE chain_block SET hashes = NULL`)
	want = ledgertest.Value[float64](t, db, `SELECT hashes::float8 FROM block WHERE main ORDER BY height DESC LIMIT 1`)
	if ours := get[ledger.NetworkPulse](t)(web.Pulse(t.Context(), fixture.Main, now)); ours.BlockHashes != want || ours.BlockHashesAt != 31_178 {
		t.Errorf("%v hashes at block %d, want %v", ours.BlockHashes, ours.BlockHashesAt, want)
	}
}

// What is young is not averaged over a time in which it was not there.
func TestSeriesBeginWithWhatTheyAreOf(t *testing.T) {
	now := time.Date(2018, 5, 20, 12, 3, 0, 0, time.UTC)
	var points []ledger.Point
	for at := now.Add(-24 * time.Hour).Truncate(10 * time.Minute); at.Before(now); at = at.Add(10 * time.Minute) {
		points = append(points, ledger.Point{At: at})
	}
	series := ledger.Series{Step: 10 * time.Minute, Points: points}
	for begun, first := range map[time.Time]time.Time{
		{}:                                  points[0].At,
		now.Add(-3 * time.Hour):             now.Add(-3 * time.Hour).Truncate(10 * time.Minute),
		now.Add(-time.Minute):               points[len(points)-6].At, // some steps at least
		now.Add(-40 * 24 * time.Hour):       points[0].At,
		points[20].At:                       points[20].At,
		points[20].At.Add(-time.Nanosecond): points[19].At,
	} {
		if got := series.Since(begun); !got.Points[0].At.Equal(first) {
			t.Errorf("since %v it begins at %v, want %v", begun, got.Points[0].At, first)
		}
	}
}

func TestAnUnknownMinerIsNoSuchMiner(t *testing.T) {
	web := openWeb(t, ledgertest.New(t))
	for _, address := range []string{"", "x", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", "\x00", "\xff", "'; DROP TABLE miner; --"} {
		if found, err := web.FindMiners(t.Context(), fixture.Main, []string{address}); err != nil || len(found) != 0 {
			t.Errorf("%q: %v, %v", address, found, err)
		}
	}
	if _, err := web.NetworkSeries(t.Context(), fixture.Main, "year", time.Now()); !errors.Is(err, ledger.ErrBadSpan) {
		t.Errorf("a year: %v", err)
	}
}

func TestAPoolWithoutAnythingHasAPulse(t *testing.T) {
	web := openWeb(t, ledgertest.New(t))
	now := time.Now()
	p := get[ledger.NetworkPulse](t)(web.Pulse(t.Context(), fixture.Test, now))
	if p.HashesPerSecond != 0 || p.LastBlock != nil || !p.RoundSince.IsZero() || p.Scheme != "prop" {
		t.Errorf("pulse %+v", p)
	}
	if st := get[ledger.Statistics](t)(web.Statistics(t.Context(), fixture.Test, now)); st.Luck != -1 || len(st.Days) != 7 {
		t.Errorf("statistics %+v", st)
	}
}
