package stratum

import (
	"net/netip"
	"testing"
	"time"
)

func testGuard(change func(*Limits)) *guard {
	l := &Limits{}
	l.setDefaults()
	if change != nil {
		change(l)
	}
	return newGuard(l)
}

var someIP = netip.MustParseAddr("203.0.113.7")

func TestAddressIsBannedForItsRatioOfInvalidSharesNotForTheirNumber(t *testing.T) {
	g := testGuard(func(l *Limits) { l.JudgedShares, l.InvalidShares = 100, 0.5 })
	v, _ := g.admit(someIP, 0)
	for range 10_000 { // a farm with one broken machine in ten
		for range 9 {
			if g.share(v, false, time.Second) {
				t.Fatal("banned for a good share")
			}
		}
		if g.share(v, true, time.Second) {
			t.Fatal("a farm was banned for one broken machine")
		}
	}
	bad := netip.MustParseAddr("203.0.113.8")
	v, _ = g.admit(bad, 0)
	banned := 0
	for range 100 {
		if g.share(v, true, time.Second) {
			banned++
		}
	}
	if banned != 1 {
		t.Errorf("banned %d times", banned)
	}
	if _, why := g.admit(bad, 2*time.Second); why != ClosedBanned {
		t.Errorf("%v", why)
	}
	if _, why := g.admit(bad, 11*time.Minute); why != notClosed {
		t.Errorf("%v after the ban", why)
	}
}

func TestMisbehaviourOfAnEarlierWindowIsForgotten(t *testing.T) {
	g := testGuard(func(l *Limits) { l.JunkPerIP = 10 })
	v, _ := g.admit(someIP, 0)
	for i := range 50 {
		if g.junk(v, 1, time.Duration(i)*time.Minute) {
			t.Fatalf("banned at line %d, one a minute", i)
		}
	}
}

func TestReconnectingDoesNotWipeMisbehaviourOut(t *testing.T) {
	g := testGuard(func(l *Limits) { l.JunkPerIP = 10 })
	for i := range 10 {
		v, why := g.admit(someIP, time.Second)
		if why != notClosed {
			t.Fatalf("%v at %d", why, i)
		}
		g.junk(v, 1, time.Second)
		g.depart(v)
	}
	if _, why := g.admit(someIP, time.Second); why != ClosedBanned {
		t.Errorf("%v", why)
	}
}

func TestAddressesCountByTheirIPv6NetworkAndUnmapped(t *testing.T) {
	g := testGuard(func(l *Limits) { l.PerIP = 1 })
	for _, pair := range [][2]string{{"2001:db8::1", "2001:db8::2"}, {"192.0.2.1", "::ffff:192.0.2.1"}} {
		if _, why := g.admit(netip.MustParseAddr(pair[0]), 0); why != notClosed {
			t.Fatal(why)
		}
		if _, why := g.admit(netip.MustParseAddr(pair[1]), 0); why != ClosedTooManyOfIP {
			t.Errorf("%s after %s: %v", pair[1], pair[0], why)
		}
	}
}

func TestAllowedAddressesAreNeitherCountedNorBanned(t *testing.T) {
	g := testGuard(func(l *Limits) {
		l.PerIP, l.Allowed = 1, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	})
	for range 100 {
		v, why := g.admit(someIP, 0)
		if why != notClosed || g.junk(v, 1, 0) || g.share(v, true, 0) {
			t.Fatal(why)
		}
	}
}

func TestConnectionsOfAnAddressAreBoundedInNumberAndRate(t *testing.T) {
	g := testGuard(func(l *Limits) { l.PerIP, l.PerIPRate = 5, 1 })
	var last *visitor
	for range 5 {
		last, _ = g.admit(someIP, 0)
	}
	if _, why := g.admit(someIP, 0); why != ClosedTooManyOfIP {
		t.Error(why)
	}
	for range 5 { // five more of the burst of ten
		g.depart(last)
		last, _ = g.admit(someIP, 0)
	}
	g.depart(last)
	if _, why := g.admit(someIP, 0); why != ClosedRateOfIP {
		t.Error(why)
	}
	if _, why := g.admit(someIP, 1500*time.Millisecond); why != notClosed {
		t.Error(why)
	}
}

func TestTableOfAddressesIsBoundedAndTidied(t *testing.T) {
	g := testGuard(func(l *Limits) { l.Addresses = 100 })
	for i := range 1000 {
		ip := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		v, why := g.admit(ip, 0)
		if why != notClosed && why != ClosedRateOfIP { // those beyond the bound share one rate
			t.Fatal(why)
		}
		if why == notClosed {
			g.depart(v)
		}
	}
	if n, _ := g.tidy(0); n > 100 {
		t.Errorf("%d addresses", n)
	}
	if n, _ := g.tidy(time.Hour); n != 0 {
		t.Errorf("%d addresses after an hour", n)
	}
}

func TestLongLinesOfAnAddressAreBoundedInTheirRate(t *testing.T) {
	g := newGuard(&Limits{PerIP: 10, PerIPRate: 10, Addresses: 10, LongLineRate: 1000})
	v, why := g.admit(netip.MustParseAddr("192.0.2.1"), 0)
	if why != notClosed {
		t.Fatal(why)
	}
	if g.haul(v, 4000, 0) || !g.haul(v, 1, 0) {
		t.Error("four seconds' worth may come at once, and no more")
	}
	if g.haul(v, 1998, 2*time.Second) || !g.haul(v, 2, 2*time.Second) {
		t.Error("time does not forgive, or too much")
	}
	if g.haul(nil, 1<<30, 0) {
		t.Error("an allowed address is bounded")
	}
}
