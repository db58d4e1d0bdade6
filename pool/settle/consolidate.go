package settle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
)

// CoinWallet is what joining small coins needs of the wallet.
type CoinWallet interface {
	SpendableCoins(ctx context.Context, minConf int) ([]bbprpc.Coin, error)
	SignSpend(ctx context.Context, coins []bbprpc.Coin, to string, amount bbprpc.Amount) (raw string, txid chain.Hash, err error)
	HandIn(ctx context.Context, raw string) error
	FeeRate(ctx context.Context) (bbprpc.Amount, error)
}

// CoinBooks is what joining small coins needs of the ledger.
type CoinBooks interface {
	PlanConsolidation(ctx context.Context, c *ledger.Consolidation, by ledger.Reason) (int64, error)
	OpenConsolidations(ctx context.Context, networkID int16, droppedSince time.Time) ([]ledger.Consolidation, error)
	ConsolidationSent(ctx context.Context, id int64) error
	ConsolidationConfirmed(ctx context.Context, id int64) error
	ConsolidationDropped(ctx context.Context, id int64, why string) error
}

// MaxJoin is the most coins that are joined at once: a transaction of 75,000
// bytes, where nodes pass on at most 100,000.
const MaxJoin = 500

const (
	// coinBytes and restBytes are what a coin and the rest take of a transaction.
	coinBytes, restBytes = 148, 60
	// feePercent is the most of what it joins that a consolidation may cost.
	feePercent = 1
	// droppedFor is how long a consolidation that was dropped is looked for: a node
	// may have kept what ours refused.
	droppedFor = 48 * time.Hour
	// codeMissingInputs: the coins of a transaction are spent, or not there.
	codeMissingInputs = -25
)

// ConsolidateOptions say how coins are joined by hand.
type ConsolidateOptions struct {
	DryRun bool          // look, and change nothing
	By     ledger.Reason // for the audit log
}

// Consolidated is what came of joining coins.
type Consolidated struct {
	ID     int64    // of the consolidation; 0: none was made
	TxID   [32]byte // display order
	Coins  int      // that are joined, or would be
	Amount int64    // their sum, in satoshis
	Fee    int64    // satoshis
	State  string   // ledger.ConsolidationSent…; empty: none was made
	// Why says why no coins are joined; empty: they are, or would be.
	Why string
}

// Consolidate joins the wallet's smallest coins by hand, whether a payment was
// refused or not, by the same rules; see [Payer] on small coins. An error of
// [ErrHeld]: payments are held, and coins are not moved either. [ErrPaying].
func (p *Payer) Consolidate(ctx context.Context, opts ConsolidateOptions) (done Consolidated, err error) {
	unlock, alive, ok, err := p.books.LockPayer(ctx, p.opts.NetworkID)
	if err != nil {
		return done, err
	}
	if !ok {
		return done, ErrPaying
	}
	defer unlock()
	run := &payRun{Payer: p, alive: alive}
	if opts.DryRun {
		guard, err := p.books.PaymentGuard(ctx, p.opts.NetworkID)
		if err != nil {
			return done, err
		}
		if !guard.HeldSince.IsZero() {
			return done, fmt.Errorf("%w: %s", ErrHeld, guard.Why)
		}
		if done.Why, err = run.nothingInDoubt(ctx); err != nil || done.Why != "" {
			return done, err
		}
		choice, err := run.chooseCoins(ctx)
		return choice.consolidated(), err
	}
	compared, err := run.reconcile(ctx, ReconcileOptions{})
	if err != nil {
		return done, err
	}
	if compared.Held != "" {
		return done, fmt.Errorf("%w: %s", ErrHeld, compared.Held)
	}
	if err := run.followJoined(ctx); err != nil {
		return done, err
	}
	lock, err := run.unlockWallet(ctx)
	if err != nil {
		return done, err
	}
	defer lock()
	return run.join(ctx, opts.By)
}

// join makes one transaction of the wallet to itself out of its smallest coins,
// once in a run at most, and never while a payment or another consolidation is
// not seen to stand: those may need the coins. The wallet must be open. by is who
// does it by hand, for the audit log.
func (r *payRun) join(ctx context.Context, by ledger.Reason) (done Consolidated, err error) {
	if r.joined {
		done.Why = "it was tried in this run"
		return done, nil
	}
	r.joined = true
	if done.Why, err = r.nothingInDoubt(ctx); err != nil || done.Why != "" {
		return done, err
	}
	choice, err := r.chooseCoins(ctx)
	if err != nil || choice.why != "" {
		return choice.consolidated(), err
	}
	c := &choice.c
	raw, txid, err := r.wallet.SignSpend(ctx, choice.coins, choice.to, bbprpc.Amount(c.Amount-c.Fee))
	if err != nil {
		return done, fmt.Errorf("making a transaction of small coins: %w", err)
	}
	c.Raw, c.TxID = raw, txid.Display()
	// Dying before it leaves nothing. Dying after it leaves the signed transaction
	// "made": the next run hands in the very same one.
	r.opts.Fail.Hit("join.before-plan")
	if c.ID, err = r.books.PlanConsolidation(ctx, c, by); err != nil {
		return done, err
	}
	c.State = ledger.ConsolidationMade
	r.opts.Fail.Hit("join.after-plan")
	r.opts.Logger.Warn("the wallet has many small coins; the smallest are joined", slog.String("network", r.opts.Network),
		slog.Int("coins", c.Coins), slog.Int64("amount", c.Amount), slog.Int64("fee", c.Fee), slog.String("txid", txid.String()))
	r.result.Joined++
	r.metrics.joined.Inc()
	err = r.handIn(ctx, c)
	return choice.consolidated(), err
}

// paymentsStand reports whether every payment that was begun is in a block.
func (r *payRun) paymentsStand(ctx context.Context) (bool, error) {
	open, err := r.books.UnfinishedPayments(ctx, r.opts.NetworkID)
	if err != nil {
		return false, err
	}
	for i := range open {
		if p := &open[i]; p.State != ledger.PaymentIntent && (p.State != ledger.PaymentSent || p.Confirmations < 1) {
			return false, nil
		}
	}
	return true, nil
}

// nothingInDoubt says which payment or consolidation that was begun is not in a
// block; empty: all are.
func (r *payRun) nothingInDoubt(ctx context.Context) (doubt string, err error) {
	if clear, err := r.paymentsStand(ctx); err != nil || !clear {
		return "a payment is on its way and in no block yet: it may need the coins", err
	}
	joined, err := r.books.OpenConsolidations(ctx, r.opts.NetworkID, r.opts.Now())
	if err != nil {
		return "", err
	}
	for i := range joined {
		doubt = fmt.Sprintf("consolidation %d is in no block yet", joined[i].ID)
		if joined[i].State == ledger.ConsolidationMade {
			return doubt, nil
		}
		tx, err := r.wallet.WalletTransaction(ctx, chain.HashFromDisplay(joined[i].TxID))
		if err != nil || tx.Confirmations < 1 {
			return doubt, err
		}
	}
	return "", nil
}

// choice is which coins are joined.
type choice struct {
	c     ledger.Consolidation
	coins []bbprpc.Coin
	to    string // an address of the wallet's own
	why   string // none are; empty: they are
}

func (c *choice) consolidated() Consolidated {
	return Consolidated{ID: c.c.ID, TxID: c.c.TxID, Coins: c.c.Coins, Amount: c.c.Amount, Fee: c.c.Fee, State: c.c.State, Why: c.why}
}

// chooseCoins takes the smallest coins that are worth their fee; none where there
// are not so many that they could be the trouble, or it would cost too much.
func (r *payRun) chooseCoins(ctx context.Context) (choice, error) {
	coins, err := r.wallet.SpendableCoins(ctx, max(r.opts.MinConf, 1))
	if err != nil {
		return choice{}, err
	}
	if len(coins) < r.opts.JoinFrom {
		return choice{why: fmt.Sprintf("the wallet has %d coins to spend; they are joined from %d on", len(coins), r.opts.JoinFrom)}, nil
	}
	rate, err := r.wallet.FeeRate(ctx)
	if err != nil {
		return choice{}, err
	}
	// Twice what is asked for, so that it does not wait where others pay a little
	// more; a coin that is worth less than its part of the fee stays where it is.
	perByte := max(2*int64(rate)/1000, 1)
	coins = slices.DeleteFunc(coins, func(coin bbprpc.Coin) bool { return int64(coin.Amount) <= 2*coinBytes*perByte })
	slices.SortFunc(coins, func(a, b bbprpc.Coin) int {
		return cmp.Or(cmp.Compare(a.Amount, b.Amount), bytes.Compare(a.TxID[:], b.TxID[:]), cmp.Compare(a.Output, b.Output))
	})
	coins = coins[:min(len(coins), r.opts.JoinCoins)]
	if len(coins) < 2 {
		return choice{why: "the wallet's coins are not worth the fee of joining them"}, nil
	}
	out := choice{coins: coins, to: coins[len(coins)-1].Address, c: ledger.Consolidation{
		NetworkID: r.opts.NetworkID, Coins: len(coins), Fee: (int64(len(coins))*coinBytes + restBytes) * perByte,
	}}
	for _, coin := range coins {
		out.c.Amount += int64(coin.Amount)
	}
	if out.c.Fee > out.c.Amount/100*feePercent {
		r.opts.Logger.Warn("the wallet's small coins are not joined: that would cost too much", slog.String("network", r.opts.Network),
			slog.Int("coins", out.c.Coins), slog.Int64("amount", out.c.Amount), slog.Int64("fee", out.c.Fee))
		out.why = fmt.Sprintf("it would cost more than %d %% of what it joins", feePercent)
	}
	return out, nil
}

// handIn gives a consolidation to the network. Whatever becomes of the answer,
// doing it again is the same transaction.
func (r *payRun) handIn(ctx context.Context, c *ledger.Consolidation) error {
	if err := r.alive(ctx); err != nil {
		return err
	}
	r.opts.Fail.Hit("join.before-hand-in")
	err := r.wallet.HandIn(ctx, c.Raw)
	r.opts.Fail.Hit("join.after-hand-in")
	if err == nil || bbprpc.IsCode(err, bbprpc.CodeTxInChain) {
		return r.joinedSent(ctx, c)
	}
	if !bbprpc.IsCode(err, bbprpc.CodeTxRejected) && !bbprpc.IsCode(err, codeMissingInputs) {
		return fmt.Errorf("handing in a transaction of small coins: %w", err) // it stays made, and is handed in again
	}
	if _, known, lookErr := r.lookUp(ctx, c); lookErr != nil || known {
		if lookErr == nil {
			lookErr = r.joinedSent(ctx, c)
		}
		return lookErr
	}
	r.opts.Logger.Warn("a transaction of small coins was refused", slog.String("network", r.opts.Network), slog.Any("error", err))
	c.State = ledger.ConsolidationDropped
	return r.books.ConsolidationDropped(ctx, c.ID, err.Error())
}

func (r *payRun) joinedSent(ctx context.Context, c *ledger.Consolidation) error {
	r.opts.Fail.Hit("join.before-sent")
	err := r.books.ConsolidationSent(ctx, c.ID)
	r.opts.Fail.Hit("join.after-sent")
	if err == nil {
		c.State = ledger.ConsolidationSent
	}
	return err
}

// lookUp asks the wallet for a consolidation.
func (r *payRun) lookUp(ctx context.Context, c *ledger.Consolidation) (tx bbprpc.WalletTransaction, known bool, err error) {
	tx, err = r.wallet.WalletTransaction(ctx, chain.HashFromDisplay(c.TxID))
	if bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) {
		return tx, false, nil
	}
	return tx, err == nil, err
}

// followJoined brings every consolidation one step further.
func (r *payRun) followJoined(ctx context.Context) error {
	open, err := r.books.OpenConsolidations(ctx, r.opts.NetworkID, r.opts.Now().Add(-droppedFor))
	if err != nil {
		return err
	}
	var errs []error
	for i := range open {
		if err := r.followOne(ctx, &open[i]); err != nil {
			errs = append(errs, fmt.Errorf("consolidation %d: %w", open[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

func (r *payRun) followOne(ctx context.Context, c *ledger.Consolidation) error {
	tx, known, err := r.lookUp(ctx, c)
	if err != nil {
		return err
	}
	standing := known && !tx.Abandoned && tx.Confirmations >= 0
	switch c.State {
	case ledger.ConsolidationMade:
		if standing {
			return r.joinedSent(ctx, c)
		}
		if clear, err := r.paymentsStand(ctx); err != nil || !clear {
			return err // a payment may have taken the coins meanwhile
		}
		return r.handIn(ctx, c)
	case ledger.ConsolidationDropped:
		if standing && tx.Confirmations > 0 {
			return r.joinedSent(ctx, c)
		}
		return nil
	}
	switch {
	case standing && tx.Confirmations >= r.opts.ConfirmDepth:
		return r.books.ConsolidationConfirmed(ctx, c.ID)
	case known && tx.Confirmations <= -r.opts.ConfirmDepth:
		return r.books.ConsolidationDropped(ctx, c.ID, "another transaction has spent its coins for good")
	case standing && tx.Confirmations > 0, r.opts.Now().Sub(c.StateAt) < r.opts.RebroadcastAfter:
		return nil
	}
	// In no block for long: the network may have forgotten it.
	if err := r.wallet.HandIn(ctx, c.Raw); err != nil && !bbprpc.IsCode(err, bbprpc.CodeTxInChain) {
		r.opts.Logger.Warn("a transaction of small coins waits for a block and could not be handed in again",
			slog.String("network", r.opts.Network), slog.Any("error", err))
	}
	return nil
}
