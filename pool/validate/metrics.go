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
	// The stations of a share's way behind the queue.
	delivered, judged, written, all prometheus.Histogram
}

// newMetrics makes the metrics of a validator that rejects for these reasons.
func newMetrics(r prometheus.Registerer, network string, reasons []Reason) *metrics {
	labels := prometheus.Labels{"network": network}
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_validate_verdicts_total", ConstLabels: labels,
			Help: "Verdicts written, by verdict (credited, rejected) and reason, which is none for credited shares.",
		}, []string{"verdict", "reason"}),
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
	station := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_validate_" + name, Help: help, ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(0.001, 4, 12), // to over an hour
		})
	}
	m.delivered = station("delivery_seconds", "Time from a share's arrival at the frontend until a validator takes it, by the clocks of both.")
	m.judged = station("verdict_seconds", "Time from taking a share until it is judged.")
	m.written = station("write_seconds", "Time from judging a share until its verdict stands in the ledger.")
	m.all = station("share_seconds", "Time from a share's arrival at the frontend until its verdict stands in the ledger, by the clocks of both.")
	m.verdicts.WithLabelValues("credited", "none")
	for _, reason := range append(reasons, AlreadyKnown, Other) {
		m.verdicts.WithLabelValues("rejected", string(reason))
	}
	for _, what := range []string{"ledger", "daemon", "broker"} {
		m.waiting.WithLabelValues(what)
	}
	if r != nil {
		r.MustRegister(m.verdicts, m.redelivered, m.buried, m.waiting, m.sizes, m.seconds, m.delivered, m.judged, m.written, m.all)
	}
	return m
}

// way notes how long a batch took from station to station.
func (m *metrics) way(verdicts []ledger.Verdict, taken, judged, written time.Time) {
	for i := range verdicts {
		arrived := verdicts[i].ReceivedAt
		// Clocks of two machines: what seems to come before it was sent took no time.
		m.delivered.Observe(max(taken.Sub(arrived), 0).Seconds())
		m.judged.Observe(judged.Sub(taken).Seconds())
		m.written.Observe(written.Sub(judged).Seconds())
		m.all.Observe(max(written.Sub(arrived), 0).Seconds())
	}
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
	m.verdicts.WithLabelValues("credited", "none").Add(float64(written.Credited))
	m.verdicts.WithLabelValues("rejected", string(AlreadyKnown)).Add(float64(written.Duplicates))
	if written.Rejected == 0 {
		return
	}
	for i := range verdicts {
		if reason := verdicts[i].Reason; reason != "" {
			m.verdicts.WithLabelValues("rejected", reason).Inc()
		}
	}
}
