package stratum_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/pool"
	"purepool/stratum"
)

// desk is a front desk whose answers a test decides.
type desk struct {
	mu        sync.Mutex
	works     []pool.WorkRequest
	solutions []pool.SolutionRequest
	refuse    func(worker, solution string) error
	hold      chan struct{} // when set, SubmitSolution waits for it to close
}

func (d *desk) RequestWork(_ context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.works = append(d.works, r)
	if d.refuse != nil {
		if err := d.refuse(r.Miner.Value, ""); err != nil {
			return pool.WorkGrant{}, err
		}
	}
	if !r.Miner.Present {
		return pool.WorkGrant{}, &pool.Refusal{Kind: pool.KindWorkerMissing, Text: "WorkerID is missing"}
	}
	return pool.WorkGrant{PoolAddress: "yPool", HashTarget: strings.Repeat("0f", 32), MinerGUID: "guid", WorkID: fmt.Sprintf("work-%d", len(d.works))}, nil
}

func (d *desk) SubmitSolution(ctx context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !r.Solution.Present {
		return pool.SolutionReceipt{}, &pool.Refusal{Kind: pool.KindSolutionMissing, Text: "Solution is missing"}
	}
	if d.refuse != nil {
		if err := d.refuse("", r.Solution.Value); err != nil {
			return pool.SolutionReceipt{}, err
		}
	}
	d.solutions = append(d.solutions, r)
	return pool.SolutionReceipt{WorkID: "work-of-" + r.Solution.Value[:min(len(r.Solution.Value), 8)]}, nil
}

func (d *desk) work(i int) pool.WorkRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.works[i]
}

func (d *desk) taken(i int) pool.SolutionRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.solutions[i]
}

func openClassic(t *testing.T, d *desk, change func(*stratum.Config)) *pond {
	t.Helper()
	return open(t, func(c *stratum.Config) {
		c.Desk = d
		c.Ports = append(c.Ports, stratum.Port{Name: "c", Address: "127.0.0.1:0", Network: "test", Dialect: stratum.Classic})
		if change != nil {
			change(c)
		}
	})
}

func TestClassicMinerOfTheGenericKindGetsWorkAndSubmits(t *testing.T) {
	d := new(desk)
	p := openClassic(t, d, nil)
	c := p.dialPort(t, "c")
	c.subscribe()
	if r := c.ask("mining.submit", `["`+rig+`","a,b,c"]`); r.code() != 24 {
		t.Errorf("before authorizing: %s", r.line)
	}
	if r := c.ask("mining.authorize", `["`+rig+`","x"]`); string(r.Result) != "true" {
		t.Fatal(r.line)
	}
	r := c.await("mining.notify")
	want := fmt.Sprintf(`["work-1","yPool","%s","guid",true]`, strings.Repeat("0f", 32))
	if got, _ := json.Marshal(r.Params); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := d.work(0); got.Miner.Value != address+"/rig1" || got.Network != "test" || got.Agent != "test/1.0" || !got.RemoteIP.IsLoopback() {
		t.Errorf("%+v", got)
	}
	if r := c.ask("mining.submit", `["`+rig+`","a,b\u002cc"]`); string(r.Result) != "true" {
		t.Fatal(r.line)
	}
	if got := d.taken(0); got.Solution.Value != "a,b,c" || got.Network != "test" || time.Since(got.ReceivedAt) > time.Minute {
		t.Errorf("%+v", got)
	}
}

func TestClassicActionsAreMethodsWithTheHeadersAsKeys(t *testing.T) {
	d := new(desk)
	p := openClassic(t, d, nil)
	c := p.dialPort(t, "c")
	r := c.ask("readytomine2", `{"Miner":"`+address+`/rig","NETWORKID":"test","os":"LIN","Agent":"1.1.3.8","ThreadID":3,"Solution":""}`)
	want := fmt.Sprintf(`{"ADDRESS":"yPool","HASHTARGET":"%s","MINERGUID":"guid","WORKID":"work-1"}`, strings.Repeat("0f", 32))
	if string(r.Result) != want {
		t.Errorf("%s", r.line)
	}
	if got := d.work(0); got.OS != "LIN" || got.Agent != "1.1.3.8" || got.ThreadID != "3" || got.Miner.Value != address+"/rig" {
		t.Errorf("%+v", got)
	}
	if r := c.ask("solution", `{"Solution":"s1,s2","NetworkID":"test"}`); string(r.Result) != `{"STATUS":"ok","WORKID":"work-of-s1,s2"}` {
		t.Error(r.line)
	}
	for _, bad := range []struct{ method, params, text string }{
		{"readytomine2", `{"NetworkID":"main","Miner":"x"}`, "Invalid network"},
		{"readytomine2", `{}`, "WorkerID is missing"},
		{"readytomine2", `[]`, "WorkerID is missing"},
		{"solution", `{"NetworkID":"moon","Solution":"x"}`, "Invalid network"},
		{"solution", `{}`, "Solution is missing"},
		{"solution", `{"Solution":5}`, "Solution is missing"},
	} {
		if r := c.ask(bad.method, bad.params); r.code() == 0 || !strings.Contains(string(r.Error), bad.text) {
			t.Errorf("%s %s: %s", bad.method, bad.params, r.line)
		}
	}
}

func TestEveryMethodOfTheProtocolIsAnsweredOnClassicPorts(t *testing.T) {
	p := openClassic(t, new(desk), nil)
	c := p.dialPort(t, "c")
	for _, ask := range []struct{ method, params, want string }{
		{"mining.subscribe", `["test/1.0"]`, ""},
		{"mining.authorize", `["` + rig + `","x"]`, "true"},
		{"mining.extranonce.subscribe", `[]`, "false"},
		{"mining.configure", `[["version-rolling"],{}]`, "{}"},
		{"mining.suggest_difficulty", `[1024]`, "false"},
		{"mining.suggest_target", `["00ff"]`, "false"},
		{"mining.multi_version", `[1]`, "true"},
		{"mining.get_transactions", `["10"]`, "[]"},
		{"mining.ping", `[]`, `"pong"`},
		{"mining.submit", `["` + rig + `","a,b,c"]`, "true"},
		{"readytomine2", `{"Miner":"` + address + `"}`, ""},
		{"solution", `{"Solution":"s1,s2"}`, ""},
	} {
		if r := c.ask(ask.method, ask.params); r.code() != 0 || ask.want != "" && string(r.Result) != ask.want {
			t.Errorf("%s: %s", ask.method, r.line)
		}
	}
	if r := c.ask("eth_submitWork", `[]`); r.code() != 20 {
		t.Error(r.line)
	}
}

func TestRefusalsOfTheFrontDeskHaveStratumsNumbers(t *testing.T) {
	d := &desk{refuse: func(_, solution string) error {
		if solution == "fault" {
			return context.DeadlineExceeded
		}
		if solution != "" {
			return &pool.Refusal{Kind: pool.Kind(solution), Text: "because of " + solution}
		}
		return nil
	}}
	p := openClassic(t, d, nil)
	c := p.dialPort(t, "c")
	for kind, code := range map[pool.Kind]int{
		pool.KindUnknownWork: 21, pool.KindWorkExpired: 21, pool.KindDuplicate: 22, pool.KindHashTargetExceeded: 23,
		pool.KindMinerDisabled: 24, pool.KindUnavailable: 20, pool.KindSolutionInvalid: 20, "fault": 20,
	} {
		r := c.ask("solution", fmt.Sprintf(`{"Solution":%q}`, kind))
		if r.code() != code || kind != "fault" && !strings.Contains(r.line, "because of") || strings.Contains(r.line, "deadline") {
			t.Errorf("%s: %s", kind, r.line)
		}
	}
}

func TestSolutionOfSevenMegabytesIsTakenInAnyPieces(t *testing.T) {
	d := new(desk)
	p := openClassic(t, d, nil)
	c := p.dialPort(t, "c")
	big := strings.Repeat("ab", 7<<19)
	line := `{"id":1,"method":"solution","params":{"Solution":"` + big + `"}}` + "\n"
	for rest := line; rest != ""; {
		n := min(len(rest), 777_777)
		if _, err := c.Write([]byte(rest[:n])); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if r := c.answer(); !strings.Contains(r.line, `"STATUS":"ok"`) {
		t.Fatal(r.line)
	}
	if d.taken(0).Solution.Value != big {
		t.Error("the solution has changed on its way")
	}
	eventually(t, "the memory is given back", func() bool { return p.MemoryLeft() == 256<<20 })
}

func TestMemoryForSolutionsIsBoundedOverAllConnections(t *testing.T) {
	d := &desk{hold: make(chan struct{})}
	p := openClassic(t, d, func(c *stratum.Config) { c.Limits.MemoryBytes = 8 << 20 })
	big := strings.Repeat("x", 300<<10)
	refused := 0
	for range 20 { // twice 300 kB each, four megabytes for strangers
		c := p.dialPort(t, "c")
		c.send(`{"id":1,"method":"solution","params":{"Solution":"%s"}}`, big)
		c.send(`{"id":2,"method":"mining.ping"}`)
		if p.MemoryLeft() < 0 {
			t.Fatal("more memory is taken than there is")
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if line, err := c.r.ReadString('\n'); err == nil && strings.Contains(line, "busy") {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
	close(d.hold)
	eventually(t, "the memory is given back", func() bool { return p.MemoryLeft() == 8<<20 })
}

func TestSlowFrontDeskDelaysNobodyElse(t *testing.T) {
	d := &desk{hold: make(chan struct{})}
	p := openClassic(t, d, func(c *stratum.Config) { c.EventLoops = 1 })
	slow := p.dialPort(t, "c")
	for i := range 40 { // more than may wait
		slow.send(`{"id":%d,"method":"solution","params":{"Solution":"s%d"}}`, i, i)
	}
	quick := p.dial(t)
	quick.subscribe()
	quick.ask("mining.authorize", `["`+rig+`","d=1e-12"]`)
	quick.await("mining.notify")
	for n := range uint32(50) {
		if r := quick.submit(rig, n); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
	close(d.hold)
	busy := 0
	for i := range 40 {
		r := slow.answer()
		if string(r.ID) != fmt.Sprint(i) {
			t.Fatalf("answer %d: %s", i, r.line)
		}
		if r.code() == 20 {
			busy++
		}
	}
	if busy != 40-32 {
		t.Errorf("%d refused", busy)
	}
}

func TestOldWorkIsRenewedUnasked(t *testing.T) {
	d := new(desk)
	p := openClassic(t, d, func(c *stratum.Config) { c.WorkRefresh = time.Second })
	c := p.dialPort(t, "c")
	c.subscribe()
	c.ask("mining.authorize", `["`+rig+`","x"]`)
	c.await("mining.notify")
	if r := c.await("mining.notify"); string(r.Params[4]) != "false" {
		t.Error(r.line)
	}
}
