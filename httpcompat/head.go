package httpcompat

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// field is a header line that means something here.
type field uint8

const (
	fieldOther field = iota
	fieldAction
	fieldAgent
	fieldMiner
	fieldNetworkID
	fieldOS
	fieldSolution
	fieldThreadID
	fieldForwardedFor
	fieldRealIP
	fieldContentLength
	fieldTransferEncoding
)

// fieldNamed tells which line a name means, in any case. There is no other
// spelling: X_Forwarded_For, which some servers read as X-Forwarded-For, would go
// past a proxy that replaces only the latter.
func fieldNamed(name []byte) field {
	var f field
	var want string
	switch len(name) {
	case len("OS"):
		f, want = fieldOS, "os"
	case len("Agent"):
		if name[0]|0x20 == 'm' {
			f, want = fieldMiner, "miner"
		} else {
			f, want = fieldAgent, "agent"
		}
	case len("Action"):
		f, want = fieldAction, "action"
	case len("Solution"):
		if name[0]|0x20 == 't' {
			f, want = fieldThreadID, "threadid"
		} else {
			f, want = fieldSolution, "solution"
		}
	case len("NetworkID"):
		if name[0]|0x20 == 'x' {
			f, want = fieldRealIP, "x-real-ip"
		} else {
			f, want = fieldNetworkID, "networkid"
		}
	case len("Content-Length"):
		f, want = fieldContentLength, "content-length"
	case len("X-Forwarded-For"):
		f, want = fieldForwardedFor, "x-forwarded-for"
	case len("Transfer-Encoding"):
		f, want = fieldTransferEncoding, "transfer-encoding"
	default:
		return fieldOther
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != want[i] {
			return fieldOther
		}
	}
	return f
}

// headError is why a head is refused, in words for whoever sent it.
type headError struct {
	outcome outcome
	text    string
}

func (e *headError) Error() string { return e.text }

func malformed(text string) *headError {
	return &headError{outcomeMalformed, "Malformed request: " + text}
}

// head reads the head of a request as its bytes arrive. It keeps positions, not
// slices, so that the buffer may move between two calls. The zero value is ready.
//
// Lines end with CR LF or a bare LF. Values may hold any byte but control
// characters other than the tab. Folded lines are refused (RFC 9112, 5.2, allows
// it, and no client of the pool ever sent one).
type head struct {
	maxLines, maxValue int

	next    int // where the line that is not complete yet begins
	scanned int // no LF between next and here
	started bool
	done    bool

	pathKnown bool // it is for Action.aspx
	lines     []headLine
	count     int
}

// headLine is a line that means something here; its value is buf[start:end],
// without the blanks around it.
type headLine struct {
	field      field
	start, end int
}

// reset readies h for the next request.
func (h *head) reset(maxLines, maxValue int) {
	*h = head{maxLines: maxLines, maxValue: maxValue, lines: h.lines[:0]}
}

// read takes what buf holds beyond the last call, of which buf must be a
// continuation. The head is complete when h.done is set: buf[h.next:] is what
// follows it.
func (h *head) read(buf []byte) *headError {
	for !h.done {
		i := bytes.IndexByte(buf[h.scanned:], '\n')
		if i < 0 {
			h.scanned = len(buf)
			return h.unfinished(buf[h.next:])
		}
		start, end := h.next, h.scanned+i
		h.next, h.scanned = end+1, end+1
		if end > start && buf[end-1] == '\r' {
			end--
		}
		if err := h.line(buf, start, end); err != nil {
			return err
		}
	}
	return nil
}

// unfinished refuses early what can no longer become a good line.
func (h *head) unfinished(part []byte) *headError {
	const longestTarget = 8 << 10
	if h.started {
		return nil
	}
	if len(part) > 0 && part[0] != '\r' && !isToken(part[0]) {
		return malformed("this is not HTTP") // a TLS greeting, for one
	}
	if len(part) > longestTarget {
		return errTooLong
	}
	return nil
}

func (h *head) line(buf []byte, start, end int) *headError {
	if !h.started {
		return h.requestLine(buf[start:end])
	}
	if start == end {
		h.done = true
		return nil
	}
	if h.count++; h.count > h.maxLines {
		return &headError{outcomeTooLarge, "Too many header lines"}
	}
	colon := bytes.IndexByte(buf[start:end], ':')
	if colon < 0 {
		return malformed("header line without a colon")
	}
	name := buf[start : start+colon]
	if len(name) == 0 {
		return malformed("header line without a name")
	}
	for _, c := range name {
		if !isToken(c) {
			return malformed("header name with a character that is not allowed")
		}
	}
	start += colon + 1
	for start < end && isBlank(buf[start]) {
		start++
	}
	for start < end && isBlank(buf[end-1]) {
		end--
	}
	if end-start > h.maxValue {
		return errTooLong
	}
	if hasControl(buf[start:end]) {
		return malformed("header value with a control character")
	}
	if f := fieldNamed(name); f != fieldOther {
		h.lines = append(h.lines, headLine{f, start, end})
	}
	return nil
}

func (h *head) requestLine(line []byte) *headError {
	if len(line) == 0 {
		// RFC 9112, 2.2: skip an empty line before the request.
		if h.count++; h.count > h.maxLines {
			return malformed("empty lines only")
		}
		return nil
	}
	h.started, h.count = true, 0
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(method) == 0 {
		return malformed("this is not HTTP")
	}
	for _, c := range method {
		if !isToken(c) {
			return malformed("this is not HTTP")
		}
	}
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(target) == 0 {
		return malformed("request line without a version")
	}
	if v := string(version); v != "HTTP/1.1" && v != "HTTP/1.0" {
		return malformed("only HTTP/1.0 and HTTP/1.1 are spoken here")
	}
	if hasControl(target) || bytes.IndexByte(target, '\t') >= 0 {
		return malformed("request target with a control character")
	}
	h.pathKnown = isActionPage(target)
	return nil
}

// isActionPage tells whether a target is /Action.aspx, with whatever query, also
// in the absolute form that is sent to proxies.
func isActionPage(target []byte) bool {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		target = target[:i]
	}
	if len(target) > 0 && target[0] != '/' {
		scheme, rest, ok := bytes.Cut(target, []byte("://"))
		if !ok || !bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("https")) {
			return false
		}
		slash := bytes.IndexByte(rest, '/')
		if slash <= 0 {
			return false
		}
		target = rest[slash:]
	}
	return string(target) == "/Action.aspx"
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isToken tells whether a byte may stand in a method or a header name (RFC 9110, 5.6.2).
func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+.^_`|~"), c) >= 0
}

// hasControl tells whether b holds a control character other than the tab. Values
// have megabytes, so it looks at eight bytes at a time.
func hasControl(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		below := (w - 0x20*ones) &^ w // high bit set where a byte is below 0x20
		d := w ^ 0x7f*ones            // a zero byte where there is DEL
		if (below|(d-ones)&^d)&highs != 0 && hasControlSlow(b[:8]) {
			return true
		}
		b = b[8:]
	}
	return hasControlSlow(b)
}

func hasControlSlow(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// text returns the value of a field as a string of its own, of at most limit bytes.
// Its bytes are the client's: nothing is said of their encoding. Lines of the same
// name are one value, joined with a comma (RFC 9110, 5.3).
func (h *head) text(buf []byte, f field, limit int) (s string, present bool) {
	var first headLine
	n, size := 0, 0
	for _, l := range h.lines {
		if l.field == f {
			if n++; n == 1 {
				first = l
			}
			size += l.end - l.start + 1
		}
	}
	switch {
	case n == 0:
		return "", false
	case n == 1:
		return string(clip(buf[first.start:first.end], limit)), true
	}
	joined := make([]byte, 0, min(size, limit+1))
	for _, l := range h.lines {
		if l.field != f || len(joined) > limit {
			continue
		}
		if n == 0 {
			joined = append(joined, ',')
		}
		n = 0
		joined = append(joined, clip(buf[l.start:l.end], limit+1-len(joined))...)
	}
	return string(clip(joined, limit)), true
}

// clip cuts b to at most limit bytes, not within a character of UTF-8.
func clip(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	end := max(limit, 0)
	for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(b[end]) {
		end--
	}
	return b[:end]
}

// bodyLength is the body's length in bytes where the head tells it.
func (h *head) bodyLength(buf []byte) (n int64, known bool) {
	var v []byte
	for _, l := range h.lines {
		switch l.field {
		case fieldTransferEncoding:
			return 0, false
		case fieldContentLength:
			if v != nil || l.end == l.start || l.end-l.start > 18 {
				return 0, false
			}
			v = buf[l.start:l.end]
		}
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
