package chain

import (
	"bytes"
	"encoding/binary"
)

const (
	// Coin is the number of satoshis in a coin.
	Coin = 100_000_000

	// MaxMoney bounds a single amount and the sum of a transaction's outputs, in
	// satoshis. It lies above every supply of the coins served here, and twice
	// it still fits an int64.
	MaxMoney = 21_000_000_000 * Coin

	// MaxBlockSize bounds every decoder here, in bytes. A request header holds
	// at most 8 MiB, which is 4 MiB in hex; consensus allowed 2 MB.
	MaxBlockSize = 4 << 20

	nullIndex = 0xffffffff

	// The least sizes of what a count counts, in bytes.
	minInputSize  = 36 + 1 + 4
	minOutputSize = 8 + 1 + 1
	minTxSize     = 4 + 1 + minInputSize + 1 + minOutputSize + 4
)

// OutPoint names an output of an earlier transaction.
type OutPoint struct {
	Hash  Hash
	Index uint32
}

// Input is a transaction input.
type Input struct {
	PrevOut  OutPoint
	Script   []byte
	Sequence uint32
}

// Output is a transaction output with BiblePay's message.
type Output struct {
	Value   int64 // satoshis
	Script  []byte
	Message []byte
}

// Transaction is a classic transaction. The slices of a decoded transaction are
// parts of the decoded bytes.
type Transaction struct {
	Version  int32
	Inputs   []Input
	Outputs  []Output
	LockTime uint32
}

// DecodeTransaction reads one transaction that fills b. Its scripts and messages
// are parts of b. The errors are [*Error] of the kinds [ErrTooLarge],
// [ErrTruncated], [ErrTrailing], [ErrCompactSize], [ErrNoInputs],
// [ErrNoOutputs] and [ErrValue].
func DecodeTransaction(b []byte) (*Transaction, error) {
	if len(b) > MaxBlockSize {
		return nil, fail(ErrTooLarge, "the transaction has %d bytes, at most %d are taken", len(b), MaxBlockSize)
	}
	r := &reader{rest: b}
	tx := new(Transaction)
	tx.read(r)
	if err := r.end("transaction"); err != nil {
		return nil, err
	}
	return tx, nil
}

// DecodeTransactionHex is [DecodeTransaction] of hex digits in either case.
// Further error: [ErrHex].
func DecodeTransactionHex(text []byte) (*Transaction, error) {
	b, err := decodeHex(text, "transaction")
	if err != nil {
		return nil, err
	}
	return DecodeTransaction(b)
}

func (t *Transaction) read(r *reader) {
	t.Version = int32(r.uint32("transaction version"))

	n := r.count(minInputSize, "number of inputs")
	if r.err == nil && n == 0 {
		r.err = fail(ErrNoInputs, "a transaction has no inputs")
	}
	if r.err != nil {
		return
	}
	t.Inputs = make([]Input, n)
	for i := range t.Inputs {
		in := &t.Inputs[i]
		in.PrevOut = OutPoint{Hash: r.hash("previous output"), Index: r.uint32("previous output")}
		in.Script = r.bytes("input script")
		in.Sequence = r.uint32("sequence")
	}

	n = r.count(minOutputSize, "number of outputs")
	if r.err == nil && n == 0 {
		r.err = fail(ErrNoOutputs, "a transaction has no outputs")
	}
	if r.err != nil {
		return
	}
	t.Outputs = make([]Output, n)
	for i := range t.Outputs {
		out := &t.Outputs[i]
		out.Value = int64(r.uint64("value"))
		out.Script = r.bytes("output script")
		out.Message = r.bytes("output message")
	}
	t.LockTime = r.uint32("lock time")
	if r.err == nil {
		_, r.err = t.TotalOut()
	}
}

// Size returns the length of the serialisation in bytes.
func (t *Transaction) Size() int {
	n := 4 + compactSizeLen(len(t.Inputs)) + compactSizeLen(len(t.Outputs)) + 4
	for i := range t.Inputs {
		script := len(t.Inputs[i].Script)
		n += 36 + compactSizeLen(script) + script + 4
	}
	for i := range t.Outputs {
		script, message := len(t.Outputs[i].Script), len(t.Outputs[i].Message)
		n += 8 + compactSizeLen(script) + script + compactSizeLen(message) + message
	}
	return n
}

// Append appends the serialisation to dst.
func (t *Transaction) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.Version))
	dst = appendCompactSize(dst, len(t.Inputs))
	for i := range t.Inputs {
		in := &t.Inputs[i]
		dst = append(dst, in.PrevOut.Hash[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, in.PrevOut.Index)
		dst = appendBytes(dst, in.Script)
		dst = binary.LittleEndian.AppendUint32(dst, in.Sequence)
	}
	dst = appendCompactSize(dst, len(t.Outputs))
	for i := range t.Outputs {
		out := &t.Outputs[i]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(out.Value))
		dst = appendBytes(dst, out.Script)
		dst = appendBytes(dst, out.Message)
	}
	return binary.LittleEndian.AppendUint32(dst, t.LockTime)
}

// Encode returns the serialisation.
func (t *Transaction) Encode() []byte { return t.Append(make([]byte, 0, t.Size())) }

// TxID returns the transaction's id: the double SHA-256 of its serialisation.
func (t *Transaction) TxID() Hash { return DoubleSHA256(t.Encode()) }

// TotalOut returns the sum of the outputs in satoshis. Error: [ErrValue] where
// an output or the sum is negative or above [MaxMoney].
func (t *Transaction) TotalOut() (int64, error) {
	var total int64
	for i := range t.Outputs {
		v := t.Outputs[i].Value
		if v < 0 || v > MaxMoney || total+v > MaxMoney {
			return 0, fail(ErrValue, "output %d is out of range", i)
		}
		total += v
	}
	return total, nil
}

// PaidTo returns the sum, in satoshis, of the outputs with exactly this script.
func (t *Transaction) PaidTo(script []byte) int64 {
	var total int64
	for i := range t.Outputs {
		if bytes.Equal(t.Outputs[i].Script, script) {
			total += t.Outputs[i].Value
		}
	}
	return total
}

// IsCoinbase reports whether the transaction has one single input, which spends
// nothing: hash zero, index 0xffffffff.
func (t *Transaction) IsCoinbase() bool {
	return len(t.Inputs) == 1 && t.Inputs[0].PrevOut == OutPoint{Index: nullIndex}
}

// CoinbaseHeight returns the block height with which a coinbase's script must
// begin since version 2 of blocks (BIP 34). Errors: [ErrCoinbase],
// [ErrCoinbaseHeight].
func (t *Transaction) CoinbaseHeight() (int64, error) {
	if !t.IsCoinbase() {
		return 0, fail(ErrCoinbase, "the transaction is no coinbase")
	}
	script := t.Inputs[0].Script
	if len(script) == 0 {
		return 0, fail(ErrCoinbaseHeight, "the coinbase script is empty")
	}
	switch op := script[0]; {
	case op == 0:
		return 0, nil
	case op >= opOne && op <= opOne+15:
		return int64(op-opOne) + 1, nil
	case op > 5 || len(script) < 1+int(op):
		return 0, fail(ErrCoinbaseHeight, "the coinbase script does not begin with a height")
	}
	number := script[1 : 1+script[0]]
	var height int64
	for i, b := range number {
		height |= int64(b) << (8 * i)
	}
	if !bytes.HasPrefix(script, heightScript(height)) || number[len(number)-1]&0x80 != 0 {
		return 0, fail(ErrCoinbaseHeight, "the coinbase script writes its height in an unusual way")
	}
	return height, nil
}

// opOne is the opcode that pushes 1; the next fifteen push 2 to 16.
const opOne = 0x51

// heightScript writes a height as BIP 34 wants it: the shortest push.
func heightScript(height int64) []byte {
	switch {
	case height == 0:
		return []byte{0}
	case height <= 16:
		return []byte{opOne + byte(height) - 1}
	}
	script := make([]byte, 1, 10)
	for v := height; v > 0; v >>= 8 {
		script = append(script, byte(v))
	}
	if script[len(script)-1]&0x80 != 0 { // the top bit is the sign
		script = append(script, 0)
	}
	script[0] = byte(len(script) - 1)
	return script
}
