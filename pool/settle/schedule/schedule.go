// Package schedule runs jobs at intervals, each by one process at a time,
// however many are started.
//
// What is due stands in the database, and so does how the last run went; a lock
// that lives as long as its holder's session of the database keeps two from
// running the same job at once. A process that dies in a run leaves no lock
// behind, and the job is due again after its interval.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
)

// Job is something that is done again and again. It may be called at any time,
// any number of times; Run returns when what is to be done now is done.
type Job struct {
	Name      string // [a-z0-9_-]{1,40}
	Network   string
	NetworkID int16
	Every     time.Duration
	Run       func(ctx context.Context) error
}

// Store is what the runner needs of the ledger; *ledger.Books is one.
type Store interface {
	DefineSchedule(ctx context.Context, networkID int16, name string, every time.Duration) error
	TakeTurn(ctx context.Context, networkID int16, name, runner string, force bool) (*ledger.ScheduleTurn, error)
}

var (
	// ErrNoJob: there is no job of this name on this network.
	ErrNoJob = errors.New("there is no such job")
	// ErrBusy: the job runs elsewhere at this moment.
	ErrBusy = errors.New("the job runs elsewhere at this moment")
)

// Options are the settings of a runner; zero values mean the defaults.
type Options struct {
	// Runner names this process in the table of schedules, for people.
	Runner string
	// Poll is how often the database is asked what is due; 1 s.
	Poll time.Duration
	// Parallel is how many jobs run at once; 3. A job holds one connection to the
	// database while it runs, and some need two more: the ledger's store should
	// have at least twice as many and two.
	Parallel int

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Runner runs jobs. Safe for concurrent use.
type Runner struct {
	opts    Options
	store   Store
	places  chan struct{} // a token for each job that runs
	jobs    []Job
	runs    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// New makes a runner of these jobs.
func New(opts Options, store Store, jobs ...Job) *Runner {
	if opts.Poll == 0 {
		opts.Poll = time.Second
	}
	if opts.Parallel == 0 {
		opts.Parallel = 3
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	// Not "job": Prometheus gives that label a meaning of its own.
	by := []string{"network", "schedule"}
	r := &Runner{
		opts: opts, store: store, jobs: jobs, places: make(chan struct{}, opts.Parallel),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_schedule_runs_total", Help: "Runs of a schedule by this process, by how they ended: ok, error.",
		}, append(by, "result")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "purepool_schedule_run_seconds", Help: "How long the runs of a schedule by this process took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 8, 7), // to 4 minutes
		}, by),
	}
	for _, j := range jobs {
		r.runs.WithLabelValues(j.Network, j.Name, "ok")
		r.runs.WithLabelValues(j.Network, j.Name, "error")
		r.seconds.WithLabelValues(j.Network, j.Name)
	}
	if opts.Registerer != nil {
		opts.Registerer.MustRegister(r.runs, r.seconds)
	}
	return r
}

// Run runs every job when it is due, until ctx ends, which is no error. Jobs run
// side by side, Parallel at a time.
func (r *Runner) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for i := range r.jobs {
		all.Go(func() { r.keepRunning(ctx, &r.jobs[i]) })
	}
	all.Wait()
	return nil
}

func (r *Runner) keepRunning(ctx context.Context, job *Job) {
	defined := false
	for {
		if !defined {
			err := r.store.DefineSchedule(ctx, job.NetworkID, job.Name, job.Every)
			defined = err == nil
			r.complain(ctx, job, err)
		}
		if defined {
			r.complain(ctx, job, r.turn(ctx, job, false))
		}
		timer := time.NewTimer(r.opts.Poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// complain logs what went wrong with the schedule itself.
func (r *Runner) complain(ctx context.Context, job *Job, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrBusy) {
		r.opts.Logger.Warn("a job failed", slog.String("job", job.Name), slog.String("network", job.Network), slog.Any("error", err))
	}
}

// Once runs a job now, whether it is due or not. Errors: [ErrNoJob], [ErrBusy],
// and the job's own.
func (r *Runner) Once(ctx context.Context, network, name string) error {
	for i := range r.jobs {
		job := &r.jobs[i]
		if job.Name != name || job.Network != network {
			continue
		}
		if err := r.store.DefineSchedule(ctx, job.NetworkID, job.Name, job.Every); err != nil {
			return err
		}
		return r.turn(ctx, job, true)
	}
	return fmt.Errorf("%w: %s on network %s", ErrNoJob, name, network)
}

// turn runs a job where it is due and nobody else runs it.
func (r *Runner) turn(ctx context.Context, job *Job, force bool) error {
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	turn, err := r.store.TakeTurn(ctx, job.NetworkID, job.Name, r.opts.Runner, force)
	if err != nil {
		return err
	}
	if turn == nil {
		if force {
			return ErrBusy
		}
		return nil
	}
	started := time.Now()
	failure := r.call(ctx, job)
	r.measure(job, time.Since(started), failure)
	// Written down also when the process is told to stop.
	noted := turn.Done(context.WithoutCancel(ctx), failure)
	return errors.Join(failure, noted)
}

// call runs a job; a panic is its error, so that one job cannot stop the rest.
func (r *Runner) call(ctx context.Context, job *Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return job.Run(ctx)
}

func (r *Runner) measure(job *Job, took time.Duration, failure error) {
	r.seconds.WithLabelValues(job.Network, job.Name).Observe(took.Seconds())
	result := "ok"
	if failure != nil {
		result = "error"
	}
	r.runs.WithLabelValues(job.Network, job.Name, result).Inc()
}
