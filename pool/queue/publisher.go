package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// PublisherConfig bounds a Publisher. The zero value of every field but
// Networks means its default.
type PublisherConfig struct {
	// Networks are the networks served: main, test, regtest.
	Networks []string
	// SpoolDir is the folder of the disk spool, one process's own. Empty: no
	// spool, a broker that is away makes Publish fail with ErrUnavailable (fit
	// for the embedded broker, whose disk is the same).
	SpoolDir string
	// SpoolBytes bounds the spool over all networks, 1 GiB by default.
	SpoolBytes int64
	// MemoryBytes bounds the shares that wait in memory, 64 MiB by default.
	MemoryBytes int64
	// EnvelopeShares and EnvelopeBytes close an envelope, 512 and 1 MiB by
	// default. A single larger share makes an envelope of its own.
	EnvelopeShares, EnvelopeBytes int
	// Linger is how long an open envelope waits for more shares while another
	// one is on its way, 2 ms by default. A lone share never waits.
	Linger time.Duration
	// InFlight is how many envelopes of a network are on their way at once, 4 by default.
	InFlight int
	// Timeout is how long the broker may take to acknowledge an envelope before
	// it goes to the spool instead, 2 s by default.
	Timeout time.Duration
	// DrainTimeout is how long Run goes on giving its memory to the broker after
	// its context has ended; what is left then goes to the spool. 10 s by default.
	DrainTimeout time.Duration
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def64 := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	defTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def64(&c.SpoolBytes, 1<<30)
	def64(&c.MemoryBytes, 64<<20)
	def(&c.EnvelopeShares, 512)
	c.EnvelopeShares = min(c.EnvelopeShares, MaxEnvelopeShares)
	def(&c.EnvelopeBytes, 1<<20)
	c.EnvelopeBytes = min(c.EnvelopeBytes, MaxEnvelopeBytes)
	def(&c.InFlight, 4)
	defTime(&c.Linger, 2*time.Millisecond)
	defTime(&c.Timeout, 2*time.Second)
	defTime(&c.DrainTimeout, 10*time.Second)
	return c
}

// Publisher makes shares durable. Each network has a lane of its own, so that
// none waits for another. All methods are safe for concurrent use.
type Publisher struct {
	b      *Broker
	cfg    PublisherConfig
	log    *slog.Logger
	lanes  map[string]*lane
	memory budget
	spool  budget
	unlock func() // of the spool folder; nil without a spool

	mu      sync.Mutex
	cancel  context.CancelFunc // of the running Run
	closed  bool
	stopped chan struct{} // closed when Run has returned
}

// NewPublisher opens the spool, repairs what a crash left in it, and prepares a
// publisher. Until Run, Publish waits. Networks that are not configured any
// more, but whose spool is found, are still drained.
func NewPublisher(b *Broker, cfg PublisherConfig) (*Publisher, error) {
	p := &Publisher{b: b, cfg: cfg.withDefaults(), log: b.log, lanes: make(map[string]*lane), stopped: make(chan struct{})}
	p.memory.max, p.spool.max = p.cfg.MemoryBytes, p.cfg.SpoolBytes
	if err := p.open(); err != nil {
		p.release()
		return nil, fmt.Errorf("open publisher: %w", err)
	}
	return p, nil
}

func (p *Publisher) open() error {
	if len(p.cfg.Networks) == 0 {
		return errors.New("no networks")
	}
	if err := checkNetworks(p.cfg.Networks...); err != nil {
		return err
	}
	found, err := p.openSpoolDir()
	if err != nil {
		return err
	}
	for _, n := range p.cfg.Networks {
		if p.lanes[n] != nil {
			return fmt.Errorf("network %s is named twice", n)
		}
		if p.lanes[n], err = p.newLane(n, true); err != nil {
			return err
		}
	}
	for _, n := range found {
		if p.lanes[n] != nil {
			continue
		}
		l, err := p.newLane(n, false)
		if err != nil {
			return err
		}
		p.lanes[n] = l
		if !l.spool.empty() {
			p.log.Warn("queue: the spool holds shares of a network that is not configured", slog.String("network", n))
		}
	}
	return nil
}

// openSpoolDir takes hold of the folder and returns the networks found in it.
func (p *Publisher) openSpoolDir() ([]string, error) {
	if p.cfg.SpoolDir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(p.cfg.SpoolDir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(p.cfg.SpoolDir, "lock"))
	if err != nil {
		return nil, err
	}
	p.unlock = unlock
	entries, err := os.ReadDir(p.cfg.SpoolDir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && networkName.MatchString(e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

// release lets go of the files.
func (p *Publisher) release() {
	for _, l := range p.lanes {
		if l.spool != nil {
			l.spool.close()
		}
	}
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
	}
}

// Run publishes until ctx ends or Close is called, then flushes what was taken
// and returns. The spool stays for the next start. Run is called once.
func (p *Publisher) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.closed || p.cancel != nil {
		p.mu.Unlock()
		return ErrClosed
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.mu.Unlock()
	defer close(p.stopped)
	defer p.cancel()

	var lanes sync.WaitGroup
	for _, l := range p.lanes {
		lanes.Go(func() { l.run(ctx) })
		if l.spool != nil {
			lanes.Go(func() { l.drain(ctx) })
		}
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for running := true; running; {
		p.report()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			running = false
		}
	}
	lanes.Wait()
	p.report()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.release()
	return nil
}

// report brings the gauges up to date.
func (p *Publisher) report() {
	m := p.b.metrics
	m.pendingBytes.Set(float64(p.memory.used.Load()))
	for n, l := range p.lanes {
		if l.spool == nil {
			continue
		}
		bytes, oldest := l.spool.state()
		m.spoolBytes.WithLabelValues(n).Set(float64(bytes))
		age := 0.0
		if !oldest.IsZero() {
			age = max(0, time.Since(oldest).Seconds())
		}
		m.spoolOldest.WithLabelValues(n).Set(age)
	}
}

// Close ends Run and waits for it; without a Run it lets go of the spool.
func (p *Publisher) Close() error {
	p.mu.Lock()
	if p.cancel == nil {
		if !p.closed {
			p.closed = true
			for _, l := range p.lanes {
				l.stop()
				for _, b := range l.take() {
					l.finish(b, ErrClosed)
				}
			}
			p.release()
		}
		p.mu.Unlock()
		return nil
	}
	p.cancel()
	p.mu.Unlock()
	<-p.stopped
	return nil
}

// Publish returns nil when the share is durable: acknowledged by the broker or
// fsynced into the spool. Otherwise the share was not taken, and errors.Is
// tells ErrFull, ErrUnavailable, ErrTooLarge, ErrUnknownNetwork or ErrClosed.
// When ctx ends first, its error is returned and the share may or may not have
// been taken: it is harmless to publish it again with the same ID. The share is
// copied: the caller may reuse it when Publish returns.
func (p *Publisher) Publish(ctx context.Context, network string, s *Share) error {
	l := p.lanes[network]
	if l == nil || !l.serves {
		return ErrUnknownNetwork
	}
	start := time.Now()
	b, err := l.add(s)
	if err == nil {
		select {
		case <-b.done:
			err = b.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		p.b.metrics.refused.WithLabelValues(network, reason(err)).Inc()
		return err
	}
	took := time.Since(start).Seconds()
	if b.spooled {
		l.spoolSeconds.Observe(took)
	} else {
		l.directSeconds.Observe(took)
	}
	return nil
}

// send gives one envelope to the broker and waits for its acknowledgement.
func (p *Publisher) send(topic string, envelope []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Timeout)
	defer cancel()
	m := message.NewMessageWithContext(ctx, watermill.NewUUID(), envelope)
	return p.b.driver.publisher().Publish(topic, m)
}

func (p *Publisher) newLane(network string, serves bool) (*lane, error) {
	m := p.b.metrics
	l := &lane{
		p: p, network: network, topic: SharesTopic(network), serves: serves,
		kick:          make(chan struct{}, 1),
		spooled:       make(chan struct{}, 1),
		results:       make(chan result, p.cfg.InFlight),
		directSeconds: m.publishSeconds.WithLabelValues(network, "direct"),
		spoolSeconds:  m.publishSeconds.WithLabelValues(network, "spool"),
		failures:      m.brokerFailures.WithLabelValues(network),
	}
	for _, why := range []string{"full", "unavailable", "too_large", "closed"} {
		m.refused.WithLabelValues(network, why)
	}
	if p.cfg.SpoolDir == "" {
		return l, nil
	}
	damaged := m.spoolDamaged.WithLabelValues(network)
	s, err := openSpool(filepath.Join(p.cfg.SpoolDir, network), &p.spool, p.log, func(n int64) { damaged.Add(float64(n)) })
	if err != nil {
		return nil, err
	}
	l.spool = s
	return l, nil
}
