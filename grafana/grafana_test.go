package grafana_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"purepool/grafana"
)

func TestDashboardsLieHereAsTheyAreWritten(t *testing.T) {
	want := make(map[string]bool)
	for _, d := range grafana.Dashboards() {
		name := filepath.Join("dashboards", d.UID+".json")
		want[name] = true
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if there, err := os.ReadFile(name); err != nil || string(there) != string(text) {
			t.Errorf("%s is not what the code says (%v): run make dashboards", name, err)
		}
	}
	files, err := filepath.Glob("dashboards/*")
	if err != nil || len(files) != len(want) {
		t.Errorf("the folder holds %v, want %d dashboards (%v)", files, len(want), err)
	}
}

// model is what Grafana needs to find in a dashboard, read without the types
// that wrote it.
type model struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Query                  any
			Datasource             *struct{ UID string }
		}
	}
	Annotations struct {
		List []struct {
			Name       string
			Target     struct{ RefID, Expr string }
			Datasource struct{ UID string }
		}
	}
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ H, W, X, Y int }
		Datasource  *struct{ Type, UID string }
		FieldConfig struct {
			Defaults struct {
				Unit       string
				Thresholds struct{ Steps []struct{ Value *float64 } }
			}
		}
		Targets []struct {
			RefID, Expr, LegendFormat string
			Datasource                *struct{ UID string }
		}
	}
}

func read(t *testing.T) map[string]model {
	t.Helper()
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	all := make(map[string]model, len(files))
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d model
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = d
	}
	return all
}

// units are those of Grafana that are used here; a typing error would show as
// the unit's name behind every number.
var units = []string{"short", "s", "ops", "reqps", "bytes", "Bps", "percentunit", "Hs", "bool_yes_no"}

func TestEveryPanelHasAUnitASourceAndAPlaceOfItsOwn(t *testing.T) {
	uids, titles := map[string]bool{}, map[string]bool{}
	for name, d := range read(t) {
		if d.UID == "" || len(d.UID) > 40 || uids[d.UID] || d.Title == "" || titles[d.Title] || d.SchemaVersion < 36 {
			t.Errorf("%s: uid %q, title %q, schema %d", name, d.UID, d.Title, d.SchemaVersion)
		}
		uids[d.UID], titles[d.Title] = true, true
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if p.ID == 0 || ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q", name, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %q lies over %q", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			unit := p.FieldConfig.Defaults.Unit
			if !slices.Contains(units, unit) && !strings.HasPrefix(unit, "suffix:") {
				t.Errorf("%s: %q has the unit %q", name, p.Title, unit)
			}
			if p.Datasource == nil || p.Datasource.UID != "${datasource}" || p.Datasource.Type != "prometheus" || len(p.Targets) == 0 {
				t.Errorf("%s: %q asks %v", name, p.Title, p.Datasource)
			}
			for i, target := range p.Targets {
				if target.RefID != string(rune('A'+i)) || target.Datasource == nil || target.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %q asks %+v", name, p.Title, target)
				}
			}
			for i := range p.FieldConfig.Defaults.Thresholds.Steps {
				if value := p.FieldConfig.Defaults.Thresholds.Steps[i].Value; (i == 0) != (value == nil) {
					t.Errorf("%s: threshold %d of %q", name, i, p.Title)
				}
			}
		}
	}
}

func TestEveryDashboardHasItsVariablesAndAnnotations(t *testing.T) {
	for name, d := range read(t) {
		var names []string
		for _, v := range d.Templating.List {
			names = append(names, v.Name)
			if v.Type == "query" && (v.Datasource == nil || v.Datasource.UID != "${datasource}" || !strings.HasPrefix(v.Definition, "label_values(")) {
				t.Errorf("%s: variable %+v", name, v)
			}
		}
		if !slices.Equal(names, []string{"datasource", "network", "instance"}) {
			t.Errorf("%s has the variables %v", name, names)
		}
		var marks []string
		for _, a := range d.Annotations.List {
			marks = append(marks, a.Name)
		}
		if !slices.Equal(marks, []string{"Blocks found", "Starts and deploys"}) {
			t.Errorf("%s has the annotations %v", name, marks)
		}
	}
}

// selector is a metric in a query, with what stands in braces behind it.
var selector = regexp.MustCompile(`\b((?:[a-z_]+:)?(?:purepool|go|process)_[a-z0-9_]+(?::[a-z0-9_]+)?|up)(\{[^}]*\})?`)

func TestEveryQueryKeepsToTheChosenNetworkOrInstance(t *testing.T) {
	n := 0
	check := func(where, expr string) {
		for _, m := range selector.FindAllStringSubmatch(expr, -1) {
			n++
			if !strings.Contains(m[2], `network=~"$network"`) && !strings.Contains(m[2], `instance=~"$instance"`) {
				t.Errorf("%s: %s is asked of every network and instance: %s", where, m[1], expr)
			}
		}
	}
	for name, d := range read(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				check(name+" "+p.Title, target.Expr)
			}
		}
		for _, a := range d.Annotations.List {
			check(name+" "+a.Name, a.Target.Expr)
		}
	}
	if n < 150 {
		t.Errorf("only %d metrics were found in the queries", n)
	}
}

// alert is what the tests look at of a rule; Prometheus itself reads the rest.
type alert struct{ name, severity, summary, runbook string }

var alertRule = regexp.MustCompile(`(?s)- alert: (\w+)\n.*?labels: \{ severity: (\w+) \}\n\s+annotations:\n\s+summary: '([^\n]+)'\n\s+runbook_url: (\S+)\n`)

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	text, err := fs.ReadFile(grafana.Prometheus(), "rules/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range alertRule.FindAllStringSubmatch(string(text), -1) {
		all = append(all, alert{m[1], m[2], m[3], m[4]})
	}
	if n := strings.Count(string(text), "- alert:"); len(all) != n || n < 25 {
		t.Fatalf("%d of %d alerts are written as the others are: severity, summary, runbook_url", len(all), n)
	}
	return all
}

func TestEveryAlertHasAnEntryInTheRunbookAndEveryEntryAnAlert(t *testing.T) {
	text, err := os.ReadFile("../docs/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]string)
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		entries[title] = body
	}
	for _, r := range alerts(t) {
		body, ok := entries[r.name]
		if !ok {
			t.Errorf("%s has no entry in docs/RUNBOOK.md", r.name)
			continue
		}
		delete(entries, r.name)
		for _, part := range []string{"**Means.**", "**See.**", "**Do.**"} {
			if !strings.Contains(body, part) {
				t.Errorf("the entry of %s has no part %s", r.name, part)
			}
		}
		if r.runbook != "docs/RUNBOOK.md#"+strings.ToLower(r.name) {
			t.Errorf("%s leads to %q", r.name, r.runbook)
		}
		if r.severity != "page" && r.severity != "ticket" {
			t.Errorf("%s has the severity %q", r.name, r.severity)
		}
	}
	for title := range entries {
		if strings.HasPrefix(title, "Purepool") {
			t.Errorf("docs/RUNBOOK.md has an entry %s, and there is no such alert", title)
		}
	}
}

func TestPrometheusTakesConfigurationAndRulesAndTheyFireAsTheyShould(t *testing.T) {
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tests, err := os.ReadFile("prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		silent := strings.Contains(string(tests), "alertname: "+r.name+", eval_time") // with no alerts expected
		if !silent || !strings.Contains(string(tests), "- alertname: "+r.name+"\n") {
			t.Errorf("%s is not tested both silent and firing", r.name)
		}
	}
}
