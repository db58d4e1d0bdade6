package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func mustProvisionTemplate(t testing.TB, b *Broker, networks ...string) {
	t.Helper()
	if err := b.ProvisionTemplate(t.Context(), networks...); err != nil {
		t.Fatal(err)
	}
}

// listen hears jobs in the background until the test ends.
func listen(t *testing.T, b *Broker, network string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	heard := make(chan string, 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.HearJobs(ctx, network, func(body []byte) { heard <- string(body) }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return heard
}

// tellUntil tells a job until it is heard, as the backend does.
func tellUntil(t *testing.T, b *Broker, network, job string, heard <-chan string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		_ = b.TellJob(t.Context(), network, []byte(job)) // the broker may be away
		select {
		case got := <-heard:
			if got == job {
				return
			}
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%q is not heard", job)
		}
	}
}

func TestEveryFrontendHearsTheJobsOfItsNetwork(t *testing.T) {
	onEach(t, func(t *testing.T, k kind, frontend, backend *Broker, network string) {
		other := newNetwork()
		mustProvisionTemplate(t, backend, network, other)
		second := frontend
		if k.server != nil {
			second = mustOpen(t, Config{URL: k.frontend})
		}
		a, b, c := listen(t, frontend, network), listen(t, second, network), listen(t, frontend, other)
		tellUntil(t, backend, network, "one", a)
		tellUntil(t, backend, network, "one", b)
		tellUntil(t, backend, other, "foreign", c)
		tellUntil(t, backend, network, "", a)
		for {
			select {
			case got := <-c:
				if got != "foreign" {
					t.Errorf("heard %q of another network", got)
				}
				continue
			default:
			}
			break
		}
	})
}

func TestJobsAreHeardAgainAfterTheBrokerWasAway(t *testing.T) {
	t.Parallel()
	for _, k := range kinds(t)[1:] {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.alone(t)
			network := newNetwork()
			backend, frontend := mustOpen(t, Config{URL: k.backend}), mustOpen(t, Config{URL: k.frontend})
			mustProvision(t, backend, network)
			mustProvisionTemplate(t, backend, network)
			heard := listen(t, frontend, network)
			tellUntil(t, backend, network, "before", heard)
			if err := k.server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := k.server.Start(); err != nil {
				t.Fatal(err)
			}
			tellUntil(t, backend, network, "after", heard)
		})
	}
}

func TestWinningShareIsHandledOnceAndAgainWhereThatFails(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		mustProvisionTemplate(t, backend, network)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		got := map[string]int{}
		enough := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				err := backend.ConsumeBlocks(ctx, network, func(_ context.Context, body []byte) error {
					mu.Lock()
					defer mu.Unlock()
					got[string(body)]++
					total := 0
					for _, n := range got {
						total += n
					}
					if total == 21 {
						close(enough)
					}
					if string(body) == "7" && got["7"] == 1 {
						return errors.New("not now")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		for i := range 20 {
			if err := frontend.PublishBlock(t.Context(), network, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-enough:
		case <-time.After(patience):
			t.Error("not all came")
		}
		cancel()
		wg.Wait()
		for i := range 20 {
			want := 1
			if i == 7 {
				want = 2
			}
			if n := got[fmt.Sprint(i)]; n != want {
				t.Errorf("%d came %d times", i, n)
			}
		}
	})
}

func TestWinningShareIsDurableBeforeAnybodyListens(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		mustProvisionTemplate(t, backend, network)
		if err := frontend.PublishBlock(t.Context(), network, []byte("win")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := backend.ConsumeBlocks(ctx, network, func(_ context.Context, body []byte) error {
			if string(body) != "win" {
				t.Errorf("got %q", body)
			}
			cancel()
			return nil
		})
		if err != nil || !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("%v, %v", err, ctx.Err())
		}
	})
}

func TestWinningShareThatNobodyTakesIsGivenUpWithTheContext(t *testing.T) {
	b := mustOpen(t, Config{URL: "embedded:" + t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.PublishBlock(ctx, "test", []byte("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := b.PublishBlock(t.Context(), "test", make([]byte, MaxBlockBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if err := b.TellJob(t.Context(), "test", make([]byte, MaxJobBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestTemplateSharesTravelAsTheyAre(t *testing.T) {
	c := mustCodec(t)
	s := newShare(1)
	s.Solution, s.Template = nil, []byte{1, 2, 3}
	data, err := c.encodeEnvelope(*s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := c.decodeEnvelope(data)
	if err != nil || len(back) != 1 || !bytes.Equal(back[0].Template, s.Template) || back[0].ID != s.ID {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestNATSFrontendMayHandInBlocksAndNotReadThem(t *testing.T) {
	natsServers(t, func(t *testing.T, frontend, backend string) {
		b := mustOpen(t, Config{URL: backend})
		mustProvision(t, b, "test")
		mustProvisionTemplate(t, b, "test")
		f := mustOpen(t, Config{URL: frontend})
		if err := f.PublishBlock(t.Context(), "test", []byte("win")); err != nil {
			t.Error(err)
		}
		in := intrude(t, frontend)
		for _, subject := range []string{"purepool.blocks.test", "purepool.blocks.>"} {
			if _, err := in.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if !in.wasDenied(t, "subscription", subject) {
				t.Errorf("a frontend may subscribe to %s", subject)
			}
		}
		const stream = "PUREPOOL_BLOCKS_test"
		for _, subject := range []string{
			"$JS.API.STREAM.PURGE." + stream, "$JS.API.CONSUMER.MSG.NEXT." + stream + ".validators",
			"$JS.API.STREAM.MSG.GET." + stream, "purepool.blocks.test.more", "purepool.jobs.test",
		} {
			if err := in.PublishRequest(subject, in.NewRespInbox(), []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
			if !in.wasDenied(t, "publish", subject) {
				t.Errorf("a frontend may publish to %s", subject)
			}
		}
	})
}

func TestRabbitMQFrontendMayHearJobsAndNothingElse(t *testing.T) {
	r := sharedRabbitMQ(t)
	network := newNetwork()
	b := mustOpen(t, Config{URL: r.BackendURL()})
	mustProvision(t, b, network)
	mustProvisionTemplate(t, b, network)
	f := mustOpen(t, Config{URL: r.FrontendURL()})
	if err := f.PublishBlock(t.Context(), network, []byte("win")); err != nil {
		t.Error(err)
	}
	frontend, err := amqp.Dial(r.FrontendURL())
	if err != nil {
		t.Fatal(err)
	}
	defer frontend.Close()
	ear := amqpEar + newID()
	for what, try := range map[string]func(ch *amqp.Channel) error{
		"read blocks": func(ch *amqp.Channel) error {
			_, _, err := ch.Get(topicPrefix+BlocksTopic(network), false)
			return err
		},
		"bind an ear to the shares": func(ch *amqp.Channel) error {
			if _, err := ch.QueueDeclare(ear, false, true, true, false, nil); err != nil {
				return err
			}
			return ch.QueueBind(ear, SharesTopic(network), amqpSharesExchange, false, nil)
		},
		"bind an ear to the blocks": func(ch *amqp.Channel) error {
			if _, err := ch.QueueDeclare(ear, false, true, true, false, nil); err != nil {
				return err
			}
			return ch.QueueBind(ear, BlocksTopic(network), amqpBlocksExchange, false, nil)
		},
		"forge a job": func(ch *amqp.Channel) error {
			if err := ch.Confirm(false); err != nil {
				return err
			}
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			d, err := ch.PublishWithDeferredConfirm(amqpJobsExchange, JobsTopic(network), false, false, amqp.Publishing{Body: []byte("forged")})
			if err != nil {
				return err
			}
			if d.Wait() {
				return nil
			}
			return <-closed
		},
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
}
