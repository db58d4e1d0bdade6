package recheck_test

import (
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/solution"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/pool/validate/recheck"
	"purepool/sim/daemon"
	"purepool/sim/miner"
)

var easy = func() pow.Target { t := pow.Target{}; t[0] = 0x7f; t[1] = 0xff; return t }()

// house is a pool whose validator has judged shares: a real ledger, and a
// simulated daemon behind JSON-RPC.
type house struct {
	t        *testing.T
	db       *ledgertest.DB
	store    *ledger.BackendStore
	daemon   *daemon.Daemon
	rpc      *validate.RPC
	follower *tip.Follower
	judge    *validate.Validator
	rules    validate.Rules
	id       int16
	digger   *miner.Digger
	work     miner.Work
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, db: ledgertest.New(t)}
	h.store = h.db.Backend()
	ids, err := h.store.Networks(t.Context())
	must(t, err)
	h.id = ids["test"]
	d, stopDaemon, err := daemon.Start(daemon.Options{Network: "test", BaseHeight: 1000, History: 2, Bits: 0x1d00ffff})
	must(t, err)
	h.daemon = d
	user, password := d.Credentials()
	client, err := bbprpc.New(bbprpc.Config{
		Endpoints: []bbprpc.Endpoint{{URL: d.URL(), User: user, Password: password}}, Timeout: 2 * time.Second, Registerer: prometheus.NewRegistry(),
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = client.Run(ctx) })
	h.rpc = validate.NewRPC(client)
	h.follower = tip.NewFollower(tip.Config{Network: "test", Interval: 20 * time.Millisecond}, h.rpc, validate.NewTipStore(h.store, h.id))
	running.Go(func() { _ = h.follower.Run(ctx) })
	broker, err := queue.Open(ctx, queue.Config{URL: "embedded:" + filepath.Join(t.TempDir(), "queue")})
	must(t, err)
	must(t, broker.Provision(ctx, "test"))
	t.Cleanup(func() {
		stop()
		running.Wait()
		client.Close()
		stopDaemon()
		must(t, broker.Close())
	})
	must(t, h.store.EnsurePartitions(ctx, time.Now(), map[int16]int32{h.id: 1000}))
	h.rules = validate.Rules{Chain: chain.BiblePayTest(), PoolAddress: d.PoolAddress(), EasiestTarget: easy}
	h.judge, err = validate.New(validate.Config{Network: "test", NetworkID: h.id, Rules: h.rules}, h.store, h.rpc, h.follower, broker.DeadLetters())
	must(t, err)
	h.newWork()
	return h
}

// newWork is issued to a new miner.
func (h *house) newWork() {
	h.t.Helper()
	var key [20]byte
	copy(key[:], uuid.NewString())
	who := chain.NewAddress(chain.PubKeyHash, key, chain.BiblePayTest())
	pool, err := chain.DecodeAddress(h.daemon.PoolAddress(), chain.BiblePayTest())
	must(h.t, err)
	guid, work := uuid.New(), uuid.New()
	must(h.t, h.store.ImportWork(h.t.Context(), who.String(), guid, "rig", ledger.Work{
		ID: work, NetworkID: h.id, HashTarget: easy, IssuedAt: time.Now(),
	}))
	h.work = miner.Work{PoolAddress: pool, Target: easy, MinerGUID: guid.String(), WorkID: work.String()}
	h.digger = miner.NewDigger(miner.Identity{Address: who, CPID: strings.Repeat("1", 32), Version: "1.1.3.8"}, rand.New(rand.NewPCG(1, rand.Uint64())))
}

// share is mined, and changed by change where that is set.
func (h *house) share(change func(text string) string) *queue.Share {
	h.t.Helper()
	s, err := h.digger.Find(h.t.Context(), miner.InProcess(h.daemon.Chain()), &h.work)
	must(h.t, err)
	text := s.String()
	if change != nil {
		text = change(text)
	}
	return again(h.t, &queue.Share{
		WorkID: uuid.MustParse(h.work.WorkID), MinerID: uuid.MustParse(h.work.MinerGUID), Solution: []byte(text),
	})
}

// again is the same solution in a share of its own.
func again(t *testing.T, s *queue.Share) *queue.Share {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	copied := *s
	copied.ID, copied.ReceivedAt = id, time.Now().UTC().Truncate(time.Microsecond)
	return &copied
}

func (h *house) credit(shares ...*queue.Share) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	must(h.t, h.judge.Judge(ctx, shares))
}

func (h *house) recheck(change func(*recheck.Options)) (recheck.Result, error) {
	h.t.Helper()
	opts := recheck.Options{
		Network: "test", NetworkID: h.id, Rules: h.rules, From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Minute),
	}
	if change != nil {
		change(&opts)
	}
	return recheck.Run(h.t.Context(), opts, judged{h.store, h.store.Books()}, h.rpc, h.follower)
}

type judged struct {
	*ledger.BackendStore
	*ledger.Books
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// otherHash makes a solution's proof wrong.
func otherHash(text string) string {
	s, err := solution.Parse([]byte(text))
	if err != nil {
		return text
	}
	hash := hex.EncodeToString(s.BibleHash[:])
	s.BibleHash[31] ^= 1
	return strings.Replace(text, hash, hex.EncodeToString(s.BibleHash[:]), 1)
}

func TestSecondJudgementAgreesAndFindsWhatWasChanged(t *testing.T) {
	h := newHouse(t)
	first, second := h.share(nil), h.share(nil)
	wrong, copied := h.share(otherHash), again(t, first)
	h.credit(first, second, wrong)
	h.credit(copied)
	h.newWork()
	disabled := h.share(nil)
	super := h.db.SQL(pgcluster.Superuser)
	super.MustExec(`UPDATE miner SET enabled = false WHERE guid = $1`, h.work.MinerGUID)
	h.credit(disabled)
	// A share of another network, and a miner who is disabled only now.
	super.MustExec(`INSERT INTO share_solution SELECT received_at, gen_random_uuid(), 'x' FROM share_solution LIMIT 1`)
	super.MustExec(`INSERT INTO rejected_share (received_at, network_id, id, reason) SELECT received_at, $1, share_id, 'UnknownWork'
		FROM share_solution WHERE solution = 'x'`, 3-h.id)
	super.MustExec(`UPDATE miner SET enabled = false`)
	before := ledgertest.Value[string](t, h.db, `SELECT (SELECT count(*) FROM share) || ' ' || (SELECT count(*) FROM rejected_share)`)

	r, err := h.recheck(nil)
	if err != nil || !r.Clean() || r.Judged != 4 || r.Skipped != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := h.recheck(func(o *recheck.Options) { o.Sample = 2 }); err != nil || r.Judged+r.Skipped > 2 {
		t.Errorf("of a sample of 2: %+v, %v", r, err)
	}
	if r, err := h.recheck(func(o *recheck.Options) { o.Until = time.Now().Add(-time.Hour + time.Second) }); err != nil || r.Judged+r.Skipped > 0 {
		t.Errorf("of another time: %+v, %v", r, err)
	}

	// What changes the ledger behind the pool's back is found, share by share.
	for _, damage := range []struct {
		share         *queue.Share
		sql           string
		ledger, judge string
	}{
		{first, `UPDATE share SET weight = weight * 1000 WHERE id = $1`, "credited", "credited"},
		{second, `UPDATE share SET worker_id = worker_id + 1 WHERE id = $1`, "credited", "credited"},
		{wrong, `UPDATE rejected_share SET reason = 'Illegal_CPID' WHERE id = $1`, "Illegal_CPID", "BibleHashWrong"},
		{wrong, `WITH r AS (DELETE FROM rejected_share WHERE id = $1 RETURNING *)
			INSERT INTO share (received_at, worker_id, miner_id, weight, height, network_id, id, work_id, proof)
			SELECT received_at, worker_id, miner_id, 65536, height, network_id, id, work_id, proof FROM r`, "credited", "BibleHashWrong"},
		{second, `DELETE FROM share WHERE id = $1`, "nothing", "not judged"},
	} {
		saved := super.MustBegin()
		saved.MustExec(damage.sql, damage.share.ID)
		must(t, saved.Commit())
		r, err := h.recheck(nil)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, d := range r.Differences {
			found = found || d.Share == damage.share.ID && d.Ledger == damage.ledger && d.Judge == damage.judge
		}
		if !found || r.Clean() {
			t.Errorf("%s: %+v", damage.sql, r)
		}
	}
	super.MustExec(`DELETE FROM share WHERE id = $1`, wrong.ID)
	after := ledgertest.Value[string](t, h.db, `SELECT (SELECT count(*) FROM share) + 1 || ' ' || (SELECT count(*) FROM rejected_share) + 1`)
	if after != before {
		t.Errorf("the ledger has changed: %s shares and rejections, before %s", after, before)
	}
}

func TestSecondJudgementFollowsTheRulesOfToday(t *testing.T) {
	h := newHouse(t)
	h.credit(h.share(nil))
	r, err := h.recheck(func(o *recheck.Options) { o.Rules.PoolAddress = "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop" })
	if err != nil || r.Differing != 1 || r.Differences[0].Ledger != "credited" || !strings.HasPrefix(r.Differences[0].Judge, "TransactionTampered: ") {
		t.Errorf("with another pool address: %+v, %v", r, err)
	}
}

func TestASilentDaemonIsAnErrorAndNoDifference(t *testing.T) {
	h := newHouse(t)
	h.credit(h.share(nil))
	must(t, h.daemon.SetFaults(daemon.Fault{Kind: daemon.FaultRefuse}))
	r, err := h.recheck(func(o *recheck.Options) { o.Patience = 300 * time.Millisecond })
	if !errors.Is(err, recheck.ErrSilence) || !r.Clean() || r.Judged != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	must(t, h.daemon.SetFaults())
	if r, err = h.recheck(nil); err != nil || r.Judged != 1 || !r.Clean() {
		t.Errorf("once it is back: %+v, %v", r, err)
	}
}
