package stratum

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/time/rate"

	"purepool/pool/vardiff"
)

// port is a listening socket at work. Its fields do not change.
type port struct {
	Port
	srv      *Server
	listener net.Listener
	book     *book // template ports
	control  *vardiff.Control
	pending  int
	metrics  *portMetrics
}

// extranonce2Size is what a miner is told that subscribes now.
func (p *port) extranonce2Size() uint8 {
	if p.book == nil {
		return 4
	}
	return p.book.extranonce2Size()
}

// Waits after a failure to accept: too many open files, as a rule. The listening
// socket stays, and so do all miners; gnet's own listener would end the engine.
const (
	acceptWaitMin = 5 * time.Millisecond
	acceptWaitMax = time.Second
)

// accept takes connections until the listener is closed.
func (p *port) accept(ctx context.Context) {
	wait := acceptWaitMin
	var lastLog time.Time
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			wait = acceptWaitMin
			p.metrics.accepted.Inc()
			if p.srv.acceptRate.Wait(ctx) != nil {
				_ = conn.Close()
				return
			}
			p.serve(ctx, conn)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		p.metrics.acceptErrors.Inc()
		if time.Since(lastLog) > 10*time.Second {
			lastLog = time.Now()
			p.srv.log.Error("no connection can be accepted", slog.String("port", p.Name), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, acceptWaitMax)
	}
}

// serve makes a session of a connection, or closes it.
func (p *port) serve(ctx context.Context, conn net.Conn) {
	srv := p.srv
	var addr netip.Addr
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap()
	}
	if why := srv.guard.enter(); why != notClosed {
		p.turnAway(conn, why)
		return
	}
	if p.book != nil && !p.book.shelf.Load().ready {
		srv.guard.leave()
		p.turnAway(conn, ClosedNoJob)
		return
	}
	s := &session{port: p, addr: addr}
	behind := contains(p.Proxies, addr)
	if behind && p.TLS == nil {
		s.set(proxied) // the guard asks once the miner's own address is known
	} else if !behind {
		if why := s.admitted(); why != notClosed {
			srv.guard.leave()
			p.turnAway(conn, why)
			return
		}
	}
	p.metrics.fresh.Inc()
	if p.TLS != nil {
		srv.serveTLS(ctx, s, conn, behind)
		return
	}
	// From here on the connection is gnet's: a copy of its file, on an event loop.
	// This waits for the loop, which is as fast as the miners there are served.
	if _, err := srv.client.EnrollContext(conn, s); err != nil || s.loop == nil {
		srv.log.Warn("connection could not be served", slog.String("port", p.Name), slog.Any("error", err))
		p.metrics.acceptErrors.Inc()
		srv.abandon(s, ClosedFiles)
	}
}

// turnAway closes a connection that was never counted.
func (p *port) turnAway(conn net.Conn, why CloseReason) {
	p.metrics.closed[why].Inc()
	_ = conn.Close()
}

// abandon gives up a session that never came onto a loop.
func (srv *Server) abandon(s *session, why CloseReason) {
	if s.has(admitted) {
		srv.guard.depart(s.from)
	}
	s.port.metrics.fresh.Dec()
	srv.left(s.port, why, s.addr)
}

// left counts a connection out.
func (srv *Server) left(p *port, why CloseReason, addr netip.Addr) {
	srv.guard.leave()
	p.metrics.closed[why].Inc()
	srv.log.Debug("connection closed", slog.String("port", p.Name), slog.String("reason", why.String()), slog.String("address", addr.String()))
}

// newAcceptRate makes the server's one limit of new connections; those beyond it
// wait in the listening socket. It lets few come at once: a storm would keep a
// processor from the miners that are there for as long as it takes to serve them.
func newAcceptRate(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond/500), 1))
}

const (
	handshakeTimeout = 10 * time.Second
	keepAlive        = 2 * time.Minute // between the kernel's questions whether the other side is there
)

// serveTLS runs a TLS connection on goroutines of its own: gnet has no TLS.
func (srv *Server) serveTLS(ctx context.Context, s *session, raw net.Conn, behind bool) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive / 5, Count: 5})
	}
	srv.conns.Go(func() {
		stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Now()) }) // handshakes only
		err := func() error {
			_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
			if behind {
				proxy := proxyproto.NewConn(raw, proxyproto.WithPolicy(proxyproto.REQUIRE))
				source, ok := proxy.RemoteAddr().(*net.TCPAddr)
				if h := proxy.ProxyHeader(); h == nil {
					return errProxyHeader
				} else if !h.Command.IsLocal() && ok {
					s.addr = source.AddrPort().Addr().Unmap()
				}
				raw = proxy
				if why := s.admitted(); why != notClosed {
					s.reason = why
					return errRefused
				}
			}
			conn := tls.Server(raw, s.port.TLS)
			if err := conn.HandshakeContext(ctx); err != nil {
				return err
			}
			_ = raw.SetDeadline(time.Time{})
			raw = conn
			return nil
		}()
		stop()
		if err != nil || ctx.Err() != nil {
			why := ClosedTLS
			switch {
			case s.reason != notClosed:
				why = s.reason
			case errors.Is(err, errProxyHeader):
				why = ClosedProxyHeader
			case ctx.Err() != nil:
				why = ClosedDraining
			}
			_ = raw.Close()
			srv.abandon(s, why)
			return
		}
		srv.tls.serve(s, raw)
	})
}

var errRefused = errors.New("connection refused")
