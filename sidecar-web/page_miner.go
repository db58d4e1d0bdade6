package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"purepool/ledger"
)

// minerData is a miner's page.
type minerData struct {
	Miner    *ledger.WebMiner
	Details  *ledger.MinerFigures
	Chart    *chart
	Workers  []workerView
	Selected string // a worker by name

	Online                      int64
	RateShort, RateHour         int64
	RateDay, Shares, Rejected   int64
	Stale                       int64 // of the rejected
	RejectedShare               string
	Reasons                     []reasonView
	Days                        []minerDayView
	LastShareAt                 time.Time
	Money                       moneyView
	Entries                     []ledger.Entry
	MoreEntries, MorePayments   string
	Payments                    []ledger.MinerPayment
	FirstEntries, FirstPayments bool
}

type workerView struct {
	ledger.WorkerFigures
	IsOnline bool
	Selected bool
}

type reasonView struct {
	Reason string
	advice
	Count   int64
	Workers []ledger.WorkerRefusals
}

type minerDayView struct {
	ledger.MinerDay
	Mille int64
}

// moneyView is what a miner has and what comes next.
type moneyView struct {
	ledger.Money
	Threshold int64 // his own or the network's; 0: not told
	Missing   int64 // until then
	Mille     int64
	Due       bool
}

func (s *Server) miner(q *request) int {
	query := q.URL.Query()
	span := spanOf(query.Get("span"))
	worker := clip(query.Get("worker"), 4*ledger.MaxWorkerName)
	entriesBefore, firstEntries, ok := beforeOf(query.Get("credits"))
	paymentsBefore, firstPayments, ok2 := beforeOf(query.Get("payments"))
	if !ok || !ok2 {
		return s.fail(q, http.StatusBadRequest, "There is no such page", "Go back to the miner's page and begin again.")
	}
	if k, err := s.findMiner(q.Context(), q.network, q.address); err == nil && k.Err == nil && k.Value == nil {
		return s.showNoMiner(q)
	}
	cacheKey := q.address + " " + span + " " + strconv.FormatInt(entriesBefore, 10) + " " + strconv.FormatInt(paymentsBefore, 10) + " " + worker
	return s.show(q, cacheKey, func(b *builder) (*page, error) {
		m, err := b.miner(q.address)
		if err != nil {
			return nil, err
		}
		if m == nil { // gone since: cannot be, but must not break
			return &page{name: "nominer", status: http.StatusNotFound, Title: "No such miner", Data: s.noMiner(b.network, q.address)}, nil
		}
		base := "/" + b.network.Name + "/miner/" + url.PathEscape(m.Address) + "/"
		d := &minerData{Miner: m, Selected: worker, FirstEntries: firstEntries, FirstPayments: firstPayments}
		if d.Details, err = b.details(m); err != nil {
			return nil, err
		}
		series, err := b.minerSeries(m, span)
		if err != nil {
			return nil, err
		}
		d.Chart = newChart("hashrate", "Hash rate of this miner", base, apiBase+b.network.Name+"/miners/"+url.PathEscape(m.Address)+"/hashrate", series)
		if err := d.lists(b, m, entriesBefore, paymentsBefore); err != nil {
			return nil, err
		}
		d.figures(b.network, b.now)
		return &page{
			name: "miner", Nav: "miner", Title: "Miner " + shortAddress(m.Address), Query: m.Address, maxAge: s.cfg.Fresh, Data: d,
			Live: "/" + b.network.Name + "/live?miner=" + url.QueryEscape(m.Address), Description: "Hash rate, shares and payments of this miner.",
		}, nil
	})
}

// minerRows is how many credits and payments a miner's page lists.
const minerRows = 20

func (d *minerData) lists(b *builder, m *ledger.WebMiner, entriesBefore, paymentsBefore int64) (err error) {
	d.Entries, d.Payments = d.Details.Entries, d.Details.Payments
	if !d.FirstEntries {
		if d.Entries, err = b.entries(m, minerRows+1, entriesBefore); err != nil {
			return err
		}
	}
	if !d.FirstPayments {
		if d.Payments, err = b.minerPayments(m, minerRows+1, paymentsBefore); err != nil {
			return err
		}
	}
	if len(d.Entries) > minerRows {
		d.Entries = d.Entries[:minerRows]
		d.MoreEntries = "?credits=" + strconv.FormatInt(d.Entries[minerRows-1].ID, 10) + "#credits"
	}
	if len(d.Payments) > minerRows {
		d.Payments = d.Payments[:minerRows]
		d.MorePayments = "?payments=" + strconv.FormatInt(d.Payments[minerRows-1].ID, 10) + "#payments"
	}
	return nil
}

// figures works out what follows from the numbers.
func (d *minerData) figures(n *Network, now time.Time) {
	for _, w := range d.Details.Workers {
		v := workerView{WorkerFigures: w, IsOnline: w.Online(now), Selected: w.Name == d.Selected}
		if v.IsOnline {
			d.Online++
		}
		d.RateShort, d.RateHour, d.RateDay = d.RateShort+w.RateShort, d.RateHour+w.RateHour, d.RateDay+w.RateDay
		d.Shares, d.Rejected = d.Shares+w.Shares, d.Rejected+w.Rejected
		if w.LastShareAt.After(d.LastShareAt) {
			d.LastShareAt = w.LastShareAt
		}
		d.Workers = append(d.Workers, v)
	}
	d.reasons()
	d.RejectedShare = "–"
	if d.Shares+d.Rejected > 0 {
		d.RejectedShare = formatPercent(float64(d.Rejected) / float64(d.Shares+d.Rejected))
	}
	var best int64
	for _, day := range d.Details.Days {
		best = max(best, day.Shares)
	}
	for _, day := range d.Details.Days {
		v := minerDayView{MinerDay: day}
		if best > 0 {
			v.Mille = 1000 * day.Shares / best
		}
		d.Days = append(d.Days, v)
	}
	money := moneyView{Money: d.Details.Money}
	if money.Threshold = cmp.Or(money.Money.Threshold, n.PayoutThreshold); money.Threshold > 0 {
		money.Missing = max(0, money.Threshold-money.Balance)
		money.Due = money.Missing == 0
		money.Mille = max(0, min(1000, int64(1000*float64(money.Balance)/float64(money.Threshold))))
	}
	d.Money = money
}

// reasons puts the refusals of all workers together, the most frequent first.
func (d *minerData) reasons() {
	at := map[string]int{}
	d.Rejected = 0
	for _, r := range d.Details.Refusals {
		i, there := at[r.Reason]
		if !there {
			i = len(d.Reasons)
			at[r.Reason] = i
			d.Reasons = append(d.Reasons, reasonView{Reason: r.Reason, advice: adviceFor(r.Reason)})
		}
		d.Reasons[i].Count += r.Count
		d.Reasons[i].Workers = append(d.Reasons[i].Workers, r)
		if d.Rejected += r.Count; d.Reasons[i].Stale {
			d.Stale += r.Count
		}
	}
	slices.SortStableFunc(d.Reasons, func(x, y reasonView) int { return cmp.Compare(y.Count, x.Count) })
}

// showNoMiner answers for an address that has never mined here. Such pages are
// written for one visitor: anybody can think of any number of addresses.
func (s *Server) showNoMiner(q *request) int {
	a, err := s.render(&page{
		name: "nominer", status: http.StatusNotFound, Title: "No such miner", Network: q.network, Now: s.cfg.Now(),
		Query: clip(q.address, 120), Data: s.noMiner(q.network, q.address),
	})
	if err != nil {
		return s.fail(q, http.StatusNotFound, "No such miner", "Check the address.")
	}
	return a.send(q.w, q.Request)
}
