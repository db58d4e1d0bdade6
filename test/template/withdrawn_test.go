package template_test

import (
	"strings"
	"testing"
	"time"

	"purepool/internal/testkit"
)

// TestNewTipWithoutATemplateSendsTheMinersAwayUntilThereIsOne brings real nodes to
// a tip on which they make no template: litecoind's regtest chain wants an extension
// block at height 432, and says TestBlockValidity failed for as long as nobody has
// paid into it. Of two frontends one sends its miners away at once, the other over an
// hour.
func TestNewTipWithoutATemplateSendsTheMinersAwayUntilThereIsOne(t *testing.T) {
	t.Parallel()
	d := nodes(t, 2)
	d[0].Generate(429, d[0].address)
	d[1].Agree(d[0].Node)
	h := newHouse(t)
	b := h.openBackendThat(knowing{maxMoved: time.Second}, d[0].address, d[0], d[1])
	quick := h.openFrontend(1)
	h.drain = time.Hour
	slow := h.openFrontend(2)
	gone, stays := newWinnerAs(t, quick.addr, "scrypt", ""), newWinnerAs(t, slow.addr, "scrypt", "")
	// The turns go by the last byte of extranonce1, which is counted up: neither this
	// one's nor the next one's is to be the first.
	for last := len(stays.f.Extranonce1) - 1; stays.f.Extranonce1[last]+1 <= 1; {
		stays = newWinnerAs(t, slow.addr, "scrypt", "")
	}
	clean := cleanJobs(t, slow.addr)
	<-clean
	handIn := func(w *winner, wins bool, want string) {
		t.Helper()
		_, err := w.conn.Write(w.find(wins))
		must(t, err)
		select {
		case got := <-w.answers:
			if !strings.Contains(got, want) {
				t.Errorf("answered %s, not %s", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
		}
	}
	handIn(gone, false, `"result":true`)
	handIn(stays, false, `"result":true`)

	d[1].Generate(1, minerAddress)
	select {
	case said := <-gone.message:
		if !strings.Contains(said, "new block") {
			t.Errorf("shown %s", said)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody tells the miners")
	}
	select {
	case <-gone.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the miner is not sent away")
	}
	testkit.Eventually(t, "both frontends know", 20*time.Second, func() bool {
		return quick.desk.Ready(t.Context()) != nil && slow.desk.Ready(t.Context()) != nil
	})
	// Who is still there is told, and its block is tried all the same.
	handIn(stays, false, `[21,`)
	handIn(stays, true, `[21,`)
	testkit.Eventually(t, "the late block is tried and its share refused", 20*time.Second, func() bool {
		return h.count(`SELECT count(*) FROM block_submission WHERE stale AND result = 'inconclusive'`) == 1 &&
			h.count(`SELECT count(*) FROM rejected_share WHERE reason = 'StaleShare'`) == 1 && h.count(`SELECT count(*) FROM share`) == 2
	})
	if tip := d[0].Height(); tip != 431 || b.metric("purepool_jobs_ready") != 0 || b.metric("purepool_jobs_daemon_synced") != 2 || b.maker.Ready(t.Context()) == nil {
		t.Errorf("height %d, ready %v, %v daemons are synced", tip, b.metric("purepool_jobs_ready"), b.metric("purepool_jobs_daemon_synced"))
	}

	// Somebody pays into the extension block: there is a template, and mining goes on.
	var hidden string
	d[0].Call("getnewaddress", &hidden, "", "mweb")
	d[0].Call("sendtoaddress", nil, hidden, 1)
	select {
	case <-clean:
	case <-time.After(20 * time.Second):
		t.Fatal("who has stayed gets no new job")
	}
	testkit.Eventually(t, "miners are let in again", 20*time.Second, func() bool { return quick.desk.Ready(t.Context()) == nil })
	back := newWinnerAs(t, quick.addr, "scrypt", "")
	handIn(back, true, `"result":true`)
	testkit.Eventually(t, "its block stands on both nodes", 20*time.Second, func() bool {
		return h.submissions()["accepted"] == 1 && d[0].Height() == 432 && d[1].Height() == 432
	})
	h.paysThePool(d[0], d[0].address, 431)
	select {
	case <-stays.ended:
		t.Error("who was to go within the hour is gone")
	default:
	}
}
