package template_test

import (
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/bbprpc/litecoindtest"
	"purepool/bbprpc/zmq/zmqtest"
)

// litecoind is a real daemon on its regression test chain.
type litecoind struct {
	*litecoindtest.Node
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
	opts := litecoindtest.Options{Args: []string{"-rpcthreads=8"}, Timeout: 10 * time.Second}
	if publisher != nil {
		opts.Args = append(opts.Args, "-blocknotify="+publisher.NotifyCommand())
	}
	for _, p := range peers {
		opts.Peers = append(opts.Peers, p.Node)
	}
	return &litecoind{Node: litecoindtest.New(t, opts), publisher: publisher}
}

// start starts a daemon that was killed, and its publisher, and waits until it
// answers.
func (d *litecoind) start() {
	if d.publisher != nil {
		d.publisher.Start()
	}
	d.Start()
	d.WaitReady()
}

// kill ends the daemon as a power cut would.
func (d *litecoind) kill() {
	d.Kill()
	if d.publisher != nil {
		d.publisher.Kill() // it is a part of the daemon as far as the pool can tell
	}
}

// wallet makes a wallet and an address in it.
func (d *litecoind) wallet() {
	d.address = d.Wallet()
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
	var hash string
	d.Call("getblockhash", &hash, height)
	d.Call("getblock", &b, hash, 2)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
