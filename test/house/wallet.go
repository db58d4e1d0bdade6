package house

import (
	"testing"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

// Sent is what a wallet's own book says that it has sent.
type Sent struct {
	Paid         map[string]int64      // by address, in satoshis
	Transactions map[string]chain.Hash // by the payment's tag
}

// SentBy reads the book of the wallet at an endpoint. No two of its transactions may
// have the same tag.
func SentBy(t testing.TB, endpoint bbprpc.Endpoint) Sent {
	t.Helper()
	wallet, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{endpoint}})
	must(t, err)
	defer wallet.Close()
	entries, err := wallet.WalletEntries(t.Context(), 100_000, 0)
	must(t, err)
	sent := Sent{Paid: map[string]int64{}, Transactions: map[string]chain.Hash{}}
	for _, e := range entries {
		if e.Category != "send" {
			continue
		}
		sent.Paid[e.Address] -= int64(e.Amount)
		if before, known := sent.Transactions[e.Comment]; known && before != e.TxID {
			t.Errorf("two transactions with the tag %q", e.Comment)
		}
		sent.Transactions[e.Comment] = e.TxID
	}
	return sent
}

// Wallet is the endpoint of the simulated daemon, which has the pool's wallet.
func (h *House) Wallet() bbprpc.Endpoint {
	user, password := h.Daemon.Credentials()
	return bbprpc.Endpoint{URL: h.Daemon.URL(), User: user, Password: password}
}
