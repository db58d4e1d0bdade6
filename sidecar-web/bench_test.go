package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	web "purepool/sidecar-web"
	"purepool/test/web/fixture"
)

// clients is how many ask at the same time.
const clients = 64

func BenchmarkPages(b *testing.B) {
	store, clock := benchLedger(b)
	address := func(i int) string { return fixture.Address(i % *benchMiners) }
	routes := []struct {
		name string
		path func(i int) string
	}{
		{"home", func(int) string { return "/main/" }},
		{"join", func(int) string { return "/main/howtojoin/" }},
		{"statistics", func(int) string { return "/main/statistics" }},
		{"blocks", func(int) string { return "/main/blocks" }},
		{"payments", func(int) string { return "/main/payments" }},
		{"miner", func(int) string { return "/main/miner/" + address(7) + "/" }},
		{"miners", func(i int) string { return "/main/miner/" + address(i) + "/" }}, // each another one
		{"api_pool", func(int) string { return "/api/v1/pool" }},
		{"api_network", func(int) string { return "/api/v1/main" }},
		{"api_hashrate", func(int) string { return "/api/v1/main/hashrate?span=month" }},
		{"api_miners", func(int) string { return "/api/v1/main/miners" }},
		{"api_miner", func(int) string { return "/api/v1/main/miners/" + address(7) }},
		{"api_workers", func(int) string { return "/api/v1/main/miners/" + address(7) + "/workers" }},
		{"api_credits", func(int) string { return "/api/v1/main/miners/" + address(7) + "/credits" }},
		{"api_blocks", func(int) string { return "/api/v1/main/blocks" }},
		{"api_payments", func(int) string { return "/api/v1/main/payments" }},
		{"original_statistics", func(int) string { return "/main/api/statistics" }},
		{"original_subsidysum", func(int) string { return "/main/api/block_subsidysum/30" }},
	}
	for _, r := range routes {
		for _, fresh := range []time.Duration{time.Nanosecond, time.Hour} {
			if r.name == "miners" && fresh == time.Hour {
				continue // more pages than are kept
			}
			name := map[bool]string{true: "/uncached", false: "/cached"}[fresh == time.Nanosecond]
			b.Run(r.name+name, func(b *testing.B) {
				cfg := config()
				cfg.Now = clock
				cfg.Fresh, cfg.LiveEvery, cfg.RatePerIP, cfg.BurstPerIP = fresh, 2*fresh, 1e9, 1e9
				s, err := web.New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
				if err != nil {
					b.Fatal(err)
				}
				load(b, s.Handler(), r.path)
			})
		}
		if r.name == "miners" {
			continue
		}
		b.Run(r.name+"/bare", func(b *testing.B) {
			cfg := config()
			cfg.Now = clock
			s := newServer(b, cfg, store)
			answer := ask(b, s.Handler(), "GET", r.path(0), map[string]string{"Accept-Encoding": "gzip"}, "")
			body := []byte(text(b, answer))
			load(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
				w.Header().Set("Content-Encoding", answer.Header.Get("Content-Encoding"))
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				_, _ = w.Write(body)
			}), r.path)
		})
	}
}

// load asks b.N times over 64 connections and reports requests a second and the
// time within which 99 of 100 are answered.
func load(b *testing.B, h http.Handler, path func(int) string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	var next atomic.Int64
	times := make([][]time.Duration, clients)
	var group sync.WaitGroup
	// Once beforehand, so that what is kept is there.
	ask(b, h, "GET", path(0), map[string]string{"Accept-Encoding": "gzip"}, "")
	b.ResetTimer()
	begun := time.Now()
	for c := range clients {
		group.Go(func() {
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReaderSize(conn, 64<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				at := time.Now()
				if err := exchange(conn, in, path(i)); err != nil {
					b.Error(err)
					return
				}
				times[c] = append(times[c], time.Since(at))
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) == 0 {
		return
	}
	b.ReportMetric(float64(len(all))/took.Seconds(), "req/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// exchange asks for a path on an open connection and reads the answer.
func exchange(conn net.Conn, in *bufio.Reader, path string) error {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: pool.example.org\r\nAccept-Encoding: gzip\r\n\r\n", path); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.Contains(line, []byte(" 200 ")) {
			return fmt.Errorf("%s: %s", path, line)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := strings.Cut(string(line), ":"); strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	_, err := io.CopyN(io.Discard, in, int64(length))
	return err
}
