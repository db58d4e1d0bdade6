package bbprpc

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	up      *prometheus.GaugeVec
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers the client's metrics. Two clients of one process, such as
// those of two networks, need registerers that add a label
// (prometheus.WrapRegistererWith).
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "purepool_daemon_up",
			Help: "1 where the coin daemon's last exchange succeeded.",
		}, []string{"daemon"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purepool_daemon_calls_total",
			Help: "Calls of the coin daemons by outcome: ok, no (the daemon refused) or in what way it was away.",
		}, []string{"call", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "purepool_daemon_exchange_seconds",
			Help:    "Duration of HTTP exchanges with a coin daemon, each with one call or a batch of calls.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8), // 1 ms to 16 s
		}, []string{"daemon"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, each := range []prometheus.Collector{m.up, m.calls, m.seconds} {
		if err := reg.Register(each); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(daemon string, d time.Duration) {
	m.seconds.WithLabelValues(daemon).Observe(d.Seconds())
}

func (m *metrics) count(c *Call) {
	outcome := "ok"
	var away *AwayError
	switch {
	case errors.As(c.Err, &away):
		outcome = string(away.Reason)
	case c.Err != nil:
		outcome = "no"
	}
	m.calls.WithLabelValues(c.label(), outcome).Inc()
}
