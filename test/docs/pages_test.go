package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// check complains of whatever is wrong with pages but what running them shows.
func check(pages []page, tests map[string]bool, spelling *speller, complain func(format string, args ...any)) {
	for _, p := range pages {
		for _, b := range p.blocks {
			if b.lang == "sh" {
				checkBlock(b, tests, spelling, complain)
			}
		}
		checkProse(p, tests, spelling, complain)
	}
}

func checkBlock(b block, tests map[string]bool, spelling *speller, complain func(format string, args ...any)) {
	all := commands(b.text)
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
	for _, name := range b.note.coveredBy {
		if !tests[name] {
			complain("%v: there is no %s that could cover it", b, name)
		}
	}
}

var (
	// indented is a command in an indented block, where nobody would run it.
	indented = regexp.MustCompile(`^ {4,}(?:sudo |\$ )?(?:purepool|make|systemctl|apt-get|curl|psql|go|git|\./|deploy/|scripts/)[ \w]`)
	code     = regexp.MustCompile("`([^`]+)`")
	program  = regexp.MustCompile(`(?:^|[ =])purepool (.+)$`)
	testName = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+\b`)
)

func checkProse(p page, tests map[string]bool, spelling *speller, complain func(format string, args ...any)) {
	for i, line := range p.prose {
		at := func(what string) { complain("%s:%d: %s", p.name, i+1, what) }
		if indented.MatchString(line) {
			at("a command stands in an indented block: put it into a fence marked sh, which is run")
		}
		for _, m := range code.FindAllStringSubmatch(line, -1) {
			if what := wrongCode(m[1], spelling); what != "" {
				at(what)
			}
			for _, name := range testName.FindAllString(m[1], -1) {
				if !tests[name] {
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
	case strings.HasPrefix(text, "make "), strings.HasPrefix(text, "deploy/") && strings.Contains(text, " "):
		return spelling.wrong(plain(text))
	}
	return ""
}

var declared = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)

// tests lists the tests, benchmarks and fuzz targets of the project.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			all[m[1]] = true
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
func (p page) anchors() map[string]bool {
	all := make(map[string]bool)
	for _, line := range p.prose {
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
func deadLinks(base string, pages []page, complain func(format string, args ...any)) {
	byName := make(map[string]page, len(pages))
	for _, p := range pages {
		byName[p.name] = p
	}
	for _, p := range pages {
		for i, line := range p.prose {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				target := p.name
				if file != "" {
					target = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), file))
				}
				if _, err := os.Stat(filepath.Join(base, target)); err != nil {
					complain("%s:%d: %s leads nowhere", p.name, i+1, m[1])
				} else if anchor != "" && !byName[target].anchors()[anchor] {
					complain("%s:%d: %s has no heading #%s", p.name, i+1, target, anchor)
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
		if name, ok := strings.CutPrefix(p.name, "docs/"); ok && name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
	front, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil || !strings.Contains(string(front), "](docs/README.md)") {
		t.Errorf("README.md does not lead to docs/README.md (%v)", err)
	}
}
