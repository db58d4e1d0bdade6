package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The page of hazards promises a test for each; a test that is renamed or
// removed must not leave the promise standing.
func TestEveryTestOnTheHazardsPageExists(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "HAZARDS.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 30 {
		t.Fatalf("only %d tests are named on the page", len(named))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("%s is on the page of hazards and nowhere else", m[1])
		}
	}
	rows := regexp.MustCompile(`(?m)^\| [VHPW]\d.*$`).FindAllString(string(page), -1)
	for _, row := range rows {
		if !strings.Contains(row, "`Test") {
			t.Errorf("no test: %s", row)
		}
	}
}
