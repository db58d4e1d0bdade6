package settle_test

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

// TestBlocksOfARealDaemonArePaidByItsRealWallet is the whole road: blocks to the
// pool's address, shares in the ledger, rounds, share-out, sendmany, the miners'
// own wallet on another node.
func TestBlocksOfARealDaemonArePaidByItsRealWallet(t *testing.T) {
	e := newEnv(t)
	pool, miners := pair(t)
	ctx, client, books := t.Context(), pool.Client, e.store.Books()
	address, stranger := pool.Address(), miners.Address()
	pool.mine(10, stranger, miners)
	networks, err := e.store.Networks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := networks["regtest"]
	source := settle.NewTemplateSource(client, address)
	watcher := settle.NewWatcher(settle.WatcherOptions{Network: "regtest", NetworkID: id, OrphanDepth: 3}, source, books)
	settler, err := settle.NewSettler(settle.SettlerOptions{Network: "regtest", NetworkID: id, Fee: 1_500_000, Grace: -1, CloseDepth: 1}, source, books)
	if err != nil {
		t.Fatal(err)
	}
	payer := settle.NewPayer(settle.PayerOptions{
		Network: "regtest", NetworkID: id, Chain: chain.LitecoinRegtest(), Family: bbprpc.FamilyBitcoin, PoolPaysFee: true,
		Threshold: coin, MinInterval: -1, BatchSize: 3,
	}, client, books)
	auditor := settle.NewAuditor("regtest", id, books, client, ledger.AuditOptions{}, nil)
	look := func() settle.Progress {
		t.Helper()
		p, err := watcher.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	look()

	var ids []int64
	var addresses []string
	for range 7 {
		to := miners.Address()
		worker, err := e.front.EnsureWorker(ctx, id, to, "rig", "")
		if err != nil {
			t.Fatal(err)
		}
		addresses, ids = append(addresses, to), append(ids, worker.Miner.ID)
	}
	// Six blocks of the pool, shares before each, and a stranger's in between.
	var rewards int64
	for n := range 6 {
		for i := range ids {
			if (i+n)%3 != 0 {
				writeShare(t, e.store, id, ids[i], int32(10+n), time.Now(), int64(1000*(i+1)+7*n))
			}
		}
		pool.mine(1, address, miners)
		if p := look(); p.Ours != 1 {
			t.Fatalf("%+v", p)
		}
		rewards += 50 * coin
		if n == 3 {
			pool.mine(1, stranger, miners)
		}
	}
	if done, err := settler.ShareOutAll(ctx); err != nil || len(done) != 0 {
		t.Errorf("shared out before maturity: %v, %v", done, err)
	}
	pool.mine(101, stranger, miners)
	look()
	if n, err := settler.CloseRounds(ctx); err != nil || n != 6 {
		t.Fatalf("%d rounds, %v", n, err)
	}
	done, err := settler.ShareOutAll(ctx)
	if err != nil || len(done) != 6 {
		t.Fatalf("%d blocks were shared out, %v", len(done), err)
	}
	total := new(big.Int)
	for _, d := range done {
		for _, c := range d.Credits {
			total.Add(total, big.NewInt(c.Amount))
		}
	}
	if fee := ledgertest.Value[int64](t, e.db, "SELECT amount FROM balance b JOIN account a ON a.id = b.account_id WHERE a.kind = 'fee'"); total.Int64()+fee != rewards || fee != rewards/1000*15 {
		t.Errorf("credited %d, fee %d of %d", total, fee, rewards)
	}
	owed := map[int64]int64{}
	for _, miner := range ids {
		if owed[miner], _, err = books.MinerBalance(ctx, miner); err != nil {
			t.Fatal(err)
		}
	}
	result, err := payer.Pay(ctx)
	if err != nil || result.Sent != 3 || result.Miners != 7 {
		t.Fatalf("%+v, %v", result, err)
	}
	pool.mine(6, stranger, miners)
	if result, err = payer.Pay(ctx); err != nil || result.Confirmed != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	for i, to := range addresses {
		got, transactions := miners.Received(to)
		balance, reserved, err := books.MinerBalance(ctx, ids[i])
		if err != nil || got != owed[ids[i]] || got == 0 || transactions != 1 || balance != 0 || reserved != 0 {
			t.Errorf("miner %d: %d satoshis in %d transactions; the books owed %d and owe %d, %d are reserved, %v", i, got, transactions, owed[ids[i]], balance, reserved, err)
		}
	}
	audit, err := auditor.Audit(ctx)
	if err != nil || !audit.Clean || audit.Wallet.Coverage != settle.Covered || audit.Wallet.Owed != 0 {
		t.Errorf("%+v, %v", audit, err)
	}
	// What the wallet has left is what the books say is the pool's.
	if left := audit.Wallet.Spendable + audit.Wallet.Unconfirmed; left != audit.Totals.Fee+audit.Totals.Unclaimed {
		t.Errorf("the wallet has %d satoshis left, the books say %d", left, audit.Totals.Fee+audit.Totals.Unclaimed)
	}
	if sum, count, err := books.SubsidySum(ctx, id, time.Unix(0, 0), time.Now().Add(24*time.Hour)); err != nil || count < 100 || sum < count*25*coin {
		t.Errorf("%d blocks, %d satoshis, %v", count, sum, err)
	}

	// A reorganisation on the real chain: a block of the pool and its round go.
	t.Run("reorganisation", func(t *testing.T) {
		pool.mine(1, address, miners)
		writeShare(t, e.store, id, ids[0], 200, time.Now(), 5)
		look()
		var best string
		pool.Call("getbestblockhash", &best)
		pool.Call("invalidateblock", nil, best)
		pool.Call("generatetoaddress", nil, 4, stranger)
		if p := look(); p.Left != 1 || p.Orphaned != 1 {
			t.Errorf("%+v", p)
		}
		audit, err := auditor.Audit(ctx)
		if err != nil || !audit.Clean {
			t.Errorf("%v, %v", fmt.Sprint(audit), err)
		}
	})
}

// A conflict on the real chain is seen, and the payment made again.
func TestARealPaymentThatLosesItsCoinsToAnotherChainIsMadeAgain(t *testing.T) {
	h := newCrashHouse(t)
	c := h.newCase(t)
	c.owe(5 * coin)
	r, err := newRealPool(c.plan, h.e.store, h.pool.Client, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The pool's own copy of its wallet, on a node that does not hear of the payment.
	file := h.pool.Dir + "/copy.dat"
	h.pool.Call("backupwallet", nil, file)
	h.pool.Call("setnetworkactive", nil, false)
	h.miners.Call("setnetworkactive", nil, false)
	if _, err := r.payer.Pay(t.Context()); err != nil {
		t.Fatal(err)
	}
	// On the other node everything that the wallet has goes elsewhere.
	other := startLitecoind(t)
	other.dirWallet(file)
	h.miners.Call("setnetworkactive", nil, true)
	other.Join(h.miners.Node)
	other.Agree(h.miners.Node)
	var balance bbprpc.Amount
	other.Call("getbalance", &balance)
	to := h.miners.Address()
	other.Call("sendtoaddress", nil, to, balance, "", "", true)
	other.mine(4, to, h.miners)
	h.pool.Call("setnetworkactive", nil, true)
	h.pool.Join(h.miners.Node)
	h.pool.Agree(h.miners.Node)
	h.pool.mine(5, h.address, h.miners)
	h.pool.mine(110, h.address, h.miners) // coins again
	if c.recover(h.pool.Client) {
		t.Error("a payment is on hold")
	}
	c.wantPaidOnce(5 * coin)
	if n := ledgertest.Value[int](t, h.e.db, "SELECT attempts FROM payment WHERE network_id = $1", c.plan.NetworkID); n != 2 {
		t.Errorf("%d attempts", n)
	}
}
