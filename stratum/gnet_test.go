package stratum

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

// What doc.go says that gnet asks of us, where it takes a look from within.

// serve runs a server on gnet, with the jobs and desk of a pump.
func serve(t *testing.T, change func(*Config)) (srv *Server, stop func()) {
	t.Helper()
	srv = newPump(t, func(c *Config) {
		c.DrainTime = time.Millisecond
		c.Limits.PerIP, c.Limits.PerIPRate, c.Limits.AcceptRate = 1<<20, 1e6, 1e6
		if change != nil {
			change(c)
		}
	}).srv
	srv.loops = nil // a pump's own
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(stop)
	return srv, stop
}

func dial(t *testing.T, srv *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Addr("t").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answers sends a request and waits for its answer.
func answers(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, `{"id":"here","method":"mining.ping"}`+"\n"); err != nil {
		return false
	}
	var got string
	buf := make([]byte, 4096)
	for !strings.Contains(got, `"here","result":"pong"`) {
		n, err := conn.Read(buf)
		if err != nil {
			return false
		}
		got += string(buf[:n])
	}
	return true
}

func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// all returns the sessions that are there.
func (srv *Server) all() (sessions []*session) {
	srv.loopMu.RLock()
	loops := srv.loops
	srv.loopMu.RUnlock()
	for _, l := range loops {
		done := make(chan struct{})
		if l.run(func() { sessions = append(sessions, l.sessions...); close(done) }) == nil {
			<-done
		}
	}
	return sessions
}

// A fault while one miner is served closes that miner and nobody else, in an event
// loop, behind it, and where an answer waits for the ones before it.
func TestFaultInOneSessionIsSurvivedByTheOthers(t *testing.T) {
	srv, _ := serve(t, nil)
	victim, other := dial(t, srv), dial(t, srv)
	if !answers(victim) || !answers(other) {
		t.Fatal("not served")
	}
	var found *session
	for _, s := range srv.all() {
		if s.addr.Is4() && fmt.Sprint(s.conn.RemoteAddr()) == fmt.Sprint(victim.LocalAddr()) {
			found = s
		}
	}
	if found == nil {
		t.Fatal("the session is not found")
	}
	if err := found.loop.run(func() { found.loop.visit(found, func(*session) { panic("a fault of ours") }) }); err != nil {
		t.Fatal(err)
	}
	if n, err := victim.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d more bytes for the victim", n)
	}
	await(t, "the end is counted", func() bool {
		return testutil.ToFloat64(srv.metrics.closed.WithLabelValues("t", ClosedPanic.String())) == 1
	})
	if got := testutil.ToFloat64(srv.metrics.panics); got != 1 {
		t.Errorf("%v faults counted", got)
	}
	if !answers(other) || !answers(dial(t, srv)) {
		t.Error("the others are not served any more")
	}
}

// A connection that gnet does not take is closed and counted, and leaves nothing
// behind. Here its file has become one that is no socket.
func TestConnectionThatNoEventLoopTakesIsCountedAndClosed(t *testing.T) {
	srv, _ := serve(t, nil)
	if !answers(dial(t, srv)) {
		t.Fatal("not served")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	theirs, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	raw, err := ours.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Dup3(int(file.Fd()), int(fd), syscall.O_CLOEXEC) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	srv.ports[0].serve(t.Context(), ours)
	if got := testutil.ToFloat64(srv.metrics.closed.WithLabelValues("t", ClosedFiles.String())); got != 1 {
		t.Errorf("%v connections ended for want of files", got)
	}
	if got := srv.Connections("t"); got != 1 { // the first one
		t.Errorf("%v connections are counted", got)
	}
	if !answers(dial(t, srv)) {
		t.Error("nobody is served any more")
	}
}

// Work on many sessions lets miners' requests in between: gnet runs tasks that a
// task has queued before it looks at its connections again.
func TestWorkOnManySessionsLetsRequestsInBetween(t *testing.T) {
	srv, _ := serve(t, func(c *Config) { c.EventLoops = 1 })
	const crowd, each = 60, 20 * time.Millisecond
	for range crowd {
		dial(t, srv)
	}
	miner := dial(t, srv)
	await(t, "all are there", func() bool { return len(srv.all()) == crowd+1 })
	l := srv.all()[0].loop
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		l.inChunks(nil, 1, func(*session) { time.Sleep(each) })
	}()
	for range 3 {
		if !answers(miner) {
			t.Fatal("no answer")
		}
	}
	select {
	case <-worked:
		t.Error("three requests were answered only after the work on all sessions")
	default:
	}
	<-worked
}

// A write to a connection that the miner has reset ends it within the write, once.
func TestConnectionsThatAreGoneWhenTheyAreWrittenToEndOnce(t *testing.T) {
	srv, stop := serve(t, func(c *Config) { c.EventLoops = 1 })
	const crowd = 200
	var conns []*net.TCPConn
	for range crowd {
		conn := dial(t, srv).(*net.TCPConn)
		if _, err := io.WriteString(conn, fuzzLogin); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	ready := func() (n int) {
		for _, s := range srv.all() {
			done := make(chan bool)
			if s.loop.run(func() { done <- s.worker != nil }) == nil && <-done {
				n++
			}
		}
		return n
	}
	await(t, "all have logged in", func() bool { return ready() == crowd })
	l := srv.all()[0].loop
	done := make(chan struct{})
	if err := l.run(func() { // the loop sees no end of a connection before it writes
		defer close(done)
		for _, c := range conns {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
		for i := len(l.sessions) - 1; i >= 0; i-- {
			if i < len(l.sessions) {
				l.visit(l.sessions[i], func(s *session) {
					for range 3 {
						s.write([]byte(`{"id":null,"method":"client.show_message","params":["x"]}` + "\n"))
					}
				})
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	<-done
	var ended float64
	await(t, "every connection has ended", func() bool {
		ended = 0
		for r := range closeReasons {
			if r != notClosed {
				ended += testutil.ToFloat64(srv.ports[0].metrics.closed[r])
			}
		}
		return len(srv.all()) == 0
	})
	if ended != crowd || testutil.ToFloat64(srv.metrics.panics) != 0 || srv.Connections("t") != 0 {
		t.Errorf("%v ends of %d connections, %v faults", ended, crowd, testutil.ToFloat64(srv.metrics.panics))
	}
	stop()
}

// Acceptors, keepers, checkers, writers and callers have all returned before the
// engine stops, whatever is going on: Enroll would wait for a loop that has ended,
// and a late task would write to a file that is somebody else's by then.
func TestNobodyOutlivesTheEngine(t *testing.T) {
	defer goleak.VerifyNone(t,
		goleak.IgnoreCurrent(),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	)
	for range 5 {
		srv, stop := serve(t, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
		address := srv.Addr("t").String()
		pouring, enough := context.WithCancel(t.Context())
		var miners sync.WaitGroup
		for range 8 {
			miners.Go(func() {
				for pouring.Err() == nil {
					conn, err := net.Dial("tcp", address)
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, fuzzLogin+strings.Repeat(`{"id":3,"method":"mining.ping"}`+"\n", 5))
					_ = conn.Close()
				}
			})
		}
		await(t, "miners come and go", func() bool { return testutil.ToFloat64(srv.ports[0].metrics.accepted) > 50 })
		stop()
		enough()
		miners.Wait()
	}
}
