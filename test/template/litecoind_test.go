package template_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/bbprpc/zmq/zmqtest"
)

// litecoind is a real daemon on its regression test chain.
type litecoind struct {
	t       *testing.T
	dir     string
	rpc     string
	p2p     string
	args    []string
	cmd     *exec.Cmd
	output  bytes.Buffer
	Client  *bbprpc.Client
	address string // of its wallet
	// publisher tells of its blocks over ZMQ; nil where nobody does.
	publisher *zmqtest.Publisher
}

// newLitecoind starts a daemon that connects to some others.
func newLitecoind(t *testing.T, peers ...*litecoind) *litecoind {
	t.Helper()
	return startLitecoind(t, nil, peers...)
}

// newPublishingLitecoind starts one that also publishes its blocks.
func newPublishingLitecoind(t *testing.T, peers ...*litecoind) *litecoind {
	t.Helper()
	return startLitecoind(t, zmqtest.New(t, 0), peers...)
}

func startLitecoind(t *testing.T, publisher *zmqtest.Publisher, peers ...*litecoind) *litecoind {
	t.Helper()
	rpc, p2p := freePort(t), freePort(t)
	d := &litecoind{
		t: t, dir: t.TempDir(), rpc: fmt.Sprintf("http://127.0.0.1:%d", rpc), p2p: fmt.Sprintf("127.0.0.1:%d", p2p),
		publisher: publisher,
	}
	d.args = []string{
		"-regtest", "-datadir=" + d.dir, "-server", "-listen=1", "-bind=" + d.p2p, "-dnsseed=0", "-printtoconsole=0",
		"-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", fmt.Sprintf("-rpcport=%d", rpc), "-fallbackfee=0.0001",
		"-rpcthreads=8", "-keypool=10",
	}
	if publisher != nil {
		d.args = append(d.args, "-blocknotify="+publisher.NotifyCommand())
	}
	for _, p := range peers {
		d.args = append(d.args, "-addnode="+p.p2p)
	}
	t.Cleanup(d.kill)
	d.start()
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{d.endpoint()}, Timeout: 10 * time.Second})
	must(t, err)
	t.Cleanup(client.Close)
	d.Client = client
	d.ready()
	return d
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (d *litecoind) start() {
	d.t.Helper()
	if d.publisher != nil {
		d.publisher.Start()
	}
	d.cmd = exec.Command("litecoind", d.args...)
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	// Should the test process be killed, the daemon must not go on without it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("litecoind is needed for this test: %v", err)
	}
}

// kill ends the daemon as a power cut would.
func (d *litecoind) kill() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		d.cmd = nil
		if d.publisher != nil {
			d.publisher.Kill() // it is a part of the daemon as far as the pool can tell
		}
	}
}

func (d *litecoind) endpoint() bbprpc.Endpoint {
	return bbprpc.Endpoint{URL: d.rpc, CookieFile: filepath.Join(d.dir, "regtest", ".cookie")}
}

func (d *litecoind) ready() {
	d.t.Helper()
	await(d.t, time.Minute, "litecoind answers", func() bool {
		_, err := d.Client.BlockCount(d.t.Context())
		return err == nil
	})
}

// call makes a call that must succeed.
func (d *litecoind) call(method string, result any, params ...any) {
	d.t.Helper()
	if err := d.Client.Do(d.t.Context(), bbprpc.NewCall(method, result, params...)); err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
}

// wallet makes a wallet and an address in it.
func (d *litecoind) wallet() {
	d.t.Helper()
	d.call("createwallet", nil, "pool")
	d.call("getnewaddress", &d.address, "", "legacy")
}

func (d *litecoind) height() int64 {
	d.t.Helper()
	var height int64
	d.call("getblockcount", &height)
	return height
}

// block is a block as getblock tells it.
type block struct {
	Hash   string `json:"hash"`
	Height int64  `json:"height"`
	Tx     []struct {
		Vout []struct {
			Value  bbprpc.Amount `json:"value"`
			Script struct {
				Type      string   `json:"type"`
				Addresses []string `json:"addresses"`
			} `json:"scriptPubKey"`
		} `json:"vout"`
	} `json:"tx"`
}

func (d *litecoind) block(height int64) (b block) {
	d.t.Helper()
	var hash string
	d.call("getblockhash", &hash, height)
	d.call("getblock", &b, hash, 2)
	return b
}

func await(t *testing.T, patience time.Duration, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("within %v it did not come true: %s", patience, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
