package chain

// MerkleRoot returns the root of the transactions' ids, and whether the same root
// could be had with fewer transactions; see [MerkleRoot].
func (b *Block) MerkleRoot() (root Hash, mutated bool) {
	largest := 0
	for i := range b.Transactions {
		largest = max(largest, b.Transactions[i].Size())
	}
	scratch := make([]byte, 0, largest)
	ids := make([]Hash, len(b.Transactions))
	for i := range b.Transactions {
		ids[i] = DoubleSHA256(b.Transactions[i].Append(scratch))
	}
	return merkleRoot(ids)
}

// MerkleRoot returns the root of Bitcoin's merkle tree over transaction ids. In
// that tree the last of an odd number of nodes is paired with itself, so a list
// whose end is repeated has the same root as the shorter list (CVE-2012-2459).
// mutated reports any pair of equal nodes, as Bitcoin's ComputeMerkleRoot does:
// such a block must be refused, and must not taint the sound one with its root.
func MerkleRoot(ids []Hash) (root Hash, mutated bool) {
	return merkleRoot(append([]Hash(nil), ids...))
}

// merkleRoot overwrites level.
func merkleRoot(level []Hash) (root Hash, mutated bool) {
	if len(level) == 0 {
		return Hash{}, false
	}
	var pair [64]byte
	for len(level) > 1 {
		half := (len(level) + 1) / 2
		for i := range half {
			left := level[2*i]
			right := left
			if 2*i+1 < len(level) {
				right = level[2*i+1]
				mutated = mutated || left == right
			}
			copy(pair[:32], left[:])
			copy(pair[32:], right[:])
			level[i] = DoubleSHA256(pair[:])
		}
		level = level[:half]
	}
	return level[0], mutated
}
