package bbprpc_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
)

// recorded is a template of a running BiblePay daemon and the block that it
// accepted for it.
type recorded struct {
	Template  json.RawMessage `json:"template"`
	ScriptSig string          `json:"coinbase_scriptsig"`
	Coinbase  string          `json:"coinbase_hex"`
	TxID      string          `json:"coinbase_txid"`
	Root      string          `json:"merkle_root_display"`
	Header    string          `json:"header_hex"`
	Nonce     uint32          `json:"nonce"`
	Hash      string          `json:"block_hash"`
	Block     string          `json:"block_hex"`
}

func loadRecorded(t testing.TB, name string) *recorded {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r := new(recorded)
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	return r
}

var recordedTemplates = []string{"template-masternode.json", "template-temple.json"}

// poolScripts are what the recorded blocks pay the pool to.
var poolScripts = map[string]string{
	"template-masternode.json": "76a914d608b725d4f55cbfc857ca544a80468fcb95025388ac",
	"template-temple.json":     "76a914273d7b33b9bec2386def00b812550c9950b8e4de88ac",
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordedTemplatesGiveTheRecordedCoinbaseMerkleRootHeaderAndBlock(t *testing.T) {
	for _, name := range recordedTemplates {
		r := loadRecorded(t, name)
		tmpl, err := bbprpc.ParseTemplate(r.Template, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The recorded script is the height, twelve bytes of extranonces, the tag.
		sig := unhex(t, r.ScriptSig)
		nonces := sig[4:16]
		tag := string(sig[17:])
		poolScript := unhex(t, poolScripts[name])
		first, second, err := tmpl.SplitCoinbase(chain.CoinbasePlan{
			PoolScript: poolScript, Reserved: len(nonces), Tag: tag, OutputMessages: chain.BiblePayRegtest().OutputMessages(),
		})
		if err != nil {
			t.Fatal(err)
		}
		coinbase := append(append(bytes.Clone(first), nonces...), second...)
		if got := hex.EncodeToString(coinbase); got != r.Coinbase {
			t.Errorf("%s: coinbase\n%s, want\n%s", name, got, r.Coinbase)
		}
		id := chain.DoubleSHA256(coinbase)
		if id.String() != r.TxID {
			t.Errorf("%s: coinbase id %s", name, id)
		}
		root, _ := chain.MerkleRoot(append([]chain.Hash{id}, tmpl.TransactionIDs()...))
		if root.String() != r.Root {
			t.Errorf("%s: merkle root %s", name, root)
		}
		h := chain.Header{
			Version: int32(tmpl.Version), Prev: tmpl.Prev, MerkleRoot: root, Time: tmpl.Time, Bits: tmpl.Bits, Nonce: r.Nonce,
		}
		header := h.Bytes()
		if got := hex.EncodeToString(header[:]); got != r.Header {
			t.Errorf("%s: header\n%s, want\n%s", name, got, r.Header)
		}
		if got := pow.NewPool(pow.X11()).Hash(header[:]); hex.EncodeToString(got[:]) != r.Hash {
			t.Errorf("%s: hash %x", name, got)
		}
		block, err := tmpl.Body().Block(header[:], coinbase)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(block); got != r.Block {
			t.Errorf("%s: block\n%s, want\n%s", name, got, r.Block)
		}
		body, err := chain.DecodeBlockBody(tmpl.Body().Encode())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := body.Block(header[:], coinbase); err != nil || !bytes.Equal(again, block) {
			t.Errorf("%s: the stored body makes another block (%v)", name, err)
		}
	}
}

func TestUnsoundTemplatesAreRefused(t *testing.T) {
	r := loadRecorded(t, recordedTemplates[0])
	for _, change := range [][2]string{
		{`"coinbasevalue": 500`, `"coinbasevalue": -500`},
		{`"version"`, `"other"`},
		{`"previousblockhash"`, `"other"`},
		{`"transactions"`, `"other"`},
		{`"bits": "`, `"bits": "0`},
		{`"bits": "2`, `"bits": "g`},
		{`"curtime": `, `"curtime": 99999`},
		{`"height": `, `"height": 99999999`},
		{`"masternode": [`, `"masternode": [{"amount": 1},`},
		{`"masternode": [`, `"masternode": [{"script": "00"},`},
		{`"masternode": [`, `"masternode": [{"script": "00", "amount": 0.5},`},
		{`"rules": [`, `"rules": ["!newrule",`},
		{`"transactions": [`, `"transactions": [{"data": "00"},`},
		{`"transactions": [`, `"transactions": [{"hash": "` + strings.Repeat("0", 64) + `"},`},
	} {
		text := strings.Replace(string(r.Template), change[0], change[1], 1)
		if change[0] == `"coinbasevalue": 500` {
			text = strings.Replace(string(r.Template), `"coinbasevalue": `, `"coinbasevalue": -`, 1)
		}
		if text == string(r.Template) {
			t.Fatalf("%s: nothing was changed", change[1])
		}
		if _, err := bbprpc.ParseTemplate([]byte(text), nil); err == nil {
			t.Errorf("%s: taken", change[1])
		}
	}
}

func TestAmountsOfATemplateAreExactSatoshis(t *testing.T) {
	r := loadRecorded(t, recordedTemplates[1])
	tmpl, err := bbprpc.ParseTemplate(r.Template, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tmpl.Value != 1960700000000 || len(tmpl.Payees) != 1 || tmpl.Payees[0].Value != 1960000000000 {
		t.Errorf("%d, %+v", tmpl.Value, tmpl.Payees)
	}
	for _, amount := range []string{"1e3", "1.0", `"5"`, "9223372036854775808"} {
		text := strings.Replace(string(r.Template), `"amount": 1960000000000`, `"amount": `+amount, 1)
		if _, err := bbprpc.ParseTemplate([]byte(text), nil); err == nil {
			t.Errorf("amount %s is taken", amount)
		}
	}
}

func TestAnswersAboutABlockAreNotRefusalsOfTheCall(t *testing.T) {
	for result, want := range map[string]string{`null`: "", `"high-hash"`: "high-hash", `"inconclusive"`: "inconclusive"} {
		c := clientOf(t, resulting(t, result).URL, resulting(t, result).URL)
		n := 0
		for s := range c.SubmitEverywhere(t.Context(), []byte{1, 2}) {
			if n++; s.Err != nil || s.Verdict != want {
				t.Errorf("%s: %+v", result, s)
			}
		}
		if n != 2 {
			t.Errorf("%d daemons answered", n)
		}
		if reason, err := c.Propose(t.Context(), nil, []byte{1}); err != nil || reason != want {
			t.Errorf("%s: %q, %v", result, reason, err)
		}
	}
}

func TestBlockGoesToEveryDaemonWhileOneIsSilentAndOneIsAway(t *testing.T) {
	silent := newPeer(t, func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() })
	sound := resulting(t, "null")
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{
		{URL: silent.URL}, {URL: "http://127.0.0.1:1"}, {URL: sound.URL},
	}, Timeout: 2 * time.Second, MaxInFlight: 1})
	took := 0
	for s := range c.SubmitEverywhere(t.Context(), []byte{0xab}) {
		if s.Err == nil {
			took++
		}
	}
	if took != 1 || sound.lastAsked(t).Params[0] != "ab" {
		t.Errorf("%d daemons took the block", took)
	}
}

func TestBrokenLongPollShowsThatTheDaemonIsAway(t *testing.T) {
	silent := newPeer(t, func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() })
	c := clientOf(t, silent.URL)
	done := make(chan error)
	go func() {
		_, err := c.LongPoll(t.Context(), nil, "x")
		done <- err
	}()
	waitFor(t, func() bool { return silent.timesAsked() == 1 })
	silent.CloseClientConnections()
	asAway(t, <-done)
	if c.Status()[0].Up {
		t.Error("a daemon whose connection broke counts as up")
	}
}

func TestLeavingALongPollIsNotTheDaemonsFault(t *testing.T) {
	silent := newPeer(t, func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() })
	c := clientOf(t, silent.URL)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.LongPoll(ctx, nil, "x")
		done <- err
	}()
	waitFor(t, func() bool { return silent.timesAsked() == 1 })
	cancel()
	if away := asAway(t, <-done); away.Reason != bbprpc.AwayCancelled || !c.Status()[0].Up {
		t.Errorf("%+v", away)
	}
}

func TestEachDaemonCanBeAskedAlone(t *testing.T) {
	first := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		io.WriteString(w, `{"result":1,"error":null,"id":0}`)
	})
	second := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		io.WriteString(w, `{"result":2,"error":null,"id":0}`)
	})
	c := clientOf(t, first.URL, second.URL)
	for i, d := range c.Daemons() {
		if height, err := d.BlockCount(t.Context()); err != nil || height != int64(i+1) {
			t.Errorf("daemon %d: %d, %v", i, height, err)
		}
	}
	second.Close()
	if _, err := c.Daemons()[1].BlockCount(t.Context()); err == nil {
		t.Error("another daemon answered")
	}
	if c.Status()[1].Up {
		t.Error("what one client learns the others do not know")
	}
}

func TestLitecoindTakesTheBlocksOfItsTemplates(t *testing.T) {
	t.Parallel()
	first := newLitecoind(t)
	address := first.mine(t, 1)
	second := newLitecoind(t, "-connect="+first.P2P)
	c, ctx := first.client(t), t.Context()
	waitFor(t, func() bool {
		height, err := second.client(t).BlockCount(ctx)
		return err == nil && height == 1
	})
	rules := []string{"mweb", "segwit"}
	pool, err := chain.DecodeAddress(address, chain.LitecoinRegtest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.BlockTemplate(ctx, nil); !bbprpc.IsCode(err, bbprpc.CodeInvalidParameter) {
		t.Errorf("a template without its rules: %v", err)
	}

	// make builds a block of the daemon's template, with a proof of work or without.
	build := func(mined bool) []byte {
		t.Helper()
		tmpl, err := c.BlockTemplate(ctx, rules)
		if err != nil {
			t.Fatal(err)
		}
		return litecoinBlock(t, &tmpl.Template, pool, mined)
	}
	if reason, err := c.Propose(ctx, rules, build(false)); err != nil || reason != "" {
		t.Errorf("proposal: %q, %v", reason, err)
	}
	spoiled := build(false)
	spoiled[len(spoiled)-1]++ // the lock time
	if reason, err := c.Propose(ctx, rules, spoiled); err != nil || reason == "" {
		t.Errorf("a spoiled proposal: %q, %v", reason, err)
	}
	take := func(block []byte, want string) {
		t.Helper()
		for s := range c.SubmitEverywhere(ctx, block) {
			if s.Err != nil || s.Verdict != want {
				t.Errorf("%+v, want %q", s, want)
			}
		}
	}
	block := build(true)
	take(block, "")
	take(block, "duplicate")
	block = build(true)
	block[76]++ // some other nonce
	for pow.NewPool(pow.Scrypt()).Hash(block[:80])[0] < 0x80 {
		block[76]++
	}
	take(block, "high-hash")

	// A long poll ends with the next block.
	tmpl, err := c.BlockTemplate(ctx, rules)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		next, err := c.LongPoll(ctx, rules, tmpl.LongPollID)
		if err == nil && next.Height != tmpl.Height+1 {
			t.Errorf("height %d after %d", next.Height, tmpl.Height)
		}
		done <- err
	}()
	waitFor(t, func() bool { return first.busy(t) >= 2 })
	take(litecoinBlock(t, &tmpl.Template, pool, true), "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if state, err := c.ChainState(ctx); err != nil || !state.Synced() || state.Blocks != 3 {
		t.Errorf("%+v, %v", state, err)
	}

	// With MWEB, which regtest has from block 432: an extension block.
	first.mine(t, 428)
	var hidden string
	if err := c.Do(ctx, bbprpc.NewCall("getnewaddress", &hidden, "", "mweb")); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, bbprpc.NewCall("sendtoaddress", nil, hidden, 1)); err != nil {
		t.Fatal(err)
	}
	tmpl, err = c.BlockTemplate(ctx, rules)
	if err != nil {
		t.Fatal(err)
	}
	if tmpl.Height != 432 || len(tmpl.Extension) == 0 || len(tmpl.Transactions) != 2 {
		t.Fatalf("height %d, %d bytes of extension, %d transactions", tmpl.Height, len(tmpl.Extension), len(tmpl.Transactions))
	}
	if reason, err := c.Propose(ctx, rules, litecoinBlock(t, &tmpl.Template, pool, false)); err != nil || reason != "" {
		t.Errorf("proposal with an extension block: %q, %v", reason, err)
	}
	take(litecoinBlock(t, &tmpl.Template, pool, true), "")
	if height, err := c.BlockCount(ctx); err != nil || height != 432 {
		t.Errorf("height %d, %v", height, err)
	}
}

func litecoinBlock(t *testing.T, tmpl *chain.Template, pool chain.Address, mined bool) []byte {
	t.Helper()
	first, second, err := tmpl.SplitCoinbase(chain.CoinbasePlan{PoolScript: pool.PayScript(), Reserved: 12, Tag: "/pool/"})
	if err != nil {
		t.Fatal(err)
	}
	j := &job.Job{
		Network: "regtest", Algorithm: "scrypt", Version: tmpl.Version, Prev: tmpl.Prev, Bits: tmpl.Bits,
		Coinbase1: first, Coinbase2: second, Extranonce2Size: 4, Branches: job.Branches(tmpl.TransactionIDs()),
	}
	target, err := j.Target()
	if err != nil {
		t.Fatal(err)
	}
	var a job.Assembler
	f := &job.Found{Extranonce2Size: 4, Time: tmpl.Time}
	for mined && !target.MetBy(a.Proof(j, f)) {
		f.Nonce++
	}
	coinbase := bytes.Clone(a.Coinbase(j, f))
	block, err := tmpl.Body().Block(bytes.Clone(a.Header(j, f)), coinbase)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func FuzzTemplate(f *testing.F) {
	for _, name := range recordedTemplates {
		f.Add([]byte(loadRecorded(f, name).Template))
	}
	f.Add([]byte(`{"capabilities":["proposal"],"version":536870912,"rules":["csv","!segwit","taproot"],"previousblockhash":"b4d861745bf34dee67c231aebd61252e44514afc704734e25646afbdefe2ead0","transactions":[],"coinbaseaux":{"flags":"00"},"coinbasevalue":5000000000,"longpollid":"b4","mintime":1,"curtime":1795350533,"bits":"207fffff","height":2,"default_witness_commitment":"6a24aa21a9ed","mweb":"00"}`))
	f.Add([]byte(`{"masternode":{"payee":"","script":"00","amount":5},"superblock":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tmpl, err := bbprpc.ParseTemplate(text, []string{"segwit", "mweb"})
		if err != nil {
			return
		}
		first, second, err := tmpl.SplitCoinbase(chain.CoinbasePlan{PoolScript: []byte{0x51}, Reserved: 12, Tag: "/p/", OutputMessages: true})
		if err != nil {
			return
		}
		coinbase := append(append(first, make([]byte, 12)...), second...)
		block, err := tmpl.Body().Block(make([]byte, 80), coinbase)
		if err != nil {
			t.Fatal(err)
		}
		body, err := chain.DecodeBlockBody(tmpl.Body().Encode())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := body.Block(make([]byte, 80), coinbase); err != nil || !bytes.Equal(block, again) {
			t.Fatalf("the stored body makes another block (%v)", err)
		}
		if len(tmpl.Payload) == 0 && len(tmpl.WitnessCommitment) == 0 {
			tx, err := chain.DecodeTransaction(coinbase)
			if err != nil {
				t.Fatal(err)
			}
			if total, err := tx.TotalOut(); err != nil || total != tmpl.Value {
				t.Fatalf("the coinbase pays %d of %d (%v)", total, tmpl.Value, err)
			}
		}
	})
}
