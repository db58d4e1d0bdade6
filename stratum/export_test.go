package stratum

import "github.com/prometheus/client_golang/prometheus"

// ClosedCounter shows tests how many connections of a port ended for a reason.
func (srv *Server) ClosedCounter(port string, why CloseReason) prometheus.Counter {
	return srv.metrics.closed.WithLabelValues(port, why.String())
}
