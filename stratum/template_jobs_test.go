package stratum_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"purepool/pool/job"
	"purepool/stratum"
)

func TestNotifyCarriesTheJobInStratumsEncodings(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	j := p.jobs.now()
	texts := make([]string, 8)
	for i, at := range []int{0, 1, 2, 3, 5, 6, 7} {
		_ = json.Unmarshal(c.notify[at], &texts[i])
	}
	words, err := hex.DecodeString(texts[1])
	if err != nil || len(words) != 32 {
		t.Fatal(texts[1])
	}
	for i := 0; i < 32; i += 4 {
		slices.Reverse(words[i : i+4])
	}
	if string(words) != string(j.Prev[:]) {
		t.Errorf("prevhash %s", texts[1])
	}
	if texts[2] != hex.EncodeToString(j.Coinbase1) || texts[3] != hex.EncodeToString(j.Coinbase2) ||
		texts[4] != fmt.Sprintf("%08x", j.Version) || texts[5] != fmt.Sprintf("%08x", j.Bits) || texts[6] != fmt.Sprintf("%08x", j.Time) {
		t.Errorf("%s", c.notify)
	}
	var branches []string
	_ = json.Unmarshal(c.notify[4], &branches)
	if len(branches) != 2 || branches[0] != hex.EncodeToString(j.Branches[0][:]) {
		t.Errorf("%s", branches)
	}
}

func TestWithoutAJobNewMinersAreNotLetInAndOldOnesStay(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	p.jobs.missing()
	p.dial(t).closed()
	if r := c.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
	p.jobs.next(true, nil)
	c.await("mining.notify")
	p.dial(t).login(rig)
}

// The tip has changed and there is no job on it: what miners find now is worth
// nothing, and the only word of the protocol that they understand is a hang-up.
func TestWorthlessJobTakesNoSharesAndSendsItsMinersAway(t *testing.T) {
	p := open(t, nil)
	idle, busy := p.dial(t).login(rig), p.dial(t).login(rig)
	late := p.dial(t)
	late.subscribe()
	release := p.sink.hold()
	busy.send(`{"id":"under way","method":"mining.submit","params":%s}`, busy.submitParams(rig, 1))
	eventually(t, "a share is under way", func() bool { return p.sink.puts.Load() == 1 })
	p.jobs.none(true)
	busy.send(`{"id":"too late","method":"mining.submit","params":%s}`, busy.submitParams(rig, 2))
	release()
	if r := busy.answer(); string(r.ID) != `"under way"` || string(r.Result) != "true" {
		t.Errorf("what was under way: %s", r.line)
	}
	if r := busy.answer(); string(r.ID) != `"too late"` || r.code() != 21 {
		t.Errorf("what came after: %s", r.line)
	}
	for _, c := range []*client{idle, busy, late} {
		if text := c.closed(); strings.Count(text, "client.show_message") != 1 || strings.Contains(text, "mining.notify") {
			t.Errorf("last words: %s", text)
		}
	}
	p.dial(t).closed() // nor is anybody let in
	p.closedFor(t, stratum.ClosedNoJob, 4)
	if n := len(p.sink.all()); n != 1 {
		t.Errorf("%d shares stored", n)
	}
	p.jobs.next(true, nil)
	if r := p.dial(t).login(rig).submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
}

func TestShareOfAWorthlessJobThatMakesABlockIsStillHandedOver(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.DrainTime = time.Hour })
	p.jobs.next(true, func(j *job.Job) { j.Bits = 0x207fffff })
	c := p.dial(t).login(rig)
	p.jobs.none(true)
	eventually(t, "a block", func() bool {
		if r := c.submit(rig, uint32(c.nextID)); r.code() != 21 {
			t.Fatal(r.line)
		}
		return len(p.sink.allWins()) > 0
	})
	if win := p.sink.allWins()[0]; !win.Stale {
		t.Errorf("%+v", win)
	}
}

// The turns to go are spread over the time of a drain, so that a short gap costs
// few miners.
func TestJobThatComesInTimeKeepsTheMinersOfAWorthlessOne(t *testing.T) {
	for what, back := range map[string]func(*jobs){
		"a new job": func(j *jobs) { j.next(true, nil) }, "the same one": (*jobs).again,
	} {
		p := open(t, func(c *stratum.Config) { c.DrainTime = time.Hour })
		c := p.dial(t).login(rig)
		p.jobs.none(true)
		if r := c.submit(rig, 1); r.code() != 21 {
			t.Fatalf("%s: %s", what, r.line)
		}
		back(p.jobs)
		if what == "a new job" {
			c.await("mining.notify")
		}
		if r := c.submit(rig, 2); string(r.Result) != "true" {
			t.Errorf("%s: %s", what, r.line)
		}
	}
}
