package chain_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"purepool/pool/chain"
)

// realSolution is a solution that was mined on the test net in February 2018.
type realSolution struct {
	Fields struct {
		BlockHash      string `json:"block_hash"`
		MinerID        string `json:"miner_id"`
		BlockHex       string `json:"block_hex"`
		TransactionHex string `json:"transaction_hex"`
	} `json:"fields"`
	Verified struct {
		MerkleRoot string   `json:"merkle_root"`
		TxIDs      []string `json:"txids"`
		Recipient  string   `json:"coinbase_recipient"`
		Satoshis   int64    `json:"coinbase_satoshis"`
		Prev       string   `json:"previous_block_hash"`
	} `json:"verified"`
}

func loadRealSolution(tb testing.TB) realSolution {
	tb.Helper()
	text, err := os.ReadFile("testdata/testnet-solution-2018.json")
	if err != nil {
		tb.Fatal(err)
	}
	var s realSolution
	if err := json.Unmarshal(text, &s); err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestRealBlockOf2018DecodesCompletely(t *testing.T) {
	real := loadRealSolution(t)
	block, err := chain.DecodeBlockHex([]byte(real.Fields.BlockHex))
	if err != nil {
		t.Fatal(err)
	}
	if err := block.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	if got := hex.EncodeToString(block.Encode()); got != real.Fields.BlockHex {
		t.Error("the block does not encode to the same bytes")
	}
	if block.Size() != len(real.Fields.BlockHex)/2 {
		t.Errorf("Size = %d", block.Size())
	}

	h := block.Header
	if h.Version != 0x20000000 || h.Time != 1518041523 || h.Bits != 0x1d08aaa5 || h.Nonce != 14217 {
		t.Errorf("header = %+v", h)
	}
	if h.Prev.String() != real.Verified.Prev || h.MerkleRoot.String() != real.Verified.MerkleRoot {
		t.Errorf("prev %s, merkle root %s", h.Prev, h.MerkleRoot)
	}
	raw := h.Bytes()
	if got := hex.EncodeToString(raw[:]); got != real.Fields.BlockHex[:160] {
		t.Errorf("header bytes = %s", got)
	}

	if len(block.Transactions) != len(real.Verified.TxIDs) {
		t.Fatalf("%d transactions", len(block.Transactions))
	}
	for i, want := range real.Verified.TxIDs {
		if got := block.Transactions[i].TxID().String(); got != want {
			t.Errorf("txid %d = %s, want %s", i, got, want)
		}
	}
}

func TestRealCoinbaseOf2018(t *testing.T) {
	real := loadRealSolution(t)
	block, err := chain.DecodeBlockHex([]byte(strings.ToUpper(real.Fields.BlockHex)))
	if err != nil {
		t.Fatal(err)
	}
	coinbase, err := block.Coinbase()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := hex.DecodeString(real.Fields.TransactionHex)
	if !bytes.Equal(coinbase.Encode(), want) {
		t.Error("transaction_hex is not the block's coinbase")
	}

	address, err := chain.ScriptAddress(coinbase.Outputs[0].Script, chain.BiblePayTest())
	if err != nil || address.String() != real.Verified.Recipient {
		t.Errorf("recipient = %s, %v", address, err)
	}
	if paid := coinbase.PaidTo(address.PayScript()); paid != real.Verified.Satoshis {
		t.Errorf("paid %d", paid)
	}
	if total, err := coinbase.TotalOut(); err != nil || total != real.Verified.Satoshis {
		t.Errorf("total %d, %v", total, err)
	}
	if height, err := coinbase.CoinbaseHeight(); err != nil || height != 19310 {
		t.Errorf("height = %d, %v", height, err)
	}
	if got := coinbase.MinerGUID(); got != real.Fields.MinerID {
		t.Errorf("MINERGUID = %q", got)
	}
	if got := coinbase.ClientVersion(); got != "1.0.8.6" {
		t.Errorf("VER = %q", got)
	}
	if got := chain.Tag(block.Transactions[1].Outputs[0].Message, "polweight"); string(got) != "14011.00" {
		t.Errorf("polweight = %q", got)
	}

	miner, err := chain.ScriptAddress(block.Transactions[1].Outputs[1].Script, chain.BiblePayTest())
	if err != nil || miner.Kind() != chain.PubKeyHash {
		t.Errorf("the pay-to-public-key output pays %s, %v", miner, err)
	}
}
