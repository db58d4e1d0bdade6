package bbprpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

const (
	someHash  = "4adfaf0c3ad50afecad53ad1e57340e9735bca7d104b2b3565835a346e1c6c96"
	someProof = "0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11"
)

func hashOf(t *testing.T, text string) chain.Hash {
	t.Helper()
	h, err := chain.ParseHash(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func askBibleHash(t *testing.T, c *bbprpc.Client) ([32]byte, error) {
	t.Helper()
	return c.BibleHash(t.Context(), bbprpc.BibleHashQuery{
		BlockHash: hashOf(t, someHash), BlockTime: 1518041523, PrevBlockTime: 1518041437, PrevHeight: 19309, Nonce: 14217,
	})
}

func TestBibleHashSendsStringsAndReadsTheProof(t *testing.T) {
	daemon := resulting(t, `{"Command":"biblehash","BibleHash":"`+someProof+`"}`)
	proof, err := askBibleHash(t, clientOf(t, daemon.URL))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", proof); got != someProof {
		t.Errorf("proof = %s", got)
	}
	asked := daemon.lastAsked(t)
	want := []any{"biblehash", someHash, "1518041523", "1518041437", "19309", "14217"}
	if asked.Method != "exec" || !reflect.DeepEqual(asked.Params, want) {
		t.Errorf("asked %s %v", asked.Method, asked.Params)
	}
}

func TestNoBibleHashIsTheDaemonsWord(t *testing.T) {
	_, err := askBibleHash(t, clientOf(t, resulting(t, `{"Command":"biblehash"}`).URL))
	if !errors.Is(err, bbprpc.ErrNoBibleHash) || errors.Is(err, bbprpc.ErrAway) {
		t.Errorf("err = %v", err)
	}
}

func TestHexBlockToCoinbaseKeepsWhatIsMissing(t *testing.T) {
	const common = `{"Command":"hexblocktocoinbase","txid":"` + someHash + `","biblehash":"` + someProof +
		`","subsidy":5492,"blockversion":"1.0.8.9","recipient":"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"`
	ask := func(result string) bbprpc.CoinbaseInfo {
		t.Helper()
		info, err := clientOf(t, resulting(t, result).URL).HexBlockToCoinbase(t.Context(), "00", "01")
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	old := ask(common + `}`)
	if old.CPIDSigValid != nil || old.CPIDLegal != nil {
		t.Error("keys that are missing are not nil")
	}
	if old.TxID != hashOf(t, someHash) || old.Subsidy != 5492*chain.Coin || old.BlockVersion != "1.0.8.9" ||
		old.Recipient != "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH" || old.BibleHash == nil || fmt.Sprintf("%x", *old.BibleHash) != someProof {
		t.Errorf("info = %+v", old)
	}
	young := ask(common + `,"cpid_sig_valid":true,"cpid_legal":"false","cpid_legality_narr":"CPID is unknown","blockmessage":"<VER>1</VER>"}`)
	if young.CPIDSigValid == nil || !*young.CPIDSigValid || young.CPIDLegal == nil || *young.CPIDLegal ||
		young.CPIDLegalityNarr != "CPID is unknown" || young.BlockMessage != "<VER>1</VER>" {
		t.Errorf("info = %+v", young)
	}
}

func TestABlockThatTheDaemonCannotDecodeIsRefused(t *testing.T) {
	daemon := saying(t, 500, `{"result":null,"error":{"code":-22,"message":"Block decode failed"},"id":0}`)
	_, err := clientOf(t, daemon.URL).HexBlockToCoinbase(t.Context(), "zz", "")
	if !bbprpc.IsCode(err, bbprpc.CodeDeserialization) || errors.Is(err, bbprpc.ErrAway) {
		t.Errorf("err = %v", err)
	}
}

func TestTheOtherTypedCalls(t *testing.T) {
	ctx := context.Background()
	check := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %+v, %v; want %+v", name, got, err, want)
		}
	}
	pinfo, err := clientOf(t, resulting(t, `{"Command":"pinfo","height":31369,"pinfo":"7424","elapsed":29}`).URL).PInfo(ctx)
	check("pinfo", pinfo, bbprpc.PInfo{Height: 31369, MaxNonce: 7424, Elapsed: 29}, err)

	subsidy, err := clientOf(t, resulting(t, `{"subsidy":5492,"recipient":"B9","blockversion":"1.0.8.9","blockversion2":1089,"minerguid":""}`).URL).Subsidy(ctx, 7)
	check("subsidy", subsidy, bbprpc.Subsidy{Subsidy: 5492 * chain.Coin, Recipient: "B9", BlockVersion: "1.0.8.9"}, err)

	block, err := clientOf(t, resulting(t, `{"hash":"`+someHash+`","confirmations":-1,"height":7,"time":1518041523,"previousblockhash":"`+someProof+`","tx":["`+someProof+`"]}`).URL).
		Block(ctx, hashOf(t, someHash))
	check("block", block, bbprpc.Block{
		Hash: hashOf(t, someHash), Height: 7, Time: 1518041523, Prev: hashOf(t, someProof),
		Confirmations: -1, TxIDs: []chain.Hash{hashOf(t, someProof)},
	}, err)

	hash, err := clientOf(t, resulting(t, `"`+someHash+`"`).URL).BestBlockHash(ctx)
	check("getbestblockhash", hash, hashOf(t, someHash), err)
}

func TestSubsidyOfAnUnknownBlock(t *testing.T) {
	_, err := clientOf(t, resulting(t, `{"error":"block not found"}`).URL).Subsidy(t.Context(), 1)
	if !errors.Is(err, bbprpc.ErrBlockNotFound) || errors.Is(err, bbprpc.ErrAway) {
		t.Errorf("err = %v", err)
	}
	_, err = clientOf(t, resulting(t, `{"error":"no idea"}`).URL).Subsidy(t.Context(), 1)
	if !bbprpc.IsCode(err, 0) {
		t.Errorf("err = %v", err)
	}
}

func TestAPaymentIsSentToTheSatoshi(t *testing.T) {
	daemon := resulting(t, `"`+someHash+`"`)
	txid, err := clientOf(t, daemon.URL).SendToAddress(t.Context(), bbprpc.Payment{
		Address: "B9", Amount: 29_000_001, Comment: "a <b> & c", SubtractFee: true,
	})
	if err != nil || txid != hashOf(t, someHash) {
		t.Fatalf("%s, %v", txid, err)
	}
	want := `{"jsonrpc":"1.0","id":0,"method":"sendtoaddress","params":["B9",0.29000001,"a <b> & c","",true]}`
	if got := daemon.asked[0]; got != want {
		t.Errorf("sent %s", got)
	}
}

// A daemon that answers nonsense must not make anyone reject a share.
func TestAnAnswerOfTheWrongShapeIsAwayNotNo(t *testing.T) {
	for _, result := range []string{
		`null`, `7`, `"x"`, `[]`, `{"BibleHash":7}`, `{"BibleHash":""}`, `{"BibleHash":"` + someProof[1:] + `"}`,
		`{"BibleHash":"zz` + someProof[2:] + `"}`, `{"BibleHash":{}}`,
	} {
		if _, err := askBibleHash(t, clientOf(t, resulting(t, result).URL)); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("biblehash %s: %v", result, err)
		}
	}
	base := `{"txid":"` + someHash + `","recipient":"B9","subsidy":1`
	for _, result := range []string{
		`null`, `{}`, `{"txid":"` + someHash + `","subsidy":1}`, base + `,"cpid_sig_valid":"maybe"}`, base + `,"cpid_legal":1}`,
		base + `,"biblehash":"00"}`, `{"txid":"12","recipient":"B9","subsidy":1}`, `{"txid":"` + someHash + `","recipient":7,"subsidy":1}`,
		`{"txid":"` + someHash + `","recipient":"B9","subsidy":"many"}`,
	} {
		if _, err := clientOf(t, resulting(t, result).URL).HexBlockToCoinbase(t.Context(), "", ""); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("hexblocktocoinbase %s: %v", result, err)
		}
	}
	for _, result := range []string{`null`, `{"height":1}`, `{"height":1.5,"pinfo":2}`, `{"height":1e3,"pinfo":2}`, `{"height":1,"pinfo":"99999999999999999999"}`} {
		if _, err := clientOf(t, resulting(t, result).URL).PInfo(t.Context()); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("pinfo %s: %v", result, err)
		}
	}
	for _, result := range []string{`null`, `{"subsidy":1}`, `{"recipient":"B9"}`, `{"subsidy":true,"recipient":"B9"}`, `{"error":7}`} {
		if _, err := clientOf(t, resulting(t, result).URL).Subsidy(t.Context(), 1); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("subsidy %s: %v", result, err)
		}
	}
	for _, result := range []string{`null`, `-1x`, `"x"`, `1.5`, `{}`} {
		if _, err := clientOf(t, resulting(t, result).URL).BlockCount(t.Context()); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("getblockcount %s: %v", result, err)
		}
		if _, err := clientOf(t, resulting(t, result).URL).BestBlockHash(t.Context()); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("getbestblockhash %s: %v", result, err)
		}
	}
	for _, result := range []string{`null`, `{}`, `{"balance":0.123456789}`, `{"balance":"a"}`, `{"balance":1,"immature_balance":1e30}`} {
		if _, err := clientOf(t, resulting(t, result).URL).WalletInfo(t.Context()); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("getwalletinfo %s: %v", result, err)
		}
	}
	for _, result := range []string{
		`null`, `{}`, `{"hash":"` + someHash + `","height":7,"time":1}`,
		`{"hash":"` + someProof + `","confirmations":1,"height":7,"time":1}`, // of another block
		`{"hash":"` + someHash + `","confirmations":1,"height":7,"time":1,"tx":[7]}`,
	} {
		if _, err := clientOf(t, resulting(t, result).URL).Block(t.Context(), hashOf(t, someHash)); !errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("getblock %s: %v", result, err)
		}
	}
}

func TestARefusalIsFitForLogAndDatabase(t *testing.T) {
	long := bytes.Repeat([]byte("é"), 1000)
	daemon := saying(t, 500, `{"result":null,"error":{"code":-1,"message":"a\u0000b\nc`+string(long)+`"},"id":0}`)
	_, err := clientOf(t, daemon.URL).BlockCount(t.Context())
	var refusal *bbprpc.DaemonError
	if !errors.As(err, &refusal) || refusal.Code != -1 {
		t.Fatalf("err = %v", err)
	}
	if len(refusal.Message) > 510 || refusal.Message[:5] != "a b c" {
		t.Errorf("message = %q", refusal.Message)
	}
}
