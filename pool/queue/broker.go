package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config chooses and reaches a broker.
type Config struct {
	// URL chooses the broker:
	//
	//	embedded:/var/lib/purepool/queue   NATS JetStream in this process, file store in this folder
	//	nats://host:4222[,nats://host2…]   external NATS JetStream
	//	tls://host:4222                    the same over TLS
	//	amqp://host:5672/vhost             RabbitMQ
	//	amqps://host:5671/vhost            the same over TLS
	URL string
	// Name names the connection in the broker's own tools, such as "frontend f1".
	Name string
	// User and Password override those of the URL.
	User, Password string
	// CredentialsFile is a NATS .creds file (external NATS only).
	CredentialsFile string
	// CAFile, CertFile, KeyFile are PEM files for TLS: the authority that signed
	// the broker's certificate (default: the system's), and a client certificate.
	CAFile, CertFile, KeyFile string
	// InboxPrefix is the NATS subject under which this user may receive answers,
	// "_INBOX_<user>" by default. It must be allowed by the server (deploy/nats).
	InboxPrefix string
	// MaxBytes bounds the backlog of one network in the broker, 8 GiB by
	// default. At the bound the broker refuses new envelopes, which then go to
	// the publisher's spool; it never drops old ones. Used by Provision.
	MaxBytes int64
	// Replicas is the number of JetStream servers that keep each envelope, 1 by
	// default. Used by Provision.
	Replicas int
	// AckWait is how long the broker waits for a sign of life of a handler
	// before it delivers the envelope again, 30 s by default. Living handlers
	// give that sign by themselves. Used by Provision, JetStream only.
	AckWait time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// Broker is a connection to a broker, or the broker itself when it is embedded.
// All methods are safe for concurrent use.
type Broker struct {
	cfg Config
}

// Open reaches the broker of cfg.URL. It fails on what is wrong for good (the
// URL, files, credentials that a server refuses), not on a server that is away: the
// connection is then made in the background, and publishers spool meanwhile.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	return nil, errors.New("not built")
}

// Provision creates or updates the streams (JetStream) or exchanges and queues
// (RabbitMQ) of the networks and of the dead letters. It is the backend's
// business: a frontend has no permission for it and needs none.
func (b *Broker) Provision(ctx context.Context, networks ...string) error {
	return errors.New("not built")
}

// Ready reports whether the broker can be reached now; nil means yes. It is
// meant for /readyz. A frontend with a spool works without.
func (b *Broker) Ready(ctx context.Context) error { return errors.New("not built") }

// Close disconnects; an embedded broker stops. Close publishers and end
// subscriptions first.
func (b *Broker) Close() error { return nil }
