package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/job"
)

// Config holds the settings of a network's maker; zero durations mean the
// defaults.
type Config struct {
	Plan  Plan
	Rules []string // what getblocktemplate wants to hear

	Poll    time.Duration // between looks at each daemon; 1 s
	Refresh time.Duration // age at which a job is replaced although nothing has changed; 30 s
	// Settle is how old a job becomes before changed transactions replace it; 5 s.
	// A new tip never waits.
	Settle time.Duration
	Tell   time.Duration // between two tellings of the current job; 2 s
	// MaxStale is how long no daemon may confirm the current job's tip before the
	// frontends are told that there is nothing worth mining on; 1 min.
	MaxStale time.Duration
	// MaxMoved is how long a synced daemon may have another tip and give no template
	// on it until the job is withdrawn: shares for the old one are known to be worth
	// nothing as soon as the judges' allowance for late ones ends; 10 s.
	MaxMoved time.Duration
	// OnTip is called when a daemon has a new tip, with the way by which that was
	// seen: longpoll or poll. It returns quickly, and may be nil.
	OnTip func(source string)

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Teller tells jobs to the frontends. *queue.Broker is one.
type Teller interface {
	TellJob(ctx context.Context, network string, body []byte) error
}

// Lead is the right to issue the jobs of a network; see Maker.
type Lead interface {
	Holds(ctx context.Context) bool
	Release()
}

// LeadOf asks the ledger for the lead of a network.
func LeadOf(store *ledger.BackendStore, networkID int16) func(ctx context.Context) (Lead, error) {
	return func(ctx context.Context) (Lead, error) {
		lead, err := store.LeadJobs(ctx, networkID)
		if lead == nil {
			return nil, err // not a Lead that holds nothing
		}
		return lead, err
	}
}

// Maker issues the jobs of a network. Of several backends one issues: the one
// that has the lead; the others wait for it.
type Maker struct {
	cfg     Config
	build   *builder
	keeper  *Keeper
	teller  Teller
	lead    func(ctx context.Context) (Lead, error)
	codec   *job.Codec
	metrics *metrics

	watchers []*watcher
	wake     chan struct{} // capacity 1

	mu        sync.Mutex // guards what follows, which Run alone writes
	current   *Issued
	template  *chain.Template // of current; nil where that is of an earlier run
	told      []byte          // current, encoded; empty where there is nothing worth mining on
	withdrawn bool            // told is empty, and current is known to be worth nothing
	source    string          // the daemon that current came from
	confirmed time.Time       // a synced daemon has said that current's tip is its own
	moved     time.Time       // since then the tip is another, of which there is no job; zero where there is
}

// NewMaker returns a maker that does nothing until Run. lead asks for the right
// to issue jobs and returns nil where another backend has it. The error speaks
// of the plan.
func NewMaker(cfg Config, daemons []Daemon, keeper *Keeper, teller Teller, lead func(ctx context.Context) (Lead, error)) (*Maker, error) {
	setDefaults(&cfg)
	b, err := newBuilder(cfg.Plan)
	if err != nil {
		return nil, err
	}
	codec, err := job.NewCodec()
	if err != nil {
		return nil, err
	}
	m := &Maker{cfg: cfg, build: b, keeper: keeper, teller: teller, lead: lead, codec: codec, wake: make(chan struct{}, 1)}
	m.metrics = newMetrics(cfg.Registerer, cfg.Plan.Network, cfg.Now,
		func() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.confirmed },
		func() time.Time {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.current == nil {
				return time.Time{}
			}
			return m.current.Job.IssuedAt.Time()
		})
	for _, d := range daemons {
		m.watchers = append(m.watchers, &watcher{
			Daemon: d, rules: cfg.Rules, poll: cfg.Poll, changed: m.stir, newTip: cfg.OnTip, poke: make(chan struct{}, 1),
		})
	}
	return m, nil
}

func setDefaults(cfg *Config) {
	or := func(v *time.Duration, fallback time.Duration) {
		if *v == 0 {
			*v = fallback
		}
	}
	or(&cfg.Poll, time.Second)
	or(&cfg.Refresh, 30*time.Second)
	or(&cfg.Settle, 5*time.Second)
	or(&cfg.Tell, 2*time.Second)
	or(&cfg.MaxStale, time.Minute)
	or(&cfg.MaxMoved, 10*time.Second)
	if cfg.OnTip == nil {
		cfg.OnTip = func(string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

// Notify makes the maker ask the daemons for their tips at once: somebody says
// that there is a new one. Safe for concurrent use; it never waits.
func (m *Maker) Notify() {
	for _, w := range m.watchers {
		w.notify()
	}
}

// stir makes the maker look at what the watchers know.
func (m *Maker) stir() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Ready reports whether there is a job worth mining on; nil means yes.
func (m *Maker) Ready(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.told) == 0 {
		return errors.New("no synced daemon has a template")
	}
	return nil
}

// Run issues jobs until ctx ends, whenever it has the lead.
func (m *Maker) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watch, stop := context.WithCancel(ctx)
	defer watching.Wait()
	defer stop()
	for _, w := range m.watchers {
		watching.Go(func() { w.run(watch) })
	}
	for ctx.Err() == nil {
		lead, err := m.lead(ctx)
		if err == nil && lead != nil {
			m.metrics.leading.Set(1)
			err = m.reign(ctx, lead)
			lead.Release()
			m.metrics.leading.Set(0)
		}
		if err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("no jobs are issued here", slog.String("network", m.cfg.Plan.Network), slog.Any("error", err))
		}
		timer := time.NewTimer(m.cfg.Tell)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
	return nil
}

// reign issues jobs until ctx ends or the lead is lost.
func (m *Maker) reign(ctx context.Context, lead Lead) error {
	last, _, err := m.keeper.Last(ctx)
	if err != nil {
		return err
	}
	// The job of an earlier run, ours or another backend's, goes on: its miners
	// have nothing to change unless the tip has.
	m.set(last, nil, nil, "", time.Time{})
	tell := time.NewTicker(m.cfg.Tell)
	defer tell.Stop()
	held := m.cfg.Now()
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
			continue
		case <-tell.C:
		}
		m.tell(ctx)
		// While the database is away nobody else can get the lead either.
		if lead.Holds(ctx) {
			held = m.cfg.Now()
		} else if other, err := m.lead(ctx); err == nil {
			if other == nil {
				return errors.New("another backend has taken the lead")
			}
			lead.Release()
			lead, held = other, m.cfg.Now()
			defer other.Release()
		} else if m.cfg.Now().Sub(held) > m.cfg.MaxStale {
			m.cfg.Logger.Warn("jobs are issued without the database", slog.String("network", m.cfg.Plan.Network), slog.Any("error", err))
			held = m.cfg.Now()
		}
	}
}

func (m *Maker) set(i *Issued, t *chain.Template, body []byte, source string, confirmed time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current, m.template, m.told, m.source, m.confirmed, m.moved, m.withdrawn = i, t, body, source, confirmed, time.Time{}, false
	ready := 0.0
	if len(body) > 0 {
		ready = 1
		m.metrics.height.Set(float64(i.Job.Height))
	}
	m.metrics.ready.Set(ready)
}

func (m *Maker) tell(ctx context.Context) {
	body := m.told
	if m.withdrawn {
		body = job.Withdrawn()
	}
	if err := m.teller.TellJob(ctx, m.cfg.Plan.Network, body); err != nil && ctx.Err() == nil {
		m.cfg.Logger.Warn("job could not be told", slog.String("network", m.cfg.Plan.Network), slog.Any("error", err))
	}
}

// best returns the watchers that may be asked, the best first: of those that are
// synced the ones with the highest tip, in the order of preference.
func (m *Maker) best() []*watcher {
	var list []*watcher
	highest := int64(-1)
	for _, w := range m.watchers {
		height, _, err := w.tip()
		up := 0.0
		if err == nil {
			up = 1
			if height > highest {
				highest, list = height, nil
			}
			if height == highest {
				list = append(list, w)
			}
		}
		m.metrics.synced.WithLabelValues(w.Name()).Set(up)
	}
	return list
}

// look issues a job where one is due.
func (m *Maker) look(ctx context.Context) {
	now := m.cfg.Now()
	for _, w := range m.best() {
		_, best, err := w.tip()
		if err != nil {
			continue
		}
		if m.current != nil && m.told != nil && m.current.Job.Prev == best {
			m.mu.Lock()
			m.confirmed, m.moved = now, time.Time{}
			m.mu.Unlock()
			age := now.Sub(m.current.Job.IssuedAt.Time())
			w.mu.Lock()
			fresh := w.fresh != nil
			w.mu.Unlock()
			if age < m.cfg.Settle || age < m.cfg.Refresh && !fresh && m.template != nil {
				return
			}
		}
		if m.try(ctx, w) {
			return
		}
		m.noteTip(best, now)
	}
	switch {
	case !m.withdrawn && !m.moved.IsZero() && now.Sub(m.moved) > m.cfg.MaxMoved:
		m.withdraw(ctx, true, "a synced daemon has a new tip and makes no template on it")
	case len(m.told) > 0 && now.Sub(m.confirmed) > m.cfg.MaxStale:
		m.withdraw(ctx, false, "no synced daemon confirms the tip")
	}
}

// noteTip keeps since when a synced daemon's tip is another than the job's.
func (m *Maker) noteTip(best chain.Hash, now time.Time) {
	if m.current == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.current.Job.Prev == best:
		m.moved = time.Time{}
	case m.moved.IsZero():
		m.moved = now
	}
}

// withdraw tells that nothing is worth mining on, and, where that is known, that
// the last job's shares are worth nothing.
func (m *Maker) withdraw(ctx context.Context, worthless bool, because string) {
	m.cfg.Logger.Error("nothing is worth mining on", slog.String("network", m.cfg.Plan.Network), slog.String("because", because))
	m.set(m.current, m.template, nil, m.source, m.confirmed)
	m.mu.Lock()
	m.withdrawn = worthless
	m.mu.Unlock()
	m.tell(ctx)
}

// try makes a job of a daemon's template and reports whether there is nothing
// left to do.
func (m *Maker) try(ctx context.Context, w *watcher) bool {
	t, err := w.template(ctx)
	if err != nil {
		m.refuse(ctx, w, "template", err)
		return false
	}
	started := m.cfg.Now()
	clean := m.current == nil || m.current.Job.Prev != t.Prev
	if !clean && m.template != nil && len(m.told) > 0 && m.template.Equal(&t.Template) &&
		started.Sub(m.current.Job.IssuedAt.Time()) < m.cfg.Refresh {
		return true
	}
	seq := uint64(started.UnixMilli())
	if m.current != nil {
		seq = max(seq, m.current.Job.Seq+1)
	}
	issued, err := m.build.build(&t.Template, seq, clean, started)
	if err != nil {
		m.refuse(ctx, w, "unsound", err)
		return false
	}
	if err := m.propose(ctx, w, t, issued); err != nil {
		m.refuse(ctx, w, "proposal", err)
		return false
	}
	return m.issue(ctx, w, t, issued, started)
}

// propose lets the daemon check a block of the job, where it does that.
func (m *Maker) propose(ctx context.Context, w *watcher, t *bbprpc.BlockTemplate, i *Issued) error {
	if !t.Proposals {
		return nil
	}
	block, err := i.proposal(new(job.Assembler))
	if err != nil {
		return err
	}
	reason, err := w.Propose(ctx, m.cfg.Rules, block)
	if err != nil {
		return err
	}
	if reason != "" {
		return errors.New("the daemon would refuse its block: " + reason)
	}
	return nil
}

func (m *Maker) issue(ctx context.Context, w *watcher, t *bbprpc.BlockTemplate, i *Issued, started time.Time) bool {
	body, err := m.codec.EncodeJob(i.Job)
	if err == nil {
		err = m.keeper.Keep(ctx, i)
	}
	if err != nil {
		m.refuse(ctx, w, "store", err)
		return true // another daemon would not help
	}
	if m.source != "" && m.source != w.Name() {
		m.metrics.switches.Inc()
		m.cfg.Logger.Info("jobs come from another daemon", slog.String("network", m.cfg.Plan.Network), slog.String("daemon", w.Name()))
	}
	m.set(i, &t.Template, body, w.Name(), started)
	m.tell(ctx)
	kind := "refresh"
	if i.Job.Clean {
		kind = "clean"
	}
	m.metrics.issued.WithLabelValues(kind).Inc()
	m.metrics.latency.Observe(m.cfg.Now().Sub(started).Seconds())
	m.cfg.Logger.Debug("job issued", slog.String("network", m.cfg.Plan.Network), slog.Uint64("job", i.Job.Seq),
		slog.Int64("height", int64(i.Job.Height)), slog.Bool("clean", i.Job.Clean), slog.Int("transactions", len(t.Transactions)))
	return true
}

func (m *Maker) refuse(ctx context.Context, w *watcher, reason string, err error) {
	if ctx.Err() != nil {
		return
	}
	m.metrics.refused.WithLabelValues(reason).Inc()
	m.cfg.Logger.Warn("no job made of a template", slog.String("network", m.cfg.Plan.Network),
		slog.String("daemon", w.Name()), slog.String("reason", reason), slog.Any("error", err))
}
