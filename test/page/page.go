// Package page reads the documentation's pages and the scripts on them, for tests
// that run these as they stand: test/docs beside a demo pool, others on servers.
//
// A fenced block marked sh is a script. A fenced block marked text right behind it is
// what it prints: each line must come, in this order, where … stands for anything. A
// comment before the block changes that:
//
//	<!-- test: own pool -->                   beside a database and folders of its own
//	<!-- test: moved pool -->                 beside one that takes over an original pool's books
//	<!-- test: until REGEXP -->               Ctrl-C once the output matches; exit code 0 then
//	<!-- test: exit 1 -->                     that is the exit code
//	<!-- test: run by TestX: where -->        run as it stands by that test, which answers for it (see Book)
//	<!-- test: covered by TestX, TestY: why --> not run, but what it does is tested there
//	<!-- test: not run: why -->               not run by anything
package page

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is a Markdown file.
type Page struct {
	Name  string // from the root of the project
	Lines []string
	// Prose is Lines without what stands in fences.
	Prose  []string
	Blocks []Block
}

// Block is a fenced block.
type Block struct {
	Page   string
	Line   int // of its first line, from 1
	Lang   string
	Text   string
	Note   Note
	Output []string // the lines of the text block behind it
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// Note is what the comment before a block says.
type Note struct {
	OwnPool   bool
	MovedPool bool
	Until     *regexp.Regexp
	Exit      int
	RunBy     string // the test that runs it elsewhere
	CoveredBy []string
	NotRun    bool
	Why       string
}

// Here says that the block is run beside a demo pool, by test/docs.
func (n Note) Here() bool { return n.RunBy == "" && len(n.CoveredBy) == 0 && !n.NotRun }

var (
	noteLine  = regexp.MustCompile(`^<!-- test: (.+) -->$`)
	runBy     = regexp.MustCompile(`^run by (Test\w+): (.+)$`)
	coveredBy = regexp.MustCompile(`^covered by ((?:Test\w+)(?:, Test\w+)*): (.+)$`)
)

// enough is the least length of a reason: one that says nothing is none.
const enough = 20

func parseNote(text string) (n Note, err error) {
	if m := runBy.FindStringSubmatch(text); m != nil {
		n.RunBy, n.Why = m[1], m[2]
		return n, reasoned(n.Why)
	}
	if m := coveredBy.FindStringSubmatch(text); m != nil {
		n.CoveredBy, n.Why = strings.Split(m[1], ", "), m[2]
		return n, reasoned(n.Why)
	}
	if why, ok := strings.CutPrefix(text, "not run: "); ok {
		n.NotRun, n.Why = true, why
		return n, reasoned(why)
	}
	for word := range strings.SplitSeq(text, "; ") {
		switch {
		case word == "own pool":
			n.OwnPool = true
		case word == "moved pool":
			n.MovedPool = true
		case word == "exit 1":
			n.Exit = 1
		case strings.HasPrefix(word, "until "):
			if n.Until, err = regexp.Compile(strings.TrimPrefix(word, "until ")); err != nil {
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

// Parse takes a page apart. What is wrong with it is complained of.
func Parse(name, text string, complain func(format string, args ...any)) Page {
	p := Page{Name: name, Lines: strings.Split(text, "\n")}
	var open *Block
	fence, pending := "", ""
	for i, line := range p.Lines {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == fence:
			p.close(*open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		case strings.HasPrefix(trimmed, "```"):
			lang := strings.TrimLeft(trimmed, "`")
			fence = strings.TrimSuffix(trimmed, lang)
			open = &Block{Page: name, Line: i + 1, Lang: lang}
			if lang == "" {
				complain("%v: say what the block holds: sh, text, toml, …", *open)
			}
			if pending != "" {
				var err error
				if open.Note, err = parseNote(pending); err != nil || lang != "sh" {
					complain("%v: the note before it: %v", *open, err)
				}
				pending = ""
			}
		default:
			p.Prose = append(p.Prose, line)
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
		p.Prose = append(p.Prose, "")
	}
	if open != nil {
		complain("%v: the block has no end", *open)
	}
	return p
}

// close adds a block; text right behind a script is what it prints.
func (p *Page) close(b Block) {
	if n := len(p.Blocks); b.Lang == "text" && n > 0 && p.Blocks[n-1].Lang == "sh" {
		behind := &p.Blocks[n-1]
		end := behind.Line + strings.Count(behind.Text, "\n") + 1
		if strings.TrimSpace(strings.Join(p.Lines[end:b.Line-1], "")) == "" {
			behind.Output = strings.Split(strings.TrimSpace(b.Text), "\n")
		}
	}
	p.Blocks = append(p.Blocks, b)
}

// All reads all documentation of the project below root. What is wrong with a page
// is complained of.
func All(root string, complain func(format string, args ...any)) (all []Page, err error) {
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "dist") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(base, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, Parse(filepath.ToSlash(name), string(text), complain))
		return nil
	})
	return all, err
}
