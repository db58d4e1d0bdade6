package httpcompat_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"purepool/httpcompat"
)

// certificate is one that signs itself, in PEM.
type certificate struct{ cert, key []byte }

func newCertificate(t testing.TB, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}
}

func (c certificate) files(t testing.TB) httpcompat.TLS {
	t.Helper()
	dir := t.TempDir()
	files := httpcompat.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	c.write(t, files)
	return files
}

func (c certificate) write(t testing.TB, files httpcompat.TLS) {
	t.Helper()
	for name, content := range map[string][]byte{files.CertFile: c.cert, files.KeyFile: c.key} {
		// As renewal tools do it: never half a file.
		if err := os.WriteFile(name+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
}

func startTLS(t testing.TB, source httpcompat.TLS, limits httpcompat.Limits) *server {
	return start(t, httpcompat.Config{Listen: []httpcompat.Listen{{Address: "127.0.0.1:0", TLS: true}}, TLS: source, Limits: limits}, instantDesk())
}

// askTLS sends a request for work and returns the answer and the common name of
// the server's certificate.
func (s *server) askTLS(t testing.TB, config *tls.Config) (answer, name string, err error) {
	t.Helper()
	c := tls.Client(s.dial(t), config)
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return "", "", err
	}
	leaf := c.ConnectionState().PeerCertificates[0]
	io.WriteString(c, workRequest)
	b, err := io.ReadAll(c)
	return string(b), leaf.Subject.CommonName, err
}

func TestTLSAnswersAndCloses(t *testing.T) {
	s := startTLS(t, newCertificate(t, "one").files(t), httpcompat.Limits{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		answer, _, err := s.askTLS(t, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err != nil || !strings.HasSuffix(answer, grantBody) {
			t.Errorf("%x: %q, %v", version, answer, err)
		}
	}
	if _, _, err := s.askTLS(t, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	eventually(t, "two answered, one not", func() bool { return s.closed(t, "answered") == 2 && s.closed(t, "handshake") == 1 })
}

func TestPlainRequestOnTheTLSPortHarmsNobody(t *testing.T) {
	s := startTLS(t, newCertificate(t, "one").files(t), httpcompat.Limits{})
	c := s.dial(t)
	io.WriteString(c, workRequest)
	io.ReadAll(c)
	eventually(t, "closed", func() bool { return s.closed(t, "handshake") == 1 })
}

func TestHandshakesAreBoundedInTimeAndNumber(t *testing.T) {
	s := startTLS(t, newCertificate(t, "one").files(t), httpcompat.Limits{HandshakeTimeout: time.Second, MaxHandshakes: 2})
	s.dial(t)
	s.dial(t)
	eventually(t, "two are open", func() bool { return s.metric(t, "purepool_http_connections") == 2 })
	s.dial(t)
	eventually(t, "the third is closed", func() bool { return s.closed(t, "too_many_handshakes") == 1 })
	eventually(t, "then the others", func() bool { return s.closed(t, "handshake_slow") == 2 })
	if answer, _, err := s.askTLS(t, &tls.Config{InsecureSkipVerify: true}); err != nil || !strings.HasSuffix(answer, grantBody) {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestCertificateIsReloadedWithoutARestart(t *testing.T) {
	one, two := newCertificate(t, "one"), newCertificate(t, "two")
	files := one.files(t)
	s := startTLS(t, files, httpcompat.Limits{RatePerIP: 1e6})
	until := func() float64 { return s.metric(t, "purepool_certificate_not_after_timestamp_seconds", "host", "file") }
	if until() < float64(time.Now().Unix()) {
		t.Error("nobody knows until when the certificate is good")
	}
	served := func() string {
		_, name, err := s.askTLS(t, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if name := served(); name != "one" {
		t.Errorf("certificate of %s", name)
	}
	// A key that does not fit is an error, and the old certificate stays.
	if err := os.WriteFile(files.KeyFile, two.key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadCertificates(); err == nil {
		t.Error("no error for a key that does not fit")
	}
	if name := served(); name != "one" {
		t.Errorf("certificate of %s", name)
	}
	two.write(t, files)
	eventually(t, "new certificate is noticed", func() bool { return served() == "two" })
}

func TestClientThatLeavesDuringTheHandshakeIsForgotten(t *testing.T) {
	s := startTLS(t, newCertificate(t, "one").files(t), httpcompat.Limits{})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte{22, 3, 1})
	c.Close()
	eventually(t, "closed", func() bool { return s.closed(t, "handshake") == 1 })
}
