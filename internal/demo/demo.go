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
	Duration time.Duration // 0: until told to stop
	Miners   int           // addresses
	Rigs     int           // rigs of each address
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
	// hashTarget asks for 256 hashes a share, so that a small machine shows life.
	hashTarget = "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	// firstHeight is where the chain of a new folder begins.
	firstHeight = 20_000
	// interval is the least time between two solutions of a miner; real clients wait
	// two minutes.
	interval = 4 * time.Second
	// strangers is the mean time between blocks of others.
	strangers = 45 * time.Second
)

// demo is a running demo.
type demo struct {
	opts    Options
	log     *slog.Logger
	cluster *pgcluster.Cluster
	store   *ledger.BackendStore
	daemon  *daemon.Daemon
	fleet   *miner.Fleet
	where   role.Addresses
	config  string // the configuration's path
	begun   time.Time
	before  ledger.Counts // what earlier runs left
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
	d := &demo{
		opts: opts, log: logging.New(logFile, config.Log{Level: "info", Format: "text"}),
		config: filepath.Join(dir, "purepool.toml"),
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

// startDaemon starts the simulated daemon. Its chain is not kept, so it goes on
// from the last tip in the ledger: heights only ever grow.
func (d *demo) startDaemon(ctx context.Context) (stop func(), err error) {
	opts := daemon.Options{
		Network: network, BlockInterval: strangers, Seed: seed, BaseHeight: firstHeight, History: 3, Logger: d.log,
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
			Role: config.RoleAll, Config: cfg, Logger: d.log, Version: d.opts.Version,
			OnReady: func(a role.Addresses) { ready <- a },
		})
	}()
	select {
	case d.where = <-ready:
		err = d.mine(minersCtx)
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
			Client: client, Source: miner.InProcess(d.daemon.Chain()), Network: network, Interval: interval,
			FaultPerMille: d.opts.FaultPerMille, Seed: seed, Logger: d.log,
		},
		Miners: d.opts.Miners * d.opts.Rigs, Rigs: d.opts.Rigs, RampUp: interval,
	})
	if err != nil {
		return err
	}
	if d.before, err = d.store.ShareCounts(ctx); err != nil {
		return err
	}
	d.begun = time.Now()
	fleet := make(chan error, 1)
	go func() { fleet <- d.fleet.Run(ctx) }()
	err = d.show(ctx)
	return errors.Join(err, <-fleet)
}
