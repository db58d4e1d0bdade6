package httpcompat_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"purepool/httpcompat"
	"purepool/pool"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// plainRead reads an answer as the classic client does without TLS: line by line,
// until the peer closes or a line holds a final tag. Nothing else ends it.
func plainRead(r io.Reader) (string, error) {
	var answer strings.Builder
	b := bufio.NewReader(r)
	for {
		line, err := plainLine(b)
		answer.WriteString(line)
		answer.WriteByte('\n')
		if errors.Is(err, io.EOF) {
			return answer.String(), nil
		}
		if err != nil {
			return answer.String(), err
		}
		for _, end := range []string{"<END>", "</html>", "</HTML>"} {
			if strings.Contains(line, end) {
				return answer.String(), nil
			}
		}
	}
}

func plainLine(b *bufio.Reader) (string, error) {
	const longest = 50_000
	var line []byte
	for {
		c, err := b.ReadByte()
		if err != nil {
			return string(line), err
		}
		if c == '\n' || c == '\r' {
			return string(line), nil
		}
		line = append(line, c)
		for _, end := range []string{"<EOF>", "<END>", "</html>", "</HTML>"} {
			if strings.HasSuffix(string(line), end) {
				return string(line), nil
			}
		}
		if len(line) >= longest {
			return string(line), nil
		}
	}
}

// tlsRead reads an answer as the classic client does over TLS: up to 1,023 bytes
// at a time, until a final tag, or until it has Content-Length bytes after the
// offset of that header and 15 more.
func tlsRead(r io.Reader) (answer string, reads int, err error) {
	const name = "Content-Length:"
	b := make([]byte, 1023)
	for {
		n, err := r.Read(b)
		answer += string(b[:n])
		reads++
		for _, end := range []string{"</html>", "</HTML>", "<EOF>", "<END>"} {
			if strings.Contains(answer, end) {
				return answer, reads, nil
			}
		}
		if at := strings.Index(answer, name); at >= 0 {
			digits, _, _ := strings.Cut(answer[at+len(name):], "\r")
			length, _ := strconv.Atoi(strings.TrimSpace(digits))
			if len(answer) >= length+at+15 {
				return answer, reads, nil
			}
		}
		if err != nil {
			return answer, reads, err
		}
	}
}

// between is how the client takes a value out of an answer.
func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func TestRealClientReaderSeesTheAnswer(t *testing.T) {
	desk := instantDesk()
	desk.work = func(_ context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
		if r.Network != "main" {
			return pool.WorkGrant{}, &pool.Refusal{Kind: pool.KindInvalidNetwork, Text: "Invalid network"}
		}
		return someGrant, nil
	}
	certificate := newCertificate(t, "pool.example.org")
	s := start(t, httpcompat.Config{
		Listen: []httpcompat.Listen{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", TLS: true}},
		TLS:    certificate.files(t),
	}, desk)
	for name, c := range map[string]struct {
		request, response, problem string
	}{
		"grant":    {workRequest, between(grantBody, "<RESPONSE>", "</RESPONSE>"), ""},
		"receipt":  {solutionOf(3438), between(receiptBody, "<RESPONSE>", "</RESPONSE>"), ""},
		"error":    {strings.Replace(workRequest, "main", "moon", 1), "Invalid network", "Invalid network"},
		"too long": {solutionOf(9 << 20), "Request is too long", "Request is too long"},
	} {
		check := func(wire, answer string, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s %s: %v", wire, name, err)
			}
			if got := between(answer, "<RESPONSE>", "</RESPONSE>"); got != c.response {
				t.Errorf("%s %s: response %q in %q", wire, name, got, answer)
			}
			if got := between(answer, "<ERROR>", "</ERROR>"); got != c.problem {
				t.Errorf("%s %s: error %q in %q", wire, name, got, answer)
			}
		}
		plain := s.dial(t)
		io.WriteString(plain, c.request)
		answer, err := plainRead(plain)
		check("plain", answer, err)

		raw, err := net.Dial("tcp", s.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		raw.SetDeadline(time.Now().Add(20 * time.Second))
		// The classic client of 2018: OpenSSL 1.0, no server name, no check of the certificate.
		secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		io.WriteString(secure, c.request)
		answer, reads, err := tlsRead(secure)
		check("TLS", answer, err)
		if reads != 1 {
			t.Errorf("TLS %s: %d reads, want the whole answer in one", name, reads)
		}
		secure.Close()
	}
}
