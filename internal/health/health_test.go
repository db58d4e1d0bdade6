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
	return newServerWithMetrics(t, address, "")
}

func newServerWithMetrics(t *testing.T, address, metricsHost string) *Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "purepool_test", Help: "x"}))
	s, err := New(t.Context(), address, metricsHost, reg, slog.New(slog.DiscardHandler))
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

// start runs a server until stop, and asks at an address for a page.
func start(t *testing.T, s *Server) (ask func(at net.Addr, path string) (int, string), stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask = func(at net.Addr, path string) (int, string) {
		t.Helper()
		answer, err := client.Get("http://" + at.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	return ask, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestServerAnswersUntilItIsStopped(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newServer(t, "127.0.0.1:0")
	ask, stop := start(t, s)
	if _, body := ask(s.Addr(), "/metrics"); !strings.Contains(body, "purepool_test 0") {
		t.Errorf("metrics: %s", body)
	}
	stop()
}

func TestOtherAddressTellsMetricsAndNothingElse(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newServerWithMetrics(t, "127.0.0.1:0", "127.0.0.2")
	s.AddLocal("/own", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	first, second := s.Addr().(*net.TCPAddr), s.MetricsAddr().(*net.TCPAddr)
	if second.IP.String() != "127.0.0.2" || second.Port != first.Port {
		t.Errorf("metrics at %v beside %v", second, first)
	}
	ask, stop := start(t, s)
	defer stop()
	for path, want := range map[string][2]int{
		"/metrics": {200, 200}, "/healthz": {200, 404}, "/readyz": {503, 404}, "/own": {418, 404}, "/": {404, 404},
	} {
		for i, at := range []net.Addr{first, second} {
			if code, body := ask(at, path); code != want[i] || path == "/metrics" && !strings.Contains(body, "purepool_test 0") {
				t.Errorf("%s at %v: %d %s", path, at, code, body)
			}
		}
	}
}

func TestAddressForMetricsThatIsNotThisMachinesIsNamed(t *testing.T) {
	_, err := New(t.Context(), "127.0.0.1:0", "192.0.2.1", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "listener for metrics: listen tcp 192.0.2.1:") {
		t.Errorf("got %v", err)
	}
}

func TestLocalPagesObeyOnlyThisMachine(t *testing.T) {
	s, err := New(t.Context(), "", "", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
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
