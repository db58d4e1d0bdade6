package stratum

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"purepool/pool/job"
)

// Fault is something that a miner does wrong, or at least oddly.
type Fault string

// The faults. The first group is odd but right: every share of it must be taken.
const (
	Honest      Fault = ""
	UpperCase   Fault = "upper-case"  // hex in upper case
	Split       Fault = "split"       // every line in pieces of three bytes
	Resubscribe Fault = "resubscribe" // subscribes again after every share
	Reconnect   Fault = "reconnect"   // a new connection after every share

	Duplicate    Fault = "duplicate"    // every share twice
	LowShares    Fault = "low"          // shares that meet nothing
	OldJobs      Fault = "old-jobs"     // goes on with a job after a clean one
	WrongTime    Fault = "time"         // times far ahead
	Malformed    Fault = "malformed"    // parameters that cannot be read
	Unauthorized Fault = "unauthorized" // shares of a worker that never came
	Junk         Fault = "junk"         // lines that are no requests
	HalfLine     Fault = "half-line"    // begins a line and never ends it
	EndlessLine  Fault = "endless-line"
	Nested       Fault = "nested"      // lists within lists, without end
	Binary       Fault = "binary"      // any bytes
	NeverReads   Fault = "never-reads" // asks on and on, and reads nothing
	Churn        Fault = "churn"       // comes, says something or nothing, and goes, without a pause
)

// Faults lists every fault but Honest.
func Faults() []Fault {
	return []Fault{
		UpperCase, Split, Resubscribe, Reconnect, Duplicate, LowShares, OldJobs, WrongTime, Malformed, Unauthorized,
		Junk, HalfLine, EndlessLine, Nested, Binary, NeverReads, Churn,
	}
}

// Options say who mines where. Pool and Worker are needed.
type Options struct {
	Pool string // host:port
	TLS  *tls.Config
	// From, where set, is the address that connections come from. On Linux all of
	// 127.0.0.0/8 will do.
	From      netip.Addr
	Worker    string // ADDRESS.name; a connection's number is put behind it
	Password  string
	Agent     string // sim/1
	Algorithm string // x11 (default), scrypt, sha256d
	// Connections is how many machines there are (1), each with one goroutine that
	// searches and one that reads.
	Connections int
	// HashRate bounds each machine, in hashes per second; 0: as fast as it can.
	HashRate float64
	// Fault is done by every machine.
	Fault Fault
	// Pause is how long a machine waits before it connects again (1 s), Rest how long
	// where it left by itself ([Reconnect], [Churn]; not at all).
	Pause, Rest time.Duration
	// Resume lets a machine that lost its connection come back with the id of its
	// session, and where the pool knows it, hand in again what had no answer.
	Resume bool
	// Shares, where set, ends Run after so many answered shares in all.
	Shares int64

	Logger *slog.Logger
}

// Stats are what happened so far. Safe for concurrent use.
type Stats struct {
	Hashes, Submitted, Accepted atomic.Int64
	Refused                     [26]atomic.Int64 // by error number; 0 is any other
	Connects, Disconnects, Jobs atomic.Int64
	Again                       atomic.Int64 // shares handed in once more after a connection was lost
}

// Snapshot is Stats at one moment, for JSON.
type Snapshot struct {
	Hashes      int64         `json:"hashes"`
	Submitted   int64         `json:"submitted"`
	Accepted    int64         `json:"accepted"`
	Refused     map[int]int64 `json:"refused"`
	Connects    int64         `json:"connects"`
	Disconnects int64         `json:"disconnects"`
	Jobs        int64         `json:"jobs"`
	Again       int64         `json:"again"`
}

// Snapshot returns the numbers now.
func (s *Stats) Snapshot() Snapshot {
	out := Snapshot{
		Hashes: s.Hashes.Load(), Submitted: s.Submitted.Load(), Accepted: s.Accepted.Load(), Refused: map[int]int64{},
		Connects: s.Connects.Load(), Disconnects: s.Disconnects.Load(), Jobs: s.Jobs.Load(), Again: s.Again.Load(),
	}
	for code := range s.Refused {
		if n := s.Refused[code].Load(); n > 0 {
			out.Refused[code] = n
		}
	}
	return out
}

// Miner is a number of machines that mine on one pool.
type Miner struct {
	opt   Options
	stats Stats
	stop  context.CancelFunc
}

// NewMiner checks the options.
func NewMiner(opt Options) (*Miner, error) {
	if opt.Pool == "" || opt.Worker == "" {
		return nil, errors.New("a miner needs a pool and a worker")
	}
	if opt.Algorithm == "" {
		opt.Algorithm = "x11"
	}
	if opt.Agent == "" {
		opt.Agent = "sim/1"
	}
	if opt.Connections == 0 {
		opt.Connections = 1
	}
	if opt.Pause == 0 {
		opt.Pause = time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Miner{opt: opt}, nil
}

// Stats returns the numbers, which go on changing.
func (m *Miner) Stats() *Stats { return &m.stats }

// Run mines until ctx ends, or as many shares were answered as Options.Shares
// says. A pool that is away is tried again.
func (m *Miner) Run(ctx context.Context) error {
	ctx, m.stop = context.WithCancel(ctx)
	defer m.stop()
	var all sync.WaitGroup
	for i := range m.opt.Connections {
		all.Go(func() { m.machine(ctx, i) })
	}
	all.Wait()
	return nil
}

func (m *Miner) machine(ctx context.Context, number int) {
	worker := fmt.Sprintf("%s%d", m.opt.Worker, number)
	var past memory
	for ctx.Err() == nil {
		err := m.connection(ctx, worker, &past)
		if err != nil && ctx.Err() == nil {
			m.opt.Logger.Debug("connection lost", slog.String("worker", worker), slog.Any("error", err))
		}
		pause := m.opt.Pause
		if (m.opt.Fault == Reconnect || m.opt.Fault == Churn) && err == nil {
			pause = m.opt.Rest
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// memory is what a machine keeps over connections.
type memory struct {
	session     string
	extranonce1 job.Extranonce1
	unanswered  map[int][]byte // lines, by the number of the request
}

// rig is one connection at work.
type rig struct {
	m      *Miner
	s      *session
	worker string
	mu     sync.Mutex
	now    state         // guarded by mu: a copy of what the reader was told last
	news   chan struct{} // capacity 1
	// unanswered are the shares handed in without an answer yet; guarded by mu.
	unanswered map[int][]byte
	nextID     int
	ended      chan struct{} // the reader has returned
}

func (m *Miner) connection(ctx context.Context, worker string, past *memory) error {
	s, err := connect(ctx, m.opt.Pool, m.opt.From, m.opt.TLS)
	if err != nil {
		return err
	}
	defer s.Close()
	m.stats.Connects.Add(1)
	defer m.stats.Disconnects.Add(1)
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if misbehave := m.rude(); misbehave != nil {
		return misbehave(ctx, s)
	}
	if err := s.login(m.opt.Agent, past.session, worker, m.opt.Password, m.opt.Algorithm, 30*time.Second); err != nil {
		return err
	}
	r := &rig{m: m, s: s, worker: worker, now: s.seen, news: make(chan struct{}, 1), nextID: 10, ended: make(chan struct{}), unanswered: make(map[int][]byte)}
	left := past.unanswered
	if s.seen.extranonce1 != past.extranonce1 {
		left = nil // worth nothing under another one
	}
	go r.read()
	if err = r.again(left); err == nil {
		err = r.mine(ctx)
	}
	_ = s.Close()
	<-r.ended
	if m.opt.Resume {
		past.session, past.extranonce1, past.unanswered = s.id, s.seen.extranonce1, r.unanswered
	}
	return err
}

// again hands shares of an earlier connection in once more.
func (r *rig) again(lines map[int][]byte) error {
	for id, text := range lines {
		r.nextID = max(r.nextID, id)
		r.mu.Lock()
		r.unanswered[id] = text
		r.mu.Unlock()
	}
	for _, text := range lines {
		r.m.stats.Again.Add(1)
		if _, err := r.s.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// read follows the server until the connection ends.
func (r *rig) read() {
	defer close(r.ended)
	defer r.s.Close()
	for {
		l, err := r.s.read(r.m.opt.Algorithm)
		if err != nil {
			return
		}
		if l.Method == "" {
			r.answered(l)
			continue
		}
		if l.Method == "client.reconnect" {
			return
		}
		if l.Method == "mining.notify" {
			r.m.stats.Jobs.Add(1)
		}
		r.mu.Lock()
		r.now = r.s.seen
		r.mu.Unlock()
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

func (r *rig) answered(l *line) {
	var id int
	if jsonInt(l.ID, &id); id < 10 { // a login's
		return
	}
	r.mu.Lock()
	delete(r.unanswered, id)
	r.mu.Unlock()
	st := &r.m.stats
	if code, _ := l.errorOf(); code != 0 {
		if code < 20 || code > 25 {
			code = 0
		}
		st.Refused[code].Add(1)
	} else {
		st.Accepted.Add(1)
	}
	if want := r.m.opt.Shares; want > 0 {
		done := st.Accepted.Load()
		for i := range st.Refused {
			done += st.Refused[i].Load()
		}
		if done >= want {
			r.m.stop()
		}
	}
	if r.m.opt.Fault == Reconnect {
		_ = r.s.Close()
	}
}

func jsonInt(raw []byte, n *int) {
	*n = 0
	for _, c := range raw {
		if c < '0' || c > '9' {
			*n = 0
			return
		}
		*n = *n*10 + int(c-'0')
	}
}

// chunk is how many hashes are tried between two looks at the news.
const chunk = 64

// mine searches until the connection ends.
func (r *rig) mine(ctx context.Context) error {
	var a job.Assembler
	st := r.current()
	f := job.Found{Nonce: rand.Uint32()}
	began, done := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ended:
			if r.m.opt.Fault == Reconnect {
				return nil
			}
			return io.EOF
		case <-r.news:
			if r.m.opt.Fault != OldJobs || st.generation == 0 {
				st = r.current()
			}
		default:
		}
		target := job.BitsOf(r.m.opt.Algorithm, st.difficulty).Target()
		f.Extranonce1, f.Extranonce2Size = st.extranonce1, uint8(st.extranonce2Size)
		f.Time = st.job.Time
		for range chunk {
			f.Nonce++
			if f.Nonce == 0 {
				binary.BigEndian.PutUint32(f.Extranonce2[:], binary.BigEndian.Uint32(f.Extranonce2[:])+1)
			}
			if target.MetBy(a.Proof(st.job, &f)) != (r.m.opt.Fault == LowShares) {
				if err := r.submit(&st, f); err != nil {
					return err
				}
				if r.m.opt.HashRate > 0 { // a bounded machine does not hand in faster than it finds
					break
				}
			}
		}
		done += chunk
		r.m.stats.Hashes.Add(chunk)
		if rate := r.m.opt.HashRate; rate > 0 {
			if ahead := time.Duration(done/rate*1e9) - time.Since(began); ahead > 0 {
				select {
				case <-ctx.Done():
				case <-r.ended:
				case <-time.After(ahead):
				}
			}
		}
	}
}

func (r *rig) current() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// submit sends a share in the way of the fault.
func (r *rig) submit(st *state, f job.Found) error {
	r.nextID++
	worker := r.worker
	switch r.m.opt.Fault {
	case WrongTime:
		f.Time += 100_000
	case Unauthorized:
		worker = "nobody." + worker
	}
	text := submitLine(nil, r.nextID, worker, st, &f, r.m.opt.Fault == UpperCase)
	submits := int64(1)
	switch r.m.opt.Fault {
	case Malformed:
		text = fmt.Appendf(nil, `{"id":%d,"method":"mining.submit","params":[%s,7,{"a":[]},"zz"]}`+"\n", r.nextID, quote(worker))
	case Duplicate:
		text = append(text, text...)
		submits = 2
	case Resubscribe:
		text = append(text, `{"id":1,"method":"mining.subscribe","params":[]}`+"\n"...)
	case Split:
		r.m.stats.Submitted.Add(1)
		for len(text) > 0 {
			n := min(3, len(text))
			if _, err := r.s.Write(text[:n]); err != nil {
				return err
			}
			text = text[n:]
		}
		return nil
	}
	r.m.stats.Submitted.Add(submits)
	if r.m.opt.Resume {
		r.mu.Lock()
		r.unanswered[r.nextID] = text
		r.mu.Unlock()
	}
	_, err := r.s.Write(text)
	return err
}

// rude returns what a machine does instead of mining.
func (m *Miner) rude() func(context.Context, net.Conn) error {
	repeat := func(first, text string, every time.Duration) func(context.Context, net.Conn) error {
		return func(ctx context.Context, conn net.Conn) error {
			if _, err := io.WriteString(conn, first); err != nil {
				return err
			}
			for ctx.Err() == nil {
				if _, err := io.WriteString(conn, text); err != nil {
					return err
				}
				if every > 0 {
					select {
					case <-ctx.Done():
					case <-time.After(every):
					}
				}
			}
			return ctx.Err()
		}
	}
	switch m.opt.Fault {
	case Junk:
		return repeat("", "GET / HTTP/1.1\x00\xff\r\n", time.Millisecond)
	case HalfLine:
		return repeat(`{"id":1,"method":"`, "x", 100*time.Millisecond)
	case EndlessLine:
		long := make([]byte, 4096)
		for i := range long {
			long[i] = 'x'
		}
		return repeat(`{"id":1,"method":"`, string(long), 0)
	case Nested:
		return repeat("", strings.Repeat(`{"a":[`, 2000)+"\n", time.Millisecond)
	case Binary:
		noise := make([]byte, 4096)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		return repeat("", string(noise), time.Millisecond)
	case Churn:
		said := []string{"", `{"id":1,"method":"mining.subscribe"}` + "\n", `{"id":1,"meth`, loginText(m.opt.Agent, "", m.opt.Worker, "x")}
		return func(_ context.Context, conn net.Conn) error {
			_, _ = io.WriteString(conn, said[rand.IntN(len(said))]) // it is gone the next moment anyway
			return nil
		}
	case NeverReads:
		return repeat(`{"id":1,"method":"mining.subscribe","params":[]}`+"\n", `{"id":2,"method":"mining.ping"}`+"\n", 0)
	}
	return nil
}
