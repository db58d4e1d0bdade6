package httpcompat_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"purepool/httpcompat"
)

// startNameServer answers every question for an address with 127.0.0.1.
func startNameServer(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{
		Listener: l, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			answer := new(dns.Msg)
			answer.SetReply(q)
			if q.Question[0].Qtype == dns.TypeA {
				answer.Answer = append(answer.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
					A:   net.IPv4(127, 0, 0, 1),
				})
			}
			w.WriteMsg(answer)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { server.Shutdown(); <-done })
	return l.Addr().String()
}

// TestCertificateComesFromAnACMEServer gets certificates from Pebble, the test
// server of Let's Encrypt, which connects back to check the names.
func TestCertificateComesFromAnACMEServer(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	ready := make(chan http.Handler, 1)
	var handler http.Handler
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := <-ready; ok { // the first request; the others wait for it
			handler = h
			close(ready)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(authority.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}
	if err := os.WriteFile(roots, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	source := httpcompat.TLS{ACME: httpcompat.ACME{
		Hosts: []string{"pool.example.org", "www.example.org"}, CacheDir: t.TempDir(),
		DirectoryURL: authority.URL + wfe.DirectoryPath, RootsFile: roots,
	}}
	s := startTLS(t, source, httpcompat.Limits{RatePerIP: 1e6})

	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	port := s.Addrs()[0].(*net.TCPAddr).Port
	validator := va.New(quiet, 0, port, true, startNameServer(t), store)
	front := wfe.New(quiet, store, validator, issuer, []string{"pebble.letsencrypt.org"}, true, false, 0, 0)
	ready <- front.Handler()

	hosts := func(config *tls.Config) []string {
		t.Helper()
		config.InsecureSkipVerify = true // by the test's own root below
		c := tls.Client(s.dial(t), config)
		defer c.Close()
		if err := c.Handshake(); err != nil {
			t.Log(err)
			return nil
		}
		chain := c.ConnectionState().PeerCertificates
		if len(chain) < 2 || chain[0].CheckSignatureFrom(chain[1]) != nil || chain[1].CheckSignatureFrom(issuer.GetRootCert(0).Cert) != nil {
			t.Errorf("certificate is not the authority's: %v", chain[0].Issuer)
		}
		return chain[0].DNSNames
	}
	// The classic client names no host.
	if got := hosts(&tls.Config{MaxVersion: tls.VersionTLS12}); !slices.Equal(got, []string{"pool.example.org"}) {
		t.Errorf("without a name: certificate for %v", got)
	}
	if got := hosts(&tls.Config{ServerName: "www.example.org"}); !slices.Equal(got, []string{"www.example.org"}) {
		t.Errorf("certificate for %v", got)
	}
	if got := hosts(&tls.Config{ServerName: "stranger.example.org"}); got != nil {
		t.Errorf("certificate for a name that is not ours: %v", got)
	}
	for _, host := range source.ACME.Hosts {
		if until := s.metric(t, "purepool_certificate_not_after_timestamp_seconds", "host", host); until < float64(time.Now().Unix()) {
			t.Errorf("certificate of %s is good until %v", host, until)
		}
	}
	answer, _, err := s.askTLS(t, &tls.Config{InsecureSkipVerify: true, ServerName: "pool.example.org"})
	if err != nil || !strings.HasSuffix(answer, grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
	s.stop()

	// The next start needs no authority.
	source.ACME.DirectoryURL = "http://127.0.0.1:1/dir"
	s = startTLS(t, source, httpcompat.Limits{})
	if got := hosts(&tls.Config{}); !slices.Equal(got, []string{"pool.example.org"}) {
		t.Errorf("after a restart: certificate for %v", got)
	}
	if log := s.log.String(); strings.Contains(log, "cannot be obtained") {
		t.Error(log)
	}
}
