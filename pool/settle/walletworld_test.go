package settle_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

// walletMode is how a test's wallet answers a call that pays.
type walletMode string

const (
	pays           walletMode = "pays"
	refusesFunds   walletMode = "refuses for want of coins"
	refusesUnclear walletMode = "refuses with -4, nothing made"
	paysAndRefuses walletMode = "refuses with -4 after it has paid"
	paysAndSilent  walletMode = "pays and cuts the line"
	silent         walletMode = "cuts the line and pays nothing"
	notReached     walletMode = "cannot be reached"
	refusesLocked  walletMode = "is locked"
)

// testWallet owns what the pool's blocks pay, matured or not.
type testWallet struct {
	chain *testChain

	mu      sync.Mutex
	mode    walletMode
	entries []walletTx
	paid    map[string]int64 // by address, what the miner was debited
	calls   int
	spent   int64
	fee     int64 // network fee of a transaction
	bad     map[string]bool
	most    int   // recipients; 0: any number
	err     error // every question is answered by it
	seen    []bbprpc.PaymentBatch
	asked   func() // called at every question for the balance
	coins   int    // that can be joined, of one coin each
	handed  []string
	refuse  error // is the answer to what is handed in
}

type walletTx struct {
	bbprpc.WalletTransaction
	at      int64 // height of the tip when it was made
	outputs []bbprpc.Output
	gone    int64 // conflicts: the depth of the other one
}

func (w *testWallet) set(mode walletMode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = mode
}

func away(executed bool) error {
	return &bbprpc.AwayError{Endpoint: "test", Reason: bbprpc.AwayBroken, NotExecuted: !executed, Err: errors.New("the line was cut")}
}

func (w *testWallet) SendMany(_ context.Context, batch bbprpc.PaymentBatch) (chain.Hash, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.seen = append(w.seen, batch)
	for _, o := range batch.Outputs {
		if w.bad[o.Address] {
			return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeInvalidAddress, Message: "Invalid address: " + o.Address}
		}
	}
	if w.most > 0 && len(batch.Outputs) > w.most {
		return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeInsufficient, Message: "Insufficient funds"}
	}
	switch w.mode {
	case refusesFunds:
		return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeInsufficient, Message: "Insufficient funds"}
	case refusesUnclear:
		return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeWallet, Message: "Transaction too large"}
	case refusesLocked:
		return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeUnlockNeeded, Message: "Please enter the wallet passphrase"}
	case notReached:
		return chain.Hash{}, away(false)
	case silent:
		return chain.Hash{}, away(true)
	}
	txid := w.make(batch)
	switch w.mode {
	case paysAndRefuses:
		return chain.Hash{}, &bbprpc.DaemonError{Code: bbprpc.CodeWallet, Message: "Transaction commit failed"}
	case paysAndSilent:
		return chain.Hash{}, away(true)
	}
	return txid, nil
}

// make needs the lock.
func (w *testWallet) make(batch bbprpc.PaymentBatch) chain.Hash {
	tx := walletTx{at: w.chain.height(), outputs: slices.Clone(batch.Outputs)}
	tx.TxID = sha256.Sum256([]byte(fmt.Sprint("tx", w.calls, batch.Comment)))
	tx.Fee, tx.Comment = bbprpc.Amount(w.fee), batch.Comment
	for _, o := range batch.Outputs {
		w.paid[o.Address] += int64(o.Amount)
		w.spent += int64(o.Amount)
	}
	if !batch.SubtractFee {
		w.spent += w.fee
	}
	w.entries = append(w.entries, tx)
	return tx.TxID
}

func (w *testWallet) confirmations(tx *walletTx) int64 {
	if tx.gone > 0 {
		return -tx.gone
	}
	return max(w.chain.height()-tx.at, 0)
}

func (w *testWallet) WalletEntries(_ context.Context, count, skip int) ([]bbprpc.WalletEntry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := []bbprpc.WalletEntry{{TxID: chain.Hash{1}, Category: "generate", Amount: 1}}
	for i := range w.entries {
		tx := &w.entries[i]
		for _, o := range tx.outputs {
			all = append(all, bbprpc.WalletEntry{
				TxID: tx.TxID, Address: o.Address, Category: "send", Amount: -o.Amount, Confirmations: w.confirmations(tx), Comment: tx.Comment,
			})
		}
	}
	end := max(len(all)-skip, 0)
	return all[max(end-count, 0):end], w.err
}

func (w *testWallet) WalletSince(context.Context, chain.Hash) ([]bbprpc.WalletEntry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	return nil, &bbprpc.DaemonError{Code: bbprpc.CodeInvalidAddress, Message: "Block not found"}
}

func (w *testWallet) WalletTransaction(_ context.Context, txid chain.Hash) (bbprpc.WalletTransaction, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.entries {
		if w.entries[i].TxID == txid {
			tx := w.entries[i].WalletTransaction
			tx.Confirmations = w.confirmations(&w.entries[i])
			return tx, w.err
		}
	}
	return bbprpc.WalletTransaction{}, errors.Join(w.err, &bbprpc.DaemonError{Code: bbprpc.CodeInvalidAddress, Message: "Invalid or non-wallet transaction id"})
}

func (w *testWallet) WalletInfo(context.Context) (bbprpc.WalletInfo, error) {
	ours := w.chain.ours()
	if w.asked != nil {
		w.asked()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return bbprpc.WalletInfo{Balance: bbprpc.Amount(ours - w.spent)}, w.err
}

func (w *testWallet) ChainState(ctx context.Context) (bbprpc.ChainState, error) {
	return w.chain.State(ctx)
}

func (w *testWallet) Rebroadcast(context.Context, chain.Hash) error { return nil }

func (w *testWallet) UnlockWallet(context.Context, string, int) error { return nil }

func (w *testWallet) LockWallet(context.Context) error { return nil }

// drop lets another transaction spend the coins of the last payment.
func (w *testWallet) drop(depth int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tx := &w.entries[len(w.entries)-1]
	if tx.gone == 0 {
		for _, o := range tx.outputs {
			w.paid[o.Address] -= int64(o.Amount)
			w.spent -= int64(o.Amount)
		}
	}
	tx.gone = depth
}

func (w *testWallet) paidTo(name string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paid[address(name)]
}
