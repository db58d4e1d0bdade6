// Package health answers how a process is: /healthz (it lives), /readyz (it can
// do its job, part by part), /metrics (Prometheus). It is for operators and
// balancers, on a listener of its own that the internet does not reach.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"purepool/internal/serve"
)

const (
	// checkTimeout bounds one check: a part that does not answer is not ready.
	checkTimeout = 2 * time.Second
	// believeFor is how long an answer is given again without asking the parts,
	// so that eager probes cost nothing.
	believeFor = 250 * time.Millisecond
	// drainFor bounds the wait for requests under way at the end.
	drainFor = 2 * time.Second
)

// Check says whether a part can do its job; nil means yes. It must end when its
// context does.
type Check func(ctx context.Context) error

// State is one part in the answer of /readyz.
type State struct {
	Part string `json:"part"`
	OK   bool   `json:"ok"`
	// Optional parts are told of but keep nobody from being ready: a broker that
	// is away while the spool has room.
	Optional bool   `json:"optional,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

type part struct {
	name     string
	optional bool
	check    Check
}

// Server is the health listener of a process. Safe for concurrent use.
type Server struct {
	log      *slog.Logger
	gatherer prometheus.Gatherer
	listener net.Listener // nil where it listens nowhere
	metrics  net.Listener // for /metrics alone; nil where there is none

	// protected by mu:
	mu    sync.Mutex
	phase string // why the whole process is not ready; empty when it is
	parts []part
	local map[string]http.Handler // by pattern

	// protected by asking, which is held while the parts are asked:
	asking  sync.Mutex
	asked   time.Time
	answers []State
}

// New makes a health server that says "starting" until SetReady. With an empty
// address it listens nowhere, and Run only waits. Where metricsHost is not empty,
// /metrics, and nothing else, is answered at that IP address too, at the same port.
func New(ctx context.Context, address, metricsHost string, gatherer prometheus.Gatherer, log *slog.Logger) (*Server, error) {
	s := &Server{log: log, gatherer: gatherer, phase: "starting"}
	if address == "" {
		return s, nil
	}
	var listen net.ListenConfig
	var err error
	if s.listener, err = listen.Listen(ctx, "tcp", address); err != nil {
		return nil, fmt.Errorf("health listener: %w", err)
	}
	if metricsHost == "" {
		return s, nil
	}
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err == nil {
		s.metrics, err = listen.Listen(ctx, "tcp", net.JoinHostPort(metricsHost, port))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listener for metrics: %w", err), s.listener.Close())
	}
	return s, nil
}

// Addr is where the server listens, nil where it does not.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// MetricsAddr is where else /metrics is answered, nil where nowhere.
func (s *Server) MetricsAddr() net.Addr {
	if s.metrics == nil {
		return nil
	}
	return s.metrics.Addr()
}

// Add adds a part that must be in order for the process to be ready.
func (s *Server) Add(name string, check Check) { s.add(part{name: name, check: check}) }

// AddOptional adds a part that is told of but may be away.
func (s *Server) AddOptional(name string, check Check) {
	s.add(part{name: name, optional: true, check: check})
}

func (s *Server) add(p part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, p)
}

// SetPhase says why the process as a whole is not ready, such as "starting:
// waiting for the database" or "draining". Empty: it is ready where its parts are.
func (s *Server) SetPhase(phase string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = phase
}

// SetReady ends the start.
func (s *Server) SetReady() { s.SetPhase("") }

// Ready asks all parts, at most once in a moment, and says whether the process
// can do its job.
func (s *Server) Ready(ctx context.Context) (bool, []State) {
	s.mu.Lock()
	phase, parts := s.phase, slices.Clone(s.parts)
	s.mu.Unlock()

	s.asking.Lock()
	defer s.asking.Unlock()
	if time.Since(s.asked) > believeFor || len(s.answers) != len(parts) {
		s.answers = ask(ctx, parts)
		s.asked = time.Now()
	}
	states := slices.Clone(s.answers)
	if phase != "" {
		states = append([]State{{Part: "process", Reason: phase}}, states...)
	}
	ready := !slices.ContainsFunc(states, func(st State) bool { return !st.OK && !st.Optional })
	return ready, states
}

func ask(ctx context.Context, parts []part) []State {
	// The asker may leave; the answer is for others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	states := make([]State, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() {
			states[i] = State{Part: p.name, OK: true, Optional: p.optional}
			if err := p.check(ctx); err != nil {
				states[i].OK, states[i].Reason = false, err.Error()
			}
		})
	}
	wg.Wait()
	return states
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return s.serve(ctx, s.listener, s.Handler()) })
	if s.metrics != nil {
		pages := http.NewServeMux()
		pages.Handle("GET /metrics", s.metricsPage())
		both.Go(func() error { return s.serve(ctx, s.metrics, pages) })
	}
	return both.Wait()
}

func (s *Server) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if err := serve.HTTP(ctx, server, listener, drainFor); err != nil {
		return fmt.Errorf("health listener: %w", err)
	}
	return nil
}

// AddLocal adds a page that only this machine's own users may ask for, before Run.
// A request that came over a proxy is nobody's own.
func (s *Server) AddLocal(pattern string, page http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.local == nil {
		s.local = make(map[string]http.Handler)
	}
	s.local[pattern] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r) {
			http.Error(w, "only for requests that this machine itself makes, without a proxy", http.StatusForbidden)
			return
		}
		page.ServeHTTP(w, r)
	})
}

// isLocal reports whether a request was made on this machine: from loopback, or
// from the very address that it came to. A browser that a foreign page leads here
// by a name of its own says so in Host, and a proxy in its headers.
func isLocal(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Real-Ip", "Origin"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	named, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if host != "localhost" && err != nil {
		return false
	}
	address := from.Addr().Unmap()
	if host != "localhost" && !named.IsLoopback() && named.Unmap() != address {
		return false
	}
	if address.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == address
}

// Handler serves the pages.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	s.mu.Lock()
	for pattern, page := range s.local {
		mux.Handle(pattern, page)
	}
	s.mu.Unlock()
	mux.Handle("GET /metrics", s.metricsPage())
	return mux
}

func (s *Server) metricsPage() http.Handler {
	return promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4, Timeout: 20 * time.Second,
	})
}

// readyz answers 200 or 503, with a line for each part, or as JSON where asked.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ready, states := s.Ready(r.Context())
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") || r.URL.Query().Get("format") == "json" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(struct {
			Ready bool    `json:"ready"`
			Parts []State `json:"parts"`
		}{ready, states})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text(ready, states)))
}

func text(ready bool, states []State) string {
	var b strings.Builder
	b.WriteString(map[bool]string{true: "ready\n", false: "not ready\n"}[ready])
	for _, st := range states {
		word := "ok"
		switch {
		case !st.OK && st.Optional:
			word = "away (not needed)"
		case !st.OK:
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s: %s", st.Part, word)
		if st.Reason != "" {
			b.WriteString(": " + strings.Join(strings.Fields(st.Reason), " "))
		}
		b.WriteString("\n")
	}
	return b.String()
}
