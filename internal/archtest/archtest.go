// Package archtest keeps the house's walls: who may import whom, as
// docs/ARCHITECTURE.md tells it, checked by a test.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of this module.
const module = "purepool"

// Rule is one wall. Packages are named by their folder; "x/..." is x and all
// below it. Rules hold for the code, not for its tests: those may put up whole
// houses.
type Rule struct {
	// Of is the room that the rule is about.
	Of string
	// May lists the packages of this module that the room may import beside those
	// of its own; nil allows all.
	May []string
	// Never lists imports, of this module or others, that the room may not have.
	Never []string
	// OnlyFrom lists who may import the room; nil allows all.
	OnlyFrom []string
	// Pure rooms start no goroutines.
	Pure bool
	// Why is said to who runs into the wall.
	Why string
}

// Rules returns the walls of this house.
func Rules() []Rule {
	// io is what a pure room has no use for: files, networks, clocks, processes, logs.
	effects := []string{"net", "net/...", "os", "os/...", "time", "io/fs", "log", "log/...", "context", "database/...", "syscall", "math/rand/..."}
	const wire = "a wire knows the front desk and nothing behind it: what faces the internet has nothing to steal"
	return []Rule{
		{Of: "httpcompat/...", May: []string{"pool"}, Why: wire},
		// Template work is built from jobs, whose formats a wire must write.
		{Of: "stratum/...", May: []string{"pool", "pool/chain", "pool/job", "pool/pow", "pool/solution", "pool/vardiff"}, Why: wire},
		{Of: "pool/chain/...", May: []string{}, Never: effects, Pure: true, Why: "the chain's formats are pure: no I/O, no clock, no goroutines"},
		{Of: "pool/pow/...", May: []string{"pool/chain"}, Never: effects, Pure: true, Why: "proofs and targets are pure: no I/O, no clock, no goroutines"},
		{Of: "pool/solution/...", May: []string{"pool/chain", "pool/pow"}, Pure: true, Why: "a parser of what the internet sends knows nobody"},
		{Of: "pool/job/...", May: []string{"pool/chain", "pool/pow"}, Why: "a job is what is handed out and judged, whoever hands it out"},
		{Of: "pool/vardiff/...", May: []string{}, Why: "counting shares needs nobody"},
		{Of: "pool/settle/scheme/...", May: []string{}, Never: effects, Pure: true, Why: "a scheme is a pure function from weights to satoshis"},
		{
			Of: "pool", May: []string{"ledger", "pool/chain", "pool/job", "pool/pow", "pool/queue", "pool/solution"},
			Why: "the front desk knows its store and the queue, not who judges, not the daemon",
		},
		{Of: "pool/queue/...", May: []string{}, Why: "the queue carries shares and has no opinion about them"},
		{Of: "pool/tip/...", May: []string{}, Why: "the tips' history asks through interfaces of its own"},
		{
			Of: "pool/validate/...", May: []string{"bbprpc", "ledger", "pool/chain", "pool/job", "pool/pow", "pool/queue", "pool/solution", "pool/tip"},
			OnlyFrom: []string{"internal/role/...", "test/..."},
			Why:      "judging is behind the queue: it knows no wire and no front desk, and none of those knows it",
		},
		{
			Of: "pool/jobs/...", May: []string{"bbprpc", "ledger", "pool/chain", "pool/job", "pool/pow"},
			OnlyFrom: []string{"internal/role/...", "test/..."},
			Why:      "issuing jobs and submitting blocks is behind the queue: it knows no wire and no front desk",
		},
		{Of: "bbprpc/...", May: []string{"internal/testkit", "pool/chain"}, Why: "the daemon's client knows no room but the chain's formats"},
		{Of: "ledger/...", May: []string{"pool/chain", "pool/pow"}, Why: "the ledger knows no wire and no daemon"},
		{Of: "sidecar-web/...", May: []string{"internal/serve", "ledger", "pool/chain", "pool/pow"}, Why: "the pages know the ledger's read side only"},
		{Of: "sim/...", May: []string{"pool/chain", "pool/job", "pool/pow", "pool/solution"}, OnlyFrom: []string{"cmd/...", "internal/demo/...", "test/..."}, Why: "the simulator is no part of a pool, and shares no code with what it tests but the formats"},
		{Of: "internal/config/...", May: []string{"pool/chain"}, Why: "the configuration is read before there is anything"},
		{Of: "internal/health/...", May: []string{"internal/serve"}, Why: "health is asked through functions"},
		{Of: "internal/role/...", OnlyFrom: []string{"cmd/...", "internal/demo/...", "test/..."}, Why: "wiring is done once, at the top"},
		{Of: "cmd/...", OnlyFrom: []string{}, Why: "nothing imports the commands"},
		{Of: "test/...", OnlyFrom: []string{}, Why: "the tests' houses are for tests"},
		{
			Of: "internal/testkit/...", May: []string{}, OnlyFrom: []string{"bbprpc/litecoindtest", "bbprpc/zmq/zmqtest", "test/..."},
			Why: "what tests of all rooms share knows none of them",
		},

		// Libraries that stay behind one door.
		{Of: "github.com/nats-io/...", OnlyFrom: []string{"pool/queue/..."}, Why: "brokers are the queue's business"},
		{Of: "github.com/ThreeDotsLabs/...", OnlyFrom: []string{"pool/queue/..."}, Why: "brokers are the queue's business"},
		{Of: "github.com/lib/pq", OnlyFrom: []string{"ledger/...", "internal/config", "test/..."}, Why: "the database is the ledger's business"},
		{Of: "github.com/jmoiron/sqlx", OnlyFrom: []string{"ledger/...", "test/..."}, Why: "the database is the ledger's business"},
		{Of: "github.com/bitbandi/go-x11", OnlyFrom: []string{"pool/pow/..."}, Why: "the library is unmaintained, so it stays behind pool/pow"},
	}
}

// Violation is one hole in a wall.
type Violation struct {
	File string
	Line int
	What string
	Why  string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s (%s)", v.File, v.Line, v.What, v.Why)
}

// Check reads every Go file of the module below root, tests excepted, and
// returns where the rules are broken.
func Check(root fs.FS, rules []Rule) ([]Violation, error) {
	var violations []Violation
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		found, err := checkFile(root, name, rules)
		violations = append(violations, found...)
		return err
	})
	return violations, err
}

func checkFile(root fs.FS, name string, rules []Rule) ([]Violation, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	from := path.Dir(name)
	var violations []Violation
	at := func(pos token.Pos, why, what string, args ...any) {
		violations = append(violations, Violation{name, files.Position(pos).Line, fmt.Sprintf(what, args...), why})
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if what := broken(r, from, imported); what != "" {
				at(spec.Pos(), r.Why, "%s", what)
			}
		}
	}
	for _, r := range rules {
		if !r.Pure || !matches(r.Of, from) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n, ok := n.(*ast.GoStmt); ok {
				at(n.Pos(), r.Why, "%s starts a goroutine", from)
			}
			return true
		})
	}
	return violations, nil
}

// broken says how a rule is broken where the package from has the import, and
// nothing where it is not.
func broken(r Rule, from, imported string) string {
	// Our own packages go by their folder, others by their path.
	target, ours := strings.CutPrefix(imported, module+"/")
	if matches(r.Of, from) {
		if ours && r.May != nil && !matches(r.Of, target) && !anyMatches(r.May, target) {
			return fmt.Sprintf("%s imports %s", from, target)
		}
		if anyMatches(r.Never, target) {
			return fmt.Sprintf("%s imports %s", from, target)
		}
	}
	if r.OnlyFrom != nil && matches(r.Of, target) && !matches(r.Of, from) && !anyMatches(r.OnlyFrom, from) {
		return fmt.Sprintf("%s imports %s", from, target)
	}
	return ""
}

func anyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == parent || strings.HasPrefix(name, parent+"/")
	}
	return name == pattern
}
