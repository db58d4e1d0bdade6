package stratum

import (
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// ClosedCounter shows tests how many connections of a port ended for a reason.
func (srv *Server) ClosedCounter(port string, why CloseReason) prometheus.Counter {
	return srv.metrics.closed.WithLabelValues(port, why.String())
}

const sizeOfSession = unsafe.Sizeof(session{})

// Wins shows tests how many block candidates of the first network had a result.
func (srv *Server) Wins(result string) float64 {
	return testutil.ToFloat64(srv.metrics.wins.WithLabelValues(srv.books[0].name, result))
}

// InFlight shows tests how many shares are under way.
func (srv *Server) InFlight() int64 { return srv.inFlight.Load() }

// Connections shows tests how many connections a port has.
func (srv *Server) Connections(port string) float64 {
	m := srv.metrics.connections
	return testutil.ToFloat64(m.WithLabelValues(port, "new")) + testutil.ToFloat64(m.WithLabelValues(port, "authorized"))
}
