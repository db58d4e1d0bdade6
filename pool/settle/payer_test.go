package settle_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

var operator = ledger.Reason{Who: "operator", Why: "test"}

// onlyPayment returns the one payment that there is.
func (w *world) onlyPayment() ledger.Payment {
	w.t.Helper()
	list, err := w.books.Payments(w.t.Context(), w.net, "", 10)
	if err != nil || len(list) != 1 {
		w.t.Fatalf("%d payments, %v", len(list), err)
	}
	return list[0]
}

func (w *world) wantState(state string) ledger.Payment {
	w.t.Helper()
	p := w.onlyPayment()
	if p.State != state {
		w.t.Fatalf("the payment is %s (%s), want %s", p.State, p.Note, state)
	}
	return p
}

// wantPaid checks what the wallet has paid to whom.
func (w *world) wantPaid(want map[string]int64) {
	w.t.Helper()
	for name, amount := range want {
		if got := w.wallet.paidTo(name); got != amount {
			w.t.Errorf("%s was paid %d satoshis, want %d", name, got, amount)
		}
	}
}

func TestABalanceIsPaidOnceAndFollowedIntoTheChain(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.wallet.fee = 1000
	w.credit("anna", 5*coin)
	w.credit("ben", coin)
	if r := w.pay(); r.Planned != 1 || r.Miners != 2 || r.Sent != 1 {
		t.Errorf("%+v", r)
	}
	w.wantPaid(map[string]int64{"anna": 5 * coin, "ben": coin})
	w.wantBalances(map[string]int64{"anna": 0, "ben": 0})
	if p := w.wantState(ledger.PaymentSent); p.NetworkFee != 1000 || !p.Booked {
		t.Errorf("%+v", p)
	}
	if w.account("paid") != 6*coin-1000 || w.account("network_fee") != 1000 {
		t.Errorf("paid %d, network fee %d", w.account("paid"), w.account("network_fee"))
	}
	w.audit()
	w.pay()
	w.strangers(1)
	w.pay()
	w.wantState(ledger.PaymentSent)
	w.strangers(1)
	if r := w.pay(); r.Confirmed != 1 {
		t.Errorf("%+v", r)
	}
	w.wantState(ledger.PaymentConfirmed)
	if w.wallet.calls != 1 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestThePoolCanPayTheNetworkFee(t *testing.T) {
	w := newWorld(t, worldOptions{settler: settle.SettlerOptions{Fee: 10_000_000}, payer: settle.PayerOptions{PoolPaysFee: true}})
	w.wallet.fee = 1000
	w.credit("anna", 10*coin)
	w.pay()
	if w.wallet.seen[0].SubtractFee {
		t.Error("the fee was to be subtracted")
	}
	if w.account("paid") != 9*coin || w.account("network_fee") != 1000 || w.account("fee") != coin-1000 {
		t.Errorf("paid %d, network fee %d, fee %d", w.account("paid"), w.account("network_fee"), w.account("fee"))
	}
	w.audit()
}

// P1, P2: no answer is not "not paid".
func TestAnAnswerThatIsLostIsNeverPaidTwice(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.set(paysAndSilent)
	if _, err := w.payer.Pay(t.Context()); !errors.Is(err, bbprpc.ErrAway) {
		t.Errorf("error %v", err)
	}
	w.wantState(ledger.PaymentSending)
	w.wallet.set(pays)
	w.wallet.err = away(false) // the wallet stays away: still nothing is sent
	for range 3 {
		_, _ = w.payer.Pay(t.Context())
	}
	w.wantState(ledger.PaymentSending)
	w.wallet.err = nil
	w.pay()
	w.wantState(ledger.PaymentSent)
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	if w.wallet.calls != 1 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestAPaymentThatIsCertainlyAbsentIsSentAgain(t *testing.T) {
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{AbsentDelay: 10 * time.Minute, AbsentBlocks: 2}})
	w.credit("anna", 5*coin)
	w.wallet.set(silent)
	_, _ = w.payer.Pay(t.Context())
	w.wallet.set(pays)
	w.pay()
	w.wantState(ledger.PaymentSending) // seen to be absent once
	w.pass(11 * time.Minute)
	w.pay()
	w.wantState(ledger.PaymentSending) // no block has come since the call
	w.strangers(2)
	if r := w.pay(); r.Sent != 1 {
		t.Errorf("%+v", r)
	}
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	if p := w.wantState(ledger.PaymentSent); p.Attempts != 2 {
		t.Errorf("%d attempts", p.Attempts)
	}
	w.audit()
}

func TestAnotherWalletIsNotBelieved(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.pay() // so that the wallet has a payment as its newest transaction
	w.credit("anna", 5*coin)
	w.wallet.set(paysAndSilent)
	_, _ = w.payer.Pay(t.Context())
	w.wallet.set(pays)
	book := w.wallet.entries
	w.wallet.entries = nil // a wallet restored from an old copy
	for range 3 {
		if r := w.pay(); r.Unclear != 1 {
			t.Errorf("%+v", r)
		}
	}
	list, err := w.books.Payments(t.Context(), w.net, ledger.PaymentUnclear, 10)
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Note, "old copy") {
		t.Fatalf("%+v, %v", list, err)
	}
	w.wallet.entries = book // the right one is back
	w.pay()
	w.wantPaid(map[string]int64{"anna": 10 * coin})
	if w.wallet.calls != 2 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestATransactionThatLooksLikeThePaymentHoldsIt(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.set(paysAndSilent)
	_, _ = w.payer.Pay(t.Context())
	w.wallet.set(pays)
	w.wallet.entries[0].Comment = "" // found on the chain, its comment lost
	w.pay()
	p := w.wantState(ledger.PaymentUnclear)
	if err := w.books.ResolvePaid(t.Context(), p.ID, w.wallet.entries[0].TxID.Display(), operator); err != nil {
		t.Fatal(err)
	}
	w.pay()
	w.wantState(ledger.PaymentSent)
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	w.audit()
}

func TestAPersonsWordThatNothingWasPaidHoldsThePaymentUntilItIsReleased(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.set(paysAndSilent)
	_, _ = w.payer.Pay(t.Context())
	w.wallet.set(pays)
	w.wallet.entries[0].Comment = ""
	w.pay()
	w.wallet.drop(1)
	w.wallet.entries = nil
	p := w.wantState(ledger.PaymentUnclear)
	if err := w.books.ResolveUnpaid(t.Context(), p.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.pay()
	w.wantState(ledger.PaymentIntent)
	if err := w.books.ReleasePayment(t.Context(), p.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.pay()
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	w.audit()
}

// P3.
func TestPayersThatStartTogetherMakeOnePayment(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := w.payer.Pay(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	w.wantBalances(map[string]int64{"anna": 0})
	if w.wallet.calls != 1 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestAPayerThatHasLostItsLockDoesNotCallTheWallet(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.asked = func() { // the database restarts while the wallet is asked for its balance
		w.super.MustExec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	}
	if _, err := w.payer.Pay(t.Context()); err == nil {
		t.Error("no error")
	}
	w.wallet.asked = nil
	if w.wallet.calls != 0 {
		t.Fatal("the wallet was called without the lock")
	}
	w.audit()
	for range 3 {
		_, _ = w.payer.Pay(t.Context()) // connections of the pool are broken too
	}
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	if w.wallet.calls != 1 {
		t.Errorf("the wallet was called %d times", w.wallet.calls)
	}
	w.audit()
}

func TestEachAnswerOfTheWalletLeadsToOnePayment(t *testing.T) {
	for _, mode := range []walletMode{pays, refusesFunds, refusesUnclear, paysAndRefuses, paysAndSilent, silent, notReached, refusesLocked} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.credit("anna", 5*coin)
			w.credit("ben", 3*coin)
			w.wallet.set(mode)
			_, _ = w.payer.Pay(t.Context())
			w.audit()
			w.wallet.set(pays)
			for range 6 { // back-offs pass, blocks come
				w.super.MustExec("UPDATE payout SET retry_at = now() - interval '1 second'; UPDATE payment SET next_at = '2020-01-01'")
				w.pay()
				w.strangers(1)
				w.audit()
			}
			w.wantPaid(map[string]int64{"anna": 5 * coin, "ben": 3 * coin})
			w.wantBalances(map[string]int64{"anna": 0, "ben": 0})
		})
	}
}

func TestATransactionWhoseCoinsAreSpentForGoodIsSentAgain(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.pay()
	w.wallet.drop(1)
	w.pay()
	w.wantState(ledger.PaymentSent) // the chain may turn back
	w.wantBalances(map[string]int64{"anna": 0})
	w.wallet.drop(2)
	w.pay()
	w.audit()
	w.pay()
	w.wantState(ledger.PaymentSent)
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	if w.wallet.calls != 2 || w.account("paid") != 5*coin {
		t.Errorf("%d calls, %d paid", w.wallet.calls, w.account("paid"))
	}
	w.audit()
}

func TestATransactionThatIsGoneOrGivenUpWaitsForAPerson(t *testing.T) {
	for name, happen := range map[string]func(w *world){
		"unknown to the wallet": func(w *world) { w.wallet.entries = nil },
		"abandoned":             func(w *world) { w.wallet.entries[0].Abandoned = true },
		"replaced by another one with its tag": func(w *world) {
			w.wallet.drop(9)
			w.wallet.calls++
			w.wallet.make(w.wallet.seen[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.credit("anna", 5*coin)
			w.pay()
			happen(w)
			calls := w.wallet.calls
			for range 3 {
				if r := w.pay(); r.Unclear != 1 {
					t.Errorf("%+v", r)
				}
			}
			w.wantState(ledger.PaymentUnclear)
			if w.wallet.calls != calls {
				t.Error("it was sent again")
			}
			w.audit()
		})
	}
}

func TestHeldPaymentsAreNotSentAndCancelledOnesGiveBalancesBack(t *testing.T) {
	w := newWorld(t, worldOptions{})
	ctx := t.Context()
	w.credit("anna", 5*coin)
	planned, _, err := w.payer.Plan(ctx)
	if err != nil || len(planned) != 1 {
		t.Fatal(planned, err)
	}
	if err := w.books.HoldPayment(ctx, planned[0].ID, operator); err != nil {
		t.Fatal(err)
	}
	w.pay()
	w.wantPaid(map[string]int64{"anna": 0})
	if err := w.books.CancelPayment(ctx, planned[0].ID, operator); err != nil {
		t.Fatal(err)
	}
	w.wantBalances(map[string]int64{"anna": 5 * coin})
	w.audit()
	w.pay()
	w.wantPaid(map[string]int64{"anna": 5 * coin})
	for what, err := range map[string]error{
		"hold":    w.books.HoldPayment(ctx, planned[0].ID, operator),
		"release": w.books.ReleasePayment(ctx, planned[0].ID, operator),
		"cancel":  w.books.CancelPayment(ctx, planned[0].ID, operator),
		"resolve": w.books.ResolvePaid(ctx, planned[0].ID, [32]byte{1}, operator),
	} {
		if !errors.Is(err, ledger.ErrPaymentState) {
			t.Errorf("%s a cancelled payment: %v", what, err)
		}
	}
	w.audit()
}

func TestCorrectionsByHandStandInTheBooksOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	id := w.miner("anna")
	for i := range 2 {
		err := w.books.Correct(t.Context(), id, 3*coin, "letter of 1 June", operator)
		if (err == nil) != (i == 0) {
			t.Errorf("time %d: %v", i, err)
		}
	}
	w.wantBalances(map[string]int64{"anna": 3 * coin})
	w.audit()
}

func TestAPassphraseIsReadFromItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passphrase")
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{PassphraseFile: file}})
	w.credit("anna", coin)
	w.pay()
	w.wantPaid(map[string]int64{"anna": 0}) // no file, no payment, no crash
	w.wantState(ledger.PaymentIntent)
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.super.MustExec("UPDATE payment SET next_at = '2020-01-01'")
	w.pay()
	w.wantPaid(map[string]int64{"anna": coin})
}

func TestAFamilysAddressIsCheckedByItsOwnNetwork(t *testing.T) {
	if _, err := chain.DecodeAddress(address("anna"), chain.LitecoinRegtest()); err == nil {
		t.Error("an address of BiblePay is one of Litecoin")
	}
}
