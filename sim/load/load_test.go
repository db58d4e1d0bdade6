package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"purepool/pool/solution"
	"purepool/sim/miner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	guid = "11111111-1111-4111-8111-111111111111"
	work = "aaaaaaaa-0000-4000-8000-000000000001"
)

func addr(l net.Addr) netip.AddrPort { return netip.MustParseAddrPort(l.String()) }

func testClient(t testing.TB) *miner.Client {
	t.Helper()
	c, err := miner.NewClient("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve answers as a pool does, and closes.
func serve(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return addr(s.Listener.Addr())
}

func TestEveryRequestIsSentOnceAndCounted(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	proofs := map[[32]byte]int{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		s, err := solution.Parse([]byte(r.Header.Get("Solution")))
		if err != nil || s.WorkID.String() != work || s.MinerID.String() != guid {
			t.Errorf("%v", err)
			return
		}
		mu.Lock()
		proofs[s.BibleHash]++
		refuse := len(proofs)%10 == 0
		mu.Unlock()
		if refuse {
			_, _ = io.WriteString(w, "<RESPONSE>no</RESPONSE><ERROR>no</ERROR><EOF>")
			return
		}
		_, _ = io.WriteString(w, "<RESPONSE><STATUS>ok</STATUS></RESPONSE><END></HTML>")
	})
	for _, loops := range []int{1, 2} {
		source, err := Solutions(testClient(t), "main", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", &miner.Work{MinerGUID: guid, WorkID: work})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), Options{Addr: server, Source: source, Concurrency: 20, Requests: 500, OK: []byte(SolutionOK), Loops: loops})
		if err != nil {
			t.Fatal(err)
		}
		if r.OK != 450 || r.Refused != 50 || r.Failed != 0 || r.Latency.Count() != 500 || !strings.Contains(r.Sample, "<ERROR>no") {
			t.Errorf("%v, %v: %s", r, r.Err, r.Sample)
		}
		if r.Latency.Percentile(50) <= 0 || r.Latency.Percentile(99) > r.Latency.Max() || r.RequestsPerSecond() <= 0 {
			t.Errorf("%v", r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(proofs) != 1000 {
		t.Errorf("%d proofs for 1000 solutions", len(proofs))
	}
}

func TestWorkIsAskedForEachMinerInTurn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	names := map[string]int{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		names[r.Header.Get("Miner")]++
		_, _ = io.WriteString(w, "<RESPONSE> <HASHTARGET>0</HASHTARGET></RESPONSE>")
	})
	r, err := Run(t.Context(), Options{
		Addr: server, Source: Work(testClient(t), "main", []string{"a", "b/c"}), Concurrency: 3, Requests: 100, OK: []byte(WorkOK),
	})
	if err != nil || r.OK != 100 || names["a"] != 50 || names["b/c"] != 50 {
		t.Errorf("%v %v %v", r, err, names)
	}
}

func TestRunEndsByTimeAndByContext(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })
	source := Prebuilt([][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")})
	r, err := Run(t.Context(), Options{Addr: server, Source: source, Duration: 100 * time.Millisecond})
	if err != nil || r.OK == 0 || r.Elapsed < 100*time.Millisecond {
		t.Errorf("%v %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, Options{Addr: server, Source: source, Duration: time.Hour}); err != nil {
		t.Error(err)
	}
}

func TestFailedRequestsAreCountedAndDoNotEndTheRun(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	source := Prebuilt([][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")})
	r, err := Run(t.Context(), Options{Addr: addr(closed.Addr()), Source: source, Requests: 50, Concurrency: 4})
	if err != nil || r.Failed != 50 || r.Err == nil {
		t.Errorf("%v %v %v", r, err, r.Err)
	}
	release := make(chan struct{})
	defer close(release)
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		panic(http.ErrAbortHandler)
	})
	for _, path := range []string{"/hang", "/cut"} {
		source := Prebuilt([][]byte{[]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")})
		r, err = Run(t.Context(), Options{Addr: silent, Source: source, Requests: 3, Concurrency: 3, Timeout: 300 * time.Millisecond})
		if err != nil || r.Failed != 3 || r.Err == nil {
			t.Errorf("%s: %v %v %v", path, r, err, r.Err)
		}
	}
}

func TestLargeRequestsAreSentWhole(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 4<<20)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %d", len(got))
	})
	source := Prebuilt([][]byte{fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)})
	r, err := Run(t.Context(), Options{Addr: server, Source: source, Requests: 4, Concurrency: 2, OK: fmt.Appendf(nil, "got %d", len(body))})
	if err != nil || r.OK != 4 {
		t.Errorf("%v %v %v %s", r, err, r.Err, r.Sample)
	}
}

func TestOnlyLoopbackIsLoaded(t *testing.T) {
	t.Parallel()
	good := Options{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Source: Prebuilt(nil), Requests: 1}
	for i, spoil := range []func(*Options){
		func(o *Options) { o.Addr = netip.MustParseAddrPort("192.0.2.1:80") },
		func(o *Options) { o.Addr = netip.AddrPort{} },
		func(o *Options) { o.Source = nil },
		func(o *Options) { o.Requests = 0 },
		func(o *Options) { o.Concurrency = maxConcurrency + 1 },
		func(o *Options) { o.Loops = 2 },
	} {
		o := good
		spoil(&o)
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("case %d was taken", i)
		}
	}
}

func TestHistogramIsRightToThreePerCent(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var h, half Histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Record(d)
		} else {
			half.Record(d)
		}
	}
	h.Add(&half)
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9} {
		want := all[int(p/100*float64(len(all)))-1]
		if got := h.Percentile(p); got < want || got > want+want/25+1 {
			t.Errorf("p%v: got %v, want %v", p, got, want)
		}
	}
	if h.Percentile(100) != h.Max() || h.Max() != all[len(all)-1] || new(Histogram).Percentile(50) != 0 {
		t.Error("ends")
	}
	for _, v := range []uint64{0, 1, 63, 64, 65, 1 << 20, 1<<63 - 1, 1<<64 - 1} {
		if b := bucket(v); bound(b) < v || b > 0 && bound(b-1) >= v {
			t.Errorf("%d is in bucket %d, which ends at %d", v, b, bound(b))
		}
	}
}

func TestMakingARequestCostsNoMemory(t *testing.T) {
	source, err := Solutions(testClient(t), "main", "a", &miner.Work{MinerGUID: guid, WorkID: work})
	if err != nil {
		t.Fatal(err)
	}
	buf := source(nil, 0)
	if n := testing.AllocsPerRun(100, func() { buf = source(buf[:0], 12345) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
	if !strings.Contains(string(buf), "0000000000003039,"+guid) {
		t.Error("the number is not in the proof")
	}
}

func TestAgainstAsksForTheWorkThatItsSolutionsNeed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := map[string]int{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Header.Get("Action")]++
		if r.Header.Get("Action") == "readytomine2" {
			_, _ = io.WriteString(w, "<RESPONSE> <ADDRESS>yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9</ADDRESS><HASHTARGET>"+strings.Repeat("0f", 32)+
				"</HASHTARGET><MINERGUID>"+guid+"</MINERGUID><WORKID>"+work+"</WORKID></RESPONSE>")
			return
		}
		s, err := solution.Parse([]byte(r.Header.Get("Solution")))
		if err != nil || s.WorkID.String() != work || s.BibleHash[0] >= 0x0f {
			t.Errorf("%+v %v", s, err)
		}
		_, _ = io.WriteString(w, SolutionOK)
	})
	c, err := miner.NewClient(server.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"readytomine2", "solution"} {
		source, ok, err := Against(t.Context(), c, "test", action, 3)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), Options{Addr: server, Source: source, OK: ok, Requests: 10})
		if err != nil || r.OK != 10 {
			t.Errorf("%s: %v %v %s", action, r, err, r.Sample)
		}
	}
	if asked["readytomine2"] != 11 || asked["solution"] != 10 {
		t.Errorf("%v", asked)
	}
	for _, bad := range [][2]string{{"prod", "solution"}, {"test", "solve"}, {"main", "solution"}} { // a test address on main
		if _, _, err := Against(t.Context(), c, bad[0], bad[1], 1); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// BenchmarkBareServer is what the generator and Go's own server do together, with
// a connection per request: the measure beside which a pool is measured.
func BenchmarkBareServer(b *testing.B) {
	for _, clients := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			server := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<RESPONSE>") })
			source := Work(testClient(b), "main", []string{"a"})
			r, err := Run(b.Context(), Options{Addr: server, Source: source, Concurrency: clients, Requests: int64(b.N)})
			if err != nil || r.Failed > 0 {
				b.Fatal(err, r, r.Err)
			}
			b.ReportMetric(r.RequestsPerSecond(), "req/s")
			b.ReportMetric(float64(r.Latency.Percentile(99).Microseconds()), "p99-µs")
		})
	}
}
