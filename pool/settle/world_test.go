package settle_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

const coin = int64(chain.Coin)

// world is a pool in small: real books on a real Postgres, and a chain and a
// wallet that do as a test says.
type world struct {
	*env
	t      testing.TB
	books  *ledger.Books
	net    int16
	name   string
	chain  *testChain
	wallet *testWallet
	now    time.Time // the clock of everything but the database
	miners map[string]ledger.Worker
	shares uint64

	watcher *settle.Watcher
	settler *settle.Settler
	payer   *settle.Payer
	auditor *settle.Auditor
}

// env is a database with one set of connections.
type env struct {
	db    *ledgertest.DB
	store *ledger.BackendStore
	front *ledger.FrontendStore
	super *sqlx.DB // looks behind the stores
}

func newEnv(t testing.TB) *env {
	t.Helper()
	db := ledgertest.New(t)
	return &env{db: db, store: db.Backend(), front: db.Frontend(), super: db.SQL(pgcluster.Superuser)}
}

type worldOptions struct {
	settler settle.SettlerOptions
	payer   settle.PayerOptions
	watcher settle.WatcherOptions
}

// newWorld makes a world on the network main. Its clock is a little ahead of the
// database's, so that what the database has just written is past.
func newWorld(t testing.TB, opts worldOptions) *world {
	t.Helper()
	return newWorldOn(t, newEnv(t), "main", opts)
}

func newWorldOn(t testing.TB, e *env, network string, opts worldOptions) *world {
	t.Helper()
	w := &world{
		env: e, t: t, name: network, miners: map[string]ledger.Worker{},
		now: time.Now().UTC().Add(time.Minute).Truncate(time.Second),
	}
	w.books = w.store.Books()
	networks, err := w.store.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.net = networks[network]
	w.chain = newTestChain(func() time.Time { return w.now })
	w.wallet = &testWallet{chain: w.chain, paid: map[string]int64{}}
	w.build(opts)
	w.look()
	return w
}

func (w *world) build(opts worldOptions) {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	opts.watcher.Network, opts.watcher.NetworkID, opts.watcher.Now = w.name, w.net, clock
	if opts.watcher.Proof == nil {
		opts.watcher.Proof = settle.BlockHashIsProof
	}
	if opts.watcher.OrphanDepth == 0 {
		opts.watcher.OrphanDepth = 2
	}
	w.watcher = settle.NewWatcher(opts.watcher, w.chain, w.books)
	s := opts.settler
	s.Network, s.NetworkID, s.Now = w.name, w.net, clock
	s.Proof = opts.watcher.Proof
	if s.CloseDepth == 0 {
		s.CloseDepth = 1
	}
	if s.Grace == 0 {
		s.Grace = -1
	}
	if s.Confirmations == 0 {
		s.Confirmations = 3
	}
	var err error
	if w.settler, err = settle.NewSettler(s, w.chain, w.books); err != nil {
		w.t.Fatal(err)
	}
	p := opts.payer
	p.Network, p.NetworkID, p.Now, p.Chain = w.name, w.net, clock, chain.BiblePayMain()
	if p.MinInterval == 0 {
		p.MinInterval = -1
	}
	if p.Threshold == 0 {
		p.Threshold = coin
	}
	if p.ConfirmDepth == 0 {
		p.ConfirmDepth = 2
	}
	if p.AbsentDelay == 0 {
		p.AbsentDelay, p.AbsentBlocks = -1, -1
	}
	w.payer = settle.NewPayer(p, w.wallet, w.books)
	w.auditor = settle.NewAuditor(w.name, w.net, w.books, w.wallet, ledger.AuditOptions{}, nil)
}

// pass lets time go by.
func (w *world) pass(d time.Duration) time.Time {
	w.now = w.now.Add(d)
	return w.now
}

// address makes a valid address of the main network from a name.
func address(name string) string {
	sum := sha256.Sum256([]byte(name))
	return chain.NewAddress(chain.PubKeyHash, [20]byte(sum[:20]), chain.BiblePayMain()).String()
}

// miner returns the id of a miner by name.
func (w *world) miner(name string) int64 {
	w.t.Helper()
	return w.worker(name, address(name)).Miner.ID
}

func (w *world) worker(name, at string) ledger.Worker {
	w.t.Helper()
	if worker, known := w.miners[name]; known {
		return worker
	}
	worker, err := w.front.EnsureWorker(w.t.Context(), w.net, at, "rig", "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.miners[name] = worker
	return worker
}

// verdict is the credit of a share that arrived at a moment.
func (w *world) verdict(name string, at time.Time, weight int64) ledger.Verdict {
	w.t.Helper()
	worker := w.worker(name, address(name))
	w.shares++
	id, err := uuid.NewV7()
	if err != nil {
		w.t.Fatal(err)
	}
	return ledger.Verdict{
		ShareID: id, ReceivedAt: at, WorkID: id, WorkerID: worker.ID, MinerID: worker.Miner.ID,
		Height: int32(w.chain.height()), Proof: sha256.Sum256(binary.BigEndian.AppendUint64([]byte(w.name), w.shares)), HasProof: true, Weight: weight,
	}
}

func (w *world) judge(verdicts ...ledger.Verdict) {
	w.t.Helper()
	if _, err := w.store.WriteVerdicts(w.t.Context(), w.net, verdicts); err != nil {
		w.t.Fatal(err)
	}
}

// share credits one share that arrives now.
func (w *world) share(name string, weight int64) {
	w.t.Helper()
	w.judge(w.verdict(name, w.now, weight))
}

// find lets a miner of the pool find a block: his share is judged, the block is
// on the chain, the watcher has seen it.
func (w *world) find(name string, reward int64) *testBlock {
	w.t.Helper()
	b := w.chain.mine(reward)
	v := w.verdict(name, w.now, 1)
	v.Height, v.Proof = int32(b.Height)-1, b.Hash
	w.judge(v)
	w.look()
	return b
}

func (w *world) look() settle.Progress {
	w.t.Helper()
	p, err := w.watcher.Look(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// strangers lets others find n blocks and the watcher see them.
func (w *world) strangers(n int) {
	w.t.Helper()
	for range n {
		w.chain.mine(0)
	}
	w.look()
}

// settle ends rounds and shares out what is due.
func (w *world) settle() []ledger.ShareOutResult {
	w.t.Helper()
	w.closeRounds()
	done, err := w.settler.ShareOutAll(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

func (w *world) closeRounds() int {
	w.t.Helper()
	n, err := w.settler.CloseRounds(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) pay() settle.PayResult {
	w.t.Helper()
	result, err := w.payer.Pay(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// balance is what a miner has, in satoshis.
func (w *world) balance(name string) int64 {
	w.t.Helper()
	balance, _, err := w.books.MinerBalance(w.t.Context(), w.miner(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return balance
}

func (w *world) wantBalances(want map[string]int64) {
	w.t.Helper()
	for name, amount := range want {
		if got := w.balance(name); got != amount {
			w.t.Errorf("%s has %d satoshis, want %d", name, got, amount)
		}
	}
}

// account is the balance of one of the pool's own accounts.
func (w *world) account(kind string) int64 {
	w.t.Helper()
	return ledgertest.Value[int64](w.t, w.db, `SELECT coalesce(sum(b.amount), 0)::bigint FROM account a JOIN balance b ON b.account_id = a.id
		WHERE a.network_id = $1 AND a.kind = $2`, w.net, kind)
}

// audit proves the books.
func (w *world) audit() settle.Audit {
	w.t.Helper()
	audit, err := w.auditor.Audit(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range audit.Checks {
		if c.Faults > 0 {
			w.t.Fatalf("audit: %s: %d faults, such as: %s", c.Name, c.Faults, c.Detail)
		}
	}
	return audit
}

// credit gives a miner a balance by a block of his own.
func (w *world) credit(name string, amount int64) {
	w.t.Helper()
	w.pass(time.Second)
	w.find(name, amount)
	w.pass(time.Second)
	w.strangers(2)
	w.settle()
}

// testBlock is a block of a test's chain.
type testBlock struct {
	Height int64
	Hash   [32]byte
	Prev   [32]byte
	Time   time.Time
	Reward int64 // to the pool; 0: a stranger's
}

// testChain is a chain with branches. Safe for concurrent use.
type testChain struct {
	now    func() time.Time
	mu     sync.Mutex
	best   []*testBlock
	known  map[[32]byte]*testBlock
	count  uint64
	behind int64 // headers that the daemon has no blocks of
	err    error // every question is answered by it
}

func newTestChain(now func() time.Time) *testChain {
	c := &testChain{now: now, known: map[[32]byte]*testBlock{}}
	for range 100 {
		c.mine(0)
	}
	return c
}

func (c *testChain) height() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.best)) - 1
}

func (c *testChain) mine(reward int64) *testBlock { return c.mineAt(reward, c.now()) }

func (c *testChain) mineAt(reward int64, at time.Time) *testBlock {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	b := &testBlock{Height: int64(len(c.best)), Time: at.Truncate(time.Second), Reward: reward}
	b.Hash = sha256.Sum256(binary.BigEndian.AppendUint64([]byte("block"), c.count))
	if len(c.best) > 0 {
		b.Prev = c.best[len(c.best)-1].Hash
	}
	c.best = append(c.best, b)
	c.known[b.Hash] = b
	return b
}

// cut takes the last n blocks from the best chain, and returns them.
func (c *testChain) cut(n int) []*testBlock {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.best)-1)
	gone := slices.Clone(c.best[len(c.best)-n:])
	c.best = c.best[:len(c.best)-n]
	return gone
}

// put puts blocks that were cut back on the chain they stood on.
func (c *testChain) put(blocks ...*testBlock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.best = append(c.best[:blocks[0].Height], blocks...)
}

func (c *testChain) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *testChain) State(context.Context) (bbprpc.ChainState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tip := c.best[len(c.best)-1]
	return bbprpc.ChainState{Blocks: tip.Height, Headers: tip.Height + c.behind, Best: chain.HashFromDisplay(tip.Hash)}, c.err
}

func (c *testChain) Hashes(_ context.Context, from, to int32) (list []chain.Hash, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := from; h <= to && int(h) < len(c.best); h++ {
		list = append(list, chain.HashFromDisplay(c.best[h].Hash))
	}
	return list, c.err
}

func (c *testChain) Blocks(_ context.Context, at []ledger.ChainPosition) (list []settle.BlockInfo, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range at {
		b := c.known[p.Hash]
		info := settle.BlockInfo{Bits: 0x207fffff, ChainBlock: ledger.ChainBlock{
			Height: int32(b.Height), Hash: b.Hash, Prev: b.Prev, BlockTime: b.Time, Subsidy: 20 * coin,
		}}
		if b.Reward != 0 {
			info.Ours = &ledger.FoundBlock{Reward: max(b.Reward, 0), Hashes: big.NewInt(2)}
		}
		list = append(list, info)
	}
	return list, c.err
}

func (c *testChain) Confirmations(_ context.Context, hash chain.Hash) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.known[hash.Display()]
	switch {
	case b == nil:
		return 0, c.err
	case int(b.Height) >= len(c.best) || c.best[b.Height] != b:
		return -1, c.err
	}
	return int64(len(c.best)) - b.Height, c.err
}

// ours sums the rewards of the pool's blocks on the best chain.
func (c *testChain) ours() (sum int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.best {
		sum += max(b.Reward, 0)
	}
	return sum
}

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

func (w *testWallet) Rebroadcast(context.Context, chain.Hash) error   { return nil }
func (w *testWallet) UnlockWallet(context.Context, string, int) error { return nil }
func (w *testWallet) LockWallet(context.Context) error                { return nil }

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
