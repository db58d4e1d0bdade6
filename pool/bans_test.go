package pool_test

import (
	"net/netip"
	"testing"

	"github.com/google/uuid"

	"purepool/pool"
)

func TestBansHoldForAddressesTheirNetworksAndMiners(t *testing.T) {
	var bans pool.Bans
	guid := uuid.New()
	bans.Set([]netip.Prefix{
		netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:1::/48"),
	}, []pool.BannedMiner{{GUID: guid, Network: "main", Address: "BAddress"}})
	for text, want := range map[string]bool{
		"198.51.100.7": true, "::ffff:198.51.100.7": true, "198.51.100.8": false, "203.0.113.255": true, "203.0.114.0": false,
		"2001:db8:1:2::3": true, "2001:db8:2::1": false, "fe80::1%eth0": false,
	} {
		if got := bans.IP(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s banned: %v", text, got)
		}
	}
	if bans.IP(netip.Addr{}) {
		t.Error("no address is banned")
	}
	for name, want := range map[string]bool{"BAddress": true, "BAddress.rig": true, "BAddress/rig.1": true, "BAddress2": false, "": false} {
		if got := bans.Worker("main", name); got != want {
			t.Errorf("worker %q banned: %v", name, got)
		}
	}
	if bans.Miner("test", "BAddress") || !bans.GUID(guid) || bans.GUID(uuid.New()) || bans.Count() != 4 {
		t.Error("the wrong miner is banned")
	}
	bans.Set(nil, nil)
	if bans.IP(netip.MustParseAddr("198.51.100.7")) || bans.Worker("main", "BAddress") || bans.GUID(guid) || bans.Count() != 0 {
		t.Error("a ban that was removed holds")
	}
	var none *pool.Bans
	if none.IP(netip.MustParseAddr("198.51.100.7")) || none.Worker("main", "BAddress") || none.GUID(guid) {
		t.Error("nobody's bans hold")
	}
}
