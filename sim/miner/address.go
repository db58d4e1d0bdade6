package miner

import (
	"math/rand/v2"

	"purepool/pool/chain"
)

// RandomAddress returns a valid address of a network, as rng makes it. Nobody has
// its key.
func RandomAddress(rng *rand.Rand, network chain.Network) string {
	var hash [20]byte
	for i := range hash {
		hash[i] = byte(rng.Uint32())
	}
	return chain.NewAddress(chain.PubKeyHash, hash, network).String()
}
