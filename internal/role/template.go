package role

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool"
	"purepool/pool/job"
	"purepool/pool/jobs"
	"purepool/pool/queue"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/stratum"
)

// templates lists the configured template networks in order.
func (p *process) templates() (names []string) {
	for _, name := range p.networks() {
		if p.cfg.Network[name].IsTemplate() {
			names = append(names, name)
		}
	}
	return names
}

// provisionTemplates prepares the broker for template networks.
func (p *process) provisionTemplates(ctx context.Context, broker *queue.Broker) error {
	names := p.templates()
	if len(names) == 0 {
		return nil
	}
	always := func(error) bool { return true }
	return p.retry(ctx, "broker", always, func(ctx context.Context) error { return broker.ProvisionTemplate(ctx, names...) })
}

// tipSource is how the follower asks a network's daemon.
func (p *process) tipSource(name string, client *bbprpc.Client) tip.Source {
	if p.cfg.Network[name].IsTemplate() {
		return validate.NewTemplateRPC(client)
	}
	return validate.NewRPC(client)
}

// mint starts what a template network's backend is made of: jobs, blocks, and the
// validator of its shares.
func (p *process) mint(broker *queue.Broker, store *ledger.BackendStore, name string, id int16, s served) error {
	n, b := p.cfg.Network[name], &p.cfg.Backend
	chain, _ := n.ChainOf(name) // the configuration was checked
	dir := string(b.StateDir)
	keeper, err := jobs.NewKeeper(name, id, store, filepath.Join(dir, "jobs-"+name), p.log)
	if err != nil {
		return err
	}
	p.stack.run("jobs' keeper of "+name, keeper.Run)
	var daemons []jobs.Daemon
	for _, d := range s.daemons.Daemons() {
		daemons = append(daemons, d)
	}
	maker, err := jobs.NewMaker(jobs.Config{
		Plan: jobs.Plan{
			Network: name, Algorithm: n.Algorithm, Chain: chain, PoolAddress: n.PoolAddress, Tag: n.CoinbaseTag, BindTargets: true,
		},
		Rules: n.Rules(), Poll: b.TipPollInterval, Refresh: n.JobRefresh, OnTip: s.feed.Tell, Logger: p.log, Registerer: p.registry,
	}, daemons, keeper, broker, jobs.LeadOf(store, id))
	if err != nil {
		return err
	}
	s.feed.Listen(maker.Notify)
	p.stack.run("jobs of "+name, maker.Run)
	var v *validate.Template
	open := make(chan struct{}) // when v is there
	submitter, err := jobs.NewSubmitter(jobs.SubmitConfig{
		Network: name, NetworkID: id, Dir: dir, Timeout: n.DaemonTimeout, OnAccepted: func() { s.feed.Tell(tip.SourceOwn) },
		Late: func(ctx context.Context, share *job.Share) error {
			select {
			case <-open:
				return v.Late(ctx, share)
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Logger: p.log, Registerer: p.registry,
	}, keeper, s.daemons, store)
	if err != nil {
		return err
	}
	p.stack.closing("blocks of "+name, submitter.Close)
	p.stack.run("winning shares of "+name, func(ctx context.Context) error {
		return broker.ConsumeBlocks(ctx, name, submitter.Message)
	})
	v, err = validate.NewTemplate(validate.TemplateConfig{
		Config: validate.Config{
			Network: name, NetworkID: id,
			Rules: validate.Rules{
				EasiestTarget: job.BitsOf(n.Algorithm, float64(n.EasiestDifficulty)).Target(), WorkLifetime: n.JobLifetime,
			},
			Parallel: b.ValidatorParallelism, Batch: b.BatchShares, Tries: b.DeadLetterAfter,
			MinWait: b.RetryMin, MaxWait: b.RetryMax, Logger: p.log, Registerer: p.registry,
		},
	}, store, keeper, submitter, s.follower, broker.DeadLetters())
	if err != nil {
		return err
	}
	close(open)
	p.stack.run("validator of "+name, func(ctx context.Context) error {
		return judge(ctx, b.DrainTimeout, broker, name, b.ValidatorParallelism, v)
	})
	p.stack.run("old jobs of "+name, func(ctx context.Context) error { return p.dropJobs(ctx, store) })
	return nil
}

// keepBlocks is how long the rest of a job's block is kept: far longer than any
// block of it could count.
const keepBlocks = 24 * time.Hour

// dropJobs forgets jobs for which no share can come any more.
func (p *process) dropJobs(ctx context.Context, store *ledger.BackendStore) error {
	tick := time.NewTicker(dropJobsEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		if err := store.DropJobs(ctx, now.Add(-p.cfg.Backend.KeepWork), now.Add(-keepBlocks)); err != nil && ctx.Err() == nil {
			p.log.Error("old jobs could not be dropped", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const dropJobsEvery = time.Hour

// door lets the workers of a template network in.
type door struct{ desk *pool.TemplateDesk }

func (d door) Admit(ctx context.Context, a stratum.Arrival) (stratum.Admission, error) {
	id, err := d.desk.Admit(ctx, pool.TemplateArrival{Address: a.Address, Worker: a.Worker, RemoteIP: a.RemoteIP})
	return stratum.Admission{Worker: id}, err
}

// templateDesks opens the front desks of the template networks that have a port.
func (p *process) templateDesks(broker *queue.Broker, store *ledger.FrontendStore, publisher *queue.Publisher, ids map[string]int16, bans *pool.Bans) ([]stratum.Network, error) {
	var networks []stratum.Network
	for _, name := range p.templates() {
		n := p.cfg.Network[name]
		chain, _ := n.ChainOf(name) // the configuration was checked
		desk, err := pool.NewTemplateDesk(pool.TemplateConfig{
			Frontend: p.frontendID(), StateTTL: p.cfg.Frontend.MinerRecheck, StoreTimeout: p.cfg.Frontend.StoreTimeout, JobLifetime: n.JobLifetime,
			Network: pool.TemplateNetwork{Name: name, ID: ids[name], Chain: chain, Algorithm: n.Algorithm},
			Bans:    bans, Logger: p.log, Registerer: p.registry,
		}, store, publisher, broker)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", name, err)
		}
		p.stack.closing("front desk of "+name, func() error { desk.Close(); return nil })
		if err := desk.Recover(context.Background()); err != nil {
			p.log.Warn("shares for jobs of before the start are refused as stale", slog.String("network", name), slog.Any("error", err))
		}
		p.stack.run("jobs heard of "+name, desk.Run)
		p.health.AddOptional("jobs of "+name, desk.Ready)
		networks = append(networks, stratum.Network{Name: name, Chain: chain, Algorithm: n.Algorithm, Jobs: desk, Sink: desk, Door: door{desk}})
	}
	return networks, nil
}
