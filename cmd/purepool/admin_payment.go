package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

type paymentCmd struct {
	List    paymentListCmd    `cmd:"" help:"List payments, newest first."`
	Show    paymentShowCmd    `cmd:"" help:"Show a payment and whom it pays."`
	Run     paymentRunCmd     `cmd:"" help:"Bring payments one step further and begin new ones, as the backend does."`
	Plan    paymentPlanCmd    `cmd:"" help:"Write down whom to pay and send nothing yet."`
	Hold    paymentHoldCmd    `cmd:"" help:"Keep a payment that was not sent yet from being sent."`
	Release paymentReleaseCmd `cmd:"" help:"Let a held payment be sent."`
	Cancel  paymentCancelCmd  `cmd:"" help:"Give all amounts of a payment that was not sent yet back to the balances."`
	Resolve paymentResolveCmd `cmd:"" help:"Decide about a payment of which nobody knows whether it was made."`

	Reconcile paymentReconcileCmd `cmd:"" help:"Compare the books with the wallet, and rebuild what a restore has lost."`
}

// paymentJSON is a payment for machines; money is in satoshis.
type paymentJSON struct {
	ID            int64      `json:"id"`
	Network       string     `json:"network"`
	State         string     `json:"state"`
	Held          bool       `json:"held"`
	Tag           string     `json:"tag"`
	TxID          string     `json:"txid,omitempty"`
	Amount        int64      `json:"amount"`
	NetworkFee    *int64     `json:"network_fee,omitempty"`
	SubtractFee   bool       `json:"subtract_fee"`
	Miners        int        `json:"miners"`
	Booked        bool       `json:"booked"`
	Confirmations int32      `json:"confirmations"`
	Attempts      int        `json:"attempts"`
	Note          string     `json:"note,omitempty"`
	NextAt        *time.Time `json:"next_at,omitempty"`
	CreatedAt     time.Time  `json:"created_at"`
	StateAt       time.Time  `json:"state_at"`
	CalledAt      *time.Time `json:"called_at,omitempty"`
	Items         []itemJSON `json:"items,omitempty"`
}

type itemJSON struct {
	Address string `json:"address"`
	Amount  int64  `json:"amount"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

func describePayment(network string, p *ledger.Payment, items bool) paymentJSON {
	out := paymentJSON{
		ID: p.ID, Network: network, State: p.State, Held: p.Held, Tag: p.Tag, SubtractFee: p.SubtractFee, Booked: p.Booked,
		Confirmations: p.Confirmations, Attempts: p.Attempts, Note: p.Note, CreatedAt: p.CreatedAt, StateAt: p.StateAt, CalledAt: optional(p.CalledAt),
	}
	if p.TxID != [32]byte{} {
		out.TxID = hex.EncodeToString(p.TxID[:])
	}
	if p.NetworkFee >= 0 {
		out.NetworkFee = &p.NetworkFee
	}
	if p.State == ledger.PaymentIntent && p.NextAt.After(p.CreatedAt) {
		out.NextAt = &p.NextAt
	}
	for _, it := range p.Items {
		if it.State == ledger.ItemPlanned || it.State == ledger.ItemPaid {
			out.Amount += it.Amount
			out.Miners++
		}
		if items {
			out.Items = append(out.Items, itemJSON{it.Address, it.Amount, it.State, it.Reason})
		}
	}
	return out
}

func (p *paymentJSON) state() string {
	if p.Held {
		return p.State + ", held"
	}
	return p.State
}

type paymentListCmd struct {
	bookFlags
	State string `enum:",intent,sending,sent,confirmed,unclear,cancelled" default:"" help:"Only payments in this state: intent, sending, sent, confirmed, unclear or cancelled."`
	Limit int    `default:"50" help:"How many at most, of each network."`
}

func (c *paymentListCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		out, rows := []paymentJSON{}, []string{}
		for _, network := range room.networks() {
			list, err := room.books.Payments(a.ctx, room.ids[network], c.State, c.Limit)
			if err != nil {
				return err
			}
			for i := range list {
				p := describePayment(network, &list[i], false)
				out = append(out, p)
				rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s",
					p.ID, network, p.state(), coins(p.Amount), p.Miners, moment(p.CreatedAt), p.Confirmations, orDash(p.TxID), oneLine(p.Note, 80)))
			}
		}
		return printList(a, c.JSON, out, "no such payment", "ID\tNETWORK\tSTATE\tCOINS\tMINERS\tPLANNED\tCONFIRMED\tTRANSACTION\tNOTE", rows)
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// onePayment is what the commands about one payment have in common.
type onePayment struct {
	bookFlags
	ID int64 `arg:"" help:"The payment's number."`
}

func (c *onePayment) print(a *app, room *bookRoom) error {
	payment, err := room.books.Payment(a.ctx, c.ID)
	if err != nil {
		return err
	}
	p := describePayment(room.networkOf(payment.NetworkID), &payment, true)
	if c.JSON {
		return printJSON(a.stdout, p)
	}
	return printPayment(a.stdout, &p)
}

func printPayment(w io.Writer, p *paymentJSON) error {
	fmt.Fprintf(w, "payment %d of network %s: %s, %s coins to %s\n", p.ID, p.Network, p.state(), coins(p.Amount), plural(p.Miners, "miner"))
	row := func(name, value string) { fmt.Fprintf(w, "  %-14s %s\n", name, value) }
	row("tag", p.Tag)
	row("transaction", orDash(p.TxID))
	if p.NetworkFee != nil {
		row("network fee", coins(*p.NetworkFee))
	}
	row("confirmations", fmt.Sprint(p.Confirmations))
	row("planned", moment(p.CreatedAt))
	row("state since", moment(p.StateAt))
	if p.CalledAt != nil {
		row("wallet called", fmt.Sprintf("%s, %s", moment(*p.CalledAt), plural(p.Attempts, "attempt")))
	}
	if p.NextAt != nil {
		row("not before", moment(*p.NextAt))
	}
	if p.Note != "" {
		row("note", oneLine(p.Note, 300))
	}
	rows := make([]string, len(p.Items))
	for i, it := range p.Items {
		rows[i] = fmt.Sprintf("  %s\t%s\t%s\t%s", it.Address, coins(it.Amount), it.State, oneLine(it.Reason, 120))
	}
	return printTable(w, "  ADDRESS\tCOINS\tSTATE\tREASON", rows)
}

type paymentShowCmd struct{ onePayment }

func (c *paymentShowCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error { return c.print(a, room) })
}

// change makes one change and shows the payment.
func (c *onePayment) change(a *app, why string, do func(*bookRoom, ledger.Reason) error) error {
	return c.withBooks(a, func(room *bookRoom) error {
		if err := do(room, room.by(why)); err != nil {
			return err
		}
		return c.print(a, room)
	})
}

type paymentHoldCmd struct {
	onePayment
	Reason string `required:"" help:"Why; stands in the payment's note and in the audit log."`
}

func (c *paymentHoldCmd) Run(a *app) error {
	return c.change(a, c.Reason, func(room *bookRoom, by ledger.Reason) error { return room.books.HoldPayment(a.ctx, c.ID, by) })
}

type paymentReleaseCmd struct {
	onePayment
	Reason string `required:"" help:"Why, for the audit log."`
}

func (c *paymentReleaseCmd) Run(a *app) error {
	return c.change(a, c.Reason, func(room *bookRoom, by ledger.Reason) error { return room.books.ReleasePayment(a.ctx, c.ID, by) })
}

type paymentCancelCmd struct {
	onePayment
	Reason string `required:"" help:"Why; stands in the payment's note and in the audit log."`
}

func (c *paymentCancelCmd) Run(a *app) error {
	return c.change(a, c.Reason, func(room *bookRoom, by ledger.Reason) error { return room.books.CancelPayment(a.ctx, c.ID, by) })
}

type paymentResolveCmd struct {
	onePayment
	Paid   string `placeholder:"TXID" help:"It was made, by this transaction."`
	Unpaid bool   `help:"It was not made and never will be. It is held until it is released or cancelled."`
	Reason string `required:"" help:"How you know; stands in the payment's note and in the audit log."`
}

// Help is printed below the flags.
func (c *paymentResolveCmd) Help() string {
	return `The pool never sends such a payment again by itself. Look its tag up first (purepool admin payment show): in the wallet with
listtransactions, and its addresses in a block explorer. --unpaid on a payment that was made pays it twice.`
}

func (c *paymentResolveCmd) Run(a *app) error {
	if c.Unpaid == (c.Paid != "") {
		return errors.New("say either --paid TXID or --unpaid")
	}
	return c.change(a, c.Reason, func(room *bookRoom, by ledger.Reason) error {
		if c.Unpaid {
			return room.books.ResolveUnpaid(a.ctx, c.ID, by)
		}
		txid, err := chain.ParseHash(c.Paid)
		if err != nil {
			return err
		}
		return room.books.ResolvePaid(a.ctx, c.ID, txid.Display(), by)
	})
}

type paymentRunCmd struct {
	bookFlags
	Now    bool   `help:"Begin payments also where they are switched off, and at any time of day; needs a --reason."`
	Reason string `help:"Why, for the audit log."`
}

// Help is printed below the flags.
func (c *paymentRunCmd) Help() string {
	return `Without --now as the configuration says: with enabled = false, or outside the time of day, payments on their way are followed
and none begin.`
}

func (c *paymentRunCmd) Run(a *app) error {
	if c.Now && c.Reason == "" {
		return errReason
	}
	return c.withBooks(a, func(room *bookRoom) error {
		if err := room.store.Log(a.ctx, room.by(c.Reason), "run payments", map[string]any{"networks": room.networks(), "now": c.Now}); err != nil {
			return err
		}
		reports := map[string]any{}
		for _, network := range room.networks() {
			report, err := room.once(network, role.JobPay, c.Now)
			if err != nil {
				return err
			}
			words, value := describePaid(&report.Paid)
			reports[network] = value
			if !c.Now && !room.cfg.Network[network].Payments.Enabled {
				words += "; payments are switched off, so none begin"
			}
			if !c.JSON {
				fmt.Fprintf(a.stdout, "%s: %s\n", network, words)
			}
		}
		if c.JSON {
			return printJSON(a.stdout, reports)
		}
		return nil
	})
}

func describePaid(r *settle.PayResult) (words string, value any) {
	if r.Busy {
		return "somebody else is paying at this moment", map[string]any{"busy": true}
	}
	if r.Held != "" {
		return "all payments are held: " + oneLine(r.Held, 300), map[string]any{"held": r.Held}
	}
	return fmt.Sprintf("%s planned for %s, %d sent, %d confirmed; %s cannot be paid, %d wait, %d unclear",
			plural(r.Planned, "payment"), plural(r.Miners, "miner"), r.Sent, r.Confirmed, plural(r.SetAside, "miner"), r.Waiting, r.Unclear),
		map[string]any{
			"planned": r.Planned, "miners": r.Miners, "sent": r.Sent, "confirmed": r.Confirmed, "set_aside": r.SetAside,
			"waiting": r.Waiting, "unclear": r.Unclear,
		}
}

type paymentPlanCmd struct {
	bookFlags
	Hold   bool   `help:"Hold what is planned until it is released."`
	Reason string `help:"Why, for the audit log."`
}

// Help is printed below the flags.
func (c *paymentPlanCmd) Help() string {
	return `The next run sends what is planned, unless it is held; where payments are switched off, they wait until that is changed.`
}

func (c *paymentPlanCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		if err := room.store.Log(a.ctx, room.by(c.Reason), "plan payments", map[string]any{"networks": room.networks(), "held": c.Hold}); err != nil {
			return err
		}
		out := []paymentJSON{}
		for _, network := range room.networks() {
			s, err := room.settlement(network, role.SettlementOptions{})
			if err != nil {
				return err
			}
			planned, unpayable, err := s.Payer.Plan(a.ctx)
			if err != nil {
				return err
			}
			for i := range planned {
				if c.Hold {
					if err := room.books.HoldPayment(a.ctx, planned[i].ID, room.by(c.Reason)); err != nil {
						return err
					}
					planned[i].Held = true
				}
				p := describePayment(network, &planned[i], true)
				out = append(out, p)
				if !c.JSON {
					if err := printPayment(a.stdout, &p); err != nil {
						return err
					}
				}
			}
			if !c.JSON {
				fmt.Fprintf(a.stdout, "network %s: %s planned, %s cannot be paid\n", network, plural(len(planned), "payment"), plural(len(unpayable), "miner"))
			}
		}
		if c.JSON {
			return printJSON(a.stdout, out)
		}
		return nil
	})
}
