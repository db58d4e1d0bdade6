package hosts

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
)

// broker is what of a road through the broker depends on its kind.
type broker interface {
	port() int
	// test tries, from the frontend's server and with its secrets, what only the
	// backend may do.
	test(*testing.T, *pool)
}

type (
	viaNATS     struct{}
	viaRabbitMQ struct{}
)

func (viaNATS) port() int { return 4222 }

func (viaRabbitMQ) port() int { return 5671 }

// natsAs connects to the broker from the frontend's server.
func (p *pool) natsAs(t *testing.T, user, password string, certificate bool) (*nats.Conn, error) {
	t.Helper()
	folder := filepath.Join(p.site.dir, "out", p.frontend.name, "frontend", "tls")
	options := []nats.Option{
		nats.RootCAs(filepath.Join(folder, "ca.pem")), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_" + user),
		nats.SetCustomDialer(natsDialer(p.net.dialer(p.frontend.name))), nats.Timeout(3 * time.Second), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // refusals come by this road, and are looked for by their effect
	}
	if certificate {
		options = append(options, nats.ClientCert(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")))
	}
	nc, err := nats.Connect("tls://"+p.data.address+":4222", options...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

type natsDialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d natsDialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return d(ctx, network, address)
}

// test tries to read shares, to steal and to purge them, and to become the
// backend.
func (viaNATS) test(t *testing.T, p *pool) {
	secret := p.site.secret
	nc, err := p.natsAs(t, "frontend", secret("queue-frontend"), true)
	if err != nil {
		t.Fatalf("the frontend cannot log in at the broker: %v: the test shows nothing", err)
	}
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Error("the broker's line is not encrypted")
	}
	for _, subject := range []string{"purepool.shares.>", "purepool.shares.test", ">", "$JS.>", "_INBOX.>", "_INBOX_backend.>", "purepool.deadletter.>"} {
		sub, err := nc.SubscribeSync(subject)
		must(t, err)
		must(t, nc.FlushTimeout(3*time.Second))
		if _, err := sub.NextMsg(200 * time.Millisecond); err == nil {
			t.Errorf("the frontend reads %s", subject)
		}
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(200*time.Millisecond))
	must(t, err)
	if _, err := js.Stream(t.Context(), "PUREPOOL_SHARES_test"); err == nil {
		t.Error("the frontend sees the stream of shares")
	}
	if err := js.DeleteStream(t.Context(), "PUREPOOL_SHARES_test"); err == nil {
		t.Error("the frontend deletes the stream of shares")
	}
	for _, request := range []string{
		"$JS.API.STREAM.PURGE.PUREPOOL_SHARES_test", "$JS.API.STREAM.INFO.PUREPOOL_SHARES_test", "$JS.API.STREAM.MSG.GET.PUREPOOL_SHARES_test",
		"$JS.API.CONSUMER.MSG.NEXT.PUREPOOL_SHARES_test.validators", "$JS.API.CONSUMER.DELETE.PUREPOOL_SHARES_test.validators",
	} {
		if answer, err := nc.Request(request, nil, 200*time.Millisecond); err == nil {
			t.Errorf("the frontend's %s was answered %s", request, answer.Data)
		}
	}
	if _, err := p.natsAs(t, "backend", secret("queue-frontend"), true); err == nil {
		t.Error("the frontend's password opens the backend's account")
	}
	if _, err := p.natsAs(t, "frontend", secret("queue-frontend"), false); err == nil {
		t.Error("the broker takes a connection without a certificate of the site")
	}
}

// amqpAs opens a connection and a channel from the frontend's server.
func (p *pool) amqpAs(t *testing.T, user, password string, certificate bool) (*amqp.Connection, error) {
	t.Helper()
	folder := filepath.Join(p.site.dir, "out", p.frontend.name, "frontend", "tls")
	config := &tls.Config{RootCAs: p.site.authority(), ServerName: "data.purepool.internal", MinVersion: tls.VersionTLS12}
	if certificate {
		pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
		must(t, err)
		config.Certificates = []tls.Certificate{pair}
	}
	c, err := amqp.DialConfig(fmt.Sprintf("amqps://%s:%s@%s:5671/purepool", user, password, p.data.address), amqp.Config{
		TLSClientConfig: config,
		Dial: func(network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			c, err := p.net.dialer(p.frontend.name)(ctx, network, address)
			if err == nil {
				err = c.SetDeadline(time.Now().Add(10 * time.Second))
			}
			return c, err
		},
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (viaRabbitMQ) test(t *testing.T, p *pool) {
	c, err := p.amqpAs(t, "frontend", p.site.secret("queue-frontend"), true)
	if err != nil {
		t.Fatalf("the frontend cannot log in at the broker: %v: the test shows nothing", err)
	}
	const shares = "purepool.shares.test"
	for what, try := range map[string]func(*amqp.Channel) error{
		"reads shares": func(ch *amqp.Channel) error {
			_, err := ch.Consume(shares, "", false, false, false, false, nil)
			return err
		},
		"takes a share":      func(ch *amqp.Channel) error { _, _, err := ch.Get(shares, true); return err },
		"purges the shares":  func(ch *amqp.Channel) error { _, err := ch.QueuePurge(shares, false); return err },
		"deletes the shares": func(ch *amqp.Channel) error { _, err := ch.QueueDelete(shares, false, false, false); return err },
		"deletes their way":  func(ch *amqp.Channel) error { return ch.ExchangeDelete("purepool.shares", false, false) },
		"makes a queue": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("mine", false, false, false, false, nil)
			return err
		},
		"looks at shares' ways": func(ch *amqp.Channel) error {
			return ch.QueueBind("purepool.hear.x", "#", "purepool.shares", false, nil)
		},
	} {
		ch, err := c.Channel()
		must(t, err)
		if err := try(ch); err == nil {
			t.Errorf("the frontend %s", what)
		}
		_ = ch.Close()
	}
	if _, err := p.amqpAs(t, "backend", p.site.secret("queue-frontend"), true); err == nil {
		t.Error("the frontend's password opens the backend's account")
	}
	if _, err := p.amqpAs(t, "guest", "guest", true); err == nil {
		t.Error("the broker has a guest")
	}
	if _, err := p.amqpAs(t, "frontend", p.site.secret("queue-frontend"), false); err == nil {
		t.Error("the broker takes a connection without a certificate of the site")
	}
}
