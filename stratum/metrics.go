package stratum

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the server; every label has a bounded set of values: the configured
// ports and networks, and the enumerations of this package.
type metrics struct {
	connections  *prometheus.GaugeVec     // port, state
	accepted     *prometheus.CounterVec   // port
	closed       *prometheus.CounterVec   // port, reason
	requests     *prometheus.CounterVec   // port, method
	shares       *prometheus.CounterVec   // port, outcome
	retargets    *prometheus.CounterVec   // port, direction
	checkSeconds *prometheus.HistogramVec // port
	broadcasts   *prometheus.HistogramVec // network
	jobs         *prometheus.CounterVec   // network, result
	jobHeight    *prometheus.GaugeVec     // network
	jobIssued    *prometheus.GaugeVec     // network
	jobReady     *prometheus.GaugeVec     // network
	wins         *prometheus.CounterVec   // network, result
	acceptErrors *prometheus.CounterVec   // port
	resumed      *prometheus.CounterVec   // port
	banned       prometheus.Gauge
	addresses    prometheus.Gauge
	memoryLeft   prometheus.GaugeFunc
	inFlight     prometheus.GaugeFunc
	batch        prometheus.Histogram
	panics       prometheus.Counter
	bansDecided  *prometheus.CounterVec // cause
}

func newMetrics(s *Server, r prometheus.Registerer) *metrics {
	const ns, sub = "purepool", "stratum"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets}, labels)
	}
	function := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, f)
	}
	m := &metrics{
		connections:  gauge("connections", "Open connections, by state: new, or authorized, which are those with a worker.", "port", "state"),
		accepted:     counter("connections_accepted_total", "Connections taken from the listening socket.", "port"),
		closed:       counter("connections_closed_total", "Connections that ended, by the reason.", "port", "reason"),
		resumed:      counter("sessions_resumed_total", "Miners that came back with the id of an earlier session and got its extranonce1 again.", "port"),
		requests:     counter("requests_total", "Requests, by method; other is what is not known.", "port", "method"),
		shares:       counter("shares_total", "Submitted shares, by what became of them.", "port", "outcome"),
		retargets:    counter("retargets_total", "Changes of a connection's difficulty.", "port", "direction"),
		checkSeconds: histogram("share_seconds", "Time from a share's line to its answer.", prometheus.ExponentialBuckets(0.0001, 2, 16), "port"),
		broadcasts:   histogram("broadcast_seconds", "Time to write a new job to all connections of an event loop.", prometheus.ExponentialBuckets(0.001, 2, 12), "network"),
		jobs:         counter("jobs_total", "Jobs by what became of them: taken, again (told anew after it was withdrawn), invalid, old, missing (there is none for new miners), withdrawn (there is none, and those that are there are sent away).", "network", "result"),
		jobHeight:    gauge("job_height", "Height of the current job.", "network"),
		jobIssued:    gauge("job_issued_timestamp_seconds", "When the current job was issued.", "network"),
		jobReady:     gauge("job_ready", "1 while there is a job for new miners, else 0.", "network"),
		wins:         counter("block_candidates_total", "Shares that make a block: handed over on their own road, failed (they went the way of all shares alone), given_up (no road took them while they might have counted).", "network", "result"),
		acceptErrors: counter("accept_errors_total", "Failures to accept a connection, such as too many open files.", "port"),
		bansDecided:  counter("bans_total", "Addresses banned, by the cause.", "cause"),
		banned:       prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "banned_addresses", Help: "Addresses that are banned now."}),
		addresses:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "known_addresses", Help: "Addresses that are counted now."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "batch_shares",
			Help: "Shares made durable together.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "panics_total", Help: "Faults in this program that were survived."}),
		memoryLeft: function("memory_left_bytes", "What is left of the memory for unfinished lines and solutions.",
			func() float64 { return float64(s.memory.left.Load()) }),
		inFlight: function("shares_in_flight", "Shares that are being checked or made durable.",
			func() float64 { return float64(s.inFlight.Load()) }),
	}
	m.bansDecided.WithLabelValues("junk")
	if r != nil {
		r.MustRegister(m.connections, m.accepted, m.closed, m.resumed, m.requests, m.shares, m.retargets, m.checkSeconds,
			m.broadcasts, m.jobs, m.jobHeight, m.jobIssued, m.jobReady, m.wins, m.acceptErrors, m.bansDecided, m.banned,
			m.addresses, m.batch, m.panics, m.memoryLeft, m.inFlight)
	}
	return m
}

// portMetrics are a port's own counters, found once: looking them up by label
// costs more than counting.
type portMetrics struct {
	fresh, authorized      prometheus.Gauge // connections
	accepted, acceptErrors prometheus.Counter
	resumed                prometheus.Counter
	closed                 [closeReasons]prometheus.Counter
	requests               [methods]prometheus.Counter
	shares                 [outcomes]prometheus.Counter
	retargetUp, retargetDn prometheus.Counter
	checkSeconds           prometheus.Observer
}

func (m *metrics) port(name string) *portMetrics {
	p := &portMetrics{
		fresh: m.connections.WithLabelValues(name, "new"), authorized: m.connections.WithLabelValues(name, "authorized"),
		accepted: m.accepted.WithLabelValues(name), acceptErrors: m.acceptErrors.WithLabelValues(name),
		retargetUp: m.retargets.WithLabelValues(name, "up"), retargetDn: m.retargets.WithLabelValues(name, "down"),
		checkSeconds: m.checkSeconds.WithLabelValues(name), resumed: m.resumed.WithLabelValues(name),
	}
	for r := range closeReasons {
		if r != notClosed {
			p.closed[r] = m.closed.WithLabelValues(name, r.String())
		}
	}
	for o := range outcomes {
		p.shares[o] = m.shares.WithLabelValues(name, o.String())
	}
	for i := range methods {
		p.requests[i] = m.requests.WithLabelValues(name, i.String())
	}
	return p
}
