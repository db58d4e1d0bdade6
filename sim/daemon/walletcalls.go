package daemon

import (
	"slices"

	"purepool/pool/chain"
)

func (d *Daemon) walletCall(dst []byte, c *call) ([]byte, *rpcError) {
	switch c.method {
	case "getbalance":
		spendable, _ := d.wallet.balance()
		return appendAmount(dst, spendable), nil
	case "getwalletinfo":
		return d.getWalletInfo(dst), nil
	case "sendtoaddress":
		return d.sendToAddress(dst, c)
	case "sendmany":
		return d.sendMany(dst, c)
	case "listtransactions":
		return d.listTransactions(dst, c)
	}
	id, failed := c.text(0)
	if failed != nil {
		return dst, failed
	}
	dst, ok := d.wallet.transaction(dst, id)
	if !ok {
		return dst, &rpcError{codeAddressOrKey, "Invalid or non-wallet transaction id"}
	}
	return append(dst, '}'), nil
}

func (d *Daemon) getWalletInfo(dst []byte) []byte {
	spendable, immature := d.wallet.balance()
	dst = appendAmount(append(dst, `{"walletversion":61000,"balance":`...), spendable)
	dst = append(dst, `,"unconfirmed_balance":0.00000000,"immature_balance":`...)
	dst = appendAmount(dst, immature)
	dst = appendInt(dst, `,"txcount":`, int64(d.wallet.count()))
	dst = appendInt(dst, `,"keypoololdest":`, d.started.Unix())
	dst = appendAmount(append(dst, `,"keypoolsize":1000,"paytxfee":`...), d.opts.TxFee)
	return append(dst, '}')
}

// count returns the number of transactions.
func (w *wallet) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.chain.coinbases()) + len(w.payments)
}

// sendToAddress is sendtoaddress address amount comment comment_to
// subtractfeefromamount.
func (d *Daemon) sendToAddress(dst []byte, c *call) ([]byte, *rpcError) {
	text, failed := c.text(0)
	if failed != nil {
		return dst, failed
	}
	address, err := chain.DecodeAddress(text, d.network)
	if err != nil {
		return dst, &rpcError{codeAddressOrKey, "Invalid Biblepay address"}
	}
	amount, failed := parseAmount(c.param(1))
	if failed != nil {
		return dst, failed
	}
	var subtract []int
	if c.param(4).kind == kindTrue {
		subtract = []int{0}
	}
	p, failed := d.wallet.send([]payee{{address, amount}}, subtract, c.param(2).text(), c.param(3).text())
	if failed != nil {
		return dst, failed
	}
	return appendString(dst, p.id.String()), nil
}

// text is a string's content, empty for any other value.
func (v value) text() string {
	if v.kind != kindString {
		return ""
	}
	return v.string()
}

// sendMany is sendmany "" {address: amount} minconf addlocked comment
// [subtractfeefrom].
func (d *Daemon) sendMany(dst []byte, c *call) ([]byte, *rpcError) {
	if c.param(1).kind != kindObject {
		return dst, &rpcError{codeMisc, "JSON value is not an object as expected"}
	}
	var outputs []payee
	var addresses []string
	var failed *rpcError
	s := &scanner{data: c.param(1).raw}
	err := s.object(func(key value) error {
		amount, err := s.value()
		if err != nil || failed != nil {
			return err
		}
		text := key.string()
		address, decodeErr := chain.DecodeAddress(text, d.network)
		switch {
		case decodeErr != nil:
			failed = &rpcError{codeAddressOrKey, "Invalid Biblepay address: " + text}
		case slices.Contains(addresses, text):
			failed = &rpcError{codeParameter, "Invalid parameter, duplicated address: " + text}
		}
		p := payee{address: address}
		if failed == nil {
			p.amount, failed = parseAmount(amount)
		}
		addresses, outputs = append(addresses, text), append(outputs, p)
		return nil
	})
	if err != nil { // cannot be: it was read before
		return dst, &rpcError{codeParse, "Parse error"}
	}
	subtract, subtractFailed := subtractFrom(c.param(5), addresses)
	switch {
	case failed != nil:
		return dst, failed
	case subtractFailed != nil:
		return dst, subtractFailed
	case len(outputs) == 0:
		return dst, &rpcError{codeWallet, "Transaction amounts must not be negative"}
	}
	p, failed := d.wallet.send(outputs, subtract, c.param(4).text(), "")
	if failed != nil {
		return dst, failed
	}
	return appendString(dst, p.id.String()), nil
}

// subtractFrom finds the outputs that share the fee.
func subtractFrom(list value, addresses []string) (indices []int, failed *rpcError) {
	if list.kind != kindArray {
		return nil, nil
	}
	s := &scanner{data: list.raw}
	err := s.array(func() error {
		v, err := s.value()
		i := slices.Index(addresses, v.text())
		if i < 0 {
			failed = &rpcError{codeParameter, "Invalid parameter, unknown address: " + v.text()}
		}
		indices = append(indices, i)
		return err
	})
	if err != nil {
		return nil, &rpcError{codeParse, "Parse error"}
	}
	return indices, failed
}

// listTransactions is listtransactions account count from: the last count
// transactions before the last from, the oldest first.
func (d *Daemon) listTransactions(dst []byte, c *call) ([]byte, *rpcError) {
	count, from := int64(10), int64(0)
	var failed *rpcError
	for i, n := range []*int64{&count, &from} {
		if c.param(1+i).kind == kindNull {
			continue
		}
		if *n, failed = c.int(1 + i); failed != nil {
			return dst, failed
		}
	}
	switch {
	case count < 0:
		return dst, &rpcError{codeParameter, "Negative count"}
	case from < 0:
		return dst, &rpcError{codeParameter, "Negative from"}
	}
	list := d.wallet.entries()
	end := max(int64(len(list))-from, 0)
	dst = append(dst, '[')
	for i := max(end-count, 0); i < end; i++ {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = list[i].append(dst)
	}
	return append(dst, ']'), nil
}
