package commands

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"purepool/pool/chain"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// byHand lets nothing happen by itself within a test, but for the chain, which is
// looked at where it grows.
const byHand = `
[backend.schedule]
close_rounds = "1d"
share_out = "1d"
pay = "1d"
rate = "7d"
audit = "30d"
clean_up = "7d"

[network.test.settlement]
close_depth = 2
share_grace = "1s"
confirmations = 4
orphan_depth = 2

[network.test.payments]
threshold = "0.5"
min_interval = "0s"
confirm_depth = 2
`

// operator is a person at the command line of a house.
type operator struct {
	t *testing.T
	h *house.House
}

func (o operator) run(want int, args ...string) string {
	o.t.Helper()
	code, out := purepool(o.t, append(append([]string{"admin"}, args...), "--config", o.h.Config)...)
	if code != want {
		o.t.Fatalf("admin %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (o operator) wants(out string, words ...string) {
	o.t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			o.t.Errorf("%q is missing in:\n%s", w, out)
		}
	}
}

// blockOf lets a miner of the pool find one block: at the bits of these tests a
// share is one.
func blockOf(t *testing.T, h *house.House) {
	t.Helper()
	before := h.Daemon.Chain().Tip().Height
	// The chain is followed from the first look on: what came before is nobody's.
	h.Eventually("the chain is followed", 20*time.Second, func() bool {
		return h.Count(`SELECT coalesce(max(height), 0) FROM purepool.chain_block WHERE main`) == before
	})
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: time.Hour}, Miners: 1})
	// The block is often seen before its share is: its round may end a second later.
	h.Eventually("the block and its share are written down", 20*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.block WHERE height = $1 AND seen_at < now() - interval '1 second'`, before+1) == 1 &&
			h.Count(`SELECT count(*) FROM purepool.share WHERE height = $1`, before) == 1
	})
	l.Stop()
}

func TestOperatorTakesABlockToItsMinersByHand(t *testing.T) {
	h := house.New(t, house.Options{
		// Every hash is a block.
		Daemon: daemon.Options{Network: house.Network, Bits: 0x207fffff, Maturity: 3, BaseHeight: 1000, History: 3},
		Extra:  byHand,
	})
	o := operator{t, h}
	p := h.Run("all")
	o.wants(o.run(0, "block", "list"), "no blocks of the pool")
	blockOf(t, h)
	o.wants(o.run(0, "block", "list"), "new", "5492.00000000")

	// Rounds end and blocks are shared out when it is time, whoever asks.
	o.wants(o.run(0, "schedule", "run", "close-rounds"), "test: 0 rounds ended")
	h.Daemon.MineStranger()
	out := o.run(1, "block", "share-out", "--dry-run")
	o.wants(out, "confirmations", "not mature")
	for range 4 {
		h.Daemon.MineStranger()
	}
	o.wants(o.run(0, "schedule", "run", "watch"), "height ")
	o.wants(o.run(0, "schedule", "run", "close-rounds", "--json"), `"closed":`)
	o.wants(o.run(0, "block", "share-out", "--dry-run"), "would be shared out; nothing was written")
	if n := h.Count(`SELECT count(*) FROM purepool.journal`); n != 0 {
		t.Errorf("%d entries after a dry run", n)
	}
	o.wants(o.run(0, "block", "share-out"), "coins shared out", "no block waits")
	o.wants(o.run(1, "block", "share-out", "--dry-run"), "no block waits")
	o.wants(o.run(1, "block", "share-out", "--block", "7"), "no such block")

	// Payments are off: a person plans one, holds it, lets it go, and pays.
	var miners []struct{ Address string }
	decode(t, o.run(0, "miner", "find", "--json"), &miners)
	who := miners[0].Address
	o.wants(o.run(0, "miner", "show", who), "balance", "the network's")
	o.wants(o.run(0, "payment", "run"), "0 payments planned", "payments are switched off")
	o.run(0, "miner", "set-payout", who, "--threshold", "1000000", "--reason", "a try")
	o.wants(o.run(0, "payment", "plan"), "0 payments planned")
	o.run(0, "miner", "set-payout", who, "--threshold", "network", "--hold", "--reason", "asked to wait")
	o.wants(o.run(0, "miner", "show", who), "held: asked to wait")
	o.wants(o.run(0, "payment", "plan"), "0 payments planned")
	o.run(0, "miner", "set-payout", who, "--release", "--reason", "asked for it")
	o.wants(o.run(0, "payment", "plan", "--hold"), "1 payment planned", "intent, held")
	o.wants(o.run(0, "payment", "run", "--now", "--reason", "a try"), "0 sent", "1 wait")
	o.run(0, "payment", "cancel", "1", "--reason", "a rehearsal")
	o.wants(o.run(0, "payment", "show", "1"), "cancelled", "a rehearsal", "released")
	o.run(0, "payment", "plan", "--hold")
	o.wants(o.run(0, "payment", "release", "2", "--reason", "looked at it"), "intent")
	o.wants(o.run(0, "payment", "run", "--now", "--reason", "a try"), "1 sent")
	o.wants(o.run(0, "payment", "list", "--state", "sent"), "sent")
	h.Daemon.MineStranger()
	h.Daemon.MineStranger()
	o.wants(o.run(0, "payment", "run"), "1 confirmed") // also while payments are off
	o.wants(o.run(0, "payment", "list", "--json"), `"state":"confirmed"`)
	o.wants(o.run(1, "payment", "hold", "2", "--reason", "x"), "in another state")
	o.wants(o.run(1, "payment", "resolve", "2", "--unpaid", "--reason", "x"), "in another state")
	o.wants(o.run(1, "payment", "show", "77"), "no such payment")

	for _, job := range []string{"pay", "roll-up", "rate", "clean-up", "audit"} {
		o.wants(o.run(0, "schedule", "run", job), "test: ")
	}
	o.wants(o.run(1, "schedule", "run", "nonsense"), "no such job")
	o.wants(o.run(0, "audit"), "network test at", ": clean", "what is owed is covered")
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAuditThatFindsSomethingFails(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network, Bits: 0x207fffff, Maturity: 3, BaseHeight: 1000, History: 3}, Extra: byHand})
	o := operator{t, h}
	p := h.Run("all")
	mine(t, h, 1)
	p.Stop()
	var miners []struct{ Address string }
	decode(t, o.run(0, "miner", "find", "--json"), &miners)
	o.run(0, "audit")
	o.wants(o.run(1, "miner", "correct", miners[0].Address, "12.5", "--key", "gift"), "needs a --reason")
	give := []string{"miner", "correct", miners[0].Address, "100000000", "--key", "gift", "--reason", "a test"}
	o.run(0, give...)
	o.wants(o.run(1, give...), "a correction with this key was made before")
	// The wallet has never had so much.
	out := o.run(1, "audit", "--json")
	o.wants(out, `"clean":false`, `"coverage":"short"`)
	o.wants(o.run(1, "schedule", "run", "audit"), "the audit is not clean", "short of")
	o.wants(o.run(0, "audit", "--books-only"), ": clean", "what is owed is unknown", "100000000.00000000")
	if n := h.Count(`SELECT -b.amount / 100000000 FROM purepool.account a JOIN purepool.balance b ON b.account_id = a.id WHERE a.kind = 'correction'`); n != 100_000_000 {
		t.Errorf("%d coins were given", n)
	}
	must(t, h.Daemon.SetFaults(daemon.Fault{Kind: daemon.FaultRefuse}))
	o.wants(o.run(1, "audit"), "NOT CLEAN", "FAULT  what is owed is unknown")
}

func TestOperatorIgnoresAndCreditsAMinersShares(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	o := operator{t, h}
	p := h.Run("all")
	mine(t, h, 1)
	var miners []struct{ Address string }
	decode(t, o.run(0, "miner", "find", "--json"), &miners)
	o.run(0, "miner", "ignore", miners[0].Address, "--reason", "asks for it")
	o.wants(o.run(0, "miner", "show", miners[0].Address), "shares ignored")
	o.run(0, "miner", "credit", miners[0].Address)
	if out := o.run(0, "miner", "show", miners[0].Address, "--json"); !strings.Contains(out, `"shares_ignored":false`) {
		t.Errorf("after credit: %s", out)
	}
	p.Stop()
}

func TestPausedJobWaitsAndAnAnnouncedBlockDoesNot(t *testing.T) {
	h := house.New(t, house.Options{
		Daemon: daemon.Options{Network: house.Network, BaseHeight: 1000, History: 3},
		// Neither the tip nor the chain is asked for by itself.
		Extra: "[backend.schedule]\nwatch = \"1h\"\n",
	})
	text, err := os.ReadFile(h.Config)
	must(t, err)
	must(t, os.WriteFile(h.Config, []byte(strings.Replace(string(text), `tip_poll_interval = "200ms"`, `tip_poll_interval = "1m"`, 1)), 0o600))
	o := operator{t, h}
	p := h.Run("all")
	seen := func() int64 { return h.Count(`SELECT coalesce(max(height), 0) FROM purepool.chain_block WHERE main`) }
	h.Eventually("the first look", 20*time.Second, func() bool { return seen() == h.Daemon.Chain().Tip().Height })

	o.wants(o.run(0, "schedule", "pause", "watch"), "watch of network test paused")
	o.wants(o.run(0, "schedule", "list"), "paused")
	h.Daemon.MineStranger()
	o.run(0, "notify-block", "--network", house.Network, "a-hash")
	time.Sleep(500 * time.Millisecond) // nothing is to happen
	if seen() == h.Daemon.Chain().Tip().Height {
		t.Error("a paused job ran")
	}
	o.run(0, "schedule", "resume", "watch")
	o.run(0, "notify-block")
	h.Eventually("the announced block is written down", 10*time.Second, func() bool { return seen() == h.Daemon.Chain().Tip().Height })
	o.wants(o.run(0, "schedule", "list", "--json"), `"name":"watch"`, `"paused":false`, `"runner":"backend `)
	o.wants(o.run(1, "schedule", "pause", "nonsense"), "there is no job nonsense")
	o.wants(o.run(1, "notify-block", "--network", "nowhere"), "the configuration has no network nowhere")
	p.Stop()
}

// An answer that was lost leaves a payment that a person may have to decide
// about; the wallet's own book says what was made.
func TestPaymentOfWhichNobodyKnowsIsDecidedByAPerson(t *testing.T) {
	h := house.New(t, house.Options{
		Daemon: daemon.Options{Network: house.Network, Bits: 0x207fffff, Maturity: 3, BaseHeight: 1000, History: 3}, Extra: byHand,
	})
	o := operator{t, h}
	p := h.Run("all")
	blockOf(t, h)
	for range 5 {
		h.Daemon.MineStranger()
	}
	h.Eventually("the reward is shared out", 20*time.Second, func() bool {
		o.run(0, "schedule", "run", "watch")
		o.run(0, "schedule", "run", "close-rounds")
		o.run(0, "block", "share-out")
		return h.Count(`SELECT count(*) FROM purepool.journal WHERE kind = 'block'`) == 1
	})
	p.Stop()

	must(t, h.Daemon.SetFaults(daemon.Fault{Kind: daemon.FaultCut, Method: "sendmany"}))
	o.wants(o.run(1, "payment", "run", "--now", "--reason", "a try"), "no answer to a payment")
	must(t, h.Daemon.SetFaults())
	o.wants(o.run(0, "payment", "list"), "sending")
	// A wallet that has lost its memory: the payment is held, and stays so. Its
	// transaction is nobody's, or all payments would be held for it.
	txid := sentBy(t, h)
	o.wants(o.run(0, "payment", "reconcile", "--ignore", txid.String(), "--reason", "a test"), "books and wallet agree")
	_, err := h.DB.ExecContext(t.Context(), `UPDATE purepool.payment SET wallet_mark = decode(repeat('ab', 32), 'hex'), tag = 'lost'`)
	must(t, err)
	o.run(0, "payment", "run", "--now", "--reason", "a try")
	o.wants(o.run(0, "payment", "show", "1"), "unclear", "another wallet, or an old copy")
	o.run(0, "payment", "run", "--now", "--reason", "a try")
	o.wants(o.run(0, "payment", "list", "--state", "unclear"), "unclear")

	o.wants(o.run(1, "payment", "resolve", "1", "--reason", "x"), "say either --paid TXID or --unpaid")
	o.wants(o.run(0, "payment", "resolve", "1", "--paid", txid.String(), "--reason", "seen in the wallet"), "sent", txid.String())
	h.Daemon.MineStranger()
	h.Daemon.MineStranger()
	o.run(0, "payment", "run")
	o.wants(o.run(0, "payment", "show", "1"), "confirmed", "paid")
	o.wants(o.run(0, "audit"), ": clean", "what is owed is covered")
	if n := h.Count(`SELECT count(*) FROM purepool.audit_log WHERE action = 'resolve payment as paid'`); n != 1 {
		t.Errorf("%d records in the audit log", n)
	}
}

// sentBy returns the one transaction that the wallet has sent.
func sentBy(t *testing.T, h *house.House) chain.Hash {
	t.Helper()
	all := slices.Collect(maps.Values(house.SentBy(t, h.Wallet()).Transactions))
	if len(all) != 1 {
		t.Fatalf("the wallet has sent %v", all)
	}
	return all[0]
}

func TestSolutionIsHandedInFromAFile(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	p := h.Run("all")
	var sent miner.Sent
	got := make(chan struct{}, 1)
	l := h.Mine(miner.FleetOptions{
		Miner: miner.Options{Interval: time.Hour, OnSent: func(s miner.Sent) {
			sent = s
			got <- struct{}{}
		}},
		Miners: 1,
	})
	<-got
	l.Stop()
	file := filepath.Join(h.Dir, "solution")
	must(t, os.WriteFile(file, []byte(sent.Solution.String()+"\n"), 0o600))
	submit := func(who string) (int, string) {
		return purepool(t, "sim", "submit", "--pool", "http://"+h.HTTP, "--network", house.Network, "--miner", who, file)
	}
	if code, out := submit(sent.Miner); code != 1 || !strings.Contains(out, "the pool says: ") {
		t.Errorf("a solution that is known: %d %s", code, out)
	}
	must(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	if code, out := submit(sent.Miner); code != 1 || !strings.Contains(out, "the pool says: ") {
		t.Errorf("nonsense: %d %s", code, out)
	}
	p.Stop()
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, text))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
