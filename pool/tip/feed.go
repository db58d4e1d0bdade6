package tip

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources of the word that a tip has changed.
const (
	SourceZMQ      = "zmq"      // the daemon has published it
	SourceLongPoll = "longpoll" // the daemon has answered a long poll
	SourcePoll     = "poll"     // it was found by asking
	SourceNotify   = "notify"   // somebody has called purepool admin notify-block
	SourceOwn      = "own"      // a daemon has taken a block of the pool's
)

// Feed brings the word that a network's tip may have changed from whoever has it
// first to all who follow the chain: one for each network. It says no more than
// "look": each listener asks the daemon itself, and polls besides, so that a word
// that is lost, late or a lie changes when something is seen and never what. Safe
// for concurrent use.
type Feed struct {
	network string
	log     *slog.Logger
	words   *prometheus.CounterVec
	missed  *prometheus.CounterVec

	mu         sync.Mutex // guards what follows
	listeners  []func()
	publishers []*Publisher
	last       [32]byte // the tip that was confirmed last
}

// NewFeed returns a feed without listeners. r may be nil.
func NewFeed(network string, log *slog.Logger, r prometheus.Registerer) *Feed {
	labels := prometheus.Labels{"network": network}
	f := &Feed{
		network: network, log: log,
		words: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_tip_words_total", ConstLabels: labels,
			Help: "How often somebody said that the tip may have changed, by who: zmq, longpoll, poll, notify, own.",
		}, []string{"source"}),
		missed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_tip_push_missed_total", ConstLabels: labels,
			Help: "Tips that were found by other ways and that the daemon's publisher had still not told of when the next one came.",
		}, []string{"publisher"}),
	}
	for _, s := range []string{SourceZMQ, SourceLongPoll, SourcePoll, SourceNotify, SourceOwn} {
		f.words.WithLabelValues(s)
	}
	if r != nil {
		r.MustRegister(f.words, f.missed)
	}
	return f
}

// Listen adds a listener. It is called from any goroutine and must return at
// once.
func (f *Feed) Listen(look func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, look)
}

// Tell says that the tip may have changed.
func (f *Feed) Tell(source string) {
	f.words.WithLabelValues(source).Inc()
	f.mu.Lock()
	listeners := f.listeners // only ever appended to
	f.mu.Unlock()
	for _, look := range listeners {
		look()
	}
}

// tolerated is how many tips in a row a publisher may pass over before the log
// speaks of it: one may be outrun.
const tolerated = 2

// Publisher is a daemon that tells of its tips by itself.
type Publisher struct {
	feed *Feed
	name string

	// protected by feed.mu:
	heard   [16][32]byte // the last tips told, in a ring
	next    int
	missed  int  // tips in a row of which it has said nothing
	excused bool // of what came before it was listened to
}

// Publisher adds a publisher to those from which every tip is expected.
func (f *Feed) Publisher(name string) *Publisher {
	f.missed.WithLabelValues(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &Publisher{feed: f, name: name}
	f.publishers = append(f.publishers, p)
	return p
}

// Tell says that the publisher has told of a tip.
func (p *Publisher) Tell(hash [32]byte) {
	f := p.feed
	f.mu.Lock()
	p.heard[p.next%len(p.heard)] = hash
	p.next++
	again := p.missed >= tolerated
	p.missed = 0
	f.mu.Unlock()
	if again {
		f.log.Info("publisher of new blocks speaks again", slog.String("network", f.network), slog.String("publisher", p.name))
	}
	f.Tell(SourceZMQ)
}

// Gap says that the publisher may have told of tips that were not heard: it has
// just been subscribed to.
func (p *Publisher) Gap() {
	p.feed.mu.Lock()
	p.excused = true
	p.feed.mu.Unlock()
	p.feed.Tell(SourceZMQ)
}

// Confirm says that a daemon was asked and has this tip. Publishers that have
// said nothing of the one before are silent: they may be connected and useless.
func (f *Feed) Confirm(hash [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.last
	f.last = hash
	if before == hash || before == ([32]byte{}) {
		return
	}
	for _, p := range f.publishers {
		excused := p.excused
		p.excused = false
		if excused || slices.Contains(p.heard[:], before) {
			continue
		}
		f.missed.WithLabelValues(p.name).Inc()
		if p.missed++; p.missed == tolerated {
			f.log.Warn("publisher of new blocks is silent, they are found by other ways",
				slog.String("network", f.network), slog.String("publisher", p.name))
		}
	}
}
