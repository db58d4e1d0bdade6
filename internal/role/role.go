// Package role puts the rooms together: it builds what a process in a role is
// made of from its configuration, runs it, and takes it down in the order in
// which no share is lost.
//
// A process that starts waits for the database and the broker; what is wrong
// for good (a database of another version, a network that was never migrated) ends it.
package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"purepool/internal/config"
	"purepool/internal/health"
	"purepool/internal/logging"
	"purepool/internal/meter"
	"purepool/pool/queue"
)

// Options says what a process is to be.
type Options struct {
	Role    config.Role
	Config  *config.Config
	Logs    *logging.Logs
	Version string
	// Reload calls apply with each configuration that is read again, until ctx ends;
	// nil where that cannot happen. Log levels and certificates follow it, the rest
	// waits for a restart.
	Reload func(ctx context.Context, apply func(*config.Config))
	// OnReady is called once when everything runs.
	OnReady func(Addresses)
}

// Addresses are where a process listens.
type Addresses struct {
	HTTP    []net.Addr
	Stratum map[string]net.Addr // by name: network-number
	Health  net.Addr            // nil where there is none
	Metrics net.Addr            // of /metrics alone, beside Health; nil where there is none
	Web     net.Addr            // nil where there is none
}

// attributes are those of the log line that says where to look.
func (a Addresses) attributes() []any {
	var attrs []any
	for _, address := range a.HTTP {
		attrs = append(attrs, slog.String("http", address.String()))
	}
	if a.Health != nil {
		attrs = append(attrs, slog.String("health", a.Health.String()))
	}
	if a.Metrics != nil {
		attrs = append(attrs, slog.String("metrics", a.Metrics.String()))
	}
	if a.Web != nil {
		attrs = append(attrs, slog.String("web", a.Web.String()))
	}
	return attrs
}

// process is one running role.
type process struct {
	cfg       *config.Config
	role      config.Role
	logs      *logging.Logs
	log       *slog.Logger // of the role whose parts are built, see as
	registry  *prometheus.Registry
	health    *health.Server
	stack     *stack
	addresses *Addresses
	reloads   *[]func() error // what reads certificates again
}

// Run plays the role until ctx ends, then drains and returns nil. An error is
// what kept it from starting or broke it.
func Run(ctx context.Context, opts Options) error {
	p, err := newProcess(ctx, opts)
	if err != nil {
		return err
	}
	err = p.build(ctx)
	switch {
	case err == nil:
		if opts.Reload != nil {
			p.stack.run("configuration", func(ctx context.Context) error { opts.Reload(ctx, p.reload); return nil })
		}
		p.health.SetReady()
		p.log.Info("ready", p.addresses.attributes()...)
		if opts.OnReady != nil {
			opts.OnReady(*p.addresses)
		}
		err = p.stack.wait(ctx)
	case ctx.Err() != nil:
		err = nil // told to stop before the start was over
	}
	p.health.SetPhase("draining")
	p.log.Info("stopping")
	err = errors.Join(err, p.stack.stop())
	p.log.Info("stopped")
	return err
}

func newProcess(ctx context.Context, opts Options) (*process, error) {
	p := &process{
		cfg: opts.Config, role: opts.Role, logs: opts.Logs, log: opts.Logs.For(opts.Role),
		registry: prometheus.NewRegistry(), addresses: new(Addresses), reloads: new([]func() error),
	}
	p.stack = newStack(p.log)
	version := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "purepool_build_info", Help: "1; the version and role of this process stand in its labels.",
	}, []string{"version", "role", "goversion"})
	version.WithLabelValues(opts.Version, string(opts.Role), runtime.Version()).Set(1)
	p.registry.MustRegister(version, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	var err error
	if p.health, err = health.New(ctx, p.cfg.Health.Listen(p.role), p.cfg.Health.MetricsAddress, p.registry, p.log); err != nil {
		return nil, err
	}
	p.registry.MustRegister(p.health.Collector())
	meter.NewDisks(p.folders(), p.log, p.registry)
	p.addresses.Health, p.addresses.Metrics = p.health.Addr(), p.health.MetricsAddr()
	p.health.AddLocal("/log-level", p.logs.Page(p.plays()))
	p.stack.run("health", p.health.Run)
	return p, nil
}

// build starts the parts of the role, those first that others lean on.
func (p *process) build(ctx context.Context) error {
	var shown *pages
	if p.role == config.RoleWeb || p.role == config.RoleAll && p.cfg.Web.Listen != "" {
		var err error
		if shown, err = p.as(config.RoleWeb).listenWeb(ctx); err != nil {
			return err
		}
	}
	if p.role == config.RoleWeb {
		return p.as(config.RoleWeb).openWeb(ctx, shown)
	}
	broker, err := p.broker(ctx)
	if err != nil {
		return err
	}
	if p.role == config.RoleBackend || p.role == config.RoleAll {
		if err := p.as(config.RoleBackend).backend(ctx, broker); err != nil {
			return err
		}
	}
	if p.role == config.RoleFrontend || p.role == config.RoleAll {
		if err := p.as(config.RoleFrontend).frontend(ctx, broker); err != nil {
			return err
		}
	}
	if shown != nil {
		return p.as(config.RoleWeb).openWeb(ctx, shown)
	}
	return nil
}

// QueueConfig says how a process reaches the broker.
func QueueConfig(q *config.Queue, name string, log *slog.Logger, reg prometheus.Registerer) queue.Config {
	return queue.Config{
		URL: q.URL, Name: name, User: q.User, Password: q.Password.Value(),
		CredentialsFile: string(q.CredentialsFile), CAFile: string(q.CAFile), CertFile: string(q.CertFile), KeyFile: string(q.KeyFile),
		MaxBytes: int64(q.BrokerMaxBytes), Replicas: q.Replicas, Logger: log, Registerer: reg,
	}
}

// Embedded reports whether the broker lives in the process, and in which folder.
func Embedded(q *config.Queue) (folder string, ok bool) {
	return strings.CutPrefix(q.URL, "embedded:")
}

func (p *process) broker(ctx context.Context) (*queue.Broker, error) {
	p.health.SetPhase("starting: reaching the broker")
	broker, err := queue.Open(ctx, QueueConfig(&p.cfg.Queue, string(p.role)+" "+p.frontendID(), p.log, p.registry))
	if err != nil {
		return nil, err
	}
	p.stack.closing("broker", broker.Close)
	// Shares are taken into the spool meanwhile; a backend can do nothing.
	if p.role == config.RoleBackend || p.cfg.Queue.SpoolDir == "" {
		p.health.Add("broker", broker.Ready)
	} else {
		p.health.AddOptional("broker", broker.Ready)
	}
	return broker, nil
}

func (p *process) frontendID() string {
	if id := p.cfg.Frontend.ID; id != "" {
		return id
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "frontend"
	}
	return host[:min(len(host), 32)]
}

// patience is the wait between tries at the start.
type patience struct{ wait time.Duration }

// until waits a little longer than the last time; the error is that of ctx.
func (w *patience) next(ctx context.Context) error {
	w.wait = min(max(2*w.wait, 100*time.Millisecond), 5*time.Second)
	timer := time.NewTimer(w.wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retry calls try until it succeeds, fails for good or ctx ends.
func (p *process) retry(ctx context.Context, what string, away func(error) bool, try func(context.Context) error) error {
	p.health.SetPhase("starting: waiting for the " + what)
	var w patience
	for first := true; ; first = false {
		err := try(ctx)
		if err == nil || ctx.Err() != nil || !away(err) {
			return errors.Join(err, ctx.Err())
		}
		if first {
			p.log.Warn("waiting before the start is over", slog.String("for", what), slog.Any("error", err))
		}
		p.health.SetPhase(fmt.Sprintf("starting: waiting for the %s: %v", what, err))
		if err := w.next(ctx); err != nil {
			return err
		}
	}
}
