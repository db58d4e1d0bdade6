// Package demo runs a whole pool on one machine with nothing to configure: a
// private Postgres, an embedded broker, every role, a simulated coin daemon and
// simulated miners, all on loopback and in one folder. Started again on the
// same folder it goes on where it was.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"purepool/internal/config"
	"purepool/internal/logging"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/sim/daemon"
	"purepool/sim/miner"
)

// Options says how the demo is to be.
type Options struct {
	Dir      string        // everything that is kept stands here
	Duration time.Duration // 0: until told to stop, or where it is fast for an hour of the pool's life
	Fast     bool          // twenty times the pace
	// Prometheus runs beside, with all rules.
	Prometheus bool
	Miners     int // addresses
	Rigs       int // rigs of each address
	// FaultPerMille is how many of a thousand solutions are wrong on purpose.
	FaultPerMille int
	Out           io.Writer
	// Screen redraws one screen; otherwise lines are written.
	Screen  bool
	Version string
}

const (
	network  = "test"
	database = "purepool"
	// seed makes the same miners and the same pool address at every start.
	seed = 2018
	// firstHeight is where the chain of a new folder begins.
	firstHeight = 20_000
	// maturity is how many blocks must follow one before its coins can be spent.
	maturity = 10
)

// demo is a running demo.
type demo struct {
	opts    Options
	logs    *logging.Logs
	log     *slog.Logger
	cluster *pgcluster.Cluster
	store   *ledger.BackendStore
	daemon  *daemon.Daemon
	fleet   *miner.Fleet
	// prometheus is where Prometheus listens; empty where it does not run.
	prometheus string
	where      role.Addresses
	pace       pace
	config     string // the configuration's path
	begun      time.Time
	money      money
	before     ledger.Counts // what earlier runs left
}

// Run plays the demo until ctx ends or the duration is over, and takes it down.
func Run(ctx context.Context, opts Options) (err error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return err
	}
	opts.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "purepool.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	logs := logging.New(logFile, config.Log{Level: "info", Format: "text", Privacy: true})
	d := &demo{
		opts: opts, logs: logs, log: logs.For("demo"),
		config: filepath.Join(dir, "purepool.toml"), pace: ordinary(),
	}
	if opts.Fast {
		d.pace = fast()
		if opts.Duration == 0 {
			opts.Duration = time.Hour / time.Duration(d.pace.times)
		}
	}
	if opts.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Duration)
		defer cancel()
	}
	err = d.play(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // stopped while it started
	}
	return err
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.opts.Out, format+"\n", args...) }

// play starts the parts, each one stopped when those after it have ended.
func (d *demo) play(ctx context.Context) (err error) {
	d.say("Purepool demo in %s", d.opts.Dir)
	d.say("starting a private Postgres ...")
	if d.cluster, err = pgcluster.Start(ctx, pgcluster.Options{Dir: filepath.Join(d.opts.Dir, "postgres"), Logger: d.log}); err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, d.cluster.Stop(stop))
	}()
	if err := d.cluster.EnsureDatabase(ctx, database); err != nil {
		return err
	}
	d.say("migrating the database ...")
	seeds := []ledger.NetworkSeed{{Name: network}}
	if err := ledger.Migrate(ctx, d.cluster.DSN(pgcluster.Superuser, database), ledger.MigrateOptions{Networks: seeds}); err != nil {
		return err
	}
	if d.store, err = ledger.OpenBackend(ctx, d.cluster.DSN("purepool_backend", database), ledger.Options{MaxOpen: 2}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()

	d.say("starting a simulated coin daemon ...")
	stopDaemon, err := d.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer stopDaemon()
	return d.pool(ctx)
}

// startDaemon starts the simulated daemon, whose chain and wallet are kept. Where
// they are lost, it goes on from the last tip in the ledger: heights only ever
// grow.
func (d *demo) startDaemon(ctx context.Context) (stop func(), err error) {
	opts := daemon.Options{
		Network: network, BlockInterval: d.pace.strangers, Bits: d.pace.bits, Maturity: maturity, Seed: seed,
		BaseHeight: firstHeight, History: 3, Journal: filepath.Join(d.opts.Dir, "daemon.journal"), Logger: d.log,
	}
	ids, err := d.store.Networks(ctx)
	if err != nil {
		return nil, err
	}
	tips, err := d.store.Tips(ctx, ids[network], time.Now().AddDate(-1, 0, 0))
	if err != nil {
		return nil, err
	}
	if len(tips) > 0 {
		last := tips[len(tips)-1]
		opts.BaseHeight, opts.BaseHash, opts.BaseTime, opts.History = int64(last.Height), hashOf(last.Hash), last.BlockTime, 0
	}
	d.daemon, stop, err = daemon.Start(opts)
	return stop, err
}

// pool runs the pool, and the miners while it is ready.
func (d *demo) pool(ctx context.Context) error {
	d.say("starting the pool: frontend, embedded broker, backend ...")
	cfg, err := d.writeConfig(ctx)
	if err != nil {
		return err
	}
	// The pool outlives the miners, so that what they send last is answered; and
	// should it break, they need not go on.
	poolCtx, stopPool := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPool()
	minersCtx, stopMiners := context.WithCancel(ctx)
	defer stopMiners()
	ready, ended := make(chan role.Addresses, 1), make(chan error, 1)
	go func() {
		defer stopMiners()
		ended <- role.Run(poolCtx, role.Options{
			Role: config.RoleAll, Config: cfg, Logs: d.logs, Version: d.opts.Version,
			OnReady: func(a role.Addresses) { ready <- a },
		})
	}()
	select {
	case d.where = <-ready:
		err = d.watched(minersCtx, d.mine)
	case <-minersCtx.Done():
	}
	stopPool()
	return errors.Join(err, <-ended)
}

// mine lets the miners work and shows what happens, until ctx ends.
func (d *demo) mine(ctx context.Context) (err error) {
	client, err := miner.NewClient("http://" + d.where.HTTP[0].String())
	if err != nil {
		return err
	}
	d.fleet, err = miner.NewFleet(miner.FleetOptions{
		Miner: miner.Options{
			Client: client, Source: miner.InProcess(d.daemon.Chain()), Network: network, Interval: d.pace.interval,
			FaultPerMille: d.opts.FaultPerMille, Seed: seed, Logger: d.log,
		},
		Miners: d.opts.Miners * d.opts.Rigs, Rigs: d.opts.Rigs, RampUp: d.pace.interval,
	})
	if err != nil {
		return err
	}
	if d.before, err = d.store.ShareCounts(ctx); err != nil {
		return err
	}
	d.begun = time.Now()
	fleet, upset := make(chan error, 1), make(chan struct{})
	go func() { fleet <- d.fleet.Run(ctx) }()
	go func() { defer close(upset); d.upset(ctx) }()
	err = d.show(ctx)
	<-upset
	err = errors.Join(err, <-fleet)
	return errors.Join(err, d.audit(ctx))
}

// upset lets others replace the last blocks of the chain now and then.
func (d *demo) upset(ctx context.Context) {
	ticker := time.NewTicker(d.pace.upsets)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.daemon.Chain().Reorg(2)
		}
	}
}
