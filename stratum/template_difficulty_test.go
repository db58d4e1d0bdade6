package stratum_test

import (
	"fmt"
	"strings"
	"testing"

	"purepool/pool/vardiff"
	"purepool/stratum"
)

func TestPasswordAndSuggestionsSetTheDifficulty(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].Vardiff.Max = 1e6 })
	for name, try := range map[string]struct {
		suggest, password string
		want              float64
	}{
		"nothing":            {"", "x", 1e-12},
		"d=":                 {"", "d=1000", 1024},
		"D= among others":    {"", "x;D=2.5,foo", 3},
		"d= above ceiling":   {"", "d=1e30", 1e6},
		"md=":                {"", "md=64", 64},
		"md= below d=":       {"", "d=100,md=64", 96},
		"nonsense":           {"", "d=abc,md=-1", 1e-12},
		"suggested":          {"512", "x", 512},
		"d= beats suggested": {"512", "d=3", 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.dial(t)
			if try.suggest != "" {
				c.ask("mining.suggest_difficulty", "["+try.suggest+"]")
			}
			c.subscribe()
			c.ask("mining.authorize", fmt.Sprintf(`[%q,%q]`, address+"."+strings.ReplaceAll(name, " ", ""), try.password))
			c.await("mining.notify")
			if c.difficulty != try.want {
				t.Errorf("difficulty %g", c.difficulty)
			}
		})
	}
}

func TestFastMinerGetsAHigherDifficultyAndNoShareOfItsIsLow(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].StartDifficulty = 1e-10 })
	c := p.dial(t).login(rig)
	for n := range uint32(13) {
		if r := c.submit(rig, n); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
	before := c.jobID()
	c.await("mining.notify")
	if c.difficulty <= 1e-10 || c.jobID() == before || string(c.notify[8]) != "true" {
		t.Errorf("difficulty %g, job %s", c.difficulty, c.jobID())
	}
	// A share made for the job as it was sent before is judged by what it asked.
	r := c.ask("mining.submit", fmt.Sprintf(`[%q,%q,"00000001",%q,"000000ff"]`, rig, before, c.ntime()))
	if string(r.Result) != "true" {
		t.Error(r.line)
	}
	shares := p.sink.all()
	if last := shares[len(shares)-1]; last.Target != shares[0].Target {
		t.Errorf("target %08x, was made for %08x", last.Target, shares[0].Target)
	}
}

func TestDifficultyIsRememberedOverReconnects(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].StartDifficulty = 1e-10 })
	c := p.dial(t).login(rig)
	for n := range uint32(13) {
		c.submit(rig, n)
	}
	c.await("mining.notify")
	_ = c.Close()
	eventually(t, "the difficulty is remembered", func() bool {
		again := p.dial(t).login(rig)
		defer again.Close()
		return again.difficulty == c.difficulty
	})
	if other := p.dial(t).login(address + ".other"); other.difficulty != vardiff.Rung(1e-10) {
		t.Errorf("another worker starts at %g", other.difficulty)
	}
}
