// Package validate judges shares: a share in, a verdict in the ledger.
//
// It trusts nothing that a frontend concluded. Every field that can be checked
// against the block's own bytes is; what only the daemon knows is asked of it,
// many shares in one request. A daemon, a database or a broker that is away
// means wait: only a word, never silence, rejects a share. A share that cannot
// be dealt with goes to the dead letters after bounded tries.
package validate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
)

// Store is what the validator needs of the ledger.
type Store interface {
	IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error)
	WriteVerdicts(ctx context.Context, networkID int16, verdicts []ledger.Verdict) (ledger.Written, error)
}

// Tips is what the validator needs of the follower of the chain's tip.
type Tips interface {
	Judge(ctx context.Context, block [32]byte, height int32, arrived time.Time) (tip.Tip, tip.Standing, error)
	HeightReigned(height int32, moment time.Time) bool
	MaxNonce(t tip.Tip, moment time.Time) uint32
}

// DeadLetters takes what cannot be dealt with.
type DeadLetters interface {
	Add(ctx context.Context, letter queue.DeadLetter) error
}

// Config holds the settings of a validator of one network; zero values mean the
// defaults.
type Config struct {
	Network   string
	NetworkID int16
	Rules     Rules

	Parallel int // batches judged at once; 4
	Batch    int // shares of a batch; 1,000
	Tries    int // before a share becomes a dead letter; 8
	// NonceSlack is how far the clocks of frontends and daemon may be apart where
	// the highest allowed nonce is concerned; 2 s.
	NonceSlack time.Duration
	// MinWait and MaxWait bound the back-off while something is away; 100 ms, 10 s.
	MinWait, MaxWait time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Validator judges the shares of one classic network. Any number of them, in any
// number of processes, work side by side.
type Validator struct {
	cfg     Config
	store   Store
	daemon  Daemon
	tips    Tips
	dead    DeadLetters
	hashers *sync.Pool
	metrics *metrics
}

// New returns a validator. The error speaks of the rules.
func New(cfg Config, store Store, daemon Daemon, tips Tips, dead DeadLetters) (*Validator, error) {
	setDefaults(&cfg)
	address, err := chain.DecodeAddress(cfg.Rules.PoolAddress, cfg.Rules.Chain)
	if err != nil {
		return nil, fmt.Errorf("pool address of network %s: %w", cfg.Network, err)
	}
	cfg.Rules.poolScript = address.PayScript()
	algorithm := pow.X11()
	return &Validator{
		cfg: cfg, store: store, daemon: daemon, tips: tips, dead: dead,
		hashers: &sync.Pool{New: func() any { return algorithm.NewHasher() }},
		metrics: newMetrics(cfg.Registerer, cfg.Network, reasons()),
	}, nil
}

func setDefaults(cfg *Config) {
	if cfg.Parallel == 0 {
		cfg.Parallel = 4
	}
	if cfg.Batch == 0 {
		cfg.Batch = 1000
	}
	if cfg.Tries == 0 {
		cfg.Tries = 8
	}
	if cfg.NonceSlack == 0 {
		cfg.NonceSlack = 2 * time.Second
	}
	if cfg.MinWait == 0 {
		cfg.MinWait = 100 * time.Millisecond
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 10 * time.Second
	}
	if cfg.Rules.WorkLifetime == 0 {
		cfg.Rules.WorkLifetime = 24 * time.Hour
	}
	if cfg.Rules.MinPoolPercent == 0 {
		cfg.Rules.MinPoolPercent = 25
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

// Run judges deliveries until the channel is closed or ctx ends. What is under
// way at the end goes back to the queue.
func (v *Validator) Run(ctx context.Context, deliveries <-chan *queue.Delivery) error {
	inBatches(ctx, v.cfg.Parallel, v.cfg.Batch, deliveries, v.handle)
	return nil
}

func (v *Validator) handle(ctx context.Context, batch []*queue.Delivery) {
	var shares []*queue.Share
	for _, d := range batch {
		for i := range d.Shares {
			shares = append(shares, &d.Shares[i])
		}
	}
	err := v.Judge(ctx, shares)
	if err != nil && ctx.Err() == nil {
		v.cfg.Logger.Error("shares go back to the queue", slog.String("network", v.cfg.Network),
			slog.Int("shares", len(shares)), slog.Any("error", err))
	}
	for _, d := range batch {
		if err != nil {
			d.Nack()
		} else {
			d.Ack()
		}
	}
}

// Judge brings shares to verdicts in the ledger, or to the dead letters. It
// returns an error only when ctx ends first.
func (v *Validator) Judge(ctx context.Context, shares []*queue.Share) error {
	started := v.cfg.Now()
	err := v.attempt(ctx, shares)
	var poison *poisonError
	switch {
	case err == nil:
		v.metrics.batch(len(shares), v.cfg.Now().Sub(started))
		return nil
	case !errors.As(err, &poison):
		return err
	case len(shares) == 1:
		return v.bury(ctx, shares[0], poison)
	}
	for i := range shares { // one of them it is; the others must not suffer
		if err := v.Judge(ctx, shares[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// poisonError says that at least one share of a batch cannot be dealt with,
// though nothing is away.
type poisonError struct {
	err   error
	tries int
}

func (e *poisonError) Error() string { return e.err.Error() }

func (e *poisonError) Unwrap() error { return e.err }

// attempt is one way through for a whole batch. A panic is a poisonError, so
// that one share cannot stop a network.
func (v *Validator) attempt(ctx context.Context, shares []*queue.Share) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &poisonError{err: fmt.Errorf("panic: %v", p), tries: 1}
		}
	}()
	taken := v.cfg.Now()
	candidates, err := v.examine(ctx, shares)
	if err != nil {
		return err
	}
	judged := v.cfg.Now()
	verdicts := make([]ledger.Verdict, 0, len(candidates))
	for _, c := range candidates {
		if c.fault == nil {
			verdicts = append(verdicts, c.verdict)
		} else if err := v.bury(ctx, c.share, c.fault); err != nil {
			return err
		}
	}
	if len(verdicts) == 0 {
		return nil
	}
	v.logVerdicts(ctx, "share judged", verdicts)
	var written ledger.Written
	err = v.persist(ctx, "ledger", ledger.Away, len(shares), func() error {
		var err error
		written, err = v.store.WriteVerdicts(ctx, v.cfg.NetworkID, verdicts)
		return err
	})
	if err != nil {
		return err
	}
	v.metrics.count(verdicts, written)
	v.metrics.way(verdicts, taken, judged, v.cfg.Now())
	v.logVerdicts(ctx, "share in the ledger", verdicts)
	return nil
}

// logVerdicts writes one line a share at debug level: the operator's answer to
// "what became of it". The front desk began under the same key.
func (v *Validator) logVerdicts(ctx context.Context, what string, verdicts []ledger.Verdict) {
	if !v.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for i := range verdicts {
		d := &verdicts[i]
		//nolint:sloglint // what is a constant of the caller
		v.cfg.Logger.Debug(what, slog.String("network", v.cfg.Network), slog.String("share", d.ShareID.String()),
			slog.String("reason", d.Reason), slog.String("detail", d.Detail), slog.Int64("weight", d.Weight))
	}
}

// persist calls f until it succeeds or ctx ends. An error that is not "away" is a
// poisonError: at once for several shares, which will be tried one by one, and
// after a bounded number of tries for one.
func (v *Validator) persist(ctx context.Context, what string, away func(error) bool, shares int, f func() error) error {
	wait, refused := v.cfg.MinWait, 0
	waiting := v.metrics.waiting.WithLabelValues(what)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !away(err) {
			if refused++; shares > 1 || refused >= v.cfg.Tries {
				return &poisonError{err: fmt.Errorf("%s: %w", what, err), tries: refused}
			}
		}
		v.cfg.Logger.Warn("judging waits", slog.String("network", v.cfg.Network), slog.String("for", what),
			slog.Duration("next_try_in", wait), slog.Any("error", err))
		waiting.Inc()
		err = pause(ctx, wait)
		waiting.Dec()
		if err != nil {
			return err
		}
		wait = min(2*wait, v.cfg.MaxWait)
	}
}

// pause sleeps for between half of d and d, so that many waiters do not come
// back all at once. The error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func always(error) bool { return true }

// bury sets a share aside for a person to look at. Nothing is lost: it can be
// replayed, and will be judged by the moment of its arrival again.
func (v *Validator) bury(ctx context.Context, share *queue.Share, why *poisonError) error {
	v.cfg.Logger.Error("share set aside as a dead letter", slog.String("network", v.cfg.Network),
		slog.String("share", share.ID.String()), slog.Any("error", why))
	err := v.persist(ctx, "broker", always, 1, func() error {
		return v.dead.Add(ctx, queue.DeadLetter{Network: v.cfg.Network, Reason: why.Error(), Attempts: why.tries, Share: share})
	})
	if err == nil {
		v.metrics.buried.Inc()
	}
	return err
}
