package settle_test

import (
	"errors"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/settle"
)

// madeElsewhere lets the wallet have made a payment that the books know nothing
// of.
func (w *world) madeElsewhere(tag string, fee int64, outputs ...bbprpc.Output) {
	w.t.Helper()
	w.wallet.mu.Lock()
	defer w.wallet.mu.Unlock()
	w.wallet.calls++
	w.wallet.make(bbprpc.PaymentBatch{Comment: tag, Outputs: outputs, SubtractFee: true})
	tx := &w.wallet.entries[len(w.wallet.entries)-1]
	tx.Fee = bbprpc.Amount(fee)
	for _, o := range outputs {
		tx.Details = append(tx.Details, bbprpc.WalletEntry{TxID: tx.TxID, Address: o.Address, Category: "send", Amount: -o.Amount, Comment: tag})
	}
}

func (w *world) reconcile(opts settle.ReconcileOptions) settle.Reconciliation {
	w.t.Helper()
	opts.By = ledger.Reason{Who: "tester", Why: "a test"}
	r, err := w.payer.Reconcile(w.t.Context(), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestPaymentsOfAWalletThatTheBooksNeverKnewWaitForAPerson(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("alice", 10*coin)
	w.madeElsewhere("purepool main abc-s", 5, bbprpc.Output{Address: address("alice"), Amount: bbprpc.Amount(2*coin - 3)}, bbprpc.Output{Address: address("bob"), Amount: bbprpc.Amount(coin - 2)})
	w.madeElsewhere("purepool test abc-s", 5, bbprpc.Output{Address: address("alice"), Amount: 7}) // another network's
	if result, err := w.payer.Pay(t.Context()); !errors.Is(err, settle.ErrHeld) || result.Held == "" || result.Sent != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if r := w.reconcile(settle.ReconcileOptions{}); r.Held == "" || len(r.Unknown) != 1 {
		t.Fatalf("%+v", r)
	}
	if r := w.reconcile(settle.ReconcileOptions{Adopt: true}); r.Held != "" || len(r.Rebuilt) != 1 || len(r.Rebuilt[0].Items) != 2 {
		t.Fatalf("%+v", r)
	}
	// The miners have borne the network fee in equal parts, the first the rest.
	w.wantBalances(map[string]int64{"alice": 8 * coin, "bob": -coin})
	if r := w.reconcile(settle.ReconcileOptions{Adopt: true}); len(r.Rebuilt) != 0 || r.Held != "" {
		t.Errorf("rebuilt twice: %+v", r)
	}
	w.audit()
}

func TestPaymentThatTheBooksHaveForgottenIsRebuiltAndNotMadeAgain(t *testing.T) {
	w := newWorld(t, worldOptions{payer: settle.PayerOptions{AbsentDelay: 10 * time.Minute}})
	w.pay() // books and wallet agree from here on
	w.credit("alice", 10*coin)
	planned, _, err := w.payer.Plan(t.Context())
	if err != nil || len(planned) != 1 {
		t.Fatalf("%v, %v", planned, err)
	}
	// What the books have forgotten: the plan was given up, and another one paid.
	w.madeElsewhere("purepool main later-s", 0, bbprpc.Output{Address: address("alice"), Amount: bbprpc.Amount(10 * coin)})
	calls := w.wallet.calls
	for range 3 {
		if result := w.pay(); result.Held == "" {
			t.Fatalf("paid while a call may be under way: %+v", result)
		}
	}
	w.pass(time.Hour)
	w.strangers(3)
	for range 3 {
		w.pay()
		w.strangers(2)
	}
	if w.wallet.calls != calls {
		t.Errorf("the wallet was called %d times more", w.wallet.calls-calls)
	}
	w.wantBalances(map[string]int64{"alice": 0})
	w.audit()
}

func TestWhatAMergedMinerEarnsIsCreditedToTheOther(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("alice", 30)
	w.share("bob", 10)
	w.share("carol", 60)
	if _, err := w.books.Merge(t.Context(), w.miner("alice"), w.miner("bob"), ledger.Reason{Who: "tester"}); err == nil {
		t.Error("merged without a reason")
	}
	if _, err := w.books.Merge(t.Context(), w.miner("alice"), w.miner("bob"), ledger.Reason{Who: "tester", Why: "one person"}); err != nil {
		t.Fatal(err)
	}
	// The last one draws the first along.
	if _, err := w.books.Merge(t.Context(), w.miner("bob"), w.miner("dave"), ledger.Reason{Who: "tester", Why: "one person"}); err != nil {
		t.Fatal(err)
	}
	w.find("carol", 101*coin)
	w.strangers(5)
	w.settle()
	total := w.balance("dave") + w.balance("carol")
	if w.balance("alice") != 0 || w.balance("bob") != 0 || w.balance("dave") == 0 || total != 101*coin {
		t.Errorf("alice %d, bob %d, dave %d, carol %d", w.balance("alice"), w.balance("bob"), w.balance("dave"), w.balance("carol"))
	}
	w.audit()
}
