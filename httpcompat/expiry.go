package httpcompat

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// expiries tells until when the certificates are good that are being served, not
// those that lie on the disk: the difference is what an alarm is for.
type expiries struct {
	certificates certificates
	desc         *prometheus.Desc
}

// newExpiries returns the metric of the certificates; without TLS it has no values.
func newExpiries(c certificates) *expiries {
	return &expiries{c, prometheus.NewDesc("purepool_certificate_not_after_timestamp_seconds",
		"Until when a certificate that is served is good, by host; host is file where it comes from files.", []string{"host"}, nil)}
}

// Describe is part of prometheus.Collector.
func (e *expiries) Describe(ch chan<- *prometheus.Desc) { ch <- e.desc }

// Collect is part of prometheus.Collector.
func (e *expiries) Collect(ch chan<- prometheus.Metric) {
	if e.certificates == nil {
		return
	}
	for host, until := range e.certificates.notAfter() {
		ch <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(until.Unix()), host)
	}
}

func (f *fileCertificates) notAfter() map[string]time.Time {
	cert := f.current.Load()
	if cert == nil || cert.Leaf == nil {
		return nil
	}
	return map[string]time.Time{"file": cert.Leaf.NotAfter}
}

// notAfter knows the hosts of which a certificate was served or obtained; others
// have none yet.
func (a *acmeCertificates) notAfter() map[string]time.Time {
	known := make(map[string]time.Time, len(a.hosts))
	for _, host := range a.hosts {
		if until, ok := a.until.Load(host); ok {
			known[host] = until.(time.Time)
		}
	}
	return known
}
