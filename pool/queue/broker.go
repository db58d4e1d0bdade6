package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
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
	// MaxBytes bounds the backlog of one network in the broker, 4 GiB by
	// default. At the bound the broker refuses new envelopes, which then go to
	// the publisher's spool; it never drops old ones. Used by Provision.
	MaxBytes int64
	// Replicas is the number of servers of a cluster that keep each envelope, 1
	// by default. RabbitMQ: 1 means classic queues, more quorum queues, which
	// take as many members as the cluster's policy says. Used by Provision.
	Replicas int
	// AckWait is how long JetStream waits for a sign of life of a handler before
	// it delivers the envelope again, 30 s by default. Living handlers give that
	// sign by themselves. (RabbitMQ notices a dead one by its connection.) Used by Provision.
	AckWait time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// driver is what a kind of broker has to offer.
type driver interface {
	provision(ctx context.Context, networks []string) error
	ready(ctx context.Context) error
	publisher() message.Publisher
	subscriber(SubscribeConfig) message.Subscriber
	letters() letterBox
	backlog(ctx context.Context, network string) (backlog, error)
	lettersKept(ctx context.Context) (int64, error)
	provisionTemplate(ctx context.Context, networks []string) error
	tellJob(ctx context.Context, network string, body []byte) error
	hearJobs(ctx context.Context, network string, hear func(body []byte)) error
	close() error
}

// letterBox keeps encoded dead letters.
type letterBox interface {
	put(ctx context.Context, network string, id uuid.UUID, data []byte) error
	// visit shows the letters that are there when it begins to see. Both network and id may be unset and only spare work: see gets more
	// than it asked for where the broker cannot tell.
	visit(ctx context.Context, network string, id uuid.UUID, see func(data []byte) (verdict, error)) error
}

// verdict is what becomes of a visited letter, and of the visit.
type verdict int

const (
	keep verdict = iota
	remove
	removeAndStop
	keepAndStop
)

// Broker is a connection to a broker, or the broker itself when it is embedded.
// All methods are safe for concurrent use.
type Broker struct {
	log     *slog.Logger
	codec   *codec
	metrics *metrics
	driver  driver
}

// Topics, in watermill's sense. JetStream's subject is "purepool." and the
// topic; RabbitMQ's exchange is "purepool." and the first word, its routing key the topic.
const (
	topicPrefix      = "purepool."
	sharesWord       = "shares"
	deadLetterWord   = "deadletter"
	provisionTimeout = 10 * time.Second
)

// SharesTopic is the topic of a network's shares.
func SharesTopic(network string) string { return sharesWord + "." + network }

var networkName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)

func checkNetworks(networks ...string) error {
	for _, n := range networks {
		// A network becomes a part of subjects, queue names and folder names.
		if !networkName.MatchString(n) {
			return fmt.Errorf("network name %q: want letters, digits, - and _ only", n)
		}
	}
	return nil
}

// Open reaches the broker of cfg.URL. It fails on what is wrong for good (the
// URL, files, credentials that a server refuses, limits too small), not on a
// server that is away: the connection is then made in the background, and
// publishers spool meanwhile.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 4 << 30
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = 10 * time.Second
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register queue metrics: %w", err)
	}
	b := &Broker{log: cfg.Logger, codec: c, metrics: m}
	scheme, rest, ok := strings.Cut(cfg.URL, ":")
	switch {
	case !ok:
		err = errors.New("no scheme")
	case scheme == "embedded":
		b.driver, err = openEmbedded(ctx, cfg, rest)
	case scheme == "nats" || scheme == "tls":
		b.driver, err = openNATS(ctx, cfg)
	case scheme == "amqp" || scheme == "amqps":
		b.driver, err = openAMQP(ctx, cfg)
	default:
		err = errors.New("scheme is none of embedded, nats, tls, amqp, amqps")
	}
	if err != nil {
		m.unregister(cfg.Registerer)
		return nil, fmt.Errorf("open broker %s: %w", redact(cfg.URL), err)
	}
	return b, nil
}

// redact removes passwords from a list of URLs.
func redact(urls string) string {
	var out []string
	for s := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(s)
		if err != nil {
			return "(unreadable URL)"
		}
		out = append(out, u.Redacted())
	}
	return strings.Join(out, ",")
}

// Provision creates or updates the streams (JetStream) or exchanges and queues
// (RabbitMQ) of the networks and of the dead letters. It is the backend's
// business: a frontend has no permission for it and needs none.
func (b *Broker) Provision(ctx context.Context, networks ...string) error {
	if err := checkNetworks(networks...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, provisionTimeout)
	defer cancel()
	if err := b.driver.provision(ctx, networks); err != nil {
		return fmt.Errorf("provision queue: %w", err)
	}
	return nil
}

// Ready reports whether the broker can be reached now; nil means yes. It is
// meant for /readyz. A frontend with a spool works without.
func (b *Broker) Ready(ctx context.Context) error { return b.driver.ready(ctx) }

// Publisher returns the watermill publisher of the broker. Publish returns when
// the broker has made the messages durable, and heeds the messages' contexts.
// Shares go through [NewPublisher], which batches and spools.
func (b *Broker) Publisher() message.Publisher { return b.driver.publisher() }

// Subscriber returns a watermill subscriber. It hands out up to cfg.InFlight
// messages at once, keeps them reserved until each is acknowledged or refused, and
// writes the number of the attempt into the message's metadata.
func (b *Broker) Subscriber(cfg SubscribeConfig) message.Subscriber {
	return b.driver.subscriber(cfg.withDefaults())
}

// Close disconnects; an embedded broker stops. Close publishers and end
// subscriptions first.
func (b *Broker) Close() error { return b.driver.close() }

// tlsConfig reads the certificates; nil when none is configured.
func (c *Config) tlsConfig() (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil, nil //nolint:nilnil // no configuration is an answer
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		out.Certificates = []tls.Certificate{cert}
	}
	return out, nil
}
