package health

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells what /readyz tells, to Prometheus.
type collector struct {
	server      *Server
	ready, part *prometheus.Desc
}

// Collector returns the state of the process and its parts as metrics. A scrape
// asks the parts as a probe of /readyz does: at most once in a moment, and each
// for a bounded time.
func (s *Server) Collector() prometheus.Collector {
	return &collector{
		server: s,
		ready:  prometheus.NewDesc("purepool_ready", "1 where the process can do its job: what /readyz says.", nil, nil),
		part: prometheus.NewDesc("purepool_part_up",
			"1 where a part of the process is in order; needed is yes where the process is not ready without it.", []string{"part", "needed"}, nil),
	}
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.ready
	ch <- c.part
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ready, states := c.server.Ready(context.Background())
	ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, number(ready))
	for _, s := range states {
		needed := "yes"
		if s.Optional {
			needed = "no"
		}
		ch <- prometheus.MustNewConstMetric(c.part, prometheus.GaugeValue, number(s.OK), s.Part, needed)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
