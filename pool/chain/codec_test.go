package chain_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"purepool/pool/chain"
)

func realBlock(tb testing.TB) []byte {
	tb.Helper()
	b, err := hex.DecodeString(loadRealSolution(tb).Fields.BlockHex)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Of a block nothing may be missing and nothing may follow.
func TestABlockThatIsCutAnywhereIsRefused(t *testing.T) {
	whole := realBlock(t)
	for n := range whole {
		if _, err := chain.DecodeBlock(whole[:n]); !errors.Is(err, chain.ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := chain.DecodeBlock(append(whole, 0)); !errors.Is(err, chain.ErrTrailing) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestATransactionThatIsCutAnywhereIsRefused(t *testing.T) {
	whole, err := hex.DecodeString(loadRealSolution(t).Fields.TransactionHex)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := chain.DecodeTransaction(whole[:n]); !errors.Is(err, chain.ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := chain.DecodeTransaction(append(whole, 0)); !errors.Is(err, chain.ErrTrailing) {
		t.Errorf("one byte more: %v", err)
	}
}

// hostile returns a block of one transaction whose parts are given in hex.
func hostile(parts string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(parts, " ", ""))
	if err != nil {
		panic(err)
	}
	return append(make([]byte, chain.HeaderSize), b...)
}

const (
	prevOut = "0000000000000000000000000000000000000000000000000000000000000000 ffffffff"
	input   = prevOut + " 02 0102 ffffffff"
	output  = "0100000000000000 00 00"
)

func TestMalformedBlocksAreRefusedByKind(t *testing.T) {
	good := "01 01000000 01 " + input + " 01 " + output + " 00000000"
	if _, err := chain.DecodeBlock(hostile(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		parts string
		kind  chain.ErrorKind
	}{
		"no transactions":              {"00", chain.ErrNoTransactions},
		"no inputs":                    {"01 01000000 00 01 " + output + strings.Repeat("00", 60), chain.ErrNoInputs},
		"no outputs":                   {"01 01000000 01 " + input + " 00 00000000" + strings.Repeat("00", 20), chain.ErrNoOutputs},
		"2^60 transactions":            {"ff 0000000000000010", chain.ErrTruncated},
		"2^64-1 transactions":          {"ff ffffffffffffffff", chain.ErrTruncated},
		"2^60 inputs":                  {"01 01000000 ff 0000000000000010" + strings.Repeat("00", 60), chain.ErrTruncated},
		"2^31 outputs":                 {"01 01000000 01 " + input + " fe 00000080 " + output + " 00000000", chain.ErrTruncated},
		"a script of 2^63":             {"01 01000000 01 " + prevOut + " ff 0000000000000080" + strings.Repeat("00", 20), chain.ErrTruncated},
		"a message of 4 GiB":           {"01 01000000 01 " + input + " 01 0100000000000000 00 fe ffffffff 00000000", chain.ErrTruncated},
		"a long way to write 1":        {"fd 0100 01000000 01 " + input + " 01 " + output + " 00000000", chain.ErrCompactSize},
		"a longer way":                 {"fe 01000000 01000000 01 " + input + " 01 " + output + " 00000000", chain.ErrCompactSize},
		"the longest way":              {"ff 0100000000000000 01000000 01 " + input + " 01 " + output + " 00000000", chain.ErrCompactSize},
		"a long length of a message":   {"01 01000000 01 " + input + " 01 0100000000000000 00 fd 0000 00000000", chain.ErrCompactSize},
		"a negative value":             {"01 01000000 01 " + input + " 01 ffffffffffffffff 00 00 00000000", chain.ErrValue},
		"two values that are too much": {"01 01000000 01 " + input + " 02 0000000000002010 00 00 0000000000002010 00 00 00000000", chain.ErrValue},
	} {
		if b, err := chain.DecodeBlock(hostile(c.parts)); !errors.Is(err, c.kind) || b != nil {
			t.Errorf("%s: %v, want %s", name, err, string(c.kind))
		}
	}
}

func TestHexIsTakenInEitherCaseAndNothingElse(t *testing.T) {
	text := []byte(loadRealSolution(t).Fields.BlockHex)
	for _, good := range [][]byte{text, bytes.ToUpper(text)} {
		if _, err := chain.DecodeBlockHex(good); err != nil {
			t.Error(err)
		}
	}
	odd, space, prefix, null := text[1:], append(text[:len(text):len(text)], ' ', ' '), append([]byte("0x"), text...), bytes.Clone(text)
	null[7] = 0
	for _, bad := range [][]byte{odd, space, prefix, null} {
		if _, err := chain.DecodeBlockHex(bad); !errors.Is(err, chain.ErrHex) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if _, err := chain.DecodeTransactionHex([]byte("0g")); !errors.Is(err, chain.ErrHex) {
		t.Error(err)
	}
	for _, huge := range []error{
		second(chain.DecodeBlockHex(make([]byte, 2*chain.MaxBlockSize+2))), second(chain.DecodeTransactionHex(make([]byte, 2*chain.MaxBlockSize+2))),
		second(chain.DecodeBlock(make([]byte, chain.MaxBlockSize+1))), second(chain.DecodeTransaction(make([]byte, chain.MaxBlockSize+1))),
	} {
		if !errors.Is(huge, chain.ErrTooLarge) {
			t.Error(huge)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The input that makes a decoder allocate most: the smallest transactions there
// are, as many as fit.
func TestTheMostHostileBlockCostsAFewTimesItsSize(t *testing.T) {
	tx := hostile("01000000 01 " + prevOut + " 00 ffffffff 01 " + output + " 00000000")[chain.HeaderSize:]
	n := (chain.MaxBlockSize - chain.HeaderSize - 9) / len(tx)
	block := append(make([]byte, chain.HeaderSize), 0xfe)
	block = binary.LittleEndian.AppendUint32(block, uint32(n))
	block = append(block, bytes.Repeat(tx, n)...)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decoded, err := chain.DecodeBlock(block)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if factor := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(block)); factor > 5 {
		t.Errorf("%d transactions took %.1f times their size", len(decoded.Transactions), factor)
	}
}

// genTransaction draws any transaction that is well-formed.
func genTransaction(t *rapid.T) chain.Transaction {
	script := rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 20).Draw(t, "long") == 0 { // a length of three bytes
			return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.SampledFrom([]int{252, 253, 254, 65535, 65536}).Draw(t, "length"))
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
	})
	tx := chain.Transaction{Version: rapid.Int32().Draw(t, "version"), LockTime: rapid.Uint32().Draw(t, "lock time")}
	for range rapid.IntRange(1, 4).Draw(t, "inputs") {
		tx.Inputs = append(tx.Inputs, chain.Input{
			PrevOut: chain.OutPoint{
				Hash:  chain.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "previous")),
				Index: rapid.Uint32().Draw(t, "index"),
			},
			Script: script.Draw(t, "script"), Sequence: rapid.Uint32().Draw(t, "sequence"),
		})
	}
	for range rapid.IntRange(1, 4).Draw(t, "outputs") {
		tx.Outputs = append(tx.Outputs, chain.Output{
			Value:  rapid.Int64Range(0, chain.MaxMoney/4).Draw(t, "value"),
			Script: script.Draw(t, "script"), Message: script.Draw(t, "message"),
		})
	}
	return tx
}

func TestWhatIsEncodedDecodesToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		header := chain.Header{
			Version: rapid.Int32().Draw(t, "version"), Prev: chain.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "previous")),
			Time: rapid.Uint32().Draw(t, "time"), Bits: rapid.Uint32().Draw(t, "bits"), Nonce: rapid.Uint32().Draw(t, "nonce"),
		}
		block := chain.NewBlock(header, rapid.SliceOfN(rapid.Custom(genTransaction), 1, 5).Draw(t, "transactions")...)
		raw := block.Encode()
		if len(raw) != block.Size() {
			t.Fatalf("%d bytes, Size says %d", len(raw), block.Size())
		}
		back, err := chain.DecodeBlock(raw)
		if err != nil {
			t.Fatal(err)
		}
		if back.Header != block.Header || !bytes.Equal(back.Encode(), raw) {
			t.Fatal("the block changed")
		}
		for i := range back.Transactions {
			if back.Transactions[i].TxID() != block.Transactions[i].TxID() {
				t.Fatalf("transaction %d changed", i)
			}
		}
		if h, err := chain.DecodeHeader(raw[:chain.HeaderSize]); err != nil || h != block.Header {
			t.Fatalf("header %+v, %v", h, err)
		}
	})
}

// FuzzBlock: what decodes encodes to the same bytes, and nothing panics on it.
func FuzzBlock(f *testing.F) {
	whole := realBlock(f)
	f.Add(whole)
	f.Add(whole[:200])
	f.Add(hostile("01 01000000 01 " + input + " 01 " + output + " 00000000"))
	f.Add(hostile("ff 0000000000000010"))
	f.Add(hostile("fd 0100 01000000"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		block, err := chain.DecodeBlock(raw)
		if err != nil {
			var bad *chain.Error
			if !errors.As(err, &bad) || block != nil {
				t.Fatalf("%v, %v", block, err)
			}
			return
		}
		if !bytes.Equal(block.Encode(), raw) || block.Size() != len(raw) {
			t.Fatalf("%x encodes to %x", raw, block.Encode())
		}
		if err := block.Check(); err == nil {
			coinbase, _ := block.Coinbase()
			coinbase.CoinbaseHeight()
			coinbase.MinerGUID()
			coinbase.ClientVersion()
			chain.ScriptAddress(coinbase.Outputs[0].Script, chain.BiblePayMain())
		}
	})
}

// FuzzTransaction: the same in hex, which is how miners send it.
func FuzzTransaction(f *testing.F) {
	f.Add([]byte(loadRealSolution(f).Fields.TransactionHex))
	f.Add([]byte("0100000001"))
	f.Add([]byte("0G"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tx, err := chain.DecodeTransactionHex(text)
		if err != nil {
			var bad *chain.Error
			if !errors.As(err, &bad) || tx != nil {
				t.Fatalf("%v, %v", tx, err)
			}
			return
		}
		if got := hex.EncodeToString(tx.Encode()); !strings.EqualFold(got, string(text)) {
			t.Fatalf("%s encodes to %s", text, got)
		}
	})
}

func BenchmarkDecodeBlockHex(b *testing.B) {
	text := []byte(loadRealSolution(b).Fields.BlockHex)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := chain.DecodeBlockHex(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckBlock(b *testing.B) {
	block, err := chain.DecodeBlock(realBlock(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := block.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
