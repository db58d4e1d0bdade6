// Package webtest looks at the pages in a real Chromium, over a real ledger.
package webtest

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	logdomain "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	web "purepool/sidecar-web"
	"purepool/test/web/fixture"
)

// chromium is the one browser of the process; its context starts it.
var chromium context.Context //nolint:gochecknoglobals,containedctx // set once by TestMain

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "webtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.UserDataDir(dir),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-dev-shm-usage", true))
	defer stop()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "chromium does not start:", err)
		return 1
	}
	chromium = ctx //nolint:fatcontext // one browser for all tests of the process
	all := &forAll{}
	defer all.end()
	theHouse = sync.OnceValue(func() *house { return newHouse(all) })
	return m.Run()
}

// theHouse is the house of all tests, made for the first that asks: none of them
// minds what the others do there.
var theHouse func() *house //nolint:gochecknoglobals // set once by TestMain

// forAll is what lasts as long as all tests of the process.
type forAll struct {
	testing.TB //nolint:unused // nil: for the methods that nobody calls here
	cleanups   []func()
}

func (a *forAll) Helper()                  {}
func (a *forAll) Context() context.Context { return context.Background() }
func (a *forAll) Cleanup(f func())         { a.cleanups = append(a.cleanups, f) }
func (a *forAll) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "the house: "+format+"\n", args...)
}

func (a *forAll) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("the house: "+format, args...))
}
func (a *forAll) Fatal(args ...any) { panic("the house: " + fmt.Sprint(args...)) }

func (a *forAll) end() {
	for _, f := range slices.Backward(a.cleanups) {
		f()
	}
}

// house is a pool's pages over a ledger of their own.
type house struct {
	db        *ledgertest.DB
	url       string
	addresses []string
}

// networks are those of the house.
func networks() []web.Network {
	return []web.Network{
		{
			Name: "main", ID: fixture.Main, Chain: chain.BiblePayMain(), Ticker: "BBP", Mode: "classic", Algorithm: "x11", FeePercent: "0",
			PayoutThreshold: 1_000 * fixture.Coin, MaturityBlocks: 100,
			Endpoints: []web.Endpoint{{Kind: web.EndpointHTTP, Port: 80}, {Kind: web.EndpointHTTPS, Port: 443}, {Kind: web.EndpointStratum, Port: 3333, Note: "small rigs"}},
		},
		{
			Name: "test", ID: fixture.Test, Chain: chain.BiblePayTest(), Ticker: "tBBP", Mode: "template", Algorithm: "x11", FeePercent: "2.5",
			MaturityBlocks: 101, Endpoints: []web.Endpoint{{Kind: web.EndpointStratum, Port: 13333}},
		},
	}
}

// newHouse fills a ledger with a living pool and serves its pages.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{db: ledgertest.New(t)}
	h.addresses = fixture.Living(t, h.db, time.Now(), fixture.Options{})
	store, err := ledger.OpenWeb(t.Context(), h.db.WebDSN(), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	h.url = serve(t, web.Config{Networks: networks(), LiveEvery: 300 * time.Millisecond, RatePerIP: 1000, BurstPerIP: 1000}, store)
	return h
}

// serve runs the pages until the end of the test.
func serve(t testing.TB, cfg web.Config, store web.Store) (url string) {
	t.Helper()
	server, err := web.New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return "http://" + server.Addr().String()
}

// tab is a window of the browser that notes everything that goes wrong in it.
type tab struct {
	context.Context //nolint:containedctx // chromedp's handle of the tab
	t               *testing.T
	home            string // of the pages: requests elsewhere are wrong

	mu     sync.Mutex // guards all below
	faults []string
	asked  []string
	quiet  bool // errors are expected
}

func newTab(t *testing.T, home string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t, home: home}
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, runtime.Enable, cdp.Empty{}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, logdomain.Enable, cdp.Empty{})
		return err
	}))
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.faults {
			t.Error(f)
		}
	})
	return b
}

// event notes errors of the console, exceptions and requests.
func (b *tab) event(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) {
		if !b.quiet {
			b.faults = append(b.faults, fmt.Sprintf(format, args...))
		}
	}
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, ev.Request.URL)
		if u, err := url.Parse(ev.Request.URL); err != nil || u.Scheme != "data" && !strings.HasPrefix(ev.Request.URL, b.home+"/") {
			note("a request to another host: %s", ev.Request.URL)
		}
	case *logdomain.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Level == "warning" {
			note("console: %s (%v)", ev.Entry.Text, ev.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if ev.Type == "error" || ev.Type == "warning" {
			note("console.%s: %+v", ev.Type, ev.Args)
		}
	case *runtime.EventExceptionThrown:
		note("exception: %+v", ev.ExceptionDetails)
	}
}

// hush lets errors be: they are what is looked at.
func (b *tab) hush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quiet = true
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	// The first call makes the tab, which would end with a bound of its own.
	if err := chromedp.Do(b.Context, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.home + path))
}

// eval runs an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true; meanwhile it may fail, or the page
// may be on its way to another.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, 20*time.Second)
	defer cancel()
	for {
		ok, _ := chromedp.Run(ctx, chromedp.Evaluate[bool]("(() => { try { return !!("+expression+") } catch { return false } })()"))
		if ok {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("%s stays untrue on %s:\n%s", expression, eval[string](b, "location.href"), eval[string](b, "document.body.innerText.slice(0, 300)"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// look sets the width of the window and the colours of the system.
func (b *tab) look(width int64, scheme string) {
	b.t.Helper()
	height, options := int64(1000), []chromedp.EmulateViewportOption{}
	if width < 500 {
		height, options = 760, append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	b.do(chromedp.EmulateViewport(width, height, options...), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// withoutScripts switches JavaScript off for what is opened next.
func (b *tab) withoutScripts(off bool) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
		return err
	}))
}

// picture writes the whole page to a file for people to look at.
func (b *tab) picture(name string) {
	b.t.Helper()
	image, err := chromedp.Run(b.Context, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("screenshots", name+".png"), image, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
