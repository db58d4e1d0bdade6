package settle_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

// SpendableCoins are as many as the test says, of a coin each.
func (w *testWallet) SpendableCoins(context.Context, int) ([]bbprpc.Coin, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]bbprpc.Coin, w.coins)
	for i := range list {
		list[i] = bbprpc.Coin{TxID: chain.Hash{1}, Output: uint32(i), Address: address("pool"), Amount: bbprpc.Amount(coin), Confirmations: 9}
	}
	return list, w.err
}

func (w *testWallet) FeeRate(context.Context) (bbprpc.Amount, error) { return 1000, w.err }

// SignSpend makes a "transaction": its text is the fee, its id that of the text.
func (w *testWallet) SignSpend(_ context.Context, coins []bbprpc.Coin, _ string, amount bbprpc.Amount) (raw string, txid chain.Hash, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	raw = fmt.Sprintf("%d %d", int64(len(coins))*coin-int64(amount), w.calls)
	return raw, sha256.Sum256([]byte(raw)), w.err
}

func (w *testWallet) HandIn(_ context.Context, raw string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handed = append(w.handed, raw)
	if w.refuse != nil {
		return w.refuse
	}
	tx := walletTx{at: w.chain.height()}
	tx.TxID = sha256.Sum256([]byte(raw))
	if !slices.ContainsFunc(w.entries, func(e walletTx) bool { return e.TxID == tx.TxID }) {
		var fee int64
		if _, err := fmt.Sscan(raw, &fee); err != nil {
			return err
		}
		w.spent += fee
		w.entries = append(w.entries, tx)
	}
	return nil
}
