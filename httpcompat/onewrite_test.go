package httpcompat

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/pool"
)

type grantingDesk struct{}

func (grantingDesk) RequestWork(context.Context, pool.WorkRequest) (pool.WorkGrant, error) {
	return pool.WorkGrant{PoolAddress: "address", HashTarget: "target", MinerGUID: "guid", WorkID: "work"}, nil
}

func (grantingDesk) SubmitSolution(context.Context, pool.SolutionRequest) (pool.SolutionReceipt, error) {
	return pool.SolutionReceipt{WorkID: "work"}, nil
}

func newTestServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{Listen: []Listen{{Address: "127.0.0.1:0"}}}, grantingDesk{},
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// countingListener counts the writes of its connections.
type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.writes}, err
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestAnswerIsOneWrite(t *testing.T) {
	s := newTestServer(t)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	writes := new(atomic.Int64)
	s.listeners[0].Listener = countingListener{s.listeners[0].Listener, writes}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for i, request := range []string{
		"GET /Action.aspx HTTP/1.1\r\nAction: readytomine2\r\n\r\n",
		"GET /Action.aspx HTTP/1.1\r\nAction: solution\r\n\r\n",
		"GET /Action.aspx HTTP/1.1\r\nAction: " + strings.Repeat("<", 5000) + "\r\n\r\n",
		"GET /Action.aspx HTTP/1.1\r\nAction\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"garbage\r\n\r\n",
	} {
		c, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, request)
		c.(*net.TCPConn).CloseWrite()
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		c.Close()
		if n := writes.Load(); n != int64(i+1) {
			t.Fatalf("%d writes after %d answers", n, i+1)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
