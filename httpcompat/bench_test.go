package httpcompat_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"purepool/httpcompat"
)

// BenchmarkServer asks for work with a connection per request, as the real client
// does, of this server with a front desk that grants at once, and of a bare
// net/http handler that answers a constant. The clients share the machine: a
// server that takes nothing at all would still not be much faster.
func BenchmarkServer(b *testing.B) {
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, grantBody)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { bare.Serve(l) })
	defer serving.Wait()
	defer bare.Close()
	s := start(b, httpcompat.Config{Limits: httpcompat.Limits{MaxConnectionsPerIP: 1 << 20, RatePerIP: 1e9, BurstPerIP: 1 << 30}}, instantDesk())
	for _, clients := range []int{1, 64, 1000} {
		for name, addr := range map[string]string{"bare-net-http": l.Addr().String(), "httpcompat": s.addr} {
			b.Run(fmt.Sprintf("%s/%d", name, clients), func(b *testing.B) { benchmarkAddr(b, addr, clients) })
		}
	}
}

// benchmarkAddr lets another process do the asking, so that allocations and
// processor time are the server's alone.
func benchmarkAddr(b *testing.B, addr string, clients int) {
	load := exec.Command(os.Args[0])
	load.Env = append(os.Environ(), fmt.Sprintf("%s=load %s %d %d", childVariable, addr, clients, b.N))
	load.Stderr = os.Stderr
	b.ReportAllocs()
	b.ResetTimer()
	begin, busy := time.Now(), processorTime(b)
	if err := load.Run(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((processorTime(b)-busy).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "requests/s")
}

// loadAsChild is the other process of benchmarkAddr.
func loadAsChild(arguments string) {
	var addr string
	var clients int
	var requests int64
	if _, err := fmt.Sscanf(arguments, "load %s %d %d", &addr, &clients, &requests); err != nil {
		panic(err)
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		panic(err)
	}
	request := []byte(workRequest)
	var left atomic.Int64
	left.Store(requests)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			answer := make([]byte, 2048)
			for left.Add(-1) >= 0 {
				c, err := net.DialTCP("tcp", nil, tcp)
				if err != nil {
					panic(err)
				}
				c.Write(request)
				n := 0
				for err == nil {
					var m int
					m, err = c.Read(answer[n:])
					n += m
				}
				c.Close()
				if !bytes.HasSuffix(answer[:n], []byte(grantBody)) {
					panic(fmt.Sprintf("%q, %v", answer[:n], err))
				}
			}
		})
	}
	all.Wait()
}

// processorTime is what this process has used of all processors, which other
// processes cannot distort as they do the time on the wall.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLargeSolution sends a solution of eight mebibytes.
func BenchmarkLargeSolution(b *testing.B) {
	s := start(b, httpcompat.Config{Limits: httpcompat.Limits{RatePerIP: 1e9, BurstPerIP: 1 << 30}}, instantDesk())
	request := solutionOf(8 << 20)
	b.SetBytes(int64(len(request)))
	for b.Loop() {
		if _, body := s.ask(b, request); !strings.Contains(body, "ok") {
			b.Fatal(body)
		}
	}
}
