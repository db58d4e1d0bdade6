package admin

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// mineShares lets two miners hand in shares until a query has grown by ten.
func mineShares(t *testing.T, h *house.House, query string) {
	t.Helper()
	l := h.Mine(miner.FleetOptions{Miner: miner.Options{Interval: 10 * time.Millisecond}, Miners: 2})
	before := h.Count(query)
	h.Eventually("shares are judged", 30*time.Second, func() bool { return h.Count(query) >= before+10 })
	l.Stop()
}

// TestOperatorsDay looks, asks why, exports, merges, and finds all of it in the
// audit log, as docs/OPERATIONS.md tells.
func TestOperatorsDay(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	y := &yard{root: t, t: t, config: h.Config}
	p := h.Run("all")
	mineShares(t, h, `SELECT count(*) FROM purepool.share`)

	h.Eventually("all is well", 30*time.Second, func() bool {
		return strings.Contains(y.either("admin", "status", "--quiet", "0s"), "all is well")
	})
	var screen struct {
		OK       bool
		Wrong    []string
		Roles    []struct{ Role string }
		Networks []struct {
			Network   string
			Height    int
			Queue     struct{ Envelopes int }
			Daemon    struct{ Synced bool }
			Imbalance int64
		}
	}
	must(t, json.Unmarshal([]byte(y.purepool(0, "admin", "status", "--quiet", "0s", "--json")), &screen))
	if n := screen.Networks[0]; !screen.OK || len(screen.Roles) != 3 || n.Network != house.Network || !n.Daemon.Synced || n.Imbalance != 0 {
		t.Errorf("%+v", screen)
	}

	var miners []struct{ Address string }
	must(t, json.Unmarshal([]byte(y.purepool(0, "admin", "miner", "find", "--json")), &miners))
	one, other := miners[0].Address, miners[1].Address
	y.wants(y.purepool(0, "admin", "miner", "find", one[:len(one)-3]), one)
	if out := y.purepool(0, "admin", "miner", "find", "--worker", "no such rig"); !strings.Contains(out, "no such miner") {
		t.Errorf("a worker that is none: %s", out)
	}

	// Why a share was rejected, and that another was credited.
	y.purepool(0, "admin", "miner", "ignore", one, "--reason", "a faker")
	mineShares(t, h, `SELECT count(*) FROM purepool.rejected_share WHERE reason = 'MinerIgnored'`)
	var id, proof, credited string
	must(t, h.DB.QueryRowContext(t.Context(), `SELECT id::text, encode(proof, 'hex') FROM purepool.rejected_share WHERE reason = 'MinerIgnored' LIMIT 1`).Scan(&id, &proof))
	must(t, h.DB.QueryRowContext(t.Context(), `SELECT id::text FROM purepool.share LIMIT 1`).Scan(&credited))
	for _, ref := range []string{id, proof} {
		y.wants(y.purepool(0, "admin", "share", "why", ref), id, "rejected: MinerIgnored", "count for nothing", "validator",
			"the tip at its arrival was", one, "the hash meets it", "solution")
	}
	y.wants(y.purepool(0, "admin", "share", "why", "--miner", one, "--limit", "1", "--json"), `"reason":"MinerIgnored"`, `"meets_target":true`)
	y.wants(y.purepool(0, "admin", "share", "why", credited), "credited with weight")
	y.wants(y.purepool(0, "admin", "share", "why", strings.Repeat("ab", 32)), "the ledger has no such share")
	y.wants(y.purepool(1, "admin", "share", "why", "xyz"), "neither an id (a UUID) nor a hash (64 hex digits)")
	y.wants(y.purepool(1, "admin", "share", "why"), "say one of")

	// What is about money needs a reason; two miners of one person become one.
	y.wants(y.purepool(1, "admin", "miner", "correct", one, "1.5", "--key", "k"), "--reason")
	y.wants(y.purepool(1, "admin", "miner", "set-payout", one, "--threshold", "2"), "--reason")
	y.wants(y.purepool(1, "admin", "miner", "set-payout", one, "--threshold", "1e3", "--reason", "x"), "purepool: ")
	y.purepool(0, "admin", "miner", "correct", one, "1.5", "--key", "k", "--reason", "found")
	y.wants(y.purepool(1, "admin", "miner", "merge", one, one, "--reason", "x"), "it is one miner")
	y.wants(y.purepool(1, "admin", "miner", "merge", one, "nobody", "--reason", "x"), "there is no miner nobody")
	y.wants(y.purepool(0, "admin", "miner", "merge", one, other, "--reason", "lost his wallet"), "1.50000000 coins moved")
	y.wants(y.purepool(1, "admin", "miner", "merge", other, one, "--reason", "x"), "merged into another miner itself")
	y.wants(y.purepool(0, "admin", "miner", "merge", one, other, "--reason", "once more"), "0.00000000 coins moved")
	y.wants(y.purepool(0, "admin", "miner", "show", one), "what it earns is credited to "+other)
	y.wants(y.purepool(0, "admin", "miner", "show", other), "1.50000000")

	var export struct {
		Miner                     struct{ Address string }
		Shares, Credits, Payments []map[string]any
	}
	must(t, json.Unmarshal([]byte(y.purepool(0, "admin", "miner", "export", one)), &export))
	if export.Miner.Address != one || len(export.Shares) == 0 || len(export.Credits) != 2 || export.Payments == nil {
		t.Errorf("%d shares, %d credits of %s", len(export.Shares), len(export.Credits), export.Miner.Address)
	}
	rows, err := csv.NewReader(strings.NewReader(y.purepool(0, "admin", "miner", "export", one, "--format", "csv", "--what", "shares"))).ReadAll()
	if err != nil || len(rows) != len(export.Shares)+1 || rows[0][0] != "id" {
		t.Errorf("%d rows of CSV, %v", len(rows), err)
	}
	y.wants(y.purepool(1, "admin", "miner", "export", one, "--format", "csv"), "say --what shares")

	y.wants(y.purepool(1, "admin", "schedule", "pause", "pay"), "--reason")
	y.purepool(0, "admin", "schedule", "pause", "rate", "--reason", "too busy")
	y.wants(y.purepool(1, "admin", "status", "--quiet", "0s"), "wrong: test: the job rate is paused")
	log := y.purepool(0, "admin", "log", "--miner", one)
	y.wants(log, "ignore shares", "a faker", "correct balance", "merge miners", "lost his wallet")
	y.wants(y.purepool(0, "admin", "log", "--action", "pause", "--since", "1h"), "pause schedule", "too busy")
	y.wants(y.purepool(0, "admin", "log", "--json", "--limit", "1"), `"who":`, `"why":`, `"detail":{`)
	y.wants(y.purepool(1, "admin", "log", "--since=-1h"), "lies in the future")
	for _, stmt := range []string{`UPDATE purepool.audit_log SET why = 'x'`, `DELETE FROM purepool.audit_log`, `TRUNCATE purepool.audit_log`} {
		if _, err := h.DB.ExecContext(t.Context(), stmt); err == nil || !strings.Contains(err.Error(), "only ever added") {
			t.Errorf("%s: %v", stmt, err)
		}
	}
	p.Stop()
	y.wants(y.purepool(1, "admin", "status", "--quiet", "0s"), "no backend is connected", "no process has the embedded broker open")
}
