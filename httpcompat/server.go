package httpcompat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"purepool/pool"
)

// Server answers on all its addresses. Make it with New, bind it with Listen, and
// let it live in Run.
type Server struct {
	cfg     Config
	limits  Limits
	desk    Desk
	log     *slog.Logger
	proxies proxies
	metrics *metrics
	memory  *memory
	guard   *guard
	bans    *pool.Bans

	certificates certificates // nil without TLS
	tls          *tls.Config
	handshakes   atomic.Int64

	faultLog       *rate.Limiter
	faultsUnlogged atomic.Int64

	listeners []boundListener
	states    sync.Pool // of *conn
	running   sync.WaitGroup

	mu       sync.Mutex
	conns    map[*conn]struct{} // protected by mu
	stopping bool               // protected by mu
	open     atomic.Int64       // len(conns), for those who only look
}

type boundListener struct {
	gauges portGauges
	net.Listener
	secure  bool
	proxied bool
}

// New checks cfg and loads what it names. Metrics are registered on reg.
func New(cfg Config, desk Desk, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("http front: %w", err)
	}
	s := &Server{
		cfg:      cfg,
		limits:   cfg.Limits.withDefaults(),
		bans:     cfg.Bans,
		desk:     desk,
		log:      log,
		faultLog: rate.NewLimiter(20, 100),
		conns:    make(map[*conn]struct{}),
	}
	for _, p := range cfg.TrustedProxies {
		s.proxies = append(s.proxies, unmapPrefix(p))
	}
	s.memory = newMemory(s.limits)
	s.guard = newGuard(s.limits)
	s.states.New = func() any { return &conn{server: s} }
	if cfg.TLS.enabled() {
		var err error
		if s.certificates, err = newCertificates(cfg.TLS, s.limits.HandshakeTimeout, log); err != nil {
			return nil, fmt.Errorf("http front: %w", err)
		}
		s.tls = s.certificates.config()
	}
	reg.MustRegister(newExpiries(s.certificates))
	s.metrics = newMetrics(reg,
		func() float64 { return float64(s.memory.reserved.Load()) },
		func() float64 { return float64(s.limits.Memory) })
	return s, nil
}

// unmapPrefix turns ::ffff:10.0.0.0/104 into 10.0.0.0/8: peers are compared as
// what they are.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// Listen binds all addresses, or none. Run does it where the caller did not.
func (s *Server) Listen(ctx context.Context) error {
	// The connection lasts for one request with deadlines of its own: keep-alive
	// probes would only cost four system calls each.
	lc := net.ListenConfig{KeepAlive: -1}
	for i, l := range s.cfg.Listen {
		ln, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			for _, bound := range s.listeners {
				bound.Close()
			}
			s.listeners = nil
			return fmt.Errorf("http front: %w", err)
		}
		s.listeners = append(s.listeners, boundListener{s.metrics.port(i, l.TLS), ln, l.TLS, l.Proxied})
	}
	return nil
}

// Addrs are the addresses that are bound, in the order of the configuration.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// ReloadCertificates reads the certificate files again, which otherwise happens
// within seconds of their change. On an error the old certificate stays.
// Safe for concurrent access.
func (s *Server) ReloadCertificates() error {
	if s.certificates == nil {
		return nil
	}
	return s.certificates.reload()
}

// TLSConfig is what the TLS listeners speak, with certificates that are read again
// when they change; nil where none are configured. The caller must not change it.
func (s *Server) TLSConfig() *tls.Config { return s.tls }

// Run serves until ctx ends, or until a listener breaks, which is an error. It
// then stops listening, closes connections on which nothing was asked yet, lets
// the others have their answers for DrainTimeout, and returns when all are closed.
func (s *Server) Run(ctx context.Context) error {
	if s.listeners == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	// Requests outlive ctx: they are drained.
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	accepting, stopAccepting := context.WithCancel(ctx)
	defer stopAccepting()

	var helpers sync.WaitGroup
	if s.certificates != nil {
		helpers.Go(func() { s.certificates.run(accepting) })
	}
	broken := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		s.log.LogAttrs(ctx, slog.LevelInfo, "Listening for miners", slog.String("address", l.Addr().String()), slog.Bool("tls", l.secure))
		helpers.Go(func() {
			if err := s.accept(accepting, requests, l); accepting.Err() == nil {
				broken <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-broken:
	}
	stopAccepting()
	for _, l := range s.listeners {
		l.Close()
	}
	helpers.Wait()
	s.drain(cancelRequests)
	if err != nil {
		return fmt.Errorf("http front: %w", err)
	}
	return nil
}

// drain ends all connections: the idle ones at once, the others when they are
// answered or when their time is up.
func (s *Server) drain(cancelRequests func()) {
	s.mu.Lock()
	s.stopping = true
	for c := range s.conns {
		if !c.asked.Load() {
			c.abort()
		}
	}
	s.mu.Unlock()
	end := time.AfterFunc(s.limits.DrainTimeout, func() {
		// Aborted first, so that none is taken for one that ended by itself.
		defer cancelRequests()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.abort()
		}
	})
	s.running.Wait()
	end.Stop()
}

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// accept takes connections until ctx ends or the listener is closed. Running out of file descriptors, which
// is what errors of accept mean in practice, passes: it waits and goes on, while
// the connections it has are served and closed.
func (s *Server) accept(ctx, requests context.Context, l boundListener) error {
	var pause time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.admit(requests, nc, l)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		s.metrics.acceptErrors.Inc()
		if pause == 0 {
			s.log.LogAttrs(ctx, slog.LevelWarn, "Cannot accept connections for now", slog.Any("error", err))
		}
		pause = min(max(2*pause, firstAcceptPause), lastAcceptPause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// admit serves a connection, or closes it where there are too many.
func (s *Server) admit(ctx context.Context, nc net.Conn, l boundListener) {
	peer := peerOf(nc)
	trusted := s.proxies.trust(peer)
	var v *visitor
	reason := closeReason("")
	if s.open.Load() >= int64(s.limits.MaxConnections) {
		reason = closedConnections
	} else if s.bans.IP(peer) {
		reason = closedBanned
	} else if !trusted {
		v, reason = s.guard.enter(peer)
	}
	if reason != "" {
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, which leaves nothing behind; else an ordinary close
		}
		nc.Close()
		s.metrics.closed[reason].Inc()
		return
	}
	c := s.states.Get().(*conn)
	c.begin(nc, peer, trusted, v, s.tlsFor(l.secure))
	c.proxied = trusted && l.proxied
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.open.Add(1)
	c.gauges = l.gauges
	c.gauges.reading.Inc()
	s.running.Add(1)
	go c.serve(ctx)
}

// tlsFor is what a listener's connections speak, nil for plain text.
func (s *Server) tlsFor(secure bool) *tls.Config {
	if secure {
		return s.tls
	}
	return nil
}

// forget takes a connection out of the books once it is closed.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if c.visitor != nil {
		s.guard.leave(c.visitor)
	}
	c.counted().Dec()
	c.nc, c.raw, c.visitor = nil, nil, nil
	s.states.Put(c)
	s.open.Add(-1)
	s.running.Done()
}

func peerOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
