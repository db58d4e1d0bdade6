package settle_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

// A wallet of eight hundred small coins cannot pay most of them to one miner in
// one transaction; half of the miners is not less than one.
func TestTooManySmallCoinsAreJoinedAndThePaymentGoesOut(t *testing.T) {
	e := newEnv(t)
	pool, miners := pair(t)
	rich := miners.Address()
	miners.mine(110, rich, pool)
	giveSmallCoins(t, pool, miners, 8)
	networks, err := e.store.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, books := networks["regtest"], e.store.Books()
	options := settle.PayerOptions{
		Network: "regtest", NetworkID: id, Chain: chain.LitecoinRegtest(), Family: bbprpc.FamilyBitcoin, Threshold: coin,
		MinInterval: -1, ConfirmDepth: 2, RebroadcastAfter: -1, RetryMin: 1, RetryMax: 1, Consolidate: true,
	}
	payer := settle.NewPayer(options, pool.Client, books)
	auditor := settle.NewAuditor("regtest", id, books, pool.Client, ledger.AuditOptions{}, nil)
	to := miners.Address()
	worker, err := e.front.EnsureWorker(t.Context(), id, to, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	const owed = 155 * coin / 10
	if err := books.Correct(t.Context(), worker.Miner.ID, owed, "work", operator); err != nil {
		t.Fatal(err)
	}

	result, err := payer.Pay(t.Context())
	if err != nil || result.Joined != 1 || result.Sent != 0 || result.SetAside != 0 || result.Waiting != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	fee := ledgertest.Value[int64](t, e.db, `SELECT fee FROM consolidation WHERE coins = 500`)
	for range 3 { // until it is in a block there is no second one, and nobody is given up
		if result, err = payer.Pay(t.Context()); err != nil || result.Joined != 0 || result.SetAside != 0 {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	pool.mine(1, rich, miners) // its own node has them all at once
	for range 4 {
		if _, err = payer.Pay(t.Context()); err != nil {
			t.Fatal(err)
		}
		pool.mine(1, rich, miners)
	}
	paidFee := ledgertest.Value[int64](t, e.db, `SELECT coalesce(sum(network_fee), 0)::bigint FROM payment`)
	if got, transactions := miners.Received(to); transactions != 1 || got != owed-paidFee {
		t.Errorf("he received %d satoshis in %d transactions, owed are %d less %d", got, transactions, owed, paidFee)
	}
	audit, err := auditor.Audit(t.Context())
	if err != nil || !audit.Clean {
		t.Fatalf("%+v, %v", audit, err)
	}
	// To the satoshi: what the wallet has is what it was given, less what it paid.
	if want := 16*coin - owed - fee; audit.Wallet.Spendable+audit.Wallet.Unconfirmed != want || audit.Totals.NetFee != paidFee+fee || audit.Totals.Fee != -fee {
		t.Errorf("the wallet has %d, want %d; network fees %d, want %d; the pool's fees %d", audit.Wallet.Spendable, want, audit.Totals.NetFee, paidFee+fee, audit.Totals.Fee)
	}
	if n := ledgertest.Value[int](t, e.db, `SELECT count(*) FROM consolidation WHERE state = 'confirmed'`); n != 1 {
		t.Errorf("%d consolidations are confirmed", n)
	}
}

// giveSmallCoins gives the pool's wallet a hundred coins of 0.02, several times.
func giveSmallCoins(t *testing.T, pool, miners *litecoind, times int) {
	t.Helper()
	calls := make([]*bbprpc.Call, 100)
	addresses := make([]string, len(calls))
	for i := range calls {
		calls[i] = bbprpc.NewCall("getnewaddress", &addresses[i], "", "legacy")
	}
	if err := pool.Client.Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	outputs := make([]string, len(addresses))
	for i, a := range addresses {
		outputs[i] = fmt.Sprintf("%q:0.02", a)
	}
	for range times {
		miners.Call("sendmany", nil, "", jsonText("{"+strings.Join(outputs, ",")+"}"))
	}
	miners.mine(1, miners.Address(), pool)
}

// jsonText is JSON as it stands.
type jsonText string

func (j jsonText) MarshalJSON() ([]byte, error) { return []byte(j), nil }

func joinOptions() settle.PayerOptions {
	return settle.PayerOptions{Threshold: 1, Consolidate: true, JoinFrom: 3, JoinCoins: 4, RetryMin: 1, RetryMax: 1, RebroadcastAfter: -1}
}

func (w *world) consolidations() string {
	w.t.Helper()
	return ledgertest.Value[string](w.t, w.db, `SELECT coalesce(string_agg(state, ' ' ORDER BY id), '') FROM consolidation`)
}

func TestNoCoinsAreJoinedWhileAPaymentIsInDoubt(t *testing.T) {
	w := newWorld(t, worldOptions{payer: joinOptions()})
	w.credit("anna", 10*coin)
	w.wallet.coins = 10
	w.wallet.set(silent)
	_, _ = w.payer.Pay(t.Context()) // nobody knows whether it was made
	w.wantState(ledger.PaymentSending)
	for _, dry := range []bool{true, false} {
		done, err := w.payer.Consolidate(t.Context(), settle.ConsolidateOptions{DryRun: dry, By: operator})
		if done.ID != 0 || !strings.Contains(done.Why, "a payment is on its way") || err != nil {
			t.Errorf("%+v, %v", done, err)
		}
	}
	// Neither is one handed in that was signed before.
	made := ledger.Consolidation{
		NetworkID: w.net, TxID: chain.Hash(sha256.Sum256([]byte("5 1"))).Display(), Raw: "5 1", Coins: 2, Amount: 1000, Fee: 5,
	}
	if _, err := w.books.PlanConsolidation(t.Context(), &made, ledger.Reason{}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.payer.Consolidate(t.Context(), settle.ConsolidateOptions{By: operator})
	if len(w.wallet.handed) > 0 || w.consolidations() != "made" {
		t.Errorf("%q were handed in; %s", w.wallet.handed, w.consolidations())
	}
	w.audit()
	w.wallet.set(pays)
	for range 12 {
		w.strangers(3)
		w.pass(time.Second)
		if _, err := w.payer.Pay(t.Context()); err != nil {
			t.Log(err)
		}
	}
	if w.consolidations() != "confirmed" || w.account("network_fee") != 5 || w.account("fee") != -5 {
		t.Errorf("afterwards %s, fee %d", w.consolidations(), w.account("network_fee"))
	}
	w.audit()
}

func TestCoinsAreJoinedOnlyWhereTheyAreManyAndAllowed(t *testing.T) {
	for _, test := range []struct {
		name  string
		coins int
		off   bool
		want  string
	}{
		{"few coins", 2, false, ""},
		{"switched off", 10, true, ""},
		{"many coins", 10, false, "sent"},
	} {
		opts := joinOptions()
		opts.Consolidate = !test.off
		w := newWorld(t, worldOptions{payer: opts})
		w.credit("anna", 10*coin)
		w.credit("ben", 10*coin)
		w.wallet.coins = test.coins
		w.wallet.set(refusesFunds)
		if _, err := w.payer.Pay(t.Context()); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := w.consolidations(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		w.audit()
	}
}

func TestAConsolidationThatIsRefusedOrReplacedCostsNothing(t *testing.T) {
	w := newWorld(t, worldOptions{payer: joinOptions()})
	w.wallet.coins = 10
	join := func(want bool) {
		t.Helper()
		done, err := w.payer.Consolidate(t.Context(), settle.ConsolidateOptions{By: operator})
		if done.ID != 0 != want || done.Why != "" == want || err != nil {
			t.Errorf("%+v, %v", done, err)
		}
		w.audit()
	}
	w.wallet.refuse = &bbprpc.DaemonError{Code: bbprpc.CodeTxRejected, Message: "min relay fee not met"}
	join(true)
	if w.consolidations() != "dropped" || w.account("network_fee") != 0 {
		t.Errorf("refused: %s, fees %d", w.consolidations(), w.account("network_fee"))
	}
	w.wallet.refuse = away(false)
	for range 2 {
		if _, err := w.payer.Consolidate(t.Context(), settle.ConsolidateOptions{By: operator}); err == nil || w.consolidations() != "dropped made" {
			t.Errorf("while the wallet is away: %v, %s", err, w.consolidations())
		}
	}
	w.wallet.refuse = nil
	join(false) // handed in, and in no block yet: no second one
	if got := w.consolidations(); got != "dropped sent" || w.account("network_fee") == 0 {
		t.Errorf("once it is back: %s, fees %d", got, w.account("network_fee"))
	}
	w.wallet.drop(5) // another transaction has spent the coins, deep in the chain
	w.strangers(3)
	join(true)
	if got, fee := w.consolidations(), w.account("network_fee"); got != "dropped dropped sent" || fee != -w.account("fee") || fee == 0 {
		t.Errorf("replaced: %s, fees %d", got, fee)
	}
}
