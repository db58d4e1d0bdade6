package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"purepool/test/house"
)

// commands splits a script into its simple commands, a list of words each. It
// knows quotes, comments, continued lines, redirections and here-documents: what
// pages hold. (bash -n knows the rest.)
func commands(script string) [][]string {
	var all [][]string
	var words []string
	flush := func() {
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	heredoc := ""
	for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
		line = strings.TrimRight(line, "\n")
		if heredoc != "" {
			if strings.TrimSpace(line) == heredoc {
				heredoc = ""
			}
			continue
		}
		before := ""
		for _, w := range split(line) {
			switch {
			case !w.operator && before == "<<":
				heredoc = w.text
			case !w.operator && strings.ContainsAny(before, "<>"): // a file's name
			case !w.operator:
				words = append(words, w.text)
			case !strings.ContainsAny(w.text, "<>"):
				flush()
			}
			before = ""
			if w.operator {
				before = w.text
			}
		}
		flush()
	}
	return all
}

// word is a word of a script, without its quotes, or an operator between two.
type word struct {
	text     string
	operator bool
}

// split cuts a line into words, without its comment.
func split(line string) []word {
	var words []word
	var b strings.Builder
	quote, inWord := rune(0), false
	flush := func() {
		if inWord {
			words = append(words, word{text: b.String()})
		}
		b.Reset()
		inWord = false
	}
	for _, r := range line + " " {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				b.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			return words
		case r == ' ' || r == '\t':
			flush()
		case strings.ContainsRune("|&;<>", r):
			if text := b.String(); r == '>' && (text == "1" || text == "2") {
				inWord = false // a file's number
			}
			flush()
			if n := len(words); n > 0 && words[n-1].operator {
				words[n-1].text += string(r)
			} else {
				words = append(words, word{string(r), true})
			}
		default:
			b.WriteRune(r)
			inWord = true
		}
	}
	return words
}

// plain are the words of a line without operators: what stands in the text.
func plain(line string) []string {
	var words []string
	for _, w := range split(line) {
		words = append(words, w.text)
	}
	return words
}

// speller tries commands for their spelling. Safe for concurrent use.
type speller struct {
	binary  string
	targets map[string]bool
	mu      sync.Mutex
	tried   map[string]string
}

func newSpeller(t *testing.T) *speller {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	s := &speller{binary: house.Binary(t), targets: make(map[string]bool), tried: make(map[string]string)}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		s.targets[m[1]] = true
	}
	return s
}

// wrong says what is wrong with a command, and nothing where it can be run: a
// command of the program must parse, a target of make and a script must exist.
func (s *speller) wrong(words []string) string {
	for len(words) > 0 && (words[0] == "sudo" || strings.Contains(words[0], "=")) {
		words = words[1:]
		if len(words) > 1 && words[0] == "-u" {
			words = words[2:]
		}
	}
	if len(words) == 0 {
		return ""
	}
	switch name := words[0]; {
	case name == "purepool-admin":
		return s.wrongWords(append([]string{"admin"}, words[1:]...))
	case filepath.Base(name) == "purepool":
		return s.wrongWords(words[1:])
	case name == "make":
		for _, w := range words[1:] {
			if !strings.Contains(w, "=") && !strings.HasPrefix(w, "-") && !s.targets[w] {
				return "make has no target " + w
			}
		}
	case strings.HasPrefix(name, "deploy/"), strings.HasPrefix(name, "scripts/"), strings.HasPrefix(name, "./"):
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode()&0o111 == 0 {
			return name + " is no program of the project"
		}
	}
	return ""
}

// stands replaces what a page writes for a value by one that parses.
var stands = strings.NewReplacer("[", "", "]", "", "NETWORK", "main", "ROLE", "backend", "LEVEL", "info")

var (
	upper  = regexp.MustCompile(`^[A-Z][A-Z_]*$|^…$|^%s$`)
	number = "1"
)

// wrongWords asks the program itself: with --help at the end it explains a
// command that it knows, whatever else is missing, and refuses others.
func (s *speller) wrongWords(words []string) string {
	key := strings.Join(words, " ")
	s.mu.Lock()
	known, ok := s.tried[key]
	s.mu.Unlock()
	if ok {
		return known
	}
	complaint := ""
	// A placeholder may stand for a number, a word, a UUID, a network: one must do.
	for _, value := range []string{number, "word", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "1h", "info", "backend"} {
		args := make([]string, 0, len(words)+1)
		for _, w := range words {
			w = stands.Replace(w)
			flag, v, isFlag := strings.Cut(w, "=")
			switch {
			case upper.MatchString(w):
				w = value
			case isFlag && upper.MatchString(v):
				w = flag + "=" + value
			}
			if w == "--" { // help is a flag
				break
			}
			args = append(args, w)
		}
		out, err := exec.Command(s.binary, append(args, "--help")...).CombinedOutput()
		if err == nil {
			complaint = ""
			break
		}
		complaint = fmt.Sprintf("purepool %s: %s", key, strings.TrimSpace(string(out)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried[key] = complaint
	return complaint
}
