package web_test

import (
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	"purepool/pool/chain"
	web "purepool/sidecar-web"
	"purepool/test/web/fixture"
)

func config() web.Config {
	return web.Config{Networks: []web.Network{
		{
			Name: "main", ID: fixture.Main, Chain: chain.BiblePayMain(), Ticker: "BBP", Mode: "classic", Algorithm: "x11", FeePercent: "0",
			PayoutThreshold: 10 * fixture.Coin, MaturityBlocks: 100,
			Endpoints: []web.Endpoint{{Kind: web.EndpointHTTP, Port: 80}, {Kind: web.EndpointStratum, Port: 3333, Note: "small rigs"}},
		},
		{Name: "test", ID: fixture.Test, Chain: chain.BiblePayTest(), Ticker: "tBBP", Mode: "classic", Algorithm: "x11", FeePercent: "2.5"},
	}}
}

func openStore(t testing.TB, dsn string) *ledger.WebStore {
	t.Helper()
	store, err := ledger.OpenWeb(t.Context(), dsn, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// newServer serves from a store without a listener.
func newServer(t testing.TB, cfg web.Config, store web.Store) *web.Server {
	t.Helper()
	s, err := web.New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one request to a handler.
func ask(t testing.TB, h http.Handler, method, target string, head map[string]string, body string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for name, value := range head {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// recordedCase is an exchange of the original.
type recordedCase struct {
	Name, State, Request, Body string
	Status                     int
}

func recordedCases(t testing.TB) (cases []recordedCase) {
	t.Helper()
	raw, err := os.ReadFile("testdata/original-web.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []recordedCase }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// originalFixture fills the ledger with the rows on which the original was
// recorded: blocks of the chain and of the pool, and two miners with a movement
// within the day.
func originalFixture(t testing.TB, db *ledgertest.DB) (clock time.Time) {
	t.Helper()
	super := db.SQL(pgcluster.Superuser)
	for _, m := range []struct {
		network int16
		address string
	}{
		{1, "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"},
		{1, "BLzS3xeaoiXUchbBofi7dzNqwrGyUeUdC6"},
		{1, "BAjSAKyJzMsPq9g4RUwHdjSo9XPKDqCir9"},
		{2, "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop"},
	} {
		super.MustExec(`INSERT INTO miner (network_id, address) VALUES ($1, $2)`, m.network, m.address)
	}
	for _, b := range []struct {
		height  int
		network int16
		ours    bool
		coins   int64
		at      string
	}{
		{1000, 1, true, 5000, "2018-05-13T20:00Z"},
		{1001, 1, false, 5001, "2018-05-14T05:00Z"},
		{1002, 1, true, 5002, "2018-05-16T22:30Z"},
		{1003, 1, false, 5003, "2018-05-18T06:00Z"},
		{1004, 1, true, 5004, "2018-05-19T13:00Z"},
		{1005, 1, false, 5005, "2018-05-19T14:00Z"},
		{1006, 1, true, 5006, "2018-05-20T09:00Z"},
		{1007, 1, false, 5007, "2018-05-20T11:00Z"},
		{77, 2, true, 700, "2018-05-20T10:00Z"},
	} {
		hash := fixture.Hash(b.height)
		super.MustExec(`INSERT INTO chain_block (network_id, height, hash, prev, block_time, subsidy) VALUES ($1, $2, $3, $3, $4, $5)`,
			b.network, b.height, hash[:], b.at, b.coins*fixture.Coin)
		if b.ours {
			super.MustExec(`INSERT INTO block (network_id, height, hash, block_time, seen_at, reward) VALUES ($1, $2, $3, $4, $4, $5)`,
				b.network, b.height, hash[:], b.at, b.coins*fixture.Coin)
		}
	}
	super.MustExec(`INSERT INTO account (network_id, kind, miner_id) SELECT network_id, 'miner', id FROM miner WHERE id <= 2`)
	super.MustExec(`INSERT INTO balance (account_id, amount, updated_at) SELECT id, 100, '2018-05-20T03:00Z' FROM account`)
	clock = time.Date(2018, 5, 20, 12, 0, 0, 0, time.UTC)
	fixture.RollUp(t, db, clock)
	return clock
}

func TestRecordedAnswersOfTheOriginalAPIAreGivenByteForByte(t *testing.T) {
	db := ledgertest.New(t)
	cfg := config()
	clock := originalFixture(t, db)
	cfg.Now = func() time.Time { return clock }
	s := newServer(t, cfg, openStore(t, db.WebDSN()))
	cases := recordedCases(t)
	if len(cases) < 11 {
		t.Fatalf("only %d cases", len(cases))
	}
	// The one that empties tables comes last.
	slices.SortStableFunc(cases, func(x, y recordedCase) int { return cmp.Compare(x.State, y.State) })
	for _, c := range cases {
		if strings.Contains(c.State, "DELETE FROM block_block") {
			super := db.SQL(pgcluster.Superuser)
			super.MustExec(`DELETE FROM block`)
			super.MustExec(`DELETE FROM chain_block`)
		}
		method, rest, _ := strings.Cut(c.Request, " ")
		target, _, _ := strings.Cut(rest, " ")
		answer := ask(t, s.Handler(), method, target, nil, "")
		body := text(t, answer)
		switch {
		case c.Name == "143-web-api-statistics-unknown-network":
			// W1: an unknown network is not found, here as everywhere.
			if answer.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d", c.Name, answer.StatusCode)
			}
		case answer.StatusCode != c.Status:
			t.Errorf("%s: status %d, recorded %d", c.Name, answer.StatusCode, c.Status)
		case c.Status == http.StatusOK && body != c.Body:
			t.Errorf("%s:\n%s\nrecorded\n%s", c.Name, body, c.Body)
		case c.Status == http.StatusOK && answer.Header.Get("Content-Type") != "application/json":
			t.Errorf("%s: %s", c.Name, answer.Header.Get("Content-Type"))
		}
	}
}

func TestEveryPageIsWritten(t *testing.T) {
	db := ledgertest.New(t)
	now := time.Now()
	addresses := fixture.Living(t, db, now, fixture.Options{})
	s := newServer(t, config(), openStore(t, db.WebDSN()))
	for path, want := range map[string]string{
		"/main/":                            "miners</span> search together",
		"/main/?span=month":                 "Hash rate of the pool",
		"/main/howtojoin/":                  "genproclimit=1",
		"/main/statistics":                  "Last 50 blocks",
		"/main/blocks":                      "rel=\"next\"",
		"/main/payments":                    "confirmed",
		"/main/api":                         "openapi.json",
		"/main/miner/" + addresses[0] + "/": "Working, at",
		"/main/miner/" + addresses[7] + "/": "Working, at",
		"/test/":                            "Nobody searches",
		"/test/statistics":                  "The pool in numbers",
		"/test/blocks":                      "No block yet",
		"/test/payments":                    "No payment yet",
		"/test/howtojoin/":                  "has not said here yet",
	} {
		answer := ask(t, s.Handler(), "GET", path, nil, "")
		body := text(t, answer)
		if answer.StatusCode != 200 || !strings.Contains(body, want) || !strings.HasSuffix(body, "</html>\n") {
			t.Errorf("%s: %d, %q is missing in %.1500s", path, answer.StatusCode, want, body)
		}
		if strings.Contains(body, "example.org\"") || strings.Contains(body, "someone@") {
			t.Errorf("%s shows what is private", path)
		}
	}
}
