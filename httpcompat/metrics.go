package httpcompat

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome is what became of a request, beside the kinds of pool.Refusal. It is a
// label of a metric.
type outcome string

const (
	outcomeOK            outcome = "ok"
	outcomeNotFound      outcome = "NotFound"        // not the page
	outcomeUnknownAction outcome = "UnknownAction"   // neither of the two actions
	outcomeMalformed     outcome = "Malformed"       // no request in the sense of HTTP
	outcomeTooLarge      outcome = "TooLarge"        // beyond a limit on the head
	outcomeBusy          outcome = "Busy"            // no memory for a large request now
	outcomeTooMany       outcome = "TooManyRequests" // of one address behind a proxy
	outcomeTimeout       outcome = "Timeout"         // the front desk took too long
	outcomeFault         outcome = "Fault"           // an error of the pool's own
)

// closeReason is why a connection ended. Every connection has exactly one.
type closeReason string

const (
	closedAnswered          closeReason = "answered"
	closedUnread            closeReason = "answered_unread" // answered, but the client went on sending beyond the bound
	closedIdle              closeReason = "idle"            // not a byte in time
	closedSlow              closeReason = "slow"            // the head came too slowly
	closedGone              closeReason = "gone"            // the client left before its request was complete
	closedWrite             closeReason = "write"           // the answer could not be written
	closedConnections       closeReason = "too_many_connections"
	closedBanned            closeReason = "banned"
	closedConnectionsOfIP   closeReason = "too_many_connections_of_ip"
	closedRateOfIP          closeReason = "too_fast_for_ip"
	closedHandshake         closeReason = "handshake"      // the TLS handshake failed
	closedHandshakeSlow     closeReason = "handshake_slow" // or took too long
	closedTooManyHandshakes closeReason = "too_many_handshakes"
	closedProxyHeader       closeReason = "proxy_header" // a balancer sent no sound PROXY header
	closedShutdown          closeReason = "shutdown"
)

var closeReasons = []closeReason{
	closedAnswered, closedUnread, closedIdle, closedSlow, closedGone, closedWrite, closedConnections,
	closedConnectionsOfIP, closedRateOfIP, closedHandshake, closedHandshakeSlow, closedTooManyHandshakes, closedProxyHeader, closedShutdown,
	closedBanned,
}

// The actions, as labels. What a request asks for may be anything, so all that is
// not an action is one label.
const (
	actionWork     = "readytomine2"
	actionSolution = "solution"
	actionNone     = "none"
)

// metrics are labelled by fixed words only, never by an address or by what a
// client sent.
type metrics struct {
	requests     *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	closed       map[closeReason]prometheus.Counter
	acceptErrors prometheus.Counter
	received     prometheus.Counter
	sent         prometheus.Counter
	connections  *prometheus.GaugeVec
}

// portGauges count the connections of one listener, by what they do.
type portGauges struct{ reading, answering prometheus.Gauge }

// port returns the gauges of the listener with this number; its name is of the
// configuration's making, not an address.
func (m *metrics) port(number int, secure bool) portGauges {
	name := fmt.Sprintf("http-%d", number)
	if secure {
		name = fmt.Sprintf("https-%d", number)
	}
	return portGauges{m.connections.WithLabelValues(name, "reading"), m.connections.WithLabelValues(name, "answering")}
}

func newMetrics(reg prometheus.Registerer, reserved, budget func() float64) *metrics {
	const ns = "purepool_http_"
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: ns + "requests_total", Help: "Requests that got an answer, by action and outcome.",
		}, []string{"action", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: ns + "request_seconds", Help: "Time from a complete head to its answer, by action.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"action"}),
		acceptErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: ns + "accept_errors_total", Help: "Connections that could not be accepted, for want of file descriptors as a rule.",
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: ns + "received_bytes_total", Help: "Bytes of requests, without TLS.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: ns + "sent_bytes_total", Help: "Bytes of answers, without TLS.",
		}),
		closed: make(map[closeReason]prometheus.Counter, len(closeReasons)),
	}
	closed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: ns + "connections_closed_total", Help: "Connections that ended, by reason.",
	}, []string{"reason"})
	for _, r := range closeReasons {
		m.closed[r] = closed.WithLabelValues(string(r))
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: ns + name, Help: help}, f)
	}
	m.connections = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: ns + "connections", Help: "Connections open now, by listener and by state: reading the request, answering it.",
	}, []string{"port", "state"})
	for _, action := range []string{actionWork, actionSolution, actionNone} {
		m.requests.WithLabelValues(action, string(outcomeOK))
		m.seconds.WithLabelValues(action)
	}
	reg.MustRegister(m.connections, m.requests, m.seconds, m.acceptErrors, m.received, m.sent, closed,
		gauge("memory_reserved_bytes", "Memory of large requests under way.", reserved),
		gauge("memory_budget_bytes", "Memory that large requests may have together.", budget))
	return m
}
