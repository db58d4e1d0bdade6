package queuetest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ is a rabbitmq-server process with an epmd of its own.
type RabbitMQ struct {
	Dir string // its folder
	// Certificate is that of the port of TLSAddr.
	Certificate          Certificate
	port, tls, dist, reg int
	epmd, p              *process
}

// rabbitmqServer is started itself: the command in the path changes the user
// and refuses ours.
const rabbitmqServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// NewRabbitMQ starts the installed RabbitMQ for a test, with deploy/rabbitmq. It
// takes several seconds: share one between tests.
func NewRabbitMQ(t testing.TB) *RabbitMQ {
	t.Helper()
	b, err := StartRabbitMQ()
	return use(t, b, err)
}

// StartRabbitMQ is NewRabbitMQ for others than tests, such as TestMain: call Close.
func StartRabbitMQ() (*RabbitMQ, error) {
	dir, err := os.MkdirTemp("", "purepool-rabbitmq-")
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{Dir: dir}
	err = r.configure()
	if err == nil {
		err = r.startEPMD()
	}
	if err == nil {
		err = r.Start()
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *RabbitMQ) configure() error {
	for _, p := range []*int{&r.port, &r.tls, &r.dist, &r.reg} {
		port, err := freePort()
		if err != nil {
			return err
		}
		*p = port
	}
	conf, err := deployFile("rabbitmq", "purepool.conf")
	if err != nil {
		return err
	}
	definitions, err := deployFile("rabbitmq", "definitions.json")
	if err != nil {
		return err
	}
	filled := strings.NewReplacer(
		"@FRONTEND_PASSWORD_HASH@", passwordHash(FrontendPassword),
		"@BACKEND_PASSWORD_HASH@", passwordHash(BackendPassword),
	).Replace(string(definitions))
	for _, d := range []string{"conf.d", "mnesia", "log"} {
		if err := os.Mkdir(filepath.Join(r.Dir, d), 0o700); err != nil {
			return err
		}
	}
	if r.Certificate, err = NewCertificate(r.Dir); err != nil {
		return err
	}
	return writeFiles(r.Dir, map[string]string{
		"definitions.json":        filled,
		"enabled_plugins":         "[].",
		"conf.d/10-purepool.conf": string(conf),
		"conf.d/90-test.conf": fmt.Sprintf(`
listeners.tcp.1 = 127.0.0.1:%d
listeners.ssl.1 = 127.0.0.1:%d
ssl_options.certfile = %s
ssl_options.keyfile = %s
load_definitions = %s
`, r.port, r.tls, r.Certificate.Cert, r.Certificate.Key, filepath.Join(r.Dir, "definitions.json")),
	})
}

// passwordHash is what "rabbitmqctl hash_password" makes: base64 of a salt of
// four bytes and the SHA-256 of salt and password.
func passwordHash(password string) string {
	salt := make([]byte, 4)
	_, _ = rand.Read(salt)
	sum := sha256.Sum256(append(append([]byte{}, salt...), password...))
	return base64.StdEncoding.EncodeToString(append(salt, sum[:]...))
}

func (r *RabbitMQ) environ() []string {
	return append(environ("RABBITMQ_", "ERL_", "HOME=", "NOTIFY_SOCKET="),
		"HOME="+r.Dir,
		fmt.Sprintf("ERL_EPMD_PORT=%d", r.reg),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=purepool%d@localhost", r.port),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", r.dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE="+filepath.Join(r.Dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(r.Dir, "log"),
		"RABBITMQ_CONFIG_FILES="+filepath.Join(r.Dir, "conf.d"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(r.Dir, "enabled_plugins"),
		"RABBITMQ_PID_FILE="+filepath.Join(r.Dir, "pid"),
		// Makes the script become the server, instead of a parent that waits.
		"RABBITMQ_ALLOW_INPUT=1",
	)
}

func (r *RabbitMQ) startEPMD() error {
	log := filepath.Join(r.Dir, "log", "epmd")
	p, err := spawn(log, r.Dir, r.environ(), "epmd", "-port", fmt.Sprint(r.reg), "-address", "127.0.0.1")
	if err != nil {
		return err
	}
	r.epmd = p
	return await(p, log, 10*time.Second, func() error {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.reg), time.Second) //nolint:noctx // bounded
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Addr is the address of the server.
func (r *RabbitMQ) Addr() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

// TLSAddr is the address of the server's port for TLS.
func (r *RabbitMQ) TLSAddr() string { return fmt.Sprintf("127.0.0.1:%d", r.tls) }

func (r *RabbitMQ) url(user, password string) string {
	return fmt.Sprintf("amqp://%s:%s@%s/purepool", user, password, r.Addr())
}

// FrontendURL is the URL of the frontend's user.
func (r *RabbitMQ) FrontendURL() string { return r.url("frontend", FrontendPassword) }

// BackendURL is the URL of the backend's user.
func (r *RabbitMQ) BackendURL() string { return r.url("backend", BackendPassword) }

// Start starts a server that has been stopped.
func (r *RabbitMQ) Start() error {
	log := filepath.Join(r.Dir, "log", "server")
	p, err := spawn(log, r.Dir, r.environ(), rabbitmqServer, "-noinput")
	if err != nil {
		return err
	}
	err = await(p, log, 90*time.Second, func() error {
		c, err := amqp.Dial(r.BackendURL())
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		return errors.Join(err, p.end(syscall.SIGKILL, 5*time.Second))
	}
	r.p = p
	return nil
}

// Stop ends the server gracefully.
func (r *RabbitMQ) Stop() error { return r.p.end(syscall.SIGTERM, 60*time.Second) }

// Kill ends the server at once.
func (r *RabbitMQ) Kill() error { return r.p.end(syscall.SIGKILL, 5*time.Second) }

// Close stops the server and removes its folder.
func (r *RabbitMQ) Close() {
	if r.p != nil {
		_ = r.Kill()
	}
	if r.epmd != nil {
		_ = r.epmd.end(syscall.SIGKILL, 5*time.Second)
	}
	_ = os.RemoveAll(r.Dir)
}
