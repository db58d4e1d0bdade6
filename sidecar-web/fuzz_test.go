package web_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"purepool/ledger"
	web "purepool/sidecar-web"
)

// empty is a ledger in which there is nothing but one miner: what is fuzzed is
// how a request is read.
type empty struct{}

func (empty) Pulse(context.Context, int16, time.Time) (p ledger.NetworkPulse, err error) { return }

func (empty) Statistics(context.Context, int16, time.Time) (s ledger.Statistics, err error) { return }

func (empty) SubsidySum(context.Context, int16, time.Time, time.Time) (s ledger.ChainSum, err error) {
	return
}

func (empty) NetworkSeries(context.Context, int16, string, time.Time) (s ledger.Series, err error) {
	return
}

func (empty) Blocks(context.Context, int16, int, int32, int64) (l []ledger.PoolBlock, err error) {
	return
}

func (empty) Transactions(context.Context, int16, int, int64) (l []ledger.Transaction, err error) {
	return
}

func (empty) Miners(context.Context, int16, int, string, int64) (l []ledger.RecentMiner, err error) {
	return
}

func (empty) FindMiners(_ context.Context, _ int16, addresses []string) (map[string]ledger.WebMiner, error) {
	found := map[string]ledger.WebMiner{}
	for _, a := range addresses {
		if strings.HasPrefix(a, "x") {
			found[a] = ledger.WebMiner{ID: 1, NetworkID: 1, Address: a}
		}
	}
	return found, nil
}

func (empty) MinerFigures(context.Context, []int64, int, time.Time) (map[int64]*ledger.MinerFigures, error) {
	return map[int64]*ledger.MinerFigures{1: {}}, nil
}

func (empty) MinerSeries(context.Context, []int64, string, time.Time) (s map[int64]ledger.Series, err error) {
	return
}

func (empty) MinerPulses(context.Context, []int64, time.Time) (m map[int64]ledger.MinerPulse, err error) {
	return
}

func (empty) Entries(context.Context, int64, int, int64) (l []ledger.Entry, err error) {
	return
}

func (empty) MinerPayments(context.Context, int64, int, int64) (l []ledger.MinerPayment, err error) {
	return
}

var _ web.Store = empty{}

func FuzzRequest(f *testing.F) {
	for _, path := range []string{
		"/", "/main", "/main/", "/main/howtojoin/", "/main/statistics", "/main/miner/x/", "/main/miner/x", "/main/blocks", "/main/search", "/main/live.json",
		"/main/api/statistics", "/main/api/block_subsidysum/7", "/api/v1/pool", "/api/v1/main/miners/x/workers", "/assets/x", "/favicon.ico", "//", "/main//miner/x/",
	} {
		f.Add("GET", path, "q=x%2Frig&span=week&before=5.7&limit=9&miner=x&network=test&worker=%ff", "127.0.0.1")
	}
	f.Add("POST", "/main/", "", "[::1]:80")
	f.Add("OPTIONS", "/api/v1/main", "%zz", "\x00")
	cfg := config()
	cfg.RatePerIP, cfg.BurstPerIP = 1e12, 1<<30
	h := newServer(f, cfg, empty{}).Handler()
	f.Fuzz(func(t *testing.T, method, path, query, host string) {
		if strings.HasSuffix(path, "/live") {
			return // a stream does not end
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Method, r.URL.Path, r.URL.RawQuery, r.Host = method, path, query, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answer := w.Result()
		answer.Request = r
		checkAnswer(t, method+" "+path+"?"+query, answer, path)
	})
}
