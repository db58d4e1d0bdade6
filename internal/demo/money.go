package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/internal/config"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/settle"
)

// money is what the screen shows of blocks and coins.
type money struct {
	blocks   map[string]int // by state
	totals   ledger.BooksTotals
	payments []ledger.Payment // newest first
	balances []string
	asked    time.Time
}

// shownPayments is how many of the last payments the screen shows, shownMiners
// how many balances.
const (
	shownPayments = 3
	shownMiners   = 6
	// askEvery bounds how often the books are summed up.
	askEvery = 2 * time.Second
)

// look reads the books for the screen. What cannot be read stays as it was.
func (d *demo) look(ctx context.Context) {
	if time.Since(d.money.asked) < askEvery {
		return
	}
	d.money.asked = time.Now()
	books := d.store.Books()
	ids, err := d.store.Networks(ctx)
	if err != nil {
		return
	}
	if blocks, err := books.PoolBlocks(ctx, ids[network], 1_000_000); err == nil {
		d.money.blocks = map[string]int{}
		for i := range blocks {
			d.money.blocks[blocks[i].State]++
		}
	}
	if audit, err := books.Audit(ctx, ids[network], ledger.AuditOptions{SkipShares: true}); err == nil {
		d.money.totals = audit.Totals
	}
	if payments, err := books.Payments(ctx, ids[network], "", shownPayments); err == nil {
		d.money.payments = payments
	}
	miners, err := d.store.FindMiners(ctx, ledger.MinerQuery{NetworkID: ids[network], Limit: shownMiners})
	if err != nil {
		return
	}
	d.money.balances = d.money.balances[:0]
	for _, m := range miners {
		balance, reserved, err := books.MinerBalance(ctx, m.ID)
		if err != nil {
			return
		}
		d.money.balances = append(d.money.balances, fmt.Sprintf("%-36s %16s, %s on the way", m.Address, bbprpc.Amount(balance), bbprpc.Amount(reserved)))
	}
}

func (m *money) rows(row func(what, value string, args ...any)) {
	t := &m.totals
	row("Blocks of the pool", "%d maturing, %d shared out, %d orphaned",
		m.blocks[ledger.BlockImmature], m.blocks[ledger.BlockMature], m.blocks[ledger.BlockOrphaned])
	row("Coins", "%s shared out: %s paid, %s still with us, %s the pool's", bbprpc.Amount(t.Rewards), bbprpc.Amount(t.Paid+t.NetFee),
		bbprpc.Amount(t.Liabilities()-t.Debts), bbprpc.Amount(t.Fee+t.Unclaimed))
	for i, line := range m.balances {
		what := ""
		if i == 0 {
			what = "Balances"
		}
		row(what, "%s", line)
	}
	for i := range m.payments {
		p, what := &m.payments[i], ""
		if i == 0 {
			what = "Last payments"
		}
		var sum int64
		for _, it := range p.Items {
			sum += it.Amount
		}
		row(what, "no. %d to %d miners, %s coins: %s", p.ID, len(p.Items), bbprpc.Amount(sum), p.State)
	}
}

// line is the rows for who reads a log; amounts in coins.
func (m *money) line() string {
	var last int64
	if len(m.payments) > 0 {
		last = m.payments[0].ID
	}
	return fmt.Sprintf("maturing=%d shared_out=%d orphaned=%d credited_coins=%s paid_coins=%s payments=%d",
		m.blocks[ledger.BlockImmature], m.blocks[ledger.BlockMature], m.blocks[ledger.BlockOrphaned],
		bbprpc.Amount(m.totals.Rewards), bbprpc.Amount(m.totals.Paid), last)
}

// audit proves the books at the end and prints the proof.
func (d *demo) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	cfg, problems := config.Load(d.config, nil, config.RoleAdmin)
	if config.Faults(problems) > 0 {
		return fmt.Errorf("the demo's own configuration: %v", problems)
	}
	ids, err := d.store.Networks(ctx)
	if err != nil {
		return err
	}
	daemons, err := role.NewDaemons(cfg.Network[network], d.log, nil)
	if err != nil {
		return err
	}
	defer daemons.Close()
	audit, err := settle.NewAuditor(network, ids[network], d.store.Books(), role.Wallet(daemons), ledger.AuditOptions{}, nil).Audit(ctx)
	if err != nil {
		return err
	}
	var b strings.Builder
	role.WriteAudit(&b, &audit)
	d.say("The audit of the books:\n%s", b.String())
	if !audit.Clean {
		return fmt.Errorf("%w: %s", role.ErrNotClean, strings.Join(role.Findings(&audit), "; "))
	}
	return nil
}
