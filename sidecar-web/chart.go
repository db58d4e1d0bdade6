package web

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"purepool/ledger"
)

// chart is a hash rate over time as a page draws it without scripts; with them
// it is drawn anew from the API at URL.
type chart struct {
	ID, Title, URL string
	Spans          []spanLink
	Empty          bool
	Line, Area     string // paths in a box of chartWidth by chartHeight
	Top, Middle    string // of the axis
	From, Center   string
	Summary        string // for those who cannot see it
	Head           string // of the table's first column
	Rows           template.HTML
}

type spanLink struct {
	Span, Label, URL string
	Current          bool
}

const (
	chartWidth  = 1000.0
	chartHeight = 200.0
	// chartRows bounds the table below a chart: steps are put together.
	chartRows = 31
)

// spanOf reads the span that is asked for; what there is none of is a day.
func spanOf(text string) string {
	switch text {
	case "week", "month":
		return text
	}
	return "day"
}

// newChart draws a series. page is where its spans are links to, api where the
// numbers are.
func newChart(id, title, page, api string, s ledger.Series) *chart {
	c := &chart{ID: id, Title: title, URL: api + "?span=" + s.Span, Empty: true}
	for _, l := range []spanLink{{Span: "day", Label: "Day"}, {Span: "week", Label: "Week"}, {Span: "month", Label: "Month"}} {
		l.Current, l.URL = l.Span == s.Span, page+"?span="+l.Span+"#"+id
		c.Spans = append(c.Spans, l)
	}
	var highest, last, sum int64
	for _, p := range s.Points {
		highest, last = max(highest, p.HashesPerSecond), p.HashesPerSecond
		sum += p.HashesPerSecond / int64(len(s.Points))
	}
	if highest == 0 || len(s.Points) < 2 {
		c.Summary = "There were no shares in this time."
		return c
	}
	c.Empty = false
	top := niceTop(float64(highest))
	c.Top, c.Middle = formatSI(top, "H/s"), formatSI(top/2, "H/s")
	layout := "15:04"
	if s.Points[len(s.Points)-1].At.Sub(s.Points[0].At) >= 48*time.Hour {
		layout = "2 Jan"
	}
	c.From, c.Center = s.Points[0].At.Format(layout), s.Points[len(s.Points)/2].At.Format(layout)
	var line strings.Builder
	for i, p := range s.Points {
		x := chartWidth * float64(i) / float64(len(s.Points)-1)
		y := chartHeight * (1 - float64(p.HashesPerSecond)/top)
		fmt.Fprintf(&line, "%c%.1f %.1f", "ML"[min(i, 1)], x, y)
	}
	c.Line = line.String()
	c.Area = c.Line + fmt.Sprintf("L%.0f %.0fL0 %.0fZ", chartWidth, chartHeight, chartHeight)
	c.Summary = fmt.Sprintf("On average %s, at most %s, in the end %s.", formatRate(sum), formatRate(highest), formatRate(last))
	c.table(s)
	return c
}

// table puts the steps together so that a table stays readable.
func (c *chart) table(s ledger.Series) {
	group := max(1, (len(s.Points)+chartRows-2)/(chartRows-1))
	if s.Span == "day" {
		group = max(1, int(time.Hour/s.Step))
	}
	layout := "2 Jan, 15:04"
	if s.Span == "month" {
		group, layout = max(1, int(24*time.Hour/s.Step)), "2 Jan"
	}
	c.Head = "From (UTC)"
	var rows strings.Builder
	for i := 0; i < len(s.Points); i += group {
		part := s.Points[i:min(i+group, len(s.Points))]
		var rate, shares int64
		for _, p := range part {
			rate += p.HashesPerSecond / int64(len(part))
			shares += p.Shares
		}
		// Times and numbers: nothing to escape.
		fmt.Fprintf(&rows, `<tr><td>%s</td><td class="n">%s</td><td class="n">%s</td></tr>`, part[0].At.UTC().Format(layout), formatRate(rate), formatNumber(shares))
	}
	c.Rows = template.HTML(rows.String()) //nolint:gosec // made above
}

// niceTop rounds up to a number that is easy to halve.
func niceTop(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 3, 4, 5, 6, 8, 10} {
		if v <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}
