package stratum

import (
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
)

// ClosedCounter shows tests how many connections of a port ended for a reason.
func (srv *Server) ClosedCounter(port string, why CloseReason) prometheus.Counter {
	return srv.metrics.closed.WithLabelValues(port, why.String())
}

const sizeOfSession = unsafe.Sizeof(session{})

// Connections shows tests how many connections a port has.
func (srv *Server) Connections(port string) prometheus.Gauge {
	return srv.metrics.connections.WithLabelValues(port)
}
