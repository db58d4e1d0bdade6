package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/settle/schedule"
	"purepool/pool/tip"
)

// served is a network that the backend serves: what the settlement needs of it.
type served struct {
	daemons  *bbprpc.Client
	follower *tip.Follower
	// feed is told of announced blocks; nil where something else follows the tip.
	feed *tip.Feed
}

// settlement runs what turns blocks into payments, and the upkeep.
type settlement struct {
	runner   *schedule.Runner
	books    *ledger.Books
	networks map[string]served
	ids      map[string]int16
	wake     map[string]chan struct{} // capacity 1
	log      *slog.Logger
}

// parallelJobs is how many jobs run at once: three, and two for each network
// after the first, so that a long audit keeps nobody waiting.
func parallelJobs(networks int) int { return 3 + 2*max(networks-1, 0) }

// newSettlement makes what can be woken from the start.
func newSettlement(ids map[string]int16, log *slog.Logger) *settlement {
	s := &settlement{ids: ids, wake: make(map[string]chan struct{}, len(ids)), log: log}
	for name := range ids {
		s.wake[name] = make(chan struct{}, 1)
	}
	return s
}

// settle starts the settlement of the networks. It keeps connections to the
// database of its own: a job holds up to three, and verdicts must not wait for
// them.
func (p *process) settle(s *settlement, networks map[string]served) error {
	names := slices.Sorted(maps.Keys(networks))
	parallel := parallelJobs(len(names))
	dsn := p.cfg.Database.BackendDSN.Value()
	store, err := ledger.OpenBackend(context.Background(), dsn, ledger.Options{MaxOpen: 2*parallel + 2})
	if err != nil {
		return err
	}
	p.stack.closing("settlement ledger", store.Close)
	s.books, s.networks = store.Books(), networks
	p.registry.MustRegister(store.PoolCollector("settlement"))
	p.measure(store, s.ids, networks)
	var jobs []schedule.Job
	for i, name := range names {
		parts, err := NewSettlement(SettlementOptions{
			Config: p.cfg, Network: name, ID: s.ids[name], Store: store, Daemon: Wallet(networks[name].daemons),
			Logger: p.log, Registerer: p.registry,
		})
		if err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
		var keep *ledger.Retention
		if i == 0 {
			all := Retention(&p.cfg.Backend)
			keep = &all
		}
		jobs = append(jobs, parts.Jobs(keep)...)
	}
	s.runner = schedule.New(schedule.Options{
		Runner: runnerName("backend"), Poll: pollEvery(jobs), Parallel: parallel, Logger: p.log, Registerer: p.registry,
	}, s.books, jobs...)
	p.health.AddOptional("jobs", s.failing)
	p.stack.run("jobs", s.runner.Run)
	for _, name := range names {
		p.stack.run("new blocks of "+name, func(ctx context.Context) error { return s.watchAtOnce(ctx, name) })
	}
	p.stack.run("announced blocks", func(ctx context.Context) error { return ledger.ListenBlocks(ctx, dsn, s.announced) })
	return nil
}

// pollEvery is how often due jobs are looked for: as often as the most frequent
// one, and at least once a second.
func pollEvery(jobs []schedule.Job) time.Duration {
	poll := time.Second
	for _, j := range jobs {
		poll = min(poll, j.Every)
	}
	return poll
}

// runnerName names this process to who reads the table of schedules.
func runnerName(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s %s %d", role, host, os.Getpid())
}

// Wake asks for a look at a network's chain, because it has grown. Safe for
// concurrent use; it never waits.
func (s *settlement) Wake(network string) {
	select {
	case s.wake[network] <- struct{}{}:
	default: // asked for already, or not served here
	}
}

// announced deals with a block that somebody tells of, of all networks where
// none is named.
func (s *settlement) announced(network string) {
	for name, n := range s.networks {
		if network != "" && network != name {
			continue
		}
		if n.feed != nil {
			n.feed.Tell(tip.SourceNotify)
		}
		s.Wake(name)
	}
}

// watchAtOnce runs the network's watch job whenever it is woken, unless a person
// has paused it or it runs elsewhere.
func (s *settlement) watchAtOnce(ctx context.Context, network string) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake[network]:
		}
		paused, err := s.paused(ctx, network)
		if err == nil && !paused {
			err = s.runner.Once(ctx, network, JobWatch)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, schedule.ErrBusy) {
			s.log.Warn("the chain could not be read", slog.String("network", network), slog.Any("error", err))
		}
	}
}

func (s *settlement) paused(ctx context.Context, network string) (bool, error) {
	list, err := s.books.Schedules(ctx)
	for _, job := range list {
		if job.NetworkID == s.ids[network] && job.Name == JobWatch {
			return job.Paused, err
		}
	}
	return false, err
}

// patienceWithJobs is how often in a row a job may fail before health tells: a
// daemon that restarts is nobody's trouble.
const patienceWithJobs = 3

// failing says which jobs do not succeed.
func (s *settlement) failing(ctx context.Context) error {
	list, err := s.books.Schedules(ctx)
	if err != nil {
		return err
	}
	names := make(map[int16]string, len(s.ids))
	for name, id := range s.ids {
		names[id] = name
	}
	var words []string
	for _, job := range list {
		if name, ours := names[job.NetworkID]; ours && job.Failures >= patienceWithJobs {
			words = append(words, fmt.Sprintf("%s of %s failed %d times: %s", job.Name, name, job.Failures, job.LastError))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return errors.New(strings.Join(words, "; "))
}
