package stratum_test

import (
	"fmt"
	"strings"
	"testing"

	"purepool/pool/job"
	"purepool/stratum"
)

func TestSharesAreRefusedWithTheProtocolsNumbers(t *testing.T) {
	p := open(t, nil)
	stranger := p.dial(t)
	if r := stranger.ask("mining.submit", `["`+rig+`","10","00000001","5f5e1000","00000001"]`); r.code() != 25 {
		t.Errorf("before subscribing: %s", r.line)
	}
	stranger.subscribe()
	if r := stranger.ask("mining.submit", `["`+rig+`","10","00000001","5f5e1000","00000001"]`); r.code() != 24 {
		t.Errorf("before authorizing: %s", r.line)
	}
	c := p.dial(t).login(rig)
	job, ntime := c.jobID(), c.ntime()
	params := func(worker, job, nonce2, ntime, nonce string) string {
		return fmt.Sprintf(`[%q,%q,%q,%q,%q]`, worker, job, nonce2, ntime, nonce)
	}
	for name, ask := range map[string]struct {
		params string
		code   int
	}{
		"another worker":        {params(address+".other", job, "00000001", ntime, "00000001"), 24},
		"no such job":           {params(rig, "fff0", "00000001", ntime, "00000001"), 21},
		"a job's number in red": {params(rig, "xyz", "00000001", ntime, "00000001"), 21},
		"an epoch never sent":   {params(rig, "1f", "00000001", ntime, "00000001"), 21},
		"extranonce2 too long":  {params(rig, job, "0000000100", ntime, "00000001"), 20},
		"extranonce2 too short": {params(rig, job, "000001", ntime, "00000001"), 20},
		"no hex":                {params(rig, job, "0000000g", ntime, "00000001"), 20},
		"time long ago":         {params(rig, job, "00000001", "5f5e1000", "00000001"), 20},
		"time far ahead":        {params(rig, job, "00000001", "ffffffff", "00000001"), 20},
		"nonce too long":        {params(rig, job, "00000001", ntime, "000000001"), 20},
		"too few":               {`["` + rig + `"]`, 20},
		"none":                  {`[]`, 20},
		"an object":             {`{"a":1}`, 20},
		"numbers":               {`[1,2,3,4,5]`, 20},
		"version bits":          {fmt.Sprintf(`[%q,%q,"00000001",%q,"00000001","00002000"]`, rig, job, ntime), 20},
	} {
		if r := c.ask("mining.submit", ask.params); r.code() != ask.code {
			t.Errorf("%s: %s", name, r.line)
		}
	}
	if r := c.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
	upper := strings.ToUpper(c.submitParams(rig, 1))
	upper = strings.Replace(upper, strings.ToUpper(rig), rig, 1)
	if r := c.ask("mining.submit", upper); r.code() != 22 {
		t.Errorf("the same share in upper case: %s", r.line)
	}
	if r := c.ask("mining.submit", strings.Replace(c.submitParams(rig, 0xab), "000000ab", "AB", 1)); string(r.Result) != "true" {
		t.Errorf("a nonce in upper case without its zeros: %s", r.line)
	}
	if n := len(p.sink.all()); n != 2 {
		t.Errorf("%d shares stored", n)
	}
}

func TestLowDifficultyShareIsRefusedAndNotStored(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].StartDifficulty = 1e6 })
	c := p.dial(t).login(rig)
	if r := c.submit(rig, 1); r.code() != 23 {
		t.Error(r.line)
	}
	if n := len(p.sink.all()); n != 0 {
		t.Errorf("%d shares stored", n)
	}
}

func TestOldJobsStayOpenUntilACleanOne(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	old := c.submitParams(rig, 1)
	p.jobs.next(false, nil)
	c.await("mining.notify")
	if r := c.ask("mining.submit", old); string(r.Result) != "true" {
		t.Errorf("a job replaced, but not by a clean one: %s", r.line)
	}
	p.jobs.next(true, nil)
	if r := c.await("mining.notify"); string(r.Params[8]) != "true" {
		t.Error("the clean job is not announced as such")
	}
	if r := c.ask("mining.submit", strings.Replace(old, "00000001\"]", "00000002\"]", 1)); r.code() != 21 {
		t.Errorf("a job that is stale: %s", r.line)
	}
}

func TestStaleShareThatMakesABlockIsStillHandedOver(t *testing.T) {
	p := open(t, nil)
	p.jobs.next(true, func(j *job.Job) { j.Bits = 0x2100ffff })
	c := p.dial(t).login(rig)
	old := c.submitParams(rig, 1)
	p.jobs.next(true, nil)
	c.await("mining.notify")
	if r := c.ask("mining.submit", old); r.code() != 21 {
		t.Error(r.line)
	}
	eventually(t, "the late block is handed over", func() bool { return len(p.sink.allWins()) == 1 })
	if w := p.sink.allWins()[0]; !w.Stale || w.Job != 2 {
		t.Errorf("%+v", w)
	}
}

func TestShareThatCouldNotBeStoredMayBeSentAgain(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	p.sink.fail.Store(true)
	if r := c.submit(rig, 1); r.code() != 20 {
		t.Fatal(r.line)
	}
	p.sink.fail.Store(false)
	if r := c.submit(rig, 1); string(r.Result) != "true" {
		t.Fatal(r.line)
	}
}
