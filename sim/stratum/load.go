package stratum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// LoadOptions say what a Load does. Pool and Worker are needed.
//
// A load does not search: it hands in one nonce after the other, so the pool must
// ask for a difficulty that every hash meets (a port with start and ceiling of
// 1e-10, or a Password of d=1e-10 where the floor allows it).
type LoadOptions struct {
	Pool     string // host:port
	Worker   string // ADDRESS.name; a connection's number is put behind it
	Password string
	// Passwords, where there are any, are used in turn instead, so that connections
	// have several difficulties.
	Passwords   []string
	Algorithm   string
	From        netip.Addr    // the address that connections come from, where set
	Connections int           // 100
	Pipeline    int           // submits under way per connection (1); 0 with Idle
	Duration    time.Duration // of submitting (5 s)
	// Every, where set, is the time between two submits of a connection, as miners
	// have it: it does not wait for the answer unless Pipeline of them are under way.
	Every time.Duration
	// Idle connections submit nothing.
	Idle bool
	// ConnectAtOnce is how many log in at the same time (64).
	ConnectAtOnce int
	// Broadcasts is how often NewJob is called, while nothing is submitted, to
	// measure how long a new job takes to every connection.
	Broadcasts int
	NewJob     func()
}

// LoadResult is what a Load measured. Broadcast is from NewJob to the arrival of
// the new job, over all connections and all jobs.
type LoadResult struct {
	Connections    int           `json:"connections"`
	Pipeline       int           `json:"pipeline"`
	ConnectSeconds float64       `json:"connect_seconds"`
	Seconds        float64       `json:"seconds"`
	Accepted       int64         `json:"accepted"`
	Refused        map[int]int64 `json:"refused"`
	PerSecond      float64       `json:"accepted_per_second"`
	Submit         Latency       `json:"submit"`
	Broadcast      Latency       `json:"broadcast"`
	Lost           int64         `json:"lost_connections"`
}

// JSON returns the result as one line.
func (r *LoadResult) JSON() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// WriteTo writes the result as a table.
func (r *LoadResult) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "connections\tin flight each\tlogged in\taccepted/s\trefused\tlost\t\n%d\t%d\t%.2f s\t%.0f\t%v\t%d\t\n",
		r.Connections, r.Pipeline, r.ConnectSeconds, r.PerSecond, r.Refused, r.Lost)
	fmt.Fprintf(t, "\tcount\tp50 ms\tp90 ms\tp99 ms\tmax ms\t\n")
	for _, row := range []struct {
		name string
		l    Latency
	}{{"submit", r.Submit}, {"new job", r.Broadcast}} {
		if row.l.Count > 0 {
			fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t\n", row.name, row.l.Count, row.l.P50, row.l.P90, row.l.P99, row.l.Max)
		}
	}
	if err := t.Flush(); err != nil {
		return 0, err
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// Load puts a load on a pool and measures it. Logging in is done by a goroutine a
// connection; from then on event loops serve all of them, so that the generator
// takes as little as possible of the processors that it shares with the pool.
type Load struct {
	opt    LoadOptions
	conns  []*loader
	loops  *gnet.Client
	end    atomic.Int64 // unix ns from which on nothing is submitted; 0: nothing yet
	busy   sync.WaitGroup
	issued atomic.Int64 // when the job being broadcast was issued, unix ns; 0: none
	heard  atomic.Int64 // connections that have it
	all    chan struct{}
}

// NewLoad checks the options.
func NewLoad(opt LoadOptions) (*Load, error) {
	if opt.Pool == "" || opt.Worker == "" {
		return nil, errors.New("a load needs a pool and a worker")
	}
	if opt.Broadcasts > 0 && opt.NewJob == nil {
		return nil, errors.New("a load of broadcasts needs NewJob")
	}
	def := func(v *int, n int) {
		if *v == 0 {
			*v = n
		}
	}
	def(&opt.Connections, 100)
	def(&opt.Pipeline, 1)
	def(&opt.ConnectAtOnce, 64)
	if opt.Duration == 0 {
		opt.Duration = 5 * time.Second
	}
	if opt.Algorithm == "" {
		opt.Algorithm = "sha256d"
	}
	if len(opt.Passwords) == 0 {
		opt.Passwords = []string{opt.Password}
	}
	return &Load{opt: opt, all: make(chan struct{}, 1)}, nil
}

// Connect opens all connections and logs them in. Close must follow.
func (l *Load) Connect(ctx context.Context) error {
	var err error
	if l.loops, err = gnet.NewClient(&loadEngine{}, gnet.WithNumEventLoop(runtime.GOMAXPROCS(0)),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogger(silent{})); err != nil {
		return fmt.Errorf("starting event loops: %w", err)
	}
	if err = l.loops.Start(); err != nil {
		return fmt.Errorf("starting event loops: %w", err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	var first error
	slots := make(chan struct{}, l.opt.ConnectAtOnce)
	for i := range l.opt.Connections {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			c, err := l.connect(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				l.conns = append(l.conns, c)
			} else if first == nil {
				first = fmt.Errorf("connection %d: %w", i, err)
			}
		})
	}
	all.Wait()
	return first
}

func (l *Load) connect(ctx context.Context, number int) (*loader, error) {
	s, err := connect(ctx, l.opt.Pool, l.opt.From, nil)
	if err != nil {
		return nil, err
	}
	c := &loader{load: l, worker: fmt.Sprintf("%s%d", l.opt.Worker, number), nextID: 10, sent: make([]int64, l.opt.Pipeline)}
	if err := s.login("load/1", "", c.worker, l.opt.Passwords[number%len(l.opt.Passwords)], l.opt.Algorithm, time.Minute); err != nil {
		_ = s.Close()
		return nil, err
	}
	c.seen = s.seen
	rest, err := s.r.Peek(s.r.Buffered())
	if err != nil {
		return nil, err
	}
	c.rest = append(c.rest, rest...)
	// The loop takes a copy of the file and closes this one.
	if _, err := l.loops.EnrollContext(s.Conn, c); err != nil {
		return nil, fmt.Errorf("handing the connection over: %w", err)
	}
	if c.conn == nil {
		return nil, errors.New("no event loop takes the connection: are there too many open files?")
	}
	return c, nil
}

// Close ends all connections.
func (l *Load) Close() error {
	if l.loops == nil {
		return nil
	}
	return l.loops.Stop()
}

// Run connects, submits for as long as it should, measures broadcasts, and closes.
func (l *Load) Run(ctx context.Context) (r *LoadResult, err error) {
	began := time.Now()
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Connect(ctx); err != nil {
		return nil, err
	}
	r = &LoadResult{Connections: len(l.conns), Pipeline: l.opt.Pipeline, ConnectSeconds: time.Since(began).Seconds(), Refused: map[int]int64{}}
	if !l.opt.Idle {
		if err := l.submit(ctx, r); err != nil {
			return nil, err
		}
	}
	r.Broadcast, err = l.Broadcasts(ctx, l.opt.Broadcasts, l.opt.NewJob)
	return r, err
}

// Broadcasts calls newJob so many times, one after the other, and measures how long
// each new job takes to every connection. Nothing is submitted meanwhile.
func (l *Load) Broadcasts(ctx context.Context, times int, newJob func()) (Latency, error) {
	var h histogram
	for range times {
		if err := l.broadcast(ctx, newJob, &h); err != nil {
			return Latency{}, err
		}
	}
	return h.latency(), nil
}

// submit has all connections submit for a while and waits for the last answer.
func (l *Load) submit(ctx context.Context, r *LoadResult) error {
	began := time.Now()
	l.end.Store(began.Add(l.opt.Duration).UnixNano())
	l.busy.Add(len(l.conns))
	for _, c := range l.conns {
		if err := c.conn.Wake(nil); err != nil {
			c.leave()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.pace()
		l.busy.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(l.opt.Duration + 30*time.Second):
		return errors.New("submits are still without an answer thirty seconds after the last one")
	}
	r.Seconds = time.Since(began).Seconds()
	var submit histogram
	for _, c := range l.conns {
		submit.merge(&c.latency)
		r.Accepted += c.ok
		for code, n := range c.refused {
			if n > 0 {
				r.Refused[code] += n
			}
		}
		if c.lost {
			r.Lost++
		}
	}
	r.Submit = submit.latency()
	r.PerSecond = float64(r.Accepted) / r.Seconds
	return nil
}

// pace has one connection after the other submit, each as often as Every says,
// until the end.
func (l *Load) pace() {
	if l.opt.Every == 0 {
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, end, n := time.Now(), time.Unix(0, l.end.Load()), 0
	for now := began; now.Before(end); now = <-tick.C {
		for due := int(now.Sub(began) * time.Duration(len(l.conns)) / l.opt.Every); n < due; n++ {
			c := l.conns[n%len(l.conns)]
			c.due.Add(1)
			_ = c.conn.Wake(nil) // where it fails the connection has left
		}
	}
	for _, c := range l.conns { // who waits for no answer leaves now
		_ = c.conn.Wake(nil)
	}
}

// broadcast measures one new job.
func (l *Load) broadcast(ctx context.Context, newJob func(), h *histogram) error {
	l.heard.Store(0)
	l.issued.Store(time.Now().UnixNano())
	newJob()
	select {
	case <-l.all:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("a new job has reached %d of %d connections within a minute", l.heard.Load(), len(l.conns))
	}
	l.issued.Store(0)
	for _, c := range l.conns {
		h.add(c.took)
	}
	return nil
}
