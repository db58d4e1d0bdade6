package stratum_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"purepool/pool/job"
	"purepool/stratum"
)

// sealed gives a frontend a key that its next run has too.
func sealed(key string, start float64) func(*stratum.Config) {
	return func(c *stratum.Config) {
		c.SessionKey = []byte(key)
		c.Ports[0].StartDifficulty = start
		c.Ports[0].Vardiff.Min = start
	}
}

func binds(j *job.Job) { j.BindsTarget = true }

// again starts the frontend anew with the jobs that it had.
func (p *pond) again(t *testing.T, key string, start float64) *pond {
	t.Helper()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	next := open(t, func(c *stratum.Config) {
		sealed(key, start)(c)
		c.Networks[0].Jobs = p.jobs
	})
	next.jobs = p.jobs
	return next
}

// back connects as a miner that lost its connection does.
func (c *client) back(t *testing.T, p *pond) *client {
	t.Helper()
	again := p.dial(t)
	again.session = c.session
	return again.login(rig)
}

func TestShareFoundWhileTheFrontendRestartedIsTaken(t *testing.T) {
	const key = "a key of 32 bytes, more or less."
	p := open(t, sealed(key, 1e-10))
	old := p.jobs.next(true, binds)
	c := p.dial(t).login(rig)
	// Of two jobs that are open, one is the current one still; the miner has found
	// something for each.
	for _, job := range []string{"the one before", "the current one"} {
		if job == "the current one" {
			c = p.dial(t).login(rig)
		} else {
			p.jobs.mu.Lock()
			p.jobs.earlier = append(p.jobs.earlier, old)
			p.jobs.mu.Unlock()
			p.jobs.next(false, binds)
		}
		submit := c.submitParams(rig, 7)
		p = p.again(t, key, 1e-11) // the difficulty that was found is forgotten
		d := c.back(t, p)
		if d.extranonce1 != c.extranonce1 || d.session != c.session {
			t.Fatalf("%s: extranonce1 was %s and is %s", job, c.extranonce1, d.extranonce1)
		}
		if r := d.ask("mining.submit", submit); string(r.Result) != "true" {
			t.Errorf("%s: %s", job, r.line)
		}
		if r := d.ask("mining.submit", submit); r.code() != 22 {
			t.Errorf("%s, again: %s", job, r.line)
		}
		if r := d.submit(rig, 8); string(r.Result) != "true" && r.code() != 23 {
			t.Errorf("the session does not go on: %s", r.line)
		}
		shares := p.sink.all()
		if len(shares) == 0 || hex.EncodeToString(shares[0].Found.Extranonce1[:]) != c.extranonce1 ||
			shares[0].Target != job1Target(c) || shares[0].Found.Target != shares[0].Target {
			t.Errorf("%s: stored %+v", job, shares)
		}
	}
}

// job1Target is the target that stands at the end of the miner's first coinbase
// half.
func job1Target(c *client) (b job.Bits) {
	half := strings.Trim(string(c.notify[2]), `"`)
	_, _ = fmt.Sscanf(half[len(half)-8:], "%08x", &b)
	return b
}

func TestShareOfAnotherSessionOrAnotherTargetIsNot(t *testing.T) {
	const key = "a key of 32 bytes, more or less."
	p := open(t, sealed(key, 1e-6))
	p.jobs.next(true, binds)
	c := p.dial(t).login(rig)
	submit := c.submitParams(rig, 7)
	id := c.jobID()

	other := p.again(t, "another key of some thirty bytes", 1e-6)
	d := c.back(t, other)
	if d.extranonce1 == c.extranonce1 {
		t.Error("a session that another frontend made is taken up")
	}
	if r := d.ask("mining.submit", submit); r.code() != 21 {
		t.Errorf("a share of a session that is not known: %s", r.line)
	}
	p = other.again(t, key, 1e-6)
	d = c.back(t, p)
	harder, easier := fmt.Sprintf("%08x", uint32(job.BitsOf("sha256d", 1e-3))), fmt.Sprintf("%08x", uint32(job.BitsOf("sha256d", 1e-10)))
	for target, code := range map[string]int{
		harder: 23, // its coinbase is another one, and so the proof
		easier: 21, "00000000": 21, "ffffffff": 21, "zzzzzzzz": 21,
	} {
		if r := d.ask("mining.submit", strings.Replace(submit, id, id[:len(id)-8]+target, 1)); r.code() != code {
			t.Errorf("target %s: %s", target, r.line)
		}
	}
	fresh := p.dial(t).login(rig)
	if r := fresh.ask("mining.submit", strings.Replace(submit, id, id[:len(id)-8]+harder, 1)); r.code() != 21 {
		t.Errorf("a target that a session was never asked for: %s", r.line)
	}
	for _, session := range []string{"", "x", c.session[:31], c.session[1:] + "0", strings.Repeat("0", 32)} {
		e := p.dial(t)
		e.session = session
		e.subscribe()
		if e.extranonce1 == c.extranonce1 {
			t.Errorf("session %q is taken up", session)
		}
	}
	p.jobs.next(true, binds) // the tip has changed
	d.await("mining.notify")
	if r := d.ask("mining.submit", submit); r.code() != 21 {
		t.Errorf("a stale share of an earlier session: %s", r.line)
	}
	if len(p.sink.all()) != 0 {
		t.Errorf("%d shares stored", len(p.sink.all()))
	}
}

// A miner that does not name its session, and hands in what it had, has found
// nothing wrong: its share is late.
func TestShareOfASessionThatIsNotNamedIsStaleAndNotInvalid(t *testing.T) {
	for _, bound := range []bool{false, true} {
		p := open(t, sealed("a key of 32 bytes, more or less.", 1e-6))
		p.jobs.next(true, func(j *job.Job) { j.BindsTarget = bound })
		first := p.dial(t).login(rig)
		lost := map[string]string{"the session's first job": first.submitParams(rig, 7)}
		p.jobs.next(false, func(j *job.Job) { j.BindsTarget = bound })
		first.await("mining.notify")
		lost["a job that everybody was told"] = first.submitParams(rig, 7)
		for range 2 {
			for what, submit := range lost {
				if r := p.dial(t).login(rig).ask("mining.submit", submit); r.code() != 21 {
					t.Errorf("bound %v, %s: %s", bound, what, r.line)
				}
			}
			p = p.again(t, "a key of 32 bytes, more or less.", 1e-6)
		}
	}
}

func TestJobThatIsToldAgainAfterItWasWithdrawnLetsMinersIn(t *testing.T) {
	p := open(t, nil)
	there := p.dial(t).login(rig)
	p.jobs.missing()
	p.dial(t).closed()
	p.jobs.again()
	c := p.dial(t).login(rig)
	if r := c.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
	if r := there.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
	if there.notified != 1 {
		t.Errorf("a miner that was there all the time was told the job %d times", there.notified)
	}
}
