package httpcompat_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"purepool/httpcompat"
)

// BenchmarkServer asks for work with a connection per request, as the real client
// does, of this server with a front desk that grants at once, and of a bare
// net/http handler that answers a constant. Clients and server share the machine
// and are counted together, so that the two differ by more than they seem to.
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

func benchmarkAddr(b *testing.B, addr string, clients int) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	request := []byte(workRequest)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	var all sync.WaitGroup
	for range min(clients, b.N) {
		all.Go(func() {
			answer := make([]byte, 2048)
			for left.Add(-1) >= 0 {
				c, err := net.DialTCP("tcp", nil, tcp)
				if err != nil {
					b.Error(err)
					return
				}
				c.Write(request)
				n := 0
				for {
					m, err := c.Read(answer[n:])
					n += m
					if err != nil {
						break
					}
				}
				c.Close()
				if !bytes.HasSuffix(answer[:n], []byte(grantBody)) {
					b.Errorf("%q", answer[:n])
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "requests/s")
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
