package httpcompat

import (
	"net/netip"
	"testing"
	"time"
)

func newTestGuard(l Limits) (*guard, *time.Time) {
	now := time.Unix(1_526_817_600, 0)
	g := newGuard(l.withDefaults())
	g.now = func() time.Time { return now }
	return g, &now
}

func TestRateOfAnAddressIsATokenBucket(t *testing.T) {
	g, now := newTestGuard(Limits{RatePerIP: 2, BurstPerIP: 3})
	a := netip.MustParseAddr("203.0.113.9")
	admitted := func(tries int) (n int) {
		for range tries {
			if v, reason := g.enter(a); reason == "" {
				g.leave(v)
				n++
			} else if reason != closedRateOfIP {
				t.Errorf("turned away as %s", reason)
			}
		}
		return n
	}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{0, 3}, {0, 0}, {499 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 3}} {
		*now = now.Add(step.wait)
		if got := admitted(5); got != step.want {
			t.Errorf("after %v: %d admitted, want %d", step.wait, got, step.want)
		}
	}
}

func TestAnIPv6CustomerIsOneAddress(t *testing.T) {
	g, _ := newTestGuard(Limits{MaxConnectionsPerIP: 1})
	for _, c := range []struct {
		address string
		want    closeReason
	}{
		{"2001:db8::1", ""},
		{"2001:db8::ffff:1", closedConnectionsOfIP},
		{"2001:db8:0:1::1", ""},
		{"203.0.113.9", ""},
		{"203.0.113.8", ""},
		{"203.0.113.9", closedConnectionsOfIP},
	} {
		if _, reason := g.enter(netip.MustParseAddr(c.address)); reason != c.want {
			t.Errorf("%s: %q, want %q", c.address, reason, c.want)
		}
	}
}

func TestTableOfAddressesIsBounded(t *testing.T) {
	g, now := newTestGuard(Limits{RatePerIP: 1, BurstPerIP: 1})
	g.capacity = 100
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }
	var held []*visitor
	for i := range 1000 {
		v, reason := g.enter(address(i))
		if reason != "" {
			t.Fatalf("%d: %s", i, reason)
		}
		if i < 50 { // these stay connected
			held = append(held, v)
		} else {
			g.leave(v)
		}
		*now = now.Add(time.Millisecond)
	}
	if len(g.visitors) != 100 {
		t.Errorf("%d entries", len(g.visitors))
	}
	for i, v := range held {
		if g.visitors[address(i)] != v {
			t.Fatalf("%s is connected and forgotten", address(i))
		}
	}
	// When all are connected, nobody new can be remembered, and so not be let in.
	for i := range 1000 {
		if _, reason := g.enter(address(2000 + i)); reason != "" {
			if reason != closedConnections {
				t.Errorf("turned away as %s", reason)
			}
			break
		}
	}
	if len(g.visitors) != 100 {
		t.Errorf("%d entries", len(g.visitors))
	}
}
