// Package bench measures the pool as a whole, beside a limit that is
// measured in the same run: figures of another machine, or of this one on
// another day, say nothing; the ratio does. `make bench` runs it.
package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/httpcompat"
	"purepool/ledger"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
)

// The servers that are measured run in processes of their own: the test binary
// again, with these variables set.
const (
	envServer    = "PUREPOOL_BENCH_SERVER" // bare, durable, front, stratum or echo
	envDSN       = "PUREPOOL_BENCH_DSN"
	envQueue     = "PUREPOOL_BENCH_QUEUE"
	envPool      = "PUREPOOL_BENCH_POOL_ADDRESS"
	envAlgorithm = "PUREPOOL_BENCH_ALGORITHM"
	envProfile   = "PUREPOOL_BENCH_PROFILE" // where CPU profiles go, a file for each kind of server
	envJudge     = "PUREPOOL_BENCH_JUDGE"   // the backend's DSN, where shares are judged, too
)

func TestMain(m *testing.M) {
	var serve func(context.Context) error
	switch os.Getenv(envServer) {
	case "":
		os.Exit(m.Run())
	case "bare":
		serve = func(ctx context.Context) error { return serveBare(ctx, func() error { return nil }) }
	case "durable":
		serve = serveDurable
	case "front":
		serve = serveFront
	case "stratum":
		serve = serveStratum
	case "echo":
		serve = serveEcho
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if path := os.Getenv(envProfile); path != "" {
		file, err := os.Create(path + "." + os.Getenv(envServer))
		if err == nil {
			err = pprof.StartCPUProfile(file)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if err := serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// grantAnswer is what the bare handler answers to everything: as long as a grant
// of work.
const grantAnswer = "<RESPONSE> <ADDRESS>yQRnSo2Fa4KofZdWVuTFqtYoxeTZqXYU7y</ADDRESS>" +
	"<HASHTARGET>0000011110000000000000000000000000000000000000000000000000000000</HASHTARGET>" +
	"<MINERGUID>44444444-4444-4444-8444-444444444444</MINERGUID><WORKID>06d5c70c-7e37-4e32-9277-7fa3c99716b0</WORKID></RESPONSE>"

// serveDurable is the limit of a client that is alone: each answer waits for a
// disk once, and nobody shares the wait.
func serveDurable(ctx context.Context) error {
	file, err := os.CreateTemp("", "purepool-bench-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	page := make([]byte, 4096)
	return serveBare(ctx, func() error {
		if _, err := file.Write(page); err != nil {
			return err
		}
		return file.Sync()
	})
}

// serveBare is the limit: net/http with a handler that does one thing before it
// answers a constant, or nothing.
func serveBare(ctx context.Context, before func() error) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := before(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, grantAnswer)
	})}
	fmt.Println(listener.Addr())
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// serveFront is the pool from the wire to what makes things durable, and nothing
// behind it: Action.aspx, the front desk, Postgres, and the embedded broker with
// its fsync before every acknowledgement.
func serveFront(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	registry := prometheus.NewRegistry()
	store, err := ledger.OpenFrontend(ctx, os.Getenv(envDSN), ledger.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	ids, err := store.Networks(ctx)
	if err != nil {
		return err
	}
	broker, err := queue.Open(ctx, queue.Config{URL: "embedded:" + os.Getenv(envQueue), Logger: log, Registerer: registry})
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := broker.Provision(ctx, "test"); err != nil {
		return err
	}
	publisher, err := queue.NewPublisher(broker, queue.PublisherConfig{Networks: []string{"test"}})
	if err != nil {
		return err
	}
	published := make(chan error, 1)
	go func() { published <- publisher.Run(context.WithoutCancel(ctx)) }()
	var target pow.Target
	for i := range target {
		target[i] = 0xff
	}
	desk, err := pool.NewDesk(pool.Config{
		Frontend: "bench", Logger: log, Registerer: registry, WorksPerMinute: -1, // each request its own row
		Networks: []pool.Network{{
			Name: "test", ID: ids["test"], Chain: chain.BiblePayTest(), PoolAddress: os.Getenv(envPool), HashTarget: target,
		}},
	}, store, publisher)
	if err != nil {
		return err
	}
	defer desk.Close()
	server, err := httpcompat.New(httpcompat.Config{
		Listen: []httpcompat.Listen{{Address: "127.0.0.1:0"}},
		Limits: httpcompat.Limits{MaxConnections: 10_000, MaxConnectionsPerIP: 10_000, RatePerIP: 1e6, BurstPerIP: 1_000_000},
	}, desk, log, registry)
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	fmt.Println(server.Addrs()[0])
	if err := server.Run(ctx); err != nil {
		return err
	}
	if err := publisher.Close(); err != nil {
		return err
	}
	return <-published
}

// server is a measured process.
type server struct {
	addr netip.AddrPort
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func start(b *testing.B, kind string, env ...string) *server {
	b.Helper()
	s := &server{cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), append(env, envServer+"="+kind)...)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	must(b, err)
	s.out = bufio.NewReader(out)
	s.in, err = s.cmd.StdinPipe()
	must(b, err)
	must(b, s.cmd.Start())
	b.Cleanup(func() { s.stop() })
	s.addr, err = netip.ParseAddrPort(s.said(b))
	must(b, err)
	return s
}

// stop ends the process; it may be called again.
func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// tell sends a command.
func (s *server) tell(b *testing.B, command string) {
	b.Helper()
	_, err := io.WriteString(s.in, command+"\n")
	must(b, err)
}

// said reads a line that the process has printed.
func (s *server) said(b *testing.B) string {
	b.Helper()
	line, err := s.out.ReadString('\n')
	must(b, err)
	return strings.TrimSpace(line)
}

// memory is the most resident memory that the process has had, in bytes.
func (s *server) memory(b *testing.B) int64 {
	b.Helper()
	n, err := resident(s.cmd.Process.Pid, "VmHWM")
	must(b, err)
	return n
}

// resident reads one of a process's sizes of memory, in bytes.
func resident(pid int, what string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, what+": %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, what)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
