package web_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"purepool/ledger/ledgertest"
	"purepool/test/web/fixture"
)

// hostile is what somebody may put where an address, a number or a text belongs.
func hostile() []string {
	return []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' OR 1=1; DROP TABLE miner; --", "javascript:alert(1)",
		"\x00", "\xff\xfe", "%00", "%2e%2e%2f", "../../etc/passwd", "{{.}}", "${7*7}", strings.Repeat("A", 900), strings.Repeat("é", 300),
		"\u202egnp.exe", "Ω≈ç√", "👩‍👩‍👧", "-1", "0", "9223372036854775807", "9223372036854775808", "99999999999999999999999999", "1e9", "0x10", " 7", "7 ", "NaN",
		"\r\nSet-Cookie: a=b", "//evil.example", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop", "a.b", "5.", ".5", "1.1", "1.9223372036854775808",
	}
}

// checkAnswer says what is wrong with an answer to something hostile.
func checkAnswer(t *testing.T, what string, answer *http.Response, sent string) {
	t.Helper()
	body := text(t, answer)
	if answer.StatusCode >= 500 {
		t.Errorf("%s: %d: %.300s", what, answer.StatusCode, body)
	}
	for _, bad := range []string{"<script>alert", "<img src=x", "goroutine ", "pq:", "panic", "sql:"} {
		if strings.Contains(body, bad) && answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s shows %q", what, bad)
		}
	}
	if strings.Contains(answer.Header.Get("Content-Type"), "json") && !json.Valid([]byte(body)) {
		t.Errorf("%s: no JSON: %.200s", what, body)
	}
	if location := answer.Header.Get("Location"); location != "" {
		u, err := url.Parse(location)
		if err != nil || u.Host != "" || !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
			t.Errorf("%s (%q) leads to %q", what, sent, location)
		}
	}
	mayBeEmpty := answer.StatusCode/100 == 3 || answer.StatusCode == http.StatusNoContent || answer.Request != nil && answer.Request.Method == http.MethodHead
	if answer.Header.Get("Set-Cookie") != "" || len(body) == 0 && !mayBeEmpty {
		t.Errorf("%s: %d, %v, %d bytes", what, answer.StatusCode, answer.Header, len(body))
	}
}

func TestHostileInputIsAnsweredCleanly(t *testing.T) {
	db := ledgertest.New(t)
	address := fixture.Living(t, db, time.Now(), fixture.Options{Blocks: 6})[0]
	cfg := config()
	cfg.RatePerIP, cfg.BurstPerIP = 1e6, 1e6
	h := newServer(t, cfg, openStore(t, db.WebDSN())).Handler()
	get := func(target string, sent string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		path, query, _ := strings.Cut(target, "?")
		r.URL.Path, r.URL.RawQuery = path, query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		checkAnswer(t, "GET "+target, w.Result(), sent)
	}
	for _, bad := range hostile() {
		q := url.QueryEscape(bad)
		for _, path := range []string{
			"/" + bad, "/" + bad + "/", "/main/" + bad, "/main/miner/" + bad + "/", "/main/miner/" + bad, "/" + bad + "/statistics",
			"/main/api/block_subsidysum/" + bad, "/" + bad + "/api/statistics", "/assets/" + bad, "/api/v1/" + bad, "/api/v1/main/" + bad,
			"/api/v1/main/miners/" + bad, "/api/v1/main/miners/" + bad + "/workers", "/api/v1/" + bad + "/blocks",
			"/?network=" + q, "/main/?span=" + q, "/main/statistics?span=" + q, "/main/blocks?before=" + q, "/main/payments?before=" + q,
			"/main/search?q=" + q, "/main/live.json?miner=" + q, "/main/miner/" + address + "/?worker=" + q,
			"/main/miner/" + address + "/?credits=" + q, "/main/miner/" + address + "/?payments=" + q, "/main/miner/" + address + "/?span=" + q,
			"/api/v1/main/blocks?before=" + q, "/api/v1/main/blocks?limit=" + q, "/api/v1/main/miners?before=" + q, "/api/v1/main/payments?before=" + q,
			"/api/v1/main/hashrate?span=" + q, "/api/v1/main/miners/" + address + "/credits?before=" + q, "/api/v1/main/miners/" + address + "/payments?limit=" + q,
		} {
			get(path, bad)
		}
		form := url.Values{"q": {bad}}.Encode()
		answer := ask(t, h, "POST", "/main/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form)
		checkAnswer(t, "POST /main/", answer, bad)
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/main/howtojoin/", nil)
		r.Host = bad
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		checkAnswer(t, "Host "+bad, w.Result(), bad)
	}
}

func TestUnknownNetworksAndPagesAreNotFound(t *testing.T) { // W1
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for _, path := range []string{
		"/bogus/", "/bogus", "/admin/", "/bogus/statistics", "/bogus/howtojoin/", "/bogus/miner/x/", "/bogus/api/statistics", "/bogus/api/block_subsidysum/7",
		"/Main/", "/main/bogus", "/main//", "//main/", "/main/miner/", "/main/miner//", "/main/api/statistics/", "/main/api/block_subsidysum/", "/api/", "/api/v2/pool",
		"/api/v1/", "/api/v1/bogus", "/assets/", "/assets/app.css", "/main/../test/", "/regtest/",
	} {
		if answer := ask(t, h, "GET", path, nil, ""); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
}

func TestNetworkParameterAndPostedAddressLeadToAPage(t *testing.T) { // W2
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for target, want := range map[string]string{
		"/": "/main/", "/?network=": "/main/", "/?network=a/b": "/main/", "/?network=test": "/test/", "/?network=bogus": "/main/",
		"/main": "/main/", "/main/howtojoin": "/main/howtojoin/", "/main/statistics/": "/main/statistics", "/main/miner/ADDR": "/main/miner/ADDR/",
		"/main/search?q=ADDR": "/main/miner/ADDR/", "/main/search?q=ADDR/rig1/mail@example.org": "/main/miner/ADDR/?worker=rig1", "/main/search?q=+": "/main/", "/main/search": "/main/",
	} {
		answer := ask(t, h, "GET", target, nil, "")
		if got := answer.Header.Get("Location"); got != want || answer.StatusCode/100 != 3 {
			t.Errorf("%s: %d, %s", target, answer.StatusCode, got)
		}
	}
	head := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	for body, want := range map[string]string{"miner=ADDR%2Frig1": "/main/miner/ADDR/?worker=rig1", "q=ADDR": "/main/miner/ADDR/", "": "/main/"} {
		answer := ask(t, h, "POST", "/main/", head, body)
		if got := answer.Header.Get("Location"); got != want || answer.StatusCode != http.StatusSeeOther {
			t.Errorf("posting %s: %d, %s", body, answer.StatusCode, got)
		}
	}
	if answer := ask(t, h, "POST", "/main/", head, "q="+strings.Repeat("A", 10_000)); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("posting 10 kB: %d", answer.StatusCode)
	}
}

func TestSillyNumbersOfDaysAreRefused(t *testing.T) { // W3
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for days, want := range map[string]int{
		"7": 200, "0": 200, "36500": 200, "007": 200, "36501": 400, "9999999": 400, "99999999999999999999999": 400, "-1": 404, "x": 404, "7.5": 404, "+7": 404, "%207": 404,
	} {
		if answer := ask(t, h, "GET", "/main/api/block_subsidysum/"+days, nil, ""); answer.StatusCode != want {
			t.Errorf("%s days: %d, want %d", days, answer.StatusCode, want)
		}
	}
}

func TestDaysAreUTCAndHalfOpenWhateverTheZone(t *testing.T) { // W4
	db := ledgertest.New(t)
	super := db.SQL("postgres")
	midnight := time.Date(2018, 5, 20, 0, 0, 0, 0, time.UTC)
	for i, at := range []time.Time{midnight.Add(-time.Second), midnight, midnight.Add(time.Second)} {
		hash := fixture.Hash(i)
		super.MustExec(`INSERT INTO chain_block (network_id, height, hash, prev, block_time, subsidy) VALUES (1, $1, $2, $2, $3, 1)`, i, hash[:], at)
	}
	for minute, shares := range map[time.Time]int{midnight.Add(-time.Minute): 10, midnight: 11, midnight.Add(time.Minute): 12} {
		super.MustExec(`INSERT INTO network_minute (network_id, minute, shares) VALUES (1, $1, $2)`, minute, shares)
	}
	fixture.RollUp(t, db, midnight.Add(12*time.Hour))
	for _, zone := range []string{"UTC", "America/New_York", "Pacific/Auckland"} {
		super.MustExec(fmt.Sprintf(`ALTER ROLE purepool_web SET "TimeZone" = '%s'`, zone))
		st, err := openStore(t, db.WebDSN()).Statistics(t.Context(), fixture.Main, midnight.Add(12*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		today, yesterday := st.Days[6], st.Days[5]
		if !today.Day.Equal(midnight) || today.AllBlocks != 2 || yesterday.AllBlocks != 1 || yesterday.Shares != 10 || today.Shares != 23 {
			t.Errorf("%s: yesterday %+v, today %+v", zone, yesterday, today)
		}
	}
	super.MustExec(`ALTER ROLE purepool_web SET "TimeZone" = 'UTC'`)
}

func TestNothingOnAPageIsInline(t *testing.T) {
	db := ledgertest.New(t)
	addresses := fixture.Living(t, db, time.Now(), fixture.Options{Blocks: 6})
	h := newServer(t, config(), openStore(t, db.WebDSN())).Handler()
	inline := regexp.MustCompile(`(?i)<style|\sstyle\s*=|\son[a-z]+\s*=|<script(?:>|[^>]*[^r]c=)|javascript:|https?://`)
	for _, path := range []string{"/main/", "/main/statistics", "/main/miner/" + addresses[0] + "/", "/main/blocks", "/main/payments", "/main/api", "/main/nothing"} {
		answer := ask(t, h, "GET", path, nil, "")
		body := text(t, answer)
		for _, hit := range inline.FindAllString(body, -1) {
			if !strings.HasPrefix(hit, "http") || !strings.Contains(body, "pool="+hit) {
				t.Errorf("%s: %q", path, hit)
			}
		}
		policy := answer.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", path, policy)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
		} {
			if got := answer.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestAnswersCanBeKeptAndComeCompressed(t *testing.T) {
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for _, path := range []string{"/main/", "/api/v1/main/hashrate", "/main/api/block_subsidysum/7", "/api/v1/openapi.json", "/robots.txt"} {
		whole := ask(t, h, "GET", path, nil, "")
		body, etag := text(t, whole), whole.Header.Get("ETag")
		if etag == "" || !strings.HasPrefix(whole.Header.Get("Cache-Control"), "public, max-age=") {
			t.Errorf("%s: %v", path, whole.Header)
		}
		head := ask(t, h, "HEAD", path, nil, "")
		if head.Header.Get("Content-Length") != fmt.Sprint(len(body)) || text(t, head) != "" {
			t.Errorf("HEAD %s: %v", path, head.Header)
		}
		if same := ask(t, h, "GET", path, map[string]string{"If-None-Match": `"x", W/` + etag}, ""); same.StatusCode != http.StatusNotModified || text(t, same) != "" {
			t.Errorf("%s again: %d", path, same.StatusCode)
		}
		zipped := ask(t, h, "GET", path, map[string]string{"Accept-Encoding": "br, gzip"}, "")
		if len(body) < 600 {
			continue
		}
		if zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Header.Get("Vary") != "Accept-Encoding" || zipped.Header.Get("ETag") == etag {
			t.Errorf("%s compressed: %v", path, zipped.Header)
			continue
		}
		z, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(z); err != nil || string(plain) != body {
			t.Errorf("%s: compressed it is something else (%v)", path, err)
		}
		if same := ask(t, h, "GET", path, map[string]string{"If-None-Match": zipped.Header.Get("ETag"), "Accept-Encoding": "gzip"}, ""); same.StatusCode != http.StatusNotModified {
			t.Errorf("%s compressed again: %d", path, same.StatusCode)
		}
	}
}

func TestAssetsAreKeptForEverUnderNamesOfTheirContent(t *testing.T) {
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	body := text(t, ask(t, h, "GET", "/main/", nil, ""))
	names := regexp.MustCompile(`/assets/[^"]+`).FindAllString(body, -1)
	if len(names) < 5 {
		t.Fatalf("assets %v", names)
	}
	for _, name := range names {
		answer := ask(t, h, "GET", name, nil, "")
		if answer.StatusCode != 200 || answer.Header.Get("Cache-Control") != "public, max-age=31536000" || answer.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d, %v", name, answer.StatusCode, answer.Header)
		}
	}
}

func TestTheAPICanBeReadByOtherPages(t *testing.T) {
	h := newServer(t, config(), openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for _, path := range []string{"/api/v1/pool", "/api/v1/bogus", "/api/v1/openapi.json", "/main/api/statistics"} {
		if got := ask(t, h, "GET", path, map[string]string{"Origin": "https://else.example"}, "").Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("%s: %q", path, got)
		}
	}
	if answer := ask(t, h, "OPTIONS", "/api/v1/pool", nil, ""); answer.StatusCode != http.StatusNoContent || answer.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD" {
		t.Errorf("OPTIONS: %d, %v", answer.StatusCode, answer.Header)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if answer := ask(t, h, method, "/api/v1/pool", nil, ""); answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") == "" {
			t.Errorf("%s: %d", method, answer.StatusCode)
		}
	}
	if got := ask(t, h, "GET", "/main/", nil, "").Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a page: %q", got)
	}
}

func TestWhoAsksTooMuchIsToldToWait(t *testing.T) {
	cfg := config()
	cfg.RatePerIP, cfg.BurstPerIP = 0.001, 3
	h := newServer(t, cfg, openStore(t, ledgertest.New(t).WebDSN())).Handler()
	for i, want := range []int{200, 200, 200, 429, 429} {
		answer := ask(t, h, "GET", "/main/", nil, "")
		if answer.StatusCode != want || want == 429 && answer.Header.Get("Retry-After") == "" {
			t.Errorf("request %d: %d", i, answer.StatusCode)
		}
	}
	if answer := ask(t, h, "GET", "/api/v1/pool", nil, ""); answer.StatusCode != 429 || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the API: %d", answer.StatusCode)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/main/", nil)
	r.RemoteAddr = "198.51.100.7:5"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("another visitor: %d", w.Code)
	}
}

func TestListsArePagedWithoutGapsOrRepeats(t *testing.T) {
	db := ledgertest.New(t)
	addresses := fixture.Living(t, db, time.Now(), fixture.Options{})
	h := newServer(t, config(), openStore(t, db.WebDSN())).Handler()
	next := regexp.MustCompile(`^<([^>]+)>; rel="next"$`)
	for list, want := range map[string]int{"blocks": 60, "payments": 3, "miners": 24, "miners/" + addresses[0] + "/credits": 51} {
		seen, rows := map[string]bool{}, 0
		for target, pages := "/api/v1/main/"+list+"?limit=7", 0; target != ""; pages++ {
			answer := ask(t, h, "GET", target, nil, "")
			var page []json.RawMessage
			if err := json.NewDecoder(answer.Body).Decode(&page); err != nil || pages > 20 {
				t.Fatalf("%s: %v", target, err)
			}
			for _, row := range page {
				rows++
				if seen[string(row)] && list != "miners/"+addresses[0]+"/credits" {
					t.Errorf("%s: twice: %s", list, row)
				}
				seen[string(row)] = true
			}
			target = ""
			if m := next.FindStringSubmatch(answer.Header.Get("Link")); m != nil {
				target = m[1]
			}
		}
		if rows != want {
			t.Errorf("%s: %d rows, want %d", list, rows, want)
		}
	}
}
