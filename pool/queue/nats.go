package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsDriver speaks JetStream, to the server in this process or to others.
//
// watermill-nats is not used: its publishers ignore the message's context (so
// that no caller can give up on a silent server), its subscribers let the
// reservation of a message end while a handler still works on it, and leave a
// message that does not unmarshal to come again for ever.
//
// Each network has a stream of its own, so that a backlog of one cannot fill
// the other's: file storage, work queue policy (acknowledged envelopes are
// deleted; what the stream holds is the backlog), new messages refused at the bound. Dead
// letters have one stream, kept until they are deleted one by one.
type natsDriver struct {
	cfg  Config
	log  *slog.Logger
	nc   *nats.Conn
	js   jetstream.JetStream
	stop func() error // stops the embedded server

	closing chan struct{} // closed by close
	once    sync.Once
	subs    sync.WaitGroup // slots of all subscriptions

	mu   sync.Mutex
	gone chan struct{} // closed when the connection is lost; replaced when it is back
}

const (
	natsDurable        = "validators"
	natsDeadLetters    = "PUREPOOL_DEADLETTER"
	natsMaxAckPending  = 1000
	natsRequestTimeout = 5 * time.Second
	natsPullWait       = 5 * time.Second
)

func natsStream(network string) string { return "PUREPOOL_SHARES_" + network }

var errDisconnected = errors.New("not connected to the broker")

// openNATS connects to external servers.
func openNATS(ctx context.Context, cfg Config) (driver, error) {
	opts, err := natsAuth(&cfg)
	if err != nil {
		return nil, err
	}
	return connectNATS(ctx, cfg, cfg.URL, nil, opts...)
}

// natsAuth turns credentials and certificates into options.
func natsAuth(cfg *Config) ([]nats.Option, error) {
	var opts []nats.Option
	user := cfg.User
	if user != "" {
		opts = append(opts, nats.UserInfo(user, cfg.Password))
	} else if u, err := url.Parse(strings.Split(cfg.URL, ",")[0]); err == nil && u.User != nil {
		user = u.User.Username()
	}
	if cfg.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredentialsFile))
	}
	prefix := cfg.InboxPrefix
	if prefix == "" && user != "" {
		prefix = "_INBOX_" + user
	}
	if prefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(prefix))
	}
	t, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	if t != nil {
		opts = append(opts, nats.Secure(t))
	}
	return opts, nil
}

func connectNATS(ctx context.Context, cfg Config, url string, stop func() error, opts ...nats.Option) (driver, error) {
	d := &natsDriver{cfg: cfg, log: cfg.Logger, stop: stop, closing: make(chan struct{}), gone: make(chan struct{})}
	opts = append([]nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(2 * time.Second),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 250*time.Millisecond),
		// Nothing is buffered while disconnected: a publish fails at once, and the
		// publisher's spool, which is durable, takes over.
		nats.ReconnectBufSize(-1),
		// Wrong credentials may be repaired on the server: go on trying.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			d.log.Error("nats: asynchronous error", slog.Any("error", err))
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { d.lost(err) }),
		nats.ConnectHandler(func(nc *nats.Conn) { d.found(nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { d.found(nc) }),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, err
	}
	d.nc = nc
	if err := nc.LastError(); errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
		nc.Close()
		return nil, err
	}
	if nc.IsConnected() && nc.MaxPayload() < MaxMessageBytes {
		nc.Close()
		return nil, fmt.Errorf("max_payload of the server is %d bytes, must be at least %d", nc.MaxPayload(), MaxMessageBytes)
	}
	if !nc.IsConnected() {
		d.log.Warn("nats: not connected yet, trying on", slog.String("url", redact(url)), slog.Any("error", nc.LastError()))
	}
	d.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(natsRequestTimeout))
	if err != nil {
		nc.Close()
		return nil, err
	}
	return d, nil
}

// lost fails everything that waits for an answer of the lost connection.
func (d *natsDriver) lost(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.gone:
	default:
		close(d.gone)
	}
	select {
	case <-d.closing:
	default:
		d.log.Warn("nats: disconnected", slog.Any("error", err))
	}
}

func (d *natsDriver) found(nc *nats.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.gone:
		d.gone = make(chan struct{})
	default:
	}
	d.log.Info("nats: connected", slog.String("server", nc.ConnectedServerName()))
	if nc.MaxPayload() < MaxMessageBytes {
		d.log.Error("nats: max_payload of the server is too small for the largest shares",
			slog.Int64("bytes", nc.MaxPayload()), slog.Int64("needed", MaxMessageBytes))
	}
}

// connected returns a context that ends with ctx or with the connection.
func (d *natsDriver) connected(ctx context.Context) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (d *natsDriver) ready(ctx context.Context) error {
	if !d.nc.IsConnected() {
		return errDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return d.nc.FlushWithContext(ctx)
}

func (d *natsDriver) provision(ctx context.Context, networks []string) error {
	for _, n := range networks {
		_, err := d.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:       natsStream(n),
			Subjects:   []string{topicPrefix + SharesTopic(n)},
			Retention:  jetstream.WorkQueuePolicy,
			Storage:    jetstream.FileStorage,
			Discard:    jetstream.DiscardNew,
			MaxBytes:   d.cfg.MaxBytes,
			MaxMsgSize: MaxEnvelopeBytes,
			Replicas:   d.cfg.Replicas,
		})
		if err != nil {
			return fmt.Errorf("stream %s: %w", natsStream(n), err)
		}
		_, err = d.js.CreateOrUpdateConsumer(ctx, natsStream(n), jetstream.ConsumerConfig{
			Durable:       natsDurable,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       d.cfg.AckWait,
			MaxDeliver:    -1, // giving up is the handler's decision
			MaxAckPending: natsMaxAckPending,
		})
		if err != nil {
			return fmt.Errorf("consumer of stream %s: %w", natsStream(n), err)
		}
	}
	_, err := d.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:       natsDeadLetters,
		Subjects:   []string{topicPrefix + deadLetterWord + ".>"},
		Retention:  jetstream.LimitsPolicy,
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardNew,
		MaxBytes:   min(d.cfg.MaxBytes, maxDeadLetterBytes),
		MaxMsgSize: MaxMessageBytes,
		Replicas:   d.cfg.Replicas,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", natsDeadLetters, err)
	}
	return nil
}

// addSlots counts n slots to be waited for; false when the driver is closing.
func (d *natsDriver) addSlots(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closing:
		return false
	default:
		d.subs.Add(n)
		return true
	}
}

func (d *natsDriver) close() error {
	var err error
	d.once.Do(func() {
		d.mu.Lock()
		close(d.closing)
		d.mu.Unlock()
		d.subs.Wait()
		// What the slots have answered must reach the server before the line is cut.
		if d.nc.IsConnected() {
			_ = d.nc.FlushTimeout(2 * time.Second)
		}
		d.nc.Close()
		if d.stop != nil {
			err = d.stop()
		}
	})
	return err
}

func (d *natsDriver) publisher() message.Publisher { return (*natsPublisher)(d) }

// natsPublisher is the driver as a watermill publisher.
type natsPublisher natsDriver

// Publish returns when the stream has stored the messages.
func (p *natsPublisher) Publish(topic string, messages ...*message.Message) error {
	d := (*natsDriver)(p)
	for _, m := range messages {
		if !d.nc.IsConnected() {
			return errDisconnected
		}
		if err := d.publish(m.Context(), topic, m.Payload); err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: the connection is the broker's.
func (p *natsPublisher) Close() error { return nil }

func (d *natsDriver) publish(ctx context.Context, topic string, payload []byte) error {
	wait, cancel := d.connected(ctx)
	defer cancel()
	_, err := d.js.PublishMsg(wait, &nats.Msg{Subject: topicPrefix + topic, Data: payload}, jetstream.WithRetryAttempts(0))
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return errDisconnected
	}
	return err
}
