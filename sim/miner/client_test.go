package miner

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"purepool/pool/chain"
)

func TestRequestIsTheClientsByteForByte(t *testing.T) {
	t.Parallel()
	c, err := NewClient("http://pool.example.org:8080")
	if err != nil {
		t.Fatal(err)
	}
	got := string(c.Append(nil, &Request{
		Action: "readytomine2", Miner: "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH/rig1", Network: "main", ThreadID: "0",
	}))
	want := strings.ReplaceAll(`POST /Action.aspx HTTP/1.1
User-Agent: BiblePay-QT/1.1.3.8
Host: pool.example.org
Content-Length: 12
Action: readytomine2
Agent: 1.1.3.8
Miner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH/rig1
NetworkID: main
OS: LIN
Solution: 
ThreadID: 0

readytomine2`, "\n", "\r\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPoolURLs(t *testing.T) {
	t.Parallel()
	for pool, want := range map[string]string{
		"pool.example.org":               "pool.example.org:80 pool.example.org /Action.aspx plain",
		"127.0.0.1:8080":                 "127.0.0.1:8080 127.0.0.1 /Action.aspx plain",
		"https://pool.example.org/":      "pool.example.org:443 pool.example.org /Action.aspx tls",
		"https://[::1]:9443/x/Action.as": "[::1]:9443 ::1 /x/Action.as tls",
	} {
		c, err := NewClient(pool)
		if err != nil {
			t.Errorf("%s: %v", pool, err)
			continue
		}
		kind := " plain"
		if c.TLS != nil {
			kind = " tls"
		}
		if got := c.Addr + " " + c.Host + " " + c.Path + kind; got != want {
			t.Errorf("%s: got %s, want %s", pool, got, want)
		}
	}
	for _, pool := range []string{"ftp://pool", "http://", "http://a b", "::"} {
		if _, err := NewClient(pool); err == nil {
			t.Errorf("%q was taken", pool)
		}
	}
}

// serveOnce answers one connection, after its request, with what talk writes.
func serveOnce(t *testing.T, talk func(net.Conn)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err == nil {
			talk(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	c, err := NewClient(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = 5 * time.Second
	return c
}

func write(t *testing.T, conn net.Conn, text string) {
	if _, err := io.WriteString(conn, text); err != nil {
		t.Error(err)
	}
}

func TestReadingEndsAtTheEndsThatTheClientKnows(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"<END>", "</html>", "</HTML>"} {
		release := make(chan struct{})
		c := serveOnce(t, func(conn net.Conn) {
			write(t, conn, "HTTP/1.1 200 OK\r\n\r\n<RESPONSE><STATUS>ok</STATUS></RESPONSE>"+end)
			<-release // the connection stays open: the client must not care
		})
		answer, err := c.Do(t.Context(), &Request{Action: "solution"})
		close(release)
		if err != nil || !answer.OK() {
			t.Errorf("%s: %+v %v", end, answer, err)
		}
	}
}

func TestClientHangsOnAnOpenConnectionWithoutAnEnd(t *testing.T) {
	t.Parallel()
	// <EOF> ends a line for the client, and not its reading.
	for _, end := range []string{"", "\r\n", "<EOF>", strings.Repeat("x", maxLine)} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			c := serveOnce(t, func(conn net.Conn) {
				write(t, conn, "HTTP/1.1 200 OK\r\n\r\n<RESPONSE>x</RESPONSE><ERROR>x</ERROR>"+end)
				<-release
			})
			c.Timeout = 2 * time.Second
			answer, err := c.Do(t.Context(), &Request{Action: "solution"})
			close(release)
			if !errors.Is(err, ErrHangs) || answer.Error != "x" {
				t.Errorf("%q: %+v %v", end, answer, err)
			}
		})
	}
}

func TestClosedConnections(t *testing.T) {
	t.Parallel()
	c := serveOnce(t, func(conn net.Conn) { write(t, conn, "HTTP/1.1 200 OK\r\n\r\n"+refuse("a &lt;b&gt;")) })
	answer, err := c.Do(t.Context(), &Request{Action: "solution"})
	if err != nil || answer.OK() || answer.Error != "a <b>" {
		t.Errorf("%+v %v", answer, err)
	}
	c = serveOnce(t, func(net.Conn) {})
	if _, err := c.Do(t.Context(), &Request{Action: "solution"}); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	c = serveOnce(t, func(conn net.Conn) { write(t, conn, "HTTP/1.1 200 OK\r\n\r\n<RESPONSE><STATUS>ok</STA") })
	answer, err = c.Do(t.Context(), &Request{Action: "solution"})
	if err != nil || answer.OK() {
		t.Errorf("half an answer is ok: %+v %v", answer, err)
	}
}

func TestCancelledRequestsEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	c := serveOnce(t, func(net.Conn) { cancel(); <-release })
	_, err := c.Do(ctx, &Request{Action: "solution"})
	close(release)
	if err == nil {
		t.Error("answered")
	}
}

func TestTLSClientReadsByItsOwnRules(t *testing.T) {
	t.Parallel()
	body := "<RESPONSE>" + strings.Repeat("y", 3000) + "</RESPONSE>"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Action") == "solution" {
			body := strings.Replace(body, "y", "<END>", 1)
			_, _ = io.WriteString(w, body)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body))) // else the body is chunked, and the client hangs
		_, _ = io.WriteString(w, body)
	}))
	defer server.Close()
	c, err := NewClient(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c.TLS = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	answer, err := c.Do(t.Context(), &Request{Action: "solution"})
	if err != nil || !strings.Contains(answer.Text, "<END>") || len(answer.Text) > 1200 {
		t.Errorf("an end in the first bytes: %d bytes, %v", len(answer.Text), err)
	}
	answer, err = c.Do(t.Context(), &Request{Action: "readytomine2"})
	if err != nil || len(answer.Text) < len(body) {
		t.Errorf("%d bytes, %v", len(answer.Text), err)
	}
}

func TestContentLengthIsCountedAsTheClientCountsIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + "0123456789":                true, // 17 + 10 + 15 = 42 of 47
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n":                               false,
		"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n" + strings.Repeat("x", 100):    false,
		"HTTP/1.1 200 OK\r\nContent-Length: 1":                                        false,
		"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + strings.Repeat("x", 1000): false,
	} {
		if got := complete([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestWorkIsCheckedAsTheClientChecksIt(t *testing.T) {
	t.Parallel()
	const good = "<RESPONSE> <ADDRESS>yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9</ADDRESS><HASHTARGET>" + testTarget +
		"</HASHTARGET><MINERGUID>" + testGUID + "</MINERGUID><WORKID>" + testWork + "</WORKID></RESPONSE>"
	network := chain.BiblePayTest()
	answer := newAnswer([]byte(good))
	w, err := answer.Work(network)
	if err != nil || w.MinerGUID != testGUID || w.WorkID != testWork || w.Target.String() != testTarget ||
		w.PoolAddress.String() != "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9" {
		t.Errorf("%+v %v", w, err)
	}
	for _, bad := range []string{
		"", refuse("Miner X is disabled"), strings.Replace(good, "yhVP", "yhVQ", 1), strings.Replace(good, "03ff", "3ff", 1),
		strings.Replace(good, testGUID, "", 1), strings.Replace(good, testWork, "", 1),
	} {
		answer := newAnswer([]byte(bad))
		if _, err := answer.Work(network); !errors.Is(err, ErrNoWork) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
