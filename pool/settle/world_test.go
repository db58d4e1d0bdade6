package settle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

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
