package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/queue"
)

// TemplateQueue is what the front desk of a template network needs of the
// queue. The shares' own way is a Queue.
type TemplateQueue interface {
	// PublishBlock returns once a winning share is durable, or when ctx ends.
	PublishBlock(ctx context.Context, network string, body []byte) error
	// HearJobs calls hear with every job that is told, until ctx ends.
	HearJobs(ctx context.Context, network string, hear func(body []byte)) error
}

// TemplateNetwork is a template network as the front desk serves it.
type TemplateNetwork struct {
	Name      string
	ID        int16 // the ledger's number of it
	Chain     chain.Network
	Algorithm string
}

// TemplateConfig holds the settings of a template network's front desk. The zero
// value of a limit means its default.
type TemplateConfig struct {
	Frontend string // identifier of this frontend, written on every message
	Network  TemplateNetwork

	// StateTTL is how long what is known of a worker is believed (30 s).
	StateTTL time.Duration
	// StoreTimeout bounds one wait for the ledger (5 s).
	StoreTimeout time.Duration
	// Silence is how long no job may be told until there is nothing worth mining on
	// any more (30 s): the backend tells the current one every few seconds.
	Silence time.Duration
	// WinTimeout is how long a winning share is offered to the broker (30 s). It goes
	// the way of all shares beside.
	WinTimeout time.Duration
	// JobLifetime is how long after its issue shares may come for a job (1 h).
	JobLifetime time.Duration

	Bans *Bans // those whom the operator keeps away; nil: nobody

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// TemplateStore is what the front desk of a template network needs of the ledger.
type TemplateStore interface {
	Store
	// OpenJobs returns the newest jobs of a network issued since, oldest first.
	OpenJobs(ctx context.Context, networkID int16, since time.Time, most int) ([][]byte, error)
}

// TemplateDesk is the front desk of a template network: it lets workers in, hands
// out the jobs that the backend tells, and makes shares durable. It judges
// nothing: the wire before it does, for a quick answer, and the validator behind
// it, for good. Safe for concurrent use.
type TemplateDesk struct {
	cfg    TemplateConfig
	desk   *Desk // for its workers
	store  TemplateStore
	shares Queue
	queue  TemplateQueue
	codec  *job.Codec

	age   prometheus.GaugeFunc
	heard *prometheus.CounterVec
	// checked is the first station of a share's way.
	checked prometheus.Histogram

	mu      sync.Mutex // guards what follows; tellers are called under it, in order
	current *job.Job
	earlier []*job.Job // jobs before it for which shares may still come, oldest first
	heardAt time.Time
	absent  bool // there is nothing worth mining on
	gone    bool // and what current's miners find is worth nothing
	tellers map[int]func(j *job.Job, worthless bool)
	next    int
}

// NewTemplateDesk opens the front desk of a template network. Nothing is heard
// before Run.
func NewTemplateDesk(cfg TemplateConfig, store TemplateStore, shares Queue, q TemplateQueue) (*TemplateDesk, error) {
	def := func(v *time.Duration, fallback time.Duration) {
		if *v == 0 {
			*v = fallback
		}
	}
	def(&cfg.StateTTL, 30*time.Second)
	def(&cfg.StoreTimeout, 5*time.Second)
	def(&cfg.Silence, 30*time.Second)
	def(&cfg.WinTimeout, 30*time.Second)
	def(&cfg.JobLifetime, time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	codec, err := job.NewCodec()
	if err != nil {
		return nil, err
	}
	workers, err := NewDesk(Config{
		Frontend: cfg.Frontend, StateTTL: cfg.StateTTL, StoreTimeout: cfg.StoreTimeout, Bans: cfg.Bans, Logger: cfg.Logger, Now: cfg.Now,
	}, store, shares)
	if err != nil {
		return nil, err
	}
	d := &TemplateDesk{
		cfg: cfg, desk: workers, store: store, shares: shares, queue: q, codec: codec, absent: true,
		tellers: make(map[int]func(*job.Job, bool)),
	}
	labels := prometheus.Labels{"network": cfg.Network.Name}
	d.age = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "purepool_desk_job_silence_seconds", ConstLabels: labels,
		Help: "Time since the backend has last told a job; -1 before the first.",
	}, func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.heardAt.IsZero() {
			return -1
		}
		return d.cfg.Now().Sub(d.heardAt).Seconds()
	})
	d.heard = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "purepool_desk_jobs_heard_total", ConstLabels: labels,
		Help: "Jobs told by the backend: new, known, none (there is nothing to mine on), withdrawn (the last one is worth nothing), invalid.",
	}, []string{"kind"})
	for _, kind := range []string{"new", "known", "none", "withdrawn", "invalid"} {
		d.heard.WithLabelValues(kind)
	}
	d.checked = newCheckSeconds(cfg.Network.Name)
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(d.age, d.heard, d.checked)
	}
	return d, nil
}

// Close ends the front desk.
func (d *TemplateDesk) Close() { d.desk.Close() }

// earlierJobs is how many jobs before the current one are handed to who watches.
const earlierJobs = 35

// Recover finds the jobs of an earlier run of this frontend in the ledger: miners
// that come back have shares for them. None of them is worth mining on before the
// backend has told so. Call it before Run and Watch. The error is that of the
// ledger; the desk serves nevertheless, and such shares are refused as stale.
func (d *TemplateDesk) Recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	bodies, err := d.store.OpenJobs(ctx, d.cfg.Network.ID, d.cfg.Now().Add(-d.cfg.JobLifetime), earlierJobs+1)
	if err != nil {
		return fmt.Errorf("finding the jobs of %s: %w", d.cfg.Network.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, body := range bodies {
		if j, err := d.read(body); err == nil {
			d.keep(j)
		}
	}
	return nil
}

// keep makes a job the current one. d.mu is held.
func (d *TemplateDesk) keep(j *job.Job) {
	if d.current != nil {
		d.earlier = append(d.earlier, d.current)
		if over := len(d.earlier) - earlierJobs; over > 0 {
			d.earlier = append([]*job.Job(nil), d.earlier[over:]...)
		}
	}
	d.current = j
}

// read reads a job of this network; what is wrong with it is told.
func (d *TemplateDesk) read(body []byte) (*job.Job, error) {
	j, err := d.codec.DecodeJob(body)
	if err == nil && (j.Network != d.cfg.Network.Name || j.Algorithm != d.cfg.Network.Algorithm) {
		err = fmt.Errorf("it is for network %s and algorithm %s", j.Network, j.Algorithm)
	}
	if err != nil {
		d.heard.WithLabelValues("invalid").Inc()
		d.cfg.Logger.Error("job cannot be used", slog.String("network", d.cfg.Network.Name), slog.Any("error", err))
	}
	return j, err
}

// Run hears jobs until ctx ends.
func (d *TemplateDesk) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(d.cfg.Silence / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				d.listenForSilence()
			}
		}
	})
	err := d.queue.HearJobs(ctx, d.cfg.Network.Name, d.hear)
	cancel()
	watching.Wait()
	return err
}

// hear takes a job that the backend has told.
func (d *TemplateDesk) hear(body []byte) {
	if worthless := job.IsWithdrawn(body); worthless || len(body) == 0 {
		d.hearNone(worthless)
		return
	}
	j, err := d.read(body)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heardAt = d.cfg.Now()
	if d.current != nil && j.Seq <= d.current.Seq {
		d.heard.WithLabelValues("known").Inc()
		if j.Seq == d.current.Seq && d.absent { // the daemons are back, on the same tip
			d.publish(d.current)
		}
		return
	}
	d.heard.WithLabelValues("new").Inc()
	if d.current != nil && d.current.Prev != j.Prev && !j.Clean {
		// The clean one was missed: then this one is.
		clean := *j
		clean.Clean = true
		j = &clean
	}
	d.keep(j)
	d.publish(j)
}

// hearNone takes the word that nothing is worth mining on.
func (d *TemplateDesk) hearNone(worthless bool) {
	kind, why := "none", "the backend knows of nothing worth mining on"
	if worthless {
		kind, why = "withdrawn", "the tip has changed and there is no job on the new one"
	}
	d.heard.WithLabelValues(kind).Inc()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heardAt = d.cfg.Now()
	d.withdraw(worthless, why)
}

// publish tells all who watch. d.mu is held.
func (d *TemplateDesk) publish(j *job.Job) {
	d.absent, d.gone = j == nil, j == nil && d.gone
	for _, tell := range d.tellers {
		tell(j, d.gone)
	}
}

// withdraw says that there is nothing worth mining on, and perhaps that the last
// job is worth nothing, which it stays until there is one again. d.mu is held.
func (d *TemplateDesk) withdraw(worthless bool, why string) {
	if d.absent && (d.gone || !worthless) {
		return
	}
	d.gone = worthless
	d.cfg.Logger.Warn("no new miners are let in", slog.String("network", d.cfg.Network.Name), slog.String("because", why))
	d.publish(nil)
}

func (d *TemplateDesk) listenForSilence() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != nil && d.cfg.Now().Sub(d.heardAt) > d.cfg.Silence {
		d.withdraw(false, "the backend is silent")
	}
}

// Watch calls tell with the jobs for which shares may still come, oldest first and
// the current one last, before it returns, and then with every new one, in order
// and one at a time, until stop is called. A nil job says that there is nothing
// worth mining on, until the next job, or until the last one is told again; then
// worthless says that what the last one's miners find is worth nothing. tell
// returns quickly.
func (d *TemplateDesk) Watch(tell func(j *job.Job, worthless bool)) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.next
	d.next++
	d.tellers[id] = tell
	for _, j := range d.earlier {
		tell(j, false)
	}
	if d.current != nil {
		tell(d.current, false)
		if d.absent {
			tell(nil, d.gone)
		}
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.tellers, id)
	}
}

// TemplateArrival is a worker that wants to mine on a template network.
type TemplateArrival struct {
	Address  string
	Worker   string // the rig's name; empty where the miner gave none
	RemoteIP netip.Addr
}

// Admit returns the ledger's number of a worker that may mine. A worker that may
// not is a *Refusal.
func (d *TemplateDesk) Admit(ctx context.Context, a TemplateArrival) (int64, error) {
	id := workerID{Address: a.Address, Worker: cut(text(a.Worker), maxWorkerName)}
	if id.Worker == "" {
		id.Worker = DefaultWorker
	}
	if _, err := chain.DecodeAddress(id.Address, d.cfg.Network.Chain); err != nil {
		return 0, &Refusal{KindWorkerInvalid, "Worker is invalid: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	w, err := d.desk.worker(ctx, &Network{Name: d.cfg.Network.Name, ID: d.cfg.Network.ID, Chain: d.cfg.Network.Chain}, id)
	if err != nil {
		return 0, d.desk.unavailable("looking up a worker", err)
	}
	if !w.Miner.Enabled || d.desk.cfg.Bans.GUID(w.Miner.GUID) {
		return 0, disabled(w.Miner.Address)
	}
	return w.ID, nil
}

// Put returns nil once every share is durable; their verdicts will stand in the
// ledger. Otherwise they may be put again: it is harmless if some were taken.
func (d *TemplateDesk) Put(ctx context.Context, shares []job.Share) error {
	body, err := d.codec.EncodeShares(shares)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	now := d.cfg.Now()
	for i := range shares {
		d.checked.Observe(max(now.Sub(shares[i].ReceivedAt.Time()), 0).Seconds())
	}
	d.trace(ctx, "share received", shares)
	err = d.shares.Publish(ctx, d.cfg.Network.Name, &queue.Share{
		ID: id, ReceivedAt: d.cfg.Now().UTC(), Frontend: d.cfg.Frontend, Template: body,
	})
	if err == nil {
		d.trace(ctx, "share durable", shares)
	}
	return err
}

// trace says at level debug how far shares are, under the ids that the validator
// will find for them.
func (d *TemplateDesk) trace(ctx context.Context, what string, shares []job.Share) {
	if !d.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for i := range shares {
		s := &shares[i]
		//nolint:sloglint // what is a constant of the caller
		d.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, what, slog.String("network", d.cfg.Network.Name),
			slog.String("share", uuid.UUID(job.Identity(d.cfg.Network.Name, s)).String()), slog.Uint64("job", s.Job), slog.String("ip", s.RemoteIP.String()))
	}
}

// Win hands a share over that makes a block.
func (d *TemplateDesk) Win(ctx context.Context, share job.Share) error {
	body, err := d.codec.EncodeShares([]job.Share{share})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.WinTimeout)
	defer cancel()
	return d.queue.PublishBlock(ctx, d.cfg.Network.Name, body)
}

// Ready reports whether there is a job worth mining on; nil means yes.
func (d *TemplateDesk) Ready(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.absent {
		return errors.New("no job to mine on")
	}
	return nil
}
