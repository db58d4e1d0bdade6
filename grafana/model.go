package grafana

import "strings"

// Dashboard is a dashboard in Grafana's JSON model, as far as it is used here
// (Grafana's documentation, "Dashboard JSON model"; schema version 39, Grafana
// 10.4 and later).
type Dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	Timezone      string     `json:"timezone"`
	SchemaVersion int        `json:"schemaVersion"`
	Version       int        `json:"version"`
	Editable      bool       `json:"editable"`
	GraphTooltip  int        `json:"graphTooltip"` // 1: one crosshair over all panels
	Refresh       string     `json:"refresh"`
	Time          TimeRange  `json:"time"`
	Templating    Templating `json:"templating"`
	Annotations   Annotated  `json:"annotations"`
	Links         []Link     `json:"links"`
	Panels        []*Panel   `json:"panels"`
}

// TimeRange is what is shown at first.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Templating holds the variables.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is one of them.
type Variable struct {
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Type       string      `json:"type"`
	Query      any         `json:"query"`
	Definition string      `json:"definition,omitempty"`
	Datasource *Datasource `json:"datasource,omitempty"`
	Refresh    int         `json:"refresh"` // 2: when the time range changes
	Sort       int         `json:"sort"`
	Multi      bool        `json:"multi"`
	IncludeAll bool        `json:"includeAll"`
	AllValue   string      `json:"allValue,omitempty"`
	Current    any         `json:"current,omitempty"`
}

// Datasource names where the numbers come from.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Annotated holds the annotations.
type Annotated struct {
	List []Annotation `json:"list"`
}

// Annotation marks moments in all panels: those at which its query is above 0.
type Annotation struct {
	Name        string          `json:"name"`
	Datasource  Datasource      `json:"datasource"`
	Enable      bool            `json:"enable"`
	IconColor   string          `json:"iconColor"`
	Target      AnnotationQuery `json:"target"`
	TitleFormat string          `json:"titleFormat"`
	TextFormat  string          `json:"textFormat"`
}

// AnnotationQuery is its query.
type AnnotationQuery struct {
	RefID    string `json:"refId"`
	Expr     string `json:"expr"`
	Interval string `json:"interval"`
}

func mark(name, colour, expr, title, text string) Annotation {
	return Annotation{
		Name: name, Datasource: source, Enable: true, IconColor: colour, TitleFormat: title, TextFormat: text,
		Target: AnnotationQuery{RefID: "Anno", Expr: short.Replace(expr), Interval: "60s"},
	}
}

// Link leads to the other dashboards.
type Link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	TargetBlank bool     `json:"targetBlank"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Panel is one panel, or the heading of a row.
type Panel struct {
	ID          int            `json:"id"`
	Type        string         `json:"type"`
	Title       string         `json:"title"`
	Description string         `json:"description,omitempty"`
	GridPos     Position       `json:"gridPos"`
	Datasource  *Datasource    `json:"datasource,omitempty"`
	FieldConfig *FieldConfig   `json:"fieldConfig,omitempty"`
	Options     map[string]any `json:"options,omitempty"`
	Targets     []Target       `json:"targets,omitempty"`
	Collapsed   bool           `json:"collapsed,omitempty"`
	Panels      []*Panel       `json:"panels,omitempty"`
}

// Position is a place in a grid 24 wide.
type Position struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// FieldConfig says how values are written and drawn.
type FieldConfig struct {
	Defaults  Defaults `json:"defaults"`
	Overrides []any    `json:"overrides"`
}

// Defaults are those of all values of a panel.
type Defaults struct {
	Unit       string         `json:"unit"`
	Min        *float64       `json:"min,omitempty"`
	Max        *float64       `json:"max,omitempty"`
	Decimals   *int           `json:"decimals,omitempty"`
	NoValue    string         `json:"noValue,omitempty"`
	Color      map[string]any `json:"color"`
	Thresholds Thresholds     `json:"thresholds"`
	Custom     map[string]any `json:"custom,omitempty"`
}

// Thresholds colour values; the first step has no value.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is a colour from a value on.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Target is a query of a panel.
type Target struct {
	RefID        string      `json:"refId"`
	Datasource   *Datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
	Instant      bool        `json:"instant"`
	Range        bool        `json:"range"`
	Format       string      `json:"format"`
}

var source = Datasource{Type: "prometheus", UID: "${datasource}"}

// short expands what stands in every query.
var short = strings.NewReplacer(
	"<NI>", `network=~"$network",instance=~"$instance"`,
	"<N>", `network=~"$network"`,
	"<I>", `instance=~"$instance"`,
	"<R>", "$__rate_interval",
)

// query is an expression and what its lines are called.
type query struct{ expr, legend string }

func q(expr, legend string) query { return query{short.Replace(expr), legend} }

func panel(kind, title, unit, description string, queries []query) *Panel {
	p := &Panel{
		Type: kind, Title: title, Description: description, Datasource: &source,
		FieldConfig: &FieldConfig{Overrides: []any{}, Defaults: Defaults{
			Unit: unit, Color: map[string]any{"mode": "palette-classic"}, Thresholds: Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}}},
		}},
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, Target{
			RefID: string(rune('A' + i)), Datasource: &source, Expr: q.expr, LegendFormat: q.legend, Range: true, Format: "time_series",
		})
	}
	return p
}

// graph draws lines over time, from 0 upwards.
func graph(title, unit, description string, queries ...query) *Panel {
	p := panel("timeseries", title, unit, description, queries)
	zero := 0.0
	p.FieldConfig.Defaults.Min = &zero
	p.FieldConfig.Defaults.Custom = map[string]any{"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false}
	p.Options = map[string]any{
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// stacked is a graph whose lines add up.
func stacked(title, unit, description string, queries ...query) *Panel {
	p := graph(title, unit, description, queries...)
	p.FieldConfig.Defaults.Custom["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 40
	return p
}

// signed is a graph of what may be below 0.
func signed(title, unit, description string, queries ...query) *Panel {
	p := graph(title, unit, description, queries...)
	p.FieldConfig.Defaults.Min = nil
	return p
}

// stat shows the newest value, coloured from each threshold on.
func stat(title, unit, description string, query query, steps ...Step) *Panel {
	p := panel("stat", title, unit, description, queriesOf(query))
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	p.FieldConfig.Defaults.Thresholds.Steps = append(p.FieldConfig.Defaults.Thresholds.Steps, steps...)
	p.Options = map[string]any{
		"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
		"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

func queriesOf(q query) []query { return []query{q} }

// heat draws a histogram over time.
func heat(title, unit, description, expr string) *Panel {
	p := panel("heatmap", title, unit, description, queriesOf(q(expr, "{{le}}")))
	p.Targets[0].Format = "heatmap"
	p.Options = map[string]any{
		"calculate": false, "cellGap": 1,
		"color":   map[string]any{"mode": "scheme", "scheme": "Oranges", "steps": 64},
		"yAxis":   map[string]any{"unit": unit, "axisPlacement": "left"},
		"tooltip": map[string]any{"mode": "single"},
	}
	return p
}

// list shows the newest values as a table.
func list(title, unit, description string, query query) *Panel {
	p := panel("table", title, unit, description, queriesOf(query))
	p.Targets[0].Format, p.Targets[0].Instant, p.Targets[0].Range = "table", true, false
	p.Options = map[string]any{"showHeader": true}
	return p
}

func from(value float64, color string) Step { return Step{Color: color, Value: &value} }

// row is a heading and the panels below it, left to right.
type row struct {
	title  string
	height int
	width  int // of each panel, of 24
	panels []*Panel
}

// lay puts the rows one below the other and numbers the panels.
func lay(rows ...row) (all []*Panel) {
	y, id := 0, 0
	next := func() int { id++; return id }
	for _, r := range rows {
		all = append(all, &Panel{ID: next(), Type: "row", Title: r.title, GridPos: Position{H: 1, W: 24, Y: y}})
		y++
		x := 0
		for _, p := range r.panels {
			if x+r.width > 24 {
				x, y = 0, y+r.height
			}
			p.ID, p.GridPos = next(), Position{H: r.height, W: r.width, X: x, Y: y}
			x += r.width
			all = append(all, p)
		}
		y += r.height
	}
	return all
}

// The metrics by which the variables know networks and instances.
const (
	networksOf  = `label_values(purepool_daemon_up, network)`
	instancesOf = `label_values(purepool_build_info, instance)`
	frontendsOf = `label_values(purepool_build_info{role=~"frontend|all"}, instance)`
)

func variable(name, label, definition string) Variable {
	return Variable{
		Name: name, Label: label, Type: "query", Definition: definition, Datasource: &source, Refresh: 2, Sort: 1, Multi: true, IncludeAll: true,
		AllValue: ".*", Query: map[string]any{"query": definition, "refId": name},
		Current: map[string]any{"text": []string{"All"}, "value": []string{"$__all"}},
	}
}

func dashboard(uid, title, description, instances string, rows ...row) *Dashboard {
	return &Dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"purepool"}, SchemaVersion: 39, Version: 1, Editable: true,
		GraphTooltip: 1, Refresh: "30s", Time: TimeRange{From: "now-6h", To: "now"},
		Templating: Templating{List: []Variable{
			{Name: "datasource", Label: "Prometheus", Type: "datasource", Query: "prometheus", Refresh: 1},
			variable("network", "Network", networksOf),
			variable("instance", "Instance", instances),
		}},
		Annotations: Annotated{List: []Annotation{
			mark("Blocks found", "green", `sum by (network) (increase(purepool_blocks_found_total{<N>}[<R>])) > bool 0`, "Block found", "{{network}}"),
			mark("Starts and deploys", "blue", `max by (instance, version) ((time() - process_start_time_seconds{job="purepool",<I>} < bool 60)`+
				` * on (instance) group_left (version) purepool_build_info{<I>})`, "Started", "{{instance}} {{version}}"),
		}},
		Links:  []Link{{Title: "Purepool", Type: "dashboards", Icon: "external link", Tooltip: "The other dashboards", Tags: []string{"purepool"}, AsDropdown: true, IncludeVars: true, KeepTime: true}},
		Panels: lay(rows...),
	}
}
