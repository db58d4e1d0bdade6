package settle_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/bbprpc/litecoindtest"
	"purepool/internal/testkit"
)

// litecoind is a real daemon with a real wallet on its regression test chain.
type litecoind struct {
	*litecoindtest.Node
	t testing.TB
}

func startLitecoind(t testing.TB) *litecoind {
	t.Helper()
	d := &litecoind{Node: litecoindtest.New(t, litecoindtest.Options{User: "pool", Password: "secret"}), t: t}
	d.Wallet()
	return d
}

// pair is two daemons that are connected: the first has the pool's wallet, the
// second the miners'.
func pair(t testing.TB) (pool, miners *litecoind) {
	t.Helper()
	pool = startLitecoind(t)
	miners = startLitecoind(t)
	miners.Join(pool.Node)
	return pool, miners
}

func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, 30*time.Second, ok)
}

// restart starts a daemon that has ended, with its wallet.
func (d *litecoind) restart() {
	d.t.Helper()
	d.Start()
	d.WaitReady()
	d.LoadWallet()
}

// mine makes blocks that pay an address and waits until the other daemon has
// them too.
func (d *litecoind) mine(n int, address string, other *litecoind) {
	d.t.Helper()
	d.Agree(other.Node) // a daemon that was killed may lack blocks that the other one has
	d.Generate(n, address)
	d.Agree(other.Node)
}

// wire is what happens to a call of sendmany on its way.
type wire string

const (
	wireWhole     wire = "answered"
	wireCutAfter  wire = "carried out, the answer is lost"
	wireCutBefore wire = "the connection is cut before it arrives"
	wireHang      wire = "carried out, the answer hangs"
	wireKill      wire = "carried out, the daemon is killed"
	wireRestart   wire = "the daemon is restarted before it arrives"
)

// proxy stands before a daemon and does to sendmany what it is told.
type proxy struct {
	*httptest.Server
	daemon *litecoind
	mu     sync.Mutex
	mode   wire
	calls  int
	over   chan struct{}
}

func newProxy(t testing.TB, d *litecoind) *proxy {
	p := &proxy{daemon: d, mode: wireWhole, over: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	t.Cleanup(func() { close(p.over) })
	return p
}

func (p *proxy) set(mode wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.calls = mode, 0
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	mode := wireWhole
	if strings.Contains(string(body), `"sendmany"`) {
		p.mu.Lock()
		if p.calls++; p.calls == 1 { // what happens, happens once
			mode = p.mode
		}
		p.mu.Unlock()
	}
	if mode == wireCutBefore {
		panic(http.ErrAbortHandler)
	}
	if mode == wireRestart {
		p.daemon.Stop()
		p.daemon.restart()
		panic(http.ErrAbortHandler)
	}
	status, answer, err := p.forward(r, body)
	switch {
	case err != nil, mode == wireCutAfter:
		panic(http.ErrAbortHandler)
	case mode == wireHang:
		select {
		case <-r.Context().Done():
		case <-p.over:
		}
		return
	case mode == wireKill:
		p.daemon.Kill()
		p.daemon.restart()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (p *proxy) forward(r *http.Request, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), http.MethodPost, p.daemon.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = r.Header.Clone()
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// traceFile is where a child writes the points that it passed.
func traceFile(t testing.TB) string { return filepath.Join(t.TempDir(), "trace") }

// readTrace returns the points in the order in which they were passed first.
func readTrace(t testing.TB, file string) (points []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name := strings.TrimSpace(line); !seen[name] {
			seen[name] = true
			points = append(points, name)
		}
	}
	return points
}

// dirWallet gives the daemon a copy of another one's wallet instead of its own.
func (d *litecoind) dirWallet(file string) {
	d.t.Helper()
	d.Call("unloadwallet", nil, "pool")
	folder := filepath.Join(d.Dir, "regtest", "wallets", "copy")
	if _, err := os.Stat(filepath.Dir(folder)); err != nil {
		folder = filepath.Join(d.Dir, "regtest", "copy")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		d.t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "wallet.dat"), content, 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.Call("loadwallet", nil, "copy")
}
