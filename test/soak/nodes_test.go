package soak

import (
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc"
)

// node is a litecoind on its regression test chain.
type node struct {
	rpc, p2p, dir string
	client        *bbprpc.Client
	address       string // of the first one's wallet
}

// config is the node as a daemon of the network.
func (n *node) config() string { return configOf(n.rpc, n.dir) }

// startNodes starts two, connected, with a tip that is young enough to build on:
// a node that is alone gives no templates.
func startNodes(t *testing.T) [2]*node {
	t.Helper()
	var all [2]*node
	for i := range all {
		n := &node{rpc: "http://" + freeAddress(t), p2p: freeAddress(t), dir: t.TempDir()}
		args := []string{
			"-regtest", "-datadir=" + n.dir, "-server", "-listen=1", "-bind=" + n.p2p, "-dnsseed=0", "-printtoconsole=0", "-rpcbind=127.0.0.1",
			"-rpcallowip=127.0.0.1", "-rpcport=" + portOf(t, n.rpc[len("http://"):]), "-fallbackfee=0.0001", "-keypool=10",
		}
		if i > 0 {
			args = append(args, "-addnode="+all[0].p2p)
		}
		cmd := exec.Command("litecoind", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatalf("litecoind is needed for this test: %v", err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		var err error
		n.client, err = bbprpc.New(bbprpc.Config{
			Endpoints: []bbprpc.Endpoint{{URL: n.rpc, CookieFile: filepath.Join(n.dir, "regtest", ".cookie")}}, Timeout: 10 * time.Second,
		})
		must(t, err)
		t.Cleanup(n.client.Close)
		await(t, "litecoind answers", func() bool { _, err := n.client.BlockCount(t.Context()); return err == nil })
		all[i] = n
	}
	call := func(method string, result any, params ...any) {
		t.Helper()
		must(t, all[0].client.Do(t.Context(), bbprpc.NewCall(method, result, params...)))
	}
	call("createwallet", nil, "pool")
	call("getnewaddress", &all[0].address, "", "legacy")
	// The first block with an extension block, 432 on this chain, needs somebody who
	// pays into it: without, litecoind makes no template from there on.
	var hidden string
	call("generatetoaddress", nil, 431, all[0].address)
	call("getnewaddress", &hidden, "", "mweb")
	call("sendtoaddress", nil, hidden, 1)
	call("generatetoaddress", nil, 1, all[0].address)
	await(t, "the nodes are connected", func() bool { n, err := all[1].client.BlockCount(t.Context()); return err == nil && n == 432 })
	return all
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	return port
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func reachable(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !happened(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("within a minute it did not come true: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
