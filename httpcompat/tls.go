package httpcompat

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLS says where certificates come from: from files, or from an ACME authority
// such as Let's Encrypt.
type TLS struct {
	// CertFile and KeyFile are PEM files. They are read again when they change.
	CertFile, KeyFile string
	ACME              ACME
}

// ACME obtains and renews certificates. The authority checks the names by
// connecting to port 443 of this server (TLS-ALPN-01), so nothing else is needed.
type ACME struct {
	// Hosts are the names of this server; none means no ACME. A client that names
	// no host, as the classic miner does not, gets the certificate of the first.
	Hosts []string
	// CacheDir keeps account and certificates; it is created for the owner alone.
	CacheDir string
	// Email is for the authority's warnings; may be empty.
	Email string
	// DirectoryURL is the authority; empty means Let's Encrypt.
	DirectoryURL string
	// RootsFile is a PEM file of the roots by which a private authority is known;
	// empty means the system's.
	RootsFile string
}

func (t TLS) enabled() bool { return t.CertFile != "" || t.KeyFile != "" || len(t.ACME.Hosts) > 0 }

func (t TLS) check() error {
	files := t.CertFile != "" || t.KeyFile != ""
	switch {
	case files && len(t.ACME.Hosts) > 0:
		return errors.New("TLS has both certificate files and ACME hosts: choose one")
	case files && (t.CertFile == "" || t.KeyFile == ""):
		return errors.New("TLS needs both a certificate file and a key file")
	case len(t.ACME.Hosts) > 0 && t.ACME.CacheDir == "":
		return errors.New("ACME needs a cache folder: without it each start asks for new certificates, which authorities limit")
	}
	return nil
}

// certificates is a source of certificates.
type certificates interface {
	config() *tls.Config
	// run keeps them fresh until ctx ends.
	run(ctx context.Context)
	reload() error
	// notAfter is until when they are good, by host.
	notAfter() map[string]time.Time
}

// newCertificates waits at most patience for a certificate within a handshake.
func newCertificates(t TLS, patience time.Duration, log *slog.Logger) (certificates, error) {
	if len(t.ACME.Hosts) > 0 {
		return newACMECertificates(t.ACME, patience, log)
	}
	f := &fileCertificates{certFile: t.CertFile, keyFile: t.KeyFile, log: log, interval: time.Second}
	return f, f.reload()
}

// baseTLS is what both sources have in common. The classic clients of 2018 were
// linked against OpenSSL 1.0.1 or later, which speaks TLS 1.2.
func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

// fileCertificates serves a certificate from files and notices when they change.
type fileCertificates struct {
	certFile, keyFile string
	log               *slog.Logger
	interval          time.Duration

	current atomic.Pointer[tls.Certificate]

	mu    sync.Mutex
	stamp [2]fileStamp // of the files last read, good or bad; protected by mu
}

type fileStamp struct {
	modified time.Time
	size     int64
}

func (f *fileCertificates) config() *tls.Config {
	c := baseTLS()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil }
	return c
}

func (f *fileCertificates) stamps() (s [2]fileStamp) {
	for i, name := range []string{f.certFile, f.keyFile} {
		if info, err := os.Stat(name); err == nil {
			s[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

func (f *fileCertificates) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Stamps first: a change while the files are read is seen the next time.
	f.stamp = f.stamps()
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	f.current.Store(&cert)
	return nil
}

func (f *fileCertificates) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stamp != f.stamps()
}

func (f *fileCertificates) run(ctx context.Context) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !f.changed() {
			continue
		}
		// While the two files are being replaced they do not fit; the old
		// certificate serves on, and the second file's change is seen later.
		if err := f.reload(); err != nil {
			f.log.LogAttrs(ctx, slog.LevelWarn, "Changed certificate cannot be used, the old one stays", slog.Any("error", err))
			continue
		}
		f.log.LogAttrs(ctx, slog.LevelInfo, "Certificate reloaded", slog.Time("not_after", f.current.Load().Leaf.NotAfter))
	}
}

// acmeCertificates gets its certificates from an authority, at the start or when
// they are first asked for.
type acmeCertificates struct {
	manager *autocert.Manager
	hosts   []string
	log     *slog.Logger
	// A certificate that is known comes at once; one that must be obtained can
	// take minutes. Handshakes do not wait that long, and only so many lookups
	// go on behind their backs.
	patience time.Duration
	lookups  chan struct{}
	until    sync.Map // host to time.Time: until when its certificate is good
}

const maxLookups = 64

var errNoCertificate = errors.New("certificate is not there yet")

func newACMECertificates(a ACME, patience time.Duration, log *slog.Logger) (*acmeCertificates, error) {
	client := &acme.Client{DirectoryURL: cmp.Or(a.DirectoryURL, autocert.DefaultACMEDirectory)}
	if a.RootsFile != "" {
		pem, err := os.ReadFile(a.RootsFile)
		if err != nil {
			return nil, fmt.Errorf("roots of the ACME authority: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("roots of the ACME authority: no certificate in %s", a.RootsFile)
		}
		client.HTTPClient = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		}}
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(a.CacheDir),
		HostPolicy: autocert.HostWhitelist(a.Hosts...),
		Email:      a.Email,
		Client:     client,
	}
	return &acmeCertificates{manager: m, hosts: a.Hosts, log: log, patience: patience, lookups: make(chan struct{}, maxLookups)}, nil
}

func (a *acmeCertificates) config() *tls.Config {
	c := baseTLS()
	c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return a.get(hello.Context(), hello)
	}
	return c
}

func (a *acmeCertificates) get(ctx context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
		return a.manager.GetCertificate(hello) // the authority's check; never waits
	}
	if hello.ServerName == "" {
		named := *hello
		named.ServerName = a.hosts[0]
		hello = &named
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.patience, errNoCertificate)
	defer cancel()
	select {
	case a.lookups <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type found struct {
		cert *tls.Certificate
		err  error
	}
	result := make(chan found, 1)
	go func() {
		defer func() { <-a.lookups }()
		cert, err := a.manager.GetCertificate(hello)
		if err == nil && cert.Leaf != nil {
			a.until.Store(hello.ServerName, cert.Leaf.NotAfter)
		}
		result <- found{cert, err}
	}()
	select {
	case f := <-result:
		return f.cert, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run obtains the certificates, so that no miner has to wait for them. autocert
// renews them by itself, on timers.
func (a *acmeCertificates) run(ctx context.Context) {
	for _, host := range a.hosts {
		_, err := a.get(ctx, &tls.ClientHelloInfo{
			ServerName:       host,
			CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			SupportedCurves:  []tls.CurveID{tls.CurveP256},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errNoCertificate) {
			a.log.LogAttrs(ctx, slog.LevelError, "Certificate cannot be obtained, the next handshake tries again",
				slog.String("host", host), slog.Any("error", err))
		}
	}
}

func (a *acmeCertificates) reload() error { return nil }
