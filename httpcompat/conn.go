package httpcompat

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sizeInline says that a head lies in the connection's own array.
const sizeInline = -1

// unreadUnknown says that nobody knows how much a client still sends.
const unreadUnknown = -1

// conn is one connection: one request, one answer. It is used again for another
// connection when it has ended, so nothing may hold on to it or its buffers.
type conn struct {
	server  *Server
	nc      net.Conn // what is read and written, perhaps through TLS
	raw     net.Conn // the same without TLS
	peer    netip.Addr
	trusted bool // the peer is a trusted proxy
	proxied bool // which sends a PROXY header first
	secure  *tls.Config
	visitor *visitor // nil where trusted

	asked     atomic.Bool // something has been read
	gauges    portGauges
	answering bool        // what it is counted as
	aborted   atomic.Bool // the server stopped it

	head     head
	buf      []byte         // what has been read of the head
	size     int            // of buf: an index of memory.sizes, or sizeInline
	own      *[ownSize]byte // where buf lies, if not nil
	reserved int64          // bytes of the budget that it has
	received int64
	unread   int64 // what the client still sends after the head, or unreadUnknown

	inline [inlineSize]byte
	out    [1024]byte
}

// begin readies c for a new connection.
func (c *conn) begin(nc net.Conn, peer netip.Addr, trusted bool, v *visitor, secure *tls.Config) {
	c.nc, c.raw, c.peer, c.trusted, c.visitor, c.secure = nc, nc, peer, trusted, v, secure
	if secure != nil {
		c.nc = tls.Server(nc, secure)
	}
	c.asked.Store(false)
	c.answering = false
	c.aborted.Store(false)
	c.head.reset(c.server.limits.MaxHeaderLines, c.server.limits.MaxValue)
	c.buf, c.size, c.received, c.unread = c.inline[:0], sizeInline, 0, unreadUnknown
}

// abort closes the connection under its goroutine. The caller must hold the
// server's mu, which keeps c from being used again meanwhile.
func (c *conn) abort() {
	c.aborted.Store(true)
	c.raw.Close()
}

// counted is the gauge that counts the connection now.
func (c *conn) counted() prometheus.Gauge {
	if c.answering {
		return c.gauges.answering
	}
	return c.gauges.reading
}

// serve is the life of a connection.
func (c *conn) serve(ctx context.Context) {
	s := c.server
	reason := c.run(ctx)
	c.nc.Close()
	c.releaseMemory()
	if c.aborted.Load() && reason != closedAnswered {
		reason = closedShutdown
	}
	s.metrics.closed[reason].Inc()
	s.metrics.received.Add(float64(c.received))
	s.forget(c)
}

func (c *conn) run(ctx context.Context) closeReason {
	s := c.server
	if c.proxied {
		if reason := c.readProxyHeader(c.secure); reason != "" {
			return reason
		}
	}
	if t, ok := c.nc.(*tls.Conn); ok {
		if reason := c.handshake(ctx, t); reason != "" {
			return reason
		}
	}
	refused, reason := c.readHead()
	if reason != "" {
		return reason
	}
	received := time.Now()
	c.counted().Dec()
	c.answering = true
	c.counted().Inc()
	res := c.answer(ctx, refused, received)
	c.releaseMemory() // the client may take its time from here on
	n := 0
	err := c.nc.SetWriteDeadline(time.Now().Add(s.limits.WriteTimeout))
	if err == nil {
		n, err = c.nc.Write(res.answer)
	}
	s.metrics.sent.Add(float64(n))
	s.metrics.requests.WithLabelValues(res.action, string(res.outcome)).Inc()
	took := time.Since(received)
	s.metrics.seconds.WithLabelValues(res.action).Observe(took.Seconds())
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.LogAttrs(ctx, slog.LevelDebug, "Request answered",
			slog.String("request", res.request.String()), slog.String("action", res.action), slog.String("outcome", string(res.outcome)),
			slog.String("peer", c.peer.String()), slog.Int64("bytes", c.received), slog.Duration("took", took))
	}
	if err != nil {
		return closedWrite
	}
	return c.linger()
}

func (c *conn) handshake(ctx context.Context, t *tls.Conn) closeReason {
	s := c.server
	defer s.handshakes.Add(-1)
	if s.handshakes.Add(1) > int64(s.limits.MaxHandshakes) {
		return closedTooManyHandshakes
	}
	err := t.SetDeadline(time.Now().Add(s.limits.HandshakeTimeout))
	if err == nil {
		err = t.HandshakeContext(ctx)
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return closedHandshakeSlow
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "Handshake failed", slog.String("peer", c.peer.String()), slog.Any("error", err))
	return closedHandshake
}

// readHead reads until the head is complete, or refused, or the connection ends.
func (c *conn) readHead() (*headError, closeReason) {
	l := &c.server.limits
	now := time.Now()
	deadline, latest := now.Add(l.IdleTimeout), time.Time{}
	for {
		if len(c.buf) == cap(c.buf) {
			if refused := c.grow(); refused != nil {
				return refused, ""
			}
		}
		n, err := 0, c.nc.SetReadDeadline(deadline)
		if err == nil {
			n, err = c.nc.Read(c.buf[len(c.buf):cap(c.buf)])
		}
		if n > 0 {
			c.asked.Store(true)
			c.buf = c.buf[:len(c.buf)+n]
			c.received = int64(len(c.buf))
			if refused := c.head.read(c.buf); refused != nil || c.head.done {
				return refused, ""
			}
			if latest.IsZero() {
				now = time.Now()
				latest = now.Add(l.MaxHeadTime)
			}
			deadline = now.Add(l.HeadTimeout + time.Duration(len(c.buf))*time.Second/time.Duration(l.MinRate))
			if deadline.After(latest) {
				deadline = latest
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, closedGone
		case len(c.buf) == 0:
			return nil, closedIdle
		default:
			return nil, closedSlow
		}
	}
}

// errTooLong refuses a head, or a value in it, that is beyond the limits.
var errTooLong = &headError{outcomeTooLarge, "Request is too long"}

// errBusy refuses a large request while other large requests have all the memory.
var errBusy = &headError{outcomeBusy, "The pool is busy with other large requests, please try again"}

// grow moves the head to a larger buffer.
func (c *conn) grow() *headError {
	m := c.server.memory
	next := c.size + 1
	if next == len(m.sizes) {
		return errTooLong
	}
	var larger []byte
	if next == 0 {
		c.own = m.own.Get().(*[ownSize]byte)
		larger = c.own[:]
	} else {
		price := int64(m.sizes[next])
		if !m.reserve(price, c.visitor) {
			return errBusy
		}
		larger = make([]byte, price)
		if c.reserved > 0 {
			m.release(c.reserved, c.visitor)
		}
		c.reserved = price
	}
	c.buf = larger[:copy(larger, c.buf)]
	if next > 0 {
		c.releaseOwn()
	}
	c.size = next
	return nil
}

func (c *conn) releaseOwn() {
	if c.own != nil {
		c.server.memory.own.Put(c.own)
		c.own = nil
	}
}

func (c *conn) releaseMemory() {
	c.buf = nil
	c.releaseOwn()
	if c.reserved > 0 {
		c.server.memory.release(c.reserved, c.visitor)
		c.reserved = 0
	}
}

// take copies the request out of the head and lets the head go, because the front
// desk may need long. A large one stays reserved, now for the values.
func (c *conn) take() request {
	if c.reserved > 0 {
		m := c.server.memory
		m.copying.Lock()
		defer m.copying.Unlock()
	}
	r := takeRequest(&c.head, c.buf)
	c.buf = nil
	c.releaseOwn()
	return r
}

// answer finds the answer to what was read.
func (c *conn) answer(ctx context.Context, refused *headError, received time.Time) result {
	s := c.server
	switch {
	case refused != nil:
		start := answerHead
		if !c.head.pathKnown {
			start = answerBadRequest
		}
		return result{appendError(c.out[:0], start, refused.text), actionNone, refused.outcome, 0}
	case !c.head.pathKnown:
		c.countUnread()
		return result{append(c.out[:0], answerNotFound...), actionNone, outcomeNotFound, 0}
	}
	c.countUnread()
	r := c.take()
	r.receivedAt = received
	client := c.peer
	if c.trusted {
		client = s.proxies.client(c.peer, r.forwarded, r.realIP)
		if !s.proxies.trust(client) {
			v, reason := s.guard.enter(client)
			if reason != "" {
				return result{appendError(c.out[:0], answerHead, "Too many requests from your address, please slow down"), actionNone, outcomeTooMany, 0}
			}
			defer s.guard.leave(v)
		}
	}
	if s.bans.IP(client) { // banned since it connected, or behind a proxy
		return result{appendError(c.out[:0], answerHead, "Your address is banned from this pool, please ask its operator"), actionNone, outcomeTooMany, 0}
	}
	return s.act(ctx, c.out[:0], &r, client)
}

// countUnread finds out what the client sends beyond what was read.
func (c *conn) countUnread() {
	length, known := c.head.bodyLength(c.buf)
	rest := length - int64(len(c.buf)-c.head.next)
	if known && rest >= 0 {
		c.unread = rest
	}
}

// linger ends a connection so that the client can read the answer: a socket that
// is closed with something unread resets the connection, and the reset may
// overtake the answer. So what still comes is read and thrown away, within bounds,
// after the client has been told that nothing more comes from here.
func (c *conn) linger() closeReason {
	if c.unread == 0 {
		return closedAnswered
	}
	s := c.server
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() != nil {
		return closedAnswered // the client has closed already
	}
	if c.nc.SetReadDeadline(time.Now().Add(s.limits.LingerTimeout)) != nil {
		return closedAnswered
	}
	waste := s.memory.own.Get().(*[ownSize]byte)
	defer s.memory.own.Put(waste)
	for left := s.limits.LingerBytes; left > 0; {
		n, err := c.nc.Read(waste[:])
		left -= int64(n)
		c.received += int64(n)
		if errors.Is(err, io.EOF) {
			return closedAnswered
		}
		if err != nil {
			return closedUnread
		}
		if c.unread != unreadUnknown {
			if c.unread -= int64(n); c.unread == 0 {
				return closedAnswered
			} else if c.unread < 0 {
				c.unread = unreadUnknown
			}
		}
	}
	return closedUnread
}
