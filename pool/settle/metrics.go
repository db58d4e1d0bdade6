package settle

import "github.com/prometheus/client_golang/prometheus"

func labels(network string) prometheus.Labels { return prometheus.Labels{"network": network} }

func gauge(network, name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels(network)})
}

func counter(network, name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels(network)})
}

func counterVec(network, name, help string, label ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels(network)}, label)
}

// register registers metrics where there is a registry.
func register(r prometheus.Registerer, all ...prometheus.Collector) {
	if r != nil {
		r.MustRegister(all...)
	}
}
