package httpcompat_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"purepool/httpcompat"
	"purepool/pool"
)

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
