package settle_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/settle"
	"purepool/pool/settle/scheme"
)

var (
	historySteps = flag.Int("settle.steps", 1000, "steps of random histories")
	historySeed  = flag.Uint64("settle.seed", 2018, "seed of random histories; 0: the time")
)

// history is a pool's life at random. What must hold is checked after every
// step: the audit is clean, and the wallet has paid each miner exactly what the
// books took from him.
type history struct {
	*world
	rng     *rand.Rand
	late    []ledger.Verdict // judged later
	done    []string
	payable int
	gone    [][]*testBlock // branches that may come back
}

func TestTheBooksAddUpAfterEveryStepOfRandomHistories(t *testing.T) {
	seed := *historySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-settle.seed=%d", seed)
	e := newEnv(t)
	for i := 0; i*100 < *historySteps; i++ {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		name := fmt.Sprintf("h%d", i)
		if err := ledger.Migrate(t.Context(), e.db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: name}}}); err != nil {
			t.Fatal(err)
		}
		h := &history{rng: rng, world: newWorldOn(t, e, name, worldOptions{
			settler: settle.SettlerOptions{
				Scheme: []scheme.Name{scheme.Prop, scheme.Prop, scheme.PPLNS, scheme.Solo}[rng.IntN(4)],
				Fee:    scheme.Fee(rng.Int64N(30_000_000)), WindowFactor: 1 + rng.Int64N(100_000), Confirmations: 1 + rng.Int64N(4),
			},
			payer: settle.PayerOptions{
				Threshold: 1 + rng.Int64N(3000), BatchSize: 1 + rng.IntN(4), MaxMiners: 1 + rng.IntN(8), PoolPaysFee: rng.IntN(2) == 0,
				Consolidate: true, JoinFrom: 2, JoinCoins: 3,
			},
		})}
		h.wallet.fee = rng.Int64N(3)
		h.wallet.spent = -1 << 40 // the pool's own reserve
		for range 100 {
			h.step()
		}
		h.end()
	}
}

func (h *history) name() string { return fmt.Sprintf("m%d", h.rng.IntN(7)) }

func (h *history) step() {
	h.t.Helper()
	h.pass(time.Duration(h.rng.IntN(3_000_000)) * time.Microsecond)
	steps := []struct {
		often int
		name  string
		do    func()
	}{
		{20, "share", func() { h.judge(h.verdict(h.name(), h.now, 1+h.rng.Int64N(50))) }},
		{6, "late share", func() { h.late = append(h.late, h.verdict(h.name(), h.now, 1+h.rng.Int64N(50))) }},
		{4, "late verdicts", h.judgeLate},
		{12, "block", h.block},
		{12, "stranger's block", func() { h.chain.mine(0) }},
		{6, "reorganisation", h.reorganise},
		{10, "look", func() { h.look() }},
		{10, "settle", func() { h.settle() }},
		{8, "count along", func() {
			_, err := h.books.CountShares(h.t.Context(), h.net, h.now, time.Duration(h.rng.IntN(8)-2)*time.Second)
			h.must(err)
		}},
		{10, "pay", func() { h.tryPay() }},
		{4, "wallet changes its mood", h.mood},
		{2, "coins are spent elsewhere", h.conflict},
		{2, "miner is disabled or enabled", h.toggle},
		{1, "correction", func() {
			h.payable++
			h.must(h.books.Correct(h.t.Context(), h.miner(h.name()), h.rng.Int64N(2000)-1000, fmt.Sprint(h.world.name, h.payable), operator))
		}},
	}
	sum := 0
	for _, s := range steps {
		sum += s.often
	}
	n := h.rng.IntN(sum)
	for _, s := range steps {
		if n -= s.often; n < 0 {
			h.done = append(h.done, s.name)
			s.do()
			break
		}
	}
	h.check()
}

func (h *history) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v after %v", err, h.done)
	}
}

func (h *history) judgeLate() {
	h.judge(h.late...)
	h.late = nil
}

// block is found by a miner whose share may be judged late, or never come.
func (h *history) block() {
	b := h.chain.mine(1 + h.rng.Int64N(100_000))
	v := h.verdict(h.name(), h.now, 1+h.rng.Int64N(50))
	v.Height, v.Proof = int32(b.Height)-1, b.Hash
	switch h.rng.IntN(6) {
	case 0:
		h.late = append(h.late, v)
	case 1: // its miner's connection broke
	case 2: // it came too late, by all that was known
		v.Reason = "StaleShare"
		h.judge(v)
	case 3: // and its verdict, too
		v.Reason = "StaleShare"
		h.late = append(h.late, v)
	default:
		h.judge(v)
	}
}

func (h *history) reorganise() {
	if len(h.gone) > 0 && h.rng.IntN(3) == 0 { // a branch comes back, longer
		branch := h.gone[len(h.gone)-1]
		h.gone = h.gone[:len(h.gone)-1]
		if prev := branch[0].Height - 1; int64(len(h.chain.best)) > prev && h.chain.best[prev].Hash == branch[0].Prev {
			h.chain.put(branch...)
			h.strangersOnly(2)
		}
		return
	}
	depth := 1 + h.rng.IntN(4)
	if h.rng.IntN(5) == 0 {
		depth = 1 + h.rng.IntN(12)
	}
	depth = min(depth, int(h.chain.height())-100)
	if depth <= 0 {
		return
	}
	h.gone = append(h.gone, h.chain.cut(depth))
	if h.rng.IntN(4) == 0 {
		h.look() // in the middle of it
	}
	h.strangersOnly(depth)
	h.block()
}

func (h *history) strangersOnly(n int) {
	for range n {
		h.chain.mine(0)
	}
}

func (h *history) tryPay() {
	_, _ = h.payer.Pay(h.t.Context()) // the wallet may fail as it likes
}

func (h *history) mood() {
	h.wallet.set([]walletMode{pays, pays, pays, refusesFunds, refusesUnclear, paysAndRefuses, paysAndSilent, silent, notReached, refusesLocked}[h.rng.IntN(10)])
	h.wallet.most = h.rng.IntN(3)
	h.wallet.coins = h.rng.IntN(6)
	h.wallet.refuse = []error{nil, nil, away(false), &bbprpc.DaemonError{Code: bbprpc.CodeTxRejected, Message: "refused"}}[h.rng.IntN(4)]
	h.wallet.bad = map[string]bool{address(h.name()): h.rng.IntN(2) == 0}
}

// conflict lets the last payment's coins be spent elsewhere, deep enough. Not
// those of a payment that was confirmed: a reorganisation deeper than the depth
// at which payments are done with is beyond what a pool can undo.
func (h *history) conflict() {
	if len(h.wallet.entries) == 0 {
		return
	}
	last := &h.wallet.entries[len(h.wallet.entries)-1]
	var done bool
	h.must(h.super.Get(&done, `SELECT EXISTS (SELECT FROM payment WHERE tag = $1 AND state = 'confirmed')`, last.Comment))
	if !done && h.wallet.confirmations(last) == 0 {
		h.wallet.drop(5)
	}
}

func (h *history) toggle() {
	h.must(h.store.SetMinerEnabled(h.t.Context(), h.miner(h.name()), h.rng.IntN(2) == 0, operator))
}

// check: the audit is clean, and what the wallet has paid is what the books say,
// or will say once the payments under way are known.
func (h *history) check() {
	h.t.Helper()
	audit, err := h.auditor.Audit(h.t.Context())
	h.must(err)
	for _, c := range audit.Checks {
		if c.Faults > 0 {
			h.t.Fatalf("%s: %s after %v", c.Name, c.Detail, h.done)
		}
	}
	var rows []struct {
		Address string
		Paid    int64
		Open    int64
	}
	h.must(h.super.Select(&rows, `
		SELECT m.address, coalesce(sum(i.amount) FILTER (WHERE i.state = 'paid'), 0)::bigint AS paid,
		       coalesce(sum(i.amount) FILTER (WHERE i.state = 'planned' AND p.state <> 'intent'
		                OR i.state = 'paid' AND p.state <> 'confirmed'), 0)::bigint AS open
		FROM miner m JOIN payment_item i ON i.miner_id = m.id JOIN payment p ON p.id = i.payment_id
		WHERE m.network_id = $1 GROUP BY m.address`, h.net))
	for _, r := range rows {
		if wallet := h.wallet.paid[r.Address]; wallet > r.Paid+r.Open || wallet < r.Paid-r.Open {
			h.t.Fatalf("%s got %d satoshis from the wallet; paid are %d, unclear %d; after %v", r.Address, wallet, r.Paid, r.Open, h.done)
		}
	}
}

// end lets everything calm down: then every miner has exactly what the books
// took from him.
func (h *history) end() {
	h.t.Helper()
	h.judgeLate()
	h.wallet.set(pays)
	h.wallet.most, h.wallet.bad, h.wallet.refuse = 0, nil, nil
	h.strangers(8)
	h.settle()
	for range 8 {
		h.super.MustExec("UPDATE payout SET retry_at = NULL; UPDATE payment SET next_at = '2020-01-01' WHERE state NOT IN ('confirmed', 'cancelled')")
		h.tryPay()
		h.strangers(3)
	}
	h.done = append(h.done, "calm")
	h.check()
	var odd []string
	h.must(h.super.Select(&odd, `SELECT format('block %s: %s credited, %s refused', b.height, c.n, r.n) FROM block b
		CROSS JOIN LATERAL (SELECT count(*) AS n FROM share WHERE network_id = $1 AND height = b.height - 1 AND proof = b.proof) AS c
		CROSS JOIN LATERAL (SELECT count(*) AS n FROM rejected_share WHERE network_id = $1 AND height = b.height - 1 AND proof = b.proof) AS r
		WHERE b.network_id = $1 AND b.main AND r.n > 0`, h.net))
	if len(odd) > 0 {
		h.t.Errorf("shares whose block stands are refused: %v after %v", odd, h.done)
	}
	h.wantRollUps()
	list, err := h.books.UnfinishedPayments(h.t.Context(), h.net)
	h.must(err)
	for _, p := range list {
		h.t.Errorf("payment %d is still %s (%s) after %v", p.ID, p.State, p.Note, h.done)
	}
}
