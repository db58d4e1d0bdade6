package bbprpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Endpoint is one daemon.
type Endpoint struct {
	// URL is http://host:port or https://host:port, with /wallet/NAME where the
	// daemon has several wallets. A user and password in it are taken as User and
	// Password.
	URL string
	// User and Password, or the password in a file of its own, or the daemon's
	// cookie file, which holds both and is new at each of its starts. Files are
	// read again when the daemon refuses what they held.
	User, Password, PasswordFile, CookieFile string
}

// Config configures a [Client].
type Config struct {
	// Endpoints in order of preference; at least one.
	Endpoints []Endpoint
	// Timeout bounds one HTTP exchange; 30 s where zero. A context may end a call
	// earlier.
	Timeout time.Duration
	// MaxInFlight bounds the HTTP exchanges under way; 8 where zero. A daemon has
	// four threads for calls (-rpcthreads) and a queue of 16 (-rpcworkqueue).
	MaxInFlight int
	// MaxBatch bounds the calls in one HTTP exchange; 100 where zero. A daemon
	// works on one batch with one thread.
	MaxBatch int
	// CheckEvery is how often Run asks a daemon that nobody else asks; 10 s where
	// zero.
	CheckEvery time.Duration
	// Logger gets a line when a daemon goes away or comes back; none where nil.
	Logger *slog.Logger
	// Registerer gets the metrics; none where nil.
	Registerer prometheus.Registerer
}

const (
	// maxRequest bounds the body of a batch, in bytes; a single larger call is
	// sent alone. Daemons take 32 MiB.
	maxRequest = 8 << 20
	// maxResponse bounds the body of an answer, in bytes.
	maxResponse = 32 << 20
)

func (cfg Config) withDefaults() Config {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 8
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 100
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func (cfg Config) check() error {
	switch {
	case len(cfg.Endpoints) == 0:
		return fmt.Errorf("%w: no daemon", ErrConfig)
	case cfg.Timeout < 0 || cfg.MaxInFlight < 0 || cfg.MaxBatch < 0 || cfg.CheckEvery < 0:
		return fmt.Errorf("%w: a negative limit", ErrConfig)
	}
	return nil
}

// address takes an endpoint's URL apart: where to send, the same text to show,
// and the credentials.
func (e Endpoint) address() (shown string, creds *credentials, err error) {
	u, err := url.Parse(e.URL)
	// The parser's own error would repeat the text, password included.
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", nil, fmt.Errorf("%w: a daemon's URL is not of the form http://host:port", ErrConfig)
	}
	creds = &credentials{user: e.User, password: e.Password, passwordFile: e.PasswordFile, cookieFile: e.CookieFile}
	if u.User != nil {
		if e.User != "" || e.Password != "" {
			return "", nil, fmt.Errorf("%w: credentials of %s are given twice", ErrConfig, u.Host)
		}
		creds.user = u.User.Username()
		creds.password, _ = u.User.Password()
		u.User = nil
	}
	switch {
	case creds.cookieFile != "" && (creds.user != "" || creds.password != "" || creds.passwordFile != ""):
		return "", nil, fmt.Errorf("%w: %s has both a cookie file and a user or password", ErrConfig, u.Host)
	case creds.password != "" && creds.passwordFile != "":
		return "", nil, fmt.Errorf("%w: %s has both a password and a password file", ErrConfig, u.Host)
	case creds.user == "" && (creds.password != "" || creds.passwordFile != ""):
		return "", nil, fmt.Errorf("%w: %s has a password but no user", ErrConfig, u.Host)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), creds, nil
}

// credentials are what to send as basic authentication. They are read from
// their files at each call of read; the endpoint keeps them.
type credentials struct {
	user, password, passwordFile, cookieFile string
}

// fromFile reports whether reading again may give something new.
func (c *credentials) fromFile() bool { return c.cookieFile != "" || c.passwordFile != "" }

func (c *credentials) read() (user, password string, err error) {
	switch {
	case c.cookieFile != "":
		cookie, err := readSecret(c.cookieFile)
		if err != nil {
			return "", "", err
		}
		user, password, ok := strings.Cut(cookie, ":")
		if !ok {
			return "", "", errors.New("the cookie file holds no user and password")
		}
		return user, password, nil
	case c.passwordFile != "":
		password, err := readSecret(c.passwordFile)
		return c.user, password, err
	}
	return c.user, c.password, nil
}

// readSecret reads a short file and takes the line end from it.
func readSecret(name string) (string, error) {
	const most = 4096
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > most:
		return "", fmt.Errorf("%s is too large for a secret", name)
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}
