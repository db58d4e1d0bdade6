package validate

import (
	"os"
	"strings"
	"testing"
)

// Hazards V11 and V12: names that are hidden from the miner, or are those of a
// programming language.
func TestReasonsAreOnTheProtocolPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons() {
		if !strings.Contains(string(page), "`"+string(reason)+"`") {
			t.Errorf("%q is not explained in docs/PROTOCOL.md", reason)
		}
		if stable(string(reason)) != reason {
			t.Errorf("%q is not recognised", reason)
		}
		if len(reason) > 64 {
			t.Errorf("%q does not fit the ledger's column", reason)
		}
	}
	if stable("credited") != Other || stable("") != Other {
		t.Error("an invented name passes")
	}
}
