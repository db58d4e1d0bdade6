// Package load is a load generator for a pool's HTTP page: many clients at once, a
// new TCP connection for every request as the real client makes it, and as little
// processor time per request as can be, since it shares the machine with the
// server that it measures.
//
// It therefore speaks to the kernel itself: one event loop over non-blocking
// sockets, seven system calls a request, no allocation per request. It runs on
// Linux alone. For miners that mine, see purepool/sim/miner.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Source writes request number n, counted from 0, into dst, which is empty and
// used again. With more than one loop it is called from several goroutines.
type Source func(dst []byte, n int64) []byte

// Options are the settings of a run. The zero value of a field means the default
// named beside it.
type Options struct {
	// Addr is the server's address. Only a loopback address is taken: this is no
	// tool against other people's servers.
	Addr netip.AddrPort
	// Source makes the requests.
	Source Source
	// Concurrency is the number of connections that are open at once (1).
	Concurrency int
	// Requests and Duration end the run, whichever comes first; 0 is no bound, and
	// one of them must be given. Requests under way at the end are waited for.
	Requests int64
	Duration time.Duration
	// Timeout is how long a request may take before it has failed (30 s).
	Timeout time.Duration
	// OK is what a good answer holds. Any other answer counts as refused. Empty: all
	// are good.
	OK []byte
	// Loops is the number of event loops, each a thread (1).
	Loops int
}

// Result is what a run has measured.
type Result struct {
	OK      int64 // good answers
	Refused int64 // other answers
	Failed  int64 // no answer: connection refused, reset, timed out
	Elapsed time.Duration
	// Latency is the time from before the connection to after the last byte, of all
	// requests that were answered.
	Latency Histogram
	// Sample is an answer that was refused, Err why a request failed; where there
	// was any.
	Sample string
	Err    error
}

// RequestsPerSecond returns the answered requests per second.
func (r *Result) RequestsPerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.OK+r.Refused) / r.Elapsed.Seconds()
}

// String says it in one line.
func (r *Result) String() string {
	return fmt.Sprintf("%.0f requests/s (p50 %v, p99 %v, max %v), %d ok, %d refused, %d failed in %v",
		r.RequestsPerSecond(), r.Latency.Percentile(50), r.Latency.Percentile(99), r.Latency.Max(),
		r.OK, r.Refused, r.Failed, r.Elapsed.Round(time.Millisecond))
}

const maxConcurrency = 15_000 // a process may have 20,000 open files as a rule

func (o Options) withDefaults() (Options, error) {
	o.Concurrency, o.Loops = max(o.Concurrency, 1), max(o.Loops, 1)
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	switch {
	case !o.Addr.IsValid() || !o.Addr.Addr().Unmap().Is4() || !o.Addr.Addr().IsLoopback():
		return o, fmt.Errorf("load: %s is not an IPv4 loopback address", o.Addr)
	case o.Source == nil:
		return o, errors.New("load: there is no source of requests")
	case o.Requests <= 0 && o.Duration <= 0:
		return o, errors.New("load: neither a number of requests nor a duration")
	case o.Concurrency > maxConcurrency:
		return o, fmt.Errorf("load: more than %d clients", maxConcurrency)
	case o.Loops > o.Concurrency:
		return o, errors.New("load: more loops than clients")
	}
	return o, nil
}

// Run measures. The error is that of the options or of the system; what goes wrong
// with requests is in the result. When ctx is done the run ends early.
func Run(ctx context.Context, opts Options) (*Result, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	run := &run{Options: opts, begin: time.Now()}
	results := make([]*Result, opts.Loops)
	errs := make([]error, opts.Loops)
	stop := context.AfterFunc(ctx, func() { run.stopped.Store(true) })
	defer stop()
	var wg sync.WaitGroup
	for i := range results {
		clients := opts.Concurrency / opts.Loops
		if i < opts.Concurrency%opts.Loops {
			clients++
		}
		wg.Go(func() { results[i], errs[i] = run.loop(clients) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	total := &Result{Elapsed: time.Since(run.begin)}
	for _, r := range results {
		total.add(r)
	}
	return total, nil
}

func (r *Result) add(other *Result) {
	r.OK += other.OK
	r.Refused += other.Refused
	r.Failed += other.Failed
	r.Latency.Add(&other.Latency)
	if r.Sample == "" {
		r.Sample = other.Sample
	}
	if r.Err == nil {
		r.Err = other.Err
	}
}

// run is what the loops of a run share.
type run struct {
	Options

	begin   time.Time
	next    atomic.Int64
	stopped atomic.Bool
}

// take returns the number of the next request, false when there are to be no
// more.
func (r *run) take() (int64, bool) {
	if r.stopped.Load() {
		return 0, false
	}
	if r.Duration > 0 && time.Since(r.begin) >= r.Duration {
		r.stopped.Store(true)
		return 0, false
	}
	n := r.next.Add(1) - 1
	return n, r.Requests <= 0 || n < r.Requests
}

// judge counts an answer.
func (r *Result) judge(answer, ok []byte, took time.Duration) {
	r.Latency.Record(took)
	if bytes.Contains(answer, ok) {
		r.OK++
		return
	}
	if r.Refused++; r.Sample == "" {
		r.Sample = string(answer)
	}
}

func (r *Result) fail(err error) {
	if r.Failed++; r.Err == nil {
		r.Err = err
	}
}
