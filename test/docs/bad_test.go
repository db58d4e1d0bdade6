package docs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"purepool/test/page"
)

// A checker that finds nothing would be easy: this page holds one mistake of each
// kind, and says on the line what it is.
func TestMistakesOnAPageAreFound(t *testing.T) {
	text, err := os.ReadFile("testdata/bad.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	p := page.Parse("bad.md", string(text), complain)
	check([]page.Page{p}, map[string]promise{"TestThatExists": exists}, newSpeller(t), complain)
	deadLinks("testdata", []page.Page{p}, complain)
	for _, want := range []string{
		"unexpected argument mien",
		"unknown flag --patience",
		"unknown flag --gently",
		"make has no target love",
		"scripts/nothing is no program of the project",
		"there is no TestThatIsGone that could cover it",
		"there is no TestNobodyWrote",
		`"later" is no reason`,
		"bad.md:29: a command stands in an indented block",
		"nowhere.md leads nowhere",
		"bad.md has no heading #no-such-part",
		"say what the block holds",
		`"sometimes" is no note on a block`,
		"no command in it",
		"there is no TestThatExists that runs blocks",
	} {
		if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("not found: %s", want)
		}
	}
	if len(found) != 15 {
		t.Errorf("%d complaints:\n%s", len(found), strings.Join(found, "\n"))
	}
}

func TestScriptsAreCutIntoCommands(t *testing.T) {
	got := commands("a 'b c' \"d\"| e 2>&1 >f # g\nX=1 h \\\n  i && j; k <<'EOF'\nno command\nEOF\nl#m")
	want := [][]string{{"a", "b c", "d"}, {"e"}, {"X=1", "h", "i"}, {"j"}, {"k"}, {"l#m"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}
