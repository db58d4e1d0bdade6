package miner

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client speaks to a pool as BiblePay's client does: a new connection for every
// request, everything in headers, and an answer that is read by the client's own
// rules. Safe for concurrent use; it must not be changed then.
type Client struct {
	// Addr is the host and port to connect to.
	Addr string
	// Host is what the Host header says: the host alone, never a port.
	Host string
	// Path is that of the request (/Action.aspx).
	Path string
	// TLS is set where the pool's URL is https:.
	TLS *tls.Config
	// Timeout bounds one request (30 s). The real client's time-out counts
	// processor time, so that it would hang where this one gives up.
	Timeout time.Duration
	// Version is the client's version (1.1.3.8).
	Version string
	// OS is LIN, WIN or MAC (LIN).
	OS string
	// Dial makes the connections where it is set; TLS is not for it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewClient returns a client for a pool's URL, or its host and port. The ports are
// the client's: 80, and 443 for https.
func NewClient(pool string) (*Client, error) {
	if !strings.Contains(pool, "://") {
		pool = "http://" + pool
	}
	u, err := url.Parse(pool)
	if err != nil {
		return nil, fmt.Errorf("pool URL: %w", err)
	}
	c := &Client{Host: u.Hostname(), Path: "/Action.aspx", Timeout: 30 * time.Second, Version: "1.1.3.8", OS: "LIN"}
	port := u.Port()
	switch u.Scheme {
	case "http":
		port = or(port, "80")
	case "https":
		port = or(port, "443")
		c.TLS = &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}
	default:
		return nil, fmt.Errorf("pool URL %q is neither http nor https", pool)
	}
	if c.Host == "" {
		return nil, fmt.Errorf("pool URL %q names no host", pool)
	}
	if u.Path != "" && u.Path != "/" {
		c.Path = u.Path
	}
	c.Addr = net.JoinHostPort(c.Host, port)
	return c, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Request is one request in the client's words.
type Request struct {
	Action   string
	Miner    string // address[/worker[/email]]
	Network  string
	Solution string
	ThreadID string
	// NoSolution leaves the Solution header out, which no real client does.
	NoSolution bool
}

// Append appends the bytes of a request, header by header as the client sends
// them.
func (c *Client) Append(dst []byte, r *Request) []byte {
	header := func(name, value string) {
		dst = append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
	}
	dst = append(append(append(dst, "POST "...), c.Path...), " HTTP/1.1\r\n"...)
	header("User-Agent", "BiblePay-QT/"+c.Version)
	header("Host", c.Host)
	header("Content-Length", strconv.Itoa(len(r.Action)))
	header("Action", r.Action)
	header("Agent", c.Version)
	header("Miner", r.Miner)
	header("NetworkID", r.Network)
	header("OS", c.OS)
	if !r.NoSolution {
		header("Solution", r.Solution)
	}
	header("ThreadID", r.ThreadID)
	dst = append(dst, "\r\n"...)
	return append(dst, r.Action...)
}

// ErrHangs is an answer on which a real client would hang: the pool sent no end
// that the client knows and kept the connection open.
var ErrHangs = errors.New("the pool keeps the connection open: the client hangs")

// ErrNoAnswer is a connection that was closed before anything was answered.
var ErrNoAnswer = errors.New("the pool closed the connection without an answer")

// Do sends a request and reads the answer. An error that wraps [ErrHangs] comes
// with what was read until then.
func (c *Client) Do(ctx context.Context, r *Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(c.Append(nil, r)); err != nil {
		return Answer{}, fmt.Errorf("sending %s: %w", r.Action, err)
	}
	var text []byte
	if c.TLS != nil {
		text, err = readTLS(conn)
	} else {
		text, err = readPlain(conn)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ErrHangs
		}
		return newAnswer(text), fmt.Errorf("reading the answer to %s: %w", r.Action, err)
	}
	if len(text) == 0 {
		return Answer{}, fmt.Errorf("reading the answer to %s: %w", r.Action, ErrNoAnswer)
	}
	return newAnswer(text), nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.TLS != nil {
		return (&tls.Dialer{Config: c.TLS}).DialContext(ctx, "tcp", c.Addr)
	}
	if c.Dial != nil {
		return c.Dial(ctx, "tcp", c.Addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", c.Addr)
}

// maxLine is where the client leaves a line that does not end, in bytes.
const maxLine = 50_000

// readPlain reads line by line until the peer closes, or a line holds one of the
// ends.
func readPlain(conn net.Conn) (text []byte, err error) {
	r := bufio.NewReader(conn)
	for {
		line, err := readLine(r)
		text = append(text, line...)
		if closed(err) || hasAny(line, "<END>", "</html>", "</HTML>") {
			return text, nil
		}
		if err != nil {
			return text, err
		}
	}
}

// readLine reads up to one of the client's ends of a line, which it includes.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for len(line) < maxLine {
		b, err := r.ReadByte()
		if err != nil {
			return line, err
		}
		line = append(line, b)
		if b == '\r' || b == '\n' || b == '>' &&
			(hasSuffix(line, "<EOF>") || hasSuffix(line, "<END>") || hasSuffix(line, "</html>") || hasSuffix(line, "</HTML>")) {
			return line, nil
		}
	}
	return line, nil
}

// readTLS reads up to 1,023 bytes at a time until there is an end, or as many
// bytes as the client counts from the Content-Length header.
func readTLS(conn net.Conn) (text []byte, err error) {
	buf := make([]byte, 1023)
	for {
		n, err := conn.Read(buf)
		text = append(text, buf[:n]...)
		if closed(err) || hasAny(text, "</html>", "</HTML>", "<EOF>", "<END>") || complete(text) {
			return text, nil
		}
		if err != nil {
			return text, err
		}
	}
}

// complete is the client's own arithmetic: the value of Content-Length, plus where
// that header stands, plus 15.
func complete(text []byte) bool {
	const name = "Content-Length:"
	at := bytes.Index(text, []byte(name))
	if at < 0 {
		return false
	}
	value, _, ended := bytes.Cut(text[at+len(name):], []byte("\r\n"))
	n, err := strconv.Atoi(strings.TrimSpace(string(value)))
	return ended && err == nil && len(text) >= n+at+15
}

// closed reports whether the peer has closed the connection, one way or another.
func closed(err error) bool {
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func hasAny(b []byte, words ...string) bool {
	for _, w := range words {
		if bytes.Contains(b, []byte(w)) {
			return true
		}
	}
	return false
}

func hasSuffix(b []byte, s string) bool { return bytes.HasSuffix(b, []byte(s)) }
