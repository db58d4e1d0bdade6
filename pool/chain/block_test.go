package chain_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"purepool/pool/chain"
)

const someGUID = "eef5cbcb-f673-4203-a791-f773b177f1df"

func somePayment(value int64) chain.Output {
	address := chain.NewAddress(chain.PubKeyHash, [20]byte{7}, chain.BiblePayRegtest())
	return chain.PayTo(address, value, chain.ClassicMessage("1.1.3.8", someGUID))
}

// someTransaction spends something; n tells one from another.
func someTransaction(n uint32) chain.Transaction {
	return chain.Transaction{
		Version: 1,
		Inputs:  []chain.Input{{PrevOut: chain.OutPoint{Hash: chain.Hash{1}, Index: n}, Script: []byte{1}}},
		Outputs: []chain.Output{{Value: 1, Script: []byte{0x51}}},
	}
}

func someBlock(transactions int) *chain.Block {
	all := []chain.Transaction{chain.NewCoinbase(19310, []byte{3}, somePayment(5))}
	for n := range uint32(transactions - 1) {
		all = append(all, someTransaction(n))
	}
	return chain.NewBlock(chain.Header{Version: 0x20000000, Time: 1518041523}, all...)
}

func TestABlockThatIsBuiltIsSound(t *testing.T) {
	for n := 1; n < 20; n++ {
		block, err := chain.DecodeBlock(someBlock(n).Encode())
		if err != nil {
			t.Fatal(err)
		}
		if err := block.Check(); err != nil {
			t.Errorf("%d transactions: %v", n, err)
		}
		coinbase, err := block.Coinbase()
		if err != nil || coinbase.MinerGUID() != someGUID || coinbase.ClientVersion() != "1.1.3.8" {
			t.Errorf("coinbase %+v, %v", coinbase, err)
		}
	}
}

func TestAHeaderOfOtherTransactionsIsRefused(t *testing.T) {
	block := someBlock(3)
	block.Transactions[2].LockTime++
	if err := block.Check(); !errors.Is(err, chain.ErrMerkleRoot) {
		t.Errorf("err = %v", err)
	}
}

// CVE-2012-2459: repeating the end of the list keeps the merkle root.
func TestTransactionsThatStandThereTwiceAreRefused(t *testing.T) {
	for n := 2; n < 40; n++ {
		sound := someBlock(n)
		for repeat := 1; repeat <= n; repeat *= 2 {
			forged := &chain.Block{
				Header:       sound.Header,
				Transactions: append(append([]chain.Transaction(nil), sound.Transactions...), sound.Transactions[n-repeat:]...),
			}
			root, mutated := forged.MerkleRoot()
			if root != sound.Header.MerkleRoot {
				continue // not a forgery for this length
			}
			if !mutated {
				t.Errorf("%d transactions, %d repeated: not noticed", n, repeat)
			}
			if err := forged.Check(); err == nil {
				t.Errorf("%d transactions, %d repeated: sound", n, repeat)
			}
		}
		if _, mutated := sound.MerkleRoot(); mutated {
			t.Errorf("%d transactions: a sound block counts as mutated", n)
		}
	}
	forged := someBlock(3)
	forged.Transactions = append(forged.Transactions, forged.Transactions[2])
	if err := forged.Check(); !errors.Is(err, chain.ErrMerkleMutated) {
		t.Errorf("err = %v", err)
	}
}

func TestMerkleRootAgreesWithItsDefinition(t *testing.T) {
	var define func(ids []chain.Hash) chain.Hash
	define = func(ids []chain.Hash) chain.Hash {
		if len(ids) == 1 {
			return ids[0]
		}
		if len(ids)%2 == 1 {
			ids = append(ids[:len(ids):len(ids)], ids[len(ids)-1])
		}
		var next []chain.Hash
		for i := 0; i < len(ids); i += 2 {
			next = append(next, chain.DoubleSHA256(append(ids[i][:], ids[i+1][:]...)))
		}
		return define(next)
	}
	rapid.Check(t, func(t *rapid.T) {
		ids := make([]chain.Hash, rapid.IntRange(1, 70).Draw(t, "n"))
		for i := range ids {
			ids[i] = chain.DoubleSHA256([]byte{byte(i)})
		}
		kept := append([]chain.Hash(nil), ids...)
		if root, mutated := chain.MerkleRoot(ids); root != define(kept) || mutated {
			t.Fatalf("%s, %t", root, mutated)
		}
		for i := range ids {
			if ids[i] != kept[i] {
				t.Fatal("the ids were overwritten")
			}
		}
	})
	if root, mutated := chain.MerkleRoot(nil); root != (chain.Hash{}) || mutated {
		t.Error("the root of nothing is something")
	}
}

func TestABlockHasOneCoinbaseAtItsBeginning(t *testing.T) {
	for name, edit := range map[string]func(*chain.Block){
		"none":           func(b *chain.Block) { b.Transactions = b.Transactions[1:] },
		"at the end":     func(b *chain.Block) { b.Transactions[0], b.Transactions[1] = b.Transactions[1], b.Transactions[0] },
		"two":            func(b *chain.Block) { b.Transactions[1] = chain.NewCoinbase(7, []byte{8}, somePayment(1)) },
		"two inputs":     func(b *chain.Block) { c := &b.Transactions[0]; c.Inputs = append(c.Inputs, c.Inputs[0]) },
		"another index":  func(b *chain.Block) { b.Transactions[0].Inputs[0].PrevOut.Index-- },
		"another hash":   func(b *chain.Block) { b.Transactions[0].Inputs[0].PrevOut.Hash[9] = 1 },
		"a short script": func(b *chain.Block) { b.Transactions[0].Inputs[0].Script = []byte{1} },
		"a long script":  func(b *chain.Block) { b.Transactions[0].Inputs[0].Script = make([]byte, 101) },
	} {
		block := someBlock(2)
		edit(block)
		block = chain.NewBlock(block.Header, block.Transactions...)
		if err := block.Check(); !errors.Is(err, chain.ErrCoinbase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(chain.Block).Check(); !errors.Is(err, chain.ErrNoTransactions) {
		t.Error(err)
	}
}

func TestCoinbaseHeightIsReadAsItIsWritten(t *testing.T) {
	for _, height := range []int64{0, 1, 16, 17, 127, 128, 255, 256, 19310, 32767, 32768, 8388607, 8388608, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		coinbase := chain.NewCoinbase(height, []byte{1, 3}, somePayment(1))
		if got, err := coinbase.CoinbaseHeight(); err != nil || got != height {
			t.Errorf("%d: %d, %v (script %x)", height, got, err, coinbase.Inputs[0].Script)
		}
	}
	for _, script := range [][]byte{{}, {2, 1}, {0x4c, 1, 5}, {1, 5}, {2, 5, 0}, {1, 0x85}, {3, 0xff, 0, 0}, {0xff}, {6, 1, 2, 3, 4, 5, 6}} {
		coinbase := chain.NewCoinbase(1, nil, somePayment(1))
		coinbase.Inputs[0].Script = script
		if got, err := coinbase.CoinbaseHeight(); !errors.Is(err, chain.ErrCoinbaseHeight) {
			t.Errorf("script %x: %d, %v", script, got, err)
		}
	}
	spend := someTransaction(1)
	if _, err := spend.CoinbaseHeight(); !errors.Is(err, chain.ErrCoinbase) {
		t.Error(err)
	}
}

// A coinbase can pay the pool a little first and the miner the rest, which the
// daemon does not notice.
func TestWhatACoinbasePaysElsewhereShows(t *testing.T) {
	other := chain.NewAddress(chain.PubKeyHash, [20]byte{8}, chain.BiblePayRegtest())
	coinbase := chain.NewCoinbase(1, nil, somePayment(1), chain.PayTo(other, 999, nil), somePayment(10))
	total, err := coinbase.TotalOut()
	if paid := coinbase.PaidTo(somePayment(0).Script); paid != 11 || total != 1010 || err != nil {
		t.Errorf("%d of %d, %v", paid, total, err)
	}
}

func TestTagsAreFoundAsTheClientFindsThem(t *testing.T) {
	for message, want := range map[string]string{
		"<A>x</A>":               "x",
		"..<A></A>":              "",
		"<A>x</A><A>y</A>":       "x",
		"</A><A>x</A>":           "x",
		"<A><A>x</A></A>":        "<A>x",
		"<A>\x00\xff</A>":        "\x00\xff",
		"<A>x</B></A>":           "x</B>",
		"<AA>x</AA><A>y</A>":     "y",
		"<a>x</a>":               "-",
		"<A>x":                   "-",
		"x</A>":                  "-",
		"":                       "-",
		"< A>x</A>":              "-",
		strings.Repeat("<A>", 9): "-",
	} {
		got := chain.Tag([]byte(message), "A")
		if want == "-" && got != nil || want != "-" && (got == nil || string(got) != want) {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

func TestMinerGUIDAndVersionAreFitForTheDatabase(t *testing.T) {
	coinbase := func(message string) *chain.Transaction {
		out := somePayment(1)
		out.Message = []byte(message)
		tx := chain.NewCoinbase(1, nil, out, somePayment(1)) // the second output has a good one
		return &tx
	}
	for text, want := range map[string]string{
		someGUID:                                 someGUID,
		strings.ToUpper(someGUID):                someGUID,
		"{" + someGUID + "}":                     "",
		"urn:uuid:" + someGUID:                   "",
		strings.ReplaceAll(someGUID, "-", ""):    "",
		someGUID[:35]:                            "",
		someGUID[:35] + "g":                      "",
		someGUID[:35] + "\x00":                   "",
		strings.Repeat("-", 36):                  "",
		strings.Repeat("0", 36):                  "",
		"00000000-0000-0000-0000-000000000000":   "00000000-0000-0000-0000-000000000000",
		"eef5cbc-bf673-4203-a791-f773b177f1df00": "",
	} {
		if got := coinbase("<MINERGUID>" + text + "</MINERGUID>").MinerGUID(); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	for text, want := range map[string]string{
		"1.1.3.8": "1.1.3.8", "": "", "a\x00": "", "é": "", "\xff": "", strings.Repeat("1", 33): "", strings.Repeat("1", 32): strings.Repeat("1", 32),
	} {
		if got := coinbase("<VER>" + text + "</VER>").ClientVersion(); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if coinbase("").MinerGUID() != "" || new(chain.Transaction).MinerGUID() != "" {
		t.Error("a MINERGUID from nowhere")
	}
}

func TestHashesAreWrittenInReverse(t *testing.T) {
	const text = "4adfaf0c3ad50afecad53ad1e57340e9735bca7d104b2b3565835a346e1c6c96"
	h, err := chain.ParseHash(strings.ToUpper(text))
	if err != nil || h.String() != text || h[0] != 0x96 || h.Display()[0] != 0x4a || chain.HashFromDisplay(h.Display()) != h {
		t.Errorf("%s, %v", h, err)
	}
	for _, bad := range []string{"", text[1:], text + "0"} {
		if _, err := chain.ParseHash(bad); !errors.Is(err, chain.ErrHashLength) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := chain.ParseHash("g" + text[1:]); !errors.Is(err, chain.ErrHex) {
		t.Error(err)
	}
}

// A simulated miner builds a block, hashes its header and sends it in hex.
func ExampleNewBlock() {
	pool, err := chain.DecodeAddress("yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", chain.BiblePayTest())
	if err != nil {
		panic(err)
	}
	reward := chain.PayTo(pool, 5492*chain.Coin, chain.ClassicMessage("1.1.3.8", someGUID))
	block := chain.NewBlock(
		chain.Header{Version: 0x20000000, Time: 1518041523, Bits: 0x1d08aaa5},
		chain.NewCoinbase(19310, []byte{3}, reward),
	)
	for block.Header.Nonce = range uint32(2) {
		header := block.Header.Bytes()
		fmt.Println(len(header), bytes.Equal(header[:], block.Encode()[:chain.HeaderSize]))
	}
	// Output:
	// 80 true
	// 80 true
}
