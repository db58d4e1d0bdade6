package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/internal/serve"
	"purepool/ledger"
)

// Server serves the pages.
type Server struct {
	cfg      Config
	networks map[string]*Network
	store    Store
	log      *slog.Logger
	metrics  *metrics
	assets   *assets
	pages    map[string]*template.Template
	visitors *visitors
	hub      *hub
	openAPI  []byte
	zippers  sync.Pool // of *gzip.Writer
	listener net.Listener

	pulses   *memo[ledger.NetworkPulse]
	stats    *memo[ledger.Statistics]
	sums     *memo[ledger.ChainSum]
	serieses *memo[ledger.Series]
	blocks   *memo[[]ledger.PoolBlock]
	payments *memo[[]ledger.Transaction]
	miners   *memo[[]ledger.RecentMiner]
	found    *memo[*ledger.WebMiner]
	details  *memo[*ledger.MinerFigures]
	lives    *memo[ledger.MinerPulse]
	entries  *memo[[]ledger.Entry]
	paid     *memo[[]ledger.MinerPayment]
	written  *memo[*answer] // whole pages and answers of the API

	findTogether    *together[addressOn, *ledger.WebMiner]
	figuresTogether *together[int64, *ledger.MinerFigures]
	seriesTogether  *together[spanOfMiner, ledger.Series]

	away    atomic.Bool // the database did not answer last time: told to the log once
	waiting atomic.Bool // the ledger's numbers of networks are not known yet
}

// New prepares the pages; Listen and Run serve them.
func New(cfg Config, store Store, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, networks: map[string]*Network{}, store: store, log: log, metrics: newMetrics(reg), visitors: newVisitors(cfg),
	}
	for i := range cfg.Networks {
		s.networks[cfg.Networks[i].Name] = &s.cfg.Networks[i]
		if cfg.Networks[i].ID == 0 {
			s.waiting.Store(true)
		}
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = s.loadPages(); err != nil {
		return nil, err
	}
	if s.openAPI, err = json.MarshalIndent(s.describeAPI(), "", "  "); err != nil {
		return nil, err
	}
	s.makeCaches()
	s.findTogether, s.figuresTogether, s.seriesTogether = newTogether(s.readMiners), newTogether(s.readFigures), newTogether(s.readSerieses)
	s.hub = newHub(s)
	return s, nil
}

// Open tells the ledger's numbers of the networks, by name, to a server that was
// made without them: until then the database was never reached, and pages that
// need it say so. To be called once.
func (s *Server) Open(ids map[string]int16) error {
	for name, n := range s.networks {
		if ids[name] == 0 {
			return fmt.Errorf("web: network %s has no number", name)
		}
		n.ID = ids[name] // nobody reads it while waiting is set
	}
	s.waiting.Store(false)
	return nil
}

// makeCaches: what moves slowly is kept longer; what is asked by address or page
// may be forgotten sooner.
func (s *Server) makeCaches() {
	fresh, m, c := s.cfg.Fresh, s.metrics, s.cfg
	s.pulses = newMemo[ledger.NetworkPulse]("pulse", 16, min(fresh, c.LiveEvery*3/4), c.StoreTimeout, c.Now, m)
	s.stats = newMemo[ledger.Statistics]("statistics", 16, 5*fresh, c.StoreTimeout, c.Now, m)
	s.sums = newMemo[ledger.ChainSum]("subsidies", 256, 100*fresh, c.StoreTimeout, c.Now, m)
	s.serieses = newMemo[ledger.Series]("series", 512, 10*fresh, c.StoreTimeout, c.Now, m)
	s.blocks = newMemo[[]ledger.PoolBlock]("blocks", 256, fresh, c.StoreTimeout, c.Now, m)
	s.payments = newMemo[[]ledger.Transaction]("payments", 256, 2*fresh, c.StoreTimeout, c.Now, m)
	s.miners = newMemo[[]ledger.RecentMiner]("miners", 256, 3*fresh, c.StoreTimeout, c.Now, m)
	s.found = newMemo[*ledger.WebMiner]("miner", 8192, 2*fresh, c.StoreTimeout, c.Now, m)
	s.details = newMemo[*ledger.MinerFigures]("miner_details", 1024, 2*fresh, c.StoreTimeout, c.Now, m)
	s.lives = newMemo[ledger.MinerPulse]("miner_live", 1024, min(fresh, c.LiveEvery*3/4), c.StoreTimeout, c.Now, m)
	s.entries = newMemo[[]ledger.Entry]("entries", 512, 2*fresh, c.StoreTimeout, c.Now, m)
	s.paid = newMemo[[]ledger.MinerPayment]("miner_payments", 512, 2*fresh, c.StoreTimeout, c.Now, m)
	s.written = newMemo[*answer]("page", 768, fresh, 3*c.StoreTimeout, c.Now, m)
}

// Listen opens the listener.
func (s *Server) Listen(ctx context.Context, address string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("web listener: %w", err)
	}
	s.listener = listener
	return nil
}

// Addr is where the server listens; nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Limits of one request. Nothing that is asked here is long.
const (
	maxHeader = 16 << 10
	maxURL    = 1024
	maxForm   = 4 << 10
)

// Run serves until ctx ends, lets requests under way finish, and closes streams.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	live := make(chan error, 1)
	go func() { live <- s.hub.run(ctx) }()
	err := serve.HTTP(ctx, server, s.listener, s.cfg.DrainTimeout)
	if ctx.Err() == nil {
		s.hub.close() // the listener broke
	}
	return errors.Join(err, <-live)
}

// Handler returns the pages as a handler, for a server of one's own: streams of
// live numbers need Run.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// request is one request on its way through.
type request struct {
	*http.Request
	w       http.ResponseWriter
	who     netip.Prefix
	route   string
	network *Network
	address string // of a miner
	rest    string // the last part of the path, where a route has one
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	secure(w.Header())
	q := &request{Request: r, w: w, who: s.visitors.of(r)}
	status := s.answer(q)
	if q.route == "live" && status == http.StatusOK {
		return // a stream's length says nothing
	}
	s.metrics.answered(q.route, status, time.Since(begun))
}

// answer finds out what is asked and answers it.
func (s *Server) answer(q *request) int {
	handle := s.route(q)
	if q.route != "asset" && !s.visitors.allow(q.who) {
		s.metrics.turned.WithLabelValues("rate").Inc()
		q.w.Header().Set("Retry-After", "2")
		return s.fail(q, http.StatusTooManyRequests, "Slower, please", "Too many requests came from your address. Wait a moment and try again.")
	}
	if len(q.URL.Path)+len(q.URL.RawQuery) > maxURL {
		return s.fail(q, http.StatusRequestURITooLong, "That address is too long", "No page here has an address of that length.")
	}
	switch {
	case q.Method == http.MethodGet, q.Method == http.MethodHead:
	case q.Method == http.MethodPost && (q.route == "home" || q.route == "root" || q.route == "search"):
		return s.search(q)
	case q.Method == http.MethodOptions && strings.HasPrefix(q.route, "api"):
		allowReading(q.w.Header())
		q.w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD")
		q.w.Header().Set("Access-Control-Max-Age", "86400")
		q.w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent
	case strings.HasPrefix(q.route, "api original"):
		// The original refuses it so (recorded case 155).
		return s.fail(q, http.StatusForbidden, "Only reading is possible here", "Ask with GET.")
	default:
		q.w.Header().Set("Allow", "GET, HEAD")
		return s.fail(q, http.StatusMethodNotAllowed, "Only reading is possible here", "Ask with GET.")
	}
	if s.waiting.Load() && needsLedger(q.route) {
		return s.unreached(q)
	}
	return handle(q)
}

// needsLedger says whether a route cannot be answered before the database was
// reached for the first time.
func needsLedger(route string) bool {
	switch route {
	case "asset", "root", "redirect", "join", "api page", "api description", "api unknown", "search", "not found":
		return false
	}
	return true
}

// unreached answers while the database was not reached yet.
func (s *Server) unreached(q *request) int {
	if q.route == "live" || q.route == "live poll" || strings.HasPrefix(q.route, "api ") {
		return s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
	}
	return s.awayPage(q)
}

// route names the page that is asked for. Paths are taken as they are: what is
// not exactly an address of a page is not found.
func (s *Server) route(q *request) func(*request) int {
	path := q.URL.Path
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/":
		return q.as("root", s.root)
	case path == "/favicon.ico", path == "/robots.txt":
		return q.as("asset", s.wellKnown)
	case parts[0] == "assets" && len(parts) == 2:
		q.rest = parts[1]
		return q.as("asset", s.asset)
	case parts[0] == "api":
		return s.routeAPI(q, parts[1:])
	}
	network, served := s.networks[parts[0]]
	if !served {
		return q.as("not found", s.notFound)
	}
	q.network = network
	parts = parts[1:]
	if len(parts) == 0 {
		return q.as("redirect", redirect)
	}
	switch joined := strings.Join(parts, "/"); joined {
	case "":
		return q.as("home", s.home)
	case "howtojoin/":
		return q.as("join", s.join)
	case "statistics":
		return q.as("statistics", s.statistics)
	case "blocks":
		return q.as("blocks", s.blocksPage)
	case "payments":
		return q.as("payments", s.paymentsPage)
	case "api":
		return q.as("api page", s.apiPage)
	case "search":
		return q.as("search", s.search)
	case "live":
		return q.as("live", s.live)
	case "live.json":
		return q.as("live poll", s.livePoll)
	case "howtojoin", "statistics/", "blocks/", "payments/", "api/":
		return q.as("redirect", redirect)
	case "api/statistics":
		return q.as("api original statistics", s.originalStatistics)
	}
	switch {
	case parts[0] == "miner" && (len(parts) == 2 || len(parts) == 3 && parts[2] == "") && parts[1] != "":
		q.address = parts[1]
		if len(parts) == 2 {
			return q.as("redirect", redirect)
		}
		return q.as("miner", s.miner)
	case len(parts) == 3 && parts[0] == "api" && parts[1] == "block_subsidysum":
		q.rest = parts[2]
		return q.as("api original subsidysum", s.originalSubsidySum)
	}
	return q.as("not found", s.notFound)
}

func (q *request) as(name string, handle func(*request) int) func(*request) int {
	q.route = name
	return handle
}

// redirect leads from an address with or without its slash to the other.
func redirect(q *request) int {
	// EscapedPath keeps what a visitor sent encoded; it begins with one slash,
	// so that it cannot be an address of another host.
	to, had := strings.CutSuffix(q.URL.EscapedPath(), "/")
	if !had {
		to += "/"
	}
	q.w.Header().Set("Location", to)
	q.w.Header().Set("Cache-Control", "public, max-age=3600")
	q.w.WriteHeader(http.StatusMovedPermanently)
	return http.StatusMovedPermanently
}

func (s *Server) asset(q *request) int {
	file, ok := s.assets.files[q.rest]
	if !ok {
		return s.notFound(q)
	}
	if file.maxAge > 0 {
		q.w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	return file.send(q.w, q.Request)
}

func (s *Server) wellKnown(q *request) int {
	if q.URL.Path == "/robots.txt" {
		return s.newAnswer(http.StatusOK, "text/plain; charset=utf-8", []byte("User-agent: *\nDisallow: /*/search\nDisallow: /*/live\n"), time.Hour).send(q.w, q.Request)
	}
	q.w.Header().Set("Location", s.assets.urls["icon.svg"])
	q.w.WriteHeader(http.StatusFound)
	return http.StatusFound
}

// problem tells the log that the database is away, once.
func (s *Server) problem(err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !s.away.Swap(true) {
		s.log.Warn("pages show old numbers: the database does not answer", slog.Any("error", err))
	}
}

func (s *Server) fine() {
	if s.away.Load() && s.away.Swap(false) {
		s.log.Info("the database answers again")
	}
}
