package webtest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	web "purepool/sidecar-web"
	"purepool/test/web/fixture"
)

// share writes a verdict on a share of a miner's first rig, as a validator does.
func share(t *testing.T, db *ledgertest.DB, address string, n int, weight int64) {
	t.Helper()
	workerID := ledgertest.Value[int64](t, db, `SELECT min(w.id) FROM worker w JOIN miner m ON m.id = w.miner_id WHERE m.address = $1`, address)
	minerID := ledgertest.Value[int64](t, db, `SELECT id FROM miner WHERE address = $1`, address)
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Backend().WriteVerdicts(t.Context(), fixture.Main, []ledger.Verdict{{
		ShareID: id, ReceivedAt: time.Now(), WorkID: uuid.New(), WorkerID: workerID, MinerID: minerID, Height: 31_179,
		Proof: sha256.Sum256(fmt.Appendf(nil, "proof %d", n)), HasProof: true, Weight: weight,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestANewShareMovesTheNumbersWithoutReload(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(1280, "light")
	for _, p := range []struct{ path, number string }{
		{"/main/", "rate"},
		{"/main/miner/" + h.addresses[0] + "/", "m-rate"},
	} {
		b.open(p.path)
		number := fmt.Sprintf(`document.querySelector('[data-live="%s"]').textContent`, p.number)
		b.until(`document.querySelector('[data-state]').textContent === 'live'`)
		eval[bool](b, "window.before = "+number+", window.stays = true")
		share(t, h.db, h.addresses[0], len(p.path), 3_000*1_000_000_000) // a GH/s over ten minutes
		b.until(number + " !== window.before && " + number + ".includes('GH/s')")
		if !eval[bool](b, "window.stays === true") {
			t.Error("the page was loaded again")
		}
	}
}

func TestWhereStreamsFailNumbersAreAskedForNowAndThen(t *testing.T) {
	t.Parallel()
	h := theHouse()
	target, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	// A proxy in between that lets no stream through.
	proxy := httputil.NewSingleHostReverseProxy(target)
	var polls atomic.Int32
	home := handle(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/live"):
			http.Error(w, "no streams here", http.StatusBadGateway)
			return
		case strings.HasSuffix(r.URL.Path, "/live.json"):
			polls.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	b := newTab(t, home)
	b.hush() // the failing stream is told to the console
	b.look(1280, "light")
	b.open("/main/")
	b.until(`document.querySelector('[data-state]').textContent.startsWith('live, every')`)
	if polls.Load() == 0 {
		t.Error("nothing was asked for")
	}
}

func TestTheSearchFindsAMinerByAddressAndRig(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(360, "light")
	for _, scripts := range []bool{true, false} {
		b.open("/main/")
		b.until("document.querySelector('#q')")
		b.withoutScripts(!scripts)
		b.do(chromedp.SendKeys(chromedp.CSS("#q"), "  "+h.addresses[0]+"/rig2"+kb.Enter))
		b.withoutScripts(false)
		b.until("location.pathname === '/main/miner/" + h.addresses[0] + "/'")
		b.until("document.querySelector('tr.chosen .name').textContent === 'rig2'")
	}
	// A stranger is told what to check.
	b.hush()
	b.open("/main/")
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "<img src=x onerror=alert(1)>"+kb.Enter))
	b.until("document.querySelector('h1').textContent.includes('has not heard')")
	if eval[bool](b, "!!document.querySelector('main img')") {
		t.Error("what was typed became a part of the page")
	}
}

func TestTheNetworkSwitchLeadsToTheOtherNetwork(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(1280, "light")
	b.open("/")
	b.until("location.pathname === '/main/'")
	b.do(chromedp.Click(chromedp.CSS(`.networks a[href="/test/"]`)))
	b.until("location.pathname === '/test/' && document.querySelector('.networks [aria-current]').textContent === 'test'")
}

func TestColoursFollowTheSystemUntilTheVisitorChooses(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	paper := func() string { return eval[string](b, "getComputedStyle(document.body).backgroundColor") }
	b.look(1280, "light")
	b.open("/main/")
	light := paper()
	b.look(1280, "dark")
	dark := paper()
	if light == dark {
		t.Fatalf("light and dark are both %s", light)
	}
	choose := func() { b.do(chromedp.Click(chromedp.CSS("[data-theme-switch]"))) }
	choose()
	if got := paper(); got != light {
		t.Errorf("light was chosen, the page is %s", got)
	}
	b.open("/main/statistics")
	if got := paper(); got != light {
		t.Errorf("light was chosen, the next page is %s", got)
	}
	choose()
	b.look(1280, "light")
	if got := paper(); got != dark {
		t.Errorf("dark was chosen, the page is %s", got)
	}
	choose()
	if got := paper(); got != light {
		t.Errorf("the system's colours are back, the page is %s", got)
	}
}

func TestAChartTellsItsNumbersUnderThePointerAndTheFinger(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(1280, "light")
	b.open("/main/")
	b.until("document.querySelector('.u-over')")
	read := "document.querySelector('[data-read]').textContent"
	still := eval[string](b, read)
	at := eval[[]float64](b, "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height] })(document.querySelector('.u-over'))")
	b.do(chromedp.MouseEvent("mouseMoved", at[0]+at[2]/3, at[1]+at[3]/2))
	b.until(read + " !== " + fmt.Sprintf("%q", still) + " && /UTC: .*H\\/s, .* shares?/.test(" + read + ")")

	b.do(chromedp.Click(chromedp.CSS(`[data-span="month"]`)))
	b.until("document.querySelector('[data-span=month]').getAttribute('aria-current') === 'true' && location.search === '?span=month'")
	b.until("!document.querySelector('.plot').classList.contains('loading')")

	b.look(360, "light")
	b.open("/main/")
	b.until("document.querySelector('.u-over')")
	at = eval[[]float64](b, "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height] })(document.querySelector('.u-over'))")
	b.do(chromedp.TapXY(at[0]+at[2]/2, at[1]+at[3]/2))
	b.until("/UTC: /.test(" + read + ")")
}

func TestTheLinesToCopyTakeTheVisitorsAddress(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(1280, "light")
	b.open("/main/howtojoin/")
	b.do(chromedp.SendKeys(chromedp.CSS("#address"), h.addresses[3]))
	b.until("document.querySelector('pre').textContent.includes('workerid=" + h.addresses[3] + "/rig1')")
}

func TestAllCanBeReachedByKeyboard(t *testing.T) {
	t.Parallel()
	h := theHouse()
	b := newTab(t, h.url)
	b.look(1280, "light")
	b.open("/main/")
	b.do(chromedp.KeyEvent(kb.Tab))
	if got := eval[string](b, "document.activeElement.textContent"); got != "Skip to the content" {
		t.Errorf("first comes %q", got)
	}
	seen := map[string]bool{}
	for range 60 {
		b.do(chromedp.KeyEvent(kb.Tab))
		seen[eval[string](b, "document.activeElement.id || document.activeElement.getAttribute('href') || document.activeElement.textContent.trim()")] = true
		if !eval[bool](b, "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.id === 'q'") {
			t.Errorf("%s does not show that it is chosen", eval[string](b, "document.activeElement.outerHTML.slice(0, 120)"))
		}
	}
	for _, want := range []string{"/main/", "/main/blocks", "/test/", "q", "Look", "As a table", "/main/howtojoin/"} {
		if !seen[want] {
			t.Errorf("%s is out of reach: %v", want, seen)
		}
	}
}

func TestADatabaseThatIsAwayLeavesACalmPage(t *testing.T) {
	dir, err := os.MkdirTemp("", "webaway")
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: dir, Fast: true, ThrowAway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.StopImmediate() })
	if err := cluster.EnsureDatabase(t.Context(), "pool"); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Migrate(t.Context(), cluster.DSN(pgcluster.Superuser, "pool"), ledger.MigrateOptions{Networks: ledgertest.Networks()}); err != nil {
		t.Fatal(err)
	}
	store, err := ledger.OpenWeb(t.Context(), cluster.DSN(ledger.RoleWeb, "pool"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	home := serve(t, web.Config{Networks: networks(), LiveEvery: 300 * time.Millisecond, Fresh: 200 * time.Millisecond, StoreTimeout: time.Second}, store)
	b := newTab(t, home)
	b.hush()
	b.look(1280, "light")
	b.open("/main/")
	if err := cluster.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // what was known is old by then
	b.open("/main/")
	b.until("document.querySelector('.notice').textContent.includes('does not answer')")
	b.until("document.querySelector('h1').textContent.includes('BiblePay')")
	b.picture("away-known")
	b.open("/main/payments") // never asked for before
	b.until("document.querySelector('h1').textContent === 'Back in a moment' && document.body.innerText.includes('What was known')")
	b.picture("away-unknown")
	if err := cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond) // the database was left in peace for so long
	b.open("/main/payments")
	b.until("document.querySelector('h1').textContent === 'No payment yet.' && !document.querySelector('.notice')")
}

// handle serves a handler on loopback.
func handle(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
