package stratum_test

import (
	"fmt"
	"strings"
	"testing"

	"purepool/pool/job"
	"purepool/stratum"
)

func TestBoundTargetStandsInEveryJobAndFollowsTheDifficulty(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].StartDifficulty = 1e-10 })
	p.jobs.next(true, func(j *job.Job) { j.BindsTarget = true })
	a, b := p.dial(t).login(rig), p.dial(t).login(rig)
	coinbase1 := func(c *client) string {
		t.Helper()
		return strings.Trim(string(c.notify[2]), `"`)
	}
	bits := func(c *client) string {
		t.Helper()
		return fmt.Sprintf("%08x", uint32(job.BitsOf("sha256d", c.difficulty)))
	}
	if coinbase1(a) != coinbase1(b) || !strings.HasSuffix(coinbase1(a), bits(a)) {
		t.Errorf("coinbases end with %s and %s, the target is %s", coinbase1(a), coinbase1(b), bits(a))
	}
	before := a.jobID()
	for n := range uint32(13) {
		if r := a.submit(rig, n); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
	a.await("mining.notify")
	if a.jobID() == before || !strings.HasSuffix(coinbase1(a), bits(a)) || coinbase1(a) == coinbase1(b) {
		t.Errorf("coinbase ends with %s, the target is %s", coinbase1(a), bits(a))
	}
	if r := b.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
	for _, s := range p.sink.all() {
		if s.Found.Target != s.Target || s.Target == 0 {
			t.Errorf("target %08x, bound %08x", s.Target, s.Found.Target)
		}
	}
	// A broadcast brings each its own.
	p.jobs.next(true, func(j *job.Job) { j.BindsTarget = true })
	for _, c := range []*client{a, b} {
		c.await("mining.notify")
		if !strings.HasSuffix(coinbase1(c), bits(c)) {
			t.Errorf("coinbase ends with %s, the target is %s", coinbase1(c), bits(c))
		}
	}
}
