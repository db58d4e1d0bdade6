package stratum_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sim "purepool/sim/stratum"
	"purepool/stratum"
)

// Some claims need a process of their own: the test binary starts itself and says
// what it shall be in STRATUM_TEST_CHILD. A child serves or dials until its
// standard input ends.

func child(t testing.TB, what string, args ...string) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	return childAs(t, exec.Command(os.Args[0]), what, args...)
}

func childAs(t testing.TB, cmd *exec.Cmd, what string, args ...string) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	cmd.Env = append(os.Environ(), "STRATUM_TEST_CHILD="+strings.Join(append([]string{what}, args...), " "))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return in, bufio.NewReader(pipe)
}

func said(t testing.TB, out *bufio.Reader) string {
	t.Helper()
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("the child has gone: %v", err)
	}
	return strings.TrimSpace(line)
}

// children needs a testing.TB where there is none.
type noTest struct{ testing.TB }

func (noTest) Helper()           {}
func (noTest) Cleanup(func())    {}
func (noTest) Fatal(args ...any) { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }
func (noTest) Fatalf(f string, args ...any) {
	fmt.Fprintf(os.Stderr, f+"\n", args...)
	os.Exit(1)
}

func runChild(what string) {
	words := strings.Fields(what)
	switch words[0] {
	case "serve": // serve [files]: prints its address, then "rss" for every line
		if len(words) > 1 {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		p := open(noTest{}, func(c *stratum.Config) {
			c.Logger = slog.New(slog.DiscardHandler)
			c.Limits.Connections = 1 << 20
			c.Limits.AuthTimeout, c.Limits.IdleTimeout = time.Hour, time.Hour
		})
		fmt.Println(p.Addr("t"))
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			runtime.GC()
			debug.FreeOSMemory()
			fmt.Println(rss())
		}
	case "everyday": // everyday: prints its addresses, then its use of processors for every line
		p := open(noTest{}, func(c *stratum.Config) {
			c.Logger, c.Limits, c.Desk = slog.New(slog.DiscardHandler), stratum.Limits{LineTimeout: time.Second}, new(desk)
			c.Ports = append(c.Ports, stratum.Port{Name: "c", Address: "127.0.0.1:0", Network: "test", Dialect: stratum.Classic})
		})
		var err error
		if p.sink.disk, err = os.CreateTemp("", "purepool-shares-"); err != nil {
			noTest{}.Fatal(err)
		}
		defer p.sink.disk.Close()
		defer os.Remove(p.sink.disk.Name())
		p.sink.forget = true
		fmt.Println(p.Addr("t"), p.Addr("c"))
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(processorTime().Nanoseconds())
		}
	case "hostile": // hostile phase port classic-port rest: until standard input ends
		beHostile(words[1:])
	case "dial": // dial address n: logs in n times, then says so
		n, _ := strconv.Atoi(words[2])
		conns := make([]net.Conn, 0, n)
		buf := make([]byte, 4096)
		for i := range n {
			conn, err := net.Dial("tcp", words[1])
			if err != nil {
				noTest{}.Fatal(err)
			}
			fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":["child/1.0"]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["%s.%s%d","x"]}`+"\n", address, words[3], i)
			for got := ""; !strings.Contains(got, "mining.notify\",\"params\":[\""); {
				k, err := conn.Read(buf)
				if err != nil {
					noTest{}.Fatal("connection ", i, ": ", err)
				}
				got += string(buf[:k])
			}
			conns = append(conns, conn)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive(conns)
	}
}

// beHostile is hostile in every way until standard input ends, then says how often
// it came. Who comes and goes rests in between. Every phase and every kind has addresses of its own, which no ban of an
// earlier one meets.
func beHostile(words []string) {
	phase, err := strconv.ParseUint(words[0], 10, 8)
	if err != nil {
		noTest{}.Fatal(err)
	}
	rest, err := time.ParseDuration(words[3])
	if err != nil {
		noTest{}.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	churning, enough := context.WithCancel(ctx)
	var all sync.WaitGroup
	var miners, churners []*sim.Miner
	start := func(ctx context.Context, pool string, fault sim.Fault, connections int, pause time.Duration) *sim.Miner {
		m, err := sim.NewMiner(sim.Options{
			Pool: pool, Worker: address + ".bad", Connections: connections, Fault: fault, Pause: pause, Rest: rest,
			From:      netip.AddrFrom4([4]byte{127, 7, byte(phase), byte(len(miners) + 1)}),
			Algorithm: "sha256d", Password: "d=1e-12", HashRate: 2e4, // 300 shares a second
		})
		if err != nil {
			noTest{}.Fatal(err)
		}
		miners = append(miners, m)
		all.Go(func() { _ = m.Run(ctx) })
		return m
	}
	for _, fault := range []sim.Fault{
		sim.HalfLine, sim.Junk, sim.Binary, sim.Nested, sim.EndlessLine, sim.NeverReads, sim.Malformed, sim.Duplicate,
	} {
		start(ctx, words[1], fault, 5, 50*time.Millisecond)
	}
	start(ctx, words[2], sim.EndlessLine, 5, 50*time.Millisecond) // up to a gigabyte, where lines may be long
	for range 8 {
		churners = append(churners, start(churning, words[1], sim.Churn, 1, time.Millisecond))
	}
	came := func(miners []*sim.Miner) (n int64) {
		for _, m := range miners {
			n += m.Stats().Connects.Load()
		}
		return n
	}
	all.Go(func() { // ten thousand reconnects
		for ctx.Err() == nil && came(churners) < 10_000 {
			time.Sleep(10 * time.Millisecond)
		}
		enough()
	})
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	all.Wait()
	fmt.Println(came(miners), came(churners), processorTime().Nanoseconds())
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// rss returns the resident memory of this process in bytes.
func rss() int {
	text, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize()
}

func TestServerSurvivesHavingNoFilesLeft(t *testing.T) {
	_, out := child(t, "serve", "64")
	at := said(t, out)
	dial := func() (*client, error) {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			return nil, err
		}
		return wrap(t, conn), nil
	}
	first, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	first.login(rig)
	var crowd []*client
	for range 150 { // more than there are files
		c, err := dial()
		if err != nil {
			break
		}
		crowd = append(crowd, c)
	}
	for n := range uint32(20) {
		if r := first.submit(rig, n); string(r.Result) != "true" {
			t.Fatalf("a miner that was there before suffers: %s", r.line)
		}
	}
	for _, c := range crowd {
		_ = c.Close()
	}
	eventually(t, "new miners are served again", func() bool {
		c, err := dial()
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Write([]byte(`{"id":1,"method":"mining.ping"}` + "\n")); err != nil {
			return false
		}
		line, err := c.r.ReadString('\n')
		return err == nil && strings.Contains(line, "pong")
	})
}

func TestIdleAuthorizedConnectionsCostLessThanFourKilobytes(t *testing.T) {
	measureIdle(t, 2000)
}

func measureIdle(t testing.TB, n int) float64 {
	t.Helper()
	in, out := child(t, "serve")
	at := said(t, out)
	resident := func() int {
		if _, err := io.WriteString(in, "rss\n"); err != nil {
			t.Fatal(err)
		}
		bytes, err := strconv.Atoi(said(t, out))
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	// What the first connections bring up is not theirs alone.
	_, warm := child(t, "dial", at, "50", "warm")
	said(t, warm)
	before := resident()
	for part := range (n + 8999) / 9000 {
		_, ready := child(t, "dial", at, strconv.Itoa(min(9000, n-9000*part)), "w"+strconv.Itoa(part)+"x")
		said(t, ready)
	}
	each := float64(resident()-before) / float64(n)
	t.Logf("%d idle authorized connections: %.0f bytes resident each", n, each)
	if each > idleBound {
		t.Errorf("more than %d bytes", idleBound)
	}
	return each
}
