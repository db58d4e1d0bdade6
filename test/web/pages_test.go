package webtest

import (
	"fmt"
	"os"
	"testing"
)

// pagesOf are all pages, with something that must stand on each.
func pagesOf(h *house) []struct{ name, path, has string } {
	return []struct{ name, path, has string }{
		{"home", "/main/", "Join in three steps"},
		{"home-empty", "/test/", "Nobody searches"},
		{"join", "/main/howtojoin/", "poolmining"},
		{"join-stratum", "/test/howtojoin/", "stratum+tcp://"},
		{"statistics", "/main/statistics", "Seven days"},
		{"statistics-empty", "/test/statistics", "None yet"},
		{"miner", "/main/miner/" + h.addresses[0] + "/?worker=rig1", "Rejected, and what to do"},
		{"miner-small", "/main/miner/" + h.addresses[6] + "/", "Balance"},
		{"miner-unknown", "/main/miner/B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH/", "has not heard"},
		{"blocks", "/main/blocks", "Older"},
		{"payments", "/main/payments", "Transaction"},
		{"api", "/main/api", "openapi.json"},
		{"not-found", "/main/nothing", "There is nothing here"},
	}
}

// missing are pages that answer 404, which the browser tells the console.
var missing = map[string]bool{"miner-unknown": true, "not-found": true} //nolint:gochecknoglobals // a table of the tests

// views are what every page is looked at in. Colours do not change the layout, so
// not every width is seen in both, and each is looked at by axe once.
var views = []struct { //nolint:gochecknoglobals // a table of the tests
	width           int64
	scheme          string
	picture, access bool
}{
	{360, "light", true, true},
	{768, "light", false, false},
	{1280, "light", true, false},
	{1920, "light", true, false},
	{360, "dark", true, false},
	{1920, "dark", true, true},
}

func TestEveryPageIsDrawnAtEveryWidthInBothColoursAndAccessible(t *testing.T) {
	h := theHouse()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pagesOf(h) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, h.url)
			if missing[p.name] {
				b.hush()
			}
			for _, v := range views {
				b.look(v.width, v.scheme)
				b.open(p.path)
				b.until("document.body.innerText.includes(" + fmt.Sprintf("%q", p.has) + ")")
				b.until("!document.querySelector('[data-chart]') || document.querySelector('[data-chart] canvas, [data-chart] .empty')")
				if wide := eval[int](b, "document.documentElement.scrollWidth"); int64(wide) > v.width {
					t.Errorf("%s at %d pixels is %d wide: %s", p.path, v.width, wide, eval[string](b, `[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 4).map(e => e.outerHTML.slice(0, 120)).join("\n")`))
				}
				if v.picture {
					b.picture(fmt.Sprintf("%s-%s-%d", p.name, v.scheme, v.width))
				}
				if v.access {
					b.accessible(string(axe), fmt.Sprintf("%s, %s, %d pixels", p.path, v.scheme, v.width))
				}
			}
		})
	}
}

// accessible lets axe look at the page, and at everything that can be opened on
// it.
func (b *tab) accessible(axe, where string) {
	b.t.Helper()
	eval[bool](b, "document.querySelectorAll('details').forEach(d => d.open = true), true")
	eval[bool](b, axe+"; true")
	faults := eval[[]string](b, `axe.run(document, {resultTypes: ["violations"]}).then(r =>
		r.violations.map(v => v.impact + ": " + v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.failureSummary).join(" | ")))`)
	for _, f := range faults {
		b.t.Errorf("%s: %s", where, f)
	}
}

func TestPagesCanBeUsedWithoutJavaScript(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.hush()
	for _, width := range []int64{360, 1280} {
		b.look(width, "light")
		for _, p := range pagesOf(h) {
			b.withoutScripts(true)
			b.open(p.path)
			if width == 360 {
				b.picture("plain-" + p.name)
			}
			b.withoutScripts(false)
			if !eval[bool](b, "document.body.innerText.includes("+fmt.Sprintf("%q", p.has)+")") {
				t.Errorf("%s lacks %q", p.path, p.has)
			}
			if eval[bool](b, "!!document.querySelector('canvas')") {
				t.Errorf("%s: scripts have run", p.path)
			}
			if eval[bool](b, "!!document.querySelector('[data-chart]')") && !eval[bool](b, "!!document.querySelector('[data-chart] .still svg, [data-chart] .empty')") {
				t.Errorf("%s shows no chart", p.path)
			}
			if wide := eval[int](b, "document.documentElement.scrollWidth"); int64(wide) > width {
				t.Errorf("%s at %d pixels is %d wide", p.path, width, wide)
			}
		}
	}
}
