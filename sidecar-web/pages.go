package web

import (
	"cmp"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"purepool/ledger"
	"purepool/pool/chain"
)

// root leads to the network that is asked for, or to the first one.
func (s *Server) root(q *request) int {
	n := s.cfg.Networks[0].Name
	if asked, ok := s.networks[q.URL.Query().Get("network")]; ok {
		n = asked.Name
	}
	q.w.Header().Set("Location", "/"+n+"/")
	q.w.Header().Set("Cache-Control", "public, max-age=300")
	q.w.WriteHeader(http.StatusFound)
	return http.StatusFound
}

// homeData is the first page.
type homeData struct {
	Pulse  *ledger.NetworkPulse
	Stats  *ledger.Statistics
	Chart  *chart
	Blocks []blockView
	Effort *gauge
	Join   *joinData
	Fee    string
}

// gauge is a bar that fills.
type gauge struct {
	Text  string
	Mille int64 // filled, of a thousand
	Over  bool
}

func (s *Server) home(q *request) int {
	span := spanOf(q.URL.Query().Get("span"))
	host := q.network.hostFor(q.Request)
	return s.show(q, span+" "+host, func(b *builder) (*page, error) {
		d := &homeData{Fee: b.network.FeePercent}
		var err error
		if d.Pulse, err = b.pulse(); err != nil {
			return nil, err
		}
		if d.Stats, err = b.statistics(); err != nil {
			return nil, err
		}
		series, err := b.series(span)
		if err != nil {
			return nil, err
		}
		base := "/" + b.network.Name + "/"
		d.Chart = newChart("hashrate", "Hash rate of the pool", base, apiBase+b.network.Name+"/hashrate", series)
		blocks, err := b.blocks(8, beginning())
		if err != nil {
			return nil, err
		}
		d.Blocks = blockViews(b.network, blocks, d.Pulse.Height)
		if e, ok := d.Pulse.Effort(); ok {
			d.Effort = &gauge{formatPercent(e), effortMeter(d.Pulse), e > 1}
		}
		d.Join = newJoin(b.network, host)
		return &page{
			name: "home", Nav: "home", Title: "", Live: base + "live", maxAge: s.cfg.Fresh, Data: d,
			Description: "A mining pool for " + b.network.Chain.Coin + ". No account needed: point your miner here with your address.",
		}, nil
	})
}

// hostFor is the host where miners connect, where an endpoint does not say it:
// that under which the visitor knows the pages. Empty where nobody asks.
func (n *Network) hostFor(r *http.Request) string {
	for _, e := range n.Endpoints {
		if e.Host == "" {
			return visitorHost(r)
		}
	}
	return ""
}

// visitorHost is the host that a visitor asked for. What cannot be one is none.
func visitorHost(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" || len(host) > 100 {
		return "your.pool"
	}
	for _, c := range []byte(host) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == ':') {
			return "your.pool"
		}
	}
	return host
}

// joinData says how to join.
type joinData struct {
	Network   *Network
	Example   string // an address to be replaced
	Classic   []endpointView
	Stratum   []endpointView
	Threshold string
	Rule      string
}

type endpointView struct {
	Endpoint
	URL      string // as a miner writes it
	HostPort string
	Secure   bool
}

func newJoin(n *Network, host string) *joinData {
	d := &joinData{Network: n, Example: "YOUR_ADDRESS", Rule: "proportional"}
	if n.PayoutThreshold > 0 {
		d.Threshold = formatCoins(n.PayoutThreshold) + nbsp + n.Ticker
	}
	for _, e := range n.Endpoints {
		v := endpointView{Endpoint: e, Secure: e.Kind == EndpointHTTPS || e.Kind == EndpointStratumTLS}
		v.Host = cmp.Or(v.Host, host)
		v.HostPort = net.JoinHostPort(v.Host, strconv.Itoa(e.Port))
		v.URL = e.Kind + "://" + v.HostPort
		if e.Kind == EndpointHTTP && e.Port == 80 || e.Kind == EndpointHTTPS && e.Port == 443 {
			v.URL = e.Kind + "://" + v.Host
		}
		if e.Kind == EndpointHTTP || e.Kind == EndpointHTTPS {
			d.Classic = append(d.Classic, v)
		} else {
			d.Stratum = append(d.Stratum, v)
		}
	}
	return d
}

func (s *Server) join(q *request) int {
	host := q.network.hostFor(q.Request)
	return s.show(q, host, func(b *builder) (*page, error) {
		return &page{
			name: "join", Nav: "join", Title: "How to join", maxAge: time.Minute, Data: newJoin(b.network, host),
			Description: "How to mine " + b.network.Chain.Coin + " with this pool, in three steps.",
		}, nil
	})
}

// blockView is a block with what follows from the chain's height.
type blockView struct {
	ledger.PoolBlock
	Confirmations int64
	Needed        int64 // 0: not told
	Label         string
}

func blockViews(n *Network, blocks []ledger.PoolBlock, height int32) []blockView {
	views := make([]blockView, len(blocks))
	for i, b := range blocks {
		v := blockView{PoolBlock: b, Needed: int64(n.MaturityBlocks)}
		if b.Main && height >= b.Height {
			v.Confirmations = int64(height-b.Height) + 1
		}
		switch {
		case b.State == ledger.BlockOrphaned:
			v.Label = "orphaned"
		case !b.Main:
			v.Label = "off the chain"
		case b.State == ledger.BlockMature:
			v.Label = "paid out"
		default:
			v.Label = "maturing"
		}
		views[i] = v
	}
	return views
}

// listData is a page of a list.
type listData[T any] struct {
	Pulse *ledger.NetworkPulse
	Rows  []T
	Next  string // address of the next page; empty: this is the last
	First bool
}

// pageRows is how many rows a page of a list has.
const pageRows = 50

func (s *Server) blocksPage(q *request) int {
	from, first, ok := positionOf(q.URL.Query().Get("before"))
	if !ok {
		return s.fail(q, http.StatusBadRequest, "There is no such page", "Begin again with the newest blocks.")
	}
	return s.show(q, q.URL.Query().Get("before"), func(b *builder) (*page, error) {
		pulse, err := b.pulse()
		if err != nil {
			return nil, err
		}
		blocks, err := b.blocks(pageRows+1, from)
		if err != nil {
			return nil, err
		}
		d := &listData[blockView]{Pulse: pulse, First: first}
		if len(blocks) > pageRows {
			blocks = blocks[:pageRows]
			last := blocks[pageRows-1]
			d.Next = "?before=" + strconv.Itoa(int(last.Height)) + "." + strconv.FormatInt(last.ID, 10)
		}
		d.Rows = blockViews(b.network, blocks, pulse.Height)
		return &page{name: "blocks", Nav: "blocks", Title: "Blocks", maxAge: s.cfg.Fresh, Data: d, Description: "Blocks that this pool has found."}, nil
	})
}

// positionOf reads "height.id"; the empty one is the beginning.
func positionOf(text string) (p position, first, ok bool) {
	if text == "" {
		return beginning(), true, true
	}
	h, i, found := strings.Cut(text, ".")
	height, err := strconv.ParseInt(h, 10, 32)
	id, err2 := strconv.ParseInt(i, 10, 64)
	if !found || err != nil || err2 != nil || height < 0 || id < 0 {
		return position{}, false, false
	}
	return position{int32(height), id}, false, true
}

// beforeOf reads an id; the empty one is the beginning.
func beforeOf(text string) (id int64, first, ok bool) {
	if text == "" {
		return math.MaxInt64, true, true
	}
	id, err := strconv.ParseInt(text, 10, 64)
	return id, false, err == nil && id >= 0
}

func (s *Server) paymentsPage(q *request) int {
	before, first, ok := beforeOf(q.URL.Query().Get("before"))
	if !ok {
		return s.fail(q, http.StatusBadRequest, "There is no such page", "Begin again with the newest payments.")
	}
	return s.show(q, strconv.FormatInt(before, 10), func(b *builder) (*page, error) {
		pulse, err := b.pulse()
		if err != nil {
			return nil, err
		}
		d := &listData[ledger.Transaction]{Pulse: pulse, First: first}
		if d.Rows, err = b.transactions(pageRows+1, before); err != nil {
			return nil, err
		}
		if len(d.Rows) > pageRows {
			d.Rows = d.Rows[:pageRows]
			d.Next = "?before=" + strconv.FormatInt(d.Rows[pageRows-1].ID, 10)
		}
		return &page{name: "payments", Nav: "payments", Title: "Payments", maxAge: 2 * s.cfg.Fresh, Data: d, Description: "Payments of this pool to its miners."}, nil
	})
}

// statisticsData is the statistics page.
type statisticsData struct {
	Pulse    *ledger.NetworkPulse
	Stats    *ledger.Statistics
	Share    string // of the pool in the chain's blocks
	Days     []dayView
	Forecast int64 // of today's blocks of the pool, -1: none
	Chart    *chart
	Miners   []ledger.RecentMiner
	Blocks   []blockView
	Fee      string
	Luck     string
}

type dayView struct {
	ledger.DayFigures
	Mille    int64 // of the best day
	Today    bool
	Forecast int64
}

func (s *Server) statistics(q *request) int {
	span := spanOf(cmp.Or(q.URL.Query().Get("span"), "week"))
	return s.show(q, span, func(b *builder) (*page, error) {
		d := &statisticsData{Fee: b.network.FeePercent}
		var err error
		if d.Pulse, err = b.pulse(); err != nil {
			return nil, err
		}
		if d.Stats, err = b.statistics(); err != nil {
			return nil, err
		}
		series, err := b.series(span)
		if err != nil {
			return nil, err
		}
		base := "/" + b.network.Name + "/statistics"
		d.Chart = newChart("hashrate", "Hash rate of the pool", base, apiBase+b.network.Name+"/hashrate", series)
		if d.Miners, err = b.miners(100, "", 0); err != nil {
			return nil, err
		}
		blocks, err := b.blocks(pageRows, beginning())
		if err != nil {
			return nil, err
		}
		d.Blocks = blockViews(b.network, blocks, d.Pulse.Height)
		d.figures(b.now)
		return &page{
			name: "statistics", Nav: "statistics", Title: "Statistics", Live: "/" + b.network.Name + "/live", maxAge: s.cfg.Fresh, Data: d,
			Description: "Blocks, hash rate and miners of this pool.",
		}, nil
	})
}

// figures works out what follows from the numbers.
func (d *statisticsData) figures(now time.Time) {
	d.Share = "–"
	if d.Stats.AllBlocks > 0 {
		d.Share = strconv.FormatFloat(percentOf(d.Stats.PoolBlocks, d.Stats.AllBlocks), 'f', -1, 64) + nbsp + "%"
	}
	d.Luck = formatPercent(d.Stats.Luck)
	var best int64
	for _, day := range d.Stats.Days {
		best = max(best, day.Shares)
	}
	d.Forecast = -1
	for i, day := range d.Stats.Days {
		v := dayView{DayFigures: day, Today: i == len(d.Stats.Days)-1, Forecast: -1}
		if best > 0 {
			v.Mille = 1000 * day.Shares / best
		}
		if v.Today && i > 0 {
			// As the original: yesterday's and today's, stretched to the day.
			v.Forecast = (d.Stats.Days[i-1].PoolBlocks + day.PoolBlocks) * 24 / (24 + int64(now.UTC().Hour()))
			v.Forecast = max(v.Forecast, day.PoolBlocks)
			d.Forecast = v.Forecast
		}
		d.Days = append(d.Days, v)
	}
}

// percentOf is a ratio in percent with two decimals.
func percentOf(part, whole int64) float64 {
	return math.Round(10000*float64(part)/float64(whole)) / 100
}

// search leads to the miner that is asked for, by his address or ADDRESS/rig.
func (s *Server) search(q *request) int {
	text := q.URL.Query().Get("q")
	if q.Method == http.MethodPost {
		q.Body = http.MaxBytesReader(q.w, q.Body, maxForm)
		if err := q.ParseForm(); err != nil {
			return s.fail(q, http.StatusBadRequest, "That could not be read", "Type an address into the search field.")
		}
		for _, name := range []string{"q", "miner", "miner_id", "address"} {
			text = cmp.Or(text, q.PostForm.Get(name))
		}
	}
	n := q.network
	if n == nil {
		n = &s.cfg.Networks[0]
		if asked, ok := s.networks[q.URL.Query().Get("network")]; ok {
			n = asked
		}
	}
	address, rig, _ := strings.Cut(strings.TrimSpace(text), "/")
	to := "/" + n.Name + "/"
	if address = strings.TrimSpace(address); address != "" {
		to += "miner/" + url.PathEscape(clip(address, 120)) + "/"
		if rig, _, _ = strings.Cut(rig, "/"); rig != "" {
			to += "?worker=" + url.QueryEscape(clip(rig, ledger.MaxWorkerName))
		}
	}
	q.w.Header().Set("Location", to)
	q.w.Header().Set("Cache-Control", "no-store")
	q.w.WriteHeader(http.StatusSeeOther)
	return http.StatusSeeOther
}

// clip cuts a text to a number of bytes, at a character's border.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// noMinerData says why there is no miner.
type noMinerData struct {
	Address string
	Valid   bool   // the address could be paid on this network
	Why     string // what is wrong with it
	Other   string // a network on which it would be right
}

func (s *Server) noMiner(n *Network, address string) *noMinerData {
	d := &noMinerData{Address: clip(strings.ToValidUTF8(address, "\uFFFD"), 120)}
	_, err := chain.DecodeAddress(address, n.Chain)
	if d.Valid = err == nil; d.Valid {
		return d
	}
	d.Why = err.Error()
	for i := range s.cfg.Networks {
		other := &s.cfg.Networks[i]
		if _, err := chain.DecodeAddress(address, other.Chain); err == nil {
			d.Other = other.Name
		}
	}
	return d
}
