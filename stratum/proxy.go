package stratum

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"
)

// PROXY protocol headers (haproxy.org, proxy-protocol.txt), version 1 and 2. Where
// a header ends is found here, since bytes come in any pieces; what it says is
// read by the library from exactly those bytes.

var errProxyHeader = errors.New("no sound PROXY header")

const (
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1 = 107 // bytes, by the specification
	maxProxyV2 = 16 + 2048
	proxyV2Fix = 16 // signature, command, family, length
)

// proxyHeaderEnd returns the length of the header that b begins with; 0 where b
// may be the beginning of one. Error: errProxyHeader.
func proxyHeaderEnd(b []byte) (int, error) {
	head := b[:min(len(b), len(proxyV2))]
	if strings.HasPrefix(proxyV2, string(head)) {
		if len(b) < proxyV2Fix {
			return 0, nil
		}
		n := proxyV2Fix + int(binary.BigEndian.Uint16(b[14:]))
		switch {
		case n > maxProxyV2:
			return 0, errProxyHeader
		case len(b) < n:
			return 0, nil
		}
		return n, nil
	}
	v1 := []byte("PROXY ")
	if !bytes.HasPrefix(v1, b[:min(len(b), len(v1))]) {
		return 0, errProxyHeader
	}
	if end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n")); end >= 0 {
		return end + 2, nil
	}
	if len(b) >= maxProxyV1 {
		return 0, errProxyHeader
	}
	return 0, nil
}

// proxySource reads a whole header. The address is invalid where the balancer
// speaks for itself: a health check. Error: errProxyHeader.
func proxySource(header []byte) (netip.Addr, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)+1))
	if err != nil || h == nil {
		return netip.Addr{}, errProxyHeader
	}
	if h.Command.IsLocal() {
		return netip.Addr{}, nil
	}
	from, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, nil // UNKNOWN, or a family that is no network
	}
	ip, ok := netip.AddrFromSlice(from.IP)
	if !ok {
		return netip.Addr{}, errProxyHeader
	}
	return ip.Unmap(), nil
}

// proxyHeader reads the header before the first line and returns what is left.
func (s *session) proxyHeader(data []byte) (rest []byte) {
	had := len(s.partial)
	if !s.keep(data[:min(len(data), maxProxyV2-min(had, maxProxyV2)+1)], 2*maxProxyV2) {
		return nil
	}
	n, err := proxyHeaderEnd(s.partial)
	if err == nil && n == 0 {
		return nil
	}
	var ip netip.Addr
	if err == nil {
		ip, err = proxySource(s.partial[:n])
	}
	if err != nil {
		s.fail(ClosedProxyHeader)
		return nil
	}
	s.drop()
	s.unset(proxied)
	if ip.IsValid() {
		s.addr = ip
	}
	if why := s.admitted(); why != notClosed {
		s.close(why)
		return nil
	}
	return data[n-had:]
}

// admitted asks the guard once the miner's address is known.
func (s *session) admitted() CloseReason {
	srv := s.port.srv
	if srv.cfg.Bans.IP(s.addr) {
		return ClosedBanned
	}
	from, why := srv.guard.admit(s.addr, srv.now())
	if why == notClosed {
		s.from = from
		s.set(admitted)
	}
	return why
}
