// Package template mines a real chain through the whole pool: litecoind nodes,
// Postgres, a broker, Stratum ports and simulated miners, the pool's rooms put
// together in the test's own process.
package template_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/bbprpc/zmq"
	"purepool/internal/testkit"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/jobs"
	"purepool/pool/queue"
	"purepool/pool/queue/queuetest"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/pool/vardiff"
	sim "purepool/sim/stratum"
	"purepool/stratum"
	program "purepool/test/house"
)

const network = "regtest"

// minerAddress is nobody's: miners need no key to mine.
const minerAddress = "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E"

// house is a pool of one backend and some frontends.
type house struct {
	t      *testing.T
	db     *ledgertest.DB
	sql    *sqlx.DB
	broker *queuetest.NATS
	id     int16
	dir    string
	log    *slog.Logger
	drain  time.Duration // over which the frontends that are opened next send miners away
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := ledgertest.New(t)
	h := &house{t: t, db: db, sql: db.SQL("postgres"), broker: queuetest.NewNATS(t, queuetest.NATSOption{}), dir: t.TempDir(), drain: 100 * time.Millisecond}
	var out io.Writer = io.Discard
	if os.Getenv("PUREPOOL_TEST_LOG") != "" {
		out = os.Stderr
	}
	h.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ids, err := db.Backend().Networks(t.Context())
	must(t, err)
	h.id = ids[network]
	return h
}

// running is a set of services that end together.
type running struct {
	t    *testing.T
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	ends []func()
}

func (h *house) running() *running {
	ctx, cancel := context.WithCancel(context.Background())
	return &running{t: h.t, ctx: ctx, stop: cancel}
}

func (r *running) run(name string, f func(context.Context) error) {
	r.wg.Go(func() {
		if err := f(r.ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.t.Errorf("%s: %v", name, err)
		}
	})
}

func (r *running) end() {
	r.stop()
	r.wg.Wait()
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
	r.ends = nil
}

// backend is the backend of one template network.
type backend struct {
	*running
	maker     *jobs.Maker
	submitter *jobs.Submitter
	keeper    *jobs.Keeper
	feed      *tip.Feed
	registry  *prometheus.Registry
	client    *bbprpc.Client
	store     *ledger.BackendStore
}

// knowing says how a backend learns of new blocks.
type knowing struct {
	poll       time.Duration // 0: 200 ms
	refresh    time.Duration // 0: 30 s
	maxStale   time.Duration // 0: 1 min
	maxMoved   time.Duration // 0: 10 s
	noLongPoll bool
}

// withoutLongPoll is a daemon that has no long polling.
type withoutLongPoll struct{ *bbprpc.Client }

func (d withoutLongPoll) BlockTemplate(ctx context.Context, rules []string) (bbprpc.BlockTemplate, error) {
	t, err := d.Client.BlockTemplate(ctx, rules)
	t.LongPollID = ""
	return t, err
}

// openBackend puts a backend up that pays address.
func (h *house) openBackend(address string, daemons ...*litecoind) *backend {
	h.t.Helper()
	return h.openBackendThat(knowing{}, address, daemons...)
}

func (h *house) openBackendThat(how knowing, address string, daemons ...*litecoind) *backend {
	h.t.Helper()
	if how.poll == 0 {
		how.poll = 200 * time.Millisecond
	}
	t := h.t
	b := &backend{running: h.running(), registry: prometheus.NewRegistry()}
	var endpoints []bbprpc.Endpoint
	for _, d := range daemons {
		endpoints = append(endpoints, d.Endpoint())
	}
	var err error
	b.client, err = bbprpc.New(bbprpc.Config{Endpoints: endpoints, Timeout: 3 * time.Second, Logger: h.log, Registerer: b.registry})
	must(t, err)
	b.ends = append(b.ends, b.client.Close)
	b.run("daemons", b.client.Run)
	b.store, err = ledger.OpenBackend(t.Context(), h.db.BackendDSN(), ledger.Options{})
	must(t, err)
	b.ends = append(b.ends, func() { must(t, b.store.Close()) })
	broker, err := queue.Open(t.Context(), queue.Config{URL: h.broker.BackendURL(), Name: "backend", Logger: h.log})
	must(t, err)
	b.ends = append(b.ends, func() { must(t, broker.Close()) })
	must(t, broker.Provision(t.Context(), network))
	must(t, broker.ProvisionTemplate(t.Context(), network))

	b.feed = tip.NewFeed(network, h.log, b.registry)
	follower := tip.NewFollower(tip.Config{
		Network: network, Interval: min(how.poll, 100*time.Millisecond), Logger: h.log,
		OnTip: func(_ context.Context, t tip.Tip) { b.feed.Confirm(t.Hash) },
	}, validate.NewTemplateRPC(b.client), validate.NewTipStore(b.store, h.id))
	b.feed.Listen(follower.Notify)
	b.run("tip", follower.Run)

	b.keeper, err = jobs.NewKeeper(network, h.id, b.store, filepath.Join(h.dir, "jobs"), h.log)
	must(t, err)
	b.run("keeper", b.keeper.Run)
	var all []jobs.Daemon
	for _, d := range b.client.Daemons() {
		if how.noLongPoll {
			all = append(all, withoutLongPoll{d})
			continue
		}
		all = append(all, d)
	}
	b.maker, err = jobs.NewMaker(jobs.Config{
		Plan: jobs.Plan{
			Network: network, Algorithm: "scrypt", Chain: chain.LitecoinRegtest(), PoolAddress: address, Tag: "/purepool/", BindTargets: true,
		},
		Rules: []string{"mweb", "segwit"}, Poll: how.poll, Refresh: how.refresh, MaxStale: how.maxStale, MaxMoved: how.maxMoved, Tell: 500 * time.Millisecond,
		OnTip: b.feed.Tell, Logger: h.log, Registerer: b.registry,
	}, all, b.keeper, broker, jobs.LeadOf(b.store, h.id))
	must(t, err)
	b.feed.Listen(b.maker.Notify)
	b.run("maker", b.maker.Run)
	for _, d := range daemons {
		if d.publisher == nil {
			continue
		}
		publisher := b.feed.Publisher(d.publisher.Address)
		ear, err := zmq.New(zmq.Config{
			Address: d.publisher.Address, OnBlock: func(h chain.Hash) { publisher.Tell(h.Display()) }, OnGap: publisher.Gap,
			Logger: h.log, Registerer: b.registry,
		})
		must(t, err)
		b.run("publisher", ear.Run)
	}
	var v *validate.Template
	open := make(chan struct{}) // when v is there
	late := func(ctx context.Context, share *job.Share) error {
		select {
		case <-open:
			return v.Late(ctx, share)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.submitter, err = jobs.NewSubmitter(jobs.SubmitConfig{
		Network: network, NetworkID: h.id, Dir: h.dir, Late: late, OnAccepted: func() { b.feed.Tell(tip.SourceOwn) }, Logger: h.log, Registerer: b.registry, Timeout: 5 * time.Second,
	}, b.keeper, b.client, b.store)
	must(t, err)
	b.ends = append(b.ends, func() { must(t, b.submitter.Close()) })
	b.run("blocks", func(ctx context.Context) error { return broker.ConsumeBlocks(ctx, network, b.submitter.Message) })
	anything := job.BitsOf("scrypt", job.MinDifficulty)
	v, err = validate.NewTemplate(validate.TemplateConfig{Config: validate.Config{
		Network: network, NetworkID: h.id, Rules: validate.Rules{EasiestTarget: anything.Target()},
		MaxWait: time.Second, Logger: h.log, Registerer: b.registry,
	}}, b.store, b.keeper, b.submitter, follower, broker.DeadLetters())
	must(t, err)
	close(open)
	b.run("validator", func(ctx context.Context) error {
		deliveries, err := queue.Subscribe(ctx, broker, network, queue.SubscribeConfig{})
		if err != nil {
			return err
		}
		return v.Run(context.WithoutCancel(ctx), deliveries)
	})
	t.Cleanup(b.end)
	return b
}

// frontend is a frontend with one Stratum port.
type frontend struct {
	*running
	desk *pool.TemplateDesk
	addr string
}

type door struct{ desk *pool.TemplateDesk }

func (d door) Admit(ctx context.Context, a stratum.Arrival) (stratum.Admission, error) {
	id, err := d.desk.Admit(ctx, pool.TemplateArrival{Address: a.Address, Worker: a.Worker, RemoteIP: a.RemoteIP})
	return stratum.Admission{Worker: id}, err
}

// openFrontend puts a frontend up. through, where given, stands between its port
// and its desk.
func (h *house) openFrontend(number uint16, through ...func(*pool.TemplateDesk) stratum.ShareSink) *frontend {
	h.t.Helper()
	t := h.t
	f := &frontend{running: h.running()}
	store, err := ledger.OpenFrontend(t.Context(), h.db.FrontendDSN(), ledger.Options{})
	must(t, err)
	f.ends = append(f.ends, func() { must(t, store.Close()) })
	broker, err := queue.Open(t.Context(), queue.Config{URL: h.broker.FrontendURL(), Name: fmt.Sprintf("frontend f%d", number), Logger: h.log})
	must(t, err)
	f.ends = append(f.ends, func() { must(t, broker.Close()) })
	publisher, err := queue.NewPublisher(broker, queue.PublisherConfig{
		Networks: []string{network}, SpoolDir: filepath.Join(h.dir, fmt.Sprintf("spool%d", number)),
	})
	must(t, err)
	publishing, stopPublisher := context.WithCancel(context.Background())
	published := make(chan error, 1)
	go func() { published <- publisher.Run(publishing) }()
	f.ends = append(f.ends, func() { stopPublisher(); must(t, <-published) })
	f.desk, err = pool.NewTemplateDesk(pool.TemplateConfig{
		Frontend: fmt.Sprintf("f%d", number), Silence: 5 * time.Second, Logger: h.log,
		Network: pool.TemplateNetwork{Name: network, ID: h.id, Chain: chain.LitecoinRegtest(), Algorithm: "scrypt"},
	}, store, publisher, broker)
	must(t, err)
	f.ends = append(f.ends, f.desk.Close)
	must(t, f.desk.Recover(t.Context()))
	f.run("desk", f.desk.Run)
	testkit.Eventually(t, "a job is heard", 30*time.Second, func() bool { return f.desk.Ready(t.Context()) == nil })
	var sink stratum.ShareSink = f.desk
	for _, wrap := range through {
		sink = wrap(f.desk)
	}
	server, err := stratum.New(stratum.Config{
		Frontend: number, SessionKey: fmt.Appendf(nil, "the key of frontend %d", number), DrainTime: h.drain, Logger: h.log,
		Networks: []stratum.Network{{
			Name: network, Chain: chain.LitecoinRegtest(), Algorithm: "scrypt", Jobs: f.desk, Sink: sink, Door: door{f.desk},
		}},
		Ports: []stratum.Port{{
			Name: "p", Address: "127.0.0.1:0", Network: network, Dialect: stratum.Template, StartDifficulty: 1e-5,
			Vardiff: vardiff.Config{Min: 1e-9, Max: 1},
		}},
	})
	must(t, err)
	f.addr = server.Addr("p").String()
	f.run("stratum", server.Run)
	t.Cleanup(f.end)
	return f
}

// miners mine at a port until the returned function is called, which returns
// what they have seen.
func (h *house) miners(opt sim.Options) (stop func() sim.Snapshot) {
	h.t.Helper()
	opt.Algorithm = "scrypt"
	if opt.Worker == "" {
		opt.Worker = minerAddress + ".rig"
	}
	opt.Pause = 100 * time.Millisecond
	return program.StartMiner(h.t, opt)
}

// count asks the ledger for one number.
func (h *house) count(query string, args ...any) int64 {
	h.t.Helper()
	return ledgertest.Value[int64](h.t, h.db, query, args...)
}

// submissions are the blocks that the pool has submitted, by result.
func (h *house) submissions() map[string]int64 {
	h.t.Helper()
	var rows []struct {
		Result string
		N      int64
	}
	must(h.t, h.sql.SelectContext(h.t.Context(), &rows, `SELECT result, count(*) AS n FROM block_submission GROUP BY result`))
	all := make(map[string]int64)
	for _, r := range rows {
		all[r.Result] = r.N
	}
	return all
}
