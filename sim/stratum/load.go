package stratum

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"purepool/pool/job"
)

// LoadOptions say what a Load does. Pool and Worker are needed.
//
// A load does not search: it hands in one nonce after the other, so the pool must
// ask for a difficulty that every hash meets (a port with start and ceiling of
// 1e-10, or a Password of d=1e-10 where the floor allows it).
type LoadOptions struct {
	Pool        string // host:port
	Worker      string // ADDRESS.name; a connection's number is put behind it
	Password    string
	Algorithm   string
	Connections int           // 100
	Pipeline    int           // submits under way per connection (1); 0 with Idle
	Duration    time.Duration // of submitting (5 s)
	// Idle connections submit nothing.
	Idle bool
	// ConnectAtOnce is how many log in at the same time (64).
	ConnectAtOnce int
	// Broadcasts is how often NewJob is called, while nothing is submitted, to
	// measure how long a new job takes to every connection.
	Broadcasts int
	NewJob     func()
}

// LoadResult is what a Load measured.
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

// Load puts a load on a pool and measures it.
type Load struct {
	opt   LoadOptions
	conns []*loader
	// What goes on, for all loaders:
	issued  atomic.Int64 // when the job being broadcast was issued, unix ns
	arrived chan time.Duration
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
	return &Load{opt: opt, arrived: make(chan time.Duration, opt.Connections)}, nil
}

// loader is one connection.
type loader struct {
	load   *Load
	s      *session
	worker string
	end    atomic.Int64 // unix ns from which on nothing is submitted

	found   job.Found
	nextID  int
	sent    []time.Time // by id, modulo its length
	out     []byte
	latency histogram
	ok      int64
	refused [26]int64
	flying  int
	lost    bool
}

// Connect opens all connections and logs them in. Close must follow.
func (l *Load) Connect(ctx context.Context) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var first error
	slots := make(chan struct{}, l.opt.ConnectAtOnce)
	for i := range l.opt.Connections {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			c := &loader{load: l, worker: fmt.Sprintf("%s%d", l.opt.Worker, i), nextID: 10, sent: make([]time.Time, l.opt.Pipeline)}
			s, err := connect(ctx, l.opt.Pool, nil)
			if err == nil {
				c.s = s
				err = s.login("load/1", c.worker, l.opt.Password, l.opt.Algorithm, time.Minute)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if first == nil {
					first = fmt.Errorf("connection %d: %w", i, err)
				}
				return
			}
			l.conns = append(l.conns, c)
		})
	}
	all.Wait()
	return first
}

// Close ends all connections.
func (l *Load) Close() {
	for _, c := range l.conns {
		_ = c.s.Close()
	}
}

// Run connects, submits for as long as it should, measures broadcasts, and closes.
func (l *Load) Run(ctx context.Context) (*LoadResult, error) {
	began := time.Now()
	err := l.Connect(ctx)
	defer l.Close()
	if err != nil {
		return nil, err
	}
	r := &LoadResult{Connections: len(l.conns), Pipeline: l.opt.Pipeline, ConnectSeconds: time.Since(began).Seconds(), Refused: map[int]int64{}}
	var reading sync.WaitGroup
	began = time.Now()
	if !l.opt.Idle {
		end := began.Add(l.opt.Duration)
		for _, c := range l.conns {
			c.end.Store(end.UnixNano())
			_ = c.s.SetReadDeadline(end.Add(30 * time.Second))
			reading.Go(c.submitAndRead)
		}
		reading.Wait()
		r.Seconds = time.Since(began).Seconds()
	}
	var broadcast histogram
	if l.opt.Broadcasts > 0 {
		if err := l.broadcasts(ctx, &broadcast); err != nil {
			return nil, err
		}
	}
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
	r.Submit, r.Broadcast = submit.latency(), broadcast.latency()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Accepted) / r.Seconds
	}
	return r, nil
}

// submitAndRead keeps the pipeline full until the end, then empties it.
func (c *loader) submitAndRead() {
	c.fill(c.load.opt.Pipeline)
	for c.flying > 0 && !c.lost {
		text, err := c.s.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			c.lost = true
			return
		}
		if err != nil { // a long line: a job, whose rest follows
			if err := c.long(text); err != nil {
				c.lost = true
				return
			}
			continue
		}
		answered := 0
		if c.line(text) {
			answered++
		}
		for c.s.r.Buffered() > 0 { // what has come together is answered together
			peek, _ := c.s.r.Peek(c.s.r.Buffered())
			end := bytes.IndexByte(peek, '\n')
			if end < 0 {
				break
			}
			if c.line(peek[:end+1]) {
				answered++
			}
			_, _ = c.s.r.Discard(end + 1)
		}
		if time.Now().UnixNano() < c.end.Load() {
			c.fill(answered)
		}
	}
}

// long reads a line that does not fit the buffer.
func (c *loader) long(head []byte) error {
	text := append([]byte(nil), head...)
	rest, err := c.s.r.ReadBytes('\n')
	if err == nil {
		c.line(append(text, rest...))
	}
	return err
}

// line takes one line and reports whether it answers a submit.
func (c *loader) line(text []byte) bool {
	const id = `{"id":`
	var n int
	if !bytes.HasPrefix(text, []byte(id)) || bytes.HasPrefix(text[len(id):], []byte("null")) {
		l := new(line)
		if json.Unmarshal(text, l) == nil {
			_ = c.s.seen.note(l, c.load.opt.Algorithm)
		}
		return false
	}
	end := bytes.IndexByte(text, ',')
	if end < 0 {
		return false
	}
	jsonInt(text[len(id):end], &n)
	c.flying--
	c.latency.add(time.Since(c.sent[n%len(c.sent)]))
	if bytes.Contains(text, []byte(`"error":null`)) {
		c.ok++
		return true
	}
	l := new(line)
	code := 0
	if json.Unmarshal(text, l) == nil {
		code, _ = l.errorOf()
	}
	if code < 20 || code > 25 {
		code = 0
	}
	c.refused[code]++
	return true
}

// fill sends n more submits in one write.
func (c *loader) fill(n int) {
	if n == 0 {
		return
	}
	st := &c.s.seen
	c.out = c.out[:0]
	now := time.Now()
	for range n {
		c.nextID++
		c.found.Nonce++
		c.found.Time, c.found.Extranonce2Size = st.job.Time, uint8(st.extranonce2Size)
		c.sent[c.nextID%len(c.sent)] = now
		c.out = submitLine(c.out, c.nextID, c.worker, st, &c.found, false)
	}
	c.flying += n
	if _, err := c.s.Write(c.out); err != nil {
		c.lost = true
	}
}

// broadcasts measures new jobs, one after the other.
func (l *Load) broadcasts(ctx context.Context, h *histogram) error {
	var reading sync.WaitGroup
	for _, c := range l.conns {
		_ = c.s.SetReadDeadline(time.Time{})
		reading.Go(func() {
			for {
				// Only the beginning of a line is looked at: reading it all would take
				// longer than it took to arrive.
				text, err := c.s.r.ReadSlice('\n')
				at := time.Now().UnixNano()
				isJob := bytes.Contains(text[:min(len(text), 64)], []byte("mining.notify"))
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = c.s.r.ReadSlice('\n')
				}
				if err != nil {
					return
				}
				if isJob {
					l.arrived <- time.Duration(at - l.issued.Load())
				}
			}
		})
	}
	defer func() {
		for _, c := range l.conns {
			_ = c.s.SetReadDeadline(time.Now())
		}
		reading.Wait()
	}()
	for range l.opt.Broadcasts {
		l.issued.Store(time.Now().UnixNano())
		l.opt.NewJob()
		late := time.After(time.Minute)
		for range l.conns {
			select {
			case d := <-l.arrived:
				h.add(d)
			case <-ctx.Done():
				return ctx.Err()
			case <-late:
				return errors.New("a new job does not reach every connection within a minute")
			}
		}
	}
	return nil
}
