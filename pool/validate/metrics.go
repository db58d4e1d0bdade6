package validate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
)

type metrics struct {
	verdicts    *prometheus.CounterVec
	redelivered prometheus.Counter
	buried      prometheus.Counter
	waiting     *prometheus.GaugeVec
	sizes       prometheus.Histogram
	seconds     prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, network string) *metrics {
	labels := prometheus.Labels{"network": network}
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_validate_verdicts_total", ConstLabels: labels,
			Help: "Verdicts written, by reason; credited shares have the reason \"credited\".",
		}, []string{"reason"}),
		redelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purepool_validate_redelivered_total", ConstLabels: labels,
			Help: "Shares whose verdict stood in the ledger already.",
		}),
		buried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purepool_validate_dead_letters_total", ConstLabels: labels,
			Help: "Shares set aside because they could not be judged.",
		}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "purepool_validate_waiting", ConstLabels: labels,
			Help: "Batches that wait for something that is away: daemon, ledger, broker.",
		}, []string{"for"}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_validate_batch_shares", ConstLabels: labels,
			Help: "Shares judged together.", Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_validate_batch_seconds", ConstLabels: labels,
			Help: "Time from taking a batch to its verdicts in the ledger.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
	}
	if r != nil {
		r.MustRegister(m.verdicts, m.redelivered, m.buried, m.waiting, m.sizes, m.seconds)
	}
	return m
}

func (m *metrics) batch(shares int, took time.Duration) {
	m.sizes.Observe(float64(shares))
	m.seconds.Observe(took.Seconds())
}

// count counts what was written. A verdict of credit that met a known proof was
// written as a rejection, and what was redelivered was not written at all; how
// many there were is known, not which.
func (m *metrics) count(verdicts []ledger.Verdict, written ledger.Written) {
	m.redelivered.Add(float64(written.Redelivered))
	m.verdicts.WithLabelValues("credited").Add(float64(written.Credited))
	m.verdicts.WithLabelValues(string(AlreadyKnown)).Add(float64(written.Duplicates))
	if written.Rejected == 0 {
		return
	}
	for i := range verdicts {
		if reason := verdicts[i].Reason; reason != "" {
			m.verdicts.WithLabelValues(reason).Inc()
		}
	}
}
