// Package settle tests the way from shares to payments in the whole program,
// which is killed again and again meanwhile.
package settle

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// settings let blocks mature within seconds and have every job run all the time.
const settings = `
[backend.schedule]
watch = "200ms"
close_rounds = "200ms"
share_out = "200ms"
pay = "200ms"
roll_up = "1s"
rate = "1s"
audit = "2s"

[network.test.settlement]
close_depth = 2
share_grace = "1s"
confirmations = 6
orphan_depth = 3

[network.test.payments]
enabled = true
threshold = "0.5"
min_interval = "2s"
batch = 3
confirm_depth = 3
absent_delay = "11s"
retry_min = "1s"
retry_max = "2s"
`

func TestMinersOfAPoolThatIsKilledAgainAndAgainArePaidOnce(t *testing.T) {
	h := house.New(t, house.Options{
		Daemon: daemon.Options{
			Network: house.Network, Bits: 0x200fffff, Maturity: 5, BlockInterval: time.Second, BaseHeight: 1000, History: 12,
		},
		Extra: settings,
	})
	p := h.Run("all")
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: 400 * time.Millisecond, Retry: 200 * time.Millisecond}, Miners: 7})

	// The process dies whenever a few more payments were made.
	for kill := range 4 {
		h.Eventually("payments go on", 30*time.Second, func() bool {
			return h.Count(`SELECT count(*) FROM purepool.payment WHERE state IN ('sent', 'confirmed')`) > int64(2*kill)
		})
		if kill == 2 {
			h.Daemon.Chain().Reorg(2)
		}
		p.Kill()
		p = h.Run("all")
	}
	counts := l.Stop()

	// Everything comes to its end: strangers find blocks all the time.
	h.Eventually("every block is shared out and every payment is confirmed", 45*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.block WHERE state = 'immature' AND main`) == 0 &&
			h.Count(`SELECT count(*) FROM purepool.payment WHERE state NOT IN ('confirmed', 'cancelled')`) == 0 &&
			h.Count(`SELECT count(*) FROM purepool.account a JOIN purepool.balance b ON b.account_id = a.id WHERE a.kind = 'miner' AND b.amount >= 50000000`) == 0
	})
	if counts.Unexpected != 0 {
		t.Errorf("miners were told what they did not deserve: %+v", counts)
	}
	wantCleanAudit(t, h)
	wantWalletAndBooksAgree(t, h)
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// wantCleanAudit runs the command that an operator runs, and checks its sums.
func wantCleanAudit(t *testing.T, h *house.House) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), house.Binary(t), "admin", "audit", "--json", "--config", h.Config).Output()
	if err != nil {
		t.Fatalf("admin audit: %v\n%s", err, out)
	}
	var audits []struct {
		Clean  bool
		Totals struct {
			Miners, Debts, Reserved, Fee, Unclaimed, Rewards, Paid int64
			NetFee                                                 int64 `json:"network_fee"`
		}
		Wallet struct {
			Coverage string
			Owed     int64
		}
	}
	must(t, json.Unmarshal(out, &audits))
	a := audits[0]
	if !a.Clean || a.Wallet.Coverage != "covered" {
		t.Errorf("audit: %s", out)
	}
	if sum := a.Totals.Miners - a.Totals.Debts + a.Totals.Reserved + a.Totals.Paid + a.Totals.NetFee + a.Totals.Fee + a.Totals.Unclaimed; sum != a.Totals.Rewards || sum == 0 {
		t.Errorf("%d satoshis were shared out, %d are accounted for", a.Totals.Rewards, sum)
	}
}

// wantWalletAndBooksAgree compares each payment and each address of the books with
// the wallet's own book.
func wantWalletAndBooksAgree(t *testing.T, h *house.House) {
	t.Helper()
	sent := house.SentBy(t, h.Wallet())
	paid, transactions := sent.Paid, sent.Transactions
	rows, err := h.DB.QueryContext(t.Context(), `SELECT p.tag, p.state, encode(p.txid, 'hex'), p.network_fee, i.address, i.amount
		FROM purepool.payment p JOIN purepool.payment_item i ON i.payment_id = p.id WHERE i.state = 'paid' ORDER BY p.id, i.id`)
	must(t, err)
	defer rows.Close()
	fees := map[string]int64{}
	for rows.Next() {
		var tag, state, txid, address string
		var fee, amount int64
		must(t, rows.Scan(&tag, &state, &txid, &fee, &address, &amount))
		if transactions[tag].String() != txid || state != "confirmed" {
			t.Errorf("payment %s (%s) is %s in the books, %s in the wallet", tag, state, txid, transactions[tag])
		}
		paid[address] -= amount
		fees[tag] = fee
	}
	must(t, rows.Err())
	// The miners pay the network fee: the wallet has paid that much less.
	var total, fee int64
	for address, difference := range paid {
		if difference > 0 {
			t.Errorf("%s was paid %d satoshis more than the books say", address, difference)
		}
		total += difference
	}
	for _, f := range fees {
		fee += f
	}
	if total != -fee || len(fees) == 0 || len(fees) != len(transactions) {
		t.Errorf("the wallet made %d payments and the books know %d; they differ by %d satoshis, the network fees are %d", len(transactions), len(fees), total, fee)
	}
	t.Logf("%d payments to %d miners", len(fees), len(paid))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
