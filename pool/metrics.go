package pool

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type deskMetrics struct {
	requests   *prometheus.CounterVec
	unchecked  *prometheus.CounterVec
	unrecorded *prometheus.CounterVec
	reused     *prometheus.CounterVec
	groupSize  prometheus.Histogram
	checked    map[string]prometheus.Histogram // by network
}

// newCheckSeconds is the first station of a share's way, of a classic or template
// network.
func newCheckSeconds(network string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "purepool_desk_check_seconds", ConstLabels: prometheus.Labels{"network": network},
		Help:    "Time from a share's arrival until it is checked and goes to the queue.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9), // to 6.5 s
	})
}

func newDeskMetrics(r prometheus.Registerer, networks ...string) *deskMetrics {
	m := &deskMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_desk_requests_total",
			Help: "Requests at the front desk by network, action (work, solution) and outcome (ok, or the kind of refusal).",
		}, []string{"network", "action", "outcome"}),
		unchecked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_desk_unchecked_shares_total",
			Help: "Shares taken without looking up their work because the ledger was away; the validator checks them.",
		}, []string{"network"}),
		unrecorded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_desk_unrecorded_refusals_total",
			Help: "Refused shares that could not be written down because the queue was full.",
		}, []string{"network"}),
		reused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_desk_work_reused_total",
			Help: "Requests for work that were answered with the worker's newest work, because it asks too often.",
		}, []string{"network"}),
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "purepool_desk_work_group_size",
			Help:    "Pieces of work written to the ledger by one INSERT.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
	}
	m.checked = make(map[string]prometheus.Histogram, len(networks))
	for _, n := range networks {
		m.prepare(n)
		if r != nil {
			r.MustRegister(m.checked[n])
		}
	}
	if r != nil {
		r.MustRegister(m.requests, m.unchecked, m.unrecorded, m.reused, m.groupSize)
	}
	return m
}

// prepare makes the series of a network, so that their rates begin at 0.
func (m *deskMetrics) prepare(network string) {
	m.checked[network] = newCheckSeconds(network)
	m.unchecked.WithLabelValues(network)
	m.unrecorded.WithLabelValues(network)
	m.reused.WithLabelValues(network)
	for _, kind := range []Kind{"ok", KindUnavailable, KindWorkerInvalid, KindWorkerMissing, KindMinerDisabled} {
		m.requests.WithLabelValues(network, "work", string(kind))
	}
	for _, kind := range []Kind{
		"ok", KindUnavailable, KindSolutionMissing, KindSolutionInvalid, KindUnknownWork, KindMinerDisabled, KindWorkExpired,
		KindHashTargetExceeded, KindDuplicate,
	} {
		m.requests.WithLabelValues(network, "solution", string(kind))
	}
}

func (m *deskMetrics) count(network, action string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(KindUnavailable)
		var refusal *Refusal
		if errors.As(err, &refusal) {
			outcome = string(refusal.Kind)
		}
	}
	m.requests.WithLabelValues(network, action, outcome).Inc()
}
