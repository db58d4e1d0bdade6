package httpcompat_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"purepool/httpcompat"
	"purepool/httpcompat/recorded"
	"purepool/internal/testkit"
)

// server is a server that runs for the length of a test.
type server struct {
	*httpcompat.Server
	addr string
	reg  *prometheus.Registry
	log  *testkit.Text
	stop func() // and wait until it has stopped
}

func start(t testing.TB, cfg httpcompat.Config, desk httpcompat.Desk) *server {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []httpcompat.Listen{{Address: "127.0.0.1:0"}}
	}
	s := &server{reg: prometheus.NewRegistry(), log: new(testkit.Text)}
	var err error
	s.Server, err = httpcompat.New(cfg, desk, slog.New(slog.NewTextHandler(s.log, nil)), s.reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	s.addr = s.Addrs()[0].String()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(s.stop)
	return s
}

// closed returns how many connections ended for a reason.
func (s *server) closed(t testing.TB, reason string) int {
	t.Helper()
	return int(s.metric(t, "purepool_http_connections_closed_total", "reason", reason))
}

// metric returns the sum of the series of a metric that have these label values.
func (s *server) metric(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !has {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// eventually waits for something that another goroutine is about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in ten seconds: %s", what)
		}
	}
}

func (s *server) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// ask sends a request and returns the answer's status and body.
func (s *server) ask(t testing.TB, request string) (int, string) {
	t.Helper()
	status, body, err := recorded.Exchange(t.Context(), s.addr, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

// post is a request for the page with these header lines.
func post(lines ...string) string {
	return "POST /Action.aspx HTTP/1.1\r\nHost: pool.example.org\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

const (
	workRequest = "POST /Action.aspx HTTP/1.1\r\nUser-Agent: BiblePay-QT/1.1.3.8\r\nHost: pool.example.org\r\nContent-Length: 12\r\n" +
		"Action: readytomine2\r\nAgent: 1.1.3.8\r\nMiner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH/rig1\r\nNetworkID: main\r\nOS: LIN\r\n" +
		"Solution: \r\nThreadID: 0\r\n\r\nreadytomine2"
	grantBody = "<RESPONSE> <ADDRESS>BLYpMhrivkozk8Tz4CfFrrKYnDeiGTJYAb</ADDRESS><HASHTARGET>" + recorded.HashTarget +
		"</HASHTARGET><MINERGUID>11111111-1111-4111-8111-111111111111</MINERGUID>" +
		"<WORKID>aaaaaaaa-0000-4000-8000-000000000001</WORKID></RESPONSE>"
	receiptBody = "<RESPONSE><STATUS>ok</STATUS><WORKID>aaaaaaaa-0000-4000-8000-000000000001</WORKID></RESPONSE><END></HTML>"
)

func errorBody(text string) string {
	return "<RESPONSE>" + text + "</RESPONSE><ERROR>" + text + "</ERROR><EOF>"
}

func TestRecordedExchanges(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{}, desk)
	recorded.Run(t, recorded.Target{
		Addr: s.addr, Reset: desk.reset,
		EnableMiner: func(_ *testing.T, address string) { desk.tables.Load().enable(address) },
	})
}

func TestRecordedExchangesOneAfterTheOther(t *testing.T) {
	s := start(t, httpcompat.Config{}, newRecordedDesk(t))
	recorded.Run(t, recorded.Target{Addr: s.addr})
}

func TestEveryRecordedCaseIsThere(t *testing.T) {
	cases, _, err := recorded.Load()
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[recorded.Kind]int)
	for _, c := range cases {
		kinds[c.Want.Kind]++
		if c.Want.Kind == recorded.Same && c.OriginalFailed {
			t.Errorf("%s: the original failed, and nothing better is asked of us", c.Name)
		}
		if c.Want.Kind != recorded.Same && c.Want.Why == "" {
			t.Errorf("%s: a difference without a reason", c.Name)
		}
	}
	if len(cases) != 72 {
		t.Errorf("%d cases, want 72", len(cases))
	}
	t.Logf("same %d, better error %d, different %d", kinds[recorded.Same], kinds[recorded.BetterError], kinds[recorded.Different])
}

func TestMetricsAreWellFormed(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	s.ask(t, workRequest)
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	eventually(t, "counted", func() bool {
		return s.metric(t, "purepool_http_requests_total", "action", "readytomine2", "outcome", "ok") == 1 && s.closed(t, "answered") == 1
	})
}

func TestAddressInUseFailsLoudly(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	second, err := httpcompat.New(httpcompat.Config{Listen: []httpcompat.Listen{{Address: s.addr}}}, instantDesk(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(context.Background()); err == nil {
		t.Error("no error")
	}
}

func TestConfigurationThatCannotWorkIsRefused(t *testing.T) {
	listen := []httpcompat.Listen{{Address: "127.0.0.1:0"}}
	for name, cfg := range map[string]httpcompat.Config{
		"no address":              {},
		"TLS without certificate": {Listen: []httpcompat.Listen{{Address: "127.0.0.1:0", TLS: true}}},
		"half a certificate":      {Listen: listen, TLS: httpcompat.TLS{CertFile: "x"}},
		"two sources":             {Listen: listen, TLS: httpcompat.TLS{CertFile: "x", KeyFile: "y", ACME: httpcompat.ACME{Hosts: []string{"a.b"}}}},
		"ACME without cache":      {Listen: listen, TLS: httpcompat.TLS{ACME: httpcompat.ACME{Hosts: []string{"a.b"}}}},
		"missing files":           {Listen: listen, TLS: httpcompat.TLS{CertFile: "/nonexistent/c", KeyFile: "/nonexistent/k"}},
		"too little memory":       {Listen: listen, Limits: httpcompat.Limits{Memory: 1 << 20}},
		"negative limit":          {Listen: listen, Limits: httpcompat.Limits{MaxConnections: -1}},
	} {
		if _, err := httpcompat.New(cfg, instantDesk(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRunDrains(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	desk := instantDesk()
	grant := desk.work
	desk.work = waitThen(entered, leave, grant)
	s := start(t, httpcompat.Config{}, desk)
	idle := s.dial(t)
	running := s.dial(t)
	fmt.Fprint(running, workRequest)
	<-entered
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	// The idle connection is closed at once, the other one only when it is answered.
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("idle connection: read %d, %v", n, err)
	}
	close(leave)
	answer, err := io.ReadAll(running)
	if err != nil || !strings.HasSuffix(string(answer), grantBody) {
		t.Errorf("running request: %q, %v", answer, err)
	}
	<-stopped
	if s.closed(t, "shutdown") != 1 || s.closed(t, "answered") != 1 {
		t.Error("connections did not end for these reasons")
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestDrainIsBounded(t *testing.T) {
	entered := make(chan struct{})
	desk := instantDesk()
	desk.work = waitThen(entered, nil, nil)
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{DrainTimeout: 50 * time.Millisecond}}, desk)
	c := s.dial(t)
	fmt.Fprint(c, workRequest)
	<-entered
	s.stop()
	if s.closed(t, "shutdown") != 1 {
		t.Error("connection did not end by the shutdown")
	}
}

// What the original answered with an error page, after which a miner went mining
// for itself.
func TestUnusableWorkerIDsGetAnErrorText(t *testing.T) {
	s := start(t, httpcompat.Config{}, newRecordedDesk(t))
	for _, id := range []string{"", "/", "//", "B", "rig1", "/B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTh"} {
		status, body := s.ask(t, post("Action: readytomine2", "NetworkID: main", "Miner: "+id))
		if status != 200 || !strings.HasPrefix(body, "<RESPONSE>WorkerID "+id+" is invalid") || !strings.HasSuffix(body, "</ERROR><EOF>") {
			t.Errorf("%q: %d %s", id, status, body)
		}
	}
}

func TestShortSolutionGetsAnErrorText(t *testing.T) {
	s := start(t, httpcompat.Config{}, newRecordedDesk(t))
	for fields := range 16 {
		status, body := s.ask(t, post("Action: solution", "NetworkID: main", "Solution: "+strings.Join(make([]string, fields), ",")))
		if status != 200 || body != errorBody("Invalit Solution") {
			t.Errorf("%d fields: %d %s", fields, status, body)
		}
	}
}

func TestEveryDifferenceIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "### Differences from the original")
	cases, _, err := recorded.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Want.Kind != recorded.Same && !strings.Contains(list, c.Name[:3]) {
			t.Errorf("%s is answered differently (%s), and docs/PROTOCOL.md does not say so", c.Name, c.Want.Why)
		}
	}
}
