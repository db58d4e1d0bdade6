package settle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
)

// P4, P6: an address that cannot be paid takes nobody's place.
func TestAnUnpayableAddressIsSetAsideAndTheRestIsPaid(t *testing.T) {
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{MaxMiners: 2}})
	w.worker("broken", "not an address") // an old pool's database may hold such
	refused := address("refused")        // well formed, but the wallet does not take it
	w.wallet.bad = map[string]bool{refused: true}
	w.credit("broken", 2*coin)
	w.credit("refused", 2*coin)
	w.credit("anna", 3*coin)
	w.credit("ben", 4*coin)
	if r := w.pay(); r.SetAside != 2 {
		t.Errorf("%+v", r)
	}
	w.pay()
	w.wantPaid(map[string]int64{"anna": 3 * coin, "ben": 4 * coin, "refused": 0})
	w.wantBalances(map[string]int64{"broken": 2 * coin, "refused": 2 * coin, "anna": 0, "ben": 0})
	calls := w.wallet.calls
	for range 5 {
		w.pay()
	}
	if w.wallet.calls != calls {
		t.Errorf("the wallet was asked again %d times", w.wallet.calls-calls)
	}
	reason := ledgertest.Value[string](t, w.db, "SELECT reason FROM payment_item WHERE state = 'set_aside'")
	if !strings.Contains(reason, refused) {
		t.Errorf("the reason is %q", reason)
	}
	w.audit()
	// After the back-off he is tried again, and paid where that works now.
	w.wallet.bad = nil
	w.super.MustExec("UPDATE payout SET retry_at = now() - interval '1 second'")
	w.pay()
	w.wantPaid(map[string]int64{"refused": 2 * coin})
	w.audit()
}

// P5, P6.
func TestTheLimitOfARunHoldsAndNobodyIsLeftOutForEver(t *testing.T) {
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{MaxMiners: 10, BatchSize: 3}})
	for i := range 25 {
		w.share(fmt.Sprintf("m%02d", i), 1)
	}
	w.wallet.bad = map[string]bool{address("m03"): true, address("m09"): true, address("m10"): true}
	w.credit("m00", 26*25*coin)
	for run, want := range []int{10, 10, 5} {
		if r := w.pay(); r.Miners > 10 || r.Miners != want {
			t.Errorf("run %d: %d miners", run, r.Miners)
		}
		w.audit()
	}
	for i := range 25 {
		name := fmt.Sprintf("m%02d", i)
		if paid := w.wallet.paidTo(name) > 0; paid == w.wallet.bad[address(name)] {
			t.Errorf("%s was paid: %v", name, paid)
		}
	}
	// Those who have waited longest come first.
	w.credit("m20", 1000*coin)
	for i := range 25 {
		w.share(fmt.Sprintf("m%02d", i), 1)
	}
	w.credit("m00", 26*25*coin)
	w.pay()
	if w.balance("m00") != 0 || w.balance("m24") == 0 {
		t.Error("who was paid last is paid first")
	}
}

// P7: decided: the disabled are not paid, the threshold itself is, and the
// interval is counted from the last payment.
func TestThresholdIntervalAndDisabledMiners(t *testing.T) {
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{Threshold: 10 * coin, MinInterval: time.Hour}})
	w.credit("exact", 10*coin)
	w.credit("less", 10*coin-1)
	w.credit("own", 2*coin)
	w.credit("patient", 20*coin)
	w.credit("disabled", 30*coin)
	w.credit("held", 30*coin)
	ctx := t.Context()
	for _, err := range []error{
		w.store.SetMinerEnabled(ctx, w.miner("disabled"), false, operator),
		w.books.SetPayout(ctx, w.miner("own"), 2*coin, false, operator),
		w.books.SetPayout(ctx, w.miner("patient"), 21*coin, false, operator),
		w.books.SetPayout(ctx, w.miner("held"), 0, true, operator),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.pay()
	w.wantPaid(map[string]int64{"exact": 10 * coin, "less": 0, "own": 2 * coin, "patient": 0, "disabled": 0, "held": 0})
	w.wantBalances(map[string]int64{"disabled": 30 * coin})
	w.credit("exact", 10*coin)
	w.pay()
	w.wantPaid(map[string]int64{"exact": 10 * coin}) // an hour has not passed
	w.super.MustExec("UPDATE payment SET created_at = created_at - interval '1 hour'")
	if err := w.store.SetMinerEnabled(ctx, w.miner("disabled"), true, operator); err != nil {
		t.Fatal(err)
	}
	w.pay()
	w.wantPaid(map[string]int64{"exact": 20 * coin, "disabled": 30 * coin})
	w.audit()
}

func TestPaymentsBeginOnlyInTheirWindowOfTheDay(t *testing.T) {
	hour := func(h int) time.Time { return time.Date(2018, 6, 1, h, 0, 0, 0, time.FixedZone("", 5*3600)).UTC() }
	evening := settle.DayWindow{From: 18 * time.Hour, To: 24 * time.Hour}
	night := settle.DayWindow{From: 22 * time.Hour, To: 6 * time.Hour}
	for utc := range 24 {
		at := time.Date(2018, 6, 1, utc, 0, 0, 0, time.UTC)
		if evening.Open(at) != (utc >= 18) || night.Open(at) != (utc >= 22 || utc < 6) || !(settle.DayWindow{}).Open(at) {
			t.Errorf("hour %d", utc)
		}
	}
	if evening.Open(hour(18)) || !evening.Open(hour(23)) {
		t.Error("the window is not in UTC")
	}
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{Window: evening}})
	w.now = w.now.Truncate(24 * time.Hour).Add(17 * time.Hour)
	w.credit("anna", coin)
	w.pay()
	w.wantPaid(map[string]int64{"anna": 0})
	w.now = w.now.Truncate(24 * time.Hour).Add(18 * time.Hour)
	w.pay()
	w.wantPaid(map[string]int64{"anna": coin})
	w.now = w.now.Truncate(24 * time.Hour).Add(30 * time.Hour) // confirming goes on at any time
	w.strangers(2)
	if r := w.pay(); r.Confirmed != 1 {
		t.Errorf("%+v", r)
	}
}

func TestTooManySmallCoinsMakeSmallerPaymentsAndNeverASpin(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for i := range 40 {
		w.share(fmt.Sprintf("m%02d", i), 1)
	}
	w.credit("m00", 41*40*coin)
	w.wallet.most = 7
	for range 10 {
		w.pay()
	}
	for i := range 40 {
		if name := fmt.Sprintf("m%02d", i); w.wallet.paidTo(name) == 0 {
			t.Errorf("%s was not paid", name)
		}
	}
	if w.wallet.calls > 80 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestAWalletThatIsShortPaysWhatItCanAndTheRestLater(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.credit("ben", 3*coin)
	w.wallet.spent = 2 * coin
	w.pay()
	w.wantPaid(map[string]int64{"anna": 5 * coin, "ben": 0})
	w.pay()
	w.wallet.spent = 5 * coin
	w.super.MustExec("UPDATE payment SET next_at = '2020-01-01'")
	w.pay()
	w.wantPaid(map[string]int64{"anna": 5 * coin, "ben": 3 * coin})
	w.audit()
}

func TestMinersWhoOweAreNotPaidUntilTheyHaveMadeUpForIt(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.find("anna", 5*coin)
	w.strangers(3)
	w.settle()
	w.pay()
	w.chain.cut(4)
	w.strangers(7)
	w.wantBalances(map[string]int64{"anna": -5 * coin})
	if a := w.audit(); a.Totals.Debts != 5*coin || a.Clean {
		t.Errorf("%+v", a) // the wallet lacks what was paid
	}
	w.pass(time.Second)
	// Her old share is paid together with the new ones.
	w.credit("anna", 7*coin)
	w.wantBalances(map[string]int64{"anna": 2 * coin})
	w.pay()
	w.wantPaid(map[string]int64{"anna": 7 * coin})
	if a := w.audit(); !a.Clean {
		t.Errorf("%+v", a)
	}
}
