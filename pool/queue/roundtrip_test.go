package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
)

func TestSharesComeOutAsTheyWentIn(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		in := subscribe(t, backend, network)
		s := newShare(7)
		if err := p.Publish(t.Context(), network, s); err != nil {
			t.Fatal(err)
		}
		d := receive(t, in)
		if diff := cmp.Diff([]Share{*s}, d.Shares, shareCmp()); diff != "" || d.Attempt != 1 || d.Network != network {
			t.Fatalf("attempt %d on %s: %s", d.Attempt, d.Network, diff)
		}
		d.Ack()
		d.Nack() // too late: it does nothing
		silence(t, in, 1500*time.Millisecond)
		if err := backend.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheLargestSolutionTravels(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}, Timeout: 20 * time.Second})
		in := subscribe(t, backend, network)
		s := newShare(1)
		s.Solution = []byte(strings.Repeat("0123456789abcdef", 8<<20/16))
		if err := p.Publish(t.Context(), network, s); err != nil {
			t.Fatal(err)
		}
		d := receive(t, in)
		if string(d.Shares[0].Solution) != string(s.Solution) {
			t.Fatal("another solution came out")
		}
		d.Ack()
		s.Solution = make([]byte, MaxShareBytes)
		if err := p.Publish(t.Context(), network, s); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestARefusedDeliveryComesAgainAfterADelay(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		in, err := Subscribe(t.Context(), backend, network, SubscribeConfig{MinDelay: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
			t.Fatal(err)
		}
		for attempt := 1; attempt <= 3; attempt++ {
			d := receive(t, in)
			if d.Attempt != attempt {
				t.Fatalf("attempt %d, want %d", d.Attempt, attempt)
			}
			start := time.Now()
			if attempt == 3 {
				d.Ack()
				break
			}
			d.Nack()
			d = receive(t, in)
			if took := time.Since(start); took < 190*time.Millisecond<<(attempt-1) {
				t.Fatalf("came again after %v", took)
			}
			attempt++
			if d.Attempt != attempt {
				t.Fatalf("attempt %d, want %d", d.Attempt, attempt)
			}
			d.Nack()
		}
		silence(t, in, 300*time.Millisecond)
	})
}

func TestALongHandlerKeepsItsDelivery(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		one, two := subscribe(t, backend, network), subscribe(t, backend, network)
		if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
			t.Fatal(err)
		}
		var d *Delivery
		other := two
		select {
		case d = <-one:
		case d = <-two:
			other = one
		case <-time.After(patience):
			t.Fatal("nothing is delivered")
		}
		silence(t, other, 3*time.Second) // three times the time the broker waits
		d.Ack()
		silence(t, other, 1500*time.Millisecond)
	})
}

func TestCompetingSubscribersShareTheWork(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		const n = 60
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}, EnvelopeShares: 1, InFlight: 8})
		var mu sync.Mutex
		seen := make(map[int]int)
		by := make([]int, 3)
		all := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range by {
			wg.Go(func() {
				err := Consume(ctx, backend, network, SubscribeConfig{InFlight: 1}, func(_ context.Context, d *Delivery) error {
					mu.Lock()
					defer mu.Unlock()
					for j := range d.Shares {
						seen[number(t, &d.Shares[j])]++
					}
					by[i]++
					if len(seen) == n {
						close(all)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		var pub sync.WaitGroup
		for i := range n {
			pub.Go(func() {
				if err := p.Publish(t.Context(), network, newShare(i)); err != nil {
					t.Error(err)
				}
			})
		}
		pub.Wait()
		select {
		case <-all:
		case <-time.After(patience):
			t.Error("some are missing")
		}
		cancel()
		wg.Wait()
		for i, times := range seen {
			if times != 1 {
				t.Errorf("share %d was delivered %d times", i, times)
			}
		}
		for i, n := range by {
			if n == 0 {
				t.Errorf("subscriber %d got nothing: %v", i, by)
			}
		}
	})
}

func TestWhatIsNoEnvelopeBecomesADeadLetterAndBlocksNothing(t *testing.T) {
	onEachAlone(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		rubbish := []byte("this is no envelope")
		newer := []byte{0x82, 0x02, 0x80}
		for _, payload := range [][]byte{rubbish, newer} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := frontend.Publisher().Publish(SharesTopic(network), message.NewMessageWithContext(ctx, watermill.NewUUID(), payload)); err != nil {
				t.Fatal(err)
			}
		}
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		if err := p.Publish(t.Context(), network, newShare(5)); err != nil {
			t.Fatal(err)
		}
		in := subscribe(t, backend, network)
		d := receive(t, in)
		if number(t, &d.Shares[0]) != 5 {
			t.Fatalf("got %v", d.Shares)
		}
		d.Ack()
		letters, err := backend.DeadLetters().List(t.Context(), network, 0)
		if err != nil || len(letters) != 2 {
			t.Fatalf("%d letters, %v", len(letters), err)
		}
		if string(letters[0].Raw) != string(rubbish) || string(letters[1].Raw) != string(newer) || !strings.Contains(letters[1].Reason, "version 2") {
			t.Fatalf("got %+v", letters)
		}
	})
}

func TestAHandlerThatPanicsIsStoppedByADeadLetter(t *testing.T) {
	onEachAlone(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		calls := make(map[int]int)
		good := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			cfg := SubscribeConfig{MinDelay: 10 * time.Millisecond, MaxPanics: 3}
			_ = Consume(ctx, backend, network, cfg, func(_ context.Context, d *Delivery) error {
				n := number(t, &d.Shares[0])
				mu.Lock()
				calls[n]++
				mu.Unlock()
				if n == 1 {
					panic("poison")
				}
				close(good)
				return nil
			})
		})
		for n := 1; n <= 2; n++ {
			if err := p.Publish(t.Context(), network, newShare(n)); err != nil {
				t.Fatal(err)
			}
		}
		<-good
		var letters []DeadLetter
		for deadline := time.Now().Add(patience); len(letters) == 0; {
			var err error
			if letters, err = backend.DeadLetters().List(t.Context(), network, 0); err != nil || time.Now().After(deadline) {
				t.Fatalf("%d letters, %v", len(letters), err)
			}
		}
		cancel()
		wg.Wait()
		l := letters[0]
		if l.Share == nil || number(t, l.Share) != 1 || l.Attempts != 3 || !strings.Contains(l.Reason, "poison") || calls[1] != 3 {
			t.Fatalf("got %+v after %v calls", l, calls)
		}
	})
}

func TestDeadLettersAreListedReplayedAndDiscarded(t *testing.T) {
	onEachAlone(t, func(t *testing.T, _ kind, _, backend *Broker, network string) {
		ctx, box := t.Context(), backend.DeadLetters()
		for i := range 5 {
			if err := box.Add(ctx, DeadLetter{Network: network, Reason: fmt.Sprint("reason ", i), Attempts: i, Share: newShare(i)}); err != nil {
				t.Fatal(err)
			}
		}
		other := newNetwork()
		if err := box.Add(ctx, DeadLetter{Network: other, Raw: []byte("raw")}); err != nil {
			t.Fatal(err)
		}
		list := func(limit int) []DeadLetter {
			t.Helper()
			letters, err := box.List(ctx, network, limit)
			if err != nil {
				t.Fatal(err)
			}
			return letters
		}
		letters := list(0)
		if diff := cmp.Diff(letters, list(0), shareCmp()); diff != "" || len(letters) != 5 {
			t.Fatalf("listing changes the list: %d, %s", len(letters), diff)
		}
		for i, l := range letters {
			if number(t, l.Share) != i || l.Reason != fmt.Sprint("reason ", i) || l.Attempts != i || time.Since(l.At) > time.Minute {
				t.Fatalf("letter %d: %+v", i, l)
			}
		}
		if two := list(2); len(two) != 2 || two[0].ID != letters[0].ID {
			t.Fatalf("got %d", len(two))
		}
		if err := box.Replay(ctx, letters[2].ID); err != nil {
			t.Fatal(err)
		}
		if err := box.Discard(ctx, letters[0].ID); err != nil {
			t.Fatal(err)
		}
		for _, again := range []error{box.Replay(ctx, letters[2].ID), box.Discard(ctx, letters[0].ID)} {
			if !errors.Is(again, ErrNotFound) {
				t.Fatalf("got %v", again)
			}
		}
		if n, err := box.ReplayAll(ctx, network); n != 3 || err != nil {
			t.Fatalf("replayed %d, %v", n, err)
		}
		c := collect(t, backend, network)
		c.await(t, map[int]bool{1: true, 2: true, 3: true, 4: true})
		if c.times[0] != 0 || len(list(0)) != 0 {
			t.Fatalf("got %v, %d letters left", c.times, len(list(0)))
		}
		all, err := box.List(ctx, "", 0)
		if err != nil || len(all) == 0 || all[len(all)-1].Network != other {
			t.Fatalf("the other network's letter is gone: %v", err)
		}
	})
}

// startChild runs this test binary in another role. Kill it with the command.
func startChild(t *testing.T, role ...string) (*exec.Cmd, *lines) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // killed by the test
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(role, " "))
	out, err := os.CreateTemp(t.TempDir(), "child")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, &lines{out.Name()}
}

// lines is the output of a child.
type lines struct{ path string }

func (l *lines) read(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	whole, _, _ := cutLast(string(data), "\n") // the last may be cut by the kill
	if whole == "" {
		return nil
	}
	return strings.Split(whole, "\n")
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

func (l *lines) await(t testing.TB, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if got := l.read(t); len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child says only %q", l.read(t))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestTheDeliveryOfAKilledConsumerComesAgain(t *testing.T) {
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			network := newNetwork()
			prepare := func() *Broker {
				b := mustOpen(t, Config{URL: k.backend, AckWait: time.Second})
				mustProvision(t, b, network)
				return b
			}
			b := prepare()
			p := startPublisher(t, b, PublisherConfig{Networks: []string{network}})
			if err := p.Publish(t.Context(), network, newShare(3)); err != nil {
				t.Fatal(err)
			}
			if k.server == nil { // the child is the broker, too
				_ = p.Close()
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
			cmd, out := startChild(t, "consume", k.backend, network, "-")
			if got := out.await(t, 1); got[0] != "got 3" {
				t.Fatalf("the child says %q", got)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if k.server == nil {
				b = prepare()
			}
			d := receive(t, subscribe(t, b, network))
			// A broker that was killed together with its consumer may have lost count.
			if number(t, &d.Shares[0]) != 3 || d.Attempt != 2 && k.server != nil {
				t.Fatalf("attempt %d of share %d", d.Attempt, number(t, &d.Shares[0]))
			}
			d.Ack()
		})
	}
}

func TestADeliveryCanBeAnsweredAfterItsSubscription(t *testing.T) {
	onEach(t, func(t *testing.T, _ kind, frontend, backend *Broker, network string) {
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}})
		ctx, cancel := context.WithCancel(t.Context())
		in, err := Subscribe(ctx, backend, network, SubscribeConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
			t.Fatal(err)
		}
		d := receive(t, in)
		cancel()
		select {
		case _, ok := <-in:
			if ok {
				t.Fatal("delivered after the end")
			}
		case <-time.After(patience):
			t.Fatal("the channel is not closed while a delivery is unanswered")
		}
		next := subscribe(t, backend, network)
		silence(t, next, 2500*time.Millisecond)
		d.Ack()
		silence(t, next, 1500*time.Millisecond)
	})
}
