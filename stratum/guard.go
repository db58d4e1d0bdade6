package stratum

import (
	"net/netip"
	"sync"
	"time"
)

// guard counts connections and misbehaviour by address and decides who is let
// in. Safe for concurrent use. The clock is handed in: time since the server's
// start.
//
// Misbehaviour is a ratio over everything an address did in a window, so a farm
// of a thousand machines behind one address is not banned for one broken one, and
// a reconnect does not wipe anything out.
type guard struct {
	cfg *Limits

	mu      sync.Mutex
	total   int
	ips     map[netip.Addr]*visitor
	crowd   visitor // stands for all addresses beyond the bound
	lastCut time.Duration
}

// visitor is one address, about 100 bytes.
type visitor struct {
	mu sync.Mutex
	// protected by guard.mu:
	conns  int32
	tokens float32 // of the connect rate
	filled time.Duration
	// protected by mu:
	window         time.Duration // when counting began
	valid, invalid int32
	junk           int32
	bannedUntil    time.Duration
	hauled         float64 // bytes of long lines, less what time has forgiven
	hauledAt       time.Duration
}

// burstSeconds is how many seconds' worth of connections an address may open at
// once: a farm comes back as one after a power cut.
const burstSeconds = 10

func newGuard(cfg *Limits) *guard {
	return &guard{cfg: cfg, ips: make(map[netip.Addr]*visitor)}
}

// key is the address as it counts: IPv6 by its /64, which is what one customer
// has.
func key(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// enter counts a connection in all; leave must follow unless it was refused.
func (g *guard) enter() CloseReason {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.cfg.Connections {
		return ClosedTooMany
	}
	g.total++
	return notClosed
}

func (g *guard) leave() {
	g.mu.Lock()
	g.total--
	g.mu.Unlock()
}

// admit counts a connection of an address. The visitor is nil for allowed
// addresses; depart must follow for any other, unless it was refused.
func (g *guard) admit(ip netip.Addr, now time.Duration) (*visitor, CloseReason) {
	if contains(g.cfg.Allowed, ip) {
		return nil, notClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitor(key(ip), now)
	switch {
	case v.banned(now):
		return nil, ClosedBanned
	case v != &g.crowd && int(v.conns) >= g.cfg.PerIP:
		return nil, ClosedTooManyOfIP
	}
	rate := float32(g.cfg.PerIPRate)
	v.tokens = min(v.tokens+rate*float32((now-v.filled).Seconds()), rate*burstSeconds)
	v.filled = now
	if v.tokens < 1 {
		return nil, ClosedRateOfIP
	}
	v.tokens--
	v.conns++
	return v, notClosed
}

func (g *guard) depart(v *visitor) {
	if v == nil {
		return
	}
	g.mu.Lock()
	v.conns--
	g.mu.Unlock()
}

// visitor finds or makes the record of an address. Called with mu held.
func (g *guard) visitor(ip netip.Addr, now time.Duration) *visitor {
	if v := g.ips[ip]; v != nil {
		return v
	}
	if len(g.ips) >= g.cfg.Addresses {
		g.cut(now)
		if len(g.ips) >= g.cfg.Addresses {
			return &g.crowd
		}
	}
	v := &visitor{tokens: float32(g.cfg.PerIPRate) * burstSeconds, filled: now, window: now}
	g.ips[ip] = v
	return v
}

// cut forgets addresses that are gone, not banned, and whose window is over. It is
// called every window, and when the table is full, at most once a second.
func (g *guard) cut(now time.Duration) {
	if g.lastCut != 0 && now-g.lastCut < time.Second {
		return
	}
	g.lastCut = now
	for ip, v := range g.ips {
		v.mu.Lock()
		gone := v.conns == 0 && v.bannedUntil <= now && now-v.window > g.cfg.Window && now-v.filled > burstSeconds*time.Second
		v.mu.Unlock()
		if gone {
			delete(g.ips, ip)
		}
	}
}

// tidy is cut for a timer. It returns how many addresses are known and banned.
func (g *guard) tidy(now time.Duration) (known, banned int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut(now)
	for _, v := range g.ips {
		if v.banned(now) {
			banned++
		}
	}
	return len(g.ips), banned
}

func (v *visitor) banned(now time.Duration) bool {
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bannedUntil > now
}

// share counts a share and reports whether the address has just been banned for
// it.
func (g *guard) share(v *visitor, invalid bool, now time.Duration) (banned bool) {
	if v == nil || v == &g.crowd {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.roll(now, g.cfg.Window)
	if !invalid {
		v.valid++
		return false
	}
	v.invalid++
	all := int(v.valid) + int(v.invalid)
	if all < g.cfg.JudgedShares || float64(v.invalid) < g.cfg.InvalidShares*float64(all) || v.bannedUntil > now {
		return false
	}
	v.bannedUntil = now + g.cfg.BanTime
	return true
}

// haulSeconds is how many seconds' worth of long lines an address may send at once.
const haulSeconds = 4

// haul counts bytes of long lines, and reports whether they are more than one
// address may send.
func (g *guard) haul(v *visitor, n int, now time.Duration) (tooMuch bool) {
	if v == nil || v == &g.crowd {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hauled = max(v.hauled-g.cfg.LongLineRate*(now-v.hauledAt).Seconds(), 0) + float64(n)
	v.hauledAt = now
	return v.hauled > g.cfg.LongLineRate*haulSeconds
}

// junk counts lines that are no requests, and reports whether the address has just
// been banned for them.
func (g *guard) junk(v *visitor, lines int, now time.Duration) (banned bool) {
	if v == nil || v == &g.crowd {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.roll(now, g.cfg.Window)
	v.junk += int32(lines) //nolint:gosec // a few
	if int(v.junk) < g.cfg.JunkPerIP || v.bannedUntil > now {
		return false
	}
	v.bannedUntil = now + g.cfg.BanTime
	return true
}

func (v *visitor) roll(now, window time.Duration) {
	if now-v.window > window {
		v.window, v.valid, v.invalid, v.junk = now, 0, 0, 0
	}
}
