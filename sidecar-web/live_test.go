package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	web "purepool/sidecar-web"
	"purepool/test/web/fixture"
)

// counting counts the readings of a store.
type counting struct {
	web.Store
	pulses, miners atomic.Int64
}

func (c *counting) Pulse(ctx context.Context, networkID int16, now time.Time) (ledger.NetworkPulse, error) {
	c.pulses.Add(1)
	return c.Store.Pulse(ctx, networkID, now)
}

func (c *counting) MinerPulses(ctx context.Context, ids []int64, now time.Time) (map[int64]ledger.MinerPulse, error) {
	c.miners.Add(1)
	return c.Store.MinerPulses(ctx, ids, now)
}

// start runs a server on loopback; stop ends it and returns its error.
func start(t *testing.T, cfg web.Config, store web.Store) (url string, stop func() error) {
	t.Helper()
	s, err := web.New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return "http://" + s.Addr().String(), stop
}

// stream opens a stream and returns its messages.
func stream(t *testing.T, url string) (messages <-chan map[string]map[string]any, response *http.Response) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err = http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	out := make(chan map[string]map[string]any, 100)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var m map[string]map[string]any
				if json.Unmarshal([]byte(text), &m) == nil {
					out <- m
				}
			}
		}
	}()
	return out, response
}

func next(t *testing.T, messages <-chan map[string]map[string]any) map[string]map[string]any {
	t.Helper()
	select {
	case m, ok := <-messages:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return nil
}

func TestOneQueryServesAllListeners(t *testing.T) {
	db := ledgertest.New(t)
	addresses := fixture.Living(t, db, time.Now(), fixture.Options{Blocks: 6})
	store := &counting{Store: openStore(t, db.WebDSN())}
	cfg := config()
	cfg.LiveEvery, cfg.MaxListenersPerIP, cfg.BurstPerIP = 200*time.Millisecond, 1000, 1000
	url, _ := start(t, cfg, store)
	var all []<-chan map[string]map[string]any
	for i := range 60 {
		path := "/main/live"
		if i%2 == 0 {
			path += "?miner=" + addresses[i%3]
		}
		messages, response := stream(t, url+path)
		if response.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" || response.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%v", response.Header)
		}
		all = append(all, messages)
	}
	for i, messages := range all {
		m := next(t, messages)
		if m["values"]["rate"] == nil || (m["values"]["m-rate"] != nil) != (i%2 == 0) {
			t.Fatalf("listener %d got %v", i, m)
		}
	}
	pulses, miners, begun := store.pulses.Load(), store.miners.Load(), time.Now()
	time.Sleep(2 * time.Second)
	ticks := int64(time.Since(begun)/cfg.LiveEvery) + 2
	if p, m := store.pulses.Load()-pulses, store.miners.Load()-miners; p > ticks || m > ticks || p == 0 || m == 0 {
		t.Errorf("%d listeners took %d and %d readings in %d ticks", len(all), p, m, ticks)
	}
}

func TestAChangeReachesAListener(t *testing.T) {
	db := ledgertest.New(t)
	fixture.Living(t, db, time.Now(), fixture.Options{Blocks: 6})
	cfg := config()
	cfg.LiveEvery = 100 * time.Millisecond
	url, _ := start(t, cfg, openStore(t, db.WebDSN()))
	messages, _ := stream(t, url+"/main/live")
	next(t, messages)
	db.SQL(pgcluster.Superuser).MustExec(`UPDATE network_minute SET weight = weight * 1000 WHERE minute > now() - interval '5 minutes'`)
	for {
		if m := next(t, messages); strings.HasSuffix(m["values"]["rate"].(string), "MH/s") {
			return
		}
	}
}

func TestStreamsEndWhenTheServerDoes(t *testing.T) {
	cfg := config()
	cfg.LiveEvery, cfg.DrainTimeout = 50*time.Millisecond, 20*time.Second
	url, stop := start(t, cfg, openStore(t, ledgertest.New(t).WebDSN()))
	messages, response := stream(t, url+"/main/live")
	next(t, messages)
	begun := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
}

func TestTooManyListenersAreSentToThePoll(t *testing.T) {
	cfg := config()
	cfg.MaxListeners, cfg.MaxListenersPerIP = 3, 2
	url, _ := start(t, cfg, openStore(t, ledgertest.New(t).WebDSN()))
	for i, want := range []int{200, 200, 503} {
		if _, response := stream(t, url+"/main/live"); response.StatusCode != want {
			t.Errorf("listener %d: %d", i, response.StatusCode)
		}
	}
	response, err := http.Get(url + "/main/live.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("the poll: %d", response.StatusCode)
	}
	for path, want := range map[string]int{"/bogus/live": 404, "/main/live?miner=bogus": 404, "/main/live.json?miner=bogus": 404} {
		if _, response := stream(t, url+path); response.StatusCode != want {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
}

// failing is a store whose database is away when it is told to.
type failing struct {
	web.Store
	away atomic.Bool
}

func (f *failing) Pulse(ctx context.Context, networkID int16, now time.Time) (ledger.NetworkPulse, error) {
	if f.away.Load() {
		return ledger.NetworkPulse{}, context.DeadlineExceeded
	}
	return f.Store.Pulse(ctx, networkID, now)
}

func TestOldNumbersComeWithTheirAge(t *testing.T) {
	store := &failing{Store: openStore(t, ledgertest.New(t).WebDSN())}
	cfg := config()
	var ahead atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h := newServer(t, cfg, store).Handler()
	for _, path := range []string{"/main/", "/api/v1/main"} {
		if answer := ask(t, h, "GET", path, nil, ""); answer.StatusCode != 200 {
			t.Fatalf("%s: %d", path, answer.StatusCode)
		}
	}
	store.away.Store(true)
	ahead.Store(int64(4 * time.Minute))
	if body := text(t, ask(t, h, "GET", "/main/", nil, "")); !strings.Contains(body, "These numbers are 4\u00a0min old") {
		t.Errorf("the page does not say how old it is: %.1200s", body)
	}
	if answer := ask(t, h, "GET", "/api/v1/main", nil, ""); answer.StatusCode != 200 || answer.Header.Get("X-Data-Age") != "240" {
		t.Errorf("the API: %d, %v", answer.StatusCode, answer.Header)
	}
	// What was never known cannot be shown.
	page := ask(t, h, "GET", "/test/", nil, "")
	if body := text(t, page); page.StatusCode != 503 || page.Header.Get("Retry-After") == "" || !strings.Contains(body, "Back in a moment") {
		t.Errorf("another page: %d, %.600s", page.StatusCode, body)
	}
	api := ask(t, h, "GET", "/api/v1/test", nil, "")
	if body := text(t, api); api.StatusCode != 503 || !strings.Contains(body, `"error"`) {
		t.Errorf("another answer: %d, %s", api.StatusCode, body)
	}
	store.away.Store(false)
	ahead.Store(int64(10 * time.Minute))
	if body := text(t, ask(t, h, "GET", "/main/", nil, "")); strings.Contains(body, "does not answer") {
		t.Error("the database is back and the page does not know")
	}
}
