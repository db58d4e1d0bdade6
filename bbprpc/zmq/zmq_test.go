package zmq

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"purepool/bbprpc/zmq/zmqtest"
	"purepool/pool/chain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ear is a subscriber and what it has heard.
type ear struct {
	*Subscriber
	mu     sync.Mutex
	blocks []chain.Hash
	gaps   int
}

func listen(t *testing.T, address string) *ear {
	t.Helper()
	e := &ear{}
	var err error
	e.Subscriber, err = New(Config{
		Address: address, MinWait: time.Millisecond, MaxWait: 10 * time.Millisecond, Handshake: 500 * time.Millisecond,
		OnBlock:    func(h chain.Hash) { e.mu.Lock(); defer e.mu.Unlock(); e.blocks = append(e.blocks, h) },
		OnGap:      func() { e.mu.Lock(); defer e.mu.Unlock(); e.gaps++ },
		Registerer: prometheus.NewRegistry(),
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-done) })
	return e
}

func (e *ear) heard() (blocks []chain.Hash, gaps int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.blocks, e.gaps
}

func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come true: %s", what)
		}
	}
}

func block(n byte) chain.Hash { return chain.DoubleSHA256([]byte{n}) }

// subscribed waits until blocks arrive: a publisher takes a moment longer to
// know of a subscription than the subscriber to send it.
func (e *ear) subscribed(t *testing.T, p *zmqtest.Publisher, n byte) {
	t.Helper()
	await(t, "blocks are heard", func() bool {
		p.Publish(block(n))
		time.Sleep(2 * time.Millisecond)
		blocks, _ := e.heard()
		return len(blocks) > 0 && blocks[len(blocks)-1] == block(n)
	})
}

func TestBlocksOfARealPublisherAreHeardInOrder(t *testing.T) {
	p := zmqtest.New(t, 0)
	e := listen(t, p.Address)
	e.subscribed(t, p, 0)
	_, gaps := e.heard()
	for n := byte(1); n <= 100; n++ {
		p.Publish(block(n))
	}
	await(t, "a hundred blocks", func() bool { b, _ := e.heard(); return b[len(b)-1] == block(100) })
	blocks, after := e.heard()
	blocks = blocks[len(blocks)-100:]
	for n := range blocks {
		if blocks[n] != block(byte(n+1)) {
			t.Fatalf("block %d is %v", n+1, blocks[n])
		}
	}
	if gaps != 1 || after != 1 { // that of the subscription
		t.Errorf("%d gaps, then %d", gaps, after)
	}
	p.Skip()
	p.Publish(block(101))
	await(t, "the gap is noticed", func() bool { _, gaps := e.heard(); return gaps == 2 })
	if testutil.ToFloat64(e.metrics.gaps) != 1 || testutil.ToFloat64(e.metrics.connected) != 1 {
		t.Error("the metrics do not show it")
	}
}

func TestPublisherThatIsKilledIsSubscribedToAgain(t *testing.T) {
	p := zmqtest.New(t, 0)
	e := listen(t, p.Address)
	for n := byte(1); n <= 3; n++ {
		e.subscribed(t, p, n)
		p.Kill()
		await(t, "the loss is noticed", func() bool { return testutil.ToFloat64(e.metrics.connected) == 0 })
		p.Start()
		await(t, "a gap is told", func() bool { _, gaps := e.heard(); return gaps == int(n)+1 })
	}
	e.subscribed(t, p, 9)
}

func TestHeartbeatIsAnswered(t *testing.T) {
	p := zmqtest.New(t, 100*time.Millisecond)
	e := listen(t, p.Address)
	e.subscribed(t, p, 1)
	time.Sleep(500 * time.Millisecond) // five heartbeats; one without an answer ends it
	e.subscribed(t, p, 2)
	if n := testutil.ToFloat64(e.metrics.failures); n != 0 {
		t.Errorf("the publisher has dropped the subscriber %v times", n)
	}
}

// impostor answers every connection with some bytes and then waits for its end.
func impostor(t *testing.T, say []byte, hangUp bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = c.Write(say)
				if !hangUp {
					_, _ = io.Copy(io.Discard, c)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "tcp://" + l.Addr().String()
}

// spoken is a publisher's side of a handshake, and what comes after it.
func spoken(after ...byte) []byte {
	pub := appendFrame(nil, flagCommand, appendProperty([]byte("\x05READY"), "Socket-Type", "PUB"))
	return append(append(greeting(), pub...), after...)
}

func TestPeerThatIsNoPublisherIsLeftAndTriedAgain(t *testing.T) {
	huge := []byte{flagLong, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	router := append(greeting(), appendFrame(nil, flagCommand, appendProperty([]byte("\x05READY"), "Socket-Type", "ROUTER"))...)
	old := greeting()
	old[10] = 1
	curve := greeting()
	copy(curve[12:], "CURVE")
	for name, say := range map[string][]byte{
		"http": []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n and some more text"), "silent": nil,
		"old": old, "curve": curve, "router": router, "huge": spoken(huge...), "flags": spoken(0x80, 1, 1),
		"refusing": append(greeting(), appendFrame(nil, flagCommand, []byte("\x05ERROR\x02no"))...),
		"short":    spoken(append(appendFrame(nil, flagMore, []byte(topic)), appendFrame(nil, 0, []byte("xx"))...)...),
		"many":     spoken(bytes.Repeat([]byte{flagMore, 1, 1}, 9)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := listen(t, impostor(t, say, false))
			await(t, "it is tried again", func() bool { return testutil.ToFloat64(e.metrics.failures) >= 2 })
			if blocks, _ := e.heard(); len(blocks) != 0 {
				t.Errorf("%d blocks heard", len(blocks))
			}
		})
	}
	t.Run("hangs up", func(t *testing.T) {
		t.Parallel()
		e := listen(t, impostor(t, spoken(), true))
		await(t, "it is tried again", func() bool { return testutil.ToFloat64(e.metrics.failures) >= 2 })
	})
}

func TestOtherTopicsAndCommandsAreNoBlocks(t *testing.T) {
	hash := block(7).Display()
	var after []byte
	after = append(after, appendFrame(nil, 0, []byte("hashblocks"))...)
	after = append(after, appendFrame(nil, flagCommand, []byte("\x07UNKNOWN"))...)
	after = append(after, appendFrame(nil, flagMore, []byte(topic))...)
	after = append(after, appendFrame(nil, flagMore, hash[:])...)
	after = append(after, appendFrame(nil, 0, []byte{1, 0, 0, 0})...)
	e := listen(t, impostor(t, spoken(after...), false))
	await(t, "the block", func() bool { blocks, _ := e.heard(); return len(blocks) == 1 })
	if blocks, _ := e.heard(); blocks[0] != block(7) {
		t.Errorf("%v", blocks)
	}
}

func TestAddressesAreChecked(t *testing.T) {
	for _, good := range []string{"tcp://127.0.0.1:28332", "tcp://[::1]:28332", "tcp://daemon.example:1"} {
		must(t, CheckAddress(good))
	}
	for _, bad := range []string{"", "127.0.0.1:28332", "ipc:///tmp/x", "tcp://127.0.0.1", "tcp://:1", "tcp://*:28332", "tcp://a:0", "tcp://a:99999"} {
		if err := CheckAddress(bad); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzPublisher(f *testing.F) {
	hash := block(7).Display()
	good := append(appendFrame(nil, flagMore, []byte(topic)), appendFrame(nil, flagMore, hash[:])...)
	good = append(good, appendFrame(nil, 0, []byte{1, 0, 0, 0})...)
	f.Add(spoken(good...))
	f.Add(spoken(appendFrame(nil, flagCommand, []byte("\x04PING\x00\x01context"))...))
	f.Add(spoken(flagLong, 0, 0, 0, 0, 0, 0, 0x10, 1))
	f.Add(append(greeting(), appendFrame(nil, flagCommand, []byte("\x05READY\x0bSocket-Type\xff\xff\xff\xff"))...))
	f.Fuzz(func(t *testing.T, say []byte) {
		var said bytes.Buffer
		in, err := shakeHands(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(say), &said})
		for n := 0; err == nil; n++ {
			var reply []byte
			_, _, reply, err = in.next()
			if len(reply) > 2+5+maxContext || n > len(say) {
				t.Fatalf("an answer of %d bytes, %d messages of %d bytes", len(reply), n, len(say))
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrProtocol) {
			t.Fatal(err)
		}
	})
}
