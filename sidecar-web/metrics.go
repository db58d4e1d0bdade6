package web

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator sees of the pages. Routes and names of caches are
// a fixed few.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	cache     *prometheus.CounterVec
	reads     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	listeners prometheus.Gauge
	turned    *prometheus.CounterVec
	dropped   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_web_requests_total", Help: "Requests to the pages and the API, by route and class of status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "purepool_web_request_seconds", Help: "Time to answer, streams excepted, in seconds.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"route"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_web_cache_total", Help: "Lookups in the caches, by cache and result (hit, miss).",
		}, []string{"cache", "result"}),
		reads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "purepool_web_read_seconds", Help: "Time of one reading from the database, in seconds.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"what"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_web_read_failures_total", Help: "Readings from the database that failed.",
		}, []string{"what"}),
		listeners: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "purepool_web_live_listeners", Help: "Open streams of live numbers.",
		}),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_web_turned_away_total", Help: "Requests turned away, by reason (rate, listeners).",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purepool_web_live_skipped_total", Help: "Live numbers that a slow listener did not get because newer ones came.",
		}),
	}
	for _, reason := range []string{"rate", "listeners"} {
		m.turned.WithLabelValues(reason)
	}
	reg.MustRegister(m.requests, m.seconds, m.cache, m.reads, m.failures, m.listeners, m.turned, m.dropped)
	return m
}

// prepare makes the series of a cache, so that their rates begin at 0.
func (m *metrics) prepare(cache string) {
	m.cache.WithLabelValues(cache, "hit")
	m.cache.WithLabelValues(cache, "miss")
	m.reads.WithLabelValues(cache)
	m.failures.WithLabelValues(cache)
}

// load notes one reading from the database.
func (m *metrics) load(what string, took time.Duration, err error) {
	m.reads.WithLabelValues(what).Observe(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(what).Inc()
	}
}

// answered notes one request.
func (m *metrics) answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status/100)+"xx").Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
