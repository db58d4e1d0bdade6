package web

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// visitors tells for whom a request speaks and how much that address may ask.
//
// Safe for concurrent access.
type visitors struct {
	trusted []netip.Prefix
	rate    rate.Limit
	burst   int

	mu       sync.Mutex // guards limiters' creation
	limiters *lru.Cache[netip.Prefix, *rate.Limiter]
}

// maxVisitors bounds how many addresses are remembered; the one that was away
// longest is forgotten, and begins anew with a full burst.
const maxVisitors = 50_000

func newVisitors(c Config) *visitors {
	limiters, err := lru.New[netip.Prefix, *rate.Limiter](maxVisitors)
	if err != nil {
		panic(err) // a size below 1 is a mistake in this package
	}
	return &visitors{trusted: c.TrustedProxies, rate: rate.Limit(c.RatePerIP), burst: c.BurstPerIP, limiters: limiters}
}

// key is what limits are counted by: the address, for IPv6 its /64.
func key(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// allow says whether a visitor may ask now.
func (v *visitors) allow(who netip.Prefix) bool {
	v.mu.Lock()
	l, ok := v.limiters.Get(who)
	if !ok {
		l = rate.NewLimiter(v.rate, v.burst)
		v.limiters.Add(who, l)
	}
	v.mu.Unlock()
	return l.Allow()
}

func (v *visitors) trust(a netip.Addr) bool {
	for _, p := range v.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// of tells for whom a peer speaks. Only a trusted peer is believed: each proxy
// appends the address it was called from, so the list is read from its end, past
// other trusted proxies, to the first address that is not one. What is no
// address ends the search, because whatever stands before it is hearsay. Without
// a usable X-Forwarded-For, X-Real-IP is taken, else the peer.
func (v *visitors) of(r *http.Request) netip.Prefix {
	peer, ok := parseHop(r.RemoteAddr)
	if !ok || !v.trust(peer) {
		return key(peer)
	}
	client, found := netip.Addr{}, false
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.Trim(hops[i], " \t")
		if hop == "" {
			continue
		}
		a, ok := parseHop(hop)
		if !ok {
			break
		}
		if client, found = a, true; !v.trust(a) {
			break
		}
	}
	if found {
		return key(client)
	}
	if a, ok := parseHop(strings.Trim(r.Header.Get("X-Real-IP"), " \t")); ok {
		return key(a)
	}
	return key(peer)
}

// parseHop reads an address, with or without a port, brackets or a zone.
func parseHop(s string) (netip.Addr, bool) {
	const longest = 80
	if len(s) > longest {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
