package settle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/internal/failpoint"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

// childEnv holds a plan in JSON: the process is a backend that carries it out,
// and is killed in the middle of it.
const childEnv = "PUREPOOL_SETTLE_CHILD"

// childPlan is what a child does.
type childPlan struct {
	DSN, URL, Pool string // database, daemon, the pool's address
	Network        string
	NetworkID      int16
	Start          int32 // first block that counts
	Steps          []string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := beChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func beChild(text string) error {
	var plan childPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	fail, err := failpoint.FromEnv()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := ledger.OpenBackend(ctx, plan.DSN, ledger.Options{})
	if err != nil {
		return err
	}
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: plan.URL, User: "pool", Password: "secret"}}, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	r, err := newRealPool(plan, store, client, fail)
	if err != nil {
		return err
	}
	for _, step := range plan.Steps {
		if err := r.do(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// realPool is the whole of settlement on a real daemon.
type realPool struct {
	client  *bbprpc.Client
	pool    string
	watcher *settle.Watcher
	settler *settle.Settler
	payer   *settle.Payer
}

func newRealPool(plan childPlan, store *ledger.BackendStore, client *bbprpc.Client, fail *failpoint.Point) (*realPool, error) {
	books, source := store.Books(), settle.NewTemplateSource(client, plan.Pool)
	r := &realPool{client: client, pool: plan.Pool}
	r.watcher = settle.NewWatcher(settle.WatcherOptions{
		Network: plan.Network, NetworkID: plan.NetworkID, StartHeight: plan.Start, Step: 50, Proof: settle.BlockHashIsProof, Fail: fail,
	}, source, books)
	var err error
	r.settler, err = settle.NewSettler(settle.SettlerOptions{
		Network: plan.Network, NetworkID: plan.NetworkID, CloseDepth: 1, Grace: -1, Confirmations: 101, Fee: 1_500_000,
		Proof: settle.BlockHashIsProof, Fail: fail,
	}, source, books)
	r.payer = settle.NewPayer(settle.PayerOptions{
		Network: plan.Network, NetworkID: plan.NetworkID, Chain: chain.LitecoinRegtest(), Family: bbprpc.FamilyBitcoin,
		Threshold: 100_000, MinInterval: -1, ConfirmDepth: 3, RebroadcastAfter: -1, AbsentDelay: -1, AbsentBlocks: 2, RetryMin: time.Nanosecond, RetryMax: time.Nanosecond, Fail: fail,
		JoinFrom: 2, JoinCoins: 4,
	}, client, books)
	return r, err
}

func (r *realPool) do(ctx context.Context, step string) (err error) {
	switch step {
	case "look":
		_, err = r.watcher.Look(ctx)
	case "close":
		_, err = r.settler.CloseRounds(ctx)
	case "share out":
		_, err = r.settler.ShareOutAll(ctx)
	case "pay":
		_, err = r.payer.Pay(ctx)
	case "join":
		_, err = r.payer.Consolidate(ctx, settle.ConsolidateOptions{})
	case "mine":
		err = r.client.Do(ctx, bbprpc.NewCall("generatetoaddress", nil, 3, r.pool))
	default:
		err = errors.New("no such step")
	}
	return err
}

// runChild runs a plan in a process of its own; killed says that it died by
// SIGKILL.
func runChild(t *testing.T, plan childPlan, point, trace string) (killed bool) {
	t.Helper()
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), failpoint.Env+"="+point, failpoint.EnvTrace+"="+trace)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

// crashHouse is one database and two daemons for all cases; each case has a
// network of its own in the books, and miners of its own.
type crashHouse struct {
	t            *testing.T
	e            *env
	pool, miners *litecoind
	address      string // the pool's
	cases        int
}

func newCrashHouse(t *testing.T) *crashHouse {
	t.Helper()
	h := &crashHouse{t: t, e: newEnv(t)}
	h.pool, h.miners = pair(t)
	h.address = h.pool.Address()
	h.pool.mine(130, h.address, h.miners)
	return h
}

// crashCase is one case.
type crashCase struct {
	*crashHouse
	t         *testing.T
	plan      childPlan
	addresses []string
	ids       []int64
}

func (h *crashHouse) newCase(t *testing.T) *crashCase {
	t.Helper()
	h.cases++
	c := &crashCase{crashHouse: h, t: t}
	name := fmt.Sprintf("case%d", h.cases)
	if err := ledger.Migrate(t.Context(), h.e.db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: name}}}); err != nil {
		t.Fatal(err)
	}
	networks, err := h.e.store.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.plan = childPlan{DSN: h.e.db.BackendDSN(), URL: h.pool.URL, Pool: h.address, Network: name, NetworkID: networks[name]}
	for range 2 {
		address := h.miners.Address()
		worker, err := h.e.front.EnsureWorker(t.Context(), c.plan.NetworkID, address, "rig", "")
		if err != nil {
			t.Fatal(err)
		}
		c.addresses, c.ids = append(c.addresses, address), append(c.ids, worker.Miner.ID)
	}
	return c
}

// owe gives each miner a balance.
func (c *crashCase) owe(amount int64) {
	c.t.Helper()
	for i, id := range c.ids {
		if err := c.e.store.Books().Correct(c.t.Context(), id, amount+int64(i), fmt.Sprint(c.plan.Network, i), operator); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *crashCase) audit() settle.Audit {
	c.t.Helper()
	audit, err := settle.NewAuditor(c.plan.Network, c.plan.NetworkID, c.e.store.Books(), c.pool.Client, ledger.AuditOptions{}, nil).Audit(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, check := range audit.Checks {
		if check.Faults > 0 {
			c.t.Fatalf("audit: %s: %s", check.Name, check.Detail)
		}
	}
	return audit
}

// recover runs the backend's jobs as a new process would, blocks coming
// meanwhile, until nothing is under way; it says whether something is on hold.
func (c *crashCase) recover(client *bbprpc.Client) (held bool) {
	c.t.Helper()
	r, err := newRealPool(c.plan, c.e.store, client, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for range 12 {
		waitUntil(c.t, "the daemon answers", func() bool {
			_, err := client.BlockCount(c.t.Context()) // a client leaves a daemon alone for a moment that was away
			return err == nil
		})
		if _, err := r.payer.Pay(c.t.Context()); err != nil {
			c.t.Logf("a run of the payer: %v", err)
		}
		c.audit()
		open, err := c.e.store.Books().UnfinishedPayments(c.t.Context(), c.plan.NetworkID)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(open) == 0 {
			return false
		}
		c.pool.mine(1, c.address, c.miners)
	}
	return true
}

// wantPaidOnce checks what the miners' own wallet has received.
func (c *crashCase) wantPaidOnce(amount int64) {
	c.t.Helper()
	for i, address := range c.addresses {
		got, transactions := c.miners.Received(address)
		fee := ledgertest.Value[int64](c.t, c.e.db, "SELECT coalesce(sum(network_fee), 0)::bigint FROM payment WHERE network_id = $1", c.plan.NetworkID)
		want := amount + int64(i)
		if transactions != 1 || got > want-fee/2+1 || got < want-fee/2-1 {
			c.t.Errorf("miner %d received %d satoshis in %d transactions, want %d less half of the network fee of %d, in one", i, got, transactions, want, fee)
		}
	}
}

// P1: the process is really killed at every step of a payment.
func TestKilledAtAnyStepOfAPaymentEachMinerIsPaidOnce(t *testing.T) {
	h := newCrashHouse(t)
	steps := []string{"pay", "mine", "pay"}
	first := h.newCase(t)
	first.owe(5 * coin)
	first.plan.Steps = steps
	trace := traceFile(t)
	if runChild(t, first.plan, "", trace) {
		t.Fatal("killed without a failpoint")
	}
	first.wantPaidOnce(5 * coin)
	points := readTrace(t, trace)
	for _, must := range []string{"pay.before-plan", "pay.after-begin", "pay.before-wallet", "pay.after-wallet", "pay.after-sent", "pay.after-book", "pay.after-confirm"} {
		if !slices.Contains(points, must) {
			t.Errorf("%s was not passed: %v", must, points)
		}
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			c := h.newCase(t)
			c.owe(5 * coin)
			c.plan.Steps = steps
			if !runChild(t, c.plan, point, "") {
				t.Fatal("the process was not killed")
			}
			c.audit()
			if c.recover(h.pool.Client) {
				t.Error("a payment is on hold")
			}
			c.wantPaidOnce(5 * coin)
		})
	}
}

// P2: whatever becomes of the call and its answer, on a real wallet.
func TestWhateverBecomesOfTheCallEachMinerIsPaidOnce(t *testing.T) {
	h := newCrashHouse(t)
	p := newProxy(t, h.pool)
	for _, mode := range []wire{wireWhole, wireCutAfter, wireCutBefore, wireHang, wireKill, wireRestart} {
		t.Run(string(mode), func(t *testing.T) {
			c := h.newCase(t)
			c.owe(5 * coin)
			p.set(mode)
			client := h.pool.ClientAt(p.URL, 3*time.Second)
			defer client.Close()
			r, err := newRealPool(c.plan, c.e.store, client, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.payer.Pay(t.Context())
			if (err == nil) != (mode == wireWhole) {
				t.Errorf("paying: %v", err)
			}
			c.audit()
			h.miners.Join(h.pool.Node)
			if c.recover(client) {
				t.Error("a payment is on hold")
			}
			c.wantPaidOnce(5 * coin)
		})
	}
}

// P8, P19: the process is really killed at every step from block to credit.
func TestKilledAtAnyStepFromBlockToCreditEachBlockIsCreditedOnce(t *testing.T) {
	h := newCrashHouse(t)
	steps := []string{"look", "close", "share out"}
	prepare := func(t *testing.T) *crashCase {
		c := h.newCase(t)
		c.plan.Steps, c.plan.Start = steps, 26 // five blocks of the pool have 101 confirmations
		for i, id := range c.ids {
			writeShare(t, c.e.store, c.plan.NetworkID, id, 25, time.Now().Add(-24*time.Hour), int64(i)+1)
		}
		c.refuseWinner(28) // and one that came too late, but its block stands
		return c
	}
	first := prepare(t)
	trace := traceFile(t)
	if runChild(t, first.plan, "", trace) {
		t.Fatal("killed without a failpoint")
	}
	want := first.audit().Totals
	first.wantWinner()
	if want.Rewards == 0 || want.Miners+want.Fee+want.Unclaimed != want.Rewards {
		t.Fatalf("%+v", want)
	}
	for _, point := range readTrace(t, trace) {
		t.Run(point, func(t *testing.T) {
			c := prepare(t)
			if !runChild(t, c.plan, point, "") {
				t.Fatal("the process was not killed")
			}
			c.audit()
			for range 2 {
				if runChild(t, c.plan, "", "") {
					t.Fatal("killed without a failpoint")
				}
			}
			if got := c.audit().Totals; got != want {
				t.Errorf("after the crash %+v, without it %+v", got, want)
			}
			c.wantWinner()
		})
	}
	t.Run("within the transaction that credits a stale share", func(t *testing.T) {
		c := prepare(t)
		c.killedWithin()
		if runChild(t, c.plan, "", "") {
			t.Fatal("killed without a failpoint")
		}
		if got := c.audit().Totals; got != want {
			t.Errorf("after the crash %+v, without it %+v", got, want)
		}
		c.wantWinner()
	})
}

// writeShare credits a share of a miner's only worker.
func writeShare(t testing.TB, store *ledger.BackendStore, networkID int16, minerID int64, height int32, at time.Time, weight int64) {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	var proof [32]byte
	copy(proof[:], id[:])
	_, err = store.WriteVerdicts(t.Context(), networkID, []ledger.Verdict{{
		ShareID: id, ReceivedAt: at, WorkID: id, WorkerID: minerID, MinerID: minerID, Height: height, Proof: proof, HasProof: true, Weight: weight,
	}})
	if err != nil {
		t.Fatal(err)
	}
}
