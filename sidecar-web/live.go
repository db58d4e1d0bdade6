package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"purepool/ledger"
)

// hub sends live numbers to all who listen. It reads for all of them together:
// one query for each network that somebody looks at, and one for all miners
// that somebody looks at. A listener who reads slowly gets the newest numbers
// when he is ready, and never holds the others up.
type hub struct {
	s *Server

	mu     sync.Mutex // guards all below
	topics map[topic]map[*listener]struct{}
	last   map[topic][]byte
	perIP  map[netip.Prefix]int
	all    int
	closed chan struct{} // closed at the end
	ended  bool
}

// topic is what somebody looks at: a network, or with an id a miner too.
type topic struct {
	network string
	miner   int64
}

// listener gets messages, the newest one only.
type listener struct {
	messages chan []byte // capacity 1
	topic    topic
	who      netip.Prefix
}

func newHub(s *Server) *hub {
	return &hub{
		s: s, topics: map[topic]map[*listener]struct{}{}, last: map[topic][]byte{}, perIP: map[netip.Prefix]int{},
		closed: make(chan struct{}),
	}
}

// run reads and sends until ctx ends.
func (h *hub) run(ctx context.Context) error {
	ticker := time.NewTicker(h.s.cfg.LiveEvery)
	defer ticker.Stop()
	defer h.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.closed:
			return nil
		case <-ticker.C:
			h.tick(ctx)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		close(h.closed)
	}
}

// tick reads what is listened to and sends what has changed.
func (h *hub) tick(ctx context.Context) {
	watched := h.watched()
	if len(watched) == 0 {
		return
	}
	var ids []int64
	for _, t := range watched {
		if t.miner != 0 {
			ids = append(ids, t.miner)
		}
	}
	now := h.s.cfg.Now()
	var miners map[int64]ledger.MinerPulse
	if len(ids) > 0 {
		readCtx, cancel := context.WithTimeout(ctx, h.s.cfg.StoreTimeout)
		begun := time.Now()
		var err error
		miners, err = h.s.store.MinerPulses(readCtx, slices.Compact(slices.Sorted(slices.Values(ids))), now)
		cancel()
		h.s.metrics.load("live_miners", time.Since(begun), err)
		if err != nil {
			h.s.problem(err)
			return
		}
	}
	for _, t := range watched {
		pulse, err := h.s.pulse(ctx, h.s.networks[t.network])
		if err != nil || pulse.Err != nil {
			continue // told by the reading; listeners keep what they have
		}
		var m *ledger.MinerPulse
		if t.miner != 0 {
			p := miners[t.miner]
			m = &p
		}
		h.send(t, h.s.liveMessage(h.s.networks[t.network], &pulse.Value, m))
	}
}

func (h *hub) watched() []topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]topic, 0, len(h.topics))
	for t := range h.topics {
		list = append(list, t)
	}
	return list
}

func (h *hub) send(t topic, message []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes.Equal(h.last[t], message) {
		return
	}
	h.last[t] = message
	for l := range h.topics[t] {
		select {
		case l.messages <- message:
			continue
		default:
		}
		select { // he has not read the one before: this one takes its place
		case <-l.messages:
			h.s.metrics.dropped.Inc()
		default:
		}
		l.messages <- message
	}
}

// join adds a listener; nil where there are too many.
func (h *hub) join(t topic, who netip.Prefix) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || h.all >= h.s.cfg.MaxListeners || h.perIP[who] >= h.s.cfg.MaxListenersPerIP {
		return nil
	}
	l := &listener{messages: make(chan []byte, 1), topic: t, who: who}
	if h.topics[t] == nil {
		h.topics[t] = map[*listener]struct{}{}
	}
	h.topics[t][l] = struct{}{}
	if m := h.last[t]; m != nil {
		l.messages <- m
	}
	h.all++
	h.perIP[who]++
	h.s.metrics.listeners.Set(float64(h.all))
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.topics[l.topic], l)
	if len(h.topics[l.topic]) == 0 {
		delete(h.topics, l.topic)
		delete(h.last, l.topic)
	}
	h.all--
	if h.perIP[l.who]--; h.perIP[l.who] == 0 {
		delete(h.perIP, l.who)
	}
	h.s.metrics.listeners.Set(float64(h.all))
}

// Times of a stream: how often it says that it lives, how long a visitor may
// take to read, and how long it lasts before the visitor comes again (so that
// no stream outlives what it was allowed for).
const (
	heartbeat   = 15 * time.Second
	streamWrite = 10 * time.Second
	streamLasts = 10 * time.Minute
)

// live is a stream of live numbers (server-sent events).
func (s *Server) live(q *request) int {
	t, status := s.topicOf(q)
	if status != 0 {
		return status
	}
	l := s.hub.join(t, q.who)
	if l == nil {
		s.metrics.turned.WithLabelValues("listeners").Inc()
		q.w.Header().Set("Retry-After", "60")
		return s.apiFail(q, http.StatusServiceUnavailable, "too many listeners; ask live.json now and then instead")
	}
	defer s.hub.leave(l)
	h := q.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(q.w)
	write := func(format string, args ...any) bool {
		if control.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
			return false
		}
		if _, err := fmt.Fprintf(q.w, format, args...); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	_ = control.SetReadDeadline(time.Time{}) // the request was read; its end is the stream's
	if !write("retry: 5000\n\n") {
		return http.StatusOK
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	end := time.NewTimer(streamLasts)
	defer end.Stop()
	for ok := true; ok; {
		select {
		case m := <-l.messages:
			ok = write("data: %s\n\n", m)
		case <-beat.C:
			ok = write(": \n\n")
		case <-end.C:
			ok = false
		case <-s.hub.closed:
			ok = false
		case <-q.Context().Done():
			ok = false
		}
	}
	return http.StatusOK
}

// livePoll answers what the stream would say now.
func (s *Server) livePoll(q *request) int {
	t, status := s.topicOf(q)
	if status != 0 {
		return status
	}
	pulse, err := s.pulse(q.Context(), q.network)
	if err != nil {
		return s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
	}
	now := s.cfg.Now()
	var m *ledger.MinerPulse
	if t.miner != 0 {
		k, err := s.lives.get(q.Context(), fmt.Sprint(t.miner), func(ctx context.Context) (ledger.MinerPulse, error) {
			all, err := s.store.MinerPulses(ctx, []int64{t.miner}, now)
			return all[t.miner], err
		})
		if err != nil {
			return s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
		}
		m = &k.Value
	}
	return s.newAnswer(http.StatusOK, "application/json", s.liveMessage(q.network, &pulse.Value, m), s.cfg.LiveEvery).send(q.w, q.Request)
}

// topicOf reads what somebody wants to listen to; a status other than 0 is an
// answer that was given.
func (s *Server) topicOf(q *request) (topic, int) {
	t := topic{network: q.network.Name}
	address := q.URL.Query().Get("miner")
	if address == "" {
		return t, 0
	}
	m, err := s.findMiner(q.Context(), q.network, address)
	switch {
	case err != nil:
		return t, s.apiFail(q, http.StatusServiceUnavailable, "the database does not answer")
	case m.Value == nil:
		return t, s.apiFail(q, http.StatusNotFound, "no such miner on this network")
	}
	t.miner = m.Value.ID
	return t, 0
}

// liveNumbers are texts by the name that elements of a page carry.
type liveNumbers struct {
	Values map[string]string `json:"values"`
	Times  map[string]string `json:"times"` // moments, for elements that say how long ago
	Meters map[string]int64  `json:"meters"`
}

// liveMessage writes what changes while one looks, in one line.
func (s *Server) liveMessage(n *Network, p *ledger.NetworkPulse, m *ledger.MinerPulse) []byte {
	msg := liveNumbers{
		Values: map[string]string{
			"rate": formatRate(p.HashesPerSecond), "miners": formatNumber(p.Miners), "workers": formatNumber(p.Workers),
			"miners-noun": noun(p.Miners, "miner", "miners"), "workers-noun": noun(p.Workers, "rig", "rigs"),
			"height": formatNumber(int64(p.Height)), "effort": effortText(p), "shares": formatNumber(p.SharesRecent),
			"difficulty": difficulty(p.BlockHashes, n.Algorithm),
		},
		Times:  map[string]string{"share": stamp(p.LastShareAt)},
		Meters: map[string]int64{"effort": effortMeter(p)},
	}
	if p.LastBlock != nil {
		msg.Times["block"] = stamp(p.LastBlock.SeenAt)
		msg.Values["block"] = formatNumber(int64(p.LastBlock.Height))
	}
	if m != nil {
		msg.Values["m-rate"], msg.Values["m-rate-hour"] = formatRate(m.HashesPerSecond), formatRate(m.HashesHour)
		msg.Values["m-shares-hour"], msg.Values["m-rejected-hour"] = formatNumber(m.SharesHour), formatNumber(m.RejectedHour)
		if !m.LastShareAt.IsZero() {
			msg.Times["m-share"] = stamp(m.LastShareAt)
		}
	}
	text, err := json.Marshal(msg)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return text
}

func noun(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func effortText(p *ledger.NetworkPulse) string {
	if e, ok := p.Effort(); ok {
		return formatPercent(e)
	}
	return "–"
}

// effortMeter is the effort in per mille, as far as a gauge shows it.
func effortMeter(p *ledger.NetworkPulse) int64 {
	e, _ := p.Effort()
	return int64(min(e, 1) * 1000)
}
