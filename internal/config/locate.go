package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// locate finds the line on which each key of a TOML document stands, which the
// TOML library does not tell for keys that it decodes. The document must be
// valid: what the library accepts is walked here without checking it again, and
// of what it refuses only some lines are found, never a panic.
//
// Keys are paths like "frontend.http[0].listen". tooDeep is the first line whose
// nesting is beyond maxNesting, 0 where there is none: of such a document
// nothing more is found.
func locate(doc string) (lines map[string]int, tooDeep int) {
	l := &locator{doc: doc, line: 1, lines: make(map[string]int), count: make(map[string]int)}
	for {
		l.skipSpace(true)
		switch {
		case l.pos >= len(l.doc) || l.tooDeep > 0:
			return l.lines, l.tooDeep
		case strings.HasPrefix(l.rest(), "[["):
			l.pos += 2
			l.table(true)
		case l.peek() == '[':
			l.pos++
			l.table(false)
		default:
			l.keyValue(l.context, 0)
		}
	}
}

type locator struct {
	doc     string
	pos     int
	line    int
	context string         // path of the table that the walk is in
	lines   map[string]int // path to line
	count   map[string]int // arrays of tables: elements so far
	tooDeep int            // first line with too much nesting
}

func (l *locator) rest() string { return l.doc[l.pos:] }

func (l *locator) peek() byte {
	if l.pos >= len(l.doc) {
		return 0
	}
	return l.doc[l.pos]
}

// advance moves over n bytes and counts their lines.
func (l *locator) advance(n int) {
	n = min(n, len(l.doc)-l.pos)
	l.line += strings.Count(l.doc[l.pos:l.pos+n], "\n")
	l.pos += n
}

// skipSpace skips blanks and comments, and line ends too where they mean nothing.
func (l *locator) skipSpace(lineEnds bool) {
	for l.pos < len(l.doc) {
		switch c := l.peek(); {
		case c == ' ' || c == '\t' || c == '\r':
			l.pos++
		case c == '\n' && lineEnds:
			l.advance(1)
		case c == '#':
			end := strings.IndexByte(l.rest(), '\n')
			if end < 0 {
				end = len(l.rest())
			}
			l.pos += end
		default:
			return
		}
	}
}

func join(context, key string) string {
	if context == "" {
		return key
	}
	return context + "." + key
}

// mark notes where a key first appeared.
func (l *locator) mark(path string) {
	if _, ok := l.lines[path]; !ok {
		l.lines[path] = l.line
	}
}

// table reads the rest of a [header] or [[header]].
func (l *locator) table(array bool) {
	keys := l.key()
	path := ""
	for i, k := range keys {
		path = join(path, k)
		if array && i == len(keys)-1 {
			l.mark(path)
			l.count[path]++
		} else {
			l.mark(path)
		}
		// What stands below an array of tables belongs to its last element.
		if n := l.count[path]; n > 0 {
			path += "[" + strconv.Itoa(n-1) + "]"
			l.mark(path)
		}
	}
	l.context = path
	for l.peek() == ']' {
		l.pos++
	}
}

// key reads a dotted key.
func (l *locator) key() []string {
	var keys []string
	for {
		l.skipSpace(false)
		switch c := l.peek(); c {
		case '"', '\'':
			start := l.pos
			l.text()
			keys = append(keys, unquoteKey(l.doc[start:l.pos]))
		default:
			n := strings.IndexFunc(l.rest(), func(r rune) bool { return strings.ContainsRune(" \t\r\n.=]#[{}\"',", r) })
			if n < 0 {
				n = len(l.rest())
			}
			if n == 0 {
				return keys
			}
			keys = append(keys, l.doc[l.pos:l.pos+n])
			l.pos += n
		}
		if len(keys) > maxNesting {
			l.giveUp()
			return nil
		}
		l.skipSpace(false)
		if l.peek() != '.' {
			return keys
		}
		l.pos++
	}
}

// unquoteKey takes the quotes and escapes off, in the library's own way.
func unquoteKey(quoted string) string {
	var doc struct{ K string }
	if _, err := toml.Decode("K = "+quoted, &doc); err != nil {
		return quoted
	}
	return doc.K
}

// maxNesting bounds the depth of values and the parts of a dotted key. No key
// of ours is half as deep, and the TOML library needs minutes and gigabytes for
// some documents of a few thousand brackets.
const maxNesting = 16

func (l *locator) giveUp() {
	if l.tooDeep == 0 {
		l.tooDeep = l.line
	}
	l.pos = len(l.doc)
}

// keyValue reads `key = value` of the table at context.
func (l *locator) keyValue(context string, depth int) {
	before := l.pos
	for _, k := range l.key() {
		context = join(context, k)
		l.mark(context)
	}
	if l.peek() == '=' {
		l.pos++
	}
	l.value(context, depth)
	if l.pos == before {
		l.advance(1) // not TOML: do not stand still
	}
}

func (l *locator) value(path string, depth int) {
	l.skipSpace(false)
	switch c := l.peek(); {
	case c == '"' || c == '\'':
		l.text()
	case (c == '[' || c == '{') && depth >= maxNesting:
		l.giveUp()
	case c == '[' || c == '{':
		l.advance(1)
		l.group(path, c == '[', depth+1)
	default:
		for l.pos < len(l.doc) && !strings.ContainsRune(",]}\n#", rune(l.peek())) {
			l.pos++
		}
	}
}

// group reads the rest of an array or of an inline table.
func (l *locator) group(path string, array bool, depth int) {
	end := byte('}')
	if array {
		end = ']'
	}
	for i := 0; ; {
		l.skipSpace(true)
		switch {
		case l.pos >= len(l.doc):
			return
		case l.peek() == end:
			l.pos++
			return
		case l.peek() == ',':
			l.pos++
			i++
		case array:
			before := l.pos
			element := path + "[" + strconv.Itoa(i) + "]"
			l.mark(element)
			l.value(element, depth)
			if l.pos == before {
				l.advance(1)
			}
		default:
			l.keyValue(path, depth)
		}
	}
}

// text skips a string of any of the four kinds.
func (l *locator) text() {
	quote := l.doc[l.pos : l.pos+1]
	basic := quote == `"`
	if long := strings.Repeat(quote, 3); strings.HasPrefix(l.rest(), long) {
		l.pos += 3
		for l.pos < len(l.doc) && !strings.HasPrefix(l.rest(), long) {
			if basic && l.peek() == '\\' {
				l.advance(1)
			}
			l.advance(1)
		}
		l.pos = min(l.pos+3, len(l.doc))
		// One or two more quotes belong to the text.
		for i := 0; i < 2 && strings.HasPrefix(l.rest(), quote); i++ {
			l.pos++
		}
		return
	}
	l.pos++
	for l.pos < len(l.doc) && l.doc[l.pos:l.pos+1] != quote && l.peek() != '\n' {
		if basic && l.peek() == '\\' {
			l.pos++
		}
		l.pos++
	}
	l.pos = min(l.pos+1, len(l.doc))
}
