package bbprpc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"purepool/bbprpc"
)

// echoing answers each call of a batch with its second parameter, in an order of
// its own, through edit.
func echoing(t *testing.T, edit func([]string) []string) *peer {
	t.Helper()
	return newPeer(t, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var many []wireRequest
		if err := json.Unmarshal(body, &many); err != nil {
			t.Errorf("not a batch: %v", err)
		}
		answers := make([]string, len(many))
		for i, r := range many {
			answers[i] = fmt.Sprintf(`{"result":%q,"error":null,"id":%s}`, r.Params[0], r.ID)
		}
		io.WriteString(w, "["+strings.Join(edit(answers), ",")+"]")
	})
}

func asTheyAre(answers []string) []string { return answers }

// questionsFor returns n calls whose results should be "0", "1", …
func questionsFor(n int) ([]*bbprpc.Call, []string) {
	calls, results := make([]*bbprpc.Call, n), make([]string, n)
	for i := range calls {
		calls[i] = bbprpc.NewCall("getsomething", &results[i], fmt.Sprint(i))
	}
	return calls, results
}

func checkResults(t *testing.T, calls []*bbprpc.Call, results []string) {
	t.Helper()
	for i := range calls {
		if calls[i].Err != nil || results[i] != fmt.Sprint(i) {
			t.Fatalf("call %d: %q, %v", i, results[i], calls[i].Err)
		}
	}
}

func TestABatchFindsItsAnswersInAnyOrder(t *testing.T) {
	daemon := echoing(t, func(answers []string) []string {
		rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
		return answers
	})
	calls, results := questionsFor(60)
	if err := clientOf(t, daemon.URL).Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	checkResults(t, calls, results)
	if daemon.timesAsked() != 1 {
		t.Errorf("%d exchanges", daemon.timesAsked())
	}
}

func TestABatchIsSplitByNumberAndBySize(t *testing.T) {
	daemon := echoing(t, asTheyAre)
	calls, results := questionsFor(250)
	if err := clientOf(t, daemon.URL).Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	checkResults(t, calls, results)
	if daemon.timesAsked() != 3 {
		t.Errorf("%d exchanges for 250 calls", daemon.timesAsked())
	}

	var largest atomic.Int64
	large := newPeer(t, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		largest.Store(max(largest.Load(), int64(len(body))))
		var many []wireRequest
		if json.Unmarshal(body, &many) != nil {
			io.WriteString(w, `{"result":1,"error":null,"id":0}`)
			return
		}
		answers := make([]string, len(many))
		for i, r := range many {
			answers[i] = fmt.Sprintf(`{"result":1,"error":null,"id":%s}`, r.ID)
		}
		io.WriteString(w, "["+strings.Join(answers, ",")+"]")
	})
	block := strings.Repeat("00", 1<<20)
	calls = nil
	for range 9 { // 18 MiB
		calls = append(calls, bbprpc.NewCall("getsomething", nil, block))
	}
	if err := clientOf(t, large.URL).Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	if largest.Load() > 8<<20+1000 || large.timesAsked() != 3 {
		t.Errorf("%d exchanges of at most %d bytes", large.timesAsked(), largest.Load())
	}
}

func TestCallsOfABatchFailOneByOne(t *testing.T) {
	const no = `{"result":null,"error":{"code":-8,"message":"m"},"id":1}`
	for name, c := range map[string]struct {
		edit func([]string) []string
		away []int // which calls nothing is known of
		no   []int // which were refused
	}{
		"a refusal":          {func(a []string) []string { a[1] = no; return a }, nil, []int{1}},
		"a missing answer":   {func(a []string) []string { return append(a[:1], a[2:]...) }, []int{1}, nil},
		"an answer twice":    {func(a []string) []string { return append(a, a[1]) }, []int{1}, nil},
		"twice, once no":     {func(a []string) []string { return append(a, no) }, []int{1}, nil},
		"an unknown id":      {func(a []string) []string { return append(a, strings.Replace(a[1], `"id":1`, `"id":7`, 1)) }, nil, nil},
		"an id in a string":  {func(a []string) []string { a[1] = strings.Replace(a[1], `"id":1`, `"id":"1"`, 1); return a }, []int{1}, nil},
		"an id of null":      {func(a []string) []string { a[1] = strings.Replace(a[1], `"id":1`, `"id":null`, 1); return a }, []int{1}, nil},
		"a negative id":      {func(a []string) []string { a[1] = strings.Replace(a[1], `"id":1`, `"id":-1`, 1); return a }, []int{1}, nil},
		"a wrong type":       {func(a []string) []string { a[1] = strings.Replace(a[1], `"1"`, `{}`, 1); return a }, []int{1}, nil},
		"no answers at all":  {func(a []string) []string { return nil }, []int{0, 1, 2}, nil},
		"something else":     {func(a []string) []string { return []string{"7"} }, []int{0, 1, 2}, nil},
		"a call warming up":  {func(a []string) []string { a[1] = strings.Replace(no, "-8", "-28", 1); return a }, []int{1}, nil},
		"a fault in a call":  {func(a []string) []string { a[1] = strings.Replace(no, "-8", "-32603", 1); return a }, []int{1}, nil},
		"everything as sent": {asTheyAre, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			calls, results := questionsFor(3)
			err := clientOf(t, echoing(t, c.edit).URL).Batch(t.Context(), calls)
			if errors.Is(err, bbprpc.ErrAway) != (len(c.away) > 0) {
				t.Errorf("Batch = %v", err)
			}
			want := []string{"ok", "ok", "ok"}
			for _, i := range c.away {
				want[i] = "away"
			}
			for _, i := range c.no {
				want[i] = "no"
			}
			for i, call := range calls {
				got := "ok"
				switch {
				case errors.Is(call.Err, bbprpc.ErrAway):
					got = "away"
				case bbprpc.IsCode(call.Err, -8):
					got = "no"
				case call.Err != nil || results[i] != fmt.Sprint(i):
					got = fmt.Sprint(results[i], call.Err)
				}
				if got != want[i] {
					t.Errorf("call %d: %s, want %s (%v)", i, got, want[i], call.Err)
				}
			}
		})
	}
}

// One share that upsets the daemon must not look like a daemon that is gone.
func TestOneCallThatGoesWrongIsToldFromADaemonThatIsGone(t *testing.T) {
	answered := func(err error) bool { return asAway(t, err).Answered }
	for name, answer := range map[string]string{
		"wrong shape": `{"result":{},"error":null,"id":1}`,
		"fault":       `{"result":null,"error":{"code":-32603,"message":"m"},"id":1}`,
		"missing":     `{"result":"x","error":null,"id":9}`,
	} {
		daemon := echoing(t, func(answers []string) []string { answers[1] = answer; return answers })
		calls, _ := questionsFor(3)
		if err := clientOf(t, daemon.URL).Batch(t.Context(), calls); !answered(err) || err != calls[1].Err {
			t.Errorf("%s: %v", name, err)
		}
	}
	calls, _ := questionsFor(3)
	if err := clientOf(t, saying(t, 200, `[]`).URL).Batch(t.Context(), calls); answered(err) {
		t.Errorf("an empty answer: %v", err)
	}
	// The second of two exchanges finds the daemon gone.
	var exchanges atomic.Int64
	daemon := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		if exchanges.Add(1) > 1 {
			w.WriteHeader(502)
			return
		}
		io.WriteString(w, `[{"result":{},"error":null,"id":0},{"result":"1","error":null,"id":1}]`)
	})
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL}}, MaxBatch: 2, MaxInFlight: 1})
	calls, _ = questionsFor(4)
	if err := c.Batch(t.Context(), calls); answered(err) {
		t.Errorf("the first error is preferred to the graver: %v", err)
	}
}

func TestABatchThatIsAnsweredAsAWhole(t *testing.T) {
	for body, away := range map[string]bool{
		`{"result":7,"error":null,"id":0}`:                                      true,
		`{"result":null,"error":{"code":-28,"message":"Loading"},"id":null}`:    true,
		`{"result":null,"error":{"code":-32700,"message":"Parse"},"id":null}`:   true,
		`{"result":null,"error":{"code":-32600,"message":"Request"},"id":null}`: false,
	} {
		calls, _ := questionsFor(3)
		err := clientOf(t, saying(t, 500, body).URL).Batch(t.Context(), calls)
		if errors.Is(err, bbprpc.ErrAway) != away {
			t.Errorf("%s: %v", body, err)
		}
		for i, call := range calls {
			if call.Err == nil || errors.Is(call.Err, bbprpc.ErrAway) != away {
				t.Errorf("%s: call %d: %v", body, i, call.Err)
			}
		}
	}
}

func TestOnlyTheUnansweredCallsOfABatchGoToTheNextDaemon(t *testing.T) {
	first := echoing(t, func(answers []string) []string { return answers[:2] })
	var asked atomic.Int64
	second := newPeer(t, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var many []wireRequest
		if err := json.Unmarshal(body, &many); err != nil {
			t.Error(err)
		}
		asked.Store(int64(len(many)))
		io.WriteString(w, `[{"result":"2","error":null,"id":2}]`)
	})
	calls, results := questionsFor(3)
	if err := clientOf(t, first.URL, second.URL).Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	checkResults(t, calls, results)
	if asked.Load() != 1 {
		t.Errorf("the second daemon was asked %d calls", asked.Load())
	}
}

func TestPaymentsInABatchAreNotSentAgain(t *testing.T) {
	first := newPeer(t, func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) })
	second := resulting(t, `"x"`)
	calls := []*bbprpc.Call{
		bbprpc.NewCall("sendmany", nil, "", map[string]bbprpc.Amount{"B9": 1}),
		bbprpc.NewCall("getblockcount", nil),
	}
	err := clientOf(t, first.URL, second.URL).Batch(t.Context(), calls)
	if !errors.Is(err, bbprpc.ErrAway) || !errors.Is(calls[0].Err, bbprpc.ErrAway) || calls[1].Err != nil {
		t.Errorf("%v, %v, %v", err, calls[0].Err, calls[1].Err)
	}
	if second.timesAsked() != 1 || strings.Contains(second.asked[0], "sendmany") {
		t.Errorf("the second daemon was asked %v", second.asked)
	}
}

func TestACallThatCannotBeWrittenFailsAlone(t *testing.T) {
	daemon := resulting(t, `"0"`)
	var result string
	bad := bbprpc.NewCall("getsomething", nil, func() {})
	good := bbprpc.NewCall("getsomething", &result)
	if err := clientOf(t, daemon.URL).Batch(t.Context(), []*bbprpc.Call{bad, good}); err != nil {
		t.Fatal(err)
	}
	if bad.Err == nil || good.Err != nil || result != "0" {
		t.Errorf("%v, %v, %q", bad.Err, good.Err, result)
	}
	if err := clientOf(t, daemon.URL).Batch(t.Context(), nil); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func BenchmarkBatchOfAHundredShares(b *testing.B) {
	b.ReportAllocs()
	answer := make([]string, 100)
	for i := range answer {
		answer[i] = fmt.Sprintf(`{"result":{"Command":"biblehash","BibleHash":%q},"error":null,"id":%d}`, someProof, i)
	}
	body := "[" + strings.Join(answer, ",") + "]"
	daemon := newPeer(b, func(w http.ResponseWriter, _ *http.Request, _ []byte) { io.WriteString(w, body) })
	c := clientOf(b, daemon.URL)
	calls, proofs := make([]*bbprpc.Call, 100), make([][32]byte, 100)
	for b.Loop() {
		for i := range calls {
			calls[i] = bbprpc.BibleHashCall(bbprpc.BibleHashQuery{Nonce: uint32(i)}, &proofs[i])
		}
		if err := c.Batch(b.Context(), calls); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "calls/s")
}
