package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpDriver speaks AMQP 0.9.1 to RabbitMQ, 3.10 or later.
//
// watermill-amqp is not used: its publisher takes the confirmation of a message
// that no queue was bound for as success (it does not look at returned messages), declares exchanges
// while publishing, which a frontend may not, and waits for confirmations without an
// end; its subscriber handles one message at a time and gives one that does not
// unmarshal back in a hot loop.
//
// Each network has a durable queue, bounded in bytes; at the bound new messages
// are refused. Dead letters have one more. With one replica it is a classic
// queue: RabbitMQ 3.10 has fsynced a persistent message when it confirms it (seen with
// strace on 3.10.8), and a quorum queue of one node can stay without a leader
// after the node was killed (rabbitmq-server issue 10070; here in every trial).
// With more replicas it is a quorum queue, of which a majority has fsynced.
//
// Publishing has a connection of its own: RabbitMQ stops reading from
// connections that publish when it runs out of memory or disk, and
// acknowledgements must not be stuck behind that.
type amqpDriver struct {
	cfg  Config
	log  *slog.Logger
	pub  *amqpConn
	work *amqpConn // subscriptions, provisioning, dead letters; connected when first needed

	closing chan struct{}
	mu      sync.Mutex // guards the closing of closing against subs.Add
	once    sync.Once
	subs    sync.WaitGroup

	confirm amqpConfirm
}

const (
	amqpSharesExchange     = topicPrefix + sharesWord
	amqpDeadLetterExchange = topicPrefix + deadLetterWord
	amqpDeadLetterQueue    = topicPrefix + deadLetterWord
	amqpDialTimeout        = 3 * time.Second
	amqpWriteTimeout       = 5 * time.Second
)

func amqpQueue(network string) string { return topicPrefix + SharesTopic(network) }

var (
	errBlocked    = errors.New("the broker is out of memory or disk and takes nothing")
	errNotBound   = errors.New("the broker has no queue for it: not provisioned")
	errNotAllowed = errors.New("the broker refused it")
)

func openAMQP(ctx context.Context, cfg Config) (driver, error) {
	d := &amqpDriver{cfg: cfg, log: cfg.Logger, closing: make(chan struct{})}
	d.confirm.d = d
	dial, err := amqpDialer(&cfg)
	if err != nil {
		return nil, err
	}
	d.pub = newAMQPConn(dial, cfg.Name+" publishing", cfg.Logger)
	d.work = newAMQPConn(dial, cfg.Name, cfg.Logger)
	if err := d.pub.start(); err != nil {
		var refused *amqp.Error
		if errors.As(err, &refused) && (refused.Code == amqp.AccessRefused || refused.Code == amqp.NotAllowed) {
			_ = d.close()
			return nil, err
		}
		d.log.Warn("amqp: not connected yet, trying on", slog.String("url", redact(cfg.URL)), slog.Any("error", err))
	}
	return d, nil
}

// amqpDialer returns a function that connects to the first of the URLs that
// answers.
func amqpDialer(cfg *Config) (func(name string) (*amqp.Connection, error), error) {
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	type server struct {
		url  string
		sasl []amqp.Authentication
	}
	var servers []server
	for s := range strings.SplitSeq(cfg.URL, ",") {
		u, err := amqp.ParseURI(s)
		if err != nil {
			return nil, err
		}
		auth := u.PlainAuth()
		if cfg.User != "" {
			auth.Username, auth.Password = cfg.User, cfg.Password
		}
		servers = append(servers, server{s, []amqp.Authentication{auth}})
	}
	return func(name string) (*amqp.Connection, error) {
		var errs []error
		for _, s := range servers {
			c := amqp.Config{
				SASL: s.sasl, Heartbeat: 5 * time.Second, Locale: "en_US", TLSClientConfig: tlsConfig,
				Dial: dialBounded, Properties: amqp.NewConnectionProperties(),
			}
			c.Properties.SetClientConnectionName(name)
			conn, err := amqp.DialConfig(s.url, c)
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}, nil
}

func dialBounded(network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: amqpDialTimeout}).Dial(network, addr) //nolint:noctx // the library's hook has none
	if err != nil {
		return nil, err
	}
	// For the handshakes; the library takes it off afterwards.
	if err := c.SetDeadline(time.Now().Add(2 * amqpDialTimeout)); err != nil {
		c.Close()
		return nil, err
	}
	return &boundedConn{Conn: c}, nil
}

// boundedConn gives up a write that the broker does not read: the library has
// no deadline of its own, and a stuck write would hold everybody behind it.
type boundedConn struct {
	net.Conn
}

func (c *boundedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(amqpWriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (d *amqpDriver) ready(ctx context.Context) error {
	_, err := d.pub.get()
	return err
}

func (d *amqpDriver) close() error {
	d.once.Do(func() {
		d.mu.Lock()
		close(d.closing)
		d.mu.Unlock()
		d.subs.Wait()
		d.confirm.close()
		d.pub.close()
		d.work.close()
	})
	return nil
}

func (d *amqpDriver) publisher() message.Publisher { return &d.confirm }

// channel opens a channel on the working connection.
func (d *amqpDriver) channel() (*amqp.Channel, error) {
	if err := d.work.start(); err != nil {
		return nil, err
	}
	conn, err := d.work.get()
	if err != nil && !errors.Is(err, errBlocked) {
		return nil, err
	}
	return conn.Channel()
}

func (d *amqpDriver) provision(ctx context.Context, networks []string) error {
	if err := d.declareExchange(amqpSharesExchange, amqp.ExchangeDirect); err != nil {
		return err
	}
	if err := d.declareExchange(amqpDeadLetterExchange, amqp.ExchangeFanout); err != nil {
		return err
	}
	for _, n := range networks {
		if err := d.declareQueue(amqpQueue(n), SharesTopic(n), amqpSharesExchange, d.cfg.MaxBytes); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return d.declareQueue(amqpDeadLetterQueue, "", amqpDeadLetterExchange, maxDeadLetterBytes)
}

func (d *amqpDriver) declareExchange(name, kind string) error {
	ch, err := d.channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
		return fmt.Errorf("exchange %s: %w", name, err)
	}
	return nil
}

// declareQueue makes a queue and binds it. RabbitMQ does not change the type and
// limits of a queue that exists: it keeps its own, with a warning here.
func (d *amqpDriver) declareQueue(name, key, exchange string, maxBytes int64) error {
	ch, err := d.channel()
	if err != nil {
		return err
	}
	defer func() { ch.Close() }()
	kind := amqp.QueueTypeClassic
	if d.cfg.Replicas > 1 {
		kind = amqp.QueueTypeQuorum
	}
	_, err = ch.QueueDeclare(name, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: kind,
		// Both are needed: the default at the bound is to drop the oldest.
		amqp.QueueMaxLenBytesArg: maxBytes,
		amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
	})
	var refused *amqp.Error
	if errors.As(err, &refused) && refused.Code == amqp.PreconditionFailed {
		d.log.Warn("amqp: the queue exists with another type or other limits and keeps them", slog.String("queue", name), slog.Any("error", err))
		if ch, err = d.channel(); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("queue %s: %w", name, err)
	}
	if err := ch.QueueBind(name, key, exchange, false, nil); err != nil {
		return fmt.Errorf("bind queue %s: %w", name, err)
	}
	return nil
}
