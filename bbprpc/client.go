package bbprpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Client calls one of several daemons. It is safe for concurrent use.
type Client struct {
	cfg       Config
	endpoints []*endpoint
	transport *http.Transport
	metrics   *metrics
	// slots holds a token for each HTTP exchange under way.
	slots chan struct{}
	nowFn func() time.Time
}

// New makes a client. It connects to nothing; a daemon that cannot be reached
// shows at the first call. Error: [ErrConfig], whose text holds no password.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	metrics, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of a daemon client: %w", err)
	}
	c := &Client{
		cfg:     cfg,
		metrics: metrics,
		slots:   make(chan struct{}, cfg.MaxInFlight),
		nowFn:   time.Now,
		transport: &http.Transport{
			// No proxy from the environment: passwords go to the daemon alone.
			DialContext:         (&net.Dialer{Timeout: min(cfg.Timeout, 5*time.Second)}).DialContext,
			TLSHandshakeTimeout: min(cfg.Timeout, 5*time.Second),
			DisableCompression:  true,
			MaxIdleConnsPerHost: cfg.MaxInFlight,
			// A daemon closes idle connections after 30 s (-rpcservertimeout); being
			// first avoids a call into a connection that is closing. And a daemon
			// that is told to stop waits until its clients have hung up.
			IdleConnTimeout: 5 * time.Second,
		},
	}
	httpClient := &http.Client{
		Transport: c.transport,
		// Following would send the credentials to whoever is named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, each := range cfg.Endpoints {
		name, creds, err := each.address()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.endpoints, func(e *endpoint) bool { return e.name == name }) {
			return nil, fmt.Errorf("%w: %s is there twice", ErrConfig, name)
		}
		c.endpoints = append(c.endpoints, &endpoint{
			name: name, creds: creds, http: httpClient, log: cfg.Logger,
			upness: c.metrics.up.WithLabelValues(name), changed: make(chan struct{}, 1),
		})
	}
	return c, nil
}

// Close closes the connections that are kept. Calls under way are not ended; end
// their contexts for that.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Do makes one call and returns its Err.
func (c *Client) Do(ctx context.Context, call *Call) error {
	for ch := range c.chunks([]*Call{call}) {
		c.exchange(ctx, ch)
	}
	return call.Err
}

// Batch makes many calls in few HTTP exchanges and sets the Err of each; none may
// be in it twice. The
// daemon works on the calls of one exchange one after the other; exchanges of
// MaxBatch calls run side by side. Batch returns nil where every call got the
// daemon's word, be it a refusal, and otherwise the Err of one that did not, for
// which errors.Is(err, ErrAway) holds: of one whose daemon is away altogether
// (AwayError.Answered is false), or else of the first.
func (c *Client) Batch(ctx context.Context, calls []*Call) error {
	var all sync.WaitGroup
	for ch := range c.chunks(calls) {
		all.Go(func() { c.exchange(ctx, ch) })
	}
	all.Wait()
	var first error
	for _, call := range calls {
		var away *AwayError
		switch {
		case !errors.As(call.Err, &away):
		case !away.Answered:
			return call.Err
		case first == nil:
			first = call.Err
		}
	}
	return first
}

// Status is what the client believes about a daemon.
type Status struct {
	Endpoint string // the URL without credentials
	Up       bool
	Err      error // why it is away
}

// Status returns what is known about each daemon, in order of preference. A
// daemon that was never asked counts as up.
func (c *Client) Status() []Status {
	all := make([]Status, len(c.endpoints))
	for i, e := range c.endpoints {
		e.mu.Lock()
		all[i] = Status{Endpoint: e.name, Up: !e.away, Err: e.lastErr}
		e.mu.Unlock()
	}
	return all
}

// Run asks each daemon for its height whenever nobody has asked it anything for a
// while, and more often one that is away, until ctx ends. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, e := range c.endpoints {
		all.Go(func() { c.watch(ctx, e) })
	}
	all.Wait()
	return nil
}

func (c *Client) watch(ctx context.Context, e *endpoint) {
	for {
		wait := e.nextCheck(c.cfg.CheckEvery).Sub(c.nowFn())
		if wait <= 0 {
			c.probe(ctx, e)
			wait = firstPause // whatever came of it, never in a tight loop
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// probe asks one daemon for its height; what comes of it shows in the endpoint's
// state.
func (c *Client) probe(ctx context.Context, e *endpoint) {
	var height int64
	for ch := range c.chunks([]*Call{BlockCountCall(&height)}) {
		c.attempt(ctx, e, ch, []int{0})
	}
}
