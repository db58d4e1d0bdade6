package tip

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Header is what a daemon says of a block.
type Header struct {
	Height int32
	Hash   [32]byte // big-endian
	Prev   [32]byte // big-endian
	Time   time.Time
}

// Source is the daemon as the follower needs it.
type Source interface {
	BestBlock(ctx context.Context) (hash [32]byte, err error)
	Block(ctx context.Context, hash [32]byte) (Header, error)
	// Age is the daemon's own count of the time since its tip's block time, which
	// tells how far its clock is from ours.
	Age(ctx context.Context) (height int32, age time.Duration, err error)
}

// Store keeps tips over restarts.
type Store interface {
	RecordTips(ctx context.Context, tips []Tip) error
	Tips(ctx context.Context, since time.Time) ([]Tip, error)
}

// Config holds the settings of a follower; zero values mean the defaults.
type Config struct {
	Network  string
	Interval time.Duration // between polls; 1 s
	Slack    Slack         // DefaultSlackSeen, DefaultSlackApproximate
	// Settle is how long after a share's arrival an unknown previous block may
	// still turn out to be the new tip; 2 s.
	Settle time.Duration
	// Keep is how long tips are remembered; 17 days, longer than any work.
	Keep time.Duration
	// CatchUp bounds how many missed blocks are fetched one by one; 5,000.
	CatchUp int
	// OnTip is called after a new tip has been remembered. It may be nil.
	OnTip func(ctx context.Context, tip Tip)

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Follower keeps a History true to the daemon and the ledger. While the daemon
// or the ledger is away it waits; it never concludes anything from silence.
type Follower struct {
	cfg    Config
	source Source
	store  Store

	poll   chan struct{} // capacity 1: somebody wants to know now
	height prometheus.Gauge
	asked  prometheus.Gauge

	// protected by mu:
	mu        sync.Mutex
	history   *History
	confirmed time.Time     // the history is complete up to this moment
	advanced  chan struct{} // closed and replaced whenever confirmed moves
	unwritten []Tip         // remembered, but not yet in the store
	loaded    bool
	ahead     time.Duration // the daemon's clock minus ours
}

// NewFollower returns a follower that knows nothing until Run.
func NewFollower(cfg Config, source Source, store Store) *Follower {
	setDefaults(&cfg)
	f := &Follower{
		cfg: cfg, source: source, store: store,
		poll: make(chan struct{}, 1), advanced: make(chan struct{}), history: NewHistory(cfg.Slack),
	}
	labels := prometheus.Labels{"network": cfg.Network}
	f.height = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "purepool_tip_height", Help: "Height of the chain's tip as the backend knows it.", ConstLabels: labels,
	})
	f.asked = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "purepool_tip_confirmed_timestamp_seconds", ConstLabels: labels,
		Help: "Unix time at which the daemon last confirmed the tip; it stands still while the daemon is away.",
	})
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(f.height, f.asked)
	}
	return f
}

func setDefaults(cfg *Config) {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Slack.Seen == 0 {
		cfg.Slack.Seen = DefaultSlackSeen
	}
	if cfg.Slack.Approximate == 0 {
		cfg.Slack.Approximate = DefaultSlackApproximate
	}
	if cfg.Settle == 0 {
		cfg.Settle = 2 * time.Second
	}
	if cfg.Keep == 0 {
		cfg.Keep = 17 * 24 * time.Hour
	}
	if cfg.CatchUp == 0 {
		cfg.CatchUp = 5000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

// Run follows the chain until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	ticker := time.NewTicker(f.cfg.Interval)
	defer ticker.Stop()
	failing := false
	for {
		err := f.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			f.cfg.Logger.Warn("chain tip unknown, waiting", slog.String("network", f.cfg.Network), slog.Any("error", err))
		case err == nil && failing:
			f.cfg.Logger.Info("chain tip known again", slog.String("network", f.cfg.Network))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-f.poll:
		}
	}
}

// Notify makes the follower look at once, for daemons that push.
func (f *Follower) Notify() {
	select {
	case f.poll <- struct{}{}:
	default:
	}
}

// Tip returns the present tip, and false while none is known.
func (f *Follower) Tip() (Tip, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history.Last()
}

// MaxNonce is the highest nonce that the daemon allowed at a moment for a block
// on top of t, by the daemon's clock; see the function MaxNonce.
func (f *Follower) MaxNonce(t Tip, moment time.Time) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return MaxNonce(t, moment.Add(f.ahead))
}

// HeightReigned tells whether a tip of this height reigned at the moment.
func (f *Follower) HeightReigned(height int32, moment time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history.HeightReigned(height, moment)
}

// Judge says what a block was to the chain when a share on top of it arrived,
// and whether the claimed height was a tip's then. It waits until that can be
// said: while the daemon is away, until it is back. The error is that of ctx.
func (f *Follower) Judge(ctx context.Context, block [32]byte, height int32, arrived time.Time) (Tip, Standing, error) {
	for {
		f.mu.Lock()
		t, standing := f.history.At(block, arrived)
		confirmed, advanced := f.confirmed, f.advanced
		need := arrived.Add(-f.cfg.Slack.Seen)
		if standing == Unknown {
			need = arrived
			if last, ok := f.history.Last(); !ok || height == last.Height || height == last.Height+1 {
				// It may be a block that the miner's daemon has and ours not yet.
				need = arrived.Add(f.cfg.Settle)
			}
		}
		f.mu.Unlock()
		if !confirmed.Before(need) {
			return t, standing, nil
		}
		f.Notify()
		timer := time.NewTimer(f.cfg.Interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Tip{}, Unknown, ctx.Err()
		case <-advanced:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *Follower) follow(ctx context.Context) error {
	if err := f.load(ctx); err != nil {
		return fmt.Errorf("reading the tips of the ledger: %w", err)
	}
	asked := f.cfg.Now() // whatever the daemon answers was true at this moment or later
	best, err := f.source.BestBlock(ctx)
	if err != nil {
		return fmt.Errorf("asking the daemon for its tip: %w", err)
	}
	fresh, err := f.missed(ctx, best, asked)
	if err != nil {
		return fmt.Errorf("asking the daemon for a block: %w", err)
	}
	height, age, err := f.source.Age(ctx)
	if err != nil {
		return fmt.Errorf("asking the daemon for the age of its tip: %w", err)
	}
	f.remember(fresh, asked, height, age)
	if len(fresh) > 0 && f.cfg.OnTip != nil {
		f.cfg.OnTip(ctx, fresh[len(fresh)-1])
	}
	if err := f.write(ctx); err != nil {
		return fmt.Errorf("writing tips to the ledger: %w", err)
	}
	return nil
}

// load reads the tips of earlier runs, once.
func (f *Follower) load(ctx context.Context) error {
	f.mu.Lock()
	loaded := f.loaded
	f.mu.Unlock()
	if loaded {
		return nil
	}
	tips, err := f.store.Tips(ctx, f.cfg.Now().Add(-f.cfg.Keep))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range tips {
		f.history.Add(t)
	}
	f.loaded = true
	return nil
}

// missed returns the tips since the last known one, oldest first. Where the
// chain has been reorganised it walks back to the fork.
func (f *Follower) missed(ctx context.Context, best [32]byte, asked time.Time) ([]Tip, error) {
	f.mu.Lock()
	last, known := f.history.Last()
	watching := asked.Sub(f.confirmed) <= f.cfg.Slack.Seen
	f.mu.Unlock()
	if known && last.Hash == best {
		return nil, nil
	}
	var fresh []Tip
	for hash := best; len(fresh) < f.cfg.CatchUp; {
		header, err := f.source.Block(ctx, hash)
		if err != nil {
			return nil, err
		}
		t := Tip{Height: header.Height, Hash: hash, BlockTime: header.Time.UTC(), SeenAt: asked.UTC()}
		if !watching {
			t.Approximate = true
			if t.BlockTime.Before(asked) {
				t.SeenAt = t.BlockTime
			}
		}
		fresh = append(fresh, t)
		if !known || header.Height == 0 || f.remembers(header.Prev) {
			break
		}
		hash = header.Prev
	}
	slices.Reverse(fresh)
	return fresh, nil
}

func (f *Follower) remembers(hash [32]byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.history.Find(hash)
	return ok
}

func (f *Follower) remember(fresh []Tip, asked time.Time, height int32, age time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range fresh {
		if f.history.Add(t) {
			added, _ := f.history.Last()
			f.unwritten = append(f.unwritten, added)
		}
	}
	if len(fresh) > 0 {
		f.history.DropBefore(asked.Add(-f.cfg.Keep))
	}
	f.confirmed = asked
	close(f.advanced)
	f.advanced = make(chan struct{})
	if last, ok := f.history.Last(); ok {
		f.height.Set(float64(last.Height))
		if last.Height == height {
			f.ahead = last.BlockTime.Add(age).Sub(asked)
		}
	}
	f.asked.Set(float64(asked.UnixMilli()) / 1000)
}

// write brings remembered tips into the store; what fails is tried again at the
// next poll.
func (f *Follower) write(ctx context.Context) error {
	f.mu.Lock()
	tips := f.unwritten
	f.mu.Unlock()
	if len(tips) == 0 {
		return nil
	}
	if err := f.store.RecordTips(ctx, tips); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unwritten = f.unwritten[len(tips):]
	return nil
}
