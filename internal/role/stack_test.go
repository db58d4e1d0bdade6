package role

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestServicesEndInReverseOrderEachBeforeTheNextIsTold(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // gnet's worker pool lives from the start
	s := newStack(slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	var events []string
	note := func(e string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	service := func(name string) {
		s.run(name, func(ctx context.Context) error {
			<-ctx.Done()
			note(name + " told")
			note(name + " ended")
			return ctx.Err()
		})
	}
	service("broker")
	s.closing("ledger", func() error { note("ledger closed"); return nil })
	service("http")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.wait(ctx); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	want := []string{"http told", "http ended", "ledger closed", "broker told", "broker ended"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}

func TestServiceThatEndsByItselfBreaksTheProcess(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // gnet's worker pool lives from the start
	broken := errors.New("listener broke")
	for name, c := range map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"with an error": {func(context.Context) error { return broken }, "http: listener broke"},
		"without one":   {func(context.Context) error { return nil }, "http: ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(slog.New(slog.DiscardHandler))
			s.run("other", func(ctx context.Context) error { <-ctx.Done(); return nil })
			s.run("http", c.run)
			if err := s.wait(t.Context()); err == nil || err.Error() != c.want {
				t.Errorf("wait: %v, want %s", err, c.want)
			}
			if err := s.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

func TestWhatFailsAtTheEndIsTold(t *testing.T) {
	s := newStack(slog.New(slog.DiscardHandler))
	s.run("publisher", func(ctx context.Context) error { <-ctx.Done(); return errors.New("not flushed") })
	s.closing("ledger", func() error { return errors.New("not closed") })
	if err := s.stop(); err == nil || err.Error() != "ledger: not closed\npublisher: not flushed" {
		t.Errorf("stop: %v", err)
	}
}
