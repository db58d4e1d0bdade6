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

func TestEveryPageIsDrawnAtEveryWidthInBothColours(t *testing.T) {
	h := newHouse(t)
	for _, p := range pagesOf(h) {
		t.Run(p.name, func(t *testing.T) {
			b := newTab(t, h.url)
			if missing[p.name] {
				b.hush()
			}
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{360, 768, 1280, 1920} {
					b.look(width, scheme)
					b.open(p.path)
					b.until("document.body.innerText.includes(" + fmt.Sprintf("%q", p.has) + ")")
					if eval[bool](b, "!!document.querySelector('[data-chart] .still')") || eval[bool](b, "!!document.querySelector('[data-chart]')") {
						b.until("document.querySelector('[data-chart] canvas, [data-chart] .empty')")
					}
					if wide := eval[int](b, "document.documentElement.scrollWidth"); int64(wide) > width {
						t.Errorf("%s at %d pixels is %d wide: %s", p.path, width, wide, eval[string](b, `[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 4).map(e => e.outerHTML.slice(0, 120)).join("\n")`))
					}
					if width != 768 {
						b.picture(fmt.Sprintf("%s-%s-%d", p.name, scheme, width))
					}
				}
			}
		})
	}
}

func TestPagesCanBeUsedWithoutJavaScript(t *testing.T) {
	h := newHouse(t)
	b := newTab(t, h.url)
	b.hush()
	for _, width := range []int64{360, 1280} {
		b.look(width, "light")
		for _, p := range pagesOf(h) {
			b.withoutScripts(true)
			b.open(p.path)
			b.picture(fmt.Sprintf("plain-%s-%d", p.name, width))
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

func TestNoPageHasASeriousFaultOfAccessibility(t *testing.T) {
	h := newHouse(t)
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pagesOf(h) {
		b := newTab(t, h.url)
		if missing[p.name] {
			b.hush()
		}
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280} {
				b.look(width, scheme)
				b.open(p.path)
				if eval[bool](b, "!!document.querySelector('[data-chart]')") {
					b.until("document.querySelector('[data-chart] canvas, [data-chart] .empty')")
				}
				// Everything that can be opened is looked at, too.
				eval[bool](b, "document.querySelectorAll('details').forEach(d => d.open = true), true")
				eval[bool](b, string(axe)+"; true")
				faults := eval[[]string](b, `axe.run(document, {resultTypes: ["violations"]}).then(r =>
					r.violations.map(v => v.impact + ": " + v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.failureSummary).join(" | ")))`)
				for _, f := range faults {
					t.Errorf("%s, %s, %d pixels: %s", p.path, scheme, width, f)
				}
			}
		}
	}
}
