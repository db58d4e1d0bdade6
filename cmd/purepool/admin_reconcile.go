package main

import (
	"errors"
	"fmt"
	"time"

	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

type paymentReconcileCmd struct {
	bookFlags
	Now    bool     `help:"Do not wait for calls of the wallet that may be under way: no backend of the old books runs any more; needs a --reason."`
	Adopt  bool     `help:"Take the wallet's payments over also where these books were never compared with a wallet; needs a --reason."`
	Ignore []string `placeholder:"TXID" help:"This transaction of the wallet is none of the pool's payments; needs a --reason. May be given again."`
	Reason string   `help:"Why, for the audit log."`
}

// Help is printed below the flags.
func (c *paymentReconcileCmd) Help() string {
	return `Every payment run does the same before it pays anything: it reads the wallet's book from where books and wallet agreed last.
Payments that the books lack (they were restored to an earlier moment) are rebuilt from the wallet, with their journal
entries; what was planned and never made is given back to the balances. What cannot be explained holds all payments:
look the transaction up, then either --adopt or --ignore it. Exit code 1 while payments are held.`
}

// reconcileJSON is the outcome for machines; money is in satoshis.
type reconcileJSON struct {
	Network   string                      `json:"network"`
	Held      string                      `json:"held,omitempty"`
	Until     *time.Time                  `json:"until,omitempty"`
	Restored  bool                        `json:"restored"`
	Looked    int                         `json:"payments_in_the_wallet"`
	Rebuilt   []int64                     `json:"rebuilt"`
	Forgotten []int64                     `json:"plans_taken_back"`
	Unknown   []settle.UnknownTransaction `json:"unknown"`
}

func (c *paymentReconcileCmd) Run(a *app) error {
	if (c.Now || c.Adopt || len(c.Ignore) > 0) && c.Reason == "" {
		return errReason
	}
	ignore := make([]chain.Hash, len(c.Ignore))
	for i, text := range c.Ignore {
		var err error
		if ignore[i], err = chain.ParseHash(text); err != nil {
			return fmt.Errorf("--ignore %s: %w (the 64 hex digits of a transaction)", oneLine(text, 80), err)
		}
	}
	return c.withBooks(a, func(room *bookRoom) error {
		if len(ignore) > 0 {
			network, err := room.theNetwork()
			if err != nil {
				return err
			}
			for _, txid := range ignore {
				if err := room.books.IgnoreTransaction(a.ctx, room.ids[network], txid.Display(), room.by(c.Reason)); err != nil {
					return err
				}
			}
		}
		all, err := eachNetwork(room, c.JSON, c.one, c.print)
		errs := []error{err}
		for i := range all {
			if all[i].Held != "" {
				errs = append(errs, fmt.Errorf("network %s: %w", all[i].Network, settle.ErrHeld))
			}
		}
		return errors.Join(errs...)
	})
}

func (c *paymentReconcileCmd) one(room *bookRoom, network string) (reconcileJSON, error) {
	s, err := room.settlement(network, role.SettlementOptions{})
	if err != nil {
		return reconcileJSON{}, err
	}
	by := ledger.Reason{Who: operator(room.app), Why: c.Reason}
	var r settle.Reconciliation
	err = room.after(settle.ErrPaying, func() (err error) {
		r, err = s.Payer.Reconcile(room.app.ctx, settle.ReconcileOptions{By: by, Now: c.Now, Adopt: c.Adopt})
		return err
	})
	out := reconcileJSON{
		Network: network, Held: r.Held, Until: optional(r.Until), Restored: r.Restored, Looked: r.Looked,
		Rebuilt: []int64{}, Forgotten: append([]int64{}, r.Forgotten...), Unknown: append([]settle.UnknownTransaction{}, r.Unknown...),
	}
	for i := range r.Rebuilt {
		out.Rebuilt = append(out.Rebuilt, r.Rebuilt[i].ID)
	}
	return out, err
}

func (c *paymentReconcileCmd) print(a *app, out *reconcileJSON) {
	fmt.Fprintf(a.stdout, "network %s: %s of the pool in the wallet's book since the last agreement; %s rebuilt, %s taken back\n",
		out.Network, plural(out.Looked, "payment"), plural(len(out.Rebuilt), "payment"), plural(len(out.Forgotten), "plan"))
	for _, u := range out.Unknown {
		fmt.Fprintf(a.stdout, "  unknown: %s, %s coins to %s at %s: %s\n", orDash(u.TxID), coins(u.Amount), plural(u.Miners, "address"), moment(u.At), oneLine(u.Why, 300))
	}
	switch {
	case out.Held == "":
		fmt.Fprintf(a.stdout, "  books and wallet agree: payments may be made\n")
	case out.Until != nil && len(out.Unknown) == 0:
		fmt.Fprintf(a.stdout, "  payments are held until %s, should a call of the wallet still be under way (--now where that cannot be)\n", moment(*out.Until))
	default:
		fmt.Fprintf(a.stdout, "  all payments are held: %s\n", oneLine(out.Held, 300))
	}
}
