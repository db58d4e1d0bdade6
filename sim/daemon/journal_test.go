package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"purepool/pool/chain"
)

func TestChainAndWalletGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"from its beginning":      {History: 3},
		"from a foreign block on": {BaseHeight: 500, BaseHash: chain.DoubleSHA256([]byte("foreign"))},
	} {
		t.Run(name, func(t *testing.T) {
			opts.Bits, opts.Maturity, opts.Funds, opts.Journal = easyBits, 1, chain.Coin, filepath.Join(t.TempDir(), "journal")
			d, stop, err := Start(opts)
			if err != nil {
				t.Fatal(err)
			}
			rpc := connect(t, d, d.URL())
			ours := func() []byte {
				return mine(t, d.Chain(), d.PoolAddress(), func(*chain.Header, *chain.Transaction) {})
			}
			late := ours()
			for _, raw := range [][]byte{ours(), late} { // a tip, and a branch beside it
				if _, err := d.Chain().Submit(raw); err != nil {
					t.Fatal(err)
				}
			}
			d.Chain().Reorg(1)
			if _, err := d.Chain().Submit(ours()); err != nil {
				t.Fatal(err)
			}
			d.MineStranger()
			var id string
			rpc.decode(&id, "sendmany", "", json.RawMessage(`{"`+addresses(1)[0]+`":1.5}`), 1, false, "tag", []string{addresses(1)[0]})
			asked := func() (answers []string) {
				for _, call := range []string{"getbestblockhash", "getblockcount", "getwalletinfo", "listtransactions"} {
					answer, _, _ := strings.Cut(rpc.raw(call), `,"keypoololdest"`) // the time of the start
					answers = append(answers, answer)
				}
				return append(answers, rpc.raw("gettransaction", id), rpc.raw("getblock", d.Chain().Tip().Hash.String()))
			}
			before := asked()
			stop()

			// A process that is killed may leave half a line.
			file, err := os.OpenFile(opts.Journal, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(`{"connect":"AAAA`); err != nil {
				t.Fatal(err)
			}
			file.Close()
			for range 2 {
				if d, stop, err = Start(opts); err != nil {
					t.Fatal(err)
				}
				rpc = connect(t, d, d.URL())
				for i, answer := range asked() {
					equal(t, "answer", answer, before[i])
				}
				stop()
			}
			if d, stop, err = Start(opts); err != nil {
				t.Fatal(err)
			}
			defer stop()
			height := d.Chain().Tip().Height
			if b := d.MineStranger(); b.Height != height+1 {
				t.Errorf("the next block has height %d after %d", b.Height, height)
			}
		})
	}
}

func TestAJournalThatIsNoneIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	for _, text := range []string{"nonsense\n", `{"cut":1}` + "\n", `{"base":{"height":0,"hash":"x","raw":""}}` + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stop, err := Start(Options{Journal: path}); err == nil {
			stop()
			t.Errorf("%q was taken", text)
		}
	}
}
