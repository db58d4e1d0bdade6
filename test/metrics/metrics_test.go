package metrics_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"purepool/grafana"
	"purepool/test/house"
)

// ask makes a request of Prometheus' API and reads its data.
func (p *pools) ask(path string, args url.Values, data any) error {
	answer, err := http.Get(p.prometheus + "/api/v1/" + path + "?" + args.Encode()) //nolint:noctx // ends with the test
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body := struct {
		Status, Error string
		Warnings      []string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return err
	}
	if body.Status != "success" || len(body.Warnings) > 0 {
		return fmt.Errorf("%s %v", body.Error, body.Warnings)
	}
	return nil
}

// query reports how many series answer with a number.
func (p *pools) query(expr string) (numbers int, err error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.ask("query", url.Values{"query": {expr}}, &data); err != nil {
		return 0, err
	}
	for _, r := range data.Result {
		text, _ := r.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) {
			numbers++
		}
	}
	return numbers, nil
}

// variables are what Grafana puts in for its own, at the demo's pace.
var variables = strings.NewReplacer("$network", ".*", "$instance", ".*", "$__rate_interval", "1m")

// selector is a metric in a query, with what stands in braces behind it.
var selector = regexp.MustCompile(`\b((?:[a-z_]+:)?(?:purepool|go|process)_[a-z0-9_]+(?::[a-z0-9_]+)?|up)(\{[^}]*\})?`)

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// questions are all queries, by where they stand.
func (p *pools) questions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, d := range grafana.Dashboards() {
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				all[fmt.Sprintf("%s: %s: %s", d.Title, panel.Title, target.RefID)] = variables.Replace(target.Expr)
			}
		}
		for _, a := range d.Annotations.List {
			all[d.Title+": annotation "+a.Name] = variables.Replace(a.Target.Expr)
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := labelValues.FindStringSubmatch(v.Definition)
			if m == nil {
				t.Fatalf("variable %s of %s: %s", v.Name, d.Title, v.Definition)
			}
			all[d.Title+": variable "+v.Name] = fmt.Sprintf("count by (%s) (%s)", m[2], m[1])
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Type string }
		}
	}
	must(t, p.ask("rules", nil, &rules))
	n := 0
	for _, g := range rules.Groups {
		for i, r := range g.Rules {
			n++
			all[fmt.Sprintf("rule %s (%d)", r.Name, i)] = r.Query
			if r.Type != "alerting" {
				continue
			}
			// That an alert is silent says nothing: what it looks at must be there.
			delete(all, fmt.Sprintf("rule %s (%d)", r.Name, i))
			for _, s := range selector.FindAllString(r.Query, -1) {
				all["alert "+r.Name+" looks at "+s] = s
			}
		}
	}
	if n < 35 || len(all) < 200 {
		t.Fatalf("only %d rules and %d questions were found", n, len(all))
	}
	return all
}

func TestARealPrometheusAnswersEveryQuestion(t *testing.T) {
	p := startPools(t)
	questions := p.questions(t)
	n := len(questions)
	deadline := time.Now().Add(2 * time.Minute) // on a busy machine; half a minute as a rule
	for len(questions) > 0 && time.Now().Before(deadline) {
		p.visit(t)
		for where, expr := range questions {
			switch numbers, err := p.query(expr); {
			case err != nil:
				t.Errorf("%s: %v\n\t%s", where, err, expr)
				delete(questions, where)
			case numbers > 0:
				delete(questions, where)
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, where := range slices.Sorted(maps.Keys(questions)) {
		t.Errorf("%s: no data\n\t%s", where, questions[where])
	}
	t.Logf("%d of %d questions are answered", n-len(questions), n)

	t.Run("no rule fails", p.noRuleFails)
	t.Run("METRICS.md is complete", p.documentIsComplete)
	t.Run("labels are few words", p.labelsAreFewWords)
	t.Run("Ctrl-C ends the demo and its Prometheus", p.endsTogether)
}

func (p *pools) noRuleFails(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, Type, State string }
		}
	}
	must(t, p.ask("rules", nil, &rules))
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.State == "firing" {
				t.Errorf("%s fires in a pool that is well", r.Name)
			}
		}
	}
}

// metric is one row of docs/METRICS.md, or what Prometheus knows of one.
type metric struct {
	kind   string
	labels []string
}

var metricRow = regexp.MustCompile("(?m)^\\| `(purepool_\\w+)` \\| (gauge|counter|histogram) \\| ([^|]+) \\|([^|]*)\\| ([^|]+) \\|([^|]*)\\|$")

// documented reads docs/METRICS.md.
func documented(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("../../docs/METRICS.md")
	must(t, err)
	all := make(map[string]metric)
	for _, m := range metricRow.FindAllStringSubmatch(string(text), -1) {
		if _, twice := all[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		d := metric{kind: m[2]}
		for label := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(m[4]), "`", ""), ", ") {
			if label != "" {
				d.labels = append(d.labels, label)
			}
		}
		slices.Sort(d.labels)
		all[m[1]] = d
	}
	if n := strings.Count(string(text), "\n| `purepool_"); n != len(all) || n < 100 {
		t.Errorf("%d of %d rows are written as the others are", len(all), n)
	}
	return all
}

// exposed asks Prometheus what the pools tell.
func (p *pools) exposed(t *testing.T) map[string]metric {
	t.Helper()
	var kinds map[string][]struct{ Type string }
	must(t, p.ask("metadata", nil, &kinds))
	var series []map[string]string
	must(t, p.ask("series", url.Values{"match[]": {`{__name__=~"purepool_.+"}`}}, &series))
	labels := make(map[string]map[string]bool)
	for _, s := range series {
		name := s["__name__"]
		if _, known := kinds[name]; !known { // a part of a histogram
			name = name[:strings.LastIndexByte(name, '_')]
		}
		if labels[name] == nil {
			labels[name] = make(map[string]bool)
		}
		for label := range s {
			if !slices.Contains([]string{"__name__", "job", "instance", "le"}, label) {
				labels[name][label] = true
			}
		}
	}
	all := make(map[string]metric)
	for name, about := range kinds {
		if strings.HasPrefix(name, "purepool_") {
			all[name] = metric{about[0].Type, slices.Sorted(maps.Keys(labels[name]))}
		}
	}
	return all
}

func (p *pools) documentIsComplete(t *testing.T) {
	told, written := p.exposed(t), documented(t)
	for _, name := range slices.Sorted(maps.Keys(told)) {
		d, ok := written[name]
		switch {
		case !ok:
			t.Errorf("%s (%s%v) is not in docs/METRICS.md", name, told[name].kind, told[name].labels)
		case d.kind != told[name].kind || !slices.Equal(d.labels, told[name].labels):
			t.Errorf("%s is a %s with %v, docs/METRICS.md says %s with %v", name, told[name].kind, told[name].labels, d.kind, d.labels)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if _, ok := told[name]; !ok {
			t.Errorf("%s is in docs/METRICS.md, and nobody tells it", name)
		}
	}
	if len(told) < 100 {
		t.Errorf("only %d metrics are told", len(told))
	}
}

// labelsAreFewWords: series are for ever, and whoever reads metrics is not to
// learn where miners live.
func (p *pools) labelsAreFewWords(t *testing.T) {
	var series []map[string]string
	must(t, p.ask("series", url.Values{"match[]": {`{__name__=~"purepool_.+"}`}}, &series))
	count := make(map[string]int)
	for _, s := range series {
		count[s["__name__"]+" of "+s["instance"]]++
		for label, value := range s {
			ours := label == "daemon" || label == "publisher" // as the operator has written them down
			if label != "__name__" && !ours && addressLike.MatchString(value) {
				t.Errorf("%s has the label %s=%q", s["__name__"], label, value)
			}
		}
	}
	for name, n := range count {
		if n > 300 {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

func (p *pools) endsTogether(t *testing.T) {
	if err := p.stopDemo(); err != nil {
		t.Errorf("%v\n%s", err, p.printed.String())
	}
	if _, err := p.query("up"); err == nil {
		t.Error("Prometheus lives on")
	}
}

// command is a command of the program as the runbook names it; what it is given
// stands in capitals or behind dashes.
var command = regexp.MustCompile("`purepool ([a-z]+(?: [a-z][a-z-]*)*)")

func TestEveryCommandOfTheRunbookExists(t *testing.T) {
	text, err := os.ReadFile("../../docs/RUNBOOK.md")
	must(t, err)
	seen := make(map[string]bool)
	for _, m := range command.FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(m[1])
		seen[strings.Join(words[:min(3, len(words))], " ")] = true // a fourth is a schedule's name
	}
	if len(seen) < 10 {
		t.Fatalf("only %d commands were found", len(seen))
	}
	for _, c := range slices.Sorted(maps.Keys(seen)) {
		args := append(strings.Fields(c), "--help")
		if out, err := exec.CommandContext(t.Context(), house.Binary(t), args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "Usage: purepool "+c) {
			t.Errorf("purepool %s: %v\n%s", c, err, out)
		}
	}
}
