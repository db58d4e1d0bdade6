package web

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"purepool/ledger"
	"purepool/pool/chain"
)

// page is what the layout needs, with the page's own data.
type page struct {
	name   string // of the template
	status int
	maxAge time.Duration

	Title       string
	Description string
	Pool        string
	Nav         string
	Network     *Network
	Networks    []networkLink
	Notice      string
	Now         time.Time
	Live        string // address of the stream; empty: nothing moves
	Query       string // what was searched for
	Data        any
}

type networkLink struct {
	Name, URL string
	Current   bool
}

// loadPages parses every page together with the layout.
func (s *Server) loadPages() (map[string]*template.Template, error) {
	pages := map[string]*template.Template{}
	for _, name := range []string{"home", "join", "statistics", "miner", "nominer", "blocks", "payments", "api", "problem"} {
		t, err := template.New("layout.html").Funcs(s.funcs()).Option("missingkey=error").
			ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("web: page %s: %w", name, err)
		}
		pages[name] = t
	}
	return pages, nil
}

func (s *Server) funcs() template.FuncMap {
	return template.FuncMap{
		"asset": s.assets.url,
		"num":   formatNumber, "coins": coinsHTML, "rate": formatRate, "pct": formatPercent, "span": formatSpan,
		"when": whenHTML, "moment": formatMoment, "stamp": stamp, "hash": formatHash, "shortHash": shortHash, "short": shortAddress,
		"noun": noun, "signed": signed, "advice": adviceFor, "int64": func(n int) int64 { return int64(n) },
		"hashes": func(v float64) string { return formatSI(v, "H") },
		"dict":   dict, "difficulty": difficulty, "effort": effortText, "scheme": schemeText, "entries": entriesHTML, "minerPayments": minerPaymentsHTML,
		"paymentState": paymentState, "txid": txid, "addressExample": addressExample,
		"int64of": func(n int32) int64 { return int64(n) }, "inc": func(n int) int { return n + 1 },
		"mille": func(part, whole int64) int64 { return 1000 * min(part, whole) / max(whole, 1) },
	}
}

// signed writes a rating, from −3 to 3.
func signed(n int) string {
	if n > 0 {
		return "+" + strconv.Itoa(n)
	}
	return formatNumber(int64(n))
}

// schemeText says how rewards are shared out.
func schemeText(scheme string) string {
	switch scheme {
	case "prop":
		return "by the shares of the round"
	case "pplns":
		return "by the last shares before it"
	case "solo":
		return "all to the finder"
	}
	return "–"
}

// entryText says what moved a balance.
func entryText(e ledger.Entry) string {
	switch {
	case e.Kind == "block" && e.Height > 0:
		return "Share for block " + formatNumber(int64(e.Height))
	case e.Kind == "payment" && e.Amount < 0:
		return "Payment"
	case e.Kind == "payment":
		return "Payment, returned"
	case e.Kind == "correction":
		return "Correction by the operator"
	case e.Kind == "reversal" && e.Height > 0:
		return "Taken back: block " + formatNumber(int64(e.Height)) + " left the chain"
	case e.Kind == "reversal":
		return "Taken back"
	}
	return e.Kind
}

// paymentState says where a payment, or a miner's part of one, stands.
func paymentState(state, part string) string {
	switch {
	case part == ledger.ItemSetAside:
		return "address not payable"
	case state == ledger.PaymentIntent:
		return "planned"
	case state == ledger.PaymentUnclear:
		return "being checked"
	case state == ledger.PaymentCancelled:
		return "taken back"
	}
	return state
}

// txid writes a transaction so that it can be copied whole.
func txid(h [32]byte) template.HTML {
	if h == [32]byte{} {
		return `<span class="quiet">none yet</span>`
	}
	// Hex digits and an ellipsis: nothing to escape.
	return template.HTML(`<code title="` + formatHash(h) + `">` + shortHash(h) + `</code>`) //nolint:gosec // made of hex digits
}

// whenHTML writes how long ago a moment was. live is the name under which live
// numbers move it; empty: they do not.
func whenHTML(t, now time.Time, live string) template.HTML {
	if t.IsZero() {
		return "never"
	}
	if live != "" {
		live = ` data-time="` + template.HTMLEscapeString(live) + `"`
	}
	// Digits and words of this package.
	return template.HTML(`<time datetime="` + stamp(t) + `" title="` + formatMoment(t) + ` UTC" data-ago` + live + `>` + formatAgo(t, now) + `</time>`) //nolint:gosec // made above
}

// coinsHTML writes satoshis as coins, exactly; what stands after two decimals
// is set back.
func coinsHTML(satoshis int64) template.HTML {
	text := formatCoins(satoshis)
	cut := strings.IndexByte(text, '.') + 3
	if cut == len(text) {
		return template.HTML(text) //nolint:gosec // made of digits
	}
	// All eight, so that points stand below each other.
	tail := (text[cut:] + "000000")[:6]
	return template.HTML(text[:cut] + `<span class="tail">` + tail + `</span>`) //nolint:gosec // made of digits
}

// addressExample shows what an address of a network looks like.
func addressExample(n *Network) string {
	var nothing [20]byte
	return chain.NewAddress(chain.PubKeyHash, nothing, n.Chain).String()
}

// dict gives a part of a page several values.
func dict(pairs ...any) (map[string]any, error) {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("web: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// show answers with a page that is built once for all who ask while it is fresh.
func (s *Server) show(q *request, cacheKey string, build func(b *builder) (*page, error)) int {
	k, err := s.written.get(q.Context(), q.route+" "+q.network.Name+" "+cacheKey, func(ctx context.Context) (*answer, error) {
		b := s.build(ctx, q.network)
		p, err := build(b)
		if err != nil {
			return nil, err
		}
		p.Network, p.Now, p.Notice = q.network, b.now, b.notice()
		return s.render(p)
	})
	if err != nil || k.Err != nil {
		if q.Context().Err() != nil {
			return 499 // the visitor has gone
		}
		return s.awayPage(q)
	}
	return k.Value.send(q.w, q.Request)
}

// render writes a page.
func (s *Server) render(p *page) (*answer, error) {
	p.Pool = s.cfg.Title
	for i := range s.cfg.Networks {
		n := &s.cfg.Networks[i]
		p.Networks = append(p.Networks, networkLink{Name: n.Name, URL: "/" + n.Name + "/", Current: n == p.Network})
	}
	var out bytes.Buffer
	if err := s.pages[p.name].Execute(&out, p); err != nil {
		return nil, fmt.Errorf("web: page %s: %w", p.name, err)
	}
	if p.status == 0 {
		p.status = http.StatusOK
	}
	return s.newAnswer(p.status, "text/html; charset=utf-8", out.Bytes(), p.maxAge), nil
}

// problemData is a page that says what is wrong, and what to do.
type problemData struct {
	Heading string
	Text    string
	Pulse   *ledger.NetworkPulse // the last that is known; nil: nothing is
	Age     string
}

// fail answers with a calm page, or on the API's addresses with JSON.
func (s *Server) fail(q *request, status int, heading, text string) int {
	if strings.HasPrefix(q.route, "api ") && q.route != "api page" {
		return s.apiFail(q, status, text)
	}
	return s.problemPage(q, status, problemData{Heading: heading, Text: text})
}

func (s *Server) problemPage(q *request, status int, data problemData) int {
	n := q.network
	if n == nil {
		n = &s.cfg.Networks[0]
	}
	a, err := s.render(&page{name: "problem", status: status, Title: data.Heading, Network: n, Now: s.cfg.Now(), Data: data})
	if err != nil {
		s.log.Error("a page could not be written", slog.Any("error", err))
		a = s.newAnswer(http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("Something is wrong here; please try again later.\n"), 0)
	}
	return a.send(q.w, q.Request)
}

// awayPage is shown where the database is away and nothing is known that could
// be shown instead.
func (s *Server) awayPage(q *request) int {
	data := problemData{
		Heading: "Back in a moment",
		Text:    "The pool's database does not answer right now, so this page cannot be shown. Mining is not affected: shares are kept and counted later.",
	}
	if k, ok := s.pulses.last(q.network.Name); ok {
		data.Pulse, data.Age = &k.Value, formatSpan(s.cfg.Now().Sub(k.At))
	}
	q.w.Header().Set("Retry-After", "10")
	return s.problemPage(q, http.StatusServiceUnavailable, data)
}

func (s *Server) notFound(q *request) int {
	return s.fail(q, http.StatusNotFound, "There is nothing here", "The address may be mistyped, or what was here is gone.")
}
