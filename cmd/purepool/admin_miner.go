package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/internal/config"
	"purepool/ledger"
)

type minerIgnoreCmd struct{ minerChange }

// Help is printed below the flags.
func (c *minerIgnoreCmd) Help() string {
	return "Its shares are taken and judged as before, and rejected for that reason. What it has earned stays."
}

func (c *minerIgnoreCmd) Run(a *app) error {
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		return store.SetIgnoreShares(a.ctx, m.ID, true, by)
	})
}

type minerCreditCmd struct{ minerChange }

func (c *minerCreditCmd) Run(a *app) error {
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		return store.SetIgnoreShares(a.ctx, m.ID, false, by)
	})
}

type minerPayoutCmd struct {
	minerChange
	Threshold string `placeholder:"COINS" help:"Balance from which on it is paid, or network for the network's."`
	Hold      bool   `help:"Pay it nothing until it is released."`
	Release   bool   `help:"Pay it again, and try an address again that could not be paid."`
}

// Help is printed below the flags.
func (c *minerPayoutCmd) Help() string {
	return "A payment that was planned already is not changed by it (purepool admin payment)."
}

func (c *minerPayoutCmd) Run(a *app) error {
	if c.Threshold == "" && !c.Hold && !c.Release || c.Hold && c.Release {
		return errors.New("say --threshold, and either --hold or --release")
	}
	if c.Reason == "" {
		return errReason
	}
	var threshold config.Coins
	if c.Threshold != "" && c.Threshold != "network" {
		if err := threshold.UnmarshalText([]byte(c.Threshold)); err != nil {
			return err
		}
		if threshold == 0 {
			return errors.New("a threshold of 0 coins would pay nothing to nobody: say network for the network's own")
		}
	}
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		books := store.Books()
		now, err := books.Payout(a.ctx, m.ID)
		if err != nil {
			return err
		}
		if c.Threshold != "" {
			now.Threshold = int64(threshold)
		}
		return books.SetPayout(a.ctx, m.ID, now.Threshold, (now.Held || c.Hold) && !c.Release, by)
	})
}

type minerCorrectCmd struct {
	minerChange
	Key    string `required:"" help:"Any word that no other correction has: none is made twice."`
	Amount string `arg:"" help:"Coins to give, an exact decimal number; with a minus (after --) to take."`
}

// Help is printed below the flags.
func (c *minerCorrectCmd) Help() string {
	return `Writes an entry between the pool's correction account and the miner. Entries are never changed: a mistake is corrected by another one.`
}

func (c *minerCorrectCmd) Run(a *app) error {
	var amount config.Coins
	digits, negative := strings.CutPrefix(c.Amount, "-")
	if err := amount.UnmarshalText([]byte(digits)); err != nil {
		return err
	}
	if amount == 0 {
		return errors.New("a correction of nothing")
	}
	if negative {
		amount = -amount
	}
	if c.Reason == "" {
		return errReason
	}
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		err := store.Books().Correct(a.ctx, m.ID, int64(amount), c.Key, by)
		if ledger.Refused(err) {
			return fmt.Errorf("a correction with this key was made before, or the amount cannot be; nothing was changed: %w", err)
		}
		return err
	})
}

type minerShowCmd struct {
	configFlag
	Network string `help:"The miner's network, where the address stands on several."`
	JSON    bool   `help:"Print as JSON."`
	Who     string `arg:"" name:"address" help:"Address or MINERGUID."`
}

// minerMoneyJSON is a miner's money for machines; amounts are in satoshis.
type minerMoneyJSON struct {
	Address   string           `json:"address"`
	Network   string           `json:"network"`
	GUID      string           `json:"miner_guid"`
	Enabled   bool             `json:"enabled"`
	Ignored   bool             `json:"shares_ignored"`
	Balance   int64            `json:"balance"`
	Reserved  int64            `json:"reserved"`
	Threshold int64            `json:"threshold,omitempty"`
	Held      bool             `json:"payments_held"`
	MergedTo  string           `json:"merged_into,omitempty"`
	Failures  int              `json:"payment_failures"`
	RetryAt   *time.Time       `json:"retry_at,omitempty"`
	Note      string           `json:"note,omitempty"`
	LastShare *time.Time       `json:"last_share_at,omitempty"`
	Workers   []workerLastJSON `json:"workers"`
}

type workerLastJSON struct {
	WorkerID  int64     `json:"worker_id"`
	LastShare time.Time `json:"last_share_at"`
}

func (c *minerShowCmd) Run(a *app) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		q, err := query(a.ctx, store, c.Who, c.Network)
		if err != nil {
			return err
		}
		miners, err := store.FindMiners(a.ctx, q)
		if err != nil {
			return err
		}
		if c.Who == "" || len(miners) == 0 {
			return fmt.Errorf("there is no miner %s", oneLine(c.Who, 80))
		}
		out := make([]minerMoneyJSON, len(miners))
		for i, m := range miners {
			if out[i], err = minerMoney(a, store.Books(), m); err != nil {
				return err
			}
		}
		if c.JSON {
			return printJSON(a.stdout, out)
		}
		for i := range out {
			printMinerMoney(a, &out[i])
		}
		return nil
	})
}

func minerMoney(a *app, books *ledger.Books, m ledger.MinerRecord) (out minerMoneyJSON, err error) {
	out = minerMoneyJSON{
		Address: m.Address, Network: m.Network, GUID: m.GUID.String(), Enabled: m.Enabled, Ignored: m.IgnoreShares, Workers: []workerLastJSON{},
	}
	if out.Balance, out.Reserved, err = books.MinerBalance(a.ctx, m.ID); err != nil {
		return out, err
	}
	payout, err := books.Payout(a.ctx, m.ID)
	if err != nil {
		return out, err
	}
	out.Threshold, out.Held, out.Failures, out.RetryAt, out.Note = payout.Threshold, payout.Held, payout.Failures, optional(payout.RetryAt), payout.Note
	into, err := books.MergedInto(a.ctx, m.ID)
	if err != nil {
		return out, err
	}
	if into != 0 {
		addresses, err := books.Addresses(a.ctx, []int64{into})
		if err != nil {
			return out, err
		}
		out.MergedTo = addresses[into]
	}
	last, err := books.LastShares(a.ctx, m.ID)
	var newest time.Time
	for _, l := range last {
		out.Workers = append(out.Workers, workerLastJSON{l.WorkerID, l.At})
		if l.At.After(newest) {
			newest = l.At
		}
	}
	out.LastShare = optional(newest)
	return out, err
}

func printMinerMoney(a *app, m *minerMoneyJSON) {
	row := func(name, value string) { fmt.Fprintf(a.stdout, "  %-16s %s\n", name, value) }
	fmt.Fprintf(a.stdout, "miner %s of network %s\n", m.Address, m.Network)
	row("MINERGUID", m.GUID)
	state := "enabled"
	if !m.Enabled {
		state = "disabled"
	}
	if m.Ignored {
		state += ", shares ignored"
	}
	row("state", state)
	row("balance", bbprpc.Amount(m.Balance).String())
	row("reserved", bbprpc.Amount(m.Reserved).String()+" in payments that are not booked")
	threshold := "the network's"
	if m.Threshold > 0 {
		threshold = bbprpc.Amount(m.Threshold).String()
	}
	row("threshold", threshold)
	switch {
	case m.Held:
		row("payments", "held: "+oneLine(m.Note, 200))
	case m.Failures > 0 && m.RetryAt != nil:
		row("payments", fmt.Sprintf("failed %d times, not before %s: %s", m.Failures, moment(*m.RetryAt), oneLine(m.Note, 200)))
	}
	if m.MergedTo != "" {
		row("merged", "what it earns is credited to "+m.MergedTo)
	}
	last := "-"
	if m.LastShare != nil {
		last = fmt.Sprintf("%s, %s", moment(*m.LastShare), plural(len(m.Workers), "worker"))
	}
	row("last share", last)
}
