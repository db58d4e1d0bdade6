package chain

import (
	"encoding/binary"
)

// HeaderSize is the length of a block header in bytes.
const HeaderSize = 80

// Header is a block header, as in Bitcoin.
type Header struct {
	Version    int32
	Prev       Hash // the previous block
	MerkleRoot Hash
	Time       uint32 // unix seconds
	Bits       uint32 // the block's target in compact form
	Nonce      uint32
}

// DecodeHeader reads a header from exactly 80 bytes. Errors: [ErrTruncated],
// [ErrTrailing].
func DecodeHeader(b []byte) (Header, error) {
	r := &reader{rest: b}
	h := readHeader(r)
	return h, r.end("header")
}

func readHeader(r *reader) Header {
	return Header{
		Version:    int32(r.uint32("header version")),
		Prev:       r.hash("previous block"),
		MerkleRoot: r.hash("merkle root"),
		Time:       r.uint32("header time"),
		Bits:       r.uint32("header bits"),
		Nonce:      r.uint32("header nonce"),
	}
}

// Append appends the 80 bytes of the header to dst: what is hashed for the proof
// of work.
func (h *Header) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Version))
	dst = append(dst, h.Prev[:]...)
	dst = append(dst, h.MerkleRoot[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, h.Time)
	dst = binary.LittleEndian.AppendUint32(dst, h.Bits)
	return binary.LittleEndian.AppendUint32(dst, h.Nonce)
}

// Bytes returns the 80 bytes of the header.
func (h *Header) Bytes() (b [HeaderSize]byte) {
	h.Append(b[:0])
	return b
}

// Block is a classic block.
type Block struct {
	Header       Header
	Transactions []Transaction
}

// DecodeBlock reads a block that fills b. Its scripts and messages are parts of
// b, which must not change while they are in use. Beside a few slices nothing is
// allocated: at most about five times the length of b for the most hostile
// input. The errors are those of [DecodeTransaction] and [ErrNoTransactions].
//
// A block that decodes is well-formed, not sound: see [Block.Check].
func DecodeBlock(b []byte) (*Block, error) {
	if len(b) > MaxBlockSize {
		return nil, fail(ErrTooLarge, "the block has %d bytes, at most %d are taken", len(b), MaxBlockSize)
	}
	r := &reader{rest: b}
	block := &Block{Header: readHeader(r)}
	n := r.count(minTxSize, "number of transactions")
	if r.err == nil && n == 0 {
		r.err = fail(ErrNoTransactions, "the block has no transactions")
	}
	if r.err != nil {
		return nil, r.err
	}
	block.Transactions = make([]Transaction, n)
	for i := range block.Transactions {
		block.Transactions[i].read(r)
		if r.err != nil {
			return nil, r.err
		}
	}
	if err := r.end("block"); err != nil {
		return nil, err
	}
	return block, nil
}

// DecodeBlockHex is [DecodeBlock] of hex digits in either case. Further error:
// [ErrHex]. The digits are not kept.
func DecodeBlockHex(text []byte) (*Block, error) {
	b, err := decodeHex(text, "block")
	if err != nil {
		return nil, err
	}
	return DecodeBlock(b)
}

// Size returns the length of the serialisation in bytes.
func (b *Block) Size() int {
	n := HeaderSize + compactSizeLen(len(b.Transactions))
	for i := range b.Transactions {
		n += b.Transactions[i].Size()
	}
	return n
}

// Encode returns the serialisation.
func (b *Block) Encode() []byte {
	dst := b.Header.Append(make([]byte, 0, b.Size()))
	dst = appendCompactSize(dst, len(b.Transactions))
	for i := range b.Transactions {
		dst = b.Transactions[i].Append(dst)
	}
	return dst
}

// Coinbase returns the block's first transaction, which must be a coinbase, the
// only one, with a script of 2 to 100 bytes. Errors: [ErrNoTransactions],
// [ErrCoinbase].
func (b *Block) Coinbase() (*Transaction, error) {
	if len(b.Transactions) == 0 {
		return nil, fail(ErrNoTransactions, "the block has no transactions")
	}
	coinbase := &b.Transactions[0]
	if !coinbase.IsCoinbase() {
		return nil, fail(ErrCoinbase, "the first transaction is no coinbase")
	}
	if n := len(coinbase.Inputs[0].Script); n < 2 || n > 100 {
		return nil, fail(ErrCoinbase, "the coinbase script has %d bytes, 2 to 100 are allowed", n)
	}
	for i := range b.Transactions[1:] {
		if b.Transactions[1+i].IsCoinbase() {
			return nil, fail(ErrCoinbase, "transaction %d is a second coinbase", 1+i)
		}
	}
	return coinbase, nil
}

// Check tells whether header and transactions belong together: the merkle root
// is theirs, no transaction stands there twice, the first is the one coinbase.
// Errors: [ErrMerkleRoot], [ErrMerkleMutated] and those of [Block.Coinbase].
// Proof of work, signatures and amounts are the daemon's business.
func (b *Block) Check() error {
	if _, err := b.Coinbase(); err != nil {
		return err
	}
	root, mutated := b.MerkleRoot()
	if root != b.Header.MerkleRoot {
		return fail(ErrMerkleRoot, "the header's merkle root is %s, its transactions' is %s", b.Header.MerkleRoot, root)
	}
	if mutated {
		return fail(ErrMerkleMutated, "the block holds transactions twice")
	}
	return nil
}
