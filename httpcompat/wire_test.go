package httpcompat_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"purepool/httpcompat"
	"purepool/httpcompat/recorded"
	"purepool/pool"
)

// solutionDesk answers with the length of the solution it was given.
func solutionDesk() deskFunc {
	d := instantDesk()
	d.solution = func(_ context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
		return pool.SolutionReceipt{WorkID: fmt.Sprint(len(r.Solution.Value))}, nil
	}
	return d
}

func solutionOf(size int) string {
	return post("Action: solution", "NetworkID: main", "Solution: "+strings.Repeat("f", size))
}

func TestEightMebibyteSolutionHeaderIsTaken(t *testing.T) {
	s := start(t, httpcompat.Config{}, solutionDesk())
	for _, size := range []int{0, 1, 4000, 4096, 8190, 16 << 10, 64 << 10, 1 << 20, 8 << 20} {
		_, body := s.ask(t, solutionOf(size))
		if want := fmt.Sprintf("<RESPONSE><STATUS>ok</STATUS><WORKID>%d</WORKID></RESPONSE><END></HTML>", size); body != want {
			t.Errorf("%d bytes: %s", size, body)
		}
	}
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
}

func TestTooLongSolutionGetsAnErrorThatTheClientCanRead(t *testing.T) {
	s := start(t, httpcompat.Config{}, solutionDesk())
	for _, size := range []int{8<<20 + 1, 9 << 20, 30 << 20} {
		status, body := s.ask(t, solutionOf(size))
		if status != 200 || body != errorBody("Request is too long") {
			t.Errorf("%d bytes: %d %s", size, status, body)
		}
	}
}

func TestTooManyHeaderLinesAreRefused(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	lines := []string{"Action: readytomine2"}
	for len(lines) < 102 {
		lines = append(lines, "X: y")
	}
	if _, body := s.ask(t, post(lines...)); body != errorBody("Too many header lines") {
		t.Error(body)
	}
	if _, body := s.ask(t, post(lines[:90]...)); body != grantBody {
		t.Error(body)
	}
}

// TestMemoryStaysBoundedUnderManyHugeRequests lets forty clients send eight
// mebibytes each, all but the last byte, into a budget of 64 MiB.
func TestMemoryStaysBoundedUnderManyHugeRequests(t *testing.T) {
	const budget, clients = 64 << 20, 40
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{Memory: budget, MemoryPerIP: budget}}, solutionDesk())
	request := []byte(solutionOf(8 << 20))
	var peak, done atomic.Int64
	stop := make(chan struct{})
	var watch, all sync.WaitGroup
	watch.Go(func() {
		for {
			peak.Store(max(peak.Load(), int64(s.metric(t, "purepool_http_memory_reserved_bytes"))))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	full := make(chan struct{}) // every client has sent what it can
	var sent sync.WaitGroup
	sent.Add(clients)
	busy, ok := new(atomic.Int64), new(atomic.Int64)
	for range clients {
		all.Go(func() {
			c := s.dial(t)
			c.Write(request[:len(request)-1])
			sent.Done()
			<-full
			c.Write(request[len(request)-1:])
			answer, err := io.ReadAll(c)
			switch {
			case err != nil:
				t.Error(err)
			case bytes.Contains(answer, []byte("<ERROR>The pool is busy")):
				busy.Add(1)
			case bytes.Contains(answer, []byte("<STATUS>ok")):
				ok.Add(1)
			default:
				t.Errorf("%q", answer)
			}
			done.Add(1)
		})
	}
	sent.Wait()
	// While large requests have all the memory, small ones go through at once.
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
	if _, body := s.ask(t, solutionOf(10<<10)); !strings.Contains(body, "<STATUS>ok") {
		t.Error(body)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	close(full)
	all.Wait()
	close(stop)
	watch.Wait()
	t.Logf("taken %d, busy %d, peak of the budget %d MiB, heap then %d MiB", ok.Load(), busy.Load(), peak.Load()>>20, memory.HeapInuse>>20)
	if ok.Load() == 0 || busy.Load() == 0 {
		t.Error("want some taken and some turned away")
	}
	if peak.Load() > budget {
		t.Errorf("%d bytes reserved, more than the budget", peak.Load())
	}
	// The test's own request is 8 MiB of the heap.
	if limit := uint64(budget + 40<<20); memory.HeapInuse > limit {
		t.Errorf("heap of %d bytes, want at most %d", memory.HeapInuse, limit)
	}
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
}

func TestOneAddressCannotTakeAllTheMemory(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{Memory: 256 << 20, MemoryPerIP: 33 << 19}}, solutionDesk())
	big := []byte(solutionOf(8 << 20))
	first := s.dial(t)
	if _, err := first.Write(big[:len(big)-1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "first request has its memory", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") >= 8<<20 })
	if _, body := s.ask(t, string(big)); !strings.Contains(body, "<ERROR>The pool is busy") {
		t.Error(body)
	}
	first.Close()
	eventually(t, "memory given back", func() bool { return s.metric(t, "purepool_http_memory_reserved_bytes") == 0 })
	if _, body := s.ask(t, string(big)); !strings.Contains(body, "<STATUS>ok") {
		t.Error(body)
	}
}

func TestSlowSenderIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{HeadTimeout: 100 * time.Millisecond, MinRate: 1 << 20}}, instantDesk())
	c := s.dial(t)
	begin := time.Now()
	// A byte every few milliseconds is alive, but never done.
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{workRequest[i]}); err != nil || i == len(workRequest)-60 {
			break
		}
		if s.closed(t, "slow") == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "closed as slow", func() bool { return s.closed(t, "slow") == 1 })
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// A large head gets the time it needs at the least rate, a small one does not.
func TestTimeForTheHeadGrowsWithItsBytes(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{HeadTimeout: 50 * time.Millisecond, MinRate: 1 << 20}}, solutionDesk())
	c := s.dial(t)
	request := solutionOf(2 << 20)
	for i := 0; i < len(request); i += 256 << 10 {
		if _, err := io.WriteString(c, request[i:min(i+256<<10, len(request))]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // 270 ms in all
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "<WORKID>2097152</WORKID>") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestTimeForTheHeadHasAnEnd(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxHeadTime: 50 * time.Millisecond}}, instantDesk())
	fmt.Fprint(s.dial(t), workRequest[:100])
	eventually(t, "closed as slow", func() bool { return s.closed(t, "slow") == 1 })
}

func TestIdleConnectionIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{IdleTimeout: 20 * time.Millisecond}}, instantDesk())
	if n, err := s.dial(t).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v", n, err)
	}
	eventually(t, "closed as idle", func() bool { return s.closed(t, "idle") == 1 })
}

func TestHalfHeadsAreCountedAndForgotten(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	const step = 37
	n := 0
	end := strings.Index(workRequest, "\r\n\r\n") + 4
	for i := 0; i < end; i += step {
		c := s.dial(t)
		io.WriteString(c, workRequest[:i])
		c.Close()
		n++
	}
	eventually(t, "all closed as gone", func() bool { return s.closed(t, "gone") == n })
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
}

func TestRequestInSinglesBytesIsUnderstood(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	c := s.dial(t)
	for i := range len(workRequest) {
		if _, err := c.Write([]byte{workRequest[i]}); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(answer), grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestHostileBytesGetAnErrorAndHarmNobody(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	for name, c := range map[string]struct {
		request string
		status  int
		text    string
	}{
		"TLS greeting":         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "this is not HTTP"},
		"NULs":                 {"\x00\x00\x00\x00", 400, "this is not HTTP"},
		"words":                {"hello\r\n\r\n", 400, "this is not HTTP"},
		"HTTP/0.9":             {"GET /Action.aspx\r\n\r\n", 400, "without a version"},
		"HTTP/2":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "only HTTP/1.0"},
		"NUL in the target":    {"GET /Action.aspx?\x00 HTTP/1.1\r\n\r\n", 400, "request target"},
		"NUL in a value":       {post("Action: ready\x00tomine2"), 200, "control character"},
		"CR in a value":        {post("Action: ready\rtomine2"), 200, "control character"},
		"DEL in a value":       {post("X: " + strings.Repeat("x", 30) + "\x7f"), 200, "control character"},
		"no colon":             {post("Action"), 200, "without a colon"},
		"no name":              {post(": x"), 200, "without a name"},
		"blank before colon":   {post("Action : readytomine2"), 200, "not allowed"},
		"folded line":          {post("Action: ready", " tomine2"), 200, "without a colon"},
		"folded with colon":    {post("Action: ready", " tomine2: x"), 200, "not allowed"},
		"empty lines for ever": {strings.Repeat("\r\n", 200), 400, "empty lines"},
		"endless request line": {"GET /" + strings.Repeat("a", 20<<10), 400, "Request is too long"},
	} {
		status, body := s.ask(t, c.request)
		if status != c.status || !strings.Contains(body, c.text) || !strings.HasSuffix(body, "</ERROR><EOF>") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
}

func TestOtherPagesAreNotFound(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	for target, want := range map[string]int{
		"/Action.aspx": 200, "/Action.aspx?a=b": 200, "http://pool.example.org/Action.aspx": 200, "HTTPS://pool:443/Action.aspx?": 200,
		"/": 404, "*": 404, "/action.aspx": 404, "//Action.aspx": 404, "/Action.aspx/": 404, "/healthz": 404, "/%41ction.aspx": 404,
		"/x?/Action.aspx": 404, "ftp://pool/Action.aspx": 404, "http:///Action.aspx": 404, "http://pool": 404,
	} {
		if status, _ := s.ask(t, "GET "+target+" HTTP/1.1\r\nAction: readytomine2\r\n\r\n"); status != want {
			t.Errorf("%s: %d, want %d", target, status, want)
		}
	}
}

func TestRequestsAreReadLeniently(t *testing.T) {
	var got pool.WorkRequest
	desk := instantDesk()
	desk.work = func(_ context.Context, r pool.WorkRequest) (pool.WorkGrant, error) { got = r; return someGrant, nil }
	s := start(t, httpcompat.Config{}, desk)
	for name, c := range map[string]struct {
		request string
		miner   pool.Field
	}{
		"bare LF":             {"POST /Action.aspx HTTP/1.1\nAction: readytomine2\nMiner: a/b\n\n", pool.Field{Value: "a/b", Present: true}},
		"empty line first":    {"\r\n\r\nPOST /Action.aspx HTTP/1.0\r\nAction: readytomine2\r\nMiner: a/b\r\n\r\n", pool.Field{Value: "a/b", Present: true}},
		"blanks around":       {post("Action: \t readytomine2 \t", "Miner:  a/b  "), pool.Field{Value: "a/b", Present: true}},
		"no blank":            {post("Action:readytomine2", "Miner:a/b"), pool.Field{Value: "a/b", Present: true}},
		"blanks within":       {post("Action: readytomine2", "Miner: a/b\tc  d"), pool.Field{Value: "a/b\tc  d", Present: true}},
		"UTF-8":               {post("Action: readytomine2", "Miner: a/wörker"), pool.Field{Value: "a/wörker", Present: true}},
		"any bytes":           {post("Action: readytomine2", "Miner: a/\xff\xe9"), pool.Field{Value: "a/\xff\xe9", Present: true}},
		"two lines":           {post("Action: readytomine2", "Miner: a", "mINER: b", "Miner: c"), pool.Field{Value: "a,b,c", Present: true}},
		"empty":               {post("Action: readytomine2", "Miner:"), pool.Field{Present: true}},
		"missing":             {post("Action: readytomine2"), pool.Field{}},
		"long, but cut":       {post("Action: readytomine2", "Miner: "+strings.Repeat("ö", 1<<20)), pool.Field{Value: strings.Repeat("ö", 2048), Present: true}},
		"many lines, cut too": {post("Action: readytomine2", "Miner: "+strings.Repeat("x", 4000), "Miner: "+strings.Repeat("y", 4000)), pool.Field{Value: strings.Repeat("x", 4000) + "," + strings.Repeat("y", 95), Present: true}},
	} {
		if _, body := s.ask(t, c.request); body != grantBody {
			t.Errorf("%s: %s", name, body)
		}
		if got.Miner != c.miner {
			t.Errorf("%s: %.80q %v", name, got.Miner.Value, got.Miner.Present)
		}
	}
}

func TestWhatIsEchoedIsEscapedAndShort(t *testing.T) {
	desk := instantDesk()
	desk.work = func(_ context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
		return pool.WorkGrant{}, &pool.Refusal{Kind: pool.KindWorkerInvalid, Text: "WorkerID " + r.Miner.Value + " is invalid"}
	}
	desk.solution = func(_ context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
		return pool.SolutionReceipt{WorkID: r.Solution.Value}, nil
	}
	s := start(t, httpcompat.Config{}, desk)
	const nasty, safe = `<b a='1' b="2">&`, `&lt;b a=&#39;1&#39; b=&#34;2&#34;&gt;&amp;`
	if _, body := s.ask(t, post("Action: "+nasty)); body != errorBody("UNKNOWN ACTION "+safe) {
		t.Error(body)
	}
	if _, body := s.ask(t, post("Action: readytomine2", "Miner: "+nasty)); body != errorBody("WorkerID "+safe+" is invalid") {
		t.Error(body)
	}
	if _, body := s.ask(t, post("Action: solution", "Solution: "+nasty)); !strings.Contains(body, "<WORKID>"+safe+"</WORKID>") {
		t.Error(body)
	}
	if _, body := s.ask(t, post("Action: "+strings.Repeat("<", 1<<20))); len(body) > 12<<10 || !strings.HasSuffix(body, "</ERROR><EOF>") {
		t.Errorf("%d bytes echoed", len(body))
	}
	if _, body := s.ask(t, post("Action: \xff\xfe")); body != errorBody("UNKNOWN ACTION \uFFFD") {
		t.Error(body)
	}
}

func TestFaultIsLoggedAndAnsweredInForm(t *testing.T) {
	secret := errors.New("password of the database is hunter2")
	for name, fail := range map[string]func() error{
		"error": func() error { return secret },
		"panic": func() error { panic(secret) },
	} {
		t.Run(name, func(t *testing.T) {
			desk := instantDesk()
			desk.work = func(context.Context, pool.WorkRequest) (pool.WorkGrant, error) { return pool.WorkGrant{}, fail() }
			s := start(t, httpcompat.Config{}, desk)
			status, body := s.ask(t, workRequest)
			if status != 200 || strings.Contains(body, "hunter2") {
				t.Errorf("%d %s", status, body)
			}
			_, id, _ := strings.Cut(body, "(request ")
			id, _, ok := strings.Cut(id, ")</RESPONSE>")
			if !ok || len(id) != 8 {
				t.Fatalf("no request id in %s", body)
			}
			if log := s.log.String(); !strings.Contains(log, "request="+id) || !strings.Contains(log, "hunter2") {
				t.Errorf("log: %s", log)
			}
			if n := s.metric(t, "purepool_http_requests_total", "outcome", "Fault"); n != 1 {
				t.Errorf("%v faults counted", n)
			}
		})
	}
}

func TestManyFaultsDoNotFloodTheLog(t *testing.T) {
	desk := instantDesk()
	desk.work = func(context.Context, pool.WorkRequest) (pool.WorkGrant, error) {
		return pool.WorkGrant{}, errors.New("broken")
	}
	s := start(t, httpcompat.Config{}, desk)
	for range 400 {
		s.ask(t, workRequest)
	}
	if n := strings.Count(s.log.String(), "Request failed"); n < 100 || n > 300 {
		t.Errorf("%d lines", n)
	}
}

func TestFrontDeskThatHangsIsGivenUp(t *testing.T) {
	desk := instantDesk()
	desk.work = waitThen(make(chan struct{}, 1), nil, nil)
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{DeskTimeout: 20 * time.Millisecond}}, desk)
	if _, body := s.ask(t, workRequest); !strings.Contains(body, "<ERROR>The pool took too long, please try again (request ") {
		t.Error(body)
	}
}

func TestBodyIsIgnoredWhateverItSays(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	head := func(line string) string { return post("Action: readytomine2", line) }
	for name, request := range map[string]string{
		"none":                head("X: y"),
		"as told":             head("Content-Length: 5") + "abcde",
		"large":               head("Content-Length: 3000000") + strings.Repeat("x", 3_000_000),
		"another request":     head("Content-Length: 0") + workRequest,
		"more than told":      head("Content-Length: 1") + strings.Repeat("x", 1_000_000),
		"chunked":             head("Transfer-Encoding: chunked") + "5\r\nabcde\r\n0\r\n\r\n",
		"chunked and garbage": head("Transfer-Encoding: chunked") + strings.Repeat("\x00", 100_000),
		"length of nonsense":  head("Content-Length: -1") + "x",
		"length twice":        post("Action: readytomine2", "Content-Length: 3", "Content-Length: 4") + "xxxx",
		"length too long":     head("Content-Length: "+strings.Repeat("9", 30)) + "x",
	} {
		c := s.dial(t)
		go func() {
			io.WriteString(c, request)
			c.CloseWrite()
		}()
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(answer), grantBody) || strings.Count(string(answer), "HTTP/1.1") != 1 {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
}

// A client that announces a body and never sends it has its answer at once.
func TestAnswerDoesNotWaitForTheBody(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	c := s.dial(t)
	io.WriteString(c, post("Action: readytomine2", "Content-Length: 12", "Expect: 100-continue"))
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(answer), grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestClientThatNeverStopsSendingIsClosed(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{LingerBytes: 1 << 20}}, instantDesk())
	c := s.dial(t)
	junk := strings.Repeat("x", 64<<10)
	io.WriteString(c, post("Action: readytomine2", "Content-Length: 999999999"))
	for {
		if _, err := io.WriteString(c, junk); err != nil {
			break
		}
	}
	eventually(t, "closed", func() bool { return s.closed(t, "answered_unread") == 1 })
}

func TestClientThatStaysIsLeft(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{LingerTimeout: 20 * time.Millisecond}}, instantDesk())
	io.WriteString(s.dial(t), post("Action: readytomine2", "Content-Length: 10"))
	eventually(t, "closed", func() bool { return s.closed(t, "answered_unread") == 1 })
}

func TestNetHTTPClientUnderstandsTheAnswers(t *testing.T) {
	s := start(t, httpcompat.Config{}, instantDesk())
	transport := &http.Transport{ExpectContinueTimeout: 5 * time.Second}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, method := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS"} {
		for _, expect := range []string{"", "100-continue"} {
			req := httptest.NewRequest(method, "http://"+s.addr+"/Action.aspx", strings.NewReader("readytomine2"))
			req.RequestURI = ""
			req.Header.Set("Action", "readytomine2")
			if expect != "" {
				req.Header.Set("Expect", expect)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Errorf("%s: %v", method, err)
				continue
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || method != "HEAD" && string(body) != grantBody {
				t.Errorf("%s: %q, %v", method, body, err)
			}
		}
	}
}

// wantClosedAtOnce fails unless the server closes a new connection unasked, maybe
// before it is seen to be open.
func (s *server) wantClosedAtOnce(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnectionsPerIP: 2000, BurstPerIP: 2000}}, instantDesk())
	const clients = 1000
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = s.dial(t)
		io.WriteString(conns[i], workRequest[:50])
	}
	eventually(t, "all are open", func() bool { return s.metric(t, "purepool_http_connections_open") == clients })
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() {
			io.WriteString(c, workRequest[50:])
			if answer, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(answer), grantBody) {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
	all.Wait()
	eventually(t, "all are closed", func() bool {
		return s.metric(t, "purepool_http_connections_open") == 0 && s.closed(t, "answered") == clients
	})
}

func TestConnectionsAreBoundedInAll(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnections: 3}}, instantDesk())
	for range 3 {
		s.dial(t)
	}
	eventually(t, "three are open", func() bool { return s.metric(t, "purepool_http_connections_open") == 3 })
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_many_connections") == 1 })
}

func TestConnectionsAreBoundedPerAddress(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{MaxConnectionsPerIP: 2}}, instantDesk())
	held := s.dial(t)
	s.dial(t)
	eventually(t, "two are open", func() bool { return s.metric(t, "purepool_http_connections_open") == 2 })
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_many_connections_of_ip") == 1 })
	held.Close()
	eventually(t, "one is open", func() bool { return s.metric(t, "purepool_http_connections_open") == 1 })
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
}

func TestNewConnectionsAreBoundedPerAddressAndTime(t *testing.T) {
	s := start(t, httpcompat.Config{Limits: httpcompat.Limits{RatePerIP: 0.001, BurstPerIP: 5}}, instantDesk())
	for range 5 {
		if _, body := s.ask(t, workRequest); body != grantBody {
			t.Error(body)
		}
	}
	s.wantClosedAtOnce(t)
	eventually(t, "one was turned away", func() bool { return s.closed(t, "too_fast_for_ip") == 1 })
}

const childVariable = "PUREPOOL_HTTPCOMPAT_CHILD"

// serveAsChild is the other process of TestEmfileDoesNotStopAccepting: a server
// with few file descriptors, which writes its address and stops at the end of its
// input.
func serveAsChild() {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 40, Max: 40}); err != nil {
		panic(err)
	}
	t := new(testing.T)
	s := start(t, httpcompat.Config{}, instantDesk())
	fmt.Println(s.addr)
	io.Copy(io.Discard, os.Stdin)
	fmt.Printf("errors %v\n", s.metric(t, "purepool_http_accept_errors_total") > 0)
	s.stop()
}

func TestEmfileDoesNotStopAccepting(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer stdin.Close()
	lines := bufio.NewReader(stdout)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: strings.TrimSpace(addr)}
	// More connections than the other process can have; the kernel takes them all.
	var conns []*net.TCPConn
	for range 80 {
		conns = append(conns, s.dial(t))
	}
	// The last one waits for a descriptor, which the first ones give back.
	last := s.dial(t)
	io.WriteString(last, workRequest)
	time.Sleep(100 * time.Millisecond) // the server must hit the limit meanwhile; too short would only weaken the test
	for _, c := range conns {
		c.Close()
	}
	if answer, err := io.ReadAll(last); err != nil || !strings.HasSuffix(string(answer), grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
	if _, body := s.ask(t, workRequest); body != grantBody {
		t.Error(body)
	}
	stdin.Close()
	if verdict, _ := lines.ReadString('\n'); verdict != "errors true\n" {
		t.Errorf("%q: it never ran out of descriptors", verdict)
	}
}

func TestForwardedForIsIgnoredFromStrangers(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{}, desk)
	for _, line := range []string{"X-Forwarded-For: 203.0.113.9", "X-Real-IP: 203.0.113.9", "X_Forwarded_For: 203.0.113.9"} {
		s.ask(t, post("Action: readytomine2", "NetworkID: main", "Miner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", line))
		if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != "127.0.0.1" {
			t.Errorf("%s: work for %s", line, ip)
		}
	}
}

// The addresses that the original wrote down in the recorded cases 057 to 065, or
// failed on, when the peer is a trusted proxy.
func TestForwardedForIsTakenFromTrustedProxies(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{TrustedProxies: prefixes("127.0.0.0/8", "10.0.0.0/8")}, desk)
	for line, want := range map[string]string{
		"X-Forwarded-For: 198.51.100.7, 203.0.113.9":                                  "203.0.113.9", // 058
		"X-Forwarded-For: 2001:db8::1":                                                "2001:db8::1", // 059
		"X-Forwarded-For: garbage":                                                    "127.0.0.1",
		"X-Forwarded-For: 198.51.100.7:1234":                                          "198.51.100.7", // 061
		"X-Forwarded-For: 198.51.100.7,":                                              "198.51.100.7", // 062
		"X-Forwarded-For: ":                                                           "127.0.0.1",
		"X-Real-IP: 203.0.113.9":                                                      "203.0.113.9", // 064
		"X_Forwarded_For: 203.0.113.77":                                               "127.0.0.1",   // 065, on purpose
		"X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.1.2.3":                             "203.0.113.9",
		"X-Forwarded-For: 1.2.3.4, junk, 10.1.2.3":                                    "10.1.2.3",
		"X-Forwarded-For: 10.3.3.3, 10.1.2.3":                                         "10.3.3.3",
		"X-Forwarded-For: [2001:db8::1]:99":                                           "2001:db8::1",
		"X-Forwarded-For: ::ffff:203.0.113.9":                                         "203.0.113.9",
		"X-Forwarded-For: fe80::1%eth0":                                               "fe80::1",
		"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.10":               "203.0.113.10",
		"X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.11":                     "203.0.113.9",
		"X-Forwarded-For: junk\r\nX-Real-IP: 203.0.113.11":                            "203.0.113.11",
		"X-Real-IP: junk":                                                             "127.0.0.1",
		"X-Forwarded-For: 203.0.113.8, " + strings.Repeat("9", 1000) + ", 10.0.0.1":   "10.0.0.1",
		"X-Forwarded-For: " + strings.Repeat("203.0.113.7, ", 2000) + " 203.0.113.13": "203.0.113.13",
	} {
		_, body := s.ask(t, post("Action: readytomine2", "NetworkID: main", "Miner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", line))
		if !strings.Contains(body, "<WORKID>") {
			t.Errorf("%.60s: %s", line, body)
		}
		if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != want {
			t.Errorf("%.60s: work for %s, want %s", line, ip, want)
		}
	}
}

func TestLimitsOfAnAddressHoldBehindAProxy(t *testing.T) {
	s := start(t, httpcompat.Config{
		TrustedProxies: prefixes("127.0.0.1/32"), Limits: httpcompat.Limits{RatePerIP: 0.001, BurstPerIP: 2},
	}, instantDesk())
	from := func(ip string) string {
		_, body := s.ask(t, post("Action: readytomine2", "X-Forwarded-For: "+ip))
		return body
	}
	for _, want := range []string{grantBody, grantBody, errorBody("Too many requests from your address, please slow down")} {
		if body := from("203.0.113.9"); body != want {
			t.Error(body)
		}
	}
	if body := from("203.0.113.10"); body != grantBody {
		t.Error(body)
	}
	for range 5 { // the proxy itself has no limit
		if _, body := s.ask(t, workRequest); body != grantBody {
			t.Error(body)
		}
	}
}

func TestRecordedCasesAlsoFromTrustedProxies(t *testing.T) {
	s := start(t, httpcompat.Config{TrustedProxies: prefixes("127.0.0.1/32")}, newRecordedDesk(t))
	recorded.Run(t, recorded.Target{Addr: s.addr})
}
