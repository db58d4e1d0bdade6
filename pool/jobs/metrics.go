package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	issued   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	synced   *prometheus.GaugeVec
	switches prometheus.Counter
	latency  prometheus.Histogram
	height   prometheus.Gauge
	ready    prometheus.Gauge
	leading  prometheus.Gauge
	ages     []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, network string, now func() time.Time, confirmed, issued func() time.Time) *metrics {
	labels := prometheus.Labels{"network": network}
	age := func(name, help string, since func() time.Time) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 {
			if at := since(); !at.IsZero() {
				return now().Sub(at).Seconds()
			}
			return -1
		})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_jobs_issued_total", ConstLabels: labels,
			Help: "Jobs issued: clean (the tip has changed) or refresh.",
		}, []string{"kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_jobs_refused_total", ConstLabels: labels,
			Help: "Templates of which no job was made: template (the daemon gave none), unsound, proposal (the daemon refused the block), store (the job could not be kept).",
		}, []string{"reason"}),
		synced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "purepool_jobs_daemon_synced", ConstLabels: labels,
			Help: "1 where the daemon answers and has all blocks that it has heard of.",
		}, []string{"daemon"}),
		switches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purepool_jobs_daemon_switches_total", ConstLabels: labels,
			Help: "How often jobs have come from another daemon than the one before.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_jobs_issue_seconds", ConstLabels: labels,
			Help: "Time from having a template to its job being told to the frontends.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 12),
		}),
		height:  gauge("purepool_jobs_height", "Height of the block that the current job would make."),
		ready:   gauge("purepool_jobs_ready", "1 where there is a job worth mining on."),
		leading: gauge("purepool_jobs_leading", "1 where this backend issues the network's jobs."),
		ages: []prometheus.Collector{
			age("purepool_jobs_age_seconds", "Age of the current job; -1 where there is none.", issued),
			age("purepool_jobs_template_age_seconds", "Time since a synced daemon has last confirmed what is mined on; -1 where none has.", confirmed),
		},
	}
	for _, kind := range []string{"clean", "refresh"} {
		m.issued.WithLabelValues(kind)
	}
	for _, reason := range []string{"template", "unsound", "proposal", "store"} {
		m.refused.WithLabelValues(reason)
	}
	if r != nil {
		r.MustRegister(m.issued, m.refused, m.synced, m.switches, m.latency, m.height, m.ready, m.leading)
		r.MustRegister(m.ages...)
	}
	return m
}

type submitMetrics struct {
	blocks  *prometheus.CounterVec
	answers *prometheus.CounterVec
	pending prometheus.Gauge
	handed  prometheus.Histogram
	taken   prometheus.Histogram
}

func newSubmitMetrics(r prometheus.Registerer, network string) *submitMetrics {
	labels := prometheus.Labels{"network": network}
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	m := &submitMetrics{
		blocks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_block_submissions_total", ConstLabels: labels,
			Help: "Winning shares by what became of them: accepted, inconclusive, refused, given_up, or none (the share makes no block).",
		}, []string{"result"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_block_submission_answers_total", ConstLabels: labels,
			Help: "Answers to submitblock, by daemon: accepted, duplicate, inconclusive, refused, away.",
		}, []string{"daemon", "answer"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "purepool_block_submissions_pending", ConstLabels: labels, Help: "Blocks that are being submitted or tried again.",
		}),
		handed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_block_submission_seconds", ConstLabels: labels, Buckets: buckets,
			Help: "Time from the share's arrival at the frontend to submitblock.",
		}),
		taken: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "purepool_block_acceptance_seconds", ConstLabels: labels, Buckets: buckets,
			Help: "Time from the share's arrival at the frontend to the first daemon's acceptance.",
		}),
	}
	for _, result := range []string{"accepted", "inconclusive", "refused", "given_up", "none"} {
		m.blocks.WithLabelValues(result)
	}
	if r != nil {
		r.MustRegister(m.blocks, m.answers, m.pending, m.handed, m.taken)
	}
	return m
}
