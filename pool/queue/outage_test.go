package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// external are the kinds of broker that can be away.
func external(t *testing.T) []kind {
	return slices.DeleteFunc(kinds(t), func(k kind) bool { return k.server == nil })
}

func restart(t testing.TB, k kind, away time.Duration, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(away) // the outage
	if err := k.server.Start(); err != nil {
		t.Fatal(err)
	}
}

// The broker goes away for seconds, once in good order and once without
// warning, while shares come in: none is refused, none is lost, and those of a
// miner who waits for each answer come out in order.
func TestABrokerThatIsAwayCostsNoShareAndRefusesNone(t *testing.T) {
	t.Parallel()
	for _, k := range external(t) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.alone(t)
			busy, calm := newNetwork(), newNetwork()
			backend := mustOpen(t, Config{URL: k.backend, AckWait: time.Second})
			mustProvision(t, backend, busy, calm)
			frontend := mustOpen(t, Config{URL: k.frontend})
			p := startPublisher(t, frontend, PublisherConfig{Networks: []string{busy, calm}, SpoolDir: t.TempDir(), Timeout: time.Second})
			busyOut, calmOut := collect(t, backend, busy), collect(t, backend, calm)

			ctx, cancel := context.WithCancel(context.Background())
			var callers sync.WaitGroup
			var spooled atomic.Bool
			publish := func(network string, first, step int, took map[int]bool, mu *sync.Mutex) {
				for n := first; ctx.Err() == nil; n += step {
					if err := p.Publish(context.Background(), network, newShare(n)); err != nil {
						t.Errorf("share %d was refused: %v", n, err)
						return
					}
					mu.Lock()
					took[n] = true
					mu.Unlock()
					if !p.lanes[network].spool.empty() {
						spooled.Store(true)
					}
					time.Sleep(10 * time.Millisecond) // enough of them to show it, and few enough to wait for however long a broker takes to start
				}
			}
			busyTook, calmTook := make(map[int]bool), make(map[int]bool)
			var mu sync.Mutex
			for i := range 8 {
				callers.Go(func() { publish(busy, i, 8, busyTook, &mu) })
			}
			callers.Go(func() { publish(calm, 0, 1, calmTook, &mu) })

			time.Sleep(300 * time.Millisecond) // some before the outage
			restart(t, k, 2*time.Second, k.server.Stop)
			time.Sleep(300 * time.Millisecond) // some in between
			restart(t, k, time.Second, k.server.Kill)
			time.Sleep(300 * time.Millisecond) // some after it
			cancel()
			callers.Wait()
			if !spooled.Load() {
				t.Error("the spool was not needed: there was no outage")
			}
			t.Logf("%d and %d shares", len(busyTook), len(calmTook))
			busyOut.await(t, busyTook)
			calmOut.await(t, calmTook)
			calmOut.mu.Lock()
			defer calmOut.mu.Unlock()
			if !slices.IsSorted(calmOut.first) {
				t.Error("a waiting miner's shares came out in another order")
			}
			for deadline := time.Now().Add(patience); p.spool.used.Load() != 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes left in the spool", p.spool.used.Load())
				}
			}
		})
	}
}

func TestAtTheSpoolsBoundSharesAreRefusedAndNoneIsLost(t *testing.T) {
	for _, k := range external(t) {
		if k.name == "rabbitmq" {
			continue // the bound is the publisher's, whatever the broker
		}
		network := newNetwork()
		backend := mustOpen(t, Config{URL: k.backend})
		mustProvision(t, backend, network)
		frontend := mustOpen(t, Config{URL: k.frontend})
		p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}, SpoolDir: t.TempDir(), SpoolBytes: 100 << 10, Timeout: time.Second})
		if err := k.server.Stop(); err != nil {
			t.Fatal(err)
		}
		took := make(map[int]bool)
		n := 0
		for ; ; n++ {
			err := p.Publish(t.Context(), network, newShare(n))
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			took[n] = true
		}
		if used := p.spool.used.Load(); len(took) < 25 || used > 101<<10 {
			t.Fatalf("%d shares fill %d bytes", len(took), used)
		}
		if err := k.server.Start(); err != nil {
			t.Fatal(err)
		}
		collect(t, backend, network).await(t, took)
		for deadline := time.Now().Add(patience); ; n++ {
			err := p.Publish(t.Context(), network, newShare(n))
			if err == nil {
				return
			}
			if !errors.Is(err, ErrFull) || time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

func TestABrokerAtItsBoundRefusesTheNewAndKeepsTheOld(t *testing.T) {
	t.Parallel()
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.shared(t)
			network := newNetwork()
			backend := mustOpen(t, Config{URL: k.backend, MaxBytes: 100 << 10})
			mustProvision(t, backend, network)
			p := startPublisher(t, backend, PublisherConfig{Networks: []string{network}, SpoolDir: t.TempDir()})
			took := make(map[int]bool)
			for n := range 60 { // twice the bound
				if err := p.Publish(t.Context(), network, newShare(n)); err != nil {
					t.Fatal(err)
				}
				took[n] = true
			}
			if p.lanes[network].spool.empty() {
				t.Fatal("the broker took twice its bound")
			}
			collect(t, backend, network).await(t, took)
		})
	}
}

func TestSharesOfAQueueThatIsNotProvisionedYetWaitInTheSpool(t *testing.T) {
	t.Parallel()
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.shared(t)
			network := newNetwork()
			backend := mustOpen(t, Config{URL: k.backend})
			frontend := backend
			if k.server != nil {
				frontend = mustOpen(t, Config{URL: k.frontend})
			}
			out := collect(t, backend, network) // subscribers wait, too
			p := startPublisher(t, frontend, PublisherConfig{Networks: []string{network}, SpoolDir: t.TempDir(), Timeout: 500 * time.Millisecond})
			if err := p.Publish(t.Context(), network, newShare(1)); err != nil {
				t.Fatal(err)
			}
			if p.lanes[network].spool.empty() {
				t.Fatal("taken by a broker that has no place for it")
			}
			mustProvision(t, backend, network)
			out.await(t, map[int]bool{1: true})
		})
	}
}

func TestWithoutASpoolABrokerThatIsAwayIsAnError(t *testing.T) {
	for _, k := range external(t) {
		if k.name == "rabbitmq" {
			continue // needs no second outage
		}
		b := mustOpen(t, Config{URL: k.frontend})
		p := startPublisher(t, b, PublisherConfig{Networks: []string{"test"}, Timeout: 300 * time.Millisecond})
		if err := k.server.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(t.Context(), "test", newShare(1)); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		if err := b.Ready(t.Context()); err == nil {
			t.Fatal("a broker that is away is called ready")
		}
	}
}

func TestTheSpoolOfAnEarlierProcessIsDelivered(t *testing.T) {
	dir := t.TempDir()
	away := mustOpen(t, Config{URL: "nats://127.0.0.1:1"})
	p := startPublisher(t, away, PublisherConfig{Networks: []string{"main", "test"}, SpoolDir: dir})
	took := make(map[int]bool)
	for n := range 20 {
		if err := p.Publish(t.Context(), []string{"main", "test"}[n%2], newShare(n)); err != nil {
			t.Fatal(err)
		}
		took[n] = true
	}
	second, err := NewPublisher(away, PublisherConfig{Networks: []string{"main"}, SpoolDir: dir})
	if err == nil {
		_ = second.Close()
		t.Fatal("two publishers in one spool")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), "main", newShare(99)); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}

	// The next process serves one network less, and has another broker.
	b := mustOpen(t, Config{URL: "embedded:" + t.TempDir()})
	mustProvision(t, b, "main", "test")
	p = startPublisher(t, b, PublisherConfig{Networks: []string{"main"}, SpoolDir: dir})
	got := make(map[int]bool)
	for _, network := range []string{"main", "test"} {
		out := collect(t, b, network)
		want := make(map[int]bool)
		for n := range took {
			if n%2 == 0 == (network == "main") {
				want[n] = true
			}
		}
		out.await(t, want)
		for n := range want {
			got[n] = true
		}
	}
	if len(got) != len(took) {
		t.Fatalf("%d of %d", len(got), len(took))
	}
	if err := p.Publish(t.Context(), "test", newShare(99)); !errors.Is(err, ErrUnknownNetwork) {
		t.Fatalf("got %v", err)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	b := mustOpen(t, Config{URL: "embedded:" + t.TempDir()})
	// Nothing runs, so nothing leaves the memory.
	p, err := NewPublisher(b, PublisherConfig{Networks: []string{"test"}, MemoryBytes: 20 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for n := range 5 {
		waiting.Go(func() {
			if err := p.Publish(ctx, "test", newShare(n)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	for p.memory.used.Load() < 5*3438 {
		time.Sleep(time.Millisecond)
	}
	if err := p.Publish(ctx, "test", newShare(5)); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	cancel()
	waiting.Wait()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if used := p.memory.used.Load(); used != 0 {
		t.Fatalf("%d bytes still counted", used)
	}
}

func TestClosingFlushesWhatIsWaiting(t *testing.T) {
	b := mustOpen(t, Config{URL: "embedded:" + t.TempDir()})
	mustProvision(t, b, "test")
	p := startPublisher(t, b, PublisherConfig{Networks: []string{"test"}, EnvelopeShares: 3, InFlight: 1})
	var mu sync.Mutex
	took := make(map[int]bool)
	var callers sync.WaitGroup
	for n := range 200 {
		callers.Go(func() {
			switch err := p.Publish(t.Context(), "test", newShare(n)); {
			case err == nil:
				mu.Lock()
				took[n] = true
				mu.Unlock()
			case !errors.Is(err, ErrClosed):
				t.Error(err)
			}
		})
	}
	time.Sleep(5 * time.Millisecond)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	callers.Wait() // nobody is left waiting
	collect(t, b, "test").await(t, took)
}

// A publishing process is killed at random moments, with its broker there, away,
// or in it: every share that was acknowledged comes out.
func TestKilledPublishersLoseNoAcknowledgedShare(t *testing.T) {
	t.Parallel()
	rounds := map[string]int{"embedded": 10, "nats": 10, "rabbitmq": 5}
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.alone(t)
			network, spool := newNetwork(), t.TempDir()
			provision := "provision"
			if k.server != nil {
				provision = "-"
				mustProvision(t, mustOpen(t, Config{URL: k.backend, AckWait: time.Second}), network)
			}
			acked := make(map[int]bool)
			for round := range rounds[k.name] {
				away := k.server != nil && round%5 == 3
				if away {
					if err := k.server.Kill(); err != nil {
						t.Fatal(err)
					}
				}
				cmd, out := startChild(t, "publish", k.frontend, network, provision, spool, strconv.Itoa(round*1_000_000))
				out.await(t, 1)
				time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				for _, line := range out.read(t) {
					n, err := strconv.Atoi(line)
					if err != nil {
						t.Fatalf("the child says %q", line)
					}
					acked[n] = true
				}
				if away {
					if files, _ := filepath.Glob(filepath.Join(spool, network, "*"+segmentSuffix)); len(files) == 0 {
						t.Error("nothing was spooled while the broker was away")
					}
					if err := k.server.Start(); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d shares acknowledged in %d rounds", len(acked), rounds[k.name])
			backend := mustOpen(t, Config{URL: k.backend, AckWait: time.Second})
			mustProvision(t, backend, network)
			startPublisher(t, backend, PublisherConfig{Networks: []string{network}, SpoolDir: spool})
			collect(t, backend, network).await(t, acked)
		})
	}
}

func TestOpenRefusesWhatIsWrongForGood(t *testing.T) {
	t.Parallel()
	wrong := []string{"", "nonsense", "embedded:", "kafka://host", "nats://host:port"}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong = append(wrong, "embedded:"+file)
	for _, k := range external(t) {
		k.shared(t)
		wrong = append(wrong, strings.ReplaceAll(k.backend, "backend-secret", "guess"))
	}
	for _, url := range wrong {
		b, err := Open(t.Context(), Config{URL: url, Logger: testLog(t)})
		// A broker that is too busy to say no in time is away, for once.
		for range 5 {
			if err != nil {
				break
			}
			_ = b.Close()
			b, err = Open(t.Context(), Config{URL: url, Logger: testLog(t)})
		}
		if err == nil {
			_ = b.Close()
			t.Errorf("%q was opened", url)
		} else if strings.Contains(err.Error(), "guess") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	dir := t.TempDir()
	mustOpen(t, Config{URL: "embedded:" + dir})
	if b, err := Open(t.Context(), Config{URL: "embedded:" + dir}); err == nil {
		_ = b.Close()
		t.Error("two brokers in one folder")
	}
}

func TestABrokerThatIsAwayAtTheStartIsNoError(t *testing.T) {
	for _, url := range []string{"nats://127.0.0.1:1", "amqp://user:pass@127.0.0.1:1/purepool"} {
		b := mustOpen(t, Config{URL: url})
		if err := b.Ready(t.Context()); err == nil {
			t.Errorf("%s is called ready", url)
		}
		p := startPublisher(t, b, PublisherConfig{Networks: []string{"test"}, SpoolDir: t.TempDir()})
		start := time.Now()
		if err := p.Publish(t.Context(), "test", newShare(1)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("known to be away, and yet waited for %v", took)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, callers := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("bare-fsync-%d", callers), func(b *testing.B) { benchFsync(b, min(callers, 288)) })
		b.Run(fmt.Sprintf("callers-%d", callers), func(b *testing.B) { benchPublish(b, callers) })
	}
}

func benchPublish(b *testing.B, callers int) {
	br := mustOpen(b, Config{URL: "embedded:" + b.TempDir()})
	mustProvision(b, br, "test")
	p := startPublisher(b, br, PublisherConfig{Networks: []string{"test"}})
	b.SetBytes(3438)
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			s := newShare(1)
			for left.Add(-1) >= 0 {
				if err := p.Publish(b.Context(), "test", s); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "shares/s")
}

// benchFsync appends the same bytes to a file, as many shares for each fsync as
// there are callers but no more than an envelope holds: the disk's own bound.
func benchFsync(b *testing.B, group int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 3520*group)
	b.SetBytes(3438)
	for n := 0; n < b.N; n += group {
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "shares/s")
}
