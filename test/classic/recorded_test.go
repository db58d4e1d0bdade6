package classic

import (
	"testing"

	"purepool/httpcompat/recorded"
	"purepool/ledger"
	"purepool/sim/daemon"
	"purepool/test/house"
)

// The exchanges recorded from the original, against the whole house: the same
// request bytes, the same response bytes, or a better error where
// docs/PROTOCOL.md says so.
func TestRecordedExchangesAreAnsweredByTheWholeHouse(t *testing.T) {
	_, fixture, err := recorded.Load()
	must(t, err)
	h := house.New(t, house.Options{
		Daemon: daemon.Options{Network: "test"}, HashTarget: recorded.HashTarget, PoolAddress: fixture.PoolAddress["test"],
		Extra: `
[network.main]
chain = "biblepay-main"
pool_address = "` + fixture.PoolAddress["main"] + `"
hash_target = "` + recorded.HashTarget + `"
[[network.main.daemon]]
url = "http://127.0.0.1:1"
user = "nobody"
password = "nothing"
`,
	})
	store := backendStore(t, h)
	ids, err := store.Networks(t.Context())
	must(t, err)
	for _, m := range fixture.Miners {
		for _, w := range m.Works {
			importWork(t, h, m.Network, m.Address, m.GUID, w.Worker, w.ID, recorded.HashTarget)
		}
		if !m.Enabled {
			setEnabled(t, store, ids[m.Network], m.Address, false)
		}
	}
	h.Run("all")
	recorded.Run(t, recorded.Target{Addr: h.HTTP})
}

func setEnabled(t *testing.T, store *ledger.BackendStore, network int16, address string, enabled bool) {
	t.Helper()
	found, err := store.FindMiners(t.Context(), ledger.MinerQuery{NetworkID: network, Address: address})
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("%d miners of address %s", len(found), address)
	}
	must(t, store.SetMinerEnabled(t.Context(), found[0].ID, enabled, ledger.Reason{Who: "test", Why: "as recorded"}))
}
