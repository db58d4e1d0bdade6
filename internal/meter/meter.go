// Package meter turns what stands in the ledger, the wallet and the file system
// into metrics: blocks, payments, what is owed, sizes.
//
// It asks on a schedule of its own and never when it is scraped, so that neither
// an eager Prometheus nor several of them cost the database anything. How old
// the numbers are is a metric too. Every backend tells the same numbers: a query
// takes the maximum over them.
package meter

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
)

// Network is a network that is measured.
type Network struct {
	Name string
	ID   int16
	// Daemons are asked for their heights, in order of preference; the first one
	// has the pool's wallet.
	Daemons []*bbprpc.Client
}

// Numbers is what the meter needs of the ledger; *ledger.NumbersStore is it.
type Numbers interface {
	Numbers(ctx context.Context, networkID int16, now time.Time) (ledger.Numbers, error)
	DatabaseSizes(ctx context.Context) (ledger.DatabaseSizes, error)
}

// Schedules is what the meter needs of the books; *ledger.Books is it.
type Schedules interface {
	Schedules(ctx context.Context) ([]ledger.Schedule, error)
}

// Options says what is measured; zero values mean the defaults.
type Options struct {
	Networks []Network
	// Every is the time between two readings, 15 s; SizesEvery that between two
	// readings of the database's sizes, 5 minutes.
	Every, SizesEvery time.Duration
	Logger            *slog.Logger
	Registerer        prometheus.Registerer
}

// Meter reads. Run it once.
type Meter struct {
	opts      Options
	numbers   Numbers
	schedules Schedules
	m         *metrics
	sizesAt   time.Time
	failing   map[string]bool // what could not be read the last time, and was told of
}

// New makes a meter and registers its metrics, which have no values before Run.
func New(opts Options, numbers Numbers, schedules Schedules) *Meter {
	if opts.Every == 0 {
		opts.Every = 15 * time.Second
	}
	if opts.SizesEvery == 0 {
		opts.SizesEvery = 5 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Meter{opts: opts, numbers: numbers, schedules: schedules, m: newMetrics(opts.Registerer, opts.Networks), failing: make(map[string]bool)}
}

// Run reads again and again until ctx ends, which is no error. What cannot be
// read stays as it was.
func (r *Meter) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.opts.Every)
	defer ticker.Stop()
	for {
		r.read(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// read takes every number once.
func (r *Meter) read(ctx context.Context) {
	started := time.Now()
	for i := range r.opts.Networks {
		n := &r.opts.Networks[i]
		r.note(ctx, "books", n.Name, r.readBooks(ctx, n))
		r.note(ctx, "wallet", n.Name, r.readWallet(ctx, n))
		r.readHeights(ctx, n)
	}
	r.note(ctx, "schedules", "", r.readSchedules(ctx))
	if time.Since(r.sizesAt) >= r.opts.SizesEvery {
		err := r.readSizes(ctx)
		r.note(ctx, "sizes", "", err)
		if err == nil {
			r.sizesAt = started
		}
	}
	r.m.took.Set(time.Since(started).Seconds())
}

// note counts a reading that failed and tells of the first in a row.
func (r *Meter) note(ctx context.Context, what, network string, err error) {
	key := what + " " + network
	if err == nil || ctx.Err() != nil {
		r.failing[key] = false
		return
	}
	r.m.failures.WithLabelValues(what).Inc()
	if !r.failing[key] {
		r.opts.Logger.Warn("numbers for the metrics cannot be read", slog.String("what", what), slog.String("network", network), slog.Any("error", err))
	}
	r.failing[key] = true
}

func (r *Meter) readBooks(ctx context.Context, n *Network) error {
	now := time.Now()
	numbers, err := r.numbers.Numbers(ctx, n.ID, now)
	if err != nil {
		return err
	}
	m := r.m
	for i, window := range windows {
		m.hashrate.WithLabelValues(n.Name, window).Set(numbers.HashesPerSecond[i])
	}
	p := &numbers.Pulse
	m.miners.WithLabelValues(n.Name).Set(float64(p.Miners))
	m.workers.WithLabelValues(n.Name).Set(float64(p.Workers))
	m.lastShare.WithLabelValues(n.Name).Set(seconds(p.LastShareAt))
	if p.LastBlock != nil {
		m.lastBlock.WithLabelValues(n.Name).Set(seconds(p.LastBlock.SeenAt))
	}
	if effort, ok := p.Effort(); ok {
		m.effort.WithLabelValues(n.Name).Set(effort)
	}
	for state, count := range numbers.Blocks {
		m.blocks.WithLabelValues(n.Name, state).Set(float64(count))
	}
	for state, count := range numbers.Payments {
		m.payments.WithLabelValues(n.Name, state).Set(float64(count))
	}
	age := 0.0
	if !numbers.OldestPayment.IsZero() {
		age = max(now.Sub(numbers.OldestPayment), 0).Seconds()
	}
	m.oldestPayment.WithLabelValues(n.Name).Set(age)
	for kind, amount := range numbers.Accounts {
		m.accounts.WithLabelValues(n.Name, kind).Set(float64(amount))
	}
	m.imbalance.WithLabelValues(n.Name).Set(float64(numbers.Imbalance))
	m.liabilities.WithLabelValues(n.Name).Set(float64(numbers.Liabilities))
	m.debts.WithLabelValues(n.Name).Set(float64(numbers.Debts))
	m.immature.WithLabelValues(n.Name).Set(float64(numbers.Immature))
	m.readAt.WithLabelValues(n.Name).Set(seconds(now))
	return nil
}

// seconds is a moment since the epoch; 0 for never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// daemonPatience bounds what a daemon may take: a wallet that is busy must not
// hold up the other numbers for long.
const daemonPatience = 5 * time.Second

func (r *Meter) readWallet(ctx context.Context, n *Network) error {
	if len(n.Daemons) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, daemonPatience)
	defer cancel()
	info, err := n.Daemons[0].WalletInfo(ctx)
	if err != nil {
		return err
	}
	for kind, amount := range map[string]bbprpc.Amount{"spendable": info.Balance, "unconfirmed": info.Unconfirmed, "immature": info.Immature} {
		r.m.wallet.WithLabelValues(n.Name, kind).Set(float64(amount))
	}
	r.m.walletAt.WithLabelValues(n.Name).Set(seconds(time.Now()))
	return nil
}

// readHeights asks every daemon how high its chain is. That one is away is told
// by purepool_daemon_up; its height stays as it was.
func (r *Meter) readHeights(ctx context.Context, n *Network) {
	for _, d := range n.Daemons {
		ctx, cancel := context.WithTimeout(ctx, daemonPatience)
		var height int64
		err := d.Do(ctx, bbprpc.BlockCountCall(&height))
		cancel()
		if err == nil {
			r.m.height.WithLabelValues(n.Name, d.Status()[0].Endpoint).Set(float64(height))
		}
	}
}

func (r *Meter) readSchedules(ctx context.Context) error {
	list, err := r.schedules.Schedules(ctx)
	if err != nil {
		return err
	}
	names := make(map[int16]string, len(r.opts.Networks))
	for _, n := range r.opts.Networks {
		names[n.ID] = n.Name
	}
	for i := range list {
		s := &list[i]
		network, ours := names[s.NetworkID]
		if !ours {
			continue
		}
		r.m.scheduleSuccess.WithLabelValues(network, s.Name).Set(seconds(s.SucceededAt))
		r.m.scheduleEvery.WithLabelValues(network, s.Name).Set(s.Every.Seconds())
		r.m.scheduleFailures.WithLabelValues(network, s.Name).Set(float64(s.Failures))
		paused := 0.0
		if s.Paused {
			paused = 1
		}
		r.m.schedulePaused.WithLabelValues(network, s.Name).Set(paused)
	}
	return nil
}

func (r *Meter) readSizes(ctx context.Context) error {
	sizes, err := r.numbers.DatabaseSizes(ctx)
	if err != nil {
		return err
	}
	r.m.database.Set(float64(sizes.Bytes))
	r.m.connections.Set(float64(sizes.Connections))
	r.m.maxConnections.Set(float64(sizes.MaxConnections))
	for table, bytes := range sizes.Tables {
		r.m.tables.WithLabelValues(table).Set(float64(bytes))
	}
	return nil
}
