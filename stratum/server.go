package stratum

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/time/rate"

	"purepool/pool"
	"purepool/pool/job"
	"purepool/pool/vardiff"
)

// Server is the TCP front.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	started time.Time
	guard   *guard
	memory  *budget

	ports        []*port
	books        []*book
	difficulties *vardiff.Memory[workerKey]
	acceptRate   *rate.Limiter
	counter      atomic.Uint64 // of extranonce1
	seals        seals

	client *gnet.Client
	tls    *tlsLoop

	loopMu      sync.RWMutex
	loops       []*loop // grows only, and by copying
	byEventLoop map[gnet.EventLoop]*loop
	keepers     sync.WaitGroup
	stopKeepers chan struct{}

	conns    sync.WaitGroup // goroutines of TLS connections
	checks   *queue
	callers  *queue
	draining atomic.Bool
	message  atomic.Pointer[notice]
	inFlight atomic.Int64
	calls    atomic.Int64
	reading  chan struct{} // has room for as many as may read long lines at once
}

// workerKey is what a worker's difficulty is remembered by.
type workerKey struct{ port, worker string }

// background is what event loops run our functions with; they never look at it.
var background = context.Background()

// New checks the configuration and opens the ports; nothing is accepted before
// Run. Errors: ErrConfig, and those of listening.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults(runtime.GOMAXPROCS(0))
	srv := &Server{
		cfg: cfg, log: cfg.Logger, started: time.Now(), memory: newBudget(cfg.Limits.MemoryBytes),
		acceptRate: newAcceptRate(cfg.Limits.AcceptRate), byEventLoop: make(map[gnet.EventLoop]*loop),
		stopKeepers: make(chan struct{}), checks: newQueue(), callers: newQueue(), tls: newTLSLoop(),
		reading: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
	}
	srv.guard = newGuard(&srv.cfg.Limits)
	srv.counter.Store(job.FirstCounter(srv.started))
	srv.seals.key = cfg.SessionKey
	if len(cfg.SessionKey) == 0 {
		srv.seals.key = []byte(rand.Text())
	}
	srv.metrics = newMetrics(srv, cfg.Registerer)
	var err error
	if srv.difficulties, err = vardiff.NewMemory[workerKey](cfg.RememberWorkers, cfg.RememberFor); err != nil {
		return nil, fmt.Errorf("%w: remembered workers: %w", ErrConfig, err)
	}
	for i := range cfg.Networks {
		if err := checkNetwork(&cfg.Networks[i]); err != nil {
			return nil, err
		}
		srv.books = append(srv.books, newBook(&cfg.Networks[i], &srv.cfg, srv.metrics))
	}
	if len(cfg.Ports) == 0 {
		return nil, fmt.Errorf("%w: it has no ports", ErrConfig)
	}
	for i := range cfg.Ports {
		p, err := srv.newPort(cfg.Ports[i])
		if err != nil {
			srv.closeListeners()
			return nil, err
		}
		srv.ports = append(srv.ports, p)
	}
	return srv, nil
}

func (srv *Server) newPort(cfg Port) (*port, error) {
	cfg.setDefaults()
	p := &port{Port: cfg, srv: srv, pending: srv.cfg.Limits.Pending}
	for _, other := range srv.ports {
		if other.Name == cfg.Name {
			return nil, fmt.Errorf("%w: two ports are called %q", ErrConfig, cfg.Name)
		}
	}
	var err error
	if p.control, err = vardiff.New(cfg.Vardiff); err != nil {
		return nil, fmt.Errorf("%w: port %s: %w", ErrConfig, cfg.Name, err)
	}
	switch cfg.Dialect {
	case Template:
		for _, b := range srv.books {
			if b.name == cfg.Network {
				p.book = b
			}
		}
		if p.book == nil {
			return nil, fmt.Errorf("%w: port %s: no template network %q", ErrConfig, cfg.Name, cfg.Network)
		}
	case Classic:
		p.pending = srv.cfg.Limits.PendingClassic
		if srv.cfg.Desk == nil {
			return nil, fmt.Errorf("%w: port %s: a classic port needs a front desk", ErrConfig, cfg.Name)
		}
	default:
		return nil, fmt.Errorf("%w: port %s: unknown dialect", ErrConfig, cfg.Name)
	}
	// Who is turned away costs as few system calls as can be: keep-alive is for those
	// who are served.
	if p.listener, err = (&net.ListenConfig{KeepAlive: -1}).Listen(background, "tcp", cfg.Address); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	p.metrics = srv.metrics.port(cfg.Name)
	return p, nil
}

// Addr returns where the port of this name listens; nil if there is none.
func (srv *Server) Addr(name string) net.Addr {
	for _, p := range srv.ports {
		if p.Name == name {
			return p.listener.Addr()
		}
	}
	return nil
}

// Run serves until ctx ends, then drains: it stops accepting, sends miners away
// over DrainTime, answers what is under way, and returns. It is called once.
func (srv *Server) Run(ctx context.Context) error {
	var err error
	srv.client, err = gnet.NewClient(&engine{srv: srv},
		gnet.WithNumEventLoop(srv.cfg.EventLoops),
		gnet.WithReadBufferCap(64<<10),
		gnet.WithWriteBufferCap(4<<10), // of a ring; what is more goes to a list
		gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithTCPKeepAlive(keepAlive),
		gnet.WithSocketSendBuffer(128<<10), // bounds what the kernel keeps for who does not read
		gnet.WithLogger(engineLog{srv.log}),
	)
	if err == nil {
		err = srv.client.Start()
	}
	if err != nil {
		srv.closeListeners()
		return fmt.Errorf("starting event loops: %w", err)
	}
	var tls sync.WaitGroup
	srv.loopMu.Lock()
	srv.tls.loop = srv.addLoop(srv.tls.do)
	srv.loopMu.Unlock()
	tls.Go(srv.tls.run)

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	stages := srv.startStages(work)
	var stops []func()
	for _, b := range srv.books {
		stops = append(stops, b.watch(srv))
	}
	var accepting sync.WaitGroup
	for _, p := range srv.ports {
		accepting.Go(func() { p.accept(ctx) })
	}
	accepting.Go(func() { srv.tidy(ctx) })
	srv.log.Info("stratum is open", slog.Int("ports", len(srv.ports)))

	<-ctx.Done()
	srv.closeListeners()
	accepting.Wait()
	for _, stop := range stops {
		stop()
	}
	close(srv.stopKeepers)
	srv.keepers.Wait()
	srv.draining.Store(true)
	srv.drain()
	// Nothing comes in any more. What is under way is answered to nobody, but it is
	// made durable before this returns.
	grace := time.AfterFunc(writeWait, stopWork)
	stages.stop()
	grace.Stop()
	srv.tls.close()
	srv.conns.Wait()
	tls.Wait()
	if err := srv.client.Stop(); err != nil {
		return fmt.Errorf("stopping event loops: %w", err)
	}
	return nil
}

// Close closes the ports of a server that was never run.
func (srv *Server) Close() { srv.closeListeners() }

func (srv *Server) closeListeners() {
	for _, p := range srv.ports {
		_ = p.listener.Close()
	}
}

// stages are the goroutines behind the loops, which end one after the other so
// that nothing is left between them.
type stages struct {
	srv                              *Server
	checkers, writers, wins, callers sync.WaitGroup
	rescuers                         sync.WaitGroup
}

func (srv *Server) startStages(ctx context.Context) *stages {
	st := &stages{srv: srv}
	for range srv.cfg.Hashers {
		st.checkers.Go(srv.check)
	}
	for range srv.cfg.Callers {
		st.callers.Go(func() { srv.serveCalls(ctx) })
	}
	for _, b := range srv.books {
		for range srv.cfg.Writers {
			st.writers.Go(func() { srv.write(ctx, b) })
		}
		for range winSenders {
			st.wins.Go(func() { b.sendWins(ctx) })
		}
		st.rescuers.Go(func() { srv.rescue(ctx, b) })
	}
	return st
}

func (st *stages) stop() {
	st.srv.checks.close()
	st.checkers.Wait()
	for _, b := range st.srv.books {
		b.writes.close()
		close(b.wins)
	}
	st.writers.Wait()
	for _, b := range st.srv.books {
		close(b.stranded.end)
	}
	st.wins.Wait()
	st.rescuers.Wait()
	st.srv.callers.close()
	st.callers.Wait()
}

// watch follows the network's jobs.
func (b *book) watch(srv *Server) (stop func()) {
	return b.jobs.Watch(func(j *job.Job, worthless bool) {
		if b.take(j, worthless, srv.now()) {
			srv.wakeKeepers()
		}
	})
}

func (srv *Server) wakeKeepers() {
	srv.loopMu.RLock()
	defer srv.loopMu.RUnlock()
	for _, l := range srv.loops {
		select {
		case l.wake <- struct{}{}:
		default: // it will look at the newest job anyway
		}
	}
}

func (srv *Server) drain() {
	srv.loopMu.RLock()
	loops := srv.loops
	srv.loopMu.RUnlock()
	var all sync.WaitGroup
	for _, l := range loops {
		all.Go(func() { l.drain(srv.cfg.DrainTime, srv.cfg.DrainTo) })
	}
	all.Wait()
}

// ShowMessage has all miners of a template network shown a text. Of two texts in
// quick succession some miners see only the second.
func (srv *Server) ShowMessage(network, text string) {
	srv.message.Store(&notice{network, appendShowMessage(nil, text)})
	srv.wakeKeepers()
}

// notice is a text for the miners of a network.
type notice struct {
	network string
	line    []byte
}

// tidy forgets addresses and counts banned ones.
func (srv *Server) tidy(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			known, banned := srv.guard.tidy(srv.now())
			srv.metrics.addresses.Set(float64(known))
			srv.metrics.banned.Set(float64(banned))
		}
	}
}

// now is the time since the server was made: monotonic, and small enough to be
// kept in seconds in 32 bits.
func (srv *Server) now() time.Duration { return time.Since(srv.started) }

func (srv *Server) nextExtranonce1() job.Extranonce1 {
	return job.MakeExtranonce1(srv.cfg.Frontend, srv.counter.Add(1))
}

func asRefusal(err error) (*pool.Refusal, bool) {
	var refusal *pool.Refusal
	return refusal, errors.As(err, &refusal)
}

// MemoryLeft returns what is left of Limits.MemoryBytes.
func (srv *Server) MemoryLeft() int64 { return srv.memory.left.Load() }
