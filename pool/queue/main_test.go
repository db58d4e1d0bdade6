package queue

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"purepool/pool/queue/queuetest"
)

// rabbit is the RabbitMQ of the whole test binary: it takes seconds to start.
var rabbit = struct {
	once   sync.Once
	server *queuetest.RabbitMQ
	err    error
}{}

// rabbitUse keeps those who stop the one RabbitMQ from those who need it.
var rabbitUse sync.RWMutex

// shared makes sure that nobody stops the broker until the test ends. A test must
// not ask for it while another one above it has.
func (k kind) shared(t testing.TB) {
	if k.name == "rabbitmq" {
		rabbitUse.RLock()
		t.Cleanup(rabbitUse.RUnlock)
	}
}

// alone lets the test stop the broker, or count what is in it: nobody else uses it
// until the test ends.
func (k kind) alone(t testing.TB) {
	if k.name == "rabbitmq" {
		rabbitUse.Lock()
		t.Cleanup(rabbitUse.Unlock)
	}
}

func sharedRabbitMQ(t testing.TB) *queuetest.RabbitMQ {
	t.Helper()
	rabbit.once.Do(func() { rabbit.server, rabbit.err = queuetest.StartRabbitMQ() })
	if rabbit.err != nil {
		t.Fatal(rabbit.err)
	}
	return rabbit.server
}

// childEnv makes the test binary one of the processes that tests kill.
const childEnv = "PUREPOOL_QUEUE_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(child(role))
	}
	// They mostly wait, for brokers that come and go: more of them than there are
	// processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := m.Run()
	if rabbit.server != nil {
		rabbit.server.Close()
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// kind is one of the brokers the promises are tested on.
type kind struct {
	name     string
	server   queuetest.Broker // nil: embedded
	frontend string           // URL for publishing
	backend  string           // URL for everything
}

// kinds are all of them, fresh but for RabbitMQ: use a network name of your own.
func kinds(t *testing.T) []kind {
	n := queuetest.NewNATS(t, queuetest.NATSOption{})
	r := sharedRabbitMQ(t)
	dir := "embedded:" + t.TempDir()
	return []kind{
		{"embedded", nil, dir, dir},
		{"nats", n, n.FrontendURL(), n.BackendURL()},
		{"rabbitmq", r, r.FrontendURL(), r.BackendURL()},
	}
}

// onEach runs a claim on every kind of broker, with a provisioned network.
func onEach(t *testing.T, claim func(t *testing.T, k kind, frontend, backend *Broker, network string)) {
	onEachKind(t, kind.shared, claim)
}

// onEachAlone is onEach for claims about all that is in a broker.
func onEachAlone(t *testing.T, claim func(t *testing.T, k kind, frontend, backend *Broker, network string)) {
	onEachKind(t, kind.alone, claim)
}

func onEachKind(t *testing.T, use func(kind, testing.TB), claim func(t *testing.T, k kind, frontend, backend *Broker, network string)) {
	t.Parallel()
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			use(k, t)
			network := newNetwork()
			backend := mustOpen(t, Config{URL: k.backend, Name: "backend", AckWait: time.Second})
			mustProvision(t, backend, network)
			frontend := backend
			if k.server != nil {
				frontend = mustOpen(t, Config{URL: k.frontend, Name: "frontend"})
			}
			claim(t, k, frontend, backend, network)
		})
	}
}

func newNetwork() string { return "n" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8] }

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func mustOpen(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLog(t)
	}
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func mustProvision(t testing.TB, b *Broker, networks ...string) {
	t.Helper()
	if err := b.Provision(t.Context(), networks...); err != nil {
		t.Fatal(err)
	}
}

// startPublisher runs a publisher until the test ends or it is closed.
func startPublisher(t testing.TB, b *Broker, cfg PublisherConfig) *Publisher {
	t.Helper()
	p, err := NewPublisher(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = p.Close()
		wg.Wait()
	})
	return p
}

func newShare(n int) *Share {
	return &Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Refusal: strconv.Itoa(n), Solution: make([]byte, 3438)}
}

// number is what newShare was told.
func number(t testing.TB, s *Share) int {
	n, err := strconv.Atoi(s.Refusal)
	if err != nil {
		t.Errorf("share says %q", s.Refusal)
	}
	return n
}

// subscribe is Subscribe until the test ends, one delivery at a time.
func subscribe(t testing.TB, b *Broker, network string) <-chan *Delivery {
	t.Helper()
	in, err := Subscribe(t.Context(), b, network, SubscribeConfig{InFlight: 1, MinDelay: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

const patience = 30 * time.Second

func receive(t testing.TB, in <-chan *Delivery) *Delivery {
	t.Helper()
	select {
	case d, ok := <-in:
		if !ok {
			t.Fatal("subscription ended")
		}
		return d
	case <-time.After(patience):
		t.Fatal("nothing is delivered")
		return nil
	}
}

// silence fails when something is delivered within a while.
func silence(t testing.TB, in <-chan *Delivery, while time.Duration) {
	t.Helper()
	select {
	case d := <-in:
		t.Fatalf("delivered: attempt %d of %d shares", d.Attempt, len(d.Shares))
	case <-time.After(while):
	}
}

// collector gathers what comes out of a network.
type collector struct {
	mu    sync.Mutex
	times map[int]int
	first []int // numbers in the order of their first arrival
	more  chan struct{}
}

func collect(t testing.TB, b *Broker, network string) *collector {
	t.Helper()
	c := &collector{times: make(map[int]int), more: make(chan struct{}, 1)}
	in := subscribe(t, b, network)
	go func() {
		for d := range in {
			c.mu.Lock()
			for i := range d.Shares {
				n := number(t, &d.Shares[i])
				if c.times[n]++; c.times[n] == 1 {
					c.first = append(c.first, n)
				}
			}
			c.mu.Unlock()
			d.Ack()
			select {
			case c.more <- struct{}{}:
			default:
			}
		}
	}()
	return c
}

// await returns when all of these have come, or fails.
func (c *collector) await(t testing.TB, want map[int]bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		missing := 0
		c.mu.Lock()
		for n := range want {
			if c.times[n] == 0 {
				missing++
			}
		}
		c.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-c.more:
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%d of %d acknowledged shares are missing", missing, len(want))
		}
	}
}

// child is a process that publishes or consumes until it is killed, and says
// on its output what has been acknowledged to it.
func child(role string) int {
	word := strings.Split(role, " ")
	ctx := context.Background()
	b, err := Open(ctx, Config{URL: word[1], AckWait: time.Second})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	network := word[2]
	if word[3] == "provision" {
		if err := b.Provision(ctx, network); err != nil {
			fmt.Println("error", err)
			return 1
		}
	}
	switch word[0] {
	case "consume":
		in, err := Subscribe(ctx, b, network, SubscribeConfig{InFlight: 1})
		if err != nil {
			fmt.Println("error", err)
			return 1
		}
		d := <-in
		fmt.Println("got", d.Shares[0].Refusal)
		select {}
	case "publish":
		return childPublish(ctx, b, network, word[4], word[5])
	}
	return 2
}

func childPublish(ctx context.Context, b *Broker, network, spool, from string) int {
	p, err := NewPublisher(b, PublisherConfig{Networks: []string{network}, SpoolDir: spool, Timeout: 500 * time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	go func() { _ = p.Run(ctx) }()
	first, _ := strconv.Atoi(from)
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := first + g; ; n += 8 {
				if err := p.Publish(ctx, network, newShare(n)); err != nil {
					fmt.Println("error", err)
					continue
				}
				mu.Lock()
				fmt.Fprintln(out, n)
				_ = out.Flush()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 0
}
