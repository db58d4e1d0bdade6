package archtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestNobodyImportsWhatTheyMayNot(t *testing.T) {
	root := os.DirFS("../..")
	if _, err := os.Stat("../../go.mod"); err != nil {
		t.Fatal(err)
	}
	violations, err := Check(root, Rules())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

func TestCheckerCatchesViolations(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       string // empty: allowed
	}{
		"wire to ledger":            {"httpcompat/a.go", `import "purepool/ledger"`, "httpcompat/a.go:2: httpcompat imports ledger"},
		"wire to queue":             {"stratum/a.go", `import "purepool/pool/queue"`, "stratum imports pool/queue"},
		"wire to wire":              {"stratum/a.go", `import "purepool/httpcompat"`, "stratum imports httpcompat"},
		"wire to front desk":        {"stratum/a.go", `import "purepool/pool"`, ""},
		"wire to its own":           {"httpcompat/sub/a.go", `import "purepool/httpcompat"`, ""},
		"clock in the chain":        {"pool/chain/a.go", `import "time"`, "pool/chain imports time"},
		"network in proofs":         {"pool/pow/a.go", `import "net/http"`, "pool/pow imports net/http"},
		"goroutine in proofs":       {"pool/pow/a.go", "func f() {\n\tgo f()\n}", "pool/pow/a.go:3: pool/pow starts a goroutine"},
		"daemon client to ledger":   {"bbprpc/a.go", `import "purepool/ledger"`, "bbprpc imports ledger"},
		"daemon client to chain":    {"bbprpc/a.go", `import "purepool/pool/chain"`, ""},
		"ledger to daemon":          {"ledger/a.go", `import "purepool/bbprpc"`, "ledger imports bbprpc"},
		"desk to validator":         {"pool/a.go", `import "purepool/pool/validate"`, "pool imports pool/validate"},
		"pages to the daemon":       {"sidecar-web/a.go", `import "purepool/bbprpc"`, "sidecar-web imports bbprpc"},
		"anything to a command":     {"internal/x/a.go", `import "purepool/cmd/purepool"`, "internal/x imports cmd/purepool"},
		"validator to simulator":    {"pool/validate/a.go", `import "purepool/sim/daemon"`, "pool/validate imports sim/daemon"},
		"command to simulator":      {"cmd/purepool/a.go", `import "purepool/sim/daemon"`, ""},
		"broker outside the queue":  {"pool/a.go", `import "github.com/nats-io/nats.go"`, "pool imports github.com/nats-io/nats.go"},
		"database beside the house": {"pool/a.go", `import "github.com/lib/pq"`, "pool imports github.com/lib/pq"},
		"a test may":                {"httpcompat/a_test.go", `import "purepool/ledger"`, ""},
		"test data is no code":      {"httpcompat/testdata/a.go", `import "purepool/ledger"`, ""},
		"similar name":              {"poolside/a.go", `import "time"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			violations, err := Check(fstest.MapFS{c.file: {Data: []byte("package p\n" + c.text + "\n")}}, Rules())
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, v := range violations {
				lines = append(lines, v.String())
			}
			got := strings.Join(lines, "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("violations %q, want %q", got, c.want)
			}
		})
	}
}
