package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// stack runs the services of a process. They end in the reverse order of their
// start, each one before the next is told to: what takes shares ends before what
// makes them durable, and that before the broker. Used by one goroutine.
type stack struct {
	log   *slog.Logger
	parts []part
	// broken gets the first service that ended by itself.
	broken chan error
}

type part struct {
	name string
	stop func() error
}

func newStack(log *slog.Logger) *stack {
	return &stack{log: log, broken: make(chan error, 1)}
}

// run starts a service: run must last until its context ends, and may go on for
// a bounded time then to finish what it has in hand.
func (s *stack) run(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case s.broken <- fmt.Errorf("%s: %w", name, err):
			default:
			}
			err = nil // reported
		}
		ended <- err
	}()
	s.closing(name, func() error {
		cancel()
		return <-ended
	})
}

// closing adds what is to be closed when all that was started after it has ended.
func (s *stack) closing(name string, stop func() error) {
	s.parts = append(s.parts, part{name, stop})
}

// wait returns when ctx ends (nil) or a service breaks.
func (s *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.broken:
		return err
	}
}

// stop ends everything.
func (s *stack) stop() error {
	var errs []error
	for _, p := range slices.Backward(s.parts) {
		if err := p.stop(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		s.log.Debug("stopped", slog.String("part", p.name))
	}
	s.parts = nil
	return errors.Join(errs...)
}
