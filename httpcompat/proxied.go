package httpcompat

import (
	"bufio"
	"crypto/tls"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxiedConn is a connection behind a balancer, after its PROXY header.
type proxiedConn struct {
	*net.TCPConn
	in *bufio.Reader // what came with the header is still in it
}

func (c proxiedConn) Read(b []byte) (int, error) { return c.in.Read(b) }

// readProxyHeader reads the header (haproxy.org, proxy-protocol.txt, version 1
// or 2) with which a balancer says for whom it speaks. From then on the connection is
// that client's: the limits are those of its address, and it is trusted in nothing.
// A balancer that speaks for itself (a health check) stays who it is.
func (c *conn) readProxyHeader(secure *tls.Config) closeReason {
	s := c.server
	raw, ok := c.raw.(*net.TCPConn)
	if !ok || raw.SetReadDeadline(time.Now().Add(s.limits.IdleTimeout)) != nil {
		return closedProxyHeader
	}
	in := bufio.NewReader(raw)
	h, err := proxyproto.Read(in)
	if err != nil {
		if _, err := in.Peek(1); err != nil {
			return closedGone // balancers look whether the port is open
		}
		return closedProxyHeader
	}
	c.nc = proxiedConn{raw, in}
	if secure != nil {
		c.nc = tls.Server(c.nc, secure)
	}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if h.Command.IsLocal() || !ok {
		return ""
	}
	c.peer = source.AddrPort().Addr().Unmap().WithZone("")
	c.trusted = false
	v, reason := s.guard.enter(c.peer)
	c.visitor = v
	return reason
}
