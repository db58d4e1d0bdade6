package settle_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/internal/failpoint"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
)

// refuseWinner lets the first miner's share that is the block of a height stand
// as stale.
func (c *crashCase) refuseWinner(height int32) {
	c.t.Helper()
	var hash chain.Hash
	if err := c.pool.Client.Do(c.t.Context(), bbprpc.BlockHashCall(int64(height), &hash)); err != nil {
		c.t.Fatal(err)
	}
	id := uuid.New()
	_, err := c.e.store.WriteVerdicts(c.t.Context(), c.plan.NetworkID, []ledger.Verdict{{
		ShareID: id, ReceivedAt: time.Now().Add(-23 * time.Hour), WorkID: id, WorkerID: c.ids[0], MinerID: c.ids[0],
		Height: height - 1, Proof: hash.Display(), HasProof: true, Weight: 5, Reason: "StaleShare",
	}})
	if err != nil {
		c.t.Fatal(err)
	}
}

// wantWinner checks that it is credited once, and that nothing says otherwise.
func (c *crashCase) wantWinner() {
	c.t.Helper()
	if n := c.winners(); n != "1 credited, 0 refused, 1 written down, sums 3 and 0" {
		c.t.Error(n)
	}
}

func (c *crashCase) winners() string {
	return ledgertest.Value[string](c.t, c.e.db, `SELECT format('%s credited, %s refused, %s written down, sums %s and %s',
		(SELECT count(*) FROM share WHERE network_id = $1 AND weight = 5), (SELECT count(*) FROM rejected_share WHERE network_id = $1),
		(SELECT count(*) FROM stale_winner WHERE network_id = $1), sum(shares), sum(rejected))
		FROM network_minute WHERE network_id = $1`, c.plan.NetworkID)
}

// killedWithin kills a backend in the middle of the transaction that writes the
// block down and credits its share: it is held up at the very last of its changes.
func (c *crashCase) killedWithin() {
	c.t.Helper()
	hold := c.e.super.MustBegin()
	defer func() { _ = hold.Rollback() }()
	hold.MustExec(`SELECT FROM network_minute WHERE network_id = $1 FOR UPDATE`, c.plan.NetworkID)
	text, err := json.Marshal(c.plan)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), failpoint.Env+"=")
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO network_minute%'`
	waitUntil(c.t, "the backend waits for the last row", func() bool { return ledgertest.Value[int64](c.t, c.e.db, waiting) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := hold.Rollback(); err != nil {
		c.t.Fatal(err)
	}
	waitUntil(c.t, "its connection is gone", func() bool { return ledgertest.Value[int64](c.t, c.e.db, waiting) == 0 })
	blocks := ledgertest.Value[int64](c.t, c.e.db, `SELECT count(*) FROM block WHERE network_id = $1`, c.plan.NetworkID)
	if n := c.winners(); n != "0 credited, 1 refused, 0 written down, sums 2 and 1" || blocks != 0 {
		c.t.Errorf("after a death within the transaction: %s, %d blocks", n, blocks)
	}
}
