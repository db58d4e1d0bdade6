package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"purepool/ledger"
)

// apiBase is where the API of today stands; what is there keeps its meaning.
const apiBase = "/api/v1/"

// apiRoute is one address of the API: the router, the OpenAPI document and the
// page about it are made of these.
type apiRoute struct {
	Path    string // below apiBase, with {network} and {address}
	Summary string
	Params  []apiParam
	Paged   bool
	answer  any // an example of its type
	read    func(s *Server, b *builder, q *request, p listParams) (value any, next string, err error)
}

type apiParam struct {
	Name, Doc string
	Enum      []string
}

// listParams are what lists are asked with.
type listParams struct {
	limit  int
	before string
	span   string
}

// Bounds of a page of the API.
const (
	defaultLimit = 50
	maxLimit     = 200
)

func apiRoutes() []apiRoute {
	span := []apiParam{{Name: "span", Doc: "How far back: in steps of 10 minutes, 1 hour or 4 hours.", Enum: []string{"day", "week", "month"}}}
	return []apiRoute{
		{Path: "pool", Summary: "The pool and its networks.", answer: apiPool{}, read: readPool},
		{Path: "{network}", Summary: "A network as it is now.", answer: apiNetwork{}, read: readNetwork},
		{Path: "{network}/hashrate", Summary: "The pool's hash rate over time.", Params: span, answer: apiSeries{}, read: readSeries},
		{Path: "{network}/blocks", Summary: "Blocks that the pool has found, the newest first.", Paged: true, answer: []apiBlock{}, read: readBlocks},
		{Path: "{network}/payments", Summary: "Payments of the pool, the newest first.", Paged: true, answer: []apiPayment{}, read: readPayments},
		{Path: "{network}/miners", Summary: "Miners of the last 24 hours, those who did most first.", Paged: true, answer: []apiRecentMiner{}, read: readMiners},
		{Path: "{network}/miners/{address}", Summary: "A miner.", answer: apiMiner{}, read: readMiner},
		{Path: "{network}/miners/{address}/workers", Summary: "A miner's workers, at most the newest 1000, those who worked last first.", answer: []apiWorker{}, read: readWorkers},
		{Path: "{network}/miners/{address}/hashrate", Summary: "A miner's hash rate over time.", Params: span, answer: apiSeries{}, read: readMinerSeries},
		{Path: "{network}/miners/{address}/credits", Summary: "Movements of a miner's balance, the newest first.", Paged: true, answer: []apiEntry{}, read: readEntries},
		{Path: "{network}/miners/{address}/payments", Summary: "Payments to a miner, the newest first.", Paged: true, answer: []apiMinerPayment{}, read: readMinerPayments},
	}
}

// routeAPI finds the address of the API below /api/.
func (s *Server) routeAPI(q *request, parts []string) func(*request) int {
	if len(parts) == 2 && parts[0] == "v1" && parts[1] == "openapi.json" {
		return q.as("api description", s.openAPIDocument)
	}
	if len(parts) < 2 || parts[0] != "v1" {
		return q.as("api unknown", func(q *request) int {
			return s.apiFail(q, http.StatusNotFound, "there is nothing here; see "+apiBase+"openapi.json")
		})
	}
	for _, route := range s.apiRoutes() {
		if s.matchAPI(q, route, parts[1:]) {
			return q.as("api "+route.Path, func(q *request) int { return s.apiAnswer(q, route) })
		}
	}
	q.network = nil
	return q.as("api unknown", func(q *request) int {
		return s.apiFail(q, http.StatusNotFound, "there is nothing here; see "+apiBase+"openapi.json")
	})
}

// matchAPI says whether a route is meant, and reads its parameters.
func (s *Server) matchAPI(q *request, route apiRoute, parts []string) bool {
	want := strings.Split(route.Path, "/")
	if len(want) != len(parts) {
		return false
	}
	var network *Network
	var address string
	for i, w := range want {
		switch w {
		case "{network}":
			if network = s.networks[parts[i]]; network == nil {
				return false
			}
		case "{address}":
			if address = parts[i]; address == "" {
				return false
			}
		default:
			if w != parts[i] {
				return false
			}
		}
	}
	q.network, q.address = network, address
	return true
}

// apiError is what every refusal looks like.
type apiError struct {
	Error string `json:"error" doc:"What is wrong."`
}

func (s *Server) apiFail(q *request, status int, text string) int {
	if status == http.StatusServiceUnavailable && q.w.Header().Get("Retry-After") == "" {
		q.w.Header().Set("Retry-After", "10")
	}
	return s.apiJSON(status, apiError{text}, 0).send(q.w, q.Request)
}

// apiJSON makes an answer of a value.
func (s *Server) apiJSON(status int, value any, maxAge int) *answer {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // the API's own types
	}
	a := s.newAnswer(status, "application/json", append(body, '\n'), seconds(maxAge))
	a.public = true
	return a
}

// badRequest is an error of the visitor's.
type badRequest struct{ text string }

func (e *badRequest) Error() string { return e.text }

// notHere is the error for a miner that there is not.
type notHere struct{ text string }

func (e *notHere) Error() string { return e.text }

// apiAnswer answers from the cache, or reads once for all.
func (s *Server) apiAnswer(q *request, route apiRoute) int {
	p, err := paramsOf(q.URL.Query(), route)
	if err != nil {
		return s.apiFail(q, http.StatusBadRequest, err.Error())
	}
	name := ""
	if q.network != nil {
		name = q.network.Name
	}
	if strings.Contains(route.Path, "{address}") {
		k, err := s.findMiner(q.Context(), q.network, q.address)
		switch {
		case err != nil:
			s.problem(err)
			return s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
		case k.Value == nil:
			return s.apiFail(q, http.StatusNotFound, s.noMinerText(q))
		}
	}
	cacheKey := strings.Join([]string{"api", route.Path, name, q.address, strconv.Itoa(p.limit), p.before, p.span}, " ")
	k, err := s.written.get(q.Context(), cacheKey, func(ctx context.Context) (*answer, error) {
		b := s.build(ctx, q.network)
		value, next, err := route.read(s, b, q, p)
		if err != nil {
			return nil, err
		}
		a := s.apiJSON(http.StatusOK, value, int(s.cfg.Fresh.Seconds()))
		if next != "" {
			query := url.Values{"before": {next}, "limit": {strconv.Itoa(p.limit)}}
			a.link = "<" + q.URL.EscapedPath() + "?" + query.Encode() + `>; rel="next"`
		}
		if !b.oldest.IsZero() {
			a.warning = strconv.Itoa(int(b.now.Sub(b.oldest).Seconds()))
		}
		return a, nil
	})
	if err == nil {
		err = k.Err
	}
	if err != nil {
		return s.apiError(q, err)
	}
	return k.Value.send(q.w, q.Request)
}

func (s *Server) noMinerText(q *request) string {
	if d := s.noMiner(q.network, q.address); !d.Valid {
		return d.Why
	}
	return "no miner with this address has handed in anything on this network"
}

func (s *Server) apiError(q *request, err error) int {
	if q.Context().Err() != nil {
		return 499 // the visitor has gone
	}
	switch e := err.(type) { //nolint:errorlint // made here, wrapped by nobody
	case *badRequest:
		return s.apiFail(q, http.StatusBadRequest, e.text)
	case *notHere:
		return s.apiFail(q, http.StatusNotFound, e.text)
	}
	s.problem(err)
	return s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
}

// paramsOf reads the query. What a route does not know is left alone.
func paramsOf(query url.Values, route apiRoute) (p listParams, err error) {
	p.limit, p.span = defaultLimit, "day"
	if route.Paged {
		if text := query.Get("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxLimit {
				return p, &badRequest{"limit must be a whole number from 1 to " + strconv.Itoa(maxLimit)}
			}
			p.limit = n
		}
		p.before = query.Get("before")
		if len(p.before) > 100 {
			return p, &badRequest{"before is no position that this list has given out"}
		}
	}
	if len(route.Params) > 0 {
		if text := query.Get("span"); text != "" {
			if spanOf(text) != text {
				return p, &badRequest{"span must be day, week or month"}
			}
			p.span = text
		}
	}
	return p, nil
}

// cut bounds a list that was read with one row more than asked for, and returns
// where the next page begins.
func cut[T any](rows []T, limit int, position func(T) string) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	return rows[:limit], position(rows[limit-1])
}

var errBadPosition = &badRequest{"before is no position that this list has given out"}

func readBlocks(_ *Server, b *builder, _ *request, p listParams) (any, string, error) {
	from, _, ok := positionOf(p.before)
	if !ok {
		return nil, "", errBadPosition
	}
	pulse, err := b.pulse()
	if err != nil {
		return nil, "", err
	}
	rows, err := b.blocks(p.limit+1, from)
	rows, next := cut(rows, p.limit, func(r ledger.PoolBlock) string {
		return strconv.Itoa(int(r.Height)) + "." + strconv.FormatInt(r.ID, 10)
	})
	list := make([]apiBlock, len(rows))
	for i, v := range blockViews(b.network, rows, pulse.Height) {
		list[i] = newAPIBlock(v)
	}
	return list, next, err
}

func readPayments(_ *Server, b *builder, _ *request, p listParams) (any, string, error) {
	before, _, ok := beforeOf(p.before)
	if !ok {
		return nil, "", errBadPosition
	}
	rows, err := b.transactions(p.limit+1, before)
	rows, next := cut(rows, p.limit, func(r ledger.Transaction) string { return strconv.FormatInt(r.ID, 10) })
	list := make([]apiPayment, len(rows))
	for i, r := range rows {
		list[i] = newAPIPayment(r)
	}
	return list, next, err
}

func readMiners(_ *Server, b *builder, _ *request, p listParams) (any, string, error) {
	weight, id := "", int64(0)
	if p.before != "" {
		w, i, found := strings.Cut(p.before, ".")
		n, err := strconv.ParseInt(i, 10, 64)
		if !found || err != nil || n < 0 || w == "" || strings.Trim(w, "0123456789") != "" {
			return nil, "", errBadPosition
		}
		weight, id = w, n
	}
	rows, err := b.miners(p.limit+1, weight, id)
	rows, next := cut(rows, p.limit, func(r ledger.RecentMiner) string { return r.Weight + "." + strconv.FormatInt(r.MinerID, 10) })
	list := make([]apiRecentMiner, len(rows))
	for i, r := range rows {
		list[i] = apiRecentMiner{r.Address, r.Workers, r.Shares, r.Rejected, r.HashesPerSecond, r.HashesDay}
	}
	return list, next, err
}

func readEntries(_ *Server, b *builder, q *request, p listParams) (any, string, error) {
	m, before, err := minerAnd(b, q, p)
	if err != nil {
		return nil, "", err
	}
	rows, err := b.entries(m, p.limit+1, before)
	rows, next := cut(rows, p.limit, func(r ledger.Entry) string { return strconv.FormatInt(r.ID, 10) })
	list := make([]apiEntry, len(rows))
	for i, r := range rows {
		list[i] = apiEntry{r.At, r.Kind, r.Amount, r.Height}
	}
	return list, next, err
}

func readMinerPayments(_ *Server, b *builder, q *request, p listParams) (any, string, error) {
	m, before, err := minerAnd(b, q, p)
	if err != nil {
		return nil, "", err
	}
	rows, err := b.minerPayments(m, p.limit+1, before)
	rows, next := cut(rows, p.limit, func(r ledger.MinerPayment) string { return strconv.FormatInt(r.ID, 10) })
	list := make([]apiMinerPayment, len(rows))
	for i, r := range rows {
		list[i] = newAPIMinerPayment(r)
	}
	return list, next, err
}

// minerAnd returns the miner that is asked for and where the list begins.
func minerAnd(b *builder, q *request, p listParams) (*ledger.WebMiner, int64, error) {
	before, _, ok := beforeOf(p.before)
	if !ok {
		return nil, 0, errBadPosition
	}
	m, err := b.miner(q.address)
	if err == nil && m == nil {
		err = &notHere{"no such miner"}
	}
	return m, before, err
}
