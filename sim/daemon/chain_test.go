package daemon

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"purepool/pool/chain"
)

// easyBits is the compact form of a target that every other hash meets.
const easyBits = 0x207fffff

func mine(t *testing.T, c *Chain, address string, change func(*chain.Header, *chain.Transaction)) []byte {
	t.Helper()
	a, err := chain.DecodeAddress(address, c.network)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := c.Template()
	coinbase := chain.NewCoinbase(tmpl.Height, []byte{1, 3}, chain.PayTo(a, tmpl.CoinbaseValue, chain.ClassicMessage("1.1.3.8", "guid")))
	header := chain.Header{Version: 0x20000000, Prev: tmpl.PrevHash, Time: uint32(tmpl.Time), Bits: tmpl.Bits}
	change(&header, &coinbase)
	block := chain.NewBlock(header, coinbase)
	want := block.Header.Nonce
	for block.Header.Nonce = want; ; block.Header.Nonce++ {
		hash := BibleHash(HashInput{
			BlockHash: c.hash(&block.Header), BlockTime: int64(block.Header.Time),
			PrevBlockTime: tmpl.PrevTime, PrevHeight: tmpl.Height - 1, Nonce: block.Header.Nonce,
		})
		if c.target.MetBy(hash) {
			return block.Encode()
		}
	}
}

func TestMinersBlockIsTakenAndPaysTheWallet(t *testing.T) {
	t.Parallel()
	d, rpc := start(t, Options{Bits: easyBits})
	changed := d.Chain().Changed()
	raw := mine(t, d.Chain(), d.PoolAddress(), func(*chain.Header, *chain.Transaction) {})
	equal(t, "submitblock", rpc.raw("submitblock", hex.EncodeToString(raw)), "null")
	<-changed
	equal(t, "again", rpc.raw("submitblock", hex.EncodeToString(raw)), `"duplicate"`)
	tip := d.Chain().Tip()
	equal(t, "height", tip.Height, 1)
	equal(t, "recipient", tip.Recipient, d.PoolAddress())
	equal(t, "miner", tip.MinerGUID, "guid")
	_, immature := d.wallet.balance()
	equal(t, "immature", immature, 5492*chain.Coin)
	status, _ := rpc.call("submitblock", "00")
	equal(t, "garbage", status, 500)
}

func TestWrongBlocksAreRefusedByName(t *testing.T) {
	t.Parallel()
	d, err := New(Options{Bits: easyBits, BaseTime: time.Now().Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := d.Chain()
	submit := func(raw []byte) string {
		reason, err := c.Submit(raw)
		if err != nil {
			t.Fatal(err)
		}
		return reason
	}
	for want, change := range map[string]func(*chain.Header, *chain.Transaction){
		"prev-blk-not-found": func(h *chain.Header, _ *chain.Transaction) { h.Prev[0] ^= 1 },
		"bad-diffbits":       func(h *chain.Header, _ *chain.Transaction) { h.Bits = 0x1f00ffff },
		"time-too-old":       func(h *chain.Header, _ *chain.Transaction) { h.Time -= 3600 },
		"time-too-new":       func(h *chain.Header, _ *chain.Transaction) { h.Time += 3 * 3600 },
		"bad-nonce":          func(h *chain.Header, _ *chain.Transaction) { h.Nonce = 1 << 20 },
		"bad-cb-amount":      func(_ *chain.Header, tx *chain.Transaction) { tx.Outputs[0].Value++ },
		"bad-cb-height":      func(_ *chain.Header, tx *chain.Transaction) { tx.Inputs[0].Script[0]++ },
		"bad-cb-missing":     func(_ *chain.Header, tx *chain.Transaction) { tx.Inputs[0].PrevOut.Index = 0 },
	} {
		equal(t, want, submit(mine(t, c, d.PoolAddress(), change)), want)
	}
	good := mine(t, c, d.PoolAddress(), func(*chain.Header, *chain.Transaction) {})
	spoilt := append([]byte(nil), good...)
	spoilt[len(spoilt)-1] ^= 1 // the lock time: the merkle root fits no longer
	equal(t, "merkle", submit(spoilt), "bad-txnmrklroot")
	c.MineStranger()
	equal(t, "too late", submit(good), "inconclusive")
}

func TestHardBlockNeedsWork(t *testing.T) {
	t.Parallel()
	easy, _ := New(Options{Bits: easyBits, Seed: 1})
	defer easy.Close()
	hard, _ := New(Options{Bits: 0x1d00ffff, Seed: 1})
	defer hard.Close()
	raw := mine(t, easy.Chain(), easy.PoolAddress(), func(h *chain.Header, _ *chain.Transaction) {
		h.Bits, h.Prev = 0x1d00ffff, hard.Chain().Tip().Hash
	})
	reason, err := hard.Chain().Submit(raw)
	if err != nil || reason != "high-hash" {
		t.Errorf("%q %v", reason, err)
	}
}

func TestReorganisationOrphansTheBlocksItReplaces(t *testing.T) {
	t.Parallel()
	d, rpc := start(t, Options{Bits: easyBits, History: 5})
	if _, err := d.Chain().Submit(mine(t, d.Chain(), d.PoolAddress(), func(*chain.Header, *chain.Transaction) {})); err != nil {
		t.Fatal(err)
	}
	ours, below := d.Chain().Tip(), d.Chain().At(4)
	tip := d.Chain().Reorg(2)
	equal(t, "height", tip.Height, 7)
	equal(t, "fork", d.Chain().At(4), below)
	if d.Chain().At(6) == ours {
		t.Error("the replaced block is still there")
	}
	_, confirmations := d.Chain().ByHash(ours.Hash)
	equal(t, "confirmations", confirmations, -1)
	var block struct{ Confirmations int64 }
	rpc.decode(&block, "getblock", ours.Hash.String())
	equal(t, "told confirmations", block.Confirmations, -1)
	_, immature := d.wallet.balance()
	equal(t, "immature", immature, 0)
	if list := rpc.raw("listtransactions"); !strings.Contains(list, `"category":"orphan"`) {
		t.Errorf("wallet: %s", list)
	}
	for prev, height := tip, int64(6); height >= 0; height-- {
		b := d.Chain().At(height)
		if prev.Header.Prev != b.Hash || prev.Header.Time <= b.Header.Time {
			t.Fatalf("block %d does not stand on block %d", prev.Height, height)
		}
		prev = b
	}
	equal(t, "whole chain", d.Chain().Reorg(1000).Height, 8)
}

func TestLongestBranchIsTheBestAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	now := time.Now()
	opts := Options{Bits: easyBits, History: 2, Now: func() time.Time { return now }, Journal: filepath.Join(t.TempDir(), "journal")}
	d, stop, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	c := d.Chain()
	on := func(prev chain.Hash) func(*chain.Header, *chain.Transaction) {
		return func(h *chain.Header, _ *chain.Transaction) { h.Prev = prev }
	}
	first := mine(t, c, d.PoolAddress(), on(c.Tip().Hash))
	theirs := c.MineStranger()
	submit := func(raw []byte, want string) chain.Hash {
		t.Helper()
		reason, err := c.Submit(raw)
		if err != nil || reason != want {
			t.Fatalf("answered %q, %v; want %q", reason, err, want)
		}
		block, err := chain.DecodeBlock(raw)
		if err != nil {
			t.Fatal(err)
		}
		return chain.HashFromDisplay(c.hash(&block.Header))
	}
	ours := submit(first, "inconclusive")
	equal(t, "the first to come stays", c.Tip(), theirs)
	changed := c.Changed()
	second := submit(mine(t, c, addresses(1)[0], on(ours)), "")
	<-changed
	wantBranch := func(c *Chain) {
		t.Helper()
		equal(t, "tip", c.Tip().Hash, second)
		equal(t, "before it", c.At(3).Hash, ours)
		_, stands := c.ByHash(ours)
		_, gone := c.ByHash(theirs.Hash)
		equal(t, "confirmations", [2]int64{stands, gone}, [2]int64{2, -1})
		list := c.coinbases()
		if len(list) != 1 || list[0].confirmations != 2 {
			t.Errorf("blocks of the wallet: %+v", list)
		}
	}
	wantBranch(c)
	stop()
	again, stop, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	wantBranch(again.Chain())
}

func TestStrangersFindBlocksByThemselves(t *testing.T) {
	t.Parallel()
	d, _ := start(t, Options{BlockInterval: minInterval})
	for d.Chain().Tip().Height < 3 {
		changed := d.Chain().Changed()
		if d.Chain().Tip().Height >= 3 {
			break
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Second):
			t.Fatal("no block came")
		}
	}
}

func TestSameSeedGivesTheSameChain(t *testing.T) {
	t.Parallel()
	tip := func(seed uint64) chain.Hash {
		d, err := New(Options{Seed: seed, History: 20, BaseTime: time.Unix(1_600_000_000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		block, err := chain.DecodeBlock(d.Chain().Tip().Raw)
		if err != nil || block.Check() != nil {
			t.Fatalf("a stranger's block is no block: %v, %v", err, block.Check())
		}
		return d.Chain().Tip().Hash
	}
	first, again, other := tip(1), tip(1), tip(2)
	if first != again || first == other {
		t.Error("the seed does not decide the chain")
	}
}
