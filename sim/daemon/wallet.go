package daemon

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"purepool/pool/chain"
)

// wallet owns the coinbases of the pool's address and pays out of them. It keeps
// amounts, not coins: a payment needs money enough, and spends no outputs. All
// amounts are satoshis. Safe for concurrent use.
type wallet struct {
	opts    Options
	network chain.Network
	chain   *Chain
	journal *journal

	mu       sync.Mutex
	rng      *rand.Rand
	payments []*payment
}

// payment is a transaction that the wallet has sent. It does not change.
type payment struct {
	id        chain.Hash
	raw       []byte
	outputs   []payee
	fee       int64
	comment   string
	commentTo string
	unix      int64
	tip       int64 // height of the tip when it was sent; the next block holds it
}

// payee gets an amount.
type payee struct {
	address chain.Address
	amount  int64
}

func newWallet(opts Options, network chain.Network, c *Chain, events []event) (*wallet, error) {
	w := &wallet{
		opts: opts, network: network, chain: c, journal: c.journal,
		rng: rand.New(rand.NewPCG(opts.Seed+uint64(len(events)), 0x77616c6c6574)), //nolint:gosec // a simulation must be repeatable
	}
	return w, w.replay(events)
}

func (p *payment) total() (total int64) {
	for i := range p.outputs {
		total += p.outputs[i].amount
	}
	return total
}

// mature reports whether a coinbase may be spent.
func (w *wallet) mature(c coinbase) bool { return c.confirmations > w.opts.Maturity }

// balance returns what may be spent and what may be spent later.
func (w *wallet) balance() (spendable, immature int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.balanceNow()
}

// balanceNow needs the lock.
func (w *wallet) balanceNow() (spendable, immature int64) {
	spendable = w.opts.Funds
	for _, c := range w.chain.coinbases() {
		switch {
		case c.confirmations < 0:
		case w.mature(c):
			spendable += c.Value
		default:
			immature += c.Value
		}
	}
	for _, p := range w.payments {
		spendable -= p.total() + p.fee
	}
	return spendable, immature
}

// send makes one payment. subtract names the outputs that share the network fee,
// the first of them the remainder; without any it comes on top.
func (w *wallet) send(outputs []payee, subtract []int, comment, commentTo string) (*payment, *rpcError) {
	p := &payment{
		outputs: slices.Clone(outputs), fee: w.opts.TxFee, comment: comment, commentTo: commentTo,
		unix: w.opts.Now().Unix(), tip: w.chain.Tip().Height,
	}
	for n, i := range subtract {
		part := p.fee / int64(len(subtract))
		if n == 0 {
			part += p.fee % int64(len(subtract))
		}
		if p.outputs[i].amount -= part; p.outputs[i].amount <= 0 {
			return nil, &rpcError{codeWallet, "The transaction amount is too small to pay the fee"}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if spendable, _ := w.balanceNow(); p.total()+p.fee > spendable {
		return nil, &rpcError{codeFunds, "Insufficient funds"}
	}
	tx := chain.Transaction{Version: 1, Inputs: []chain.Input{{Sequence: 0xfffffffe}}}
	for i := range tx.Inputs[0].PrevOut.Hash {
		tx.Inputs[0].PrevOut.Hash[i] = byte(w.rng.Uint32())
	}
	for i := range p.outputs {
		tx.Outputs = append(tx.Outputs, chain.PayTo(p.outputs[i].address, p.outputs[i].amount, nil))
	}
	p.raw, p.id = tx.Encode(), tx.TxID()
	w.journal.write(p.event())
	w.payments = append(w.payments, p)
	return p, nil
}

// entry is one line of listtransactions, one detail of gettransaction.
type entry struct {
	id            chain.Hash
	category      string // generate, immature, orphan or send
	address       string
	amount        int64 // negative for send
	fee           int64 // negative, for send alone
	vout          int
	confirmations int64
	block         *Block // nil where no block holds it
	unix          int64
	raw           []byte
	comment, to   string
}

// entries returns all transactions, the oldest first.
func (w *wallet) entries() []entry {
	var list []entry
	for _, c := range w.chain.coinbases() {
		category := "immature"
		switch {
		case c.confirmations < 0:
			category = "orphan"
		case w.mature(c):
			category = "generate"
		}
		list = append(list, entry{
			id: c.TxIDs[0], category: category, address: c.Recipient, amount: c.Value,
			confirmations: max(c.confirmations, 0), block: c.Block, unix: int64(c.Header.Time),
		})
	}
	w.mu.Lock()
	payments := slices.Clone(w.payments)
	w.mu.Unlock()
	tip := w.chain.Tip().Height
	for _, p := range payments {
		for i := range p.outputs {
			list = append(list, entry{
				id: p.id, category: "send", address: p.outputs[i].address.String(), amount: -p.outputs[i].amount, fee: -p.fee,
				vout: i, confirmations: max(tip-p.tip, 0), block: w.chain.At(p.tip + 1), unix: p.unix, raw: p.raw,
				comment: p.comment, to: p.commentTo,
			})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return int(a.unix - b.unix) })
	return list
}

// appendAmount writes satoshis as coins, as the daemon does: eight decimals.
func appendAmount(dst []byte, satoshis int64) []byte {
	if satoshis < 0 {
		dst = append(dst, '-')
		satoshis = -satoshis
	}
	return fmt.Appendf(dst, "%d.%08d", satoshis/chain.Coin, satoshis%chain.Coin)
}

// parseAmount reads coins with at most eight decimals into satoshis.
func parseAmount(v value) (int64, *rpcError) {
	if v.kind != kindNumber && v.kind != kindString {
		return 0, &rpcError{codeType, "Amount is not a number or string"}
	}
	text := v.string()
	whole, decimals, _ := strings.Cut(text, ".")
	if len(decimals) > 8 || len(whole) == 0 || len(whole) > 11 {
		return 0, &rpcError{codeType, "Invalid amount"}
	}
	n, err := strconv.ParseInt(whole+decimals+strings.Repeat("0", 8-len(decimals)), 10, 64)
	switch {
	case err != nil || whole[0] == '+':
		return 0, &rpcError{codeType, "Invalid amount"}
	case n < 0 || n > chain.MaxMoney:
		return 0, &rpcError{codeType, "Amount out of range"}
	case n == 0:
		return 0, &rpcError{codeType, "Invalid amount for send"}
	}
	return n, nil
}

func (e *entry) append(dst []byte) []byte {
	dst = appendText(dst, `{"account":"","address":`, e.address)
	dst = appendText(dst, `,"category":`, e.category)
	dst = appendAmount(append(dst, `,"amount":`...), e.amount)
	dst = appendInt(dst, `,"vout":`, int64(e.vout))
	if e.category == "send" {
		dst = appendAmount(append(dst, `,"fee":`...), e.fee)
	}
	return append(e.appendCommon(dst), '}')
}

// appendCommon is what listtransactions and gettransaction both tell.
func (e *entry) appendCommon(dst []byte) []byte {
	dst = appendInt(dst, `,"confirmations":`, e.confirmations)
	if e.category != "send" {
		dst = append(dst, `,"generated":true`...)
	}
	if e.block != nil && e.confirmations > 0 {
		dst = appendText(dst, `,"blockhash":`, e.block.Hash.String())
		dst = appendInt(dst, `,"blockindex":0,"blocktime":`, int64(e.block.Header.Time))
	}
	dst = appendText(dst, `,"txid":`, e.id.String())
	dst = appendInt(dst, `,"walletconflicts":[],"time":`, e.unix)
	dst = appendInt(dst, `,"timereceived":`, e.unix)
	if e.comment != "" {
		dst = appendText(dst, `,"comment":`, e.comment)
	}
	if e.to != "" {
		dst = appendText(dst, `,"to":`, e.to)
	}
	return dst
}

// transaction is the answer of gettransaction; false where the wallet has none of
// this id.
func (w *wallet) transaction(dst []byte, id string) ([]byte, bool) {
	var found []entry
	for _, e := range w.entries() {
		if e.id.String() == id {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return dst, false
	}
	var total int64
	for i := range found {
		total += found[i].amount
	}
	first := &found[0]
	if first.category == "orphan" {
		total = 0
	}
	dst = appendAmount(append(dst, `{"amount":`...), total)
	if first.category == "send" {
		dst = appendAmount(append(dst, `,"fee":`...), first.fee)
	}
	dst = append(first.appendCommon(dst), `,"details":[`...)
	for i := range found {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, `{"account":"","address":`, found[i].address)
		dst = appendText(dst, `,"category":`, found[i].category)
		dst = appendAmount(append(dst, `,"amount":`...), found[i].amount)
		dst = append(appendInt(dst, `,"vout":`, int64(found[i].vout)), '}')
	}
	return appendText(dst, `],"hex":`, hex.EncodeToString(first.raw)), true
}
