package settle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
)

// Wallet is the daemon that pays. It must be one wallet and no other: a client
// that falls over to a second daemon would ask a wallet that knows nothing.
// *bbprpc.Client is one.
type Wallet interface {
	SendMany(ctx context.Context, batch bbprpc.PaymentBatch) (chain.Hash, error)
	WalletEntries(ctx context.Context, count, skip int) ([]bbprpc.WalletEntry, error)
	WalletSince(ctx context.Context, block chain.Hash) ([]bbprpc.WalletEntry, error)
	WalletTransaction(ctx context.Context, txid chain.Hash) (bbprpc.WalletTransaction, error)
	WalletInfo(ctx context.Context) (bbprpc.WalletInfo, error)
	Rebroadcast(ctx context.Context, txid chain.Hash) error
	UnlockWallet(ctx context.Context, passphrase string, seconds int) error
	LockWallet(ctx context.Context) error
	ChainState(ctx context.Context) (bbprpc.ChainState, error)
	CoinWallet
}

// PaymentBooks is what the payer needs of the ledger.
type PaymentBooks interface {
	LockPayer(ctx context.Context, networkID int16) (unlock func(), alive func(context.Context) error, ok bool, err error)
	PlanPayments(ctx context.Context, plan ledger.PaymentPlan) ([]ledger.Payment, []ledger.PaymentItem, error)
	UnfinishedPayments(ctx context.Context, networkID int16) ([]ledger.Payment, error)
	Payment(ctx context.Context, id int64) (ledger.Payment, error)
	BeginSending(ctx context.Context, id int64, mark [32]byte, height int32) (int, error)
	Sent(ctx context.Context, id int64, txid [32]byte) error
	BookSent(ctx context.Context, id, networkFee int64) error
	Confirmed(ctx context.Context, id int64, confirmations int32, done bool) error
	NotPaid(ctx context.Context, id int64, nextAt time.Time, note string) error
	Absent(ctx context.Context, id int64) (time.Time, error)
	Unclear(ctx context.Context, id int64, note string) error
	NeverMade(ctx context.Context, id int64, nextAt time.Time, note string) error
	Postpone(ctx context.Context, id int64, nextAt time.Time, note string) error
	SetAside(ctx context.Context, id int64, address, reason string, retryAt time.Time) error
	Shrink(ctx context.Context, id int64, keep int, reason string) error
	GuardBooks
	CoinBooks
}

// Payer pays the balances of one network's miners. Any number of them, in any
// number of processes, may be started: one at a time works.
//
// # How a payment happens once
//
// Each step is one transaction of the ledger or one call of the wallet. The
// comment at each step says what is left when the process dies right after it,
// and who picks it up:
//
//	                                  if the process dies here
//	1 plan      intent, reserved      the next run finds the intent: nothing was sent
//	2 begin     sending               the next run asks the wallet for the tag
//	3 wallet    sendmany(tag)         the same; the wallet shows it: 4
//	4 sent      txid                  the next run goes on with 5
//	5 book      journal: paid         the next run goes on with 6
//	6 confirm   confirmed             done
//
// A payment in step 2 or 3 is never sent again unless the wallet says that it
// has not made it: it answers, its book reaches back to the transaction that was
// its newest before the call (so it is the same wallet, with its whole memory),
// the tag is not in it, and that twice with a delay, with new blocks in between.
// Whatever else it says or does not say is a hold, and an alarm.
//
// # Restored books
//
// Books that were restored to an earlier moment have forgotten payments that the
// wallet has made since. Every run therefore begins with the wallet's book, from
// the block on at which books and wallet last agreed: each transaction that has a
// tag of this network must be a payment's. One that the books lack is rebuilt
// from the wallet; what cannot be explained holds all payments, and is an alarm.
// Books that stand on another server, timeline or database than at the last
// agreement were restored: there, transactions without a tag that pay miners must
// be explained too, and what was planned and not made is planned anew.
//
// # Small coins
//
// A transaction holds some 600 coins, so a wallet full of small ones cannot pay
// much at once, and says so in words that other troubles share. Where it refuses
// a payment and has [PayerOptions.JoinFrom] coins or more, its smallest are
// joined, [PayerOptions.JoinCoins] of them, in a transaction to an address of its
// own, and the payment waits for the next run; where it is refused again before
// that is in a block, it is made smaller as in any other case. There is one such
// transaction at a time, one in a run at most, none while a payment is not seen
// to stand, and none that costs more than a hundredth of what it joins. The pool
// pays its fee, which stands in the journal.
//
//	                                  if the process dies here
//	1 sign                            nothing was made
//	2 write     made                  the next run hands in what was signed
//	3 hand in   sendrawtransaction    the same: it is one and the same transaction
//	4 sent      journal: fee          the next run goes on with 5
//	5 confirm   confirmed             done
type Payer struct {
	opts    PayerOptions
	wallet  Wallet
	books   PaymentBooks
	metrics *payerMetrics
}

// NewPayer makes a payer.
func NewPayer(opts PayerOptions, wallet Wallet, books PaymentBooks) *Payer {
	opts = opts.withDefaults()
	return &Payer{opts: opts, wallet: wallet, books: books, metrics: newPayerMetrics(opts.Registerer, opts.Network)}
}

// PayResult says what a run did.
type PayResult struct {
	Busy      bool // somebody else is paying; nothing was done
	Planned   int  // payments planned
	Miners    int  // in them
	Sent      int  // payments that the wallet has made, or was found to have made
	Confirmed int  // payments that are done with
	SetAside  int  // miners who cannot be paid
	Waiting   int  // intents that wait
	Unclear   int  // payments of which nobody knows whether they were made
	Joined    int  // consolidations of small coins
	// Held says why no payment is made at all; empty: they are made.
	Held string
}

// Pay brings every payment on its way one step further, plans new ones where it
// is time, and sends them. It is the original's send_autopayments. Trouble with
// one payment does not keep the others; the errors of all are returned together.
func (p *Payer) Pay(ctx context.Context) (result PayResult, err error) {
	unlock, alive, ok, err := p.books.LockPayer(ctx, p.opts.NetworkID)
	if err != nil || !ok {
		return PayResult{Busy: err == nil}, err
	}
	defer unlock()
	run := &payRun{Payer: p, alive: alive}
	err = errors.Join(run.do(ctx), p.report(ctx, &run.result))
	p.metrics.run(&run.result, err)
	return run.result, err
}

// Plan writes down whom to pay without sending anything, for a person who wants
// to look first: the next run sends it, unless it is held.
func (p *Payer) Plan(ctx context.Context) (planned []ledger.Payment, unpayable []ledger.PaymentItem, err error) {
	p.opts.Fail.Hit("pay.before-plan")
	planned, unpayable, err = p.books.PlanPayments(ctx, ledger.PaymentPlan{
		NetworkID: p.opts.NetworkID, Threshold: p.opts.Threshold, MinInterval: p.opts.MinInterval,
		MaxMiners: p.opts.MaxMiners, BatchSize: p.opts.BatchSize, SubtractFee: !p.opts.PoolPaysFee,
		NewTag: p.newTag, Payable: p.payable, Retry: p.backOff,
	})
	p.opts.Fail.Hit("pay.after-plan")
	for _, it := range unpayable {
		p.opts.Logger.Warn("a miner cannot be paid", slog.String("network", p.opts.Network), slog.Int64("miner", it.MinerID), slog.String("reason", it.Reason))
	}
	return planned, unpayable, err
}

// newTag makes a tag that no other payment has: 128 random bits. Its end says who
// bears the network fee.
func (p *Payer) newTag() string {
	end := tagSubtracts
	if p.opts.PoolPaysFee {
		end = tagPoolPays
	}
	return p.payTags() + strings.ToLower(rand.Text()) + end
}

func (p *Payer) payable(address string) error {
	_, err := chain.DecodeAddress(address, p.opts.Chain)
	return err
}

// backOff doubles from RetryMin to RetryMax.
func (p *Payer) backOff(failures int) time.Duration {
	wait := p.opts.RetryMin
	for range min(failures-1, 40) {
		if wait = 2 * wait; wait >= p.opts.RetryMax {
			return p.opts.RetryMax
		}
	}
	return wait
}

// payRun is one run.
type payRun struct {
	*Payer
	alive  func(context.Context) error
	result PayResult
	joined bool // small coins, or tried to
}

func (r *payRun) do(ctx context.Context) error {
	var errs []error
	compared, err := r.reconcile(ctx, ReconcileOptions{})
	if err != nil {
		return err
	}
	if compared.Held != "" {
		r.result.Held = compared.Held
		return errors.Join(r.followSent(ctx), heldError(&compared))
	}
	if err := r.followJoined(ctx); err != nil {
		errs = append(errs, err)
	}
	// First what is on its way: also outside the window, also while payments are
	// paused for want of coins.
	open, err := r.books.UnfinishedPayments(ctx, r.opts.NetworkID)
	if err != nil {
		return err
	}
	for i := range open {
		if err := r.follow(ctx, &open[i]); err != nil {
			errs = append(errs, fmt.Errorf("payment %d: %w", open[i].ID, err))
		}
	}
	if !r.opts.Window.Open(r.opts.Now()) {
		return errors.Join(errs...)
	}
	planned, unpayable, err := r.Plan(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	r.result.SetAside += len(unpayable)
	r.result.Planned = len(planned)
	for i := range planned {
		r.result.Miners += len(planned[i].Items)
	}
	// Intents, the oldest first: those of this run and those of runs that died.
	if open, err = r.books.UnfinishedPayments(ctx, r.opts.NetworkID); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i := range open {
		if open[i].State != ledger.PaymentIntent || open[i].Held || open[i].NextAt.After(r.opts.Now()) {
			continue
		}
		err := r.send(ctx, open[i].ID)
		if err != nil {
			errs = append(errs, fmt.Errorf("payment %d: %w", open[i].ID, err))
		}
		if errors.Is(err, bbprpc.ErrAway) || ctx.Err() != nil {
			break // no use in asking for the others now
		}
	}
	return errors.Join(errs...)
}

// heldError is an alarm, but not where only time is missing.
func heldError(c *Reconciliation) error {
	if !c.Until.IsZero() && len(c.Unknown) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s (purepool admin payment reconcile)", ErrHeld, c.Held)
}

// followSent goes on with the bookkeeping of what was sent, and with nothing
// else.
func (r *payRun) followSent(ctx context.Context) error {
	open, err := r.books.UnfinishedPayments(ctx, r.opts.NetworkID)
	if err != nil {
		return err
	}
	var errs []error
	for i := range open {
		if open[i].State != ledger.PaymentSent {
			continue
		}
		if err := r.track(ctx, &open[i]); err != nil {
			errs = append(errs, fmt.Errorf("payment %d: %w", open[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

// send brings one intent to the wallet, with fewer recipients each time that the
// wallet refuses it for what is in it. It ends: a batch of 500 is halved nine
// times, and an address is set aside once.
func (r *payRun) send(ctx context.Context, id int64) error {
	for range 2*MaxBatch + 10 {
		p, err := r.books.Payment(ctx, id)
		if err != nil {
			return err
		}
		if p.State != ledger.PaymentIntent || p.Held {
			return nil
		}
		again, err := r.attempt(ctx, &p)
		if err != nil || !again {
			return err
		}
	}
	return fmt.Errorf("the wallet refuses every part of the payment")
}

// attempt calls the wallet once. again: the payment was made smaller, and may be
// tried again at once.
func (r *payRun) attempt(ctx context.Context, p *ledger.Payment) (again bool, err error) {
	mark, height, ready, err := r.prepare(ctx, p)
	if err != nil || !ready {
		return false, err
	}
	lock, err := r.unlockWallet(ctx)
	if err != nil {
		return false, r.postpone(ctx, p, fmt.Sprintf("the wallet cannot be unlocked: %v", err))
	}
	defer lock()

	// Step 2. Dying before it leaves an intent: the next run begins anew. Dying
	// after it leaves "sending": the wallet is asked for the tag, shows nothing,
	// and after a while the payment is an intent again.
	r.opts.Fail.Hit("pay.before-begin")
	begun := time.Now()
	if _, err := r.books.BeginSending(ctx, p.ID, mark, height); err != nil {
		return false, err
	}
	p.WalletMark, p.CalledHeight = mark, height
	r.opts.Fail.Hit("pay.after-begin")
	// Somebody else may have become the payer while this process slept.
	// Then it is his to ask the wallet; this one touches nothing any more.
	if err := r.alive(ctx); err != nil {
		return false, err
	}
	// A process that slept between that question and the call must not make it
	// when others have concluded that it never was made.
	callCtx, cancel := ctx, context.CancelFunc(func() {})
	if r.opts.AbsentDelay > 0 {
		callCtx, cancel = context.WithDeadline(ctx, begun.Add(r.opts.AbsentDelay/2))
	}
	defer cancel()

	// Step 3. Dying within it leaves "sending", whether the wallet has paid or
	// not; the wallet's book tells.
	r.opts.Fail.Hit("pay.before-wallet")
	txid, err := r.wallet.SendMany(callCtx, r.batch(p))
	r.opts.Fail.Hit("pay.after-wallet")
	if err != nil {
		return r.refused(ctx, p, err)
	}
	return false, r.sent(ctx, p, txid)
}

func (r *payRun) batch(p *ledger.Payment) bbprpc.PaymentBatch {
	batch := bbprpc.PaymentBatch{Family: r.opts.Family, MinConf: r.opts.MinConf, Comment: p.Tag, SubtractFee: p.SubtractFee}
	for _, it := range p.Planned() {
		batch.Outputs = append(batch.Outputs, bbprpc.Output{Address: it.Address, Amount: bbprpc.Amount(it.Amount)})
	}
	return batch
}

// prepare asks what must be known before a call: is the daemon synced, which is
// the wallet's newest transaction, has an earlier attempt succeeded after all,
// are there coins enough.
func (r *payRun) prepare(ctx context.Context, p *ledger.Payment) (mark [32]byte, height int32, ready bool, err error) {
	state, err := r.wallet.ChainState(ctx)
	if err != nil {
		return mark, 0, false, err
	}
	if !state.Synced() {
		return mark, 0, false, r.postpone(ctx, p, "the daemon is not synced")
	}
	if p.Attempts > 0 {
		// "Certainly absent" was concluded; it costs nothing to look once more.
		found, err := r.search(ctx, p)
		if err != nil {
			return mark, 0, false, err
		}
		if found.txid != nil {
			// Back to where it belongs, so that it is finished like any other.
			if _, err := r.books.BeginSending(ctx, p.ID, p.WalletMark, p.CalledHeight); err != nil {
				return mark, 0, false, err
			}
			return mark, 0, false, r.sent(ctx, p, *found.txid)
		}
	}
	newest, err := r.wallet.WalletEntries(ctx, 1, 0)
	if err != nil {
		return mark, 0, false, err
	}
	if len(newest) > 0 {
		mark = newest[len(newest)-1].TxID.Display()
	}
	ready, err = r.funded(ctx, p)
	return mark, int32(state.Blocks), ready, err
}

// funded makes a payment as small as the wallet's balance; false where nothing of
// it can be paid now.
func (r *payRun) funded(ctx context.Context, p *ledger.Payment) (bool, error) {
	info, err := r.wallet.WalletInfo(ctx)
	if err != nil {
		return false, err
	}
	items, keep, sum := p.Planned(), 0, int64(0)
	for _, it := range items {
		if sum+it.Amount > int64(info.Balance) {
			break
		}
		sum += it.Amount
		keep++
	}
	if keep == len(items) {
		return true, nil
	}
	r.metrics.short.Inc()
	note := fmt.Sprintf("the wallet has %s coins, not enough for all %d miners", info.Balance, len(items))
	r.opts.Logger.Warn("the wallet has not enough coins for a payment", slog.String("network", r.opts.Network),
		slog.Int64("payment", p.ID), slog.Int64("balance", int64(info.Balance)), slog.Int("miners", len(items)), slog.Int("can_be_paid", keep))
	if keep == 0 {
		return false, r.postpone(ctx, p, note)
	}
	if err := r.books.Shrink(ctx, p.ID, keep, note); err != nil {
		return false, err
	}
	*p, err = r.books.Payment(ctx, p.ID)
	return err == nil, err
}

func (r *payRun) postpone(ctx context.Context, p *ledger.Payment, note string) error {
	return r.books.Postpone(ctx, p.ID, r.opts.Now().Add(r.backOff(p.Attempts+1)), note)
}

// sent writes down what the wallet has made, and books it.
func (r *payRun) sent(ctx context.Context, p *ledger.Payment, txid chain.Hash) error {
	// Step 4. Dying before it leaves "sending": the wallet shows the tag. Dying
	// after it leaves "sent": the next run books it.
	r.opts.Fail.Hit("pay.before-sent")
	if err := r.books.Sent(ctx, p.ID, txid.Display()); err != nil {
		return err
	}
	r.opts.Fail.Hit("pay.after-sent")
	r.result.Sent++
	r.opts.Logger.Info("a payment was sent", slog.String("network", r.opts.Network), slog.Int64("payment", p.ID), slog.String("txid", txid.String()))
	fresh, err := r.books.Payment(ctx, p.ID)
	if err != nil {
		return err
	}
	return r.track(ctx, &fresh)
}

// unlockWallet opens the wallet for some seconds where it has a passphrase, and
// returns what closes it again.
func (r *payRun) unlockWallet(ctx context.Context) (lock func(), err error) {
	if r.opts.PassphraseFile == "" {
		return func() {}, nil
	}
	text, err := os.ReadFile(r.opts.PassphraseFile)
	if err != nil {
		return nil, err
	}
	err = r.wallet.UnlockWallet(ctx, strings.TrimRight(string(text), "\r\n"), max(int(r.opts.UnlockFor/time.Second), 1))
	if bbprpc.IsCode(err, codeNotEncrypted) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	return func() {
		// It closes by itself in a moment; sooner is better.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := r.wallet.LockWallet(ctx); err != nil {
			r.opts.Logger.Warn("the wallet could not be locked", slog.String("network", r.opts.Network), slog.Any("error", err))
		}
	}, nil
}

// codeNotEncrypted: a wallet without passphrase was asked to open.
const codeNotEncrypted = -15
