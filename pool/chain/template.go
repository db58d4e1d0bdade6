package chain

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Template is what a daemon says the next block must hold (its getblocktemplate,
// docs/PROTOCOL.md, "BiblePay today"), as bytes and numbers. It is immutable
// once it has been read.
type Template struct {
	Version uint32
	Prev    Hash
	Height  int32
	Bits    uint32 // compact target
	Time    uint32 // unix seconds
	MinTime uint32 // the earliest time that consensus allows, unix seconds
	// Value is everything that the coinbase may hand out, in satoshis: the pool's
	// part and all of Payees.
	Value int64
	// Payees are whom the chain itself makes the coinbase pay, in this order, with
	// exactly these amounts: masternodes, then superblocks.
	Payees []Payee
	// Payload is the coinbase's extra payload (Dash's DIP 2); empty where the chain
	// has none. It is copied, never computed.
	Payload []byte
	// Aux are bytes that the daemon wants to see in the coinbase's script
	// (coinbaseaux); as a rule empty.
	Aux []byte
	// Transactions follow the coinbase in exactly this order.
	Transactions []TemplateTransaction
	// WitnessCommitment is the script of the output that commits to the
	// transactions' witnesses (BIP 141, default_witness_commitment); empty where
	// the chain has no segregated witness.
	WitnessCommitment []byte
	// Extension is Litecoin's extension block (MWEB), which follows the
	// transactions of a block; empty where there is none.
	Extension []byte
}

// Payee is an output that the chain asks for.
type Payee struct {
	Script []byte
	Value  int64 // satoshis
}

// TemplateTransaction is a transaction of a template: its bytes as they stand in
// the block, and its id, of which the merkle tree is made.
type TemplateTransaction struct {
	Data []byte
	ID   Hash
}

// Bounds of what is taken from a daemon.
const (
	// MaxCoinbaseScript is how long consensus lets the script of a coinbase be, in
	// bytes.
	MaxCoinbaseScript = 100
	maxTag            = 32
)

// The first four bytes of a coinbase: version 2, or, where a payload follows,
// version 3 of type 5 (Dash's DIP 2).
const (
	coinbaseVersion        = 2
	coinbaseVersionPayload = 5<<16 | 3
)

// CoinbasePlan says how the pool wants its coinbases.
type CoinbasePlan struct {
	PoolScript []byte // of the first output, which gets everything that no payee gets
	// Reserved is the number of bytes between the two halves: what is different for
	// every session and every try. 1 to 75.
	Reserved int
	Tag      string // the pool's name in the script, at most 32 bytes; empty is none
	// OutputMessages says that every output carries BiblePay's message.
	OutputMessages bool
}

// OutputMessages reports whether the network's outputs carry a message after
// their script, as BiblePay's do.
func (n Network) OutputMessages() bool { return n.Coin == "BiblePay" }

// SplitCoinbase returns the coinbase of a template in two halves, between which
// go exactly plan.Reserved bytes. They hold no witness: that is how the coinbase
// is hashed for the merkle tree, and how miners see it; [Template.Block] adds
// what the block needs beside.
//
// Errors: ErrValue where the payees' amounts are negative or exceed the
// template's value, ErrCoinbase where the script would be too long.
func (t *Template) SplitCoinbase(plan CoinbasePlan) (first, second []byte, err error) {
	own, err := t.poolValue()
	if err != nil {
		return nil, nil, err
	}
	script, after := heightScript(int64(t.Height)), []byte(nil)
	if plan.Reserved < 1 || plan.Reserved > 75 || len(plan.Tag) > maxTag || len(plan.PoolScript) == 0 {
		return nil, nil, fail(ErrCoinbase, "a coinbase with %d bytes for extranonces, a tag of %d bytes and a pool script of %d cannot be made",
			plan.Reserved, len(plan.Tag), len(plan.PoolScript))
	}
	script = append(script, byte(plan.Reserved))
	if plan.Tag != "" {
		after = append(append(after, byte(len(plan.Tag))), plan.Tag...)
	}
	after = append(after, t.Aux...)
	length := len(script) + plan.Reserved + len(after)
	if length > MaxCoinbaseScript {
		return nil, nil, fail(ErrCoinbase, "the coinbase script has %d bytes, consensus allows %d", length, MaxCoinbaseScript)
	}

	version := uint32(coinbaseVersion)
	if len(t.Payload) > 0 {
		version = coinbaseVersionPayload
	}
	first = binary.LittleEndian.AppendUint32(nil, version)
	first = append(first, 1)
	first = append(first, make([]byte, 32)...)
	first = binary.LittleEndian.AppendUint32(first, nullIndex)
	first = appendCompactSize(first, length)
	first = append(first, script...)

	second = append(second, after...)
	second = binary.LittleEndian.AppendUint32(second, 0xffffffff)
	second = t.appendOutputs(second, plan, own)
	second = binary.LittleEndian.AppendUint32(second, 0) // lock time
	if len(t.Payload) > 0 {
		second = appendBytes(second, t.Payload)
	}
	return first, second, nil
}

// poolValue returns what is left of the template's value for the pool.
func (t *Template) poolValue() (int64, error) {
	rest := t.Value
	if rest < 0 || rest > MaxMoney {
		return 0, fail(ErrValue, "the coinbase value %d is out of range", rest)
	}
	for i, p := range t.Payees {
		if p.Value < 0 || p.Value > rest {
			return 0, fail(ErrValue, "payee %d gets %d of %d satoshis that are left", i, p.Value, rest)
		}
		rest -= p.Value
	}
	return rest, nil
}

func (t *Template) appendOutputs(dst []byte, plan CoinbasePlan, own int64) []byte {
	output := func(value int64, script []byte) {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(value))
		dst = appendBytes(dst, script)
		if plan.OutputMessages {
			dst = append(dst, 0)
		}
	}
	n := 1 + len(t.Payees)
	if len(t.WitnessCommitment) > 0 {
		n++
	}
	dst = appendCompactSize(dst, n)
	output(own, plan.PoolScript)
	for _, p := range t.Payees {
		output(p.Value, p.Script)
	}
	if len(t.WitnessCommitment) > 0 {
		output(0, t.WitnessCommitment)
	}
	return dst
}

// TransactionIDs returns the ids of the transactions that follow the coinbase.
func (t *Template) TransactionIDs() []Hash {
	ids := make([]Hash, len(t.Transactions))
	for i := range t.Transactions {
		ids[i] = t.Transactions[i].ID
	}
	return ids
}

// Body returns what makes a block of the template whole, beside its header and
// coinbase; see [BlockBody].
func (t *Template) Body() *BlockBody {
	b := &BlockBody{Witness: len(t.WitnessCommitment) > 0, Count: len(t.Transactions), Extension: t.Extension}
	size := 0
	for i := range t.Transactions {
		size += len(t.Transactions[i].Data)
	}
	b.Transactions = make([]byte, 0, size)
	for i := range t.Transactions {
		b.Transactions = append(b.Transactions, t.Transactions[i].Data...)
	}
	return b
}

// BlockBody is everything of a block but its header and coinbase. The coinbase's
// witness belongs to it.
type BlockBody struct {
	Witness      bool   // the block has segregated witness: its coinbase needs one
	Count        int    // transactions that follow the coinbase
	Transactions []byte // their bytes, one after the other
	Extension    []byte // Litecoin's extension block; empty where there is none
}

// Block returns the serialised block of a header (80 bytes) and a coinbase
// without witness. Error: ErrCoinbase where the coinbase has no lock time.
func (b *BlockBody) Block(header, coinbase []byte) ([]byte, error) {
	if len(header) != HeaderSize || len(coinbase) < minTxSize-minOutputSize {
		return nil, fail(ErrCoinbase, "a header of %d and a coinbase of %d bytes make no block", len(header), len(coinbase))
	}
	block := make([]byte, 0, HeaderSize+9+len(coinbase)+36+len(b.Transactions)+1+len(b.Extension))
	block = append(block, header...)
	block = appendCompactSize(block, b.Count+1)
	if b.Witness {
		// BIP 144: marker and flag after the version, the witness before the lock
		// time. A coinbase's witness is one value of 32 bytes, the reserved value, to
		// which the daemon's commitment was made with zeros.
		end := len(coinbase) - 4
		block = append(block, coinbase[:4]...)
		block = append(block, 0, 1)
		block = append(block, coinbase[4:end]...)
		block = append(block, 1, 32)
		block = append(block, make([]byte, 32)...)
		block = append(block, coinbase[end:]...)
	} else {
		block = append(block, coinbase...)
	}
	block = append(block, b.Transactions...)
	if len(b.Extension) > 0 {
		block = append(block, 1) // of an optional value: it is there
		block = append(block, b.Extension...)
	}
	return block, nil
}

// bodyVersion is the first byte of an encoded [BlockBody].
const bodyVersion = 1

// Encode returns the body in a form of our own, for [DecodeBlockBody].
func (b *BlockBody) Encode() []byte {
	flags := byte(0)
	if b.Witness {
		flags = 1
	}
	dst := make([]byte, 0, 2+9+9+len(b.Transactions)+9+len(b.Extension))
	dst = append(dst, bodyVersion, flags)
	dst = appendCompactSize(dst, b.Count)
	dst = appendBytes(dst, b.Transactions)
	return appendBytes(dst, b.Extension)
}

// DecodeBlockBody reads a body that fills text. Its slices are parts of it.
// Errors: ErrTruncated, ErrTrailing, ErrCompactSize.
func DecodeBlockBody(text []byte) (*BlockBody, error) {
	r := &reader{rest: text}
	head := r.take(2, "block body")
	if r.err == nil && (head[0] != bodyVersion || head[1] > 1) {
		return nil, fail(ErrTruncated, "a block body begins with %x", head)
	}
	b := new(BlockBody)
	if head != nil {
		b.Witness = head[1] == 1
	}
	count := r.compactSize("number of transactions")
	b.Transactions, b.Extension = r.bytes("transactions"), r.bytes("extension block")
	if err := r.end("block body"); err != nil {
		return nil, err
	}
	if count > uint64(len(b.Transactions)) {
		return nil, fail(ErrTruncated, "%d transactions in %d bytes", count, len(b.Transactions))
	}
	b.Count = int(count)
	return b, nil
}

// SameShape reports whether another template's coinbase differs from this one's
// in nothing but its height and value: what a daemon has let pass once it lets
// pass again.
func (t *Template) SameShape(other *Template) bool {
	return len(t.Payload) == len(other.Payload) && bytes.Equal(t.Aux, other.Aux) &&
		len(t.WitnessCommitment) == len(other.WitnessCommitment) &&
		slices.EqualFunc(t.Payees, other.Payees, func(a, b Payee) bool { return bytes.Equal(a.Script, b.Script) })
}

// Equal reports whether two templates ask for the same block, whatever their
// time.
func (t *Template) Equal(other *Template) bool {
	return t.Version == other.Version && t.Prev == other.Prev && t.Height == other.Height && t.Bits == other.Bits &&
		t.Value == other.Value && t.SameShape(other) && bytes.Equal(t.Payload, other.Payload) &&
		bytes.Equal(t.WitnessCommitment, other.WitnessCommitment) && bytes.Equal(t.Extension, other.Extension) &&
		slices.EqualFunc(t.Payees, other.Payees, func(a, b Payee) bool { return a.Value == b.Value }) &&
		slices.EqualFunc(t.Transactions, other.Transactions, func(a, b TemplateTransaction) bool { return a.ID == b.ID })
}
