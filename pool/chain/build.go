package chain

// ClassicMessage returns the message that a classic client writes into its
// coinbase: its version and the MINERGUID that the pool gave it.
func ClassicMessage(version, minerGUID string) []byte {
	return []byte("<VER>" + version + "</VER><MINERGUID>" + minerGUID + "</MINERGUID>")
}

// PayTo returns an output of value satoshis to an address, with a message that
// may be empty.
func PayTo(address Address, value int64, message []byte) Output {
	return Output{Value: value, Script: address.PayScript(), Message: message}
}

// NewCoinbase returns the coinbase of a block at a height of 0 or more. extra
// follows the height in its script and makes the coinbase of every miner and
// attempt another one: 1 to about 90 bytes. The caller gives at least one output.
func NewCoinbase(height int64, extra []byte, outputs ...Output) Transaction {
	return Transaction{
		Version: 1,
		Inputs: []Input{{
			PrevOut:  OutPoint{Index: nullIndex},
			Script:   append(heightScript(height), extra...),
			Sequence: 0xffffffff,
		}},
		Outputs: outputs,
	}
}

// NewBlock puts a block together. The header's merkle root is set to that of the
// transactions, of which the first should be a coinbase.
func NewBlock(header Header, transactions ...Transaction) *Block {
	b := &Block{Header: header, Transactions: transactions}
	b.Header.MerkleRoot, _ = b.MerkleRoot()
	return b
}
