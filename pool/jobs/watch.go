package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"purepool/bbprpc"
	"purepool/pool/chain"
)

// Daemon is one coin daemon as the maker needs it. *bbprpc.Client, limited to one
// daemon (its Daemons), is one.
type Daemon interface {
	Name() string
	ChainState(ctx context.Context) (bbprpc.ChainState, error)
	BlockTemplate(ctx context.Context, rules []string) (bbprpc.BlockTemplate, error)
	LongPoll(ctx context.Context, rules []string, longPollID string) (bbprpc.BlockTemplate, error)
	Propose(ctx context.Context, rules []string, block []byte) (reason string, err error)
}

var errNotSynced = errors.New("the daemon has not all the blocks that it has heard of")

// watcher keeps an eye on one daemon.
type watcher struct {
	Daemon
	rules   []string
	poll    time.Duration
	changed func() // to be called when something may have changed
	// newTip is called with where a new tip was first seen: longpoll or poll.
	newTip func(source string)
	poke   chan struct{} // capacity 1: look at once

	mu    sync.Mutex // guards what follows
	state bbprpc.ChainState
	err   error // why state is not known; nil where it is
	known bool
	// fresh is a template that came with a long poll and was not used yet.
	fresh *bbprpc.BlockTemplate
}

func (w *watcher) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { w.runPolls(ctx) })
	both.Go(func() { w.runLongPolls(ctx) })
	both.Wait()
}

// runPolls asks for the chain's state every now and then: it finds out that a
// daemon hangs, which a long poll does not, and new tips of daemons that have no
// long polling.
func (w *watcher) runPolls(ctx context.Context) {
	tick := time.NewTicker(w.poll)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.poke:
		}
	}
}

// notify lets the daemon be asked at once. It never waits.
func (w *watcher) notify() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

func (w *watcher) look(ctx context.Context) {
	state, err := w.ChainState(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil && !state.Synced() {
		err = errNotSynced
	}
	w.mu.Lock()
	before, was := w.state, w.known && w.err == nil
	w.state, w.err, w.known = state, err, true
	w.mu.Unlock()
	moved := err == nil && before.Best != state.Best
	if was != (err == nil) || moved {
		w.changed()
	}
	if moved {
		w.newTip("poll")
	}
}

// runLongPolls waits at the daemon for its next template, again and again.
func (w *watcher) runLongPolls(ctx context.Context) {
	wait := w.poll
	for {
		err := w.longPoll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			wait = w.poll
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, 10*time.Second)
	}
}

var errNoLongPoll = errors.New("the daemon has no long polling")

func (w *watcher) longPoll(ctx context.Context) error {
	t, err := w.BlockTemplate(ctx, w.rules)
	for err == nil {
		if t.LongPollID == "" {
			return errNoLongPoll
		}
		var next bbprpc.BlockTemplate // each its own: it is handed on
		if next, err = w.LongPoll(ctx, w.rules, t.LongPollID); err == nil {
			w.offer(&next)
			t = next
		}
	}
	return err
}

// offer notes a template that nobody asked for.
func (w *watcher) offer(t *bbprpc.BlockTemplate) {
	w.mu.Lock()
	w.fresh = t
	moved := t.Prev != w.state.Best
	if w.known && w.err == nil && int64(t.Height)-1 >= w.state.Blocks {
		w.state.Blocks, w.state.Best = int64(t.Height)-1, t.Prev
		w.state.Headers = max(w.state.Headers, w.state.Blocks)
	}
	w.mu.Unlock()
	w.changed()
	if moved {
		w.newTip("longpoll")
	}
}

// tip returns the height and hash of the daemon's tip, and an error where it
// must not be mined on.
func (w *watcher) tip() (height int64, best chain.Hash, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known {
		return 0, chain.Hash{}, errors.New("the daemon has not answered yet")
	}
	return w.state.Blocks, w.state.Best, w.err
}

// template returns the daemon's template of this moment.
func (w *watcher) template(ctx context.Context) (*bbprpc.BlockTemplate, error) {
	w.mu.Lock()
	fresh := w.fresh
	if fresh != nil && fresh.Prev != w.state.Best {
		fresh = nil // the tip has changed since
	}
	w.fresh = nil
	w.mu.Unlock()
	if fresh != nil {
		return fresh, nil
	}
	t, err := w.BlockTemplate(ctx, w.rules)
	if err != nil {
		return nil, err
	}
	return &t, nil
}
