package settle_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
)

// The process is really killed at every step of a consolidation: the coins are
// joined once, and their fee is booked once.
func TestKilledAtAnyStepOfAConsolidationItHappensOnce(t *testing.T) {
	h := newCrashHouse(t)
	steps := []string{"join", "mine", "pay"}
	first := h.newCase(t)
	first.plan.Steps = steps
	trace := traceFile(t)
	if runChild(t, first.plan, "", trace) {
		t.Fatal("killed without a failpoint")
	}
	var points []string
	for _, point := range readTrace(t, trace) {
		if strings.HasPrefix(point, "join.") {
			points = append(points, point)
		}
	}
	if want := []string{"join.before-plan", "join.after-plan", "join.before-hand-in", "join.after-hand-in", "join.before-sent", "join.after-sent"}; !slices.Equal(points, want) {
		t.Errorf("passed were %v", points)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			c := h.newCase(t)
			c.plan.Steps = steps
			if !runChild(t, c.plan, point, "") {
				t.Fatal("the process was not killed")
			}
			c.audit()
			r, err := newRealPool(c.plan, c.e.store, h.pool.Client, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 { // as the jobs of a new process would
				if _, err := r.payer.Pay(t.Context()); err != nil {
					t.Fatal(err)
				}
				c.audit()
				h.pool.mine(1, h.miners.Address(), h.miners)
			}
			want := 1
			if point == "join.before-plan" {
				want = 0
			}
			got := ledgertest.Value[string](t, c.e.db, `SELECT count(*) || ' ' || count(*) FILTER (WHERE state = 'confirmed') || ' ' || coalesce(sum(fee), 0)
				FROM consolidation WHERE network_id = $1`, c.plan.NetworkID)
			audit := c.audit()
			if got != fmt.Sprintf("%d %d %d", want, want, audit.Totals.NetFee) || audit.Totals.Fee != -audit.Totals.NetFee {
				t.Errorf("consolidations, confirmed, fees: %s; want %d; booked %+v", got, want, audit.Totals)
			}
			if joined := h.joined(c.plan.NetworkID); joined != want {
				t.Errorf("%d transactions have joined coins, want %d", joined, want)
			}
		})
	}
}

// joined counts the consolidations of a network that stand in the pool's wallet.
func (h *crashHouse) joined(networkID int16) (n int) {
	h.t.Helper()
	var txids [][]byte
	if err := h.e.super.Select(&txids, `SELECT txid FROM consolidation WHERE network_id = $1`, networkID); err != nil {
		h.t.Fatal(err)
	}
	for _, txid := range txids {
		tx, err := h.pool.Client.WalletTransaction(context.Background(), chain.HashFromDisplay([32]byte(txid)))
		if err == nil && tx.Confirmations > 0 {
			n++
		}
	}
	return n
}
