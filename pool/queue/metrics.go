package queue

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a broker and of what publishes and subscribes through it. Labels
// are bounded: networks are configured, the rest are constants.
type metrics struct {
	publishSeconds *prometheus.HistogramVec // network, path: direct or spool
	envelopeBytes  prometheus.Histogram
	envelopeShares prometheus.Histogram
	refused        *prometheus.CounterVec // network, reason
	brokerFailures *prometheus.CounterVec // network
	pendingBytes   prometheus.Gauge
	spoolBytes     *prometheus.GaugeVec // network
	spoolOldest    *prometheus.GaugeVec // network
	spoolDamaged   *prometheus.CounterVec
	deliveries     *prometheus.CounterVec // network, result: ack, nack, undecodable, panic
	deliveredShare *prometheus.CounterVec // network
	deadLetters    *prometheus.CounterVec // network
	// What the broker holds, as Watch sees it; there where it runs.
	backlogEnvelopes, backlogBytes, backlogLag, backlogAt *prometheus.GaugeVec // network
	lettersKept                                           *prometheus.GaugeVec // no labels

	all []prometheus.Collector
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "purepool", Subsystem: "queue", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
		m.all = append(m.all, c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
		m.all = append(m.all, g)
		return g
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "purepool", Subsystem: "queue", Name: name, Help: help, Buckets: buckets}, labels)
		m.all = append(m.all, h)
		return h
	}
	m.publishSeconds = histogram("publish_seconds", "Time from a share's arrival at the queue until it is durable, by network and path (direct, spool).",
		[]float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5}, "network", "path")
	m.envelopeBytes = histogram("envelope_bytes", "Size of the envelopes.", prometheus.ExponentialBuckets(1024, 4, 8)).WithLabelValues().(prometheus.Histogram)
	m.envelopeShares = histogram("envelope_shares", "Shares in an envelope.", prometheus.ExponentialBuckets(1, 2, 11)).WithLabelValues().(prometheus.Histogram)
	m.refused = counter("refused_total", "Shares not taken, by network and reason (full, unavailable, too_large, closed).", "network", "reason")
	m.brokerFailures = counter("broker_failures_total", "Envelopes that the broker did not acknowledge at the first try.", "network")
	m.pendingBytes = gauge("pending_bytes", "Bytes of shares in memory that are not yet durable.").WithLabelValues()
	m.spoolBytes = gauge("spool_bytes", "Bytes of the disk spool.", "network")
	m.spoolOldest = gauge("spool_oldest_seconds", "Age of the oldest envelope in the disk spool, 0 when it is empty.", "network")
	m.spoolDamaged = counter("spool_damaged_bytes_total", "Bytes of the disk spool that were damaged and set aside.", "network")
	m.deliveries = counter("deliveries_total", "Envelopes delivered to handlers, by result (ack, nack, undecodable, panic).", "network", "result")
	m.deliveredShare = counter("delivered_shares_total", "Shares in acknowledged deliveries.", "network")
	m.deadLetters = counter("dead_letters_total", "Dead letters written.", "network")
	m.backlogEnvelopes = gauge("backlog_envelopes", "Envelopes in the broker that no validator has acknowledged; RabbitMQ: that none has taken.", "network")
	m.backlogBytes = gauge("backlog_bytes", "Bytes of those envelopes; not known of RabbitMQ.", "network")
	m.backlogLag = gauge("lag_seconds", "How long the oldest envelope in the broker has waited; RabbitMQ: how long the queue has not been empty.", "network")
	m.backlogAt = gauge("backlog_timestamp_seconds", "When the backlog was read last.", "network")
	m.lettersKept = gauge("dead_letters", "Dead letters that wait for a person.")
	if reg == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			for _, c := range m.all[:i] {
				reg.Unregister(c)
			}
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all {
		reg.Unregister(c)
	}
}

// reason is the label of an error of Publish.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrClosed):
		return "closed"
	default:
		return "unavailable"
	}
}
