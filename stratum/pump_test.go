package stratum

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
)

// pump is a server without sockets and goroutines: a test feeds bytes to a
// session and then turns the stages by hand. For fuzzing and for counting
// allocations.
type pump struct {
	srv  *Server
	loop *loop
	asm  job.Assembler
	box  outbox
	ops  []*op
	puts []job.Share
}

type fixedJob struct{ j *job.Job }

func (f fixedJob) Watch(tell func(*job.Job, bool)) func() { tell(f.j, false); return func() {} }

type nothing struct{}

func (nothing) Put(context.Context, []job.Share) error { return nil }
func (nothing) Win(context.Context, job.Share) error   { return nil }

func (nothing) Admit(context.Context, Arrival) (Admission, error) { return Admission{Worker: 5}, nil }

func (nothing) RequestWork(context.Context, pool.WorkRequest) (pool.WorkGrant, error) {
	return pool.WorkGrant{PoolAddress: "p", HashTarget: "t", MinerGUID: "g", WorkID: "w"}, nil
}

func (nothing) SubmitSolution(_ context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
	return pool.SolutionReceipt{WorkID: r.Solution.Value}, nil
}

// pipe is a connection that keeps what is written to it.
type pipe struct {
	s      *session
	keep   bool
	text   []byte
	closed bool
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.keep {
		p.text = append(p.text, b...)
	}
	return len(b), nil
}
func (p *pipe) Buffered() int { return 0 }
func (p *pipe) Close() error  { p.closed = true; p.s.gone(io.EOF); return nil }

func newPump(t testing.TB, change func(*Config)) *pump {
	t.Helper()
	now := uint32(time.Now().Unix())
	j := &job.Job{
		Network: "regtest", Seq: 1, Algorithm: "sha256d", Bits: 0x03000001, Time: now, MinTime: now - 60, Clean: true,
		Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 100), Extranonce2Size: 4,
		Branches: make([]chain.Hash, 8), IssuedAt: job.MomentOf(time.Now()),
	}
	cfg := Config{
		Desk: nothing{}, Logger: slog.New(slog.DiscardHandler),
		Networks: []Network{{Name: "regtest", Chain: chain.BiblePayRegtest(), Algorithm: "sha256d", Jobs: fixedJob{j}, Sink: nothing{}, Door: nothing{}}},
		Ports: []Port{
			{Name: "t", Address: "127.0.0.1:0", Network: "regtest", Dialect: Template, StartDifficulty: 1e-12},
			{Name: "c", Address: "127.0.0.1:0", Network: "test", Dialect: Classic},
		},
	}
	cfg.Ports[0].Vardiff.Min = 1e-12
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	srv.counter.Store(0) // so that fuzzJob is the first session's
	p := &pump{srv: srv, box: outbox{srv: srv}, ops: make([]*op, 0, 1024)}
	p.loop = newLoop(srv, 0, func(f func()) error { f(); return nil })
	srv.loops = []*loop{p.loop}
	for _, b := range srv.books {
		b.watch(srv)
	}
	return p
}

func (p *pump) connect(port int) (*session, *pipe) {
	s := &session{port: p.srv.ports[port], addr: netip.MustParseAddr("192.0.2.1")}
	w := &pipe{s: s}
	s.other = w
	_ = p.srv.guard.enter()
	s.port.metrics.fresh.Inc()
	s.admitted()
	p.loop.add(s)
	s.open()
	return s, w
}

// turn runs every stage until nothing is under way.
func (p *pump) turn() {
	for {
		switch {
		case len(p.srv.checks.ops) > 0:
			p.ops = p.srv.checks.pop(p.ops)
			for _, o := range p.ops {
				if p.srv.judge(&p.asm, o) {
					p.puts = append(p.puts[:0], o.share())
					if err := o.s.port.book.sink.Put(context.Background(), p.puts); err != nil {
						o.outcome = Busy
					}
				}
			}
			p.box.send(p.ops)
		case len(p.srv.callers.ops) > 0:
			p.ops = p.srv.callers.pop(p.ops)
			for _, o := range p.ops {
				p.srv.call(context.Background(), o)
			}
			p.box.send(p.ops)
		default:
			return
		}
	}
}

const (
	fuzzAddress = "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"
	fuzzJob     = "102" // as the first session of a pump is sent it
	fuzzLogin   = `{"id":1,"method":"mining.subscribe","params":["fuzz"]}` + "\n" + `{"id":2,"method":"mining.authorize","params":["` + fuzzAddress + `.r","x"]}` + "\n"
)

// answersOf checks that everything that was sent is a JSON object a line, and
// counts the answers.
func answersOf(t *testing.T, text []byte) (n int) {
	t.Helper()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Fatalf("the last line is not ended: %q", text)
	}
	for len(text) > 0 {
		var m message
		end := 0
		for text[end] != '\n' {
			end++
		}
		if err := parseMessage(text[:end], &m); err != nil {
			t.Fatalf("sent %q: %v", text[:end], err)
		}
		if m.method == nil {
			n++
		}
		text = text[end+1:]
	}
	return n
}

// Whatever bytes come, in whatever pieces: the answers are the same as for the
// bytes in one piece, they are JSON, and no memory stays taken.
func FuzzFraming(f *testing.F) {
	f.Add([]byte(fuzzLogin+`{"id":3,"method":"mining.ping"}`+"\n"), uint8(3), false)
	f.Add([]byte("\n\r\n{\n"+fuzzLogin+fuzzLogin), uint8(1), false)
	f.Add([]byte(`{"id":1,"method":"readytomine2","params":{"Miner":"a"}}`+"\n"+`{"id":2,"method":"solution","params":{"Solution":"x"}}`+"\n"), uint8(7), true)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), uint8(2), true)
	f.Fuzz(func(t *testing.T, text []byte, piece uint8, classic bool) {
		port := 0
		if classic {
			port = 1
		}
		// The free bytes of a difficulty line are the same in both runs: so are the
		// extranonces, but for their counter.
		run := func(step int) ([]byte, int) {
			p := newPump(t, func(c *Config) {
				c.Limits.JunkPerIP = 1 << 20
				c.Ports[1].MaxLine = 1 << 16
			})
			defer p.srv.Close()
			s, w := p.connect(port)
			w.keep = true
			for i := 0; i < len(text) && !w.closed; i += step {
				p.loop.traffic(s, append([]byte(nil), text[i:min(i+step, len(text))]...))
				p.turn()
			}
			answers := answersOf(t, w.text)
			if !w.closed {
				s.close(ClosedByPeer)
			}
			if left := p.srv.memory.left.Load(); left != p.srv.cfg.Limits.MemoryBytes {
				t.Fatalf("%d bytes stay taken", p.srv.cfg.Limits.MemoryBytes-left)
			}
			if p.srv.calls.Load() != 0 || p.srv.inFlight.Load() != 0 {
				t.Fatal("something stays under way")
			}
			return w.text, answers
		}
		whole, n := run(max(len(text), 1))
		pieces, m := run(int(piece) + 1)
		if n != m {
			t.Fatalf("%d answers in one piece, %d in pieces:\n%s\n%s", n, m, whole, pieces)
		}
	})
}

// Parameters of every method, on a session that has logged in.
func FuzzMethodParameters(f *testing.F) {
	for _, seed := range [][2]string{
		{"mining.subscribe", `["a","b"]`},
		{"mining.authorize", `["` + fuzzAddress + `.x","d=5,md=3"]`},
		{"mining.submit", `["` + fuzzAddress + `.r","` + fuzzJob + `","00000001","6b02dfdd","00000001","1fffe000"]`},
		{"mining.configure", `[["version-rolling","minimum-difficulty"],{"version-rolling.mask":"1fffe000","minimum-difficulty.value":1e300}]`},
		{"mining.suggest_difficulty", `[1e308]`},
		{"mining.suggest_target", `["00ff"]`},
		{"mining.extranonce.subscribe", `[]`},
		{"mining.multi_version", `[1]`},
		{"mining.get_transactions", `["10"]`},
		{"mining.ping", `null`},
		{"readytomine2", `{"Miner":"\ud83d\ude00","OS":1}`},
		{"solution", `{"Solution":"a\u0000b","NetworkID":"test"}`},
		{"x", `{}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, method, params string) {
		name, err := json.Marshal(method)
		if err != nil {
			return
		}
		line := []byte(`{"id":7,"method":` + string(name) + `,"params":` + params + "}")
		for _, c := range line {
			if c == '\n' {
				return
			}
		}
		for port := range 2 {
			p := newPump(t, nil)
			s, w := p.connect(port)
			p.loop.traffic(s, []byte(fuzzLogin))
			p.turn()
			w.keep = true
			p.loop.traffic(s, append(line, '\n'))
			p.turn()
			if n := answersOf(t, w.text); n != 1 && len(line) < s.port.MaxLine {
				var m message
				if parseMessage(line, &m) == nil && m.answer && m.method == nil {
					return
				}
				t.Fatalf("%d answers to %s: %s", n, line, w.text)
			}
			p.srv.Close()
		}
	})
}

// A submit is stored only if its bytes make the proof that its job asked for.
func FuzzSubmitAgainstJob(f *testing.F) {
	f.Add(fuzzJob, "00000001", uint32(0), uint32(1), "")
	f.Add(fuzzJob, "FFFFFFFF", uint32(7), uint32(1<<31), "00002000")
	f.Add("11", "0", uint32(0), uint32(0), "zz")
	f.Fuzz(func(t *testing.T, jobID, nonce2 string, after, nonce uint32, version string) {
		p := newPump(t, func(c *Config) { c.Ports[0].StartDifficulty = 1e-9 })
		defer p.srv.Close()
		s, w := p.connect(0)
		p.loop.traffic(s, []byte(fuzzLogin))
		p.turn()
		w.keep = true
		params, err := json.Marshal([]string{fuzzAddress + ".r", jobID, nonce2, string(appendHex32(nil, p.srv.books[0].current().job.Time+after)), string(appendHex32(nil, nonce)), version}[:5+min(len(version), 1)])
		if err != nil {
			return
		}
		p.puts = nil
		p.loop.traffic(s, []byte(`{"id":7,"method":"mining.submit","params":`+string(params)+"}\n"))
		p.turn()
		if n := answersOf(t, w.text); n != 1 {
			t.Fatalf("%d answers: %s", n, w.text)
		}
		if taken := len(p.puts) == 1; taken {
			share := p.puts[0]
			open := p.srv.books[0].current()
			var a job.Assembler
			if proof := a.Proof(open.job, &share.Found); proof != share.Proof || !share.Target.Target().MetBy(proof) {
				t.Fatalf("stored: %+v", share)
			}
			if share.Found.Nonce != nonce || share.Found.Extranonce1 != s.extranonce1 {
				t.Fatalf("stored something else: %+v", share)
			}
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 198.51.100.7 192.0.2.1 5000 3333\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\x13\x88\x0d\x05"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := proxyHeaderEnd(b)
		if err != nil {
			return
		}
		for i := range min(n, 64) { // no shorter beginning is a header or refused
			if m, err := proxyHeaderEnd(b[:i]); m != 0 || err != nil {
				t.Fatalf("%d bytes are enough, so are %d (%v)", n, i, err)
			}
		}
		if n == 0 {
			if len(b) > maxProxyV2 {
				t.Fatal("an endless header")
			}
			return
		}
		if ip, err := proxySource(b[:n]); err == nil && ip.IsValid() && ip.Is4In6() {
			t.Fatalf("%s is not unmapped", ip)
		}
	})
}

func TestSubmitAllocatesAtMostTwice(t *testing.T) {
	p := newPump(t, func(c *Config) { c.DuplicatesPerJob = 1 }) // without the growth of the set
	s, _ := p.connect(0)
	p.loop.traffic(s, []byte(fuzzLogin))
	p.turn()
	s.set(fixed)
	line := []byte(`{"params": ["` + fuzzAddress + `.r", "` + fuzzJob + `", "00000001", "` + string(appendHex32(nil, p.srv.books[0].current().job.Time)) + `", "00000000"], "id": 4, "method": "mining.submit"}` + "\n")
	at := len(line) - len(`00000000"], "id": 4, "method": "mining.submit"}`+"\n")
	n := uint32(0)
	submit := func() {
		n++
		copy(line[at:], appendHex32(make([]byte, 0, 8), n))
		p.loop.traffic(s, line)
		p.turn()
	}
	for range 100 {
		submit()
	}
	got := testing.AllocsPerRun(1000, submit)
	t.Logf("%.2f allocations per submit", got)
	if got > 2 {
		t.Errorf("%.2f allocations per submit", got)
	}
}

// BenchmarkSubmitPath is the whole way of a share but for sockets, with sixteen
// shares a read.
func BenchmarkSubmitPath(b *testing.B) {
	p := newPump(b, nil)
	s, _ := p.connect(0)
	p.loop.traffic(s, []byte(fuzzLogin))
	p.turn()
	s.set(fixed)
	const batch = 16
	one := `{"params": ["` + fuzzAddress + `.r", "` + fuzzJob + `", "00000001", "` + string(appendHex32(nil, p.srv.books[0].current().job.Time)) + `", "00000000"], "id": 4, "method": "mining.submit"}` + "\n"
	tail := len(`00000000"], "id": 4, "method": "mining.submit"}` + "\n")
	var lines []byte
	for range batch {
		lines = append(lines, one...)
	}
	n := uint32(0)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		for k := range batch {
			n++
			at := (k+1)*len(one) - tail
			appendHex32(lines[at:at:at+8], n)
		}
		p.loop.traffic(s, lines)
		p.turn()
	}
}
