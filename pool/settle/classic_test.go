package settle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/settle"
	"purepool/sim/daemon"
)

// classicBlock builds a block on the tip of a simulated daemon, as a classic
// client does, and returns its proof.
func classicBlock(t *testing.T, d *daemon.Daemon, to string, guid uuid.UUID, value int64) (raw []byte, height int64, proof [32]byte) {
	t.Helper()
	template := d.Chain().Template()
	address, err := chain.DecodeAddress(to, chain.BiblePayRegtest())
	if err != nil {
		t.Fatal(err)
	}
	target, err := pow.TargetFromCompact(template.Bits)
	if err != nil {
		t.Fatal(err)
	}
	hasher := pow.X11().NewHasher()
	for nonce := uint32(0); ; nonce++ {
		coinbase := chain.NewCoinbase(template.Height, []byte{1}, chain.PayTo(address, value, chain.ClassicMessage("1.1.3.8", guid.String())))
		block := chain.NewBlock(chain.Header{
			Version: 0x20000000, Prev: template.PrevHash, Time: uint32(template.Time), Bits: template.Bits, Nonce: nonce,
		}, coinbase)
		header := block.Header.Bytes()
		proof = daemon.BibleHash(daemon.HashInput{
			BlockHash: hasher.Hash(header[:]), BlockTime: template.Time, PrevBlockTime: template.PrevTime, PrevHeight: template.Height - 1, Nonce: nonce,
		})
		if target.MetBy(proof) {
			return block.Encode(), template.Height, proof
		}
	}
}

func TestClassicBlocksAreFollowedAndPaid(t *testing.T) {
	d, stop, err := daemon.Start(daemon.Options{Bits: 0x207fffff, History: 20, Maturity: 3, Funds: coin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	user, password := d.Credentials()
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: d.URL(), User: user, Password: password}}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t)
	ctx, books := t.Context(), e.store.Books()
	networks, err := e.store.Networks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := networks["regtest"]
	source, proof := settle.NewClassicSource(client, d.PoolAddress()), settle.ClassicProof(client)
	watcher := settle.NewWatcher(settle.WatcherOptions{Network: "regtest", NetworkID: id, Proof: proof}, source, books)
	settler, err := settle.NewSettler(settle.SettlerOptions{Network: "regtest", NetworkID: id, Grace: -1, CloseDepth: 1, Confirmations: 4, Proof: proof}, source, books)
	if err != nil {
		t.Fatal(err)
	}
	payer := settle.NewPayer(settle.PayerOptions{
		Network: "regtest", NetworkID: id, Chain: chain.BiblePayRegtest(), MinInterval: -1, ConfirmDepth: 2, AbsentDelay: -1, AbsentBlocks: -1,
		RetryMin: time.Nanosecond, RetryMax: time.Nanosecond,
	}, client, books)
	look := func() settle.Progress {
		t.Helper()
		p, err := watcher.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	look()
	to := chain.NewAddress(chain.PubKeyHash, [20]byte{7}, chain.BiblePayRegtest()).String()
	anna, err := e.front.EnsureWorker(ctx, id, to, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	// A value with satoshis: exec subsidy says whole coins, the wallet knows.
	raw, height, shareProof := classicBlock(t, d, d.PoolAddress(), anna.Miner.GUID, 5491*coin+123_456)
	if reason, err := d.Chain().Submit(raw); reason != "" || err != nil {
		t.Fatal(reason, err)
	}
	share, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	arrived := time.Now().Truncate(time.Microsecond)
	_, err = e.store.WriteVerdicts(ctx, id, []ledger.Verdict{{
		ShareID: share, ReceivedAt: arrived, WorkID: share, WorkerID: anna.ID, MinerID: anna.Miner.ID,
		Height: int32(height) - 1, Proof: shareProof, HasProof: true, Weight: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if p := look(); p.Ours != 1 {
		t.Fatalf("%+v", p)
	}
	// Whoever found a block, its target is written down: pages tell the network's difficulty.
	var hashes []int
	if err := e.super.Select(&hashes, `SELECT hashes FROM chain_block ORDER BY height DESC LIMIT 2`); err != nil || !slices.Equal(hashes, []int{2, 2}) {
		t.Errorf("hashes of the newest blocks: %v, %v", hashes, err)
	}
	blocks, err := books.PoolBlocks(ctx, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := blocks[0]
	if b.Reward != 5491*coin+123_456 || b.FinderID != anna.Miner.ID || b.FinderGUID != anna.Miner.GUID || b.ShareID != share ||
		!b.FoundAt.Equal(arrived) || b.Hashes.Int64() != 2 {
		t.Errorf("%+v", b)
	}
	// A block of somebody else who names our miner is not ours.
	raw, _, _ = classicBlock(t, d, to, anna.Miner.GUID, 5492*coin)
	if reason, err := d.Chain().Submit(raw); reason != "" || err != nil {
		t.Fatal(reason, err)
	}
	for range 3 {
		d.MineStranger()
	}
	if p := look(); p.Ours != 0 || p.Added != 4 {
		t.Errorf("%+v", p)
	}
	if _, err := settler.CloseRounds(ctx); err != nil {
		t.Fatal(err)
	}
	if done, err := settler.ShareOutAll(ctx); err != nil || len(done) != 1 || done[0].Credits[0].Amount != b.Reward {
		t.Fatalf("%+v, %v", done, err)
	}

	// The simulated wallet of the Dash family, with the line cut in its answer.
	if err := d.SetFaults(daemon.Fault{Kind: daemon.FaultCut, Method: "sendmany"}); err != nil {
		t.Fatal(err)
	}
	if _, err := payer.Pay(ctx); err == nil {
		t.Error("no error while the line is cut")
	}
	if err := d.SetFaults(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := client.BlockCount(ctx); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if _, err := payer.Pay(ctx); err != nil {
			t.Error(err)
		}
		d.MineStranger()
		d.MineStranger()
	}
	if n := ledgertest.Value[string](t, e.db, "SELECT string_agg(state, ' ') FROM payment"); n != ledger.PaymentConfirmed {
		t.Errorf("the payment is %s", n)
	}
	entries, err := client.WalletEntries(ctx, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, entry := range entries {
		if entry.Category == "send" {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("the wallet has sent %d times", sent)
	}
	// A reorganisation of the simulated chain.
	look()
	d.Chain().Reorg(5)
	if p := look(); p.Left < 5 {
		t.Errorf("%+v", p)
	}
	audit, err := settle.NewAuditor("regtest", id, books, client, ledger.AuditOptions{}, nil).Audit(ctx)
	if err != nil || !audit.Clean {
		t.Errorf("%+v, %v", audit, err)
	}
}
