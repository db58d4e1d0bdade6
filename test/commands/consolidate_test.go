package commands

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"purepool/bbprpc/litecoindtest"
	"purepool/sim/daemon"
	"purepool/test/house"
)

// TestOperatorJoinsSmallCoinsByHand does so with a real wallet.
func TestOperatorJoinsSmallCoinsByHand(t *testing.T) {
	node := litecoindtest.New(t, litecoindtest.Options{User: "pool", Password: "secret"})
	pool := node.Wallet()
	node.Generate(101, pool)
	h := house.New(t, house.Options{
		Daemon:       daemon.Options{Network: house.Network, History: 2},
		Extra:        fmt.Sprintf("[network.regtest]\nmode = \"template\"\nchain = \"litecoin-regtest\"\nalgorithm = \"scrypt\"\npool_address = %q\n", pool),
		BackendExtra: house.RegtestDaemon(node),
	})
	o := operator{t, h}
	consolidate := func(args ...string) (out struct {
		ID, Amount, Fee         int64
		Coins                   int
		State, TxID, Not_joined string //nolint:revive // as it is printed
	},
	) {
		t.Helper()
		text := o.run(0, append([]string{"consolidate", "--network", "regtest", "--json"}, args...)...)
		var all []json.RawMessage
		must(t, json.Unmarshal([]byte(text[max(strings.Index(text, `[{"`), 0):]), &all)) // the log comes first
		must(t, json.Unmarshal(all[0], &out))
		return out
	}
	o.wants(o.run(1, "consolidate", "--network", "regtest"), "needs a --reason")
	o.wants(o.run(0, "consolidate", "--network", "regtest", "--reason", "why not"), "no coins are joined: the wallet has 1 coins to spend; they are joined from 500 on")

	// Six hundred coins of 0.02, in six transactions.
	outputs := map[string]string{}
	for range 100 {
		outputs[node.Address()] = "0.02"
	}
	for range 6 {
		node.Call("sendmany", nil, "", outputs)
	}
	node.Generate(1, pool)
	planned := consolidate("--dry-run")
	if planned.ID != 0 || planned.Coins != 500 || planned.Amount != 500*2_000_000 || planned.Fee <= 0 || planned.Fee > planned.Amount/100 || planned.Not_joined != "" {
		t.Errorf("%+v", planned)
	}
	if n := h.Count(`SELECT (SELECT count(*) FROM purepool.consolidation) + (SELECT count(*) FROM purepool.audit_log WHERE action = 'join coins')`); n != 0 {
		t.Errorf("a dry run has written %d rows", n)
	}
	joined := consolidate("--reason", "payments are slow")
	if joined.ID == 0 || joined.State != "sent" || joined.Coins != planned.Coins || joined.Fee != planned.Fee {
		t.Errorf("%+v after %+v", joined, planned)
	}
	o.wants(o.run(0, "consolidate", "--network", "regtest", "--reason", "more"), "no coins are joined: consolidation 1 is in no block yet")
	o.wants(o.run(0, "log"), "join coins", "payments are slow")
	node.Generate(1, pool)
	var tx struct {
		Confirmations int
		Fee           float64
	}
	node.Call("gettransaction", &tx, joined.TxID)
	if tx.Confirmations != 1 || int64(-tx.Fee*1e8+0.5) != joined.Fee {
		t.Errorf("%+v after %+v", tx, joined)
	}
	o.wants(o.run(0, "consolidate", "--network", "regtest", "--reason", "more"), "they are joined from 500 on")
	o.wants(o.run(0, "audit", "--network", "regtest"), "clean")
}
