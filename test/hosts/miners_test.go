package hosts

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// load is honest miners at work out in the world.
type load struct {
	*house.Load

	mu   sync.Mutex
	pool string // address to which the pool's name points
}

// startLoad lets miners mine at a pool's address until Stop.
func startLoad(t testing.TB, n *network, pool string, node miner.Source, miners int, interval time.Duration) *load {
	t.Helper()
	l := &load{pool: pool}
	c, err := miner.NewClient("http://pool.example.org")
	must(t, err)
	c.Timeout = 4 * time.Second
	dial := n.dialer("miners")
	c.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, l.where()) }
	l.Load = house.StartLoad(t, miner.FleetOptions{
		Miner:  miner.Options{Client: c, Source: node, Network: "test", Interval: interval, Retry: 100 * time.Millisecond},
		Miners: miners, Rigs: 2,
	})
	return l
}

// where is the address at which miners find the pool.
func (l *load) where() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool + ":80"
}

// move lets the pool's name point to another address.
func (l *load) move(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool = address
}

// node is the miners' own node: it follows the chain of the simulated daemon, and
// goes on from what it knows while that is away.
type node struct {
	rpc miner.RPC

	mu    sync.Mutex
	known daemon.Template
}

// newNode follows the daemon at an address.
func newNode(address string) *node {
	return &node{rpc: miner.RPC{
		URL: "http://" + address + "/", User: rpcUser, Password: rpcPassword,
		HTTP: &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}},
	}}
}

// Template implements miner.Source.
func (n *node) Template(ctx context.Context) (daemon.Template, error) {
	t, err := n.rpc.Template(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.known = t
		return t, nil
	}
	if n.known.Height == 0 {
		return t, err
	}
	// A node's clock goes on whatever is away.
	known := n.known
	known.Time = max(known.Time, time.Now().Unix())
	return known, nil
}

// Submit implements miner.Source.
func (n *node) Submit(ctx context.Context, raw []byte) (string, error) { return n.rpc.Submit(ctx, raw) }
