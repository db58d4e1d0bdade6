package main

import (
	"encoding/hex"
	"fmt"

	"purepool/internal/role"
	"purepool/pool/settle"
)

type consolidateCmd struct {
	bookFlags
	DryRun bool   `help:"Say which coins would be joined, and change nothing."`
	Reason string `help:"Why, for the audit log; needed but for a dry run."`
}

// Help is printed below the flags.
func (c *consolidateCmd) Help() string {
	return `The backend does the same by itself where the wallet refuses a payment for its many small coins (payments.consolidate). By hand
it holds to the same rules: from 500 coins on, the 500 smallest, in one transaction to an address of the wallet's own; none while
a payment or another such transaction is in no block yet, or payments are held; none that costs more than a hundredth of what it joins.
The pool pays the fee. The following payment runs, or this command, see it into the chain.`
}

// consolidateJSON is the outcome for machines; money is in satoshis.
type consolidateJSON struct {
	Network string `json:"network"`
	DryRun  bool   `json:"dry_run"`
	ID      int64  `json:"id,omitempty"`
	State   string `json:"state,omitempty"`
	TxID    string `json:"txid,omitempty"`
	Coins   int    `json:"coins"`
	Amount  int64  `json:"amount"`
	Fee     int64  `json:"fee"`
	Why     string `json:"not_joined,omitempty"`
}

func (c *consolidateCmd) Run(a *app) error {
	if c.Reason == "" && !c.DryRun {
		return errReason
	}
	return c.withBooks(a, func(room *bookRoom) error {
		_, err := eachNetwork(room, c.JSON, c.one, func(a *app, out *consolidateJSON) {
			fmt.Fprintf(a.stdout, "%s: %s\n", out.Network, out.words())
		})
		return err
	})
}

func (c *consolidateCmd) one(room *bookRoom, network string) (consolidateJSON, error) {
	s, err := room.settlement(network, role.SettlementOptions{})
	if err != nil {
		return consolidateJSON{}, err
	}
	done, err := s.Payer.Consolidate(room.app.ctx, settle.ConsolidateOptions{DryRun: c.DryRun, By: room.by(c.Reason)})
	out := consolidateJSON{
		Network: network, DryRun: c.DryRun, ID: done.ID, State: done.State, Coins: done.Coins, Amount: done.Amount, Fee: done.Fee, Why: done.Why,
	}
	if done.ID != 0 {
		out.TxID = hex.EncodeToString(done.TxID[:])
	}
	return out, err
}

func (out *consolidateJSON) words() string {
	what := fmt.Sprintf("%s of %s coins in all, for a fee of %s", plural(out.Coins, "coin"), coins(out.Amount), coins(out.Fee))
	switch {
	case out.Why != "" && out.Coins == 0:
		return "no coins are joined: " + out.Why
	case out.Why != "":
		return what + ", are not joined: " + out.Why
	case out.DryRun:
		return what + ", would be joined"
	}
	return fmt.Sprintf("%s, are joined in transaction %s (consolidation %d, %s)", what, out.TxID, out.ID, out.State)
}
