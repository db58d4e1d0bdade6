package settle_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc"
)

// litecoind is a real daemon with a real wallet on its regression test chain.
type litecoind struct {
	t       testing.TB
	dir     string
	rpcPort int
	p2pPort int
	args    []string
	cmd     *exec.Cmd
	client  *bbprpc.Client
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func startLitecoind(t testing.TB, extra ...string) *litecoind {
	t.Helper()
	d := &litecoind{t: t, dir: t.TempDir(), rpcPort: freePort(t), p2pPort: freePort(t)}
	d.args = append([]string{
		"-regtest", "-datadir=" + d.dir, "-server", "-printtoconsole=0", "-dnsseed=0", "-discover=0", "-listenonion=0",
		"-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", fmt.Sprintf("-rpcport=%d", d.rpcPort), "-rpcuser=pool", "-rpcpassword=secret",
		fmt.Sprintf("-bind=127.0.0.1:%d", d.p2pPort), "-fallbackfee=0.0001", "-keypool=20",
	}, extra...)
	t.Cleanup(d.kill)
	d.client = d.clientAt(d.url(), 20*time.Second)
	d.start()
	d.must(bbprpc.NewCall("createwallet", nil, "pool"))
	return d
}

// pair is two daemons that are connected: the first has the pool's wallet, the
// second the miners'.
func pair(t testing.TB) (pool, miners *litecoind) {
	t.Helper()
	pool = startLitecoind(t)
	miners = startLitecoind(t)
	miners.join(pool)
	return pool, miners
}

// join connects to another daemon where that is not so.
func (d *litecoind) join(other *litecoind) {
	d.t.Helper()
	waitUntil(d.t, "the daemons are connected", func() bool {
		var peers int
		if d.try(bbprpc.NewCall("getconnectioncount", &peers)) == nil && peers == 0 {
			_ = d.try(bbprpc.NewCall("addnode", nil, fmt.Sprintf("127.0.0.1:%d", other.p2pPort), "onetry"))
		}
		return peers > 0 && other.try(bbprpc.NewCall("getconnectioncount", &peers)) == nil && peers > 0
	})
}

func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (d *litecoind) url() string { return fmt.Sprintf("http://127.0.0.1:%d", d.rpcPort) }

func (d *litecoind) clientAt(url string, timeout time.Duration) *bbprpc.Client {
	d.t.Helper()
	c, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: url, User: "pool", Password: "secret"}}, Timeout: timeout})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// start starts the daemon and waits until it answers.
func (d *litecoind) start() {
	d.t.Helper()
	d.cmd = exec.Command("/usr/bin/litecoind", d.args...)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("litecoind is needed for this test: %v", err)
	}
	waitUntil(d.t, "litecoind answers", func() bool {
		return d.try(bbprpc.NewCall("getblockcount", nil)) == nil
	})
}

// kill ends the daemon as a power cut would.
func (d *litecoind) kill() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// stop ends the daemon in good order.
func (d *litecoind) stop() {
	d.client.Close() // it waits for connections that are open
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
	d.cmd = nil
}

// loadWallet opens the wallet after a restart.
func (d *litecoind) loadWallet() {
	_ = d.try(bbprpc.NewCall("loadwallet", nil, "pool")) // may be open
}

func (d *litecoind) try(call *bbprpc.Call) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return d.client.Do(ctx, call)
}

func (d *litecoind) must(call *bbprpc.Call) {
	d.t.Helper()
	if err := d.try(call); err != nil {
		d.t.Fatal(err)
	}
}

func (d *litecoind) newAddress() (address string) {
	d.t.Helper()
	d.must(bbprpc.NewCall("getnewaddress", &address, "", "legacy"))
	return address
}

// mine makes blocks that pay an address and waits until the other daemon has
// them too.
func (d *litecoind) mine(n int, address string, other *litecoind) {
	d.t.Helper()
	d.agree(other) // a daemon that was killed may lack blocks that the other one has
	d.must(bbprpc.NewCall("generatetoaddress", nil, n, address))
	d.agree(other)
}

// agree waits until both daemons are at the same block.
func (d *litecoind) agree(other *litecoind) {
	d.t.Helper()
	waitUntil(d.t, "both daemons are at the same block", func() bool {
		var mine, others string
		return d.try(bbprpc.NewCall("getbestblockhash", &mine)) == nil &&
			other.try(bbprpc.NewCall("getbestblockhash", &others)) == nil && mine == others
	})
}

// received is what an address of this wallet has got, in satoshis, and in how
// many transactions.
func (d *litecoind) received(address string) (amount int64, transactions int) {
	d.t.Helper()
	var list []struct {
		Address string
		Amount  bbprpc.Amount
		TxIDs   []string
	}
	d.must(bbprpc.NewCall("listreceivedbyaddress", &list, 0, false, false, address))
	if len(list) == 0 {
		return 0, 0
	}
	return int64(list[0].Amount), len(list[0].TxIDs)
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
		p.daemon.stop()
		p.daemon.start()
		p.daemon.loadWallet()
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
		p.daemon.kill()
		p.daemon.start()
		p.daemon.loadWallet()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (p *proxy) forward(r *http.Request, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), http.MethodPost, p.daemon.url(), bytes.NewReader(body))
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
	d.must(bbprpc.NewCall("unloadwallet", nil, "pool"))
	folder := filepath.Join(d.dir, "regtest", "wallets", "copy")
	if _, err := os.Stat(filepath.Dir(folder)); err != nil {
		folder = filepath.Join(d.dir, "regtest", "copy")
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
	d.must(bbprpc.NewCall("loadwallet", nil, "copy"))
}
