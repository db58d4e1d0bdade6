package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/job"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("purepool/ledger/pgcluster.(*Cluster).launch.func1"))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come true: %s", what)
		}
	}
}

var silent = slog.New(slog.DiscardHandler)

var errAway = &bbprpc.AwayError{Endpoint: "x", Reason: bbprpc.AwayConnect, NotExecuted: true, Err: errors.New("refused")}

// fakeDaemon is a daemon as a test wants it: what no real one can be made to do
// at the right moment. Real ones are mined on in test/template.
type fakeDaemon struct {
	name string

	mu       sync.Mutex
	template bbprpc.BlockTemplate
	behind   int64 // headers ahead of blocks
	err      error // of every call
	// noTemplate is the answer to getblocktemplate alone.
	noTemplate error
	reason     string
	proposed   int
	longPoll   chan struct{} // closed at a new tip
}

func newFakeDaemon(name string) *fakeDaemon {
	d := &fakeDaemon{name: name, longPoll: make(chan struct{})}
	d.template = bbprpc.BlockTemplate{
		Template: chain.Template{
			Version: 4, Prev: chain.DoubleSHA256([]byte{1}), Height: 2, Bits: 0x207fffff, Time: 1_800_000_000, MinTime: 1_799_999_000,
			Value: 50 * chain.Coin, WitnessCommitment: []byte{0x6a, 1, 2},
		},
		LongPollID: "1", Proposals: true,
	}
	return d
}

// change alters the daemon and lets go of who polls.
func (d *fakeDaemon) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.longPoll)
	d.longPoll = make(chan struct{})
}

// newTip puts a block on the chain.
func (d *fakeDaemon) newTip() {
	d.change(func() {
		d.template.Height++
		d.template.Prev = chain.DoubleSHA256([]byte{byte(d.template.Height)})
	})
}

func (d *fakeDaemon) Name() string { return d.name }

func (d *fakeDaemon) ChainState(context.Context) (bbprpc.ChainState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	height := int64(d.template.Height) - 1
	return bbprpc.ChainState{Blocks: height, Headers: height + d.behind, Best: d.template.Prev}, d.err
}

func (d *fakeDaemon) BlockTemplate(context.Context, []string) (bbprpc.BlockTemplate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.noTemplate != nil {
		return bbprpc.BlockTemplate{}, d.noTemplate
	}
	return d.template, d.err
}

func (d *fakeDaemon) LongPoll(ctx context.Context, rules []string, _ string) (bbprpc.BlockTemplate, error) {
	d.mu.Lock()
	wait := d.longPoll
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return bbprpc.BlockTemplate{}, ctx.Err()
	case <-wait:
	}
	return d.BlockTemplate(ctx, rules)
}

func (d *fakeDaemon) Propose(context.Context, []string, []byte) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proposed++
	return d.reason, d.err
}

// teller keeps what was told.
type teller struct {
	codec *job.Codec
	mu    sync.Mutex
	last  *job.Job // nil: nothing to mine on
	gone  bool     // and the last one is worth nothing
	told  int
	seen  []*job.Job // each once
}

func (l *teller) TellJob(_ context.Context, _ string, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told++
	l.last, l.gone = nil, job.IsWithdrawn(body)
	if len(body) == 0 || l.gone {
		return nil
	}
	j, err := l.codec.DecodeJob(body)
	if err != nil {
		return err
	}
	l.last = j
	if n := len(l.seen); n == 0 || l.seen[n-1].Seq != j.Seq {
		l.seen = append(l.seen, j)
	}
	return nil
}

func (l *teller) current() *job.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *teller) withdrew() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

func (l *teller) all() []*job.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*job.Job(nil), l.seen...)
}

// memory is a ledger of jobs that can be away.
type memory struct {
	mu   sync.Mutex
	jobs map[uint64]ledger.Job
	err  error
	held bool // somebody has the lead
}

func newMemory() *memory { return &memory{jobs: make(map[uint64]ledger.Job)} }

func (m *memory) away(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) InsertJob(_ context.Context, _ int16, j *ledger.Job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.jobs[j.Seq] = *j
	}
	return m.err
}

func (m *memory) LastJob(context.Context, int16) (last ledger.Job, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if j.Seq > last.Seq {
			last, ok = j, true
		}
	}
	return last, ok, m.err
}

func (m *memory) FindJob(_ context.Context, _ int16, seq uint64) (ledger.Job, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.jobs[seq]
	return j, ok, m.err
}

func (m *memory) lead(context.Context) (Lead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held {
		return nil, m.err
	}
	m.held = true
	return &memoryLead{m}, nil
}

type memoryLead struct{ m *memory }

func (l *memoryLead) Holds(context.Context) bool { return true }

func (l *memoryLead) Release() {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.held = false
}

func plan() Plan {
	return Plan{
		Network: "regtest", Algorithm: "sha256d", Chain: chain.LitecoinRegtest(),
		PoolAddress: "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E", Tag: "/p/", BindTargets: true,
	}
}

// mint is a maker with what is around it.
type mint struct {
	*Maker
	teller *teller
	keeper *Keeper
	stop   func()
}

// run starts a maker, which ends with the test or with stop.
func run(t *testing.T, store *memory, dir string, change func(*Config), daemons ...*fakeDaemon) *mint {
	t.Helper()
	codec, err := job.NewCodec()
	must(t, err)
	keeper, err := NewKeeper("regtest", 1, store, dir, silent)
	must(t, err)
	cfg := Config{
		Plan: plan(), Poll: 5 * time.Millisecond, Tell: 10 * time.Millisecond, Settle: time.Millisecond, Refresh: time.Hour,
		MaxStale: 50 * time.Millisecond, Logger: silent,
	}
	if change != nil {
		change(&cfg)
	}
	var all []Daemon
	for _, d := range daemons {
		all = append(all, d)
	}
	l := &teller{codec: codec}
	m, err := NewMaker(cfg, all, keeper, l, store.lead)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { must(t, m.Run(ctx)) })
	wg.Go(func() { must(t, keeper.Run(ctx)) })
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return &mint{m, l, keeper, stop}
}
