package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// Bounds of a request. A classic block of several megabytes in hex, in a batch
// of a thousand, is the largest that a pool sends.
const (
	maxDepth = 32
	maxCalls = 10_000
)

// errParse is any request that is not JSON.
var errParse = errors.New("parse error")

// call is one JSON-RPC call. Its slices point into the request's bytes, so it
// must not outlive them.
type call struct {
	id      []byte // raw JSON, nil where absent
	method  string
	params  []value
	invalid *rpcError // set where the call is JSON but no call
}

// kind is the JSON type of a value, by its first byte: " { [ t f n, and 0 for a number.
type kind byte

const (
	kindString kind = '"'
	kindObject kind = '{'
	kindArray  kind = '['
	kindTrue   kind = 't'
	kindFalse  kind = 'f'
	kindNull   kind = 'n'
	kindNumber kind = '0'
)

// value is one JSON value: its raw bytes, without the quotes for a string.
type value struct {
	kind    kind
	escaped bool // the string holds a backslash
	raw     []byte
}

// bytes returns a string's content, without a copy where nothing is escaped.
func (v value) bytes() []byte {
	if !v.escaped {
		return v.raw
	}
	quoted := append(append([]byte{'"'}, v.raw...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil
	}
	return []byte(s)
}

func (v value) string() string { return string(v.bytes()) }

// scanner reads requests without encoding/json, which would cost more than all
// the rest of a call: nine tenths of a request are two hex strings.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// parseRequest reads one call or a batch of calls. calls is reused, with the
// parameter lists in it.
func parseRequest(data []byte, calls []call) (out []call, batch bool, err error) {
	s := &scanner{data: data}
	s.space()
	out = calls[:0]
	next := func() error {
		if len(out) == maxCalls {
			return errParse
		}
		var params []value
		if len(out) < cap(out) {
			params = out[:len(out)+1][len(out)].params
		}
		c, err := s.call(params[:0])
		out = append(out, c)
		return err
	}
	switch s.peek() {
	case '[':
		batch = true
		err = s.array(next)
	case '{':
		err = next()
	default:
		if err = next(); err == nil {
			out[0].invalid = &rpcError{codeParse, "Top-level object parse error"}
		}
	}
	if err != nil {
		return nil, batch, err
	}
	if s.space(); s.pos != len(s.data) {
		return nil, batch, errParse
	}
	return out, batch, nil
}

// call reads one element of a request; what is JSON but no call is answered by
// an error of its own, as bitcoind does.
func (s *scanner) call(spare []value) (call, error) {
	s.space()
	c := call{params: spare}
	if s.peek() != '{' {
		_, err := s.value()
		c.invalid = &rpcError{codeInvalidRequest, "Invalid Request object"}
		return c, err
	}
	method := value{kind: kindNull}
	params := value{kind: kindNull}
	err := s.object(func(key value) error {
		switch {
		case bytes.Equal(key.raw, []byte("params")) && s.peek() == '[':
			params.kind = kindArray
			c.params = c.params[:0] // the last one counts
			return s.array(func() error {
				v, err := s.value()
				c.params = append(c.params, v)
				return err
			})
		case bytes.Equal(key.raw, []byte("params")):
			v, err := s.value()
			params, c.params = v, c.params[:0]
			return err
		case bytes.Equal(key.raw, []byte("method")):
			v, err := s.value()
			method = v
			return err
		case bytes.Equal(key.raw, []byte("id")):
			start := s.pos
			_, err := s.value()
			c.id = s.data[start:s.pos]
			return err
		default:
			_, err := s.value()
			return err
		}
	})
	if err != nil {
		return c, err
	}
	switch {
	case method.kind == kindNull:
		c.invalid = &rpcError{codeInvalidRequest, "Missing method"}
	case method.kind != kindString:
		c.invalid = &rpcError{codeInvalidRequest, "Method must be a string"}
	case params.kind != kindArray && params.kind != kindNull:
		c.invalid = &rpcError{codeInvalidRequest, "Params must be an array"}
	default:
		c.method = methodName(method)
	}
	return c, nil
}

// methodName spares the copy of the names that come by the thousand.
func methodName(v value) string {
	if string(v.raw) == "exec" {
		return "exec"
	}
	return v.string()
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// take consumes one byte after blanks, if it is c.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// value reads any value.
func (s *scanner) value() (value, error) {
	s.space()
	start := s.pos
	switch c := s.peek(); c {
	case '"':
		return s.string()
	case '{':
		err := s.object(func(value) error { _, err := s.value(); return err })
		return value{kind: kindObject, raw: s.data[start:s.pos]}, err
	case '[':
		err := s.array(func() error { _, err := s.value(); return err })
		return value{kind: kindArray, raw: s.data[start:s.pos]}, err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(member func(key value) error) error {
	if s.depth++; s.depth > maxDepth {
		return errParse
	}
	defer func() { s.depth-- }()
	s.pos++ // {
	if s.take('}') {
		return nil
	}
	for {
		s.space()
		key, err := s.string()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return errParse
		}
		s.space()
		if err := member(key); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return errParse
		}
	}
}

func (s *scanner) array(element func() error) error {
	if s.depth++; s.depth > maxDepth {
		return errParse
	}
	defer func() { s.depth-- }()
	s.pos++ // [
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return errParse
		}
	}
}

func (s *scanner) literal(word string) (value, error) {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return value{}, errParse
	}
	start := s.pos
	s.pos += len(word)
	return value{kind: kind(word[0]), raw: s.data[start:s.pos]}, nil
}

func (s *scanner) number() (value, error) {
	start := s.pos
	for s.pos < len(s.data) && bytes.IndexByte([]byte("+-.0123456789eE"), s.data[s.pos]) >= 0 {
		s.pos++
	}
	raw := s.data[start:s.pos]
	if !json.Valid(raw) {
		return value{}, errParse
	}
	return value{kind: kindNumber, raw: raw}, nil
}

// string finds the closing quote with two vectorised searches, so that a
// megabyte of hex costs microseconds.
func (s *scanner) string() (value, error) {
	if s.peek() != '"' {
		return value{}, errParse
	}
	s.pos++
	rest := s.data[s.pos:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return value{}, errParse
	}
	if bytes.IndexByte(rest[:end], '\\') < 0 {
		s.pos += end + 1
		return value{kind: kindString, raw: rest[:end]}, nil
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			s.pos += i + 1
			v := value{kind: kindString, escaped: true, raw: rest[:i]}
			if v.bytes() == nil {
				return value{}, errParse
			}
			return v, nil
		}
	}
	return value{}, errParse
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // invalid bytes become U+FFFD
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

func appendHex(dst, src []byte) []byte {
	for _, b := range src {
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst
}

func appendInt(dst []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(dst, key...), n, 10)
}
