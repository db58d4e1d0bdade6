package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"

	"purepool/pool/queue/queuetest"
)

// natsServers are the installed nats-server with deploy/nats/purepool-2.9.conf
// and the current server with deploy/nats/purepool.conf: both must deny alike.
func natsServers(t *testing.T, claim func(t *testing.T, frontend, backend string)) {
	t.Run("installed", func(t *testing.T) {
		n := queuetest.NewNATS(t, queuetest.NATSOption{})
		claim(t, n.FrontendURL(), n.BackendURL())
	})
	t.Run("current", func(t *testing.T) {
		n := queuetest.NewNATS(t, queuetest.NATSOption{})
		if err := n.Stop(); err != nil { // its address and files are used here
			t.Fatal(err)
		}
		opts, err := server.ProcessConfigFile(filepath.Join(n.Dir, "purepool.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if !opts.SyncAlways || opts.MaxPayload < MaxMessageBytes {
			t.Fatalf("fsync always: %v, max_payload %d", opts.SyncAlways, opts.MaxPayload)
		}
		opts.NoSigs, opts.NoLog = true, true
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		if !s.ReadyForConnections(patience) {
			t.Fatal("not ready")
		}
		claim(t, n.FrontendURL(), n.BackendURL())
	})
}

// intruder is a connection with the frontend's credentials, used for what a
// frontend never does.
type intruder struct {
	*nats.Conn
	mu     sync.Mutex
	denied []string
}

func intrude(t *testing.T, url string) *intruder {
	t.Helper()
	in := &intruder{}
	nc, err := nats.Connect(url, nats.CustomInboxPrefix("_INBOX_frontend"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.denied = append(in.denied, err.Error())
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	in.Conn = nc
	return in
}

// wasDenied reports whether the server has refused something about the subject.
func (in *intruder) wasDenied(t *testing.T, what, subject string) bool {
	t.Helper()
	for range 2 { // the refusal comes before the second answer
		if err := in.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.ToLower(fmt.Sprintf(`permissions violation for %s to "%s"`, what, subject))
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		in.mu.Lock()
		for _, d := range in.denied {
			if strings.Contains(strings.ToLower(d), want) {
				in.mu.Unlock()
				return true
			}
		}
		in.mu.Unlock()
	}
	return false
}

func TestNATSFrontendMayHandInSharesAndHearJobs(t *testing.T) {
	natsServers(t, func(t *testing.T, frontend, backend string) {
		b := mustOpen(t, Config{URL: backend})
		mustProvision(t, b, "test")
		p := startPublisher(t, mustOpen(t, Config{URL: frontend}), PublisherConfig{Networks: []string{"test"}})
		for n := range 20 {
			if err := p.Publish(t.Context(), "test", newShare(n)); err != nil {
				t.Fatal(err)
			}
		}
		jobs, err := intrude(t, frontend).SubscribeSync("purepool.jobs.test")
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(backend)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for deadline := time.Now().Add(patience); ; {
			if err := nc.Publish("purepool.jobs.test", []byte("job")); err != nil {
				t.Fatal(err)
			}
			if m, err := jobs.NextMsg(100 * time.Millisecond); err == nil && string(m.Data) == "job" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the frontend hears no jobs")
			}
		}
	})
}

func TestNATSFrontendCannotReadDeleteOrForge(t *testing.T) {
	natsServers(t, func(t *testing.T, frontend, backend string) {
		b := mustOpen(t, Config{URL: backend})
		mustProvision(t, b, "test")
		p := startPublisher(t, mustOpen(t, Config{URL: frontend}), PublisherConfig{Networks: []string{"test"}})
		if err := p.Publish(t.Context(), "test", newShare(1)); err != nil {
			t.Fatal(err)
		}
		in := intrude(t, frontend)
		for _, subject := range []string{
			">", "purepool.>", "purepool.shares.test", "purepool.shares.*", "purepool.deadletter.>",
			"_INBOX.>", "_INBOX_backend.>", "_INBOX_frontend2.>", "_R_.>", "$JS.>", "$JS.ACK.>", "$SYS.>",
		} {
			if _, err := in.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if !in.wasDenied(t, "subscription", subject) {
				t.Errorf("a frontend may subscribe to %s", subject)
			}
		}
		const stream = "PUREPOOL_SHARES_test"
		for _, subject := range []string{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
			"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE." + stream, "$JS.API.STREAM.INFO." + stream,
			"$JS.API.STREAM.PURGE." + stream, "$JS.API.STREAM.DELETE." + stream, "$JS.API.STREAM.SNAPSHOT." + stream,
			"$JS.API.STREAM.MSG.GET." + stream, "$JS.API.STREAM.MSG.DELETE." + stream, "$JS.API.DIRECT.GET." + stream,
			"$JS.API.CONSUMER.CREATE." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".mine",
			"$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".mine", "$JS.API.CONSUMER.INFO." + stream + ".validators",
			"$JS.API.CONSUMER.DELETE." + stream + ".validators", "$JS.API.CONSUMER.MSG.NEXT." + stream + ".validators",
			"$JS.ACK." + stream + ".validators.1.1.1.1.0", "$JS.FC." + stream + ".x.y", "$SYS.REQ.USER.INFO",
			"purepool.deadletter.test.x", "purepool.jobs.test", "purepool.other", "purepool.shares.test.more",
			"_INBOX_backend.x", "_INBOX_frontend2.x", "_R_.x",
		} {
			if err := in.PublishRequest(subject, in.NewRespInbox(), []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
			if !in.wasDenied(t, "publish", subject) {
				t.Errorf("a frontend may publish to %s", subject)
			}
		}
		letters, err := b.DeadLetters().List(t.Context(), "", 0)
		if err != nil || len(letters) != 0 {
			t.Errorf("%d dead letters, %v", len(letters), err)
		}
		d := receive(t, subscribe(t, b, "test"))
		if number(t, &d.Shares[0]) != 1 {
			t.Errorf("got %v", d.Shares)
		}
		d.Ack()
	})
}

// A stream sends its acknowledgement wherever the publisher says, with the
// server's own rights. The frontend's account must not let that word out.
func TestNATSFrontendCannotMakeTheServerItsDeputy(t *testing.T) {
	natsServers(t, func(t *testing.T, frontend, backend string) {
		b := mustOpen(t, Config{URL: backend})
		mustProvision(t, b, "test")
		p := startPublisher(t, mustOpen(t, Config{URL: frontend}), PublisherConfig{Networks: []string{"test"}, EnvelopeShares: 1})
		want := make(map[int]bool)
		for n := range 5 {
			if err := p.Publish(t.Context(), "test", newShare(n)); err != nil {
				t.Fatal(err)
			}
			want[n] = true
		}
		nc, err := nats.Connect(backend)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		overheard, err := nc.SubscribeSync("_INBOX_backend.victim")
		if err != nil {
			t.Fatal(err)
		}
		forged, err := nc.SubscribeSync("purepool.jobs.test")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		in := intrude(t, frontend)
		data, err := mustCodec(t).encodeEnvelope(*newShare(100))
		if err != nil {
			t.Fatal(err)
		}
		for _, reply := range []string{
			"$JS.API.STREAM.PURGE.PUREPOOL_SHARES_test", "$JS.API.STREAM.DELETE.PUREPOOL_SHARES_test",
			"$JS.API.STREAM.MSG.DELETE.PUREPOOL_SHARES_test", "$JS.API.CONSUMER.DELETE.PUREPOOL_SHARES_test.validators",
			"purepool.deadletter.test.x", "purepool.jobs.test", "_INBOX_backend.victim",
			"$JS.ACK.PUREPOOL_SHARES_test.validators.1.1.1.1.0",
		} {
			if err := in.PublishRequest("purepool.shares.test", reply, data); err != nil {
				t.Fatal(err)
			}
		}
		// A request that is answered comes behind all of these.
		ack, err := in.Request("purepool.shares.test", data, patience)
		if err != nil || !json.Valid(ack.Data) || !strings.Contains(string(ack.Data), "seq") {
			t.Fatalf("no acknowledgement: %v", err)
		}
		for what, s := range map[string]*nats.Subscription{"the backend's inbox": overheard, "the jobs": forged} {
			if m, err := s.NextMsg(200 * time.Millisecond); err == nil {
				t.Errorf("the frontend writes into %s: %s", what, m.Data)
			}
		}
		letters, err := b.DeadLetters().List(t.Context(), "", 0)
		if err != nil || len(letters) != 0 {
			t.Errorf("%d dead letters, %v", len(letters), err)
		}
		collect(t, b, "test").await(t, want)
	})
}

func TestRabbitMQFrontendCannotReadDeleteOrForge(t *testing.T) {
	r := sharedRabbitMQ(t)
	network := newNetwork()
	b := mustOpen(t, Config{URL: r.BackendURL()})
	mustProvision(t, b, network)
	p := startPublisher(t, mustOpen(t, Config{URL: r.FrontendURL()}), PublisherConfig{Networks: []string{network}})
	if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
		t.Fatal(err)
	}
	backend, err := amqp.Dial(r.BackendURL())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	ch, err := backend.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("purepool.jobs", amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	letters := func() int {
		t.Helper()
		q, err := ch.QueueDeclarePassive(amqpDeadLetterQueue, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Messages
	}
	before := letters()

	frontend, err := amqp.Dial(r.FrontendURL())
	if err != nil {
		t.Fatal(err)
	}
	defer frontend.Close()
	queue := amqpQueue(network)
	publish := func(exchange, key string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			if err := ch.Confirm(false); err != nil {
				return err
			}
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			d, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{Body: []byte("forged")})
			if err != nil {
				return err
			}
			if d.Wait() {
				return nil
			}
			return <-closed
		}
	}
	forward := func(exchange, key string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("purepool.hear.forward", false, true, false, false, amqp.Table{
				"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key, "x-message-ttl": 0,
			})
			return err
		}
	}
	for what, try := range map[string]func(ch *amqp.Channel) error{
		"consume shares": func(ch *amqp.Channel) error {
			_, err := ch.Consume(queue, "", false, false, false, false, nil)
			return err
		},
		"get a share": func(ch *amqp.Channel) error { _, _, err := ch.Get(queue, false); return err },
		"get a dead letter": func(ch *amqp.Channel) error {
			_, _, err := ch.Get(amqpDeadLetterQueue, false)
			return err
		},
		"purge the shares": func(ch *amqp.Channel) error { _, err := ch.QueuePurge(queue, false); return err },
		"delete the queue": func(ch *amqp.Channel) error { _, err := ch.QueueDelete(queue, false, false, false); return err },
		"delete the door":  func(ch *amqp.Channel) error { return ch.ExchangeDelete(amqpSharesExchange, false, false) },
		"unbind the queue": func(ch *amqp.Channel) error {
			return ch.QueueUnbind(queue, SharesTopic(network), amqpSharesExchange, nil)
		},
		"bind to the door": func(ch *amqp.Channel) error {
			return ch.ExchangeBind("amq.fanout", "#", amqpSharesExchange, false, nil)
		},
		"declare an ear": func(ch *amqp.Channel) error { _, err := ch.QueueDeclare("", false, true, true, false, nil); return err },
		"declare a queue": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("purepool.x", true, false, false, false, nil)
			return err
		},
		"declare a door": func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("purepool.x", "fanout", true, false, false, false, nil)
		},
		// What dies in a queue of its own would go on with the server's rights.
		"make the server its deputy for dead letters": forward(amqpDeadLetterExchange, ""),
		"make the server its deputy for jobs":         forward("purepool.jobs", "jobs."+network),
		"make the server its deputy for queues":       forward("", amqpDeadLetterQueue),
		"make an exchange pass on to the jobs": func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("purepool.hear.forward", "fanout", true, false, false, false, amqp.Table{"alternate-exchange": "purepool.jobs"})
		},
		"bind the jobs to an exchange of its own": func(ch *amqp.Channel) error {
			if err := ch.ExchangeDeclare("purepool.hear.source", "fanout", false, true, false, false, nil); err != nil {
				t.Errorf("it may not have exchanges of its own: %v", err)
			}
			return ch.ExchangeBind("purepool.jobs", "", "purepool.hear.source", false, nil)
		},
		"forge dead letter": publish(amqpDeadLetterExchange, "deadletter."+network+".x"),
		"forge a job":       publish("purepool.jobs", "jobs."+network),
		"go round the door": publish("", amqpDeadLetterQueue),
		"use another door":  publish("amq.direct", "x"),
	} {
		ch, err := frontend.Channel()
		if err != nil {
			t.Fatal(err)
		}
		var refused *amqp.Error
		if err := try(ch); !errors.As(err, &refused) || refused.Code != amqp.AccessRefused {
			t.Errorf("a frontend may %s: %v", what, err)
		}
	}
	if after := letters(); after != before {
		t.Errorf("%d dead letters, %d before", after, before)
	}
	d := receive(t, subscribe(t, b, network))
	if number(t, &d.Shares[0]) != 1 {
		t.Errorf("got %v", d.Shares)
	}
	d.Ack()
	if c, err := amqp.Dial(strings.Replace(r.FrontendURL(), "frontend:"+queuetest.FrontendPassword, "guest:guest", 1)); err == nil {
		c.Close()
		t.Error("there is a guest user")
	}
}

func TestTLSNeedsTheRightAuthority(t *testing.T) {
	cert, err := queuetest.NewCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := queuetest.NewNATS(t, queuetest.NATSOption{Certificate: cert})
	r := sharedRabbitMQ(t)
	for name, k := range map[string]struct{ url, ca string }{
		"nats":     {strings.Replace(n.BackendURL(), "nats://", "tls://", 1), cert.Cert},
		"rabbitmq": {strings.NewReplacer("amqp://", "amqps://", r.Addr(), r.TLSAddr()).Replace(r.BackendURL()), r.Certificate.Cert},
	} {
		t.Run(name, func(t *testing.T) {
			network := newNetwork()
			b := mustOpen(t, Config{URL: k.url, CAFile: k.ca})
			mustProvision(t, b, network)
			p := startPublisher(t, b, PublisherConfig{Networks: []string{network}})
			if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := mustOpen(t, Config{URL: k.url}).Ready(ctx); err == nil {
				t.Error("a certificate of nobody is trusted")
			}
		})
	}
}
