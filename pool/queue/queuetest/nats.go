package queuetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// NATS is a nats-server process.
type NATS struct {
	Dir  string // its folder, with purepool.conf, for newer servers, and what that includes
	port int
	conf string
	p    *process
}

// NATSOption changes how a NATS server is started.
type NATSOption struct {
	// Certificate makes the server want TLS.
	Certificate Certificate
	// MaxFileStore is JetStream's bound, such as "64MB"; 64 GB by default.
	MaxFileStore string
}

// NewNATS starts the installed nats-server for a test, with deploy/nats.
func NewNATS(t testing.TB, opt NATSOption) *NATS {
	t.Helper()
	b, err := StartNATS(opt)
	return use(t, b, err)
}

// StartNATS is NewNATS for others than tests, such as TestMain: call Close.
func StartNATS(opt NATSOption) (*NATS, error) {
	dir, err := os.MkdirTemp("", "purepool-nats-")
	if err != nil {
		return nil, err
	}
	n := &NATS{Dir: dir}
	if err := n.configure(opt); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return n, nil
}

// configure writes deploy/nats, with settings for this server, into its folder.
func (n *NATS) configure(opt NATSOption) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	n.port = port
	if opt.MaxFileStore == "" {
		opt.MaxFileStore = "64GB"
	}
	settings := fmt.Sprintf(`
PUREPOOL_SERVER_NAME: "test"
PUREPOOL_LISTEN: "127.0.0.1:%d"
PUREPOOL_STORE: %q
PUREPOOL_MAX_FILE_STORE: %s
`, n.port, filepath.Join(n.Dir, "store"), opt.MaxFileStore)
	if c := opt.Certificate; c.Cert != "" {
		settings += fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", c.Cert, c.Key)
	}
	secrets := fmt.Sprintf("PUREPOOL_FRONTEND_PASSWORD: %q\nPUREPOOL_BACKEND_PASSWORD: %q\n", FrontendPassword, BackendPassword)
	files := map[string]string{"settings.conf": settings, "secrets.conf": secrets}
	for _, name := range []string{"purepool.conf", "purepool-2.9.conf", "accounts.conf"} {
		var text []byte
		text, err = deployFile("nats", name)
		if err != nil {
			return err
		}
		files[name] = string(text)
	}
	// Debian's server is 2.9, which does not know the fsync setting.
	n.conf = filepath.Join(n.Dir, "purepool-2.9.conf")
	return writeFiles(n.Dir, files)
}

// Addr is the address of the server.
func (n *NATS) Addr() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

func (n *NATS) url(user, password string) string {
	return fmt.Sprintf("nats://%s:%s@%s", user, password, n.Addr())
}

// FrontendURL is the URL of the frontend's user.
func (n *NATS) FrontendURL() string { return n.url("frontend", FrontendPassword) }

// BackendURL is the URL of the backend's user.
func (n *NATS) BackendURL() string { return n.url("backend", BackendPassword) }

// Start starts a server that has been stopped.
func (n *NATS) Start() error {
	log := filepath.Join(n.Dir, "log")
	p, err := spawn(log, n.Dir, environ(), "nats-server", "-c", n.conf)
	if err != nil {
		return err
	}
	err = await(p, log, 20*time.Second, func() error {
		c, err := net.DialTimeout("tcp", n.Addr(), time.Second) //nolint:noctx // bounded
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		return errors.Join(err, p.end(syscall.SIGKILL, time.Second))
	}
	n.p = p
	return nil
}

// Stop ends the server gracefully.
func (n *NATS) Stop() error { return n.p.end(syscall.SIGTERM, 20*time.Second) }

// Kill ends the server at once.
func (n *NATS) Kill() error { return n.p.end(syscall.SIGKILL, 5*time.Second) }

// Close stops the server and removes its folder.
func (n *NATS) Close() {
	_ = n.Kill()
	_ = os.RemoveAll(n.Dir)
}
