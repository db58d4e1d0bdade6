package settle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
)

// refused deals with an error of the call that pays.
func (r *payRun) refused(ctx context.Context, p *ledger.Payment, cause error) (again bool, err error) {
	var refusal *bbprpc.DaemonError
	saidNo := errors.As(cause, &refusal)
	switch {
	case bbprpc.Harmless(cause):
		// Certainly nothing was made.
	case saidNo:
		// It said no, but some wallets say so after they have made the
		// transaction. The call is over, so one look is enough.
		found, err := r.search(ctx, p)
		if err != nil {
			return false, errors.Join(cause, err)
		}
		if found.txid != nil {
			return false, r.sent(ctx, p, *found.txid)
		}
		if !found.reached || found.alike != nil {
			return false, errors.Join(cause, r.hold(ctx, p, "the wallet refused with: "+refusal.Message+"; whether it has paid is not known"))
		}
	default:
		// No answer: it may have paid, may be paying, or may pay in a moment. The
		// payment stays "sending", and the next runs ask.
		r.metrics.silent.Inc()
		r.opts.Logger.Error("the wallet gave no answer to a payment", slog.String("network", r.opts.Network),
			slog.Int64("payment", p.ID), slog.String("tag", p.Tag), slog.Any("error", cause))
		return false, cause
	}
	r.metrics.refused.Inc()
	now := r.opts.Now()
	if !saidNo {
		return false, errors.Join(cause, r.books.NotPaid(ctx, p.ID, now.Add(r.backOff(p.Attempts+1)), cause.Error()))
	}
	r.opts.Logger.Warn("the wallet refused a payment", slog.String("network", r.opts.Network), slog.Int64("payment", p.ID),
		slog.Int("code", refusal.Code), slog.String("message", refusal.Message))
	switch refusal.Code {
	case bbprpc.CodeInvalidAddress, bbprpc.CodeType, bbprpc.CodeInsufficient, bbprpc.CodeWallet, bbprpc.CodeMisc:
		if err := r.books.NotPaid(ctx, p.ID, now, refusal.Message); err != nil {
			return false, err
		}
		return r.lessen(ctx, p, refusal)
	}
	// The wallet is locked, the call unknown: nothing that fewer recipients mend.
	return false, errors.Join(cause, r.books.NotPaid(ctx, p.ID, now.Add(r.backOff(p.Attempts+1)), refusal.Message))
}

// lessen takes out of a payment what the wallet refuses it for: the address that
// it names, or else half of the miners, down to the one whom it cannot pay. It
// says "insufficient funds" also where a transaction would need too many of its
// small coins, and the coins are there, as was asked before.
func (r *payRun) lessen(ctx context.Context, p *ledger.Payment, refusal *bbprpc.DaemonError) (again bool, err error) {
	items := p.Planned()
	culprit := -1
	for i, it := range items {
		if strings.Contains(refusal.Message, it.Address) {
			culprit = i
		}
	}
	if culprit < 0 && r.opts.Consolidate {
		joined, err := r.join(ctx, ledger.Reason{})
		if err != nil {
			r.opts.Logger.Warn("small coins could not be joined", slog.String("network", r.opts.Network), slog.Any("error", err))
		}
		if joined.ID != 0 {
			return false, r.postpone(ctx, p, "the wallet refused it ("+refusal.Message+"); its small coins are being joined")
		}
	}
	if culprit < 0 && len(items) > 1 {
		r.metrics.halved.Inc()
		r.opts.Logger.Warn("a payment is made smaller",
			slog.String("network", r.opts.Network), slog.Int64("payment", p.ID), slog.Int("miners", len(items)))
		return true, r.books.Shrink(ctx, p.ID, len(items)/2, "the wallet refused the batch: "+refusal.Message)
	}
	it := items[max(culprit, 0)]
	r.result.SetAside++
	r.metrics.setAside.Inc()
	r.opts.Logger.Warn("a miner cannot be paid", slog.String("network", r.opts.Network), slog.Int64("miner", it.MinerID), slog.String("reason", refusal.Message))
	return true, r.books.SetAside(ctx, p.ID, it.Address, refusal.Message, r.opts.Now().Add(r.opts.RetryMax))
}

// follow brings a payment that the wallet knows, or may know, one step further.
func (r *payRun) follow(ctx context.Context, p *ledger.Payment) error {
	switch p.State {
	case ledger.PaymentSending:
		return r.resolve(ctx, p)
	case ledger.PaymentUnclear:
		if p.TxID != [32]byte{} {
			return nil // a transaction that cannot stand: a person decides
		}
		return r.resolve(ctx, p)
	case ledger.PaymentSent:
		return r.track(ctx, p)
	}
	return nil
}

// resolve asks the wallet for a payment that it may have made.
func (r *payRun) resolve(ctx context.Context, p *ledger.Payment) error {
	found, err := r.search(ctx, p)
	if err != nil {
		return err // away: nothing is known, nothing changes
	}
	switch {
	case found.txid != nil:
		return r.sent(ctx, p, *found.txid)
	case found.alike != nil:
		return r.hold(ctx, p, fmt.Sprintf("transaction %s pays the same miners and has no tag", found.alike))
	case !found.reached:
		return r.hold(ctx, p, "the wallet does not know its own newest transaction before the call: another wallet, or an old copy")
	}
	since, err := r.books.Absent(ctx, p.ID)
	if err != nil {
		return err
	}
	state, err := r.wallet.ChainState(ctx)
	if err != nil {
		return err
	}
	now := r.opts.Now()
	if !state.Synced() || now.Sub(since) < r.opts.AbsentDelay || int32(state.Blocks)-p.CalledHeight < r.opts.AbsentBlocks {
		return nil // not yet certain
	}
	r.opts.Logger.Warn("a payment was certainly not made and will be sent again", slog.String("network", r.opts.Network),
		slog.Int64("payment", p.ID), slog.String("tag", p.Tag), slog.Int("attempts", p.Attempts))
	r.opts.Fail.Hit("resolve.before-not-paid")
	err = r.books.NotPaid(ctx, p.ID, now, "the wallet has certainly not made it")
	r.opts.Fail.Hit("resolve.after-not-paid")
	return err
}

func (r *payRun) hold(ctx context.Context, p *ledger.Payment, note string) error {
	if p.State != ledger.PaymentUnclear {
		r.opts.Logger.Error("a payment is on hold: nobody knows whether it was made", slog.String("network", r.opts.Network),
			slog.Int64("payment", p.ID), slog.String("tag", p.Tag), slog.String("reason", note))
	}
	return r.books.Unclear(ctx, p.ID, note)
}

// sighting is what a wallet's book shows of a payment.
type sighting struct {
	txid *chain.Hash // has the payment's tag
	// alike pays all of its addresses without any tag: a wallet that was restored
	// finds its transactions on the chain, but not their comments.
	alike *chain.Hash
	// reached: the book was read back to what was newest before the call.
	reached bool
}

const (
	pageSize = 250
	// maxPages bounds a search: beyond a hundred thousand lines a person decides.
	maxPages = 400
)

// search reads the wallet's book from its end back to the mark.
func (r *payRun) search(ctx context.Context, p *ledger.Payment) (found sighting, err error) {
	mark := chain.HashFromDisplay(p.WalletMark)
	wanted := map[string]bool{}
	for _, it := range p.Planned() {
		wanted[it.Address] = true
	}
	paid := map[chain.Hash]map[string]bool{}
	for page := range maxPages {
		enough := found.reached // one page beyond the mark: not every wallet's order is strict
		list, err := r.wallet.WalletEntries(ctx, pageSize, page*pageSize)
		if err != nil {
			return sighting{}, fmt.Errorf("asking the wallet for its book: %w", err)
		}
		for i := len(list) - 1; i >= 0; i-- {
			e := &list[i]
			switch {
			case e.TxID == mark && !mark.IsZero():
				found.reached = true
			case e.Category != "send" || e.Confirmations <= -r.opts.ConfirmDepth:
				// Received, or made and never to be in the chain.
			case e.Comment == p.Tag:
				found.txid = preferred(found.txid, list, i)
			case e.Comment == "" && wanted[e.Address] && !found.reached:
				if paid[e.TxID] == nil {
					paid[e.TxID] = map[string]bool{}
				}
				if paid[e.TxID][e.Address] = true; len(paid[e.TxID]) == len(wanted) {
					found.alike = &e.TxID
				}
			}
		}
		if enough || len(list) < pageSize {
			found.reached = found.reached || mark.IsZero() // an empty book before the call: all of it was read
			return found, nil
		}
	}
	return found, nil
}

// preferred chooses among transactions with the same tag (a wallet's owner has
// replaced one by another with a higher fee): one that can stand.
func preferred(before *chain.Hash, list []bbprpc.WalletEntry, i int) *chain.Hash {
	if before != nil && (list[i].Confirmations < 0 || list[i].Abandoned) {
		return before
	}
	return &list[i].TxID
}

// track follows a transaction of the wallet into the chain.
func (r *payRun) track(ctx context.Context, p *ledger.Payment) error {
	tx, err := r.wallet.WalletTransaction(ctx, chain.HashFromDisplay(p.TxID))
	switch {
	case bbprpc.IsCode(err, bbprpc.CodeInvalidAddress):
		return r.hold(ctx, p, "the wallet does not know the transaction any more")
	case err != nil:
		return err
	case tx.Abandoned:
		return r.hold(ctx, p, "the wallet's owner has given the transaction up")
	case tx.Confirmations < 0:
		return r.conflicted(ctx, p, -tx.Confirmations)
	}
	if !p.Booked {
		// Step 5. Dying before it leaves "sent" and not booked; dying after it
		// leaves "sent" and booked: each is seen by the next run.
		r.opts.Fail.Hit("pay.before-book")
		if err := r.books.BookSent(ctx, p.ID, int64(tx.Fee)); err != nil {
			return err
		}
		r.opts.Fail.Hit("pay.after-book")
	}
	if tx.Confirmations == 0 {
		r.rebroadcast(ctx, p)
	}
	done := tx.Confirmations >= r.opts.ConfirmDepth
	if !done && tx.Confirmations == int64(p.Confirmations) {
		return nil
	}
	// Step 6. Dying before it means that the next run asks again.
	r.opts.Fail.Hit("pay.before-confirm")
	if err := r.books.Confirmed(ctx, p.ID, int32(tx.Confirmations), done); err != nil {
		return err
	}
	r.opts.Fail.Hit("pay.after-confirm")
	if done {
		r.result.Confirmed++
	}
	return nil
}

// rebroadcast hands a transaction that is in no block to the network again: a
// node that was killed has forgotten what had not been mined.
func (r *payRun) rebroadcast(ctx context.Context, p *ledger.Payment) {
	if r.opts.Now().Sub(p.StateAt) < r.opts.RebroadcastAfter {
		return
	}
	r.metrics.rebroadcast.Inc()
	if err := r.wallet.Rebroadcast(ctx, chain.HashFromDisplay(p.TxID)); err != nil {
		r.opts.Logger.Warn("a payment waits for a block and could not be handed to the network again",
			slog.String("network", r.opts.Network), slog.Int64("payment", p.ID), slog.Any("error", err))
	}
}

// conflicted deals with a transaction whose coins another one has spent, in a
// block that is depth deep. Deep enough, it can never be in the chain: the
// payment is taken back and sent anew, unless the other one pays it too.
func (r *payRun) conflicted(ctx context.Context, p *ledger.Payment, depth int64) error {
	r.metrics.conflicted.Inc()
	if depth < r.opts.ConfirmDepth {
		r.opts.Logger.Error("another transaction has spent the coins of a payment", slog.String("network", r.opts.Network),
			slog.Int64("payment", p.ID), slog.Int64("depth", depth))
		return nil // the chain may still turn back
	}
	for page := range maxPages {
		list, err := r.wallet.WalletEntries(ctx, pageSize, page*pageSize)
		if err != nil {
			return fmt.Errorf("asking the wallet for its book: %w", err)
		}
		for i := range list {
			if list[i].Comment == p.Tag && list[i].TxID.Display() != p.TxID {
				return r.hold(ctx, p, fmt.Sprintf("it was replaced by transaction %s, which has the same tag", list[i].TxID))
			}
		}
		if len(list) < pageSize {
			break
		}
	}
	r.opts.Logger.Error("a payment can never be in the chain and will be sent again", slog.String("network", r.opts.Network),
		slog.Int64("payment", p.ID), slog.Int64("depth", depth))
	r.opts.Fail.Hit("conflict.before-take-back")
	err := r.books.NeverMade(ctx, p.ID, r.opts.Now(), "another transaction has spent its coins for good")
	r.opts.Fail.Hit("conflict.after-take-back")
	return err
}

// report counts what is left over.
func (p *Payer) report(ctx context.Context, result *PayResult) error {
	open, err := p.books.UnfinishedPayments(ctx, p.opts.NetworkID)
	if err != nil {
		return fmt.Errorf("counting what is left over: %w", err)
	}
	for i := range open {
		switch open[i].State {
		case ledger.PaymentIntent:
			result.Waiting++
		case ledger.PaymentSending, ledger.PaymentUnclear:
			result.Unclear++
		}
	}
	return nil
}

type payerMetrics struct {
	sent, confirmed, planned, failures prometheus.Counter
	silent, refused, halved, setAside  prometheus.Counter
	short, conflicted, rebroadcast     prometheus.Counter
	joined                             prometheus.Counter
	held, unknown                      prometheus.Gauge
	rebuilt                            prometheus.Counter
}

func newPayerMetrics(r prometheus.Registerer, network string) *payerMetrics {
	m := &payerMetrics{
		sent:       counter(network, "purepool_payments_sent_total", "Payments that the wallet has made."),
		confirmed:  counter(network, "purepool_payments_confirmed_total", "Payments that are deep enough in the chain."),
		planned:    counter(network, "purepool_payments_planned_total", "Payments planned."),
		failures:   counter(network, "purepool_payment_failures_total", "Runs of the payer that failed."),
		silent:     counter(network, "purepool_payment_silences_total", "Calls that pay to which the wallet gave no answer."),
		refused:    counter(network, "purepool_payment_refusals_total", "Calls that pay that the wallet refused."),
		halved:     counter(network, "purepool_payment_halvings_total", "Payments made smaller because the wallet refused them, as it does where there are too many small coins."),
		setAside:   counter(network, "purepool_payment_set_aside_total", "Miners whom the wallet could not pay."),
		short:      counter(network, "purepool_payment_shortages_total", "Payments for which the wallet had not enough coins."),
		conflicted: counter(network, "purepool_payment_conflicts_total", "Looks at payments whose coins another transaction has spent."),
	}
	m.rebroadcast = counter(network, "purepool_payment_rebroadcasts_total", "Payments that waited long for a block and were handed to the network again.")
	m.held = gauge(network, "purepool_payments_halted", "1 while all payments are held because the books and the wallet do not agree: an alarm.")
	m.unknown = gauge(network, "purepool_wallet_unknown_transactions", "Transactions of the wallet that the books cannot explain: a person decides.")
	m.rebuilt = counter(network, "purepool_payments_rebuilt_total", "Payments that the books had lost and that were rebuilt from the wallet.")
	m.joined = counter(network, "purepool_wallet_consolidations_total", "Transactions by which small coins of the wallet were joined.")
	register(r, m.joined, m.held, m.unknown, m.rebuilt, m.rebroadcast, m.sent, m.confirmed, m.planned, m.failures, m.silent, m.refused, m.halved, m.setAside, m.short, m.conflicted)
	return m
}

func (m *payerMetrics) run(result *PayResult, err error) {
	m.sent.Add(float64(result.Sent))
	m.confirmed.Add(float64(result.Confirmed))
	m.planned.Add(float64(result.Planned))
	if err != nil {
		m.failures.Inc()
	}
}
