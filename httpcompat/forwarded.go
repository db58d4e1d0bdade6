package httpcompat

import (
	"net/netip"
	"strings"
)

// proxies are the peers whose word on the client's address is taken.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client tells for whom a peer speaks. Only a trusted peer is believed: each
// proxy appends the address it was called from, so the list is read from its end,
// past other trusted proxies, to the first address that is not one. What is no
// address ends the search, because whatever stands before it is hearsay. Without
// a usable X-Forwarded-For, X-Real-IP is taken, else the peer.
func (p proxies) client(peer netip.Addr, forwardedFor, realIP string) netip.Addr {
	if !p.trust(peer) {
		return peer
	}
	client, found := netip.Addr{}, false
	for rest := forwardedFor; rest != ""; {
		hop := rest
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, hop = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		if hop = strings.Trim(hop, " \t"); hop == "" {
			continue
		}
		a, ok := parseHop(hop)
		if !ok {
			break
		}
		client, found = a, true
		if !p.trust(a) {
			break
		}
	}
	if found {
		return client
	}
	if a, ok := parseHop(strings.Trim(realIP, " \t")); ok {
		return a
	}
	return peer
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
