package zmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/pool/chain"
)

// Config holds the settings of a subscriber; zero durations mean the defaults.
type Config struct {
	// Address is where the daemon publishes, as it stands in its own configuration:
	// tcp://host:port.
	Address string
	// OnBlock is called with each new tip, in order and from one goroutine. It
	// returns quickly.
	OnBlock func(tip chain.Hash)
	// OnGap is called, from the same goroutine, where blocks may have been missed: at
	// each subscription and where numbers are missing. It may be nil.
	OnGap func()

	// MinWait and MaxWait bound the back-off between two attempts; 250 ms, 10 s.
	MinWait, MaxWait time.Duration
	// Handshake bounds the time from dialling to the subscription; 5 s.
	Handshake time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Subscriber hears of one daemon's new blocks.
type Subscriber struct {
	cfg     Config
	address string // host:port
	metrics *metrics
}

// ErrAddress: an address is not of the form tcp://host:port.
var ErrAddress = errors.New("an address to subscribe to must be of the form tcp://host:port")

// CheckAddress reports whether a subscriber can be made for an address. Errors:
// ErrAddress.
func CheckAddress(address string) error {
	_, err := hostPort(address)
	return err
}

func hostPort(address string) (string, error) {
	rest, ok := strings.CutPrefix(address, "tcp://")
	if ok {
		host, port, err := net.SplitHostPort(rest)
		number, errPort := strconv.ParseUint(port, 10, 16)
		if err == nil && errPort == nil && host != "" && host != "*" && number != 0 {
			return rest, nil
		}
	}
	return "", fmt.Errorf("%w, not %q", ErrAddress, address)
}

// New makes a subscriber that does nothing until Run. Errors: ErrAddress.
func New(cfg Config) (*Subscriber, error) {
	address, err := hostPort(cfg.Address)
	if err != nil {
		return nil, err
	}
	or := func(v *time.Duration, fallback time.Duration) {
		if *v == 0 {
			*v = fallback
		}
	}
	or(&cfg.MinWait, 250*time.Millisecond)
	or(&cfg.MaxWait, 10*time.Second)
	or(&cfg.Handshake, 5*time.Second)
	if cfg.OnGap == nil {
		cfg.OnGap = func() {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Subscriber{cfg: cfg, address: address, metrics: newMetrics(cfg.Registerer, cfg.Address)}, nil
}

// Run listens until ctx ends, which is no error, and subscribes again whenever
// the connection has ended.
func (s *Subscriber) Run(ctx context.Context) error {
	wait, told := s.cfg.MinWait, false
	for {
		subscribed, err := s.listen(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is why
		}
		if subscribed {
			wait, told = s.cfg.MinWait, false
		}
		s.metrics.failures.Inc()
		if !told {
			s.cfg.Logger.Warn("new blocks are not pushed, polling goes on", slog.String("from", s.cfg.Address), slog.Any("error", err))
		}
		told = true
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = min(2*wait, s.cfg.MaxWait)
	}
}

// keepAlive finds a peer that has gone without a word within half a minute: a
// publisher is silent between blocks.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// listen subscribes and listens until the connection ends. Its error is never
// nil.
func (s *Subscriber) listen(ctx context.Context) (subscribed bool, err error) {
	dialer := net.Dialer{Timeout: s.cfg.Handshake, KeepAliveConfig: keepAlive}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(s.cfg.Handshake)); err != nil {
		return false, err
	}
	in, err := shakeHands(conn)
	if err != nil {
		return false, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return false, err
	}
	s.metrics.connected.Set(1)
	defer s.metrics.connected.Set(0)
	s.cfg.Logger.Info("new blocks are pushed", slog.String("from", s.cfg.Address))
	s.cfg.OnGap()
	return true, s.hear(conn, in)
}

// shakeHands greets, subscribes, and returns what follows.
func shakeHands(conn io.ReadWriter) (*reader, error) {
	if _, err := conn.Write(greeting()); err != nil {
		return nil, err
	}
	var theirs [greetingSize]byte
	if _, err := io.ReadFull(conn, theirs[:]); err != nil {
		return nil, fmt.Errorf("waiting for its greeting: %w", unfinished(err))
	}
	if err := checkGreeting(theirs[:]); err != nil {
		return nil, err
	}
	if _, err := conn.Write(ready()); err != nil {
		return nil, err
	}
	in := newReader(conn)
	first, err := in.frame()
	if err != nil {
		return nil, fmt.Errorf("waiting for its handshake: %w", unfinished(err))
	}
	if err := checkReady(first); err != nil {
		return nil, err
	}
	_, err = conn.Write(subscription())
	return in, err
}

// hear passes blocks on until the connection ends.
func (s *Subscriber) hear(conn io.Writer, in *reader) error {
	var last uint32
	for first := true; ; {
		m, ok, reply, err := in.next()
		if err != nil {
			return err
		}
		if reply != nil {
			if _, err := conn.Write(reply); err != nil {
				return err
			}
		}
		if !ok {
			continue
		}
		s.metrics.blocks.Inc()
		if missing := m.number - last - 1; !first && missing != 0 {
			s.metrics.gaps.Inc()
			s.cfg.Logger.Warn("pushed blocks are missing", slog.String("from", s.cfg.Address), slog.Int("messages", int(int32(missing)))) //nolint:gosec // a difference of two counters that come round
			s.cfg.OnGap()
		}
		first, last = false, m.number
		s.cfg.OnBlock(m.hash)
	}
}

type metrics struct {
	connected              prometheus.Gauge
	blocks, gaps, failures prometheus.Counter
}

func newMetrics(r prometheus.Registerer, address string) *metrics {
	labels := prometheus.Labels{"publisher": address}
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "purepool_push_connected", ConstLabels: labels, Help: "1 while the daemon's publisher of new blocks is subscribed to.",
		}),
		blocks:   count("purepool_push_blocks_total", "New blocks that the publisher has told."),
		gaps:     count("purepool_push_gaps_total", "Gaps in the numbers of the publisher's messages: it had more to say than was taken."),
		failures: count("purepool_push_failures_total", "Subscriptions that failed or ended."),
	}
	if r != nil {
		r.MustRegister(m.connected, m.blocks, m.gaps, m.failures)
	}
	return m
}
