// Package docs reads the documentation as an operator would: every command is
// run, or tried for its spelling where it cannot be, every link is followed, and
// every test that a page names exists.
//
// A fenced block marked sh is a script. It is run as it stands, in a folder that
// all blocks of its page share, beside a demo pool (see stage_test.go for what
// stands in for 127.0.0.1:9101, ADDRESS and the like). A fenced block marked text
// right behind it is what it prints: each line must come, in this order, where …
// stands for anything. A comment before the block changes that:
//
//	<!-- test: own pool -->                   beside a database and folders of its own
//	<!-- test: until REGEXP -->               Ctrl-C once the output matches; exit code 0 then
//	<!-- test: exit 1 -->                     that is the exit code
//	<!-- test: covered by TestX, TestY: why --> not run here, but by those tests
//	<!-- test: not run: why -->               not run by anything
//
// Blocks that are not run are still read: their commands, flags, make targets and
// scripts must exist. So must those in `code` within the text.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is a Markdown file.
type page struct {
	name  string // from the root of the project
	lines []string
	// prose is lines without what stands in fences.
	prose  []string
	blocks []block
}

// block is a fenced block.
type block struct {
	page   string
	line   int // of its first line, from 1
	lang   string
	text   string
	note   note
	output []string // the lines of the text block behind it
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// note is what the comment before a block says.
type note struct {
	ownPool   bool
	until     *regexp.Regexp
	exit      int
	coveredBy []string
	notRun    bool
	why       string
}

func (n note) run() bool { return len(n.coveredBy) == 0 && !n.notRun }

var (
	noteLine  = regexp.MustCompile(`^<!-- test: (.+) -->$`)
	coveredBy = regexp.MustCompile(`^covered by ((?:Test\w+)(?:, Test\w+)*): (.+)$`)
)

// enough is the least length of a reason: one that says nothing is none.
const enough = 20

func parseNote(text string) (n note, err error) {
	if m := coveredBy.FindStringSubmatch(text); m != nil {
		n.coveredBy, n.why = strings.Split(m[1], ", "), m[2]
		return n, reasoned(n.why)
	}
	if why, ok := strings.CutPrefix(text, "not run: "); ok {
		n.notRun, n.why = true, why
		return n, reasoned(why)
	}
	for word := range strings.SplitSeq(text, "; ") {
		switch {
		case word == "own pool":
			n.ownPool = true
		case word == "exit 1":
			n.exit = 1
		case strings.HasPrefix(word, "until "):
			if n.until, err = regexp.Compile(strings.TrimPrefix(word, "until ")); err != nil {
				return n, err
			}
		default:
			return n, fmt.Errorf("%q is no note on a block", word)
		}
	}
	return n, nil
}

func reasoned(why string) error {
	if len(why) < enough {
		return fmt.Errorf("%q is no reason", why)
	}
	return nil
}

// parse takes a page apart. What is wrong with it is complained of.
func parse(name, text string, complain func(format string, args ...any)) page {
	p := page{name: name, lines: strings.Split(text, "\n")}
	var open *block
	fence, pending := "", ""
	for i, line := range p.lines {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == fence:
			p.close(*open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(trimmed, "```"):
			lang := strings.TrimLeft(trimmed, "`")
			fence = strings.TrimSuffix(trimmed, lang)
			open = &block{page: name, line: i + 1, lang: lang}
			if lang == "" {
				complain("%v: say what the block holds: sh, text, toml, …", *open)
			}
			if pending != "" {
				var err error
				if open.note, err = parseNote(pending); err != nil || lang != "sh" {
					complain("%v: the note before it: %v", *open, err)
				}
				pending = ""
			}
		default:
			p.prose = append(p.prose, line)
			if pending != "" && trimmed != "" {
				complain("%s:%d: a note on a block, and no block behind it", name, i)
				pending = ""
			}
			if m := noteLine.FindStringSubmatch(trimmed); m != nil {
				pending = m[1]
			} else if strings.HasPrefix(trimmed, "<!-- test:") {
				complain("%s:%d: this note cannot be read", name, i+1)
			}
			continue
		}
		p.prose = append(p.prose, "")
	}
	if open != nil {
		complain("%v: the block has no end", *open)
	}
	return p
}

// close adds a block; text right behind a script is what it prints.
func (p *page) close(b block) {
	if n := len(p.blocks); b.lang == "text" && n > 0 && p.blocks[n-1].lang == "sh" {
		behind := &p.blocks[n-1]
		end := behind.line + strings.Count(behind.text, "\n") + 1
		if strings.TrimSpace(strings.Join(p.lines[end:b.line-1], "")) == "" {
			behind.output = strings.Split(strings.TrimSpace(b.text), "\n")
		}
	}
	p.blocks = append(p.blocks, b)
}

// root is the project's folder.
const root = "../.."

// pages reads all documentation of the project.
func pages(t *testing.T) []page {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "node_modules") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(base, ".md") {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, path := range slices.Sorted(slices.Values(names)) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(filepath.ToSlash(name), string(text), t.Errorf))
	}
	if len(all) < 8 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}
