package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"purepool/pool/chain"
)

func addresses(n int) (list []string) {
	for i := range n {
		list = append(list, poolAddress(uint64(1000+i), chain.BiblePayRegtest()))
	}
	return list
}

func TestCoinbasesMatureAfterAHundredBlocks(t *testing.T) {
	t.Parallel()
	d, rpc := start(t, Options{Bits: easyBits})
	if _, err := d.Chain().Submit(mine(t, d.Chain(), d.PoolAddress(), func(*chain.Header, *chain.Transaction) {})); err != nil {
		t.Fatal(err)
	}
	for range 99 {
		d.MineStranger()
	}
	var info struct {
		Balance  json.Number
		Immature json.Number `json:"immature_balance"`
		TxCount  int
	}
	rpc.decode(&info, "getwalletinfo")
	equal(t, "at 100 confirmations", fmt.Sprint(info), "{0.00000000 5492.00000000 1}")
	d.MineStranger()
	rpc.decode(&info, "getwalletinfo")
	equal(t, "at 101 confirmations", fmt.Sprint(info), "{5492.00000000 0.00000000 1}")
	equal(t, "balance", rpc.raw("getbalance"), "5492.00000000")
}

func TestPaymentIsFoundAgainByItsComment(t *testing.T) {
	t.Parallel()
	d, rpc := start(t, Options{Funds: 10 * chain.Coin})
	to := addresses(2)
	var id string
	rpc.decode(&id, "sendmany", "", json.RawMessage(`{"`+to[0]+`":1.5,"`+to[1]+`":"0.00000001"}`), 1, false, "batch 7")
	equal(t, "balance", rpc.raw("getbalance"), "8.49989999")

	var list []struct {
		Address, Category, Comment, TxID string
		Amount, Fee                      json.Number
		Confirmations                    int64
		BlockHash                        string
	}
	rpc.decode(&list, "listtransactions", "*", 100, 0)
	equal(t, "before a block", fmt.Sprintf("%+v", list), fmt.Sprintf(
		"[{Address:%s Category:send Comment:batch 7 TxID:%s Amount:-1.50000000 Fee:-0.00010000 Confirmations:0 BlockHash:} "+
			"{Address:%s Category:send Comment:batch 7 TxID:%s Amount:-0.00000001 Fee:-0.00010000 Confirmations:0 BlockHash:}]",
		to[0], id, to[1], id))

	block := d.MineStranger()
	d.MineStranger()
	var tx struct {
		Amount        json.Number
		Confirmations int64
		BlockHash     string
		Comment, Hex  string
		Details       []struct{ Address string }
	}
	rpc.decode(&tx, "gettransaction", id)
	equal(t, "comment", tx.Comment, "batch 7")
	equal(t, "confirmations", tx.Confirmations, 2)
	equal(t, "block", tx.BlockHash, block.Hash.String())
	equal(t, "amount", tx.Amount, "-1.50000001")
	equal(t, "details", len(tx.Details), 2)
	decoded, err := chain.DecodeTransactionHex([]byte(tx.Hex))
	if err != nil || decoded.TxID().String() != id {
		t.Errorf("hex is not the transaction: %v", err)
	}
}

func TestFeeIsTakenFromTheAmountWhereAsked(t *testing.T) {
	t.Parallel()
	_, rpc := start(t, Options{Funds: 3 * chain.Coin, TxFee: 101})
	to := addresses(2)
	rpc.raw("sendtoaddress", to[0], "1", "", "", true)
	equal(t, "balance", rpc.raw("getbalance"), "2.00000000")
	rpc.raw("sendmany", "", json.RawMessage(`{"`+to[0]+`":1,"`+to[1]+`":1}`), 1, false, "", to)
	equal(t, "balance", rpc.raw("getbalance"), "0.00000000")
	var list []struct{ Amount json.Number }
	rpc.decode(&list, "listtransactions", "*", 2)
	equal(t, "amounts", fmt.Sprint(list), "[{-0.99999949} {-0.99999950}]")
}

func TestPaymentsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	_, rpc := start(t, Options{Funds: chain.Coin})
	to := addresses(1)[0]
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, test := range []struct {
		method string
		params []any
		code   int
	}{
		{"sendtoaddress", []any{to, "1"}, -6}, // nothing is left for the fee
		{"sendtoaddress", []any{to, "0"}, -3},
		{"sendtoaddress", []any{to, "-0.5"}, -3},
		{"sendtoaddress", []any{to, "0.000000001"}, -3},
		{"sendtoaddress", []any{to, "1e-3"}, -3},
		{"sendtoaddress", []any{to, true}, -3},
		{"sendtoaddress", []any{to, "99999999999"}, -3},
		{"sendtoaddress", []any{to, "0.0001", "", "", true}, -4},
		{"sendtoaddress", []any{to[:33], "0.5"}, -5},
		{"sendtoaddress", []any{7, "0.5"}, -1},
		{"sendmany", []any{"", raw(`{"` + to + `":0.1,"` + to + `":0.1}`)}, -8},
		{"sendmany", []any{"", raw(`{"` + to + `":0.1}`), 1, false, "", []string{"other"}}, -8},
		{"sendmany", []any{"", raw(`{"x":0.1}`)}, -5},
		{"sendmany", []any{"", raw(`{}`)}, -4},
		{"sendmany", []any{"", raw(`[]`)}, -1},
		{"listtransactions", []any{"*", -1}, -8},
		{"listtransactions", []any{"*", 1, -1}, -8},
	} {
		status, answer := rpc.call(test.method, test.params...)
		if status != 500 || !strings.Contains(answer, fmt.Sprintf(`"error":{"code":%d,`, test.code)) {
			t.Errorf("%s %v: %d %s", test.method, test.params, status, answer)
		}
	}
	equal(t, "balance", rpc.raw("getbalance"), "1.00000000")
	equal(t, "transactions", rpc.raw("listtransactions"), "[]")
}
