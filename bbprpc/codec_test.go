package bbprpc

import (
	"errors"
	"testing"
	"time"
)

// FuzzAnswer feeds any bytes to the decoders of answers. Whatever a daemon or
// somebody in its place sends, each call has exactly one outcome.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `[null]`, `[[]]`, `{"result":7,"error":null,"id":0}`, `{"result":null,"error":{"code":-28,"message":"m"},"id":null}`,
		`[{"result":1,"error":null,"id":1},{"result":null,"error":{"code":-8,"message":"m"},"id":0}]`,
		`[{"result":1,"id":0},{"result":1,"id":0}]`, `[{"id":-1},{"id":99},{"id":"0"},{"id":1e0},{"id":00}]`,
		`{"result":{"BibleHash":"0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11"},"error":null,"id":0}`,
		`{"result":{"txid":"","recipient":"","subsidy":1,"cpid_sig_valid":"true","cpid_legal":null},"error":null,"id":0}`,
	} {
		f.Add([]byte(seed))
	}
	e := &endpoint{name: "http://daemon/"}
	f.Fuzz(func(t *testing.T, body []byte) {
		const n = 3
		outcomes := append(parseBatch(body, n), parseSingle(body))
		if len(outcomes) != n+1 {
			t.Fatalf("%d outcomes", len(outcomes))
		}
		for _, o := range outcomes {
			ways := 0
			for _, is := range []bool{o.garbled != nil, o.refusal != nil, o.result != nil} {
				if is {
					ways++
				}
			}
			if ways != 1 {
				t.Fatalf("outcome %+v", o)
			}
			var proof [32]byte
			var info CoinbaseInfo
			var pinfo PInfo
			var subsidy Subsidy
			var block Block
			for _, call := range []*Call{
				BibleHashCall(BibleHashQuery{}, &proof), HexBlockToCoinbaseCall("", "", &info), PInfoCall(&pinfo),
				SubsidyCall(1, &subsidy), BlockCall(block.Hash, &block),
			} {
				err := e.settle(call, o)
				var refusal *DaemonError
				no := errors.As(err, &refusal) || errors.Is(err, ErrNoBibleHash) || errors.Is(err, ErrBlockNotFound)
				if err != nil && no == errors.Is(err, ErrAway) {
					t.Fatalf("%v is neither no nor away, or both", err)
				}
			}
		}
	})
}

func TestPausesGrowToABoundAndOnlyOncePerTry(t *testing.T) {
	c, err := New(Config{Endpoints: []Endpoint{{URL: "http://127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	e := c.endpoints[0]
	now := time.Unix(1000, 0)
	away := e.awayError(AwayConnect, true, errors.New("x"))
	want := firstPause
	for range 8 {
		for range 3 { // calls that fail together
			e.failed(now, away)
		}
		if e.due(now.Add(want - 1)) {
			t.Fatalf("due before %s", want)
		}
		if now = now.Add(want); !e.due(now) {
			t.Fatalf("not due after %s", want)
		}
		want = min(2*want, maxPause)
	}
	e.heard(now)
	if e.failed(now, away); !e.due(now.Add(firstPause)) {
		t.Error("the pause is not short again after an answer")
	}
}

func TestOnlyQuestionsAreHarmless(t *testing.T) {
	for _, call := range []*Call{
		NewCall("getblockcount", nil), NewCall("listtransactions", nil), NewCall("submitblock", nil, "00"),
		BibleHashCall(BibleHashQuery{}, nil), HexBlockToCoinbaseCall("", "", nil), PInfoCall(nil), SubsidyCall(1, nil),
	} {
		if !call.harmless() {
			t.Errorf("%s counts as having an effect", call.label())
		}
	}
	for _, call := range []*Call{
		NewCall("sendtoaddress", nil), NewCall("sendmany", nil), NewCall("sendrawtransaction", nil), NewCall("getnewaddress", nil),
		NewCall("generatetoaddress", nil), NewCall("stop", nil), NewCall("exec", nil), NewCall("exec", nil, "sendall"), NewCall("exec", nil, 7),
		NewCall("", nil), NewCall("walletpassphrase", nil),
	} {
		if call.harmless() {
			t.Errorf("%s %v counts as harmless", call.method, call.params)
		}
	}
}
