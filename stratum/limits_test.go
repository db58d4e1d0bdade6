package stratum_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"purepool/pool/job"
	"purepool/stratum"
)

// closedFor waits until n connections of the template port have ended for the
// reason.
func (p *pond) closedFor(t testing.TB, why stratum.CloseReason, n float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v connections closed for %s", n, why), func() bool {
		return testutil.ToFloat64(p.ClosedCounter("t", why)) >= n
	})
}

// hold makes the door wait.
func (d *door) hold(release <-chan struct{}) {
	d.decide(func(ctx context.Context, _ stratum.Arrival) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func TestWhoDoesNotAuthorizeIsClosed(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.AuthTimeout = time.Second })
	idle := p.dial(t)
	idle.subscribe()
	good := p.dial(t).login(rig)
	idle.closed()
	p.closedFor(t, stratum.ClosedAuthTimeout, 1)
	if r := good.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
}

func TestSilentAndHalfSpokenConnectionsAreClosed(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.IdleTimeout, c.Limits.LineTimeout = 3*time.Second, time.Second })
	silent := p.dial(t).login(rig)
	half := p.dial(t).login(rig)
	if _, err := half.Write([]byte(`{"id":1,"met`)); err != nil {
		t.Fatal(err)
	}
	half.closed()
	p.closedFor(t, stratum.ClosedLineTimeout, 1)
	silent.closed()
	p.closedFor(t, stratum.ClosedIdle, 1)
}

func TestConnectionsAreBoundedInAllAndPerAddress(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.Connections, c.Limits.PerIP = 5, 3 })
	for range 3 {
		p.dial(t).login(rig)
	}
	p.dial(t).closed()
	p.closedFor(t, stratum.ClosedTooManyOfIP, 1)
	p2 := open(t, func(c *stratum.Config) { c.Limits.Connections = 3 })
	var last *client
	for range 3 {
		last = p2.dial(t).login(rig)
	}
	p2.dial(t).closed()
	p2.closedFor(t, stratum.ClosedTooMany, 1)
	_ = last.Close()
	eventually(t, "a place is free again", func() bool {
		c := p2.dial(t)
		c.send(`{"id":1,"method":"mining.ping"}`)
		_, err := c.read()
		return err == nil
	})
}

func TestInvalidSharesBanAnAddressAndStaleOnesDoNot(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.JudgedShares = 50; c.Limits.JunkLines = 1000 })
	c := p.dial(t).login(rig)
	for range 200 {
		if r := c.ask("mining.submit", strings.Replace(c.submitParams(rig, 1), c.jobID(), "ff00", 1)); r.code() != 21 {
			t.Fatal(r.line)
		}
	}
	var text strings.Builder
	for i := range 60 { // one that counts, then only repetitions of it
		fmt.Fprintf(&text, `{"id":%d,"method":"mining.submit","params":%s}`+"\n", i, c.submitParams(rig, 1))
	}
	if _, err := c.Write([]byte(text.String())); err != nil {
		t.Fatal(err)
	}
	if last := c.closed(); !strings.Contains(last, "client.show_message") {
		t.Errorf("%.300q", last)
	}
	p.closedFor(t, stratum.ClosedBanned, 1)
	p.dial(t).closed()
	p.closedFor(t, stratum.ClosedBanned, 2)
}

func TestBanClosesTheAddressesOtherConnections(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.JunkPerIP = 20 })
	other := p.dial(t).login(rig)
	for range 2 {
		c := p.dial(t)
		for range 10 {
			_, _ = c.Write([]byte("junk\n"))
		}
		c.closed()
	}
	other.closed()
}

func TestWhoNeverReadsIsClosedAndNobodyWaitsForHim(t *testing.T) {
	p := open(t, nil)
	deaf := p.dial(t)
	deaf.subscribe()
	deaf.send(`{"id":2,"method":"mining.authorize","params":[%q]}`, rig)
	_ = deaf.Conn.(*net.TCPConn).SetReadBuffer(4096)
	good := p.dial(t).login(rig)
	// Large jobs, until the kernel's buffers and ours are full.
	for range 200 {
		p.jobs.next(true, func(j *job.Job) { j.Coinbase2 = make([]byte, 32<<10) })
		good.await("mining.notify")
		if testutil.ToFloat64(p.ClosedCounter("t", stratum.ClosedSlowReader)) > 0 {
			break
		}
	}
	p.closedFor(t, stratum.ClosedSlowReader, 1)
	if r := good.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
}

func TestProxyHeadersFromTrustedAddressesNameTheMiner(t *testing.T) {
	p := open(t, func(c *stratum.Config) {
		c.Ports[0].Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Limits.PerIP = 1
	})
	for i, header := range []string{
		"PROXY TCP4 198.51.100.7 192.0.2.1 5000 3333\r\n",
		"PROXY TCP6 2001:db8::7 2001:db8::1 5000 3333\r\n",
		v2Header(t, "198.51.100.9:6000"),
	} {
		c := p.dial(t)
		// In pieces, the last of which runs on into the first line.
		for rest := header[:len(header)-2]; rest != ""; rest = rest[min(5, len(rest)):] {
			if _, err := c.Write([]byte(rest[:min(5, len(rest))])); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := c.Write([]byte(header[len(header)-2:] + `{"id":0,"method":"mining.ping"}` + "\n")); err != nil {
			t.Fatal(err)
		}
		if r := c.answer(); string(r.Result) != `"pong"` {
			t.Fatal(r.line)
		}
		c.login(rig)
		if got := p.door.arrivals()[i].RemoteIP.String(); got != []string{"198.51.100.7", "2001:db8::7", "198.51.100.9"}[i] {
			t.Errorf("%q is %s", header, got)
		}
	}
	// The limit counts the miners, not the balancer.
	c := p.dial(t)
	_, _ = c.Write([]byte("PROXY TCP4 198.51.100.7 192.0.2.1 5001 3333\r\n"))
	c.closed()
	p.closedFor(t, stratum.ClosedTooManyOfIP, 1)
	for _, junk := range []string{`{"id":1,"method":"mining.ping"}` + "\n", "PROXY \r\n", "PROXY TCP4 a b c d\r\n", strings.Repeat("PROXY ", 50), "\r\n\r\n\x00\r\nQUIT\n\x31\x11\xff\xff"} {
		c := p.dial(t)
		_, _ = c.Write([]byte(junk))
		c.closed()
	}
	p.closedFor(t, stratum.ClosedProxyHeader, 5)
}

func v2Header(t *testing.T, from string) string {
	t.Helper()
	source, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	h := &proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4, SourceAddr: source,
		DestinationAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 3333},
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProxyHeaderFromAnybodyElseIsJunk(t *testing.T) {
	p := open(t, func(c *stratum.Config) {
		c.Ports[0].Proxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	c := p.dial(t)
	c.send("PROXY TCP4 203.0.113.1 192.0.2.1 5000 3333\r")
	if r := c.answer(); r.code() != 20 {
		t.Error(r.line)
	}
	c.login(rig)
	if got := p.door.arrivals()[0].RemoteIP; !got.IsLoopback() {
		t.Errorf("believed to be %s", got)
	}
}

func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"pool.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, ServerName: "pool.test", MinVersion: tls.VersionTLS12}
}

func TestTLSPortServesTheSameSessions(t *testing.T) {
	server, trust := testTLS(t)
	p := open(t, func(c *stratum.Config) { c.Ports[0].TLS = server })
	dial := func() *client {
		conn, err := tls.Dial("tcp", p.Addr("t").String(), trust)
		if err != nil {
			t.Fatal(err)
		}
		return wrap(t, conn)
	}
	c := dial().login(rig)
	for n := range uint32(13) {
		if r := c.submit(rig, n); string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
	p.jobs.next(true, nil)
	c.await("mining.notify")
	dial().Close()
	p.closedFor(t, stratum.ClosedByPeer, 1)
	plain := p.dial(t)
	plain.send(`{"id":1,"method":"mining.ping"}`)
	plain.closed()
	p.closedFor(t, stratum.ClosedTLS, 1)
	junk := dial()
	for range 10 {
		_, _ = junk.Write([]byte("junk\n"))
	}
	junk.closed()
	p.closedFor(t, stratum.ClosedJunk, 1)
	ended := make(chan error, 1)
	go func() { ended <- p.stop() }()
	if last := c.closed(); !strings.Contains(last, "client.reconnect") {
		t.Errorf("%q", last)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTLSBehindABalancerNamesTheMiner(t *testing.T) {
	server, trust := testTLS(t)
	p := open(t, func(c *stratum.Config) {
		c.Ports[0].TLS, c.Ports[0].Proxies = server, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	raw, err := net.Dial("tcp", p.Addr("t").String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write([]byte("PROXY TCP4 198.51.100.7 192.0.2.1 5000 3333\r\n")); err != nil {
		t.Fatal(err)
	}
	wrap(t, tls.Client(raw, trust)).login(rig)
	if got := p.door.arrivals()[0].RemoteIP.String(); got != "198.51.100.7" {
		t.Error(got)
	}
	naked, err := tls.Dial("tcp", p.Addr("t").String(), trust)
	if err == nil {
		_ = naked.Close()
		t.Error("a connection without a header was served")
	}
	p.closedFor(t, stratum.ClosedProxyHeader, 1)
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*stratum.Config){
		"no ports":       func(c *stratum.Config) { c.Ports = nil },
		"network":        func(c *stratum.Config) { c.Ports[0].Network = "moon" },
		"dialect":        func(c *stratum.Config) { c.Ports[0].Dialect = 0 },
		"no desk":        func(c *stratum.Config) { c.Ports[0].Dialect = stratum.Classic },
		"vardiff":        func(c *stratum.Config) { c.Ports[0].Vardiff.Min = 10; c.Ports[0].Vardiff.Max = 1 },
		"algorithm":      func(c *stratum.Config) { c.Networks[0].Algorithm = "md5" },
		"no jobs":        func(c *stratum.Config) { c.Networks[0].Jobs = nil },
		"extranonce2":    func(c *stratum.Config) { c.Networks[0].Extranonce2Size = 2 },
		"address":        func(c *stratum.Config) { c.Ports[0].Address = "nowhere:port" },
		"one name twice": func(c *stratum.Config) { c.Ports = append(c.Ports, c.Ports[0]) },
	} {
		cfg := stratum.Config{
			Networks: []stratum.Network{{Name: "regtest", Algorithm: "x11", Jobs: new(jobs), Sink: new(sink), Door: new(door)}},
			Ports:    []stratum.Port{{Name: "t", Address: "127.0.0.1:0", Network: "regtest", Dialect: stratum.Template}},
		}
		spoil(&cfg)
		if srv, err := stratum.New(cfg); err == nil {
			srv.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

func TestMetricsHaveBoundedLabelsAndCountEveryEnd(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	p := open(t, func(c *stratum.Config) { c.Registerer = r })
	c := p.dial(t).login(rig)
	c.submit(rig, 1)
	for i := range 20 {
		c.ask(fmt.Sprintf("made.up.%d", i), "[]")
	}
	_ = c.Close()
	p.closedFor(t, stratum.ClosedByPeer, 1)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > 40 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
		for _, m := range f.GetMetric() {
			if f.GetName() == "purepool_stratum_connections" && m.GetGauge().GetValue() != 0 {
				t.Error("a connection is still counted")
			}
		}
	}
}

func TestTenThousandReconnectsLeaveNothingBehind(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Ports[0].Vardiff.Max = 1e-12 })
	stays := p.dial(t).login(rig)
	const machines, each = 8, 1250
	var storm sync.WaitGroup
	for m := range machines {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 8, byte(1+m))}}
		storm.Go(func() {
			for i := range each {
				conn, err := d.DialContext(t.Context(), "tcp", p.Addr("t").String())
				if err != nil {
					t.Error(err)
					return
				}
				switch i % 4 {
				case 0: // and gone
				case 1:
					_, _ = conn.Write([]byte(`{"id":1,"method":"mining.subscribe"}` + "\n"))
				case 2:
					_, _ = conn.Write([]byte(`{"id":1,"meth`))
				case 3:
					_, _ = fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe"}`+"\n"+`{"id":2,"method":"mining.authorize","params":[%q]}`+"\n", rig)
				}
				_ = conn.Close()
			}
		})
	}
	over := make(chan struct{})
	go func() { storm.Wait(); close(over) }()
	shares := uint32(0)
	for calm := false; !calm; {
		select {
		case <-over:
			calm = true
		default:
		}
		shares++
		if r := stays.submit(rig, shares); string(r.Result) != "true" && r.code() != 23 {
			t.Fatalf("an honest share in the storm: %s", r.line)
		}
	}
	eventually(t, "one connection is left, and no memory is taken", func() bool {
		var ended float64
		for _, why := range []stratum.CloseReason{stratum.ClosedByPeer, stratum.ClosedReadError, stratum.ClosedWriteError} {
			ended += testutil.ToFloat64(p.ClosedCounter("t", why))
		}
		return p.Connections("t") == 1 && p.MemoryLeft() == 256<<20 && ended == machines*each
	})
	t.Logf("%d honest shares meanwhile", shares)
}

// A line of a gigabyte is cut off at the port's bound, and never kept beyond it.
func TestLineOfAGigabyteCostsNoMoreThanItsBound(t *testing.T) {
	p := openClassic(t, new(desk), nil)
	stays := p.dial(t).login(rig)
	piece := bytes.Repeat([]byte("x"), 64<<10)
	for port, bound := range map[string]int{"t": 16 << 10, "c": 8<<20 + 64<<10} {
		c := p.dialPort(t, port)
		if _, err := c.Write([]byte(`{"id":1,"method":"`)); err != nil {
			t.Fatal(err)
		}
		sent, lent := 0, int64(0)
		for sent < 1<<30 {
			n, err := c.Write(piece)
			sent += n
			lent = max(lent, 256<<20-p.MemoryLeft())
			if err != nil {
				break
			}
		}
		// What the kernel holds of a connection, on both sides, is no more than this.
		if sent > bound+16<<20 {
			t.Errorf("port %s took %d bytes of one line", port, sent)
		}
		if lent > int64(4*bound) {
			t.Errorf("port %s used %d bytes for a line of %d at most", port, lent, bound)
		}
		eventually(t, "it is closed for that", func() bool {
			return testutil.ToFloat64(p.ClosedCounter(port, stratum.ClosedLineTooLong)) == 1 && p.MemoryLeft() == 256<<20
		})
	}
	if r := stays.submit(rig, 1); string(r.Result) != "true" {
		t.Error(r.line)
	}
}
