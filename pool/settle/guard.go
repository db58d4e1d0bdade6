package settle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
)

// GuardBooks is what comparing the books with the wallet needs of the ledger.
type GuardBooks interface {
	PaymentGuard(ctx context.Context, networkID int16) (ledger.PaymentGuard, error)
	HoldPayments(ctx context.Context, networkID int16, by ledger.Reason) error
	Agree(ctx context.Context, networkID int16, home string, best [32]byte, by ledger.Reason) error
	PaymentsByTag(ctx context.Context, networkID int16, tags []string) (map[string]ledger.Payment, error)
	MinersAmong(ctx context.Context, networkID int16, addresses []string) (map[string]bool, error)
	SettledTransactions(ctx context.Context, networkID int16, txids [][32]byte) (map[[32]byte]bool, error)
	AdoptPayment(ctx context.Context, a *ledger.Adoption, by ledger.Reason) (ledger.Payment, error)
	ForgetPlan(ctx context.Context, id int64, by ledger.Reason) error
}

// ErrHeld: all payments of the network are held, because the books and the wallet
// do not agree; a person decides (purepool admin payment reconcile).
var ErrHeld = errors.New("all payments are held: the books and the wallet do not agree")

// Reconciliation is what comparing the books with the wallet came to.
type Reconciliation struct {
	// Restored: the books are not those that the wallet was last compared with.
	Restored bool
	// Held says why payments are held; empty: they are not.
	Held string
	// Until is set where nothing but time is missing: a call of the wallet that was
	// under way when the books were restored must have come to its end.
	Until time.Time
	// Looked counts transactions of the wallet that have a tag of this network.
	Looked int
	// Rebuilt are payments that the books lacked, or knew as planned only.
	Rebuilt []ledger.Payment
	// Forgotten are payments that were planned before a restore and never made.
	Forgotten []int64
	// Unknown are transactions about which a person must decide.
	Unknown []UnknownTransaction
}

// UnknownTransaction is a transaction of the wallet that the books cannot
// explain.
type UnknownTransaction struct {
	TxID   string    `json:"txid"`
	Tag    string    `json:"tag,omitempty"`
	Amount int64     `json:"amount"` // satoshis
	Miners int       `json:"miners"`
	At     time.Time `json:"at"`
	Why    string    `json:"why"`
}

// ReconcileOptions say what a person adds to a comparison.
type ReconcileOptions struct {
	By ledger.Reason
	// Now does not wait for calls that may be under way: the person knows that
	// nobody pays from this wallet.
	Now bool
	// Adopt takes the wallet's payments over also where the books have never been
	// compared with a wallet: books restored from a backup that is older than this
	// check.
	Adopt bool
}

// ErrPaying: a run of payments is under way elsewhere.
var ErrPaying = errors.New("somebody is paying at this moment: try again")

// Reconcile compares the books with the wallet and makes them agree, without
// paying anything: see [Payer] on restored books. Payments are held, or go on, by
// what it finds. ErrPaying.
func (p *Payer) Reconcile(ctx context.Context, opts ReconcileOptions) (Reconciliation, error) {
	unlock, _, ok, err := p.books.LockPayer(ctx, p.opts.NetworkID)
	if err != nil {
		return Reconciliation{}, err
	}
	if !ok {
		return Reconciliation{}, ErrPaying
	}
	defer unlock()
	return p.reconcile(ctx, opts)
}

// payTags is how tags of the network's payments begin.
func (p *Payer) payTags() string { return "purepool " + p.opts.Network + " " }

// The last letters of a tag say who bears the network fee: a payment can be
// rebuilt from the wallet alone.
const (
	tagSubtracts = "-s" // the miners
	tagPoolPays  = "-p" // the pool
)

// subtracts tells from a tag whether the miners bore the network fee.
func (p *Payer) subtracts(tag string) bool {
	switch {
	case strings.HasSuffix(tag, tagSubtracts):
		return true
	case strings.HasSuffix(tag, tagPoolPays):
		return false
	}
	return !p.opts.PoolPaysFee // of an older version: as it is configured now
}

// walletTx is a transaction of the wallet that sends.
type walletTx struct {
	id      chain.Hash
	tag     string // its comment
	outputs []ledger.AdoptedOutput
	at      time.Time
	tagged  bool // with a tag of this network
}

func (t *walletTx) unknown(why string) UnknownTransaction {
	u := UnknownTransaction{TxID: t.id.String(), Tag: t.tag, Miners: len(t.outputs), At: t.at, Why: why}
	for _, o := range t.outputs {
		u.Amount += o.Amount
	}
	return u
}

// reconciler is one comparison.
type reconciler struct {
	*Payer
	opts  ReconcileOptions
	guard ledger.PaymentGuard
	out   Reconciliation
}

func (p *Payer) reconcile(ctx context.Context, opts ReconcileOptions) (Reconciliation, error) {
	if opts.By.Who == "" {
		opts.By.Who = "payer of " + p.opts.Network
	}
	r := &reconciler{Payer: p, opts: opts}
	best, err := r.compare(ctx)
	if err == nil {
		err = r.decide(ctx, best)
	}
	held := 0.0
	if r.out.Held != "" {
		held = 1
	}
	if err == nil {
		p.metrics.held.Set(held)
		p.metrics.unknown.Set(float64(len(r.out.Unknown)))
		p.metrics.rebuilt.Add(float64(len(r.out.Rebuilt)))
	}
	return r.out, err
}

// compare reads the wallet's book since books and wallet last agreed, and mends
// what can be mended. It returns the tip up to which the book was read.
func (r *reconciler) compare(ctx context.Context) (best [32]byte, err error) {
	if r.guard, err = r.books.PaymentGuard(ctx, r.Payer.opts.NetworkID); err != nil {
		return best, err
	}
	state, err := r.wallet.ChainState(ctx)
	if err != nil {
		return best, fmt.Errorf("asking the wallet's daemon how far it is: %w", err)
	}
	if !state.Synced() {
		return best, errors.New("the wallet's daemon is not synced: nobody can tell what it has paid")
	}
	best = state.Best.Display()
	if err := r.noticeRestore(ctx); err != nil {
		return best, err
	}
	if err := r.checkReach(ctx); err != nil {
		return best, err
	}
	book, err := r.readBook(ctx)
	if err != nil {
		return best, fmt.Errorf("asking the wallet for its book: %w", err)
	}
	if err := r.explain(ctx, book); err != nil {
		return best, err
	}
	if r.out.Restored && len(r.out.Unknown) == 0 {
		return best, r.forgetPlans(ctx)
	}
	return best, nil
}

// noticeRestore begins a hold where the books are not those that were compared
// last.
func (r *reconciler) noticeRestore(ctx context.Context) error {
	r.out.Restored = !r.guard.HeldSince.IsZero()
	switch {
	case r.out.Restored || !r.guard.Restored():
		return nil
	case r.guard.Home == r.guard.Here:
		return r.beginHold(ctx, fmt.Sprintf("the books have forgotten payments: the newest is %d, it was %d", r.guard.NewestID, r.guard.LastID))
	}
	return r.beginHold(ctx, fmt.Sprintf("the database was restored, moved or taken over: the books last agreed with the wallet at %s, they are at %s now",
		r.guard.Home, r.guard.Here))
}

// beginHold treats the books as restored from now on.
func (r *reconciler) beginHold(ctx context.Context, why string) error {
	r.Payer.opts.Logger.Error("payments are held until the books agree with the wallet",
		slog.String("network", r.Payer.opts.Network), slog.String("reason", why))
	if err := r.books.HoldPayments(ctx, r.Payer.opts.NetworkID, ledger.Reason{Who: r.opts.By.Who, Why: why}); err != nil {
		return err
	}
	guard, err := r.books.PaymentGuard(ctx, r.Payer.opts.NetworkID)
	if err != nil {
		return err
	}
	r.guard, r.out.Restored = guard, true
	return nil
}

// checkReach finds out whether the wallet knows the newest payment that it has
// made for these books: another wallet, or an old copy, proves nothing.
func (r *reconciler) checkReach(ctx context.Context) error {
	newest := r.guard.NewestTxID
	if !r.out.Restored || newest == [32]byte{} {
		return nil
	}
	txid := chain.HashFromDisplay(newest)
	_, err := r.wallet.WalletTransaction(ctx, txid)
	if !bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) {
		return err
	}
	settled, err := r.books.SettledTransactions(ctx, r.Payer.opts.NetworkID, [][32]byte{newest})
	if err == nil && !settled[newest] {
		r.out.Unknown = append(r.out.Unknown, UnknownTransaction{
			TxID: txid.String(), Why: "the wallet does not know this transaction, by which it made the newest payment of the books: another wallet, or an old copy",
		})
	}
	return err
}

// readBook returns what the wallet has sent since books and wallet agreed last.
func (r *reconciler) readBook(ctx context.Context) ([]*walletTx, error) {
	if r.guard.Best != [32]byte{} {
		list, err := r.wallet.WalletSince(ctx, chain.HashFromDisplay(r.guard.Best))
		var refusal *bbprpc.DaemonError
		if !errors.As(err, &refusal) {
			return r.gather(nil, list), err
		}
		// It does not know the block, or the call: everything is read.
	}
	var book []*walletTx
	for page := 0; ; page++ {
		list, err := r.wallet.WalletEntries(ctx, pageSize, page*pageSize)
		if err != nil {
			return nil, err
		}
		book = r.gather(book, list)
		if len(list) < pageSize {
			return book, nil
		}
	}
}

// gather adds lines of the wallet's book to transactions. What can never be in
// the chain is left out.
func (r *reconciler) gather(book []*walletTx, list []bbprpc.WalletEntry) []*walletTx {
	byID := make(map[chain.Hash]*walletTx, len(book))
	for _, tx := range book {
		byID[tx.id] = tx
	}
	for i := range list {
		e := &list[i]
		if e.Category != "send" || e.Abandoned || e.Confirmations <= -r.Payer.opts.ConfirmDepth {
			continue
		}
		tx := byID[e.TxID]
		if tx == nil {
			tx = &walletTx{id: e.TxID, tag: e.Comment, at: time.Unix(e.Time, 0).UTC(), tagged: strings.HasPrefix(e.Comment, r.payTags())}
			byID[e.TxID] = tx
			book = append(book, tx)
		}
		tx.outputs = append(tx.outputs, ledger.AdoptedOutput{Address: e.Address, Amount: -int64(e.Amount)})
	}
	return book
}

// explain holds every transaction against the books.
func (r *reconciler) explain(ctx context.Context, book []*walletTx) error {
	var tags []string
	var ids [][32]byte
	for _, tx := range book {
		ids = append(ids, tx.id.Display())
		if tx.tagged {
			tags = append(tags, tx.tag)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	settled, err := r.books.SettledTransactions(ctx, r.Payer.opts.NetworkID, ids)
	if err != nil {
		return err
	}
	payments, err := r.books.PaymentsByTag(ctx, r.Payer.opts.NetworkID, tags)
	if err != nil {
		return err
	}
	r.out.Looked = len(tags)
	if lost := unknownTags(book, settled, payments); lost != "" && !r.out.Restored {
		// Restored by means that leave no trace, such as a copy of the server's files.
		if err := r.beginHold(ctx, "the wallet has made payments that the books do not know, such as "+lost); err != nil {
			return err
		}
	}
	for _, tx := range book {
		_, known := settled[tx.id.Display()]
		switch {
		case known:
		case tx.tagged:
			payment, known := payments[tx.tag]
			if err := r.explainTagged(ctx, tx, payment, known); err != nil {
				return err
			}
		case r.out.Restored:
			if err := r.explainUntagged(ctx, tx); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknownTags names a transaction that has a tag which no payment has.
func unknownTags(book []*walletTx, settled map[[32]byte]bool, payments map[string]ledger.Payment) string {
	for _, tx := range book {
		_, done := settled[tx.id.Display()]
		if _, known := payments[tx.tag]; tx.tagged && !done && !known {
			return tx.id.String()
		}
	}
	return ""
}

// explainTagged deals with a transaction that a payer of this network has made
// and that no payment has.
func (r *reconciler) explainTagged(ctx context.Context, tx *walletTx, p ledger.Payment, known bool) error {
	switch {
	case known && p.TxID != [32]byte{} && p.State != ledger.PaymentConfirmed:
		return nil // replaced by its owner with a higher fee: it is followed by its first transaction, and held where that cannot stand
	case known && r.leave(tx, &p):
		return nil
	case !known && r.guard.AgreedAt.IsZero() && !r.opts.Adopt:
		r.out.Unknown = append(r.out.Unknown, tx.unknown("a pool's payment of this network, and these books have never been compared with this wallet: "+
			"restored from an old backup (--adopt), or another pool's wallet (--ignore)"))
		return nil
	}
	details, err := r.wallet.WalletTransaction(ctx, tx.id)
	if err != nil {
		return fmt.Errorf("asking the wallet for transaction %s: %w", tx.id, err)
	}
	a := &ledger.Adoption{
		NetworkID: r.Payer.opts.NetworkID, Tag: tx.tag, TxID: tx.id.Display(), SubtractFee: r.subtracts(tx.tag), NetworkFee: int64(details.Fee), At: tx.at,
	}
	for _, d := range details.Details {
		if d.Category == "send" {
			a.Outputs = append(a.Outputs, ledger.AdoptedOutput{Address: d.Address, Amount: -int64(d.Amount)})
		}
	}
	payment, err := r.books.AdoptPayment(ctx, a, ledger.Reason{Who: r.opts.By.Who, Why: cmp.Or(r.opts.By.Why, "found in the wallet, the books did not know it")})
	if errors.Is(err, ledger.ErrAdoption) {
		r.out.Unknown = append(r.out.Unknown, tx.unknown(err.Error()))
		return nil
	}
	if err != nil {
		return err
	}
	r.Payer.opts.Logger.Warn("a payment was rebuilt from the wallet", slog.String("network", r.Payer.opts.Network),
		slog.Int64("payment", payment.ID), slog.String("tag", tx.tag), slog.Int("miners", len(a.Outputs)))
	r.out.Rebuilt = append(r.out.Rebuilt, payment)
	return nil
}

// leave reports whether a payment is of those that every run resolves anyway: the
// wallet was called, and the transaction pays whom the books say.
func (r *reconciler) leave(tx *walletTx, p *ledger.Payment) bool {
	if p.State != ledger.PaymentSending && p.State != ledger.PaymentUnclear && (p.State != ledger.PaymentIntent || p.Attempts == 0) {
		return false
	}
	var planned, paid []string
	for _, it := range p.Planned() {
		planned = append(planned, it.Address)
	}
	for _, o := range tx.outputs {
		paid = append(paid, o.Address)
	}
	slices.Sort(planned)
	slices.Sort(paid)
	return slices.Equal(planned, paid)
}

// restoreSlack is how far before the books' last moment a transaction without a
// tag may lie that they must explain: clocks differ.
const restoreSlack = time.Hour

// explainUntagged deals with a transaction without a tag that pays miners and that
// was made after the moment to which the books were restored: a wallet that was
// restored too finds its transactions on the chain, but not their comments.
func (r *reconciler) explainUntagged(ctx context.Context, tx *walletTx) error {
	if tx.at.Before(r.guard.LastMoment.Add(-restoreSlack)) {
		return nil
	}
	addresses := make([]string, len(tx.outputs))
	for i, o := range tx.outputs {
		addresses[i] = o.Address
	}
	miners, err := r.books.MinersAmong(ctx, r.Payer.opts.NetworkID, addresses)
	if err == nil && len(miners) > 0 {
		r.out.Unknown = append(r.out.Unknown, tx.unknown(fmt.Sprintf("it pays %d miners and has no tag", len(miners))))
	}
	return err
}

// forgetPlans takes back what was planned before a restore and never made: its
// miners may have been paid by other payments since. They are planned anew.
func (r *reconciler) forgetPlans(ctx context.Context) error {
	open, err := r.books.UnfinishedPayments(ctx, r.Payer.opts.NetworkID)
	if err != nil {
		return err
	}
	if !r.settled() {
		return nil
	}
	run := &payRun{Payer: r.Payer}
	for i := range open {
		p := &open[i]
		if p.TxID != [32]byte{} {
			continue
		}
		found, err := run.search(ctx, p)
		switch {
		case err != nil:
			return err
		case found.txid != nil:
			continue // every run finds it
		case p.State != ledger.PaymentIntent && (!found.reached || found.alike != nil):
			r.out.Unknown = append(r.out.Unknown, UnknownTransaction{
				Tag: p.Tag, Miners: len(p.Planned()), At: p.CalledAt,
				Why: fmt.Sprintf("the wallet was called for payment %d and cannot tell whether it has made it: decide with purepool admin payment resolve", p.ID),
			})
			continue
		}
		why := "planned before the books were restored, and certainly not made"
		if err := r.books.ForgetPlan(ctx, p.ID, ledger.Reason{Who: r.opts.By.Who, Why: why}); err != nil {
			return err
		}
		r.out.Forgotten = append(r.out.Forgotten, p.ID)
	}
	return nil
}

// settled reports whether a call of the wallet that was under way when the hold
// began has come to its end.
func (r *reconciler) settled() bool {
	until := r.guard.HeldSince.Add(r.Payer.opts.AbsentDelay)
	if r.opts.Now || r.guard.HeldSince.IsZero() || !r.Payer.opts.Now().Before(until) {
		return true
	}
	r.out.Until = until
	return false
}

// decide holds payments, or lets them go on.
func (r *reconciler) decide(ctx context.Context, best [32]byte) error {
	if n := len(r.out.Unknown); n > 0 {
		r.out.Held = fmt.Sprintf("%d transactions of the wallet are not explained by the books, such as %s: %s",
			n, cmp.Or(r.out.Unknown[0].TxID, r.out.Unknown[0].Tag), r.out.Unknown[0].Why)
		r.Payer.opts.Logger.Error("all payments are held: the books and the wallet do not agree",
			slog.String("network", r.Payer.opts.Network), slog.Int("transactions", n), slog.String("reason", r.out.Held))
		return r.books.HoldPayments(ctx, r.Payer.opts.NetworkID, ledger.Reason{Who: r.opts.By.Who, Why: r.out.Held})
	}
	if !r.settled() {
		r.out.Held = r.guard.Why
		r.Payer.opts.Logger.Warn("payments are held for a while: a call of the wallet may still be under way",
			slog.String("network", r.Payer.opts.Network), slog.Time("until", r.out.Until))
		return nil
	}
	if r.guard.HeldSince.IsZero() && r.guard.Home == r.guard.Here && r.guard.Best == best && r.guard.NewestID == r.guard.LastID {
		return nil // nothing has changed
	}
	why := cmp.Or(r.opts.By.Why, fmt.Sprintf("the books agree with the wallet: %d payments rebuilt, %d plans taken back", len(r.out.Rebuilt), len(r.out.Forgotten)))
	return r.books.Agree(ctx, r.Payer.opts.NetworkID, r.guard.Here, best, ledger.Reason{Who: r.opts.By.Who, Why: why})
}
