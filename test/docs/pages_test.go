package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"purepool/test/page"
)

// root is the project's folder.
const root = "../.."

// pages reads all documentation of the project.
func pages(t *testing.T) []page.Page {
	t.Helper()
	all, err := page.All(root, t.Errorf)
	must(t, err)
	if len(all) < 8 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

// check complains of whatever is wrong with pages but what running them shows.
func check(pages []page.Page, tests map[string]promise, spelling *speller, complain func(format string, args ...any)) {
	for _, p := range pages {
		for _, b := range p.Blocks {
			if b.Lang == "sh" {
				checkBlock(b, tests, spelling, complain)
			}
		}
		checkProse(p, tests, spelling, complain)
	}
}

func checkBlock(b page.Block, tests map[string]promise, spelling *speller, complain func(format string, args ...any)) {
	all := commands(b.Text)
	if len(all) == 0 {
		complain("%v: no command in it", b)
	}
	dir := ""
	for _, words := range all {
		if words[0] == "cd" && len(words) == 2 {
			dir = filepath.Join(dir, words[1])
		} else if dir != "" && strings.HasPrefix(words[0], "./") {
			words[0] = "./" + filepath.Join(dir, words[0])
		}
		if what := spelling.wrong(words); what != "" {
			complain("%v: %s", b, what)
		}
	}
	for _, name := range b.Note.CoveredBy {
		if tests[name] == none {
			complain("%v: there is no %s that could cover it", b, name)
		}
	}
	if name := b.Note.RunBy; name != "" && tests[name] != reads {
		complain("%v: there is no %s that runs blocks of pages", b, name)
	}
}

var (
	// indented is a command in an indented block, where nobody would run it.
	indented = regexp.MustCompile(`^ {4,}(?:sudo |\$ )?(?:purepool|purepool-admin|make|systemctl|apt-get|curl|psql|go|git|cp|mkdir|promtool|nft|\./|deploy/|scripts/)[ \w]`)
	code     = regexp.MustCompile("`([^`]+)`")
	program  = regexp.MustCompile(`(?:^|[ =])purepool (.+)$`)
	testName = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+\b`)
)

func checkProse(p page.Page, tests map[string]promise, spelling *speller, complain func(format string, args ...any)) {
	for i, line := range p.Prose {
		at := func(what string) { complain("%s:%d: %s", p.Name, i+1, what) }
		if indented.MatchString(line) {
			at("a command stands in an indented block: put it into a fence marked sh, which is run")
		}
		for _, m := range code.FindAllStringSubmatch(line, -1) {
			if what := wrongCode(m[1], spelling); what != "" {
				at(what)
			}
			for _, name := range testName.FindAllString(m[1], -1) {
				if tests[name] == none {
					at("there is no " + name)
				}
			}
		}
	}
}

// wrongCode says what is wrong with `code` in the text that is a command.
func wrongCode(text string, spelling *speller) string {
	text = strings.ReplaceAll(text, `\|`, "|")
	switch m := program.FindStringSubmatch(text); {
	case m != nil:
		return spelling.wrong(append([]string{"purepool"}, plain(m[1])...))
	case strings.HasPrefix(text, "admin "), strings.HasPrefix(text, "sim "):
		return spelling.wrong(append([]string{"purepool"}, plain(text)...))
	case strings.HasPrefix(text, "make "), strings.HasPrefix(text, "purepool-admin "), strings.HasPrefix(text, "deploy/") && strings.Contains(text, " "):
		return spelling.wrong(plain(text))
	}
	return ""
}

var declared = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)

// promise is what is known of a test by its source.
type promise int

const (
	none promise = iota // there is no such test
	exists
	reads // its file opens the book of the blocks that it has promised to run
)

// tests lists the tests, benchmarks and fuzz targets of the project.
func tests(t *testing.T) map[string]promise {
	t.Helper()
	all := make(map[string]promise)
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			all[m[1]] = exists
			if strings.Contains(string(source), "page.Open(") {
				all[m[1]] = reads
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryCommandAndEveryTestThatThePagesNameExists(t *testing.T) {
	check(pages(t), tests(t), newSpeller(t), t.Errorf)
}

// Where a page promises a test for each of its rows, none may be without.
func TestEveryPromiseHazardAndClaimHasATest(t *testing.T) {
	for file, row := range map[string]*regexp.Regexp{
		"ARCHITECTURE.md": regexp.MustCompile(`(?m)^\| \*\*[SM]\d.*$`),
		"HAZARDS.md":      regexp.MustCompile(`(?m)^\| [VHPW]\d.*$`),
		"SECURITY.md":     regexp.MustCompile(`(?m)^\| (?:can|cannot) .*$`),
	} {
		text, err := os.ReadFile(filepath.Join(root, "docs", file))
		if err != nil {
			t.Fatal(err)
		}
		rows := row.FindAllString(string(text), -1)
		if len(rows) < 15 {
			t.Errorf("%s: only %d rows were found", file, len(rows))
		}
		for _, row := range rows {
			if !testName.MatchString(row) {
				t.Errorf("%s: no test: %s", file, row)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} (.*)$`)
)

// anchors are the names of a page's headings as the forges make them.
func anchors(p page.Page) map[string]bool {
	all := make(map[string]bool)
	for _, line := range p.Prose {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				b.WriteRune(r)
			}
		}
		all[b.String()] = true
	}
	return all
}

// deadLinks complains of links that lead nowhere within the project.
func deadLinks(base string, pages []page.Page, complain func(format string, args ...any)) {
	byName := make(map[string]page.Page, len(pages))
	for _, p := range pages {
		byName[p.Name] = p
	}
	for _, p := range pages {
		for i, line := range p.Prose {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				target := p.Name
				if file != "" {
					target = filepath.ToSlash(filepath.Join(filepath.Dir(p.Name), file))
				}
				if _, err := os.Stat(filepath.Join(base, target)); err != nil {
					complain("%s:%d: %s leads nowhere", p.Name, i+1, m[1])
				} else if anchor != "" && !anchors(byName[target])[anchor] {
					complain("%s:%d: %s has no heading #%s", p.Name, i+1, target, anchor)
				}
			}
		}
	}
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	deadLinks(root, pages(t), t.Errorf)
}

// Every page can be found from the index, and the index from the front page.
func TestTheIndexNamesEveryPage(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		if name, ok := strings.CutPrefix(p.Name, "docs/"); ok && name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
	front, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil || !strings.Contains(string(front), "](docs/README.md)") {
		t.Errorf("README.md does not lead to docs/README.md (%v)", err)
	}
}
