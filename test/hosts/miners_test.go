package hosts

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/sim/miner"
)

// load is honest miners at work out in the world, and every share of theirs that
// was answered ok.
type load struct {
	mu      sync.Mutex
	ok      map[string]time.Time // proof to the time of the answer
	last    time.Time            // of an answer
	refused map[string]int       // by text
	failed  int                  // no answer came
	pool    string               // address to which the pool's name points

	stop func() miner.Snapshot
}

// startLoad lets miners mine at a pool's address until stop.
func startLoad(t testing.TB, n *network, pool string, node miner.Source, miners int, interval time.Duration) *load {
	t.Helper()
	l := &load{ok: map[string]time.Time{}, refused: map[string]int{}, pool: pool}
	c, err := miner.NewClient("http://pool.example.org")
	must(t, err)
	c.Timeout = 4 * time.Second
	dial := n.dialer("miners")
	c.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, l.where()) }
	fleet, err := miner.NewFleet(miner.FleetOptions{
		Miner: miner.Options{
			Client: c, Source: node, Network: "test", Interval: interval, Retry: 100 * time.Millisecond, OnSent: l.note,
		},
		Miners: miners, Rigs: 2,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = fleet.Run(ctx)
	}()
	l.stop = sync.OnceValue(func() miner.Snapshot {
		cancel()
		<-done
		return fleet.Stats().Snapshot()
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) note(s miner.Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.Err != nil:
		l.failed++
	case s.OK:
		l.last = time.Now()
		l.ok[hex.EncodeToString(s.Solution.Proof[:])] = l.last
	default:
		l.refused[s.Answer.Error]++
	}
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

// unanswered is the number of shares to which no answer came.
func (l *load) unanswered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// taken is the number of shares that were answered ok.
func (l *load) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ok)
}

// answeredAfter reports whether a share was answered ok after a moment.
func (l *load) answeredAfter(moment time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.After(moment)
}

// until returns the proofs of the shares that were answered ok until a moment.
func (l *load) until(moment time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var proofs []string
	for proof, at := range l.ok {
		if !at.After(moment) {
			proofs = append(proofs, proof)
		}
	}
	return proofs
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
