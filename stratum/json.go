package stratum

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The scanner of requests. It is stricter than what miners need in its grammar
// (a value is a whole JSON value or an error) and laxer in its texts: between
// quotes any byte may stand but a quote, a backslash and a line feed, since user
// agents hold whatever their authors liked. It allocates nothing, looks at every
// byte at most twice, and bounds its depth.

// maxDepth bounds nesting. Nothing in the protocol nests deeper than three.
const maxDepth = 16

// maxID bounds the text of an id; what is longer could be used to make answers
// larger than requests.
const maxID = 256

var (
	errJSON  = errors.New("malformed request")
	errDepth = errors.New("request is nested too deeply")
)

// message is one line from a miner, its parts pointing into the line. A part
// that is absent is nil.
type message struct {
	id     []byte // any JSON value, as sent
	method []byte // without its quotes
	params []byte // any JSON value
	answer bool   // it has a result or an error: an answer to something we asked
	result []byte // any JSON value
}

// parseMessage reads one line. What is there of the id is set even where the
// rest is malformed.
func parseMessage(line []byte, m *message) error {
	*m = message{}
	i := space(line, 0)
	if i >= len(line) || line[i] != '{' {
		return errJSON
	}
	i = space(line, i+1)
	if i < len(line) && line[i] == '}' {
		return trailing(line, i+1)
	}
	for {
		key, after, err := member(line, i)
		if err != nil {
			return err
		}
		end, err := value(line, after, 1)
		if err != nil {
			return err
		}
		if err := m.set(key, line[after:end]); err != nil {
			return err
		}
		i = space(line, end)
		if i >= len(line) {
			return errJSON
		}
		switch line[i] {
		case ',':
			i = space(line, i+1)
		case '}':
			return trailing(line, i+1)
		default:
			return errJSON
		}
	}
}

func (m *message) set(key, raw []byte) error {
	switch string(key) { // does not allocate
	case "id":
		if len(raw) > maxID {
			return errJSON
		}
		m.id = raw
	case "method":
		text, ok := plain(raw)
		if !ok {
			return errJSON
		}
		m.method = text
	case "params":
		m.params = raw
	case "result":
		m.answer, m.result = true, raw
	case "error":
		m.answer = true
	}
	return nil
}

func trailing(b []byte, i int) error {
	if space(b, i) != len(b) {
		return errJSON
	}
	return nil
}

// member reads `"key" :` and returns the key and where the value begins.
func member(b []byte, i int) (key []byte, after int, err error) {
	if i >= len(b) || b[i] != '"' {
		return nil, 0, errJSON
	}
	end, err := text(b, i)
	if err != nil {
		return nil, 0, err
	}
	key = b[i+1 : end-1]
	i = space(b, end)
	if i >= len(b) || b[i] != ':' {
		return nil, 0, errJSON
	}
	return key, space(b, i+1), nil
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// value returns the end of the JSON value that begins at i.
func value(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return 0, errJSON
	}
	switch c := b[i]; {
	case c == '"':
		return text(b, i)
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return 0, errDepth
		}
		return container(b, i, depth)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	default:
		return number(b, i)
	}
}

func container(b []byte, i, depth int) (end int, err error) {
	closing := b[i] + 2 // ']' and '}' both follow their opening by two
	isObject := b[i] == '{'
	i = space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1, nil
	}
	for {
		if isObject {
			if _, i, err = member(b, i); err != nil {
				return 0, err
			}
		}
		if i, err = value(b, i, depth+1); err != nil {
			return 0, err
		}
		i = space(b, i)
		if i >= len(b) {
			return 0, errJSON
		}
		switch b[i] {
		case ',':
			i = space(b, i+1)
		case closing:
			return i + 1, nil
		default:
			return 0, errJSON
		}
	}
}

func literal(b []byte, i int, want string) (int, error) {
	if len(b)-i < len(want) || string(b[i:i+len(want)]) != want {
		return 0, errJSON
	}
	return i + len(want), nil
}

func number(b []byte, i int) (int, error) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		i = digits(b, i)
	default:
		return 0, errJSON
	}
	if i < len(b) && b[i] == '.' {
		after := digits(b, i+1)
		if after == i+1 {
			return 0, errJSON
		}
		i = after
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		after := digits(b, i)
		if after == i {
			return 0, errJSON
		}
		i = after
	}
	return i, nil
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// text returns the end of the string whose opening quote is at i.
func text(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1, nil
		case '\\':
			i++
			if i >= len(b) {
				return 0, errJSON
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(b) {
					return 0, errJSON
				}
				for _, c := range b[i+1 : i+5] {
					if nibble(c) > 15 {
						return 0, errJSON
					}
				}
				i += 4
			default:
				return 0, errJSON
			}
		}
	}
	return 0, errJSON
}

// plain returns what stands between the quotes of a string, decoded; it
// allocates only where there is something to decode.
func plain(raw []byte) (content []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	raw = raw[1 : len(raw)-1]
	for i := range raw {
		if raw[i] == '\\' {
			return unescape(raw), true
		}
	}
	return raw, true
}

func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) && i+6 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(raw[i+3:])); pair != utf8.RuneError {
					r = pair
					i += 6
				}
			}
			out = utf8.AppendRune(out, r) // a lone surrogate becomes U+FFFD
		default:
			out = append(out, raw[i])
		}
	}
	return out
}

func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		r = r<<4 | rune(nibble(c))
	}
	return r
}

// nibble returns the value of a hex digit in either case, and more than 15 for
// anything else.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// list walks through the elements of a JSON array that parseMessage has found
// sound. Anything but an array has no elements.
type list struct {
	b []byte
	i int
}

func listOf(raw []byte) list {
	if len(raw) == 0 || raw[0] != '[' {
		return list{}
	}
	return list{b: raw, i: 1}
}

// next returns the next element, as sent.
func (l *list) next() (raw []byte, ok bool) {
	i := space(l.b, l.i)
	if i >= len(l.b) || l.b[i] == ']' {
		return nil, false
	}
	end, err := value(l.b, i, 0)
	if err != nil {
		return nil, false
	}
	raw = l.b[i:end]
	l.i = space(l.b, end)
	if l.i < len(l.b) && l.b[l.i] == ',' {
		l.i++
	}
	return raw, true
}

// nextText returns the next element where it is a string.
func (l *list) nextText() (content []byte, ok bool) {
	raw, ok := l.next()
	if !ok {
		return nil, false
	}
	return plain(raw)
}

// members walks through the members of a JSON object that parseMessage has found
// sound. Anything but an object has none.
type members struct{ list }

func membersOf(raw []byte) members {
	if len(raw) == 0 || raw[0] != '{' {
		return members{}
	}
	return members{list{b: raw, i: 1}}
}

func (m *members) next() (key, raw []byte, ok bool) {
	i := space(m.b, m.i)
	if i >= len(m.b) || m.b[i] == '}' {
		return nil, nil, false
	}
	key, after, err := member(m.b, i)
	if err != nil {
		return nil, nil, false
	}
	end, err := value(m.b, after, 0)
	if err != nil {
		return nil, nil, false
	}
	m.i = space(m.b, end)
	if m.i < len(m.b) && m.b[m.i] == ',' {
		m.i++
	}
	return key, m.b[after:end], true
}

// decimal reads a number, or a string that holds one.
func decimal(raw []byte) (float64, bool) {
	if content, ok := plain(raw); ok {
		raw = content
	}
	if len(raw) == 0 || len(raw) > 64 {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil && f == f
}

// hex32 reads one to eight hex digits in either case, most significant first.
func hex32(digits []byte) (n uint32, ok bool) {
	if len(digits) == 0 || len(digits) > 8 {
		return 0, false
	}
	for _, c := range digits {
		v := nibble(c)
		if v > 15 {
			return 0, false
		}
		n = n<<4 | uint32(v)
	}
	return n, true
}

// hex64 reads one to sixteen hex digits in either case.
func hex64(digits []byte) (n uint64, ok bool) {
	if len(digits) == 0 || len(digits) > 16 {
		return 0, false
	}
	for _, c := range digits {
		v := nibble(c)
		if v > 15 {
			return 0, false
		}
		n = n<<4 | uint64(v)
	}
	return n, true
}

// hexBytes reads exactly len(dst) bytes of hex digits in either case.
func hexBytes(dst, digits []byte) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, low := nibble(digits[2*i]), nibble(digits[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}
