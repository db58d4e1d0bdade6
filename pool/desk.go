// Package pool is the front desk: what a pool does for a miner, whatever the
// wire it came by. Who is this miner, what work is there, is this share
// plausible; put it on the queue, answer.
//
// The front desk faces the internet and is trusted by nobody behind it: it can
// write down miners, workers and work, and put shares on the queue, and that is
// all. Every conclusion that matters is drawn again by pool/validate.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
)

// Store is what the front desk needs of the ledger.
type Store interface {
	EnsureWorker(ctx context.Context, networkID int16, address, worker, email string) (ledger.Worker, error)
	InsertWorks(ctx context.Context, works []ledger.Work) error
	IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error)
}

// Queue is what the front desk needs of the queue: Publish returns once the
// share is durable.
type Queue interface {
	Publish(ctx context.Context, network string, share *queue.Share) error
}

// Network is a classic network as the front desk serves it.
type Network struct {
	Name        string
	ID          int16 // the ledger's number of it
	Chain       chain.Network
	PoolAddress string
	HashTarget  pow.Target // of miners without a target of their own
}

// Config holds the front desk's settings. The zero value of a limit means its
// default.
type Config struct {
	Frontend string // identifier of this frontend, written on every share
	Networks []Network

	// WorkLifetime is how long shares are taken for a piece of work (24 h).
	WorkLifetime time.Duration
	// StateTTL is how long what is known of a miner is believed before the ledger
	// is asked again (30 s): the time within which disabling a miner takes effect.
	StateTTL time.Duration
	// StoreTimeout bounds one wait for the ledger (5 s).
	StoreTimeout time.Duration
	// WorksPerMinute is how many pieces of work a worker is given in a minute (60);
	// after that it gets the newest again, so that nobody fills the ledger by
	// asking. Negative is no bound. A real client asks every three minutes.
	WorksPerMinute int
	// Bans are those whom the operator keeps away; nil: nobody.
	Bans *Bans

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // the clock; time.Now
}

// Bounds of the caches, in entries. An entry of the largest is about 200 bytes.
const (
	maxWorkersCached = 1 << 16
	maxWorksCached   = 1 << 17
	maxProofsCached  = 1 << 17
)

// Groups of database calls: with two lanes one group gathers while the other is
// being written.
const (
	groupLanes = 2
	groupSize  = 512
)

// Desk is the front desk. Safe for concurrent use.
type Desk struct {
	cfg      Config
	networks map[string]*Network
	store    Store
	queue    Queue
	metrics  *deskMetrics

	workers  *lru.Cache[workerKey, knownWorker]
	arriving singleflight.Group // one get-or-create per worker at a time
	works    *lru.Cache[uuid.UUID, issuedWork]
	proofs   *lru.Cache[proofKey, struct{}]

	inserts *group[ledger.Work, struct{}]
	lookups *group[workKey, issuedWork]
	stop    context.CancelFunc
}

type workerKey struct {
	network         int16
	address, worker string
}

type workKey struct {
	network int16
	id      uuid.UUID
}

type proofKey struct {
	network int16
	proof   [32]byte
}

// knownWorker is a worker and the moment at which the ledger last spoke of it.
type knownWorker struct {
	ledger.Worker
	checkedAt time.Time
	quota     *workQuota
}

// issuedWork is work and the moment at which the ledger last spoke of it.
type issuedWork struct {
	ledger.IssuedWork
	known     bool // false: the ledger does not know the work
	checkedAt time.Time
}

// NewDesk opens the front desk. Close it when the wires before it are closed.
func NewDesk(cfg Config, store Store, q Queue) (*Desk, error) {
	setDefaults(&cfg)
	d := &Desk{cfg: cfg, store: store, queue: q, networks: make(map[string]*Network, len(cfg.Networks))}
	for i := range cfg.Networks {
		n := &cfg.Networks[i]
		if _, err := chain.DecodeAddress(n.PoolAddress, n.Chain); err != nil {
			return nil, fmt.Errorf("pool address of network %s: %w", n.Name, err)
		}
		d.networks[n.Name] = n
	}
	d.metrics = newDeskMetrics(cfg.Registerer, slices.Sorted(maps.Keys(d.networks))...)
	// lru.New fails for a size below 1 only.
	d.workers, _ = lru.New[workerKey, knownWorker](maxWorkersCached)
	d.works, _ = lru.New[uuid.UUID, issuedWork](maxWorksCached)
	d.proofs, _ = lru.New[proofKey, struct{}](maxProofsCached)

	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	mayBeOne := func(err error) bool { return !ledger.Away(err) }
	d.inserts = newGroup(ctx, groupLanes, groupSize, mayBeOne, d.insertWorks)
	d.lookups = newGroup(ctx, groupLanes, groupSize, mayBeOne, d.lookupWorks)
	return d, nil
}

func setDefaults(cfg *Config) {
	if cfg.WorkLifetime == 0 {
		cfg.WorkLifetime = 24 * time.Hour
	}
	if cfg.StateTTL == 0 {
		cfg.StateTTL = 30 * time.Second
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = 5 * time.Second
	}
	if cfg.WorksPerMinute == 0 {
		cfg.WorksPerMinute = 60
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

// Close ends the front desk; requests under way are refused as Unavailable.
func (d *Desk) Close() {
	d.stop()
	d.inserts.wait()
	d.lookups.wait()
}

// RequestWork grants work that stands in the ledger. An error is a *Refusal.
func (d *Desk) RequestWork(ctx context.Context, r WorkRequest) (WorkGrant, error) {
	grant, err := d.requestWork(ctx, r)
	d.metrics.count(d.label(r.Network), "work", err)
	return grant, err
}

func (d *Desk) requestWork(ctx context.Context, r WorkRequest) (WorkGrant, error) {
	n, ok := d.networks[r.Network]
	if !ok {
		return WorkGrant{}, invalidNetwork()
	}
	if !r.Miner.Present {
		return WorkGrant{}, &Refusal{KindWorkerMissing, "WorkerID is missing"}
	}
	id, ok := parseWorkerID(r.Miner.Value)
	if !ok {
		return WorkGrant{}, &Refusal{KindWorkerInvalid, "WorkerID " + cut(text(r.Miner.Value), 2*maxWorkerName) + " is invalid"}
	}
	if _, err := chain.DecodeAddress(id.Address, n.Chain); err != nil {
		return WorkGrant{}, &Refusal{
			KindWorkerInvalid,
			"WorkerID " + cut(text(r.Miner.Value), 2*maxWorkerName) + " is invalid: " + err.Error(),
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	worker, err := d.worker(ctx, n, id)
	if err != nil {
		return WorkGrant{}, d.unavailable("looking up a worker", err)
	}
	grant, err := d.issue(ctx, n, worker, r)
	if err != nil && !ledger.Away(err) && ctx.Err() == nil {
		// What we believe of the worker may be wrong: its row may have been removed.
		d.workers.Remove(workerKey{n.ID, id.Address, id.Worker})
		if worker, err = d.worker(ctx, n, id); err == nil {
			grant, err = d.issue(ctx, n, worker, r)
		}
	}
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		return WorkGrant{}, d.unavailable("writing work", err)
	}
	return grant, err
}

func (d *Desk) worker(ctx context.Context, n *Network, id workerID) (knownWorker, error) {
	key := workerKey{n.ID, id.Address, id.Worker}
	known, ok := d.workers.Get(key)
	if ok && d.cfg.Now().Sub(known.checkedAt) < d.cfg.StateTTL {
		return known, nil
	}
	quota := known.quota
	if quota == nil {
		quota = &workQuota{}
	}
	flight := n.Name + "/" + id.Address + "/" + id.Worker
	result, err, _ := d.arriving.Do(flight, func() (any, error) {
		// The first of several callers works for all: its leaving must not fail them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.StoreTimeout)
		defer cancel()
		w, err := d.store.EnsureWorker(ctx, n.ID, id.Address, id.Worker, id.Email)
		if err != nil {
			return knownWorker{}, err
		}
		known := knownWorker{w, d.cfg.Now(), quota}
		d.workers.Add(key, known)
		return known, nil
	})
	if err != nil {
		return knownWorker{}, err
	}
	return result.(knownWorker), nil
}

// issue writes one piece of work down and grants it.
func (d *Desk) issue(ctx context.Context, n *Network, w knownWorker, r WorkRequest) (WorkGrant, error) {
	if !w.Miner.Enabled || d.cfg.Bans.GUID(w.Miner.GUID) {
		return WorkGrant{}, disabled(w.Miner.Address)
	}
	target := n.HashTarget
	if w.Miner.HashTarget != nil {
		target = *w.Miner.HashTarget
	}
	now := d.cfg.Now()
	if grant, spent := w.quota.take(now, d.cfg.WorksPerMinute); spent && grant.HashTarget == target.String() {
		d.metrics.reused.WithLabelValues(n.Name).Inc()
		return grant, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return WorkGrant{}, fmt.Errorf("making a work id: %w", err)
	}
	work := ledger.Work{
		ID: id, NetworkID: n.ID, WorkerID: w.ID, HashTarget: target, IssuedAt: now,
		ThreadID: cut(text(r.ThreadID), maxThreadID), OS: cut(text(r.OS), maxOS), Agent: cut(text(r.Agent), maxAgent),
		RemoteIP: r.RemoteIP,
	}
	if _, err := d.inserts.do(ctx, work); err != nil {
		return WorkGrant{}, err
	}
	d.works.Add(id, issuedWork{
		IssuedWork: ledger.IssuedWork{
			ID: id, NetworkID: n.ID, WorkerID: w.ID, MinerID: w.Miner.ID, MinerGUID: w.Miner.GUID,
			MinerEnabled: true, HashTarget: target, IssuedAt: now,
		},
		known: true, checkedAt: now,
	})
	grant := WorkGrant{
		PoolAddress: n.PoolAddress, HashTarget: target.String(),
		MinerGUID: w.Miner.GUID.String(), WorkID: id.String(),
	}
	w.quota.give(grant)
	return grant, nil
}

func (d *Desk) insertWorks(ctx context.Context, works []ledger.Work) ([]struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	d.metrics.groupSize.Observe(float64(len(works)))
	return make([]struct{}, len(works)), d.store.InsertWorks(ctx, works)
}

func (d *Desk) label(network string) string {
	if _, ok := d.networks[network]; ok {
		return network
	}
	return "other"
}

// unavailable is the answer where something behind the desk is away. The miner
// learns that, the operator why.
func (d *Desk) unavailable(doing string, err error) *Refusal {
	d.cfg.Logger.Warn("request could not be served", slog.String("doing", doing), slog.Any("error", err))
	return &Refusal{KindUnavailable, "The pool cannot reach its database, please try again in a minute"}
}

func invalidNetwork() *Refusal { return &Refusal{KindInvalidNetwork, "Invalid network"} }

func disabled(address string) *Refusal {
	return &Refusal{KindMinerDisabled, "Miner " + address + " is disabled"}
}
