package httpcompat

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// guard bounds what one address may do: connections open at once, and new ones
// per second. The rate is a token bucket, kept as the one number of the generic
// cell rate algorithm: the time at which the bucket will be full again.
//
// An IPv6 address stands for its /64, which is what one customer has.
//
// The table is bounded. When it is full, somebody without open connections is
// forgotten, those first who have nothing left to remember.
// All methods are safe for concurrent access.
type guard struct {
	maxConns  int
	interval  time.Duration // between two connections at the full rate
	tolerance time.Duration // the bucket's depth
	capacity  int
	now       func() time.Time

	mu       sync.Mutex
	visitors map[netip.Addr]*visitor
}

// visitor is what is known of an address. It stays in the table as long as it has
// open connections.
type visitor struct {
	conns    int          // protected by guard.mu
	full     time.Time    // when its bucket is full again; protected by guard.mu
	reserved atomic.Int64 // bytes it has of the budget, see memory
}

// minGuardCapacity is how many addresses are remembered at least: about 10 MB.
const minGuardCapacity = 1 << 16

func newGuard(l Limits) *guard {
	interval := time.Duration(float64(time.Second) / l.RatePerIP)
	return &guard{
		maxConns:  l.MaxConnectionsPerIP,
		interval:  interval,
		tolerance: interval * time.Duration(l.BurstPerIP-1),
		capacity:  max(minGuardCapacity, 2*l.MaxConnections),
		now:       time.Now,
		visitors:  make(map[netip.Addr]*visitor),
	}
}

func guardKey(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil { // no address at all: they share one entry
		return netip.Addr{}
	}
	return p.Addr()
}

// enter admits one more connection of an address, for which leave must be called,
// or says why not.
func (g *guard) enter(a netip.Addr) (*visitor, closeReason) {
	key, now := guardKey(a), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitors[key]
	if v == nil {
		if len(g.visitors) >= g.capacity && !g.forgetOne(now) {
			return nil, closedConnections
		}
		v = new(visitor)
		g.visitors[key] = v
	}
	if v.conns >= g.maxConns {
		return nil, closedConnectionsOfIP
	}
	full := v.full
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > g.tolerance {
		return nil, closedRateOfIP
	}
	v.full = full.Add(g.interval)
	v.conns++
	return v, ""
}

func (g *guard) leave(v *visitor) {
	g.mu.Lock()
	v.conns--
	g.mu.Unlock()
}

// forgetOne makes room. The caller must hold g.mu.
func (g *guard) forgetOne(now time.Time) bool {
	const look = 16 // how far to look for one with nothing to remember
	var spare netip.Addr
	found, seen := false, 0
	for key, v := range g.visitors {
		seen++
		if v.conns == 0 {
			spare, found = key, true
			if !v.full.After(now) {
				break
			}
		}
		if found && seen >= look {
			break
		}
	}
	if found {
		delete(g.visitors, spare)
	}
	return found
}
