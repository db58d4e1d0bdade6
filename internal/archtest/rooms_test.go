package archtest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever opens the house reads what its rooms are for: a new one must be told of.
func TestEveryRoomStandsOnThePage(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		room := path.Dir(name)
		// Helpers of tests belong to their room, and so do a library's tools.
		if strings.HasPrefix(room, "test/") || strings.HasSuffix(room, "test") || strings.Contains(room, "testdata") || seen[room] {
			return nil
		}
		seen[room] = true
		switch room {
		case "internal/archtest", "ledger/migrations", "grafana/generate", "httpcompat/recorded":
			return nil
		}
		if !strings.Contains(string(page), "`"+room+"`") {
			t.Errorf("%s stands in no row of docs/ARCHITECTURE.md", room)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) < 25 {
		t.Errorf("only %d rooms were found", len(seen))
	}
}
