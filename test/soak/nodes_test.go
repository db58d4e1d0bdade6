package soak

import (
	"testing"

	"purepool/bbprpc/litecoindtest"
)

// startNodes starts two, connected, with a tip that is young enough to build on: a
// node that is alone gives no templates.
func startNodes(t *testing.T) (all [2]*litecoindtest.Node, address string) {
	t.Helper()
	all[0] = litecoindtest.New(t, litecoindtest.Options{})
	all[1] = litecoindtest.New(t, litecoindtest.Options{Peers: all[:1]})
	address = all[0].Wallet()
	all[0].GenerateExtended(address)
	all[1].Agree(all[0])
	return all, address
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
