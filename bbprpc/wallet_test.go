package bbprpc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

// asked returns the parameters of the calls of a method that a peer has seen.
func asked(t *testing.T, p *peer, method string) (params []string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, body := range p.asked {
		var r struct {
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if r.Method == method {
			params = append(params, string(r.Params))
		}
	}
	return params
}

func TestSendManySpeaksToEachFamilyInItsOwnOrder(t *testing.T) {
	txid := strings.Repeat("ab", 32)
	batch := bbprpc.PaymentBatch{
		Outputs: []bbprpc.Output{{Address: "yB", Amount: 150_000_000}, {Address: "yA", Amount: 1}}, Comment: "tag <7>",
	}
	for _, test := range []struct {
		family   bbprpc.WalletFamily
		subtract bool
		want     string
	}{
		{bbprpc.FamilyDash, false, `["",{"yB":1.50000000,"yA":0.00000001},1,false,"tag <7>"]`},
		{bbprpc.FamilyDash, true, `["",{"yB":1.50000000,"yA":0.00000001},1,false,"tag <7>",["yB","yA"]]`},
		{bbprpc.FamilyBitcoin, false, `["",{"yB":1.50000000,"yA":0.00000001},1,"tag <7>"]`},
		{bbprpc.FamilyBitcoin, true, `["",{"yB":1.50000000,"yA":0.00000001},1,"tag <7>",["yB","yA"]]`},
	} {
		p := resulting(t, `"`+txid+`"`)
		batch.Family, batch.SubtractFee = test.family, test.subtract
		got, err := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}}).SendMany(t.Context(), batch)
		if err != nil || got.String() != txid {
			t.Errorf("%s, %v", got, err)
		}
		if params := asked(t, p, "sendmany"); len(params) != 1 || params[0] != test.want {
			t.Errorf("%s: asked %s, want %s", test.family, params, test.want)
		}
	}
}

func TestABatchThatMakesNoSenseIsNotSent(t *testing.T) {
	p := resulting(t, `"x"`)
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}})
	one := bbprpc.Output{Address: "yA", Amount: 1}
	for _, batch := range []bbprpc.PaymentBatch{
		{Family: "other", Outputs: []bbprpc.Output{one}},
		{Family: bbprpc.FamilyDash, Outputs: []bbprpc.Output{one, one}},
		{Family: bbprpc.FamilyDash, Outputs: []bbprpc.Output{{Address: "yA"}}},
		{Family: bbprpc.FamilyDash, Outputs: []bbprpc.Output{{Address: "yA", Amount: -1}}},
	} {
		if _, err := c.SendMany(t.Context(), batch); !errors.Is(err, bbprpc.ErrConfig) || !bbprpc.Harmless(err) {
			t.Errorf("%+v: %v", batch, err)
		}
	}
	if params := asked(t, p, "sendmany"); len(params) != 0 {
		t.Errorf("asked %s", params)
	}
}

func TestOnlySomeErrorsMeanThatNothingWasPaid(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("?"), false},
		{&bbprpc.AwayError{Reason: bbprpc.AwayTimeout, Err: errors.New("?")}, false},
		{&bbprpc.AwayError{Reason: bbprpc.AwayConnect, NotExecuted: true, Err: errors.New("?")}, true},
		{fmt.Errorf("paying: %w", &bbprpc.DaemonError{Code: bbprpc.CodeInsufficient}), true},
		{&bbprpc.DaemonError{Code: bbprpc.CodeInvalidAddress}, true},
		{&bbprpc.DaemonError{Code: bbprpc.CodeUnlockNeeded}, true},
		{&bbprpc.DaemonError{Code: bbprpc.CodeMethodNotFound}, true},
		{&bbprpc.DaemonError{Code: bbprpc.CodeWallet}, false}, // "Transaction commit failed" comes after the transaction
		{&bbprpc.DaemonError{Code: bbprpc.CodeMisc}, false},
	} {
		if got := bbprpc.Harmless(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func TestTheWalletsBookIsReadWithoutFloats(t *testing.T) {
	id := strings.Repeat("cd", 32)
	entry := `{"txid":"` + id + `","address":"yA","category":"send","amount":-0.1,"confirmations":-3,"abandoned":true,"comment":"tag","time":1524312345}`
	p := resulting(t, "["+entry+"]")
	list, err := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}}).WalletEntries(t.Context(), 5, 7)
	want := bbprpc.WalletEntry{Address: "yA", Category: "send", Amount: -10_000_000, Confirmations: -3, Abandoned: true, Comment: "tag", Time: 1524312345}
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	want.TxID = list[0].TxID
	if list[0] != want || list[0].TxID.String() != id || asked(t, p, "listtransactions")[0] != `["*",5,7]` {
		t.Errorf("%+v", list[0])
	}
	p = resulting(t, `{"transactions":[`+entry+`],"removed":[],"lastblock":"x"}`)
	if list, err = newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}}).WalletSince(t.Context(), chain.Hash{}); err != nil || list[0] != want {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []string{`{}`, `null`, `[{}]`, `[{"amount":"x"}]`, `[{"amount":0.000000001,"txid":"` + id + `"}]`} {
		p := resulting(t, bad)
		_, err := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}}).WalletEntries(t.Context(), 5, 0)
		if asAway(t, err).Reason != bbprpc.AwayGarbled {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestACoinbaseIsReadOutputByOutput(t *testing.T) {
	hash, err := chain.ParseHash(strings.Repeat("01", 32))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("cd", 32)
	head := `{"hash":"` + hash.String() + `","height":7,"time":5,"confirmations":2,"bits":"207fffff","nonce":4294967295,"tx":[`
	var block bbprpc.FullBlock
	do := func(body string, outputs bool) error {
		p := resulting(t, body)
		return newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: p.URL}}}).Do(t.Context(), bbprpc.FullBlockCall(hash, outputs, &block))
	}
	err = do(head+`{"txid":"`+id+`","vout":[
		{"value":0.07,"txoutmessage":"<MINERGUID>x</MINERGUID>","scriptPubKey":{"addresses":["yA"]}},
		{"value":2000,"scriptPubKey":{"address":"yB"}},
		{"value":0,"scriptPubKey":{"type":"nulldata"}}]}]}`, true)
	if err != nil || block.Bits != 0x207fffff || block.Nonce != 1<<32-1 || block.Coinbase.String() != id || fmt.Sprint(block.Outputs) !=
		"[{yA 0.07000000 <MINERGUID>x</MINERGUID>} {yB 2000.00000000 } { 0.00000000 }]" {
		t.Errorf("%+v, %v", block, err)
	}
	if err := do(head+`"`+id+`"]}`, false); err != nil || block.Coinbase.String() != id || block.Outputs != nil {
		t.Errorf("%+v, %v", block, err)
	}
	for _, bad := range []string{head + `]}`, head + `"` + id + `"]}x`, `{}`, strings.Replace(head, "207fffff", "?", 1) + `"` + id + `"]}`, head + `7]}`} {
		if err := do(bad, false); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestALitecoindsWalletIsAskedAndPays(t *testing.T) {
	d := newLitecoind(t)
	address := d.mine(t, 102)
	c, ctx := d.client(t), t.Context()
	state, err := c.ChainState(ctx)
	if err != nil || state.Blocks != 102 || !state.Synced() {
		t.Errorf("%+v, %v", state, err)
	}
	coins, err := c.Coins(ctx, 1)
	if err != nil || coins.Count != 2 || coins.Total != 100*1e8 || coins.Largest != 50*1e8 || coins.Locked != 0 {
		t.Errorf("%+v, %v", coins, err)
	}
	txid, err := c.SendMany(ctx, bbprpc.PaymentBatch{
		Family: bbprpc.FamilyBitcoin, Outputs: []bbprpc.Output{{Address: address, Amount: 12_345}}, Comment: "tag 7", SubtractFee: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := c.WalletTransaction(ctx, txid)
	if err != nil || tx.Comment != "tag 7" || tx.Fee <= 0 || tx.Confirmations != 0 || tx.Abandoned || len(tx.Details) != 2 {
		t.Errorf("%+v, %v", tx, err)
	}
	if err := c.Rebroadcast(ctx, txid); err != nil {
		t.Errorf("again: %v", err)
	}
	list, err := c.WalletEntries(ctx, 2, 0)
	if err != nil || len(list) != 2 || list[0].TxID != txid || list[0].Comment != "tag 7" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := c.WalletTransaction(ctx, chain.Hash{1}); !bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) {
		t.Errorf("an unknown transaction: %v", err)
	}
	_, err = c.SendMany(ctx, bbprpc.PaymentBatch{Family: bbprpc.FamilyBitcoin, Outputs: []bbprpc.Output{{Address: "yA", Amount: 1}}})
	if !bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) || !bbprpc.Harmless(err) || !strings.Contains(err.Error(), "yA") {
		t.Errorf("a bad address: %v", err)
	}
	if err := c.UnlockWallet(ctx, "x", 5); !bbprpc.IsCode(err, -15) {
		t.Errorf("unlocking a wallet without passphrase: %v", err)
	}
	if err := c.Do(ctx, bbprpc.NewCall("encryptwallet", nil, "secret")); err != nil {
		t.Fatal(err)
	}
	pay := func() error {
		_, err := c.SendMany(ctx, bbprpc.PaymentBatch{Family: bbprpc.FamilyBitcoin, Outputs: []bbprpc.Output{{Address: address, Amount: 12_345}}})
		return err
	}
	if err := pay(); !bbprpc.IsCode(err, bbprpc.CodeUnlockNeeded) || !bbprpc.Harmless(err) {
		t.Errorf("a locked wallet: %v", err)
	}
	if err := c.UnlockWallet(ctx, "wrong", 5); !bbprpc.IsCode(err, bbprpc.CodeWrongPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if err := c.UnlockWallet(ctx, "secret", 5); err != nil {
		t.Error(err)
	}
	if err := pay(); err != nil {
		t.Error(err)
	}
	if err := c.LockWallet(ctx); err != nil {
		t.Error(err)
	}
	if err := pay(); !bbprpc.IsCode(err, bbprpc.CodeUnlockNeeded) {
		t.Errorf("locked again: %v", err)
	}
	var block bbprpc.FullBlock
	if err := c.Do(ctx, bbprpc.FullBlockCall(state.Best, true, &block)); err != nil || block.Height != 102 || block.Outputs[0].Address != address || block.Outputs[0].Amount != 50*1e8 {
		t.Errorf("%+v, %v", block, err)
	}
}
