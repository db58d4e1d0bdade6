package stratum_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"purepool/pool"
	"purepool/pool/job"
	"purepool/stratum"
)

const rig = address + ".rig1"

func TestMinerSubscribesAuthorizesAndIsPaidForAShare(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	if r := c.submit(rig, 1); string(r.Result) != "true" || string(r.Error) != "null" {
		t.Fatal(r.line)
	}
	shares := p.sink.all()
	if len(shares) != 1 {
		t.Fatalf("%d shares stored", len(shares))
	}
	s := shares[0]
	if s.Job != 1 || s.Worker != 1 || s.Found.Nonce != 1 || hex.EncodeToString(s.Found.Extranonce1[:]) != c.extranonce1 ||
		s.Found.Extranonce1.Frontend() != 7 || s.Target != job.BitsOf("sha256d", c.difficulty) {
		t.Errorf("%+v", s)
	}
	var a job.Assembler
	if a.Proof(p.jobs.now(), &s.Found) != s.Proof {
		t.Error("the stored share does not give its proof again")
	}
}

func TestSubscribeAndAuthorizeComeInEitherOrderAndAgain(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	if r := c.ask("mining.authorize", `["`+rig+`","x"]`); string(r.Result) != "true" {
		t.Fatal(r.line)
	}
	c.subscribe()
	c.await("mining.notify")
	first := c.extranonce1
	for n := range uint32(5) { // a miner that subscribes after every submit
		if r := c.submit(rig, n); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
		c.subscribe()
		if c.extranonce1 != first {
			t.Fatalf("extranonce1 has changed to %s", c.extranonce1)
		}
		if r := c.ask("mining.authorize", `["`+rig+`","x"]`); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
}

func TestExtranoncesDifferBetweenSessions(t *testing.T) {
	p := open(t, nil)
	seen := map[string]bool{}
	for range 50 {
		c := p.dial(t)
		c.subscribe()
		if seen[c.extranonce1] || len(c.extranonce1) != 16 {
			t.Fatalf("%s", c.extranonce1)
		}
		seen[c.extranonce1] = true
	}
}

func TestEveryMethodOfTheProtocolIsAnswered(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	for _, ask := range []struct{ method, params, want string }{
		{"mining.extranonce.subscribe", `[]`, "true"},
		{
			"mining.configure", `[["version-rolling","minimum-difficulty","subscribe-extranonce","x"],{"version-rolling.mask":"1fffe000","minimum-difficulty.value":0.5}]`,
			`{"version-rolling":false,"minimum-difficulty":true,"subscribe-extranonce":true,"x":false}`,
		},
		{"mining.suggest_difficulty", `[1024]`, "true"},
		{"mining.suggest_difficulty", `["1024.5"]`, "true"},
		{"mining.suggest_target", `["00000000ffff0000000000000000000000000000000000000000000000000000"]`, "true"},
		{"mining.multi_version", `[1]`, "true"},
		{"mining.get_transactions", `["10"]`, "[]"},
		{"mining.ping", `[]`, `"pong"`},
	} {
		if r := c.ask(ask.method, ask.params); string(r.Result) != ask.want {
			t.Errorf("%s: %s", ask.method, r.line)
		}
	}
	for _, again := range []string{"mining.subscribe", "mining.authorize", "mining.submit"} { // login has asked the first two once
		params := map[string]string{
			"mining.subscribe": `["test/1.0"]`, "mining.authorize": `["` + rig + `","x"]`, "mining.submit": c.submitParams(rig, 7),
		}[again]
		if r := c.ask(again, params); r.code() != 0 || len(r.Result) == 0 {
			t.Errorf("%s: %s", again, r.line)
		}
	}
	for _, bad := range []struct{ method, params string }{
		{"mining.suggest_difficulty", `["x"]`},
		{"mining.suggest_difficulty", `[-1]`},
		{"mining.suggest_difficulty", `[]`},
		{"mining.suggest_target", `["zz"]`},
		{"eth_submitWork", `[]`},
		{"readytomine2", `{}`},
		{"", `[]`},
	} {
		if r := c.ask(bad.method, bad.params); r.code() != 20 {
			t.Errorf("%s: %s", bad.method, r.line)
		}
	}
	if r := c.submit(rig, 1); string(r.Result) != "true" {
		t.Errorf("the session does not go on: %s", r.line)
	}
}

func TestMinerThatDoesNotSayWhatItIsIsAsked(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	c.ask("mining.subscribe", "[]")
	r := c.await("client.get_version")
	c.send(`{"id":7,"result":"no answer to that","error":null}`)
	c.send(`{"id":%s,"result":"cgminer/4.11","error":null}`, r.ID)
	c.send(`{"id":%s,"result":"another","error":null}`, r.ID)
	c.login(rig)
	silent := p.dial(t)
	silent.ask("mining.subscribe", `[""]`)
	silent.send(`{"id":%s,"result":null,"error":[20,"unknown method",null]}`, silent.await("client.get_version").ID)
	if r := silent.ask("mining.authorize", `["`+rig+`"]`); string(r.Result) != "true" {
		t.Error(r.line)
	}
	if got := p.door.arrivals(); got[0].Agent != "cgminer/4.11" || got[1].Agent != "" {
		t.Errorf("%+v", got)
	}
}

func TestIDsOfAnyJSONTypeComeBackAsSent(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	for _, id := range []string{`1`, `-1.5e3`, `"a b"`, `"\u00e9\""`, `null`, `true`, `[1,"x"]`, `{"a":{"b":1}}`, `18446744073709551616`, `"` + strings.Repeat("x", 200) + `"`} {
		c.send(`{"id":%s,"method":"mining.ping"}`, id)
		if r := c.answer(); string(r.ID) != id {
			t.Errorf("%s came back as %s", id, r.ID)
		}
		c.send(`{"method":"mining.authorize","params":["%s","x"],"id":%s}`, rig, id)
		if r := c.answer(); string(r.ID) != id {
			t.Errorf("%s came back as %s from authorize", id, r.ID)
		}
	}
	c.send(`{"method":"mining.ping"}`)
	if r := c.answer(); string(r.ID) != "null" || string(r.Result) != `"pong"` {
		t.Error(r.line)
	}
}

func TestWrongAddressIsRefusedAtTheDoorWithAReason(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	for _, worker := range []string{"", "x", address[:33] + "z.rig", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH.rig", "." + address} {
		r := c.ask("mining.authorize", fmt.Sprintf(`[%q,"x"]`, worker))
		if r.code() != 24 || len(r.Error) < 20 {
			t.Errorf("%q: %s", worker, r.line)
		}
	}
	if r := c.ask("mining.authorize", `[]`); r.code() != 24 {
		t.Error(r.line)
	}
	if len(p.door.arrivals()) != 0 {
		t.Error("the door was asked")
	}
}

func TestDoorsRefusalReachesTheMinerAndItsFaultsDoNot(t *testing.T) {
	p := open(t, nil)
	p.door.decide(func(_ context.Context, a stratum.Arrival) error {
		if a.Worker == "bad" {
			return &pool.Refusal{Kind: pool.KindMinerDisabled, Text: "Miner " + address + " is disabled"}
		}
		return errors.New("secret inner life")
	})
	c := p.dial(t)
	if r := c.ask("mining.authorize", `["`+address+`/bad","x"]`); r.code() != 24 || !strings.Contains(r.line, "is disabled") {
		t.Error(r.line)
	}
	if r := c.ask("mining.authorize", `["`+address+`/good","x"]`); r.code() != 20 || strings.Contains(r.line, "secret") {
		t.Error(r.line)
	}
	if r := c.ask("mining.ping", `[]`); string(r.Result) != `"pong"` {
		t.Error(r.line)
	}
}

func TestWorkersAreNamedWithADotOrASlash(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	c.subscribe()
	for _, name := range []string{address, address + ".a.b", address + "/c"} {
		if r := c.ask("mining.authorize", fmt.Sprintf(`[%q,"x"]`, name)); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
	var got []string
	for _, a := range p.door.arrivals() {
		if a.Address != address || a.Network != "regtest" || a.Agent != "test/1.0" || !a.RemoteIP.IsLoopback() {
			t.Errorf("%+v", a)
		}
		got = append(got, a.Worker)
	}
	if !slices.Equal(got, []string{"", "a.b", "c"}) {
		t.Errorf("%q", got)
	}
	// All of them may hand in shares on the one connection.
	for i, name := range []string{address, address + ".a.b", address + "/c"} {
		if r := c.submit(name, uint32(i)); string(r.Result) != "true" {
			t.Errorf("%s: %s", name, r.line)
		}
	}
	if s := p.sink.all(); len(s) != 3 || s[0].Worker == s[1].Worker {
		t.Errorf("%+v", s)
	}
}

func TestVersionRollingWhereTheChainAllowsIt(t *testing.T) {
	p := open(t, nil)
	p.jobs.next(true, func(j *job.Job) { j.VersionMask = 0x1fffe000 })
	c := p.dial(t)
	r := c.ask("mining.configure", `[["version-rolling"],{"version-rolling.mask":"00fff000","version-rolling.min-bit-count":2}]`)
	if string(r.Result) != `{"version-rolling":true,"version-rolling.mask":"00ffe000"}` {
		t.Fatal(r.line)
	}
	c.login(rig)
	submit := func(bits string) *reply {
		return c.ask("mining.submit", strings.TrimSuffix(c.submitParams(rig, 1), "]")+`,"`+bits+`"]`)
	}
	if r := submit("00002000"); string(r.Result) != "true" {
		t.Error(r.line)
	}
	if r := submit("00000001"); r.code() != 20 {
		t.Errorf("a bit outside the mask: %s", r.line)
	}
	p.jobs.next(false, func(j *job.Job) { j.VersionMask = 0x00f00000 })
	if r := c.await("mining.set_version_mask"); string(r.Params[0]) != `"00f00000"` {
		t.Error(r.line)
	}
}

func TestExtranonce2SizeMayChangeForWhoCanBeTold(t *testing.T) {
	p := open(t, nil)
	able, unable := p.dial(t).login(rig), p.dial(t).login(rig)
	able.ask("mining.extranonce.subscribe", "[]")
	p.jobs.next(true, func(j *job.Job) { j.Extranonce2Size = 8 })
	if r := able.await("mining.set_extranonce"); string(r.Params[1]) != "8" {
		t.Error(r.line)
	}
	able.await("mining.notify")
	if r := able.ask("mining.submit", strings.Replace(able.submitParams(rig, 1), `"00000001"`, `"0000000000000001"`, 1)); string(r.Result) != "true" {
		t.Error(r.line)
	}
	unable.closed()
}

func TestShowMessageReachesEveryMiner(t *testing.T) {
	p := open(t, nil)
	var all []*client
	for range 5 {
		all = append(all, p.dial(t).login(rig))
	}
	p.ShowMessage("regtest", `back at "noon"`)
	for _, c := range all {
		if r := c.await("client.show_message"); string(r.Params[0]) != `"back at \"noon\""` {
			t.Error(r.line)
		}
	}
}

func TestDrainSendsMinersAwayAndStoresWhatIsUnderWay(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.DrainTo = stratum.DrainTarget{Host: "other.example", Port: 3333} })
	release := p.sink.hold()
	c := p.dial(t).login(rig)
	c.send(`{"id":9,"method":"mining.submit","params":%s}`, c.submitParams(rig, 1))
	eventually(t, "the share is under way", func() bool { return p.sink.puts.Load() == 1 })
	ended := make(chan error, 1)
	go func() { ended <- p.stop() }()
	if last := c.closed(); !strings.Contains(last, `"client.reconnect","params":["other.example",3333,1]`) {
		t.Errorf("%q", last)
	}
	release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := len(p.sink.all()); n != 1 {
		t.Errorf("%d shares stored", n)
	}
}

func TestAnswersLeaveInTheOrderOfTheirRequests(t *testing.T) {
	p := open(t, nil)
	release := p.sink.hold()
	c := p.dial(t).login(rig)
	var text strings.Builder
	for i := range 20 {
		switch i % 4 {
		case 0, 1:
			fmt.Fprintf(&text, `{"id":%d,"method":"mining.submit","params":%s}`+"\n", i, c.submitParams(rig, uint32(i)))
		case 2:
			fmt.Fprintf(&text, `{"id":%d,"method":"mining.ping"}`+"\n", i)
		case 3:
			fmt.Fprintf(&text, `{"id":%d,"method":"unknown"}`+"\n", i)
		}
	}
	if _, err := c.Write([]byte(text.String())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first share is under way", func() bool { return p.sink.puts.Load() > 0 })
	time.Sleep(20 * time.Millisecond) // an answer that overtook would have come by now
	release()
	for i := range 20 {
		if r := c.answer(); string(r.ID) != fmt.Sprint(i) {
			t.Fatalf("answer %d is %s", i, r.line)
		}
	}
}
