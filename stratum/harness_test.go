package stratum_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/vardiff"
	"purepool/stratum"
)

func TestMain(m *testing.M) {
	if child := os.Getenv("STRATUM_TEST_CHILD"); child != "" {
		runChild(child)
		return
	}
	goleak.VerifyTestMain(m,
		// A pool of goroutines that gnet's imports start and that nothing can stop.
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	)
}

// address is a sound address of BiblePay's test networks.
const address = "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// jobs is a source of jobs that a test turns by hand.
type jobs struct {
	mu      sync.Mutex
	seq     uint64
	earlier []*job.Job // before current, told to who watches
	current *job.Job
	tell    func(*job.Job, bool)
}

func (j *jobs) Watch(tell func(*job.Job, bool)) func() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tell = tell
	for _, old := range j.earlier {
		tell(old, false)
	}
	if j.current != nil {
		tell(j.current, false)
	}
	return func() {
		j.mu.Lock()
		j.tell = nil
		j.mu.Unlock()
	}
}

// next issues a job; change may alter it first.
func (j *jobs) next(clean bool, change func(*job.Job)) *job.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	made := sampleJob(j.seq, clean)
	if change != nil {
		change(made)
	}
	j.current = made
	if j.tell != nil {
		j.tell(made, false)
	}
	return made
}

func (j *jobs) now() *job.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current
}

func (j *jobs) missing() { j.none(false) }

// none says that there is nothing to mine on, and perhaps that the last job is
// worth nothing.
func (j *jobs) none(worthless bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tell(nil, worthless)
}

// again tells the last job once more.
func (j *jobs) again() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tell(j.current, false)
}

// sampleJob is sound, and no hash meets its own target.
func sampleJob(seq uint64, clean bool) *job.Job {
	now := time.Now()
	return &job.Job{
		Network: "regtest", Seq: seq, Algorithm: "sha256d", Height: int32(100 + seq), Version: 0x20000000,
		Prev: chain.DoubleSHA256([]byte{byte(seq)}), Bits: 0x03000001, Time: uint32(now.Unix()), MinTime: uint32(now.Unix() - 3600),
		Coinbase1: []byte("a coinbase begins here, with some sixty bytes of what is usual"), Coinbase2: []byte(" and ends here, after the outputs of everybody who is paid"),
		Extranonce2Size: 4, Branches: []chain.Hash{chain.DoubleSHA256([]byte("a")), chain.DoubleSHA256([]byte("b"))}, Clean: clean,
		IssuedAt: job.MomentOf(now),
	}
}

// sink keeps shares in memory.
type sink struct {
	mu     sync.Mutex
	shares []job.Share
	wins   []job.Share
	fail   atomic.Bool
	block  atomic.Pointer[chan struct{}] // when set, Put waits for it to close
	noWin  atomic.Bool                   // Win fails
	jam    chan struct{}                 // when set, Win waits for it to close
	puts   atomic.Int64
	count  atomic.Int64
	forget bool
	disk   *os.File // where set, shares are written there and synced, as the queue does
}

var errSink = errors.New("the sink was told to fail")

func (s *sink) Put(ctx context.Context, shares []job.Share) error {
	s.puts.Add(1)
	if block := s.block.Load(); block != nil {
		select {
		case <-*block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.fail.Load() {
		return errSink
	}
	if s.disk != nil {
		if _, err := s.disk.Write(make([]byte, 100*len(shares))); err != nil {
			return err
		}
		if err := s.disk.Sync(); err != nil {
			return err
		}
	}
	s.count.Add(int64(len(shares)))
	if !s.forget {
		s.mu.Lock()
		s.shares = append(s.shares, shares...)
		s.mu.Unlock()
	}
	return nil
}

// hold makes Put wait until release is called.
func (s *sink) hold() (release func()) {
	block := make(chan struct{})
	s.block.Store(&block)
	return func() { close(block) }
}

func (s *sink) Win(_ context.Context, share job.Share) error {
	if s.jam != nil {
		<-s.jam
	}
	if s.noWin.Load() {
		return errSink
	}
	s.mu.Lock()
	s.wins = append(s.wins, share)
	s.mu.Unlock()
	return nil
}

func (s *sink) all() []job.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]job.Share(nil), s.shares...)
}

func (s *sink) allWins() []job.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]job.Share(nil), s.wins...)
}

// door lets everybody in, under a number of his own, unless admit says otherwise.
type door struct {
	mu    sync.Mutex
	known map[string]int64
	seen  []stratum.Arrival
	admit func(context.Context, stratum.Arrival) error
}

func (d *door) Admit(ctx context.Context, a stratum.Arrival) (stratum.Admission, error) {
	d.mu.Lock()
	admit := d.admit
	d.mu.Unlock()
	if admit != nil {
		if err := admit(ctx, a); err != nil {
			return stratum.Admission{}, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = make(map[string]int64)
	}
	if len(d.seen) < 1000 {
		d.seen = append(d.seen, a)
	}
	name := a.Address + "/" + a.Worker
	if d.known[name] == 0 {
		d.known[name] = int64(len(d.known) + 1)
	}
	return stratum.Admission{Worker: d.known[name]}, nil
}

// decide sets what the door says from now on.
func (d *door) decide(admit func(context.Context, stratum.Arrival) error) {
	d.mu.Lock()
	d.admit = admit
	d.mu.Unlock()
}

func (d *door) arrivals() []stratum.Arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]stratum.Arrival(nil), d.seen...)
}

// pond is a running server with one template port, called "t".
type pond struct {
	*stratum.Server
	jobs *jobs
	sink *sink
	door *door
	cfg  stratum.Config
	stop func() error
	errs logCounter
}

// logCounter is a log that only counts what is serious.
type logCounter struct{ n atomic.Int64 }

func (l *logCounter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (l *logCounter) Handle(_ context.Context, r slog.Record) error {
	l.n.Add(1)
	fmt.Fprintln(os.Stderr, r.Message, func() (out []string) {
		r.Attrs(func(a slog.Attr) bool { out = append(out, a.String()); return true })
		return out
	}())
	return nil
}
func (l *logCounter) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logCounter) WithGroup(string) slog.Handler      { return l }

// open starts a server at a difficulty that (nearly) every hash meets.
func open(t testing.TB, change func(*stratum.Config)) *pond {
	t.Helper()
	p := &pond{jobs: new(jobs), sink: new(sink), door: new(door)}
	p.jobs.next(true, nil)
	p.cfg = stratum.Config{
		Frontend: 7, Desk: nil, DrainTime: time.Millisecond, Logger: slog.New(&p.errs),
		Networks: []stratum.Network{{
			Name: "regtest", Chain: chain.BiblePayRegtest(), Algorithm: "sha256d", Jobs: p.jobs, Sink: p.sink, Door: p.door,
		}},
		Ports: []stratum.Port{{
			Name: "t", Address: "127.0.0.1:0", Network: "regtest", Dialect: stratum.Template,
			StartDifficulty: 1e-12, Vardiff: vardiff.Config{Min: 1e-12, Max: 1e9, Interval: 10 * time.Second},
		}},
		Limits: stratum.Limits{PerIPRate: 1e6, PerIP: 1e6, AcceptRate: 1e6},
	}
	if change != nil {
		change(&p.cfg)
	}
	srv, err := stratum.New(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Server = srv
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("the server does not stop")
		}
	})
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually waits for something that must become true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
