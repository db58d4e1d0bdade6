package httpcompat

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// readAll reads a request that arrives in pieces of a size.
func readAll(h *head, request []byte, piece int) *headError {
	h.reset(100, 8<<20)
	for end := 0; end < len(request) && !h.done; {
		end = min(end+piece, len(request))
		if err := h.read(request[:end]); err != nil {
			return err
		}
	}
	return nil
}

func TestControlCharactersAreFoundAnywhere(t *testing.T) {
	for size := range 40 {
		for at := range size {
			for c := range 256 {
				b := bytes.Repeat([]byte{'x'}, size)
				b[at] = byte(c)
				want := c < 0x20 && c != '\t' || c == 0x7f
				if hasControl(b) != want {
					t.Fatalf("byte %#x at %d of %d: want %v", c, at, size, want)
				}
				b = bytes.Repeat([]byte{0x80}, size)
				b[at] = byte(c)
				if hasControl(b) != want {
					t.Fatalf("byte %#x at %d of %d among high bytes: want %v", c, at, size, want)
				}
			}
		}
	}
}

func TestHeaderNamesAreKnownInAnyCase(t *testing.T) {
	for name, want := range map[string]field{
		"Action": fieldAction, "Agent": fieldAgent, "Miner": fieldMiner, "NetworkID": fieldNetworkID, "OS": fieldOS,
		"Solution": fieldSolution, "ThreadID": fieldThreadID, "X-Forwarded-For": fieldForwardedFor, "X-Real-IP": fieldRealIP,
		"Content-Length": fieldContentLength, "Transfer-Encoding": fieldTransferEncoding,
	} {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := fieldNamed([]byte(spelling)); got != want {
				t.Errorf("%s is %d, want %d", spelling, got, want)
			}
		}
		for i := range name { // and no other name is
			other := []byte(name)
			other[i] ^= 1
			if got := fieldNamed(other); got != fieldOther {
				t.Errorf("%s is %d", other, got)
			}
		}
	}
	for _, other := range []string{"Network-ID", "X_Forwarded_For", "", "x"} {
		if fieldNamed([]byte(other)) != fieldOther {
			t.Errorf("%s is known", other)
		}
	}
}

var compared = map[field]string{
	fieldAction: "Action", fieldAgent: "Agent", fieldMiner: "Miner", fieldNetworkID: "Networkid", fieldOS: "Os",
	fieldSolution: "Solution", fieldThreadID: "Threadid", fieldForwardedFor: "X-Forwarded-For", fieldRealIP: "X-Real-Ip",
}

// FuzzRequestHead holds three things against any input: the head reads the same
// however its bytes are cut; it never panics; and where net/http takes the request
// too, both read the same page and the same values out of it.
func FuzzRequestHead(f *testing.F) {
	for _, seed := range []string{
		"POST /Action.aspx HTTP/1.1\r\nHost: p\r\nAction: readytomine2\r\nMiner: a/b\r\nNetworkID: main\r\nContent-Length: 2\r\n\r\nxx",
		"GET http://p/Action.aspx?x HTTP/1.0\nACTION:solution\nsolution:\t1,2 \n\n",
		"GET /Action.aspx HTTP/1.1\r\nHost: a\r\nMiner: a\r\nminer: b\r\nX-Real-IP: \r\n\r\n",
		"\r\n\r\nHEAD //Action.aspx HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
		"POST /Action.aspx HTTP/1.1\r\nOS: \xff\x00\r\n\r\n",
		"\x16\x03\x01\x02\x00",
	} {
		f.Add([]byte(seed), uint8(1))
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, request []byte, piece uint8) {
		var whole, cut head
		err := readAll(&whole, request, len(request)+1)
		cutErr := readAll(&cut, request, int(piece)+1)
		if (err == nil) != (cutErr == nil) || whole.done != cut.done {
			t.Fatalf("whole: %v %v, in pieces: %v %v", whole.done, err, cut.done, cutErr)
		}
		if err != nil || !whole.done {
			return
		}
		if whole.next != cut.next || whole.pathKnown != cut.pathKnown || len(whole.lines) != len(cut.lines) {
			t.Fatalf("whole: %+v, in pieces: %+v", whole, cut)
		}
		whole.bodyLength(request)
		theirs, httpErr := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if httpErr != nil || theirs.Method == http.MethodConnect {
			return
		}
		// net/http decodes the path, where a percent sign is just another page here,
		// and takes absolute targets of any scheme and without a host.
		page := theirs.URL.Path == "/Action.aspx" && theirs.URL.Opaque == ""
		if whole.pathKnown && !page || page && !whole.pathKnown && theirs.RequestURI[0] == '/' && !strings.ContainsAny(theirs.RequestURI, "%#") {
			t.Errorf("target %q: page %v, net/http reads path %q", theirs.RequestURI, whole.pathKnown, theirs.URL.Path)
		}
		for field, name := range compared {
			value, present := whole.text(request, field, len(request))
			want, has := theirs.Header[name]
			if joined := strings.Join(want, ","); present != has || value != joined {
				t.Errorf("%s: %q %v, net/http reads %q %v", name, value, present, joined, has)
			}
		}
	})
}
