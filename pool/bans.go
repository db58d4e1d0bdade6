package pool

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
)

// Bans is whom the operator keeps away, as the ledger had it a few seconds ago.
// All methods are safe for concurrent access; a nil Bans bans nobody.
type Bans struct {
	list atomic.Pointer[banList]
}

// banList is never changed.
type banList struct {
	// prefixes by their length: a lookup costs one look for each length that there
	// is, however many bans there are.
	prefixes map[int]map[netip.Prefix]struct{}
	guids    map[uuid.UUID]struct{}
	miners   map[minerKey]struct{}
	count    int
}

type minerKey struct{ network, address string }

// BannedMiner is a miner that is kept away.
type BannedMiner struct {
	GUID             uuid.UUID
	Network, Address string
}

// Set replaces all bans.
func (b *Bans) Set(prefixes []netip.Prefix, miners []BannedMiner) {
	l := &banList{
		prefixes: map[int]map[netip.Prefix]struct{}{}, guids: map[uuid.UUID]struct{}{}, miners: map[minerKey]struct{}{},
		count: len(prefixes) + len(miners),
	}
	for _, p := range prefixes {
		p = p.Masked()
		if l.prefixes[p.Bits()] == nil {
			l.prefixes[p.Bits()] = map[netip.Prefix]struct{}{}
		}
		l.prefixes[p.Bits()][p] = struct{}{}
	}
	for _, m := range miners {
		l.guids[m.GUID] = struct{}{}
		l.miners[minerKey{m.Network, m.Address}] = struct{}{}
	}
	b.list.Store(l)
}

// current is nil where nobody is banned.
func (b *Bans) current() *banList {
	if b == nil {
		return nil
	}
	if l := b.list.Load(); l != nil && l.count > 0 {
		return l
	}
	return nil
}

// Count is how many bans there are.
func (b *Bans) Count() int {
	if l := b.current(); l != nil {
		return l.count
	}
	return 0
}

// IP reports whether an address is banned, by itself or with its network.
func (b *Bans) IP(a netip.Addr) bool {
	l := b.current()
	if l == nil || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	for bits, banned := range l.prefixes {
		// A length beyond the address's belongs to the other family.
		if p, err := a.Prefix(bits); err == nil {
			if _, found := banned[p]; found {
				return true
			}
		}
	}
	return false
}

// Miner reports whether an address of a network's coin is banned.
func (b *Bans) Miner(network, address string) bool {
	l := b.current()
	if l == nil {
		return false
	}
	_, found := l.miners[minerKey{network, address}]
	return found
}

// Worker is Miner for a worker's name as miners write it: address, address.rig or
// address/rig.
func (b *Bans) Worker(network, name string) bool {
	if b.current() == nil {
		return false
	}
	if end := strings.IndexAny(name, "./"); end >= 0 {
		name = name[:end]
	}
	return b.Miner(network, name)
}

// GUID reports whether the miner with this public identifier is banned.
func (b *Bans) GUID(id uuid.UUID) bool {
	l := b.current()
	if l == nil {
		return false
	}
	_, found := l.guids[id]
	return found
}
