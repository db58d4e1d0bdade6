package miner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"purepool/pool/chain"
)

// Options are the settings of a miner. The zero value of a field means the default
// named beside it.
type Options struct {
	// Client reaches the pool.
	Client *Client
	// Source is the miner's own node.
	Source Source
	// Network is main, test or regtest (regtest).
	Network string
	// Address is the miner's (made of the seed). Worker and Email follow it in the
	// Miner header where they are set.
	Address, Worker, Email string
	// Threads is how many mine at once (1).
	Threads int
	// Interval is the least time between two solutions of a thread, half as long to
	// half as long again. The real client waits two minutes. 0: none.
	Interval time.Duration
	// WorkLifetime is how long work is used before new work is asked for (3 min, as
	// in the client).
	WorkLifetime time.Duration
	// Retry is the time after which a miner that got no work asks again (1 s; the
	// real client waits three minutes).
	Retry time.Duration
	// FaultPerMille is how many solutions of a thousand are faulty (0).
	FaultPerMille int
	// Faults are the names of the faults that are chosen from, each as often as it
	// stands here (all that there are).
	Faults []string
	// Seed makes the miner's choices repeatable.
	Seed uint64
	// OnSent is called after each solution that was sent, from the thread that sent it.
	OnSent func(Sent)
	// Stats counts what happens (counts of its own).
	Stats *Stats
	// Logger gets the miner's log (discarded).
	Logger *slog.Logger
}

// Sent is a solution that was sent, and what came back.
type Sent struct {
	Miner    string // the Miner header
	Work     Work
	Solution *Solution
	Fault    string // empty for a sound solution
	// Reason is the name under which the ledger should hold the rejection; empty for
	// a sound solution, and where the ledger should hold nothing.
	Reason   string
	OK       bool // the pool has taken it
	Expected bool // the answer is what the solution deserves
	Answer   Answer
	Err      error // no answer came
}

// Miner is one simulated client.
type Miner struct {
	opts    Options
	network chain.Network
	who     Identity
	name    string
	faults  []Fault

	mu       sync.Mutex
	work     *Work
	askAgain time.Time // when the work is to be asked for next
	failures int       // in a row
}

// New makes a miner.
func New(opts Options) (*Miner, error) {
	if opts.Client == nil || opts.Source == nil {
		return nil, errors.New("simulated miner: no pool or no node")
	}
	opts.Network = or(opts.Network, "regtest")
	network, err := chain.NetworkByName(opts.Network)
	if err != nil {
		return nil, fmt.Errorf("simulated miner: %w", err)
	}
	rng := opts.rng(0)
	if opts.Address == "" {
		opts.Address = RandomAddress(rng, network)
	}
	address, err := chain.DecodeAddress(opts.Address, network)
	if err != nil {
		return nil, fmt.Errorf("simulated miner: %w", err)
	}
	opts.Threads = max(opts.Threads, 1)
	if opts.WorkLifetime <= 0 {
		opts.WorkLifetime = 3 * time.Minute
	}
	if opts.Retry <= 0 {
		opts.Retry = time.Second
	}
	if opts.Stats == nil {
		opts.Stats = new(Stats)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.FaultPerMille < 0 || opts.FaultPerMille > 1000 || opts.Interval < 0 {
		return nil, errors.New("simulated miner: the share of faults or the interval is out of range")
	}
	m := &Miner{opts: opts, network: network, name: opts.Address}
	m.who = Identity{Address: address, CPID: strings.ReplaceAll(randomUUID(rng), "-", ""), Version: opts.Client.Version}
	for _, part := range []string{opts.Worker, opts.Email} {
		if part != "" {
			m.name += "/" + part
		}
	}
	m.faults = Faults()
	if len(opts.Faults) > 0 {
		m.faults = nil
	}
	for _, name := range opts.Faults {
		f, err := FaultByName(name)
		if err != nil {
			return nil, fmt.Errorf("simulated miner: %w", err)
		}
		m.faults = append(m.faults, f)
	}
	return m, nil
}

func (o *Options) rng(thread int) *rand.Rand {
	return rand.New(rand.NewPCG(o.Seed, uint64(thread))) //nolint:gosec // a simulation must be repeatable
}

// Name returns what the miner calls itself: address[/worker[/email]].
func (m *Miner) Name() string { return m.name }

// Stats returns what the miner counts.
func (m *Miner) Stats() *Stats { return m.opts.Stats }

// Run mines until ctx is done. It always returns nil: a pool that is away is
// waited for.
func (m *Miner) Run(ctx context.Context) error {
	m.opts.Stats.change(func(s *Snapshot) { s.Miners++ })
	defer m.opts.Stats.change(func(s *Snapshot) { s.Miners-- })
	var threads sync.WaitGroup
	for i := range m.opts.Threads {
		threads.Go(func() { m.mine(ctx, i) })
	}
	threads.Wait()
	return nil
}

// mine is one thread.
func (m *Miner) mine(ctx context.Context, thread int) {
	rng := m.opts.rng(thread + 1)
	digger := NewDigger(m.who, rng)
	for ctx.Err() == nil {
		work, wait := m.getWork(ctx, thread)
		if work == nil {
			sleep(ctx, wait)
			continue
		}
		fault := m.chooseFault(rng)
		before := digger.hashes
		sent, err := m.mineOne(ctx, digger, thread, work, fault, rng)
		m.opts.Stats.change(func(s *Snapshot) { s.Hashes += digger.hashes - before })
		if err != nil {
			if ctx.Err() == nil {
				m.opts.Logger.Debug("miner's own node is away", slog.String("miner", m.name), slog.Any("error", err))
				sleep(ctx, m.opts.Retry)
			}
			continue
		}
		if fault == nil && !sent.OK {
			m.dropWork(work)
		}
		if m.opts.Interval > 0 {
			sleep(ctx, m.opts.Interval/2+time.Duration(rng.Int64N(int64(m.opts.Interval))))
		}
	}
}

func (m *Miner) chooseFault(rng *rand.Rand) *Fault {
	if m.opts.FaultPerMille == 0 || rng.IntN(1000) >= m.opts.FaultPerMille {
		return nil
	}
	return &m.faults[rng.IntN(len(m.faults))]
}

// getWork returns the work that all threads share, asked for by one of them; nil
// with how long to wait where there is none.
func (m *Miner) getWork(ctx context.Context, thread int) (*Work, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if wait := m.askAgain.Sub(now); wait > 0 {
		return m.work, wait
	}
	answer, err := m.opts.Client.Do(ctx, &Request{
		Action: "readytomine2", Miner: m.name, Network: m.opts.Network, ThreadID: strconv.Itoa(thread),
	})
	answered := err == nil
	var work Work
	if answered {
		work, err = answer.Work(m.network)
	}
	if ctx.Err() != nil {
		return nil, m.opts.Retry
	}
	m.opts.Stats.workAnswered(err, answered)
	if err != nil {
		const down = 5 // the client tells its user then
		if m.failures++; m.failures == down {
			m.opts.Logger.Info("POOL DOWN-REVERTING TO SOLO MINING", slog.String("miner", m.name), slog.Any("error", err))
		}
		m.work, m.askAgain = nil, now.Add(m.opts.Retry)
		return nil, m.opts.Retry
	}
	m.failures = 0
	m.work, m.askAgain = &work, now.Add(m.opts.WorkLifetime)
	return m.work, 0
}

// dropWork asks for new work, unless another thread has done so.
func (m *Miner) dropWork(work *Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.work == work {
		m.work, m.askAgain = nil, time.Time{}
	}
}

// mineOne finds one solution and hands it in. The error is that of the own node,
// or the context's.
func (m *Miner) mineOne(ctx context.Context, d *Digger, thread int, work *Work, f *Fault, rng *rand.Rand) (*Sent, error) {
	var change func(*Digger, *plan)
	if f != nil {
		change = f.plan
	}
	s, err := d.find(ctx, m.opts.Source, work, change)
	if err != nil {
		return nil, err
	}
	s.Fields[fieldThreadID] = strconv.Itoa(thread)
	if f != nil && f.spoil != nil {
		f.spoil(s, rng)
	}
	if f != nil && f.Twice {
		if first := m.send(ctx, thread, work, s, nil); !first.OK {
			return first, nil
		}
	}
	sent := m.send(ctx, thread, work, s, f)
	if f == nil && s.Block != nil {
		m.publish(ctx, s)
	}
	return sent, nil
}

// publish hands a block to the own node: the pool has nothing to do with it.
func (m *Miner) publish(ctx context.Context, s *Solution) {
	reason, err := m.opts.Source.Submit(ctx, s.Block)
	if err == nil && reason == "" {
		m.opts.Stats.change(func(s *Snapshot) { s.Blocks++ })
	}
	m.opts.Logger.Debug("miner found a block",
		slog.String("miner", m.name), slog.Int64("height", s.Height+1), slog.String("reason", reason), slog.Any("error", err))
}

func (m *Miner) send(ctx context.Context, thread int, work *Work, s *Solution, f *Fault) *Sent {
	r := Request{
		Action: "solution", Miner: m.name, Network: m.opts.Network, Solution: s.String(), ThreadID: strconv.Itoa(thread),
	}
	if f != nil && f.request != nil {
		f.request(&r)
	}
	sent := &Sent{Miner: m.name, Work: *work, Solution: s}
	if f != nil {
		sent.Fault, sent.Reason = f.Name, f.Reason
	}
	sent.Answer, sent.Err = m.opts.Client.Do(ctx, &r)
	sent.OK = sent.Err == nil && sent.Answer.OK()
	sent.Expected = sent.Err == nil && expected(f, sent)
	if sent.Err != nil && ctx.Err() != nil {
		return sent // cut off by our own end
	}
	m.opts.Stats.solutionAnswered(sent)
	if sent.Err == nil && !sent.Expected {
		m.opts.Logger.Debug("unexpected answer", slog.String("miner", m.name), slog.String("fault", sent.Fault), slog.String("answer", sent.Answer.Text))
	}
	if m.opts.OnSent != nil {
		m.opts.OnSent(*sent)
	}
	return sent
}

// expected reports whether the answer is what the solution deserves.
func expected(f *Fault, sent *Sent) bool {
	if f == nil || f.Answer == "" {
		return sent.OK
	}
	return strings.Contains(sent.Answer.Error, f.Answer)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// failureKind names what went wrong with a request, in few words.
func failureKind(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrHangs):
		return "hangs"
	case errors.Is(err, ErrNoAnswer):
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	}
	return "other"
}
