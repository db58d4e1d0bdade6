package httpcompat_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"purepool/httpcompat"
	"purepool/pool"
)

// solutionDesk answers with the length of the solution it was given.
func solutionDesk() deskFunc {
	d := instantDesk()
	d.solution = func(_ context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
		return pool.SolutionReceipt{WorkID: fmt.Sprint(len(r.Solution.Value))}, nil
	}
	return d
}

func solutionOf(size int) string {
	return post("Action: solution", "NetworkID: main", "Solution: "+strings.Repeat("f", size))
}

func TestEightMebibyteSolutionHeaderIsTaken(t *testing.T) {
	s := start(t, httpcompat.Config{}, solutionDesk())
	for _, size := range []int{0, 1, 4000, 4096, 8190, 16 << 10, 64 << 10, 1 << 20, 8 << 20} {
		_, body := s.ask(t, solutionOf(size))
		if want := fmt.Sprintf("<RESPONSE><STATUS>ok</STATUS><WORKID>%d</WORKID></RESPONSE><END></HTML>", size); body != want {
			t.Errorf("%d bytes: %s", size, body)
		}
	}
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
}

func TestTooLongSolutionGetsAnErrorThatTheClientCanRead(t *testing.T) {
	s := start(t, httpcompat.Config{}, solutionDesk())
	for _, size := range []int{8<<20 + 1, 9 << 20, 30 << 20} {
		status, body := s.ask(t, solutionOf(size))
		if status != 200 || body != errorBody("Request is too long") {
			t.Errorf("%d bytes: %d %s", size, status, body)
		}
	}
}

func TestTooManyHeaderLinesAreRefused(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	lines := []string{"Action: readytomine2"}
	for len(lines) < 102 {
		lines = append(lines, "X: y")
	}
	if _, body := s.ask(t, post(lines...)); body != errorBody("Too many header lines") {
		t.Error(body)
	}
	if _, body := s.ask(t, post(lines[:90]...)); body != grantBody {
		t.Error(body)
	}
}

// TestMemoryStaysBoundedUnderManyHugeRequests lets forty clients send eight
// mebibytes each, all but the last byte, into a budget of 64 MiB.
func TestMemoryStaysBoundedUnderManyHugeRequests(t *testing.T) {
	const budget, clients = 64 << 20, 40
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{Memory: budget, MemoryPerIP: budget}}, solutionDesk())
	request := []byte(solutionOf(8 << 20))
	var peak, done atomic.Int64
	stop := make(chan struct{})
	var watch, all sync.WaitGroup
	watch.Go(func() {
		for {
			peak.Store(max(peak.Load(), int64(s.metric(t, "purepool_http_memory_reserved_bytes"))))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	full := make(chan struct{}) // every client has sent what it can
	var sent sync.WaitGroup
	sent.Add(clients)
	busy, ok := new(atomic.Int64), new(atomic.Int64)
	for range clients {
		all.Go(func() {
			c := s.dial(t)
			c.Write(request[:len(request)-1])
			sent.Done()
			<-full
			c.Write(request[len(request)-1:])
			answer, err := io.ReadAll(c)
			switch {
			case err != nil:
				t.Error(err)
			case bytes.Contains(answer, []byte("<ERROR>The pool is busy")):
				busy.Add(1)
			case bytes.Contains(answer, []byte("<STATUS>ok")):
				ok.Add(1)
			default:
				t.Errorf("%q", answer)
			}
			done.Add(1)
		})
	}
	sent.Wait()
	// While large requests have all the memory, small ones go through at once.
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
	if _, body := s.ask(t, solutionOf(10<<10)); !strings.Contains(body, "<STATUS>ok") {
		t.Error(body)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	close(full)
	all.Wait()
	close(stop)
	watch.Wait()
	t.Logf("taken %d, busy %d, peak of the budget %d MiB, heap then %d MiB", ok.Load(), busy.Load(), peak.Load()>>20, memory.HeapInuse>>20)
	if ok.Load() == 0 || busy.Load() == 0 {
		t.Error("want some taken and some turned away")
	}
	if peak.Load() > budget {
		t.Errorf("%d bytes reserved, more than the budget", peak.Load())
	}
	// The test's own request is 8 MiB of the heap.
	if limit := uint64(budget + 40<<20); memory.HeapInuse > limit {
		t.Errorf("heap of %d bytes, want at most %d", memory.HeapInuse, limit)
	}
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
}

func TestOneAddressCannotTakeAllTheMemory(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{Memory: 256 << 20, MemoryPerIP: 33 << 19}}, solutionDesk())
	big := []byte(solutionOf(8 << 20))
	first := s.dial(t)
	if _, err := first.Write(big[:len(big)-1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "first request has its memory", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") >= 8<<20 })
	if _, body := s.ask(t, string(big)); !strings.Contains(body, "<ERROR>The pool is busy") {
		t.Error(body)
	}
	first.Close()
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
	if _, body := s.ask(t, string(big)); !strings.Contains(body, "<STATUS>ok") {
		t.Error(body)
	}
}

func TestSlowSenderIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{HeadTimeout: 100 * time.Millisecond, MinRate: 1 << 20}}, instantDesk())
	c := s.dial(t)
	begin := time.Now()
	// A byte every few milliseconds is alive, but never done.
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{workRequest[i]}); err != nil || i == len(workRequest)-60 {
			break
		}
		if s.closed(t, "slow") == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "closed as slow", func() bool { return s.closed(t, "slow") == 1 })
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// A large head gets the time it needs at the least rate, a small one does not.
func TestTimeForTheHeadGrowsWithItsBytes(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{HeadTimeout: 50 * time.Millisecond, MinRate: 128 << 10}}, solutionDesk())
	c := s.dial(t)
	request := solutionOf(2 << 20)
	for i := 0; i < len(request); i += 256 << 10 {
		if _, err := io.WriteString(c, request[i:min(i+256<<10, len(request))]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // 270 ms in all
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "<WORKID>2097152</WORKID>") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestTimeForTheHeadHasAnEnd(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxHeadTime: 50 * time.Millisecond}}, instantDesk())
	fmt.Fprint(s.dial(t), workRequest[:100])
	eventually(t, "closed as slow", func() bool { return s.closed(t, "slow") == 1 })
}

func TestIdleConnectionIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{IdleTimeout: 20 * time.Millisecond}}, instantDesk())
	if n, err := s.dial(t).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v", n, err)
	}
	eventually(t, "closed as idle", func() bool { return s.closed(t, "idle") == 1 })
}

func TestClientThatNeverStopsSendingIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{LingerBytes: 1 << 20}}, instantDesk())
	c := s.dial(t)
	junk := strings.Repeat("x", 64<<10)
	io.WriteString(c, post("Action: readytomine2", "Content-Length: 999999999"))
	for {
		if _, err := io.WriteString(c, junk); err != nil {
			break
		}
	}
	eventually(t, "closed", func() bool { return s.closed(t, "answered_unread") == 1 })
}

func TestClientThatStaysIsLeft(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{LingerTimeout: 20 * time.Millisecond}}, instantDesk())
	io.WriteString(s.dial(t), post("Action: readytomine2", "Content-Length: 10"))
	eventually(t, "closed", func() bool { return s.closed(t, "answered_unread") == 1 })
}

// wantClosedAtOnce fails unless the server closes a new connection unasked, maybe
// before it is seen to be open.
func (s *server) wantClosedAtOnce(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnectionsPerIP: 2000, BurstPerIP: 2000}}, instantDesk())
	const clients = 1000
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = s.dial(t)
		io.WriteString(conns[i], workRequest[:50])
	}
	eventually(t, "all are open", func() bool { return s.metric(t, "purepool_http_connections") == clients })
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() {
			io.WriteString(c, workRequest[50:])
			if answer, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(answer), grantBody) {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
	all.Wait()
	eventually(t, "all are closed", func() bool {
		return s.metric(t, "purepool_http_connections") == 0 && s.closed(t, "answered") == clients
	})
}

func TestConnectionsAreBoundedInAll(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnections: 3}}, instantDesk())
	for range 3 {
		s.dial(t)
	}
	eventually(t, "three are open", func() bool { return s.metric(t, "purepool_http_connections") == 3 })
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_many_connections") == 1 })
}

func TestConnectionsAreBoundedPerAddress(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnectionsPerIP: 2}}, instantDesk())
	held := s.dial(t)
	s.dial(t)
	eventually(t, "two are open", func() bool { return s.metric(t, "purepool_http_connections") == 2 })
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_many_connections_of_ip") == 1 })
	held.Close()
	eventually(t, "one is open", func() bool { return s.metric(t, "purepool_http_connections") == 1 })
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
}

func TestNewConnectionsAreBoundedPerAddressAndTime(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{RatePerIP: 0.001, BurstPerIP: 5}}, instantDesk())
	for range 5 {
		if _, body := s.ask(t, workRequest); body != grantBody {
			t.Error(body)
		}
	}
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_fast_for_ip") == 1 })
}

const childVariable = "PUREPOOL_HTTPCOMPAT_CHILD"

// serveAsChild is the other process of TestEmfileDoesNotStopAccepting: a server
// with few file descriptors, which writes its address, then that it has none left,
// and stops at the end of its input.
func serveAsChild() {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 40, Max: 40}); err != nil {
		panic(err)
	}
	t := new(testing.T)
	s := start(t, httpcompat.Config{}, instantDesk())
	fmt.Println(s.addr)
	eventually(t, "it cannot accept", func() bool { return s.metric(t, "purepool_http_accept_errors_total") > 0 })
	fmt.Println("full")
	io.Copy(io.Discard, os.Stdin)
	s.stop()
}

func TestEmfileDoesNotStopAccepting(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer stdin.Close()
	lines := bufio.NewReader(stdout)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: strings.TrimSpace(addr)}
	// More connections than the other process can have; the kernel takes them all.
	var conns []*net.TCPConn
	for range 80 {
		conns = append(conns, s.dial(t))
	}
	// The last one waits for a descriptor, which the first ones give back.
	last := s.dial(t)
	io.WriteString(last, workRequest)
	if line, err := lines.ReadString('\n'); line != "full\n" {
		t.Fatalf("%q, %v: it never ran out of descriptors", line, err)
	}
	for _, c := range conns {
		c.Close()
	}
	if answer, err := io.ReadAll(last); err != nil || !strings.HasSuffix(string(answer), grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
}
