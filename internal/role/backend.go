package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/bbprpc/zmq"
	"purepool/internal/config"
	"purepool/internal/control"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
	"purepool/pool/validate"
)

// backend starts what judges shares: for each network a daemon client, the
// follower of its chain and the validator.
func (p *process) backend(ctx context.Context, broker *queue.Broker) error {
	store, err := ledger.OpenBackend(ctx, p.cfg.Database.BackendDSN.Value(), p.ledgerOptions())
	if err != nil {
		return err
	}
	p.stack.closing("backend ledger", store.Close)
	p.registry.MustRegister(store.PoolCollector("backend"))
	p.needs("backend database", store.Ping)
	ids, err := p.networkIDs(ctx, store)
	if err != nil {
		return err
	}
	// Whatever keeps the broker from being set up may end by itself: it is away,
	// or has not chosen its leader yet.
	always := func(error) bool { return true }
	err = p.retry(ctx, "broker", always, func(ctx context.Context) error { return broker.Provision(ctx, p.networks()...) })
	if err != nil {
		return err
	}

	if err := p.provisionTemplates(ctx, broker); err != nil {
		return err
	}
	p.stack.run("backlog of the queue", func(ctx context.Context) error { return broker.Watch(ctx, p.networks()...) })

	books := newSettlement(ids, p.log)
	maintenance := newMaintenance(store, books.Wake, p.log)
	networks := make(map[string]served, len(ids))
	for _, name := range p.networks() {
		s, err := p.chainOf(name, ids[name], store, maintenance)
		if err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
		judges := p.validator
		if p.cfg.Network[name].IsTemplate() {
			judges = p.mint
		}
		if err := judges(broker, store, name, ids[name], s); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
		if err := p.hearBlocks(name, s.feed); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
		networks[name] = s
	}
	if err := p.settle(books, networks); err != nil {
		return err
	}
	p.stack.run("maintenance", maintenance.Run)

	if folder, ok := Embedded(&p.cfg.Queue); ok {
		// Nobody else can reach the dead letters of a broker inside this process.
		server, err := control.Listen(folder, broker, broker.DeadLetters(), p.log)
		if err != nil {
			return err
		}
		p.stack.run("control", server.Run)
	}
	return nil
}

// needs adds a part that a backend cannot do without. A process that also faces
// miners must not be taken from them for it: their shares wait in the queue.
func (p *process) needs(name string, check func(context.Context) error) {
	if p.role == config.RoleBackend {
		p.health.Add(name, check)
		return
	}
	p.health.AddOptional(name, check)
}

// chainOf starts a network's daemon client and the follower of its chain.
func (p *process) chainOf(name string, id int16, store *ledger.BackendStore, m *maintenance) (s served, err error) {
	client, err := NewDaemons(p.cfg.Network[name], p.log, prometheus.WrapRegistererWith(prometheus.Labels{"network": name}, p.registry))
	if err != nil {
		return s, err
	}
	p.stack.closing("daemons of "+name, func() error { client.Close(); return nil })
	p.stack.run("daemon watch of "+name, client.Run)
	p.needs("daemon of "+name, func(context.Context) error { return anyUp(client.Status()) })

	feed := tip.NewFeed(name, p.log, p.registry)
	follower := tip.NewFollower(tip.Config{
		Network: name, Interval: p.cfg.Backend.TipPollInterval, Keep: p.cfg.Backend.KeepTips,
		Slack: tip.Slack{Seen: p.cfg.Backend.ArrivalGrace},
		// Whoever has told of the tip first, the chain is read once the follower has
		// seen it itself.
		OnTip:  func(_ context.Context, t tip.Tip) { feed.Confirm(t.Hash); m.Wake(name) },
		Logger: p.log, Registerer: p.registry,
	}, p.tipSource(name, client), validate.NewTipStore(store, id))
	m.follow(id, follower)
	feed.Listen(follower.Notify)
	p.stack.run("tip of "+name, follower.Run)
	return served{client, follower, feed}, nil
}

// hearBlocks subscribes to the daemons of a network that publish their blocks.
func (p *process) hearBlocks(name string, feed *tip.Feed) error {
	r := prometheus.WrapRegistererWith(prometheus.Labels{"network": name}, p.registry)
	for _, d := range p.cfg.Network[name].Daemon {
		for _, address := range d.ZMQHashBlock {
			publisher := feed.Publisher(address)
			s, err := zmq.New(zmq.Config{
				Address: address, OnBlock: func(tip chain.Hash) { publisher.Tell(tip.Display()) }, OnGap: publisher.Gap,
				Logger: p.log, Registerer: r,
			})
			if err != nil {
				return err
			}
			p.stack.run("blocks that "+address+" publishes", s.Run)
		}
	}
	return nil
}

func endpoints(n *config.Network) []bbprpc.Endpoint {
	all := make([]bbprpc.Endpoint, len(n.Daemon))
	for i, d := range n.Daemon {
		all[i] = bbprpc.Endpoint{URL: d.URL, User: d.User, Password: d.Password.Value(), CookieFile: string(d.CookieFile)}
	}
	return all
}

// anyUp says why no daemon answers, and nothing where one does.
func anyUp(all []bbprpc.Status) error {
	var errs []error
	for _, s := range all {
		if s.Up {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.Endpoint, s.Err))
	}
	return errors.Join(errs...)
}

func (p *process) validator(broker *queue.Broker, store *ledger.BackendStore, name string, id int16, s served) error {
	b := &p.cfg.Backend
	v, err := validate.New(validate.Config{
		Network: name, NetworkID: id, Rules: classicRules(p.cfg, name),
		Parallel: b.ValidatorParallelism, Batch: b.BatchShares, Tries: b.DeadLetterAfter, NonceSlack: b.NonceSlack,
		MinWait: b.RetryMin, MaxWait: b.RetryMax, Logger: p.log, Registerer: p.registry,
	}, store, validate.NewRPC(s.daemons), s.follower, broker.DeadLetters())
	if err != nil {
		return err
	}
	p.stack.run("validator of "+name, func(ctx context.Context) error {
		return judge(ctx, b.DrainTimeout, broker, name, b.ValidatorParallelism, v)
	})
	return nil
}

// classicRules is what a classic network asks of its shares.
func classicRules(cfg *config.Config, name string) validate.Rules {
	n := cfg.Network[name]
	params, _ := n.ChainOf(name) // the configuration was checked
	easiest := n.EasiestHashTarget
	if easiest == (config.Target{}) {
		easiest = n.HashTarget
	}
	return validate.Rules{
		Chain: params, PoolAddress: n.PoolAddress, EasiestTarget: pow.Target(easiest),
		WorkLifetime: cfg.Frontend.WorkLifetime, MinPoolPercent: int64(n.MinPoolPercent),
	}
}

// inFlight is how many envelopes are fetched for each batch that is judged at a
// time. Shares that came one by one, as in a quiet pool that then lost its
// daemon for a while, lie alone in their envelopes: a batch must gather many.
const inFlight = 32

// judging is a validator.
type judging interface {
	Run(ctx context.Context, deliveries <-chan *queue.Delivery) error
}

// judge feeds the validator until ctx ends. What it has in hand then it may
// finish for the drain time; the rest goes back to the queue.
func judge(ctx context.Context, drain time.Duration, broker *queue.Broker, name string, parallel int, v judging) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	deliveries, err := queue.Subscribe(ctx, broker, name, queue.SubscribeConfig{InFlight: inFlight * parallel})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(drain, cancel)
		context.AfterFunc(hard, func() { timer.Stop() })
	})
	defer stop()
	err = v.Run(hard, deliveries)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// maintenance makes the ledger's partitions ahead; what is too old is dropped by
// a job.
type maintenance struct {
	store     *ledger.BackendStore
	followers map[int16]*tip.Follower
	grown     func(network string) // told of new tips too
	log       *slog.Logger
	wake      chan struct{} // capacity 1
}

// Times between two runs: partitions are made days and thousands of blocks ahead.
const (
	partitionsEvery = 10 * time.Minute
	// notSoonerThan is the least time between two runs that new blocks ask for.
	notSoonerThan = 5 * time.Second
)

func newMaintenance(store *ledger.BackendStore, grown func(network string), log *slog.Logger) *maintenance {
	return &maintenance{store: store, followers: make(map[int16]*tip.Follower), grown: grown, log: log, wake: make(chan struct{}, 1)}
}

// follow adds a network, before Run.
func (m *maintenance) follow(id int16, f *tip.Follower) { m.followers[id] = f }

// Wake asks for a run, because a network's chain has grown. Safe for concurrent
// access.
func (m *maintenance) Wake(network string) {
	m.grown(network)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Failures are told and tried again at the next turn.
func (m *maintenance) Run(ctx context.Context) error {
	for {
		m.partitions(ctx)
		timer := time.NewTimer(partitionsEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			continue
		case <-m.wake:
		}
		timer.Reset(notSoonerThan)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (m *maintenance) partitions(ctx context.Context) {
	heights := make(map[int16]int32, len(m.followers))
	for id, f := range m.followers {
		if t, ok := f.Tip(); ok {
			heights[id] = t.Height
		}
	}
	if err := m.store.EnsurePartitions(ctx, time.Now(), heights); err != nil && ctx.Err() == nil {
		m.log.Error("partitions could not be made ahead", slog.Any("error", err))
	}
}
