package stratum

import (
	"os"
	"regexp"
	"testing"
)

// The protocol's page names every method that is answered or sent, and no other.
func TestProtocolPageNamesEveryMethod(t *testing.T) {
	page, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	code := make(map[string]bool)
	for m := methodAnswer + 1; m < methods; m++ {
		code[m.String()] = true
	}
	source, err := os.ReadFile("encode.go")
	if err != nil {
		t.Fatal(err)
	}
	classic, err := os.ReadFile("classic.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`"method":"([a-z_.]+)"`).FindAllSubmatch(append(source, classic...), -1) {
		code[string(found[1])] = true
	}
	if !code["client.get_version"] || !code["mining.notify"] || len(code) < 15 {
		t.Fatalf("what is sent is not found in the source: %v", code)
	}
	written := make(map[string]bool)
	for _, found := range regexp.MustCompile("`((?:mining|client)\\.[a-z_.]+|readytomine2|solution)`").FindAllSubmatch(page, -1) {
		written[string(found[1])] = true
	}
	for name := range code {
		if !written[name] {
			t.Errorf("docs/PROTOCOL.md does not name %s", name)
		}
	}
	for name := range written {
		if !code[name] {
			t.Errorf("docs/PROTOCOL.md names %s, which there is none of", name)
		}
	}
}
