package health

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func newServer(t *testing.T, address string) *Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "purepool_test", Help: "x"}))
	s, err := New(t.Context(), address, reg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestProcessIsNotReadyBeforeItSaysSo(t *testing.T) {
	s := newServer(t, "")
	if code, body := get(t, s, "/readyz"); code != 503 || body != "not ready\nprocess: FAIL: starting\n" {
		t.Errorf("while starting: %d %q", code, body)
	}
	s.SetReady()
	if code, body := get(t, s, "/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("when ready: %d %q", code, body)
	}
	s.SetPhase("draining")
	if code, body := get(t, s, "/readyz"); code != 503 || !strings.Contains(body, "process: FAIL: draining") {
		t.Errorf("while draining: %d %q", code, body)
	}
	if code, _ := get(t, s, "/healthz"); code != 200 {
		t.Errorf("a process that drains lives: %d", code)
	}
}

func TestEachPartThatIsAwayIsNamedWithItsReason(t *testing.T) {
	s := newServer(t, "")
	s.SetReady()
	s.Add("database", func(context.Context) error { return errors.New("connection\nrefused") })
	s.AddOptional("broker", func(context.Context) error { return errors.New("no route") })
	s.Add("daemon", func(context.Context) error { return nil })
	code, body := get(t, s, "/readyz")
	want := "not ready\ndatabase: FAIL: connection refused\nbroker: away (not needed): no route\ndaemon: ok\n"
	if code != 503 || body != want {
		t.Errorf("%d %q, want %q", code, body, want)
	}
	_, body = get(t, s, "/readyz?format=json")
	var answer struct {
		Ready bool
		Parts []State
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Ready || len(answer.Parts) != 3 || answer.Parts[0].Reason != "connection\nrefused" {
		t.Errorf("JSON answer %q: %v", body, err)
	}
}

func TestOptionalPartsKeepNobodyFromBeingReady(t *testing.T) {
	s := newServer(t, "")
	s.SetReady()
	s.AddOptional("broker", func(context.Context) error { return errors.New("away") })
	if code, body := get(t, s, "/readyz"); code != 200 {
		t.Errorf("%d %q", code, body)
	}
}

func TestPartThatHangsIsNotReady(t *testing.T) {
	s := newServer(t, "")
	s.SetReady()
	s.Add("database", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if code, body := get(t, s, "/readyz"); code != 503 || !strings.Contains(body, "database: FAIL: context deadline exceeded") {
		t.Errorf("%d %q", code, body)
	}
}

func TestEagerProbesAskThePartsOnce(t *testing.T) {
	s := newServer(t, "")
	s.SetReady()
	var asked atomic.Int32
	s.Add("database", func(context.Context) error { asked.Add(1); return nil })
	for range 50 {
		s.Ready(t.Context())
	}
	if n := asked.Load(); n > 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestServerAnswersUntilItIsStopped(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newServer(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + s.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if !strings.Contains(string(body), "purepool_test 0") {
		t.Errorf("metrics: %s", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLocalPagesObeyOnlyThisMachine(t *testing.T) {
	s, err := New(t.Context(), "", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.AddLocal("/own", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	handler := s.Handler()
	for name, c := range map[string]struct {
		from, to, host, header string
		want                   int
	}{
		"loopback":             {"127.0.0.1:4000", "127.0.0.1:9101", "127.0.0.1:9101", "", http.StatusTeapot},
		"loopback by name":     {"[::1]:4000", "[::1]:9101", "localhost:9101", "", http.StatusTeapot},
		"its own address":      {"192.0.2.1:4000", "192.0.2.1:9101", "192.0.2.1:9101", "", http.StatusTeapot},
		"a neighbour":          {"192.0.2.2:4000", "192.0.2.1:9101", "192.0.2.1:9101", "", http.StatusForbidden},
		"a neighbour who lies": {"192.0.2.2:4000", "192.0.2.1:9101", "localhost", "", http.StatusForbidden},
		"a proxy":              {"127.0.0.1:4000", "127.0.0.1:9101", "127.0.0.1:9101", "X-Forwarded-For", http.StatusForbidden},
		"a page in a browser":  {"127.0.0.1:4000", "127.0.0.1:9101", "127.0.0.1:9101", "Origin", http.StatusForbidden},
		"a name led to us":     {"127.0.0.1:4000", "127.0.0.1:9101", "evil.example:9101", "", http.StatusForbidden},
	} {
		to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.to))
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(to)), http.MethodPut, "/own", nil)
		r.RemoteAddr, r.Host = c.from, c.host
		if c.header != "" {
			r.Header.Set(c.header, "http://192.0.2.9")
		}
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}
