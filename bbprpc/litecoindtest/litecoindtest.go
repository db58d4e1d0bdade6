// Package litecoindtest runs litecoinds for tests: real daemons of the Bitcoin
// family with real wallets, each on a regression test chain of its own or on one
// that it shares with its peers. They listen on the loopback interface alone and end
// with the test.
package litecoindtest

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/internal/testkit"
)

// Options of a node; none is needed.
type Options struct {
	// User and Password of its RPC port; empty is a cookie.
	User, Password string
	// Peers are nodes to which it connects, also after a restart.
	Peers []*Node
	// Args follow the arguments that every node has; of two of a name the last counts.
	Args []string
	// Timeout of a call of Client; 0 is twenty seconds.
	Timeout time.Duration
}

// Node is a litecoind, or one that was killed and has left its folder.
type Node struct {
	URL    string         // of its RPC port
	P2P    string         // address at which it listens for other nodes
	Dir    string         // its data
	Client *bbprpc.Client // of this node alone

	t      testing.TB
	opts   Options
	args   []string
	cmd    *exec.Cmd
	output *bytes.Buffer // to be read when the process has ended
	ended  chan struct{}
}

// New starts a node and waits until it answers.
func New(t testing.TB, opts Options) *Node {
	t.Helper()
	rpc := testkit.FreeAddress(t)
	_, port, err := net.SplitHostPort(rpc)
	must(t, err)
	n := &Node{URL: "http://" + rpc, P2P: testkit.FreeAddress(t), Dir: t.TempDir(), t: t, opts: opts}
	n.args = []string{
		"-regtest", "-datadir=" + n.Dir, "-server", "-printtoconsole=0", "-dnsseed=0", "-discover=0", "-listenonion=0",
		"-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-rpcport=" + port, "-listen=1", "-bind=" + n.P2P,
		"-fallbackfee=0.0001", "-keypool=20",
	}
	if opts.User != "" {
		n.args = append(n.args, "-rpcuser="+opts.User, "-rpcpassword="+opts.Password)
	}
	for _, p := range opts.Peers {
		n.args = append(n.args, "-addnode="+p.P2P)
	}
	n.args = append(n.args, opts.Args...)
	timeout := opts.Timeout
	if timeout == 0 {
		timeout = 20 * time.Second
	}
	n.Client = n.ClientAt(n.URL, timeout)
	t.Cleanup(n.Kill)
	n.Start()
	n.WaitReady()
	return n
}

// Endpoint is the node's RPC port with what it lets in.
func (n *Node) Endpoint() bbprpc.Endpoint {
	if n.opts.User != "" {
		return bbprpc.Endpoint{URL: n.URL, User: n.opts.User, Password: n.opts.Password}
	}
	return bbprpc.Endpoint{URL: n.URL, CookieFile: n.CookieFile()}
}

// CookieFile is where a node without a user has its cookie.
func (n *Node) CookieFile() string { return filepath.Join(n.Dir, "regtest", ".cookie") }

// ClientAt is a client that reaches the node at another URL, as over a proxy. It is
// closed with the test.
func (n *Node) ClientAt(url string, timeout time.Duration) *bbprpc.Client {
	n.t.Helper()
	endpoint := n.Endpoint()
	endpoint.URL = url
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{endpoint}, Timeout: timeout})
	must(n.t, err)
	n.t.Cleanup(client.Close)
	return client
}

// Start starts the process where it was killed or stopped, and does not wait until
// it answers.
func (n *Node) Start() {
	n.t.Helper()
	n.output, n.ended = new(bytes.Buffer), make(chan struct{})
	n.cmd = exec.Command("litecoind", n.args...) //nolint:noctx // killed in the clean-up, before which a test's context ends
	n.cmd.Stdout, n.cmd.Stderr = n.output, n.output
	// Should the test process be killed, the daemon must not go on without it.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		n.t.Fatalf("litecoind is needed for this test (scripts/deps test installs it): %v", err)
	}
	go func(cmd *exec.Cmd, ended chan<- struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(n.cmd, n.ended)
}

// WaitReady waits until the node answers.
func (n *Node) WaitReady() {
	n.t.Helper()
	testkit.Eventually(n.t, "litecoind answers", time.Minute, func() bool {
		select {
		case <-n.ended:
			n.t.Fatalf("litecoind ended: %s", n.output)
		default:
		}
		return n.Try("getblockcount", nil) == nil
	})
}

// Signal sends the process a signal.
func (n *Node) Signal(s syscall.Signal) {
	n.t.Helper()
	must(n.t, n.cmd.Process.Signal(s))
}

// Kill ends the process as a power cut would, where it runs.
func (n *Node) Kill() { n.end(syscall.SIGKILL) }

// Stop ends the process in good order: what it knows is on disk then.
func (n *Node) Stop() {
	n.Client.Close() // it waits for connections that are open
	n.end(syscall.SIGTERM)
}

func (n *Node) end(s syscall.Signal) {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Signal(s)
	<-n.ended
	n.cmd = nil
}

// Try makes a call.
func (n *Node) Try(method string, result any, params ...any) error {
	// The node is asked in a test's clean-up, too, when the test's own context is over.
	return n.Client.Do(context.Background(), bbprpc.NewCall(method, result, params...))
}

// Call makes a call that must succeed.
func (n *Node) Call(method string, result any, params ...any) {
	n.t.Helper()
	if err := n.Try(method, result, params...); err != nil {
		n.t.Fatalf("%s: %v", method, err)
	}
}

// Wallet makes a wallet of the name pool, which is the node's from then on, and
// returns an address of it.
func (n *Node) Wallet() (address string) {
	n.t.Helper()
	n.Call("createwallet", nil, "pool")
	return n.Address()
}

// LoadWallet opens the wallet after a restart.
func (n *Node) LoadWallet() {
	_ = n.Try("loadwallet", nil, "pool") // may be open
}

// Address makes a new address of the node's wallet.
func (n *Node) Address() (address string) {
	n.t.Helper()
	n.Call("getnewaddress", &address, "", "legacy")
	return address
}

// Received is what an address of the node's wallet has got, in satoshis, and in how
// many transactions.
func (n *Node) Received(address string) (amount int64, transactions int) {
	n.t.Helper()
	var list []struct {
		Amount bbprpc.Amount
		TxIDs  []string
	}
	n.Call("listreceivedbyaddress", &list, 0, false, false, address)
	if len(list) == 0 {
		return 0, 0
	}
	return int64(list[0].Amount), len(list[0].TxIDs)
}

// Height is that of the best block.
func (n *Node) Height() (height int64) {
	n.t.Helper()
	n.Call("getblockcount", &height)
	return height
}

// Generate makes blocks that pay an address.
func (n *Node) Generate(blocks int, address string) {
	n.t.Helper()
	n.Call("generatetoaddress", nil, blocks, address)
}

// GenerateExtended makes blocks that pay an address of the node's wallet up to height
// 432, the first with an extension block (MWEB). That one needs somebody who pays into
// it: without, litecoind makes no template from there on.
func (n *Node) GenerateExtended(address string) {
	n.t.Helper()
	const first = 432
	var hidden string
	n.Generate(first-1-int(n.Height()), address)
	n.Call("getnewaddress", &hidden, "", "mweb")
	n.Call("sendtoaddress", nil, hidden, 1)
	n.Generate(1, address)
}

// Join connects the node to another one where it has no peer.
func (n *Node) Join(other *Node) {
	n.t.Helper()
	testkit.Eventually(n.t, "the daemons are connected", time.Minute, func() bool {
		var peers int
		if n.Try("getconnectioncount", &peers) == nil && peers == 0 {
			_ = n.Try("addnode", nil, other.P2P, "onetry")
		}
		return peers > 0 && other.Try("getconnectioncount", &peers) == nil && peers > 0
	})
}

// Agree waits until both nodes are at the same block.
func (n *Node) Agree(other *Node) {
	n.t.Helper()
	testkit.Eventually(n.t, "both daemons are at the same block", time.Minute, func() bool {
		var mine, others string
		return n.Try("getbestblockhash", &mine) == nil && other.Try("getbestblockhash", &others) == nil && mine == others
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
