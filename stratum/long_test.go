package stratum

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// classicPump is a miner's session on a classic port.
func classicPump(t testing.TB, change func(*Config)) (*pump, *session, *pipe) {
	t.Helper()
	p := newPump(t, change)
	s, w := p.connect(1)
	w.keep = true
	return p, s, w
}

// say sends lines as reads of at most a size each.
func (p *pump) say(s *session, text string, most int) {
	for text != "" {
		n := min(len(text), most)
		p.loop.traffic(s, []byte(text[:n]))
		text = text[n:]
	}
}

// all returns what was answered, and checks that nothing stays taken.
func (p *pump) all(t *testing.T, w *pipe) (answers []answered) {
	t.Helper()
	if left := p.srv.memory.left.Load(); left != p.srv.cfg.Limits.MemoryBytes || p.srv.calls.Load() != 0 {
		t.Errorf("%d bytes and %d calls stay taken", p.srv.cfg.Limits.MemoryBytes-left, p.srv.calls.Load())
	}
	for line := range strings.Lines(string(w.text)) {
		var a answered
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if a.Method == "" {
			answers = append(answers, a)
		}
	}
	w.text = nil
	return answers
}

type answered struct {
	ID     any
	Method string
	Result any
	Error  []any
}

// of is the solution that the answer is for.
func (a answered) of() string {
	r, _ := a.Result.(map[string]any)
	text, _ := r["WORKID"].(string)
	return text
}

func (a answered) says(text string) bool {
	return len(a.Error) == 3 && strings.Contains(fmt.Sprint(a.Error[1]), text)
}

func solutionLine(id, solution string) string {
	return `{"id":` + id + `,"method":"solution","params":{"Solution":"` + solution + `"}}` + "\n"
}

func TestLongLineIsReadByACallerAndNotOnTheEventLoop(t *testing.T) {
	p, s, w := classicPump(t, nil)
	read := func() float64 { return testutil.ToFloat64(s.port.metrics.requests[methodSolution]) }
	long, short := strings.Repeat("ab", 4<<20), strings.Repeat("c", 3400)
	p.say(s, solutionLine("1", long), 64<<10)
	if n := read(); n != 0 {
		t.Error("the event loop has read the line")
	}
	p.say(s, solutionLine("2", short), 64<<10)
	if n := read(); n != 1 {
		t.Error("what is short is not read at once")
	}
	p.turn()
	if got := p.all(t, w); len(got) != 2 || got[0].of() != long || got[1].of() != short {
		t.Errorf("%d answers", len(got))
	}
}

// Lines of any lengths, in any pieces, with callers that are quick or slow, and
// others to be let in between: the answers come in order, and each is its line's.
func TestLongLinesAreAnsweredInTheirTurnInAnyPieces(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's history
		p, s, w := classicPump(t, func(c *Config) { c.Limits.LongLineRate = 1e12 })
		var text strings.Builder
		var want []string
		for id := range 20 {
			switch rnd.IntN(4) {
			case 0:
				fmt.Fprintf(&text, `{"id":%d,"method":"mining.authorize","params":["%s.%d","x"]}`+"\n", id, fuzzAddress, id)
				want = append(want, "")
			case 1:
				solution := fmt.Sprintf("%d-%s", id, strings.Repeat("s", rnd.IntN(100)))
				text.WriteString(solutionLine(fmt.Sprint(id), solution))
				want = append(want, solution)
			default:
				solution := fmt.Sprintf("%d-%s", id, strings.Repeat("l", 60<<10+rnd.IntN(300<<10)))
				text.WriteString(solutionLine(fmt.Sprint(id), solution))
				want = append(want, solution)
			}
		}
		for rest := text.String(); rest != ""; {
			n := min(len(rest), 1+rnd.IntN(64<<10))
			p.loop.traffic(s, []byte(rest[:n]))
			rest = rest[n:]
			if rnd.IntN(8) == 0 {
				p.turn()
			}
		}
		p.turn()
		if w.closed {
			t.Fatalf("seed %d: closed as %s", seed, s.reason)
		}
		got := p.all(t, w)
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d answers to %d requests", seed, len(got), len(want))
		}
		for id, a := range got {
			if a.ID != float64(id) || a.of() != want[id] || want[id] == "" && a.Result != true {
				t.Fatalf("seed %d: answer %d has id %v and is for %.20q, not %.20q", seed, id, a.ID, a.of(), want[id])
			}
		}
	}
}

func TestLongSubmitIsTakenFromWhoIsAuthorizedWhenItComes(t *testing.T) {
	p, s, w := classicPump(t, nil)
	long := strings.Repeat("x", 100<<10)
	submit := func(id int, worker string) string {
		return fmt.Sprintf(`{"id":%d,"method":"mining.submit","params":["%s","%s"]}`+"\n", id, worker, long)
	}
	p.say(s, submit(1, "a.r")+`{"id":2,"method":"mining.authorize","params":["a.r","x"]}`+"\n"+submit(3, "a.r")+submit(4, "b.r"), 64<<10)
	p.turn()
	p.say(s, `{"id":5,"method":"mining.submit","params":["a.r",["`+long+`"]]}`+"\n", 64<<10)
	p.turn()
	got := p.all(t, w)
	if len(got) != 5 || !got[0].says("Unauthorized") || got[1].Result != true || got[2].Result != true || !got[3].says("Unauthorized") || !got[4].says("Malformed") {
		t.Errorf("%.300q", fmt.Sprint(got))
	}
}

func TestLongJunkCountsAndLongRequestsOtherThanSolutionsAreJunk(t *testing.T) {
	pad := strings.Repeat(" ", 70<<10)
	for what, line := range map[string]string{
		"no request":      `{"id":7,` + pad + "\n",
		"another request": `{"id":7,"method":"mining.authorize",` + pad + `"params":["a.r","x"]}` + "\n",
		"an answer":       `{"id":7,"result":true` + pad + "}\n",
	} {
		p, s, w := classicPump(t, nil)
		for n := range p.srv.cfg.Limits.JunkLines {
			if w.closed {
				t.Fatalf("%s: closed after %d", what, n)
			}
			p.say(s, line, 64<<10)
			p.turn()
		}
		if got := p.all(t, w); !w.closed || s.reason != ClosedJunk || len(got) != p.srv.cfg.Limits.JunkLines || got[0].ID != 7.0 || got[0].Error == nil {
			t.Errorf("%s: closed as %s, answered %.200q", what, s.reason, fmt.Sprint(got))
		}
	}
	// Who does not wait for the answers is banned all the same.
	p, s, w := classicPump(t, func(c *Config) { c.Limits.JunkPerIP = 20 })
	for range 20 {
		p.say(s, strings.Repeat("x", 70<<10)+"\n", 64<<10)
	}
	from := s.from
	s.close(ClosedByPeer)
	p.turn()
	if !from.banned(p.srv.now()) {
		t.Error("who has sent long junk and gone is not banned")
	}
	p.all(t, w)
}

func TestLongLinesBeyondWhatMayWaitAreRefusedAndThenClosed(t *testing.T) {
	p, s, w := classicPump(t, func(c *Config) { c.Limits.PendingClassic = 3 })
	line := func(id int) string { return solutionLine(fmt.Sprint(id), strings.Repeat("x", 100<<10)) }
	for id := range 6 {
		p.say(s, line(id), 64<<10)
	}
	p.turn()
	got := p.all(t, w)
	if len(got) != 6 {
		t.Fatalf("%d answers", len(got))
	}
	for id, a := range got {
		if a.ID != float64(id) || a.says("busy") != (id >= 3) {
			t.Errorf("answer %d: %.100q", id, fmt.Sprint(a))
		}
	}
	for id := range 7 {
		p.say(s, line(id), 64<<10)
	}
	p.turn()
	if !w.closed || s.reason != ClosedFlood {
		t.Errorf("closed as %s", s.reason)
	}
	p.all(t, w)
}

// What comes while a worker is let in waits in its pieces, which are not joined.
func TestLongLineThatHasWaitedIsReadByACallerToo(t *testing.T) {
	p, s, w := classicPump(t, nil)
	long := strings.Repeat("y", 8<<20-1000)
	p.say(s, `{"id":1,"method":"mining.authorize","params":["a.r","x"]}`+"\n"+solutionLine("2", long)+solutionLine("3", "z"), 64<<10)
	if !s.has(suspended) || s.kept() < len(long) {
		t.Fatal("nothing waits")
	}
	pieces := len(s.extra.held)
	call := p.srv.callers.pop(p.ops)
	p.srv.call(background, call[0])
	p.box.send(call) // the worker is let in, and what has waited is read on
	if n := testutil.ToFloat64(s.port.metrics.requests[methodSolution]); n != 1 || pieces < 100 {
		t.Errorf("%v solutions are read on the event loop, of %d pieces", n, pieces)
	}
	p.turn()
	if got := p.all(t, w); len(got) != 3 || got[1].of() != long || got[2].of() != "z" {
		t.Errorf("%d answers", len(got))
	}
}

// BenchmarkLongLine is how long the event loop is held up by a solution of a
// size, which comes in reads of 64 KiB: in all, and at most at a time.
func BenchmarkLongLine(b *testing.B) {
	for _, size := range []int{3400, 64 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newPump(b, func(c *Config) { c.Limits.LongLineRate = 1e12 })
			s, _ := p.connect(1)
			line := []byte(`{"id":1,"method":"solution","params":{"Solution":"`)
			line = append(line, bytes.Repeat([]byte("a"), size-len(line)-len(`"}}`+"\n"))...)
			line = append(line, `"}}`+"\n"...)
			var all, longest time.Duration
			b.SetBytes(int64(size))
			for b.Loop() {
				for rest := line; len(rest) > 0; {
					n := min(len(rest), 64<<10)
					began := time.Now()
					p.loop.traffic(s, rest[:n])
					took := time.Since(began)
					all, longest = all+took, max(longest, took)
					rest = rest[n:]
				}
				p.turn()
			}
			b.ReportMetric(float64(all.Microseconds())/float64(b.N), "loop-µs/op")
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		})
	}
}
