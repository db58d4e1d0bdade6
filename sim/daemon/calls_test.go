package daemon

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"purepool/pool/chain"
)

func recordedDaemon(t *testing.T, opts Options) (*Daemon, *client, *Recording) {
	t.Helper()
	opts.StandAtRecorded = true
	d, c := start(t, opts)
	return d, c, Recorded()
}

func TestRecordedSolutionGetsItsRealBibleHash(t *testing.T) {
	t.Parallel()
	_, c, r := recordedDaemon(t, Options{})
	f := r.Fields
	equal(t, "biblehash", c.raw("exec", "biblehash", f[0], f[1], f[2], f[3], f[13]),
		`{"Command":"biblehash","BibleHash":"0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11"}`)
}

func TestRecordingIsWhatWasVerifiedOnIt(t *testing.T) {
	t.Parallel()
	r := Recorded()
	block, err := chain.DecodeBlockHex([]byte(r.Fields[14]))
	if err != nil {
		t.Fatal(err)
	}
	h := block.Header
	equal(t, "fields", len(r.Fields), 16)
	equal(t, "previous hash", h.Prev, r.PrevHash)
	equal(t, "bits", h.Bits, r.Bits)
	equal(t, "proof", hex.EncodeToString(r.BibleHash[:]), r.Fields[4])
	equal(t, "coinbase value", block.Transactions[0].Outputs[0].Value, r.Satoshis)
	equal(t, "input", r.Input, HashInput{
		BlockHash: mustHash(r.Fields[0]), BlockTime: int64(h.Time),
		PrevBlockTime: looseInt([]byte(r.Fields[2])), PrevHeight: looseInt([]byte(r.Fields[3])), Nonce: h.Nonce,
	})
}

func TestRecordedBlockIsDecodedToItsCoinbase(t *testing.T) {
	t.Parallel()
	_, c, r := recordedDaemon(t, Options{})
	block, _ := chain.DecodeBlockHex([]byte(r.Fields[14]))
	equal(t, "hexblocktocoinbase", c.raw("exec", "hexblocktocoinbase", r.Fields[14], r.Fields[15]),
		`{"Command":"hexblocktocoinbase","txid":"6beedcc092da85d081647dbc0f6ff670f60eae6bdcc76dc050ad69bbd39a0433",`+
			`"biblehash":"0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11",`+
			`"subsidy":16235,"blockversion":"1.0.8.6","recipient":"yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9",`+
			`"cpid_sig_valid":true,"cpid_legal":true,"cpid_legality_narr":"",`+
			`"blockmessage":"`+string(block.Transactions[0].Outputs[0].Message)+`"}`)
}

func TestOutdatedDaemonHasNoCPIDKeys(t *testing.T) {
	t.Parallel()
	_, c, r := recordedDaemon(t, Options{CPID: CPIDOutdated})
	if got := c.raw("exec", "hexblocktocoinbase", r.Fields[14], r.Fields[15]); strings.Contains(got, "cpid_") {
		t.Errorf("answered %s", got)
	}
}

func TestCPIDsAreJudged(t *testing.T) {
	t.Parallel()
	message := func(sig string) []byte { return []byte("<VER>1</VER><cpidsig>" + sig + "</cpidsig>") }
	for name, test := range map[string]struct {
		mode         CPIDMode
		message      []byte
		valid, legal bool
		narr         string
	}{
		"no signature":    {CPIDCheck, []byte("<VER>1</VER>"), true, true, ""},
		"signed":          {CPIDCheck, message(SignCPID("00ff", "yhV")), true, true, ""},
		"other's address": {CPIDCheck, message(strings.Replace(SignCPID("00ff", "yhV"), "yhV", "yhW", 1)), false, false, "CPID_SIGNATURE_INVALID"},
		"empty":           {CPIDCheck, message(""), false, false, "CPID_SIGNATURE_INVALID"},
		"illegal":         {CPIDCheck, message(SignCPID(IllegalCPID, "yhV")), true, false, "CPID_SOLVED_RECENT_BLOCK"},
		"all invalid":     {CPIDInvalid, message(SignCPID("00ff", "yhV")), false, false, "CPID_SIGNATURE_INVALID"},
		"all illegal":     {CPIDIllegal, nil, true, false, "CPID_SOLVED_RECENT_BLOCK"},
	} {
		valid, legal, narr := judgeCPID(test.mode, test.message)
		if valid != test.valid || legal != test.legal || narr != test.narr {
			t.Errorf("%s: valid %v, legal %v, %q", name, valid, legal, narr)
		}
	}
}

func TestPinfoFollowsTheNonceRule(t *testing.T) {
	t.Parallel()
	now := &clock{at: time.Unix(1_600_000_000, 0)}
	base := now.at
	d, err := New(Options{BaseHeight: 31369, BaseTime: base, Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for elapsed, want := range map[int]int64{-5: 512, 0: 512, 1: 512, 2: 512, 3: 768, 29: 7424, 1800: 460800, 1801: 999999999} {
		now.at = base.Add(time.Duration(elapsed) * time.Second)
		got, failed := d.do(nil, &call{method: "exec", params: []value{{kind: kindString, raw: []byte("pinfo")}}}, d.faultSet())
		if failed != nil {
			t.Fatal(failed)
		}
		equal(t, "pinfo", string(got), fmt.Sprintf(`{"Command":"pinfo","height":31369,"pinfo":%d,"elapsed":%d}`, want, elapsed))
	}
}

func TestSubsidyTellsWhoMinedABlock(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{History: 3})
	b := d.Chain().At(2)
	equal(t, "subsidy", c.raw("exec", "subsidy", "2"), fmt.Sprintf(
		`{"Command":"subsidy","subsidy":5492,"recipient":"%s","blockversion":"1.1.3.8","blockversion2":1138,"minerguid":"%s"}`,
		b.Recipient, b.MinerGUID))
	for _, height := range []string{"4", "0", "-1", "x", ""} {
		equal(t, "subsidy "+height, c.raw("exec", "subsidy", height), `{"Command":"subsidy","error":"block not found"}`)
	}
}

func TestBibleHashIsLeftOutWhereAnArgumentIsOutOfRange(t *testing.T) {
	t.Parallel()
	_, c := start(t, Options{})
	good := []any{"biblehash", strings.Repeat("ab", 32), "1600000000", "1599999999", "7", "12"}
	with := func(i int, v string) []any {
		args := slices.Clone(good)
		args[i] = v
		return args
	}
	for _, args := range [][]any{with(1, ""), with(2, "0"), with(2, "soon"), with(3, "-1"), with(4, "-1")} {
		equal(t, fmt.Sprint(args), c.raw("exec", args...), `{"Command":"biblehash"}`)
	}
	want := BibleHash(HashInput{mustHash(strings.Repeat("ab", 32)), 1600000000, 1599999999, 7, 12})
	equal(t, "good", c.raw("exec", good...), `{"Command":"biblehash","BibleHash":"`+hex.EncodeToString(want[:])+`"}`)
	huge := BibleHash(HashInput{mustHash(strings.Repeat("ab", 32)), 1600000000, 1599999999, 7, 4294967291})
	equal(t, "negative nonce", c.raw("exec", with(5, "-5")...), `{"Command":"biblehash","BibleHash":"`+hex.EncodeToString(huge[:])+`"}`)
}

func TestErrorsHaveBitcoindsCodesAndStatuses(t *testing.T) {
	t.Parallel()
	_, c, r := recordedDaemon(t, Options{RequireCoinbase: true})
	f := r.Fields
	for _, test := range []struct {
		method string
		params []any
		status int
		code   int
		text   string
	}{
		{"exec", []any{"hexblocktocoinbase", "00", f[15]}, 500, -22, "Block decode failed"},
		{"exec", []any{"hexblocktocoinbase", f[14][:len(f[14])-2], f[15]}, 500, -22, "Block decode failed"},
		{"exec", []any{"hexblocktocoinbase", f[14], f[15][:len(f[15])-2]}, 500, -22, "TX decode failed"},
		{"exec", []any{"biblehash", f[0], 1518041523, f[2], f[3], f[13]}, 500, -1, "JSON value is not a string as expected"},
		{"exec", []any{"subsidy"}, 500, -1, "You must specify height."},
		{"exec", []any{""}, 500, -1, "Command argument invalid."},
		{"getblockhash", []any{999999999}, 500, -8, "Block height out of range"},
		{"getblockhash", []any{"1"}, 500, -1, "JSON value is not an integer as expected"},
		{"getblock", []any{strings.Repeat("0", 64)}, 500, -5, "Block not found"},
		{"nosuchcall", nil, 404, -32601, "Method not found"},
		{"simfault", []any{"hang"}, 404, -32601, "Method not found"},
		{"gettransaction", []any{"00"}, 500, -5, "Invalid or non-wallet transaction id"},
	} {
		status, answer := c.call(test.method, test.params...)
		equal(t, test.method+" status", status, test.status)
		equal(t, test.method, answer, fmt.Sprintf(
			"{\"result\":null,\"error\":{\"code\":%d,\"message\":%q},\"id\":\"t\"}\n", test.code, test.text))
	}
}

func TestRequestsThatAreNoCalls(t *testing.T) {
	t.Parallel()
	_, c := start(t, Options{})
	const null = `{"result":null,"error":{"code":%d,"message":"%s"},"id":%s}`
	for _, test := range []struct {
		body   string
		status int
		want   string
	}{
		{"", 500, fmt.Sprintf(null, -32700, "Parse error", "null")},
		{`{"method":"getblockcount"`, 500, fmt.Sprintf(null, -32700, "Parse error", "null")},
		{`7`, 500, fmt.Sprintf(null, -32700, "Top-level object parse error", "null")},
		{`{"id":7}`, 400, fmt.Sprintf(null, -32600, "Missing method", "7")},
		{`{"method":7,"id":{"a":[1]}}`, 400, fmt.Sprintf(null, -32600, "Method must be a string", `{"a":[1]}`)},
		{`{"method":"getblockcount","params":{},"id":1}`, 400, fmt.Sprintf(null, -32600, "Params must be an array", "1")},
		{`{"method":"getblockcount"}`, 200, `{"result":0,"error":null,"id":null}`},
		{`[]`, 200, `[]`},
		{
			`[{"method":"getblockcount","id":1},3,{"method":"nosuchcall","id":"x"}]`, 200,
			`[{"result":0,"error":null,"id":1},` + fmt.Sprintf(null, -32600, "Invalid Request object", "null") + "," +
				fmt.Sprintf(null, -32601, "Method not found", `"x"`) + "]",
		},
	} {
		status, answer, err := c.post(test.body)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, test.body+" status", status, test.status)
		equal(t, test.body, answer, test.want+"\n")
	}
}

func TestStrangersToTheDaemonAreTurnedAway(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{User: "u", Password: "p"})
	for _, with := range []func(*http.Request){
		func(*http.Request) {},
		func(r *http.Request) { r.SetBasicAuth("u", "q") },
		func(r *http.Request) { r.SetBasicAuth("u:", "p") },
	} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL(), strings.NewReader(`{"method":"getblockcount"}`))
		with(r)
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		equal(t, "status", resp.StatusCode, http.StatusUnauthorized)
		equal(t, "challenge", resp.Header.Get("WWW-Authenticate"), `Basic realm="jsonrpc"`)
	}
}

func TestBlocksAreToldAsBitcoindTellsThem(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{History: 2, BaseTime: time.Unix(1_600_000_000, 0), BaseHeight: 100, Network: "main", Seed: 3})
	one, tip := d.Chain().At(101), d.Chain().Tip()
	equal(t, "count", c.raw("getblockcount"), "102")
	equal(t, "best", c.raw("getbestblockhash"), `"`+tip.Hash.String()+`"`)
	equal(t, "hash", c.raw("getblockhash", 101), `"`+one.Hash.String()+`"`)
	equal(t, "block", c.raw("getblock", one.Hash.String()), fmt.Sprintf(
		`{"hash":"%s","confirmations":2,"size":%d,"height":101,"version":536870912,"merkleroot":"%s","tx":["%s"],`+
			`"time":1600000120,"mediantime":1600000120,"nonce":%d,"bits":"1f00ffff","difficulty":1.52587890625e-05,`+
			`"chainwork":"0000000000000000000000000000000000000000000000000000000000660066",`+
			`"previousblockhash":"%s","nextblockhash":"%s"}`,
		one.Hash, len(one.Raw), one.Header.MerkleRoot, one.TxIDs[0], one.Header.Nonce, d.Chain().At(100).Hash, tip.Hash))
	equal(t, "hex", c.raw("getblock", one.Hash.String(), false), `"`+hex.EncodeToString(one.Raw)+`"`)
	var info struct {
		Chain           string
		Blocks, Headers int64
		BestBlockHash   string
	}
	c.decode(&info, "getblockchaininfo")
	equal(t, "info", fmt.Sprint(info), fmt.Sprint("{main 102 102 ", tip.Hash, "}"))
	var network struct{ Connections int }
	c.decode(&network, "getnetworkinfo")
	equal(t, "connections", network.Connections, 8)
	equal(t, "address", c.raw("validateaddress", d.PoolAddress())[:16], `{"isvalid":true,`)
	equal(t, "no address", c.raw("validateaddress", "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"), `{"isvalid":false}`)
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := New(Options{
		Network: "prod", Funds: -1, TxFee: -1, Subsidy: -1, Maturity: -1, BaseHeight: -1, History: -1,
		BlockInterval: time.Microsecond, CPID: "odd", Bits: 1, BaseTime: time.Unix(-1, 0), Faults: []Fault{{Kind: "odd"}},
	})
	if err == nil {
		t.Fatal("taken")
	}
	for _, word := range []string{"network", "funds", "fee", "subsidy", "maturity", "base height", "history", "interval", "CPID", "bits", "base time", "fault"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in:\n%v", word, err)
		}
	}
	if _, err := New(Options{Network: "main", PoolAddress: "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"}); err == nil {
		t.Error("a test address is taken for main")
	}
}
