package pool

import (
	"context"
	"errors"
	"sync"
)

// errGroupClosed is what do returns once the group has ended.
var errGroupClosed = errors.New("shutting down")

// group turns many concurrent calls into few: while one call is under way, the
// next ones gather, and leave together when it returns. A lone call never
// waits, and nothing is timed: the busier the pool, the larger the groups.
//
// A group of several that fails is tried again one by one where retryAlone says
// that the fault may lie with one of them, so that nobody pays for another's
// bad row.
type group[In, Out any] struct {
	call       func(context.Context, []In) ([]Out, error)
	retryAlone func(error) bool
	size       int // most items of one call
	items      chan groupItem[In, Out]
	done       <-chan struct{}
	wg         sync.WaitGroup
}

type groupItem[In, Out any] struct {
	in    In
	reply chan groupReply[Out] // capacity 1: a caller that has left blocks nobody
}

type groupReply[Out any] struct {
	out Out
	err error
}

// newGroup starts lanes goroutines, each of which runs one call at a time, until
// ctx ends. wait returns when they have all returned.
func newGroup[In, Out any](
	ctx context.Context, lanes, size int, retryAlone func(error) bool,
	call func(context.Context, []In) ([]Out, error),
) *group[In, Out] {
	g := &group[In, Out]{
		call: call, retryAlone: retryAlone, size: size,
		items: make(chan groupItem[In, Out], size),
		done:  ctx.Done(),
	}
	for range lanes {
		g.wg.Go(func() { g.lane(ctx) })
	}
	return g
}

// wait returns once all lanes have ended.
func (g *group[In, Out]) wait() { g.wg.Wait() }

// do runs one item, together with whatever else is waiting. Safe for concurrent
// use.
func (g *group[In, Out]) do(ctx context.Context, in In) (out Out, err error) {
	item := groupItem[In, Out]{in: in, reply: make(chan groupReply[Out], 1)}
	select {
	case g.items <- item:
	case <-ctx.Done():
		return out, ctx.Err()
	case <-g.done:
		return out, errGroupClosed
	}
	select {
	case r := <-item.reply:
		return r.out, r.err
	case <-ctx.Done():
		return out, ctx.Err()
	case <-g.done:
		return out, errGroupClosed
	}
}

func (g *group[In, Out]) lane(ctx context.Context) {
	items := make([]groupItem[In, Out], 0, g.size)
	ins := make([]In, 0, g.size)
	for {
		items, ins = items[:0], ins[:0]
		select {
		case <-ctx.Done():
			return
		case item := <-g.items:
			items = append(items, item)
		}
	gather:
		for len(items) < g.size {
			select {
			case item := <-g.items:
				items = append(items, item)
			default:
				break gather
			}
		}
		for _, item := range items {
			ins = append(ins, item.in)
		}
		g.run(ctx, items, ins)
	}
}

func (g *group[In, Out]) run(ctx context.Context, items []groupItem[In, Out], ins []In) {
	outs, err := g.call(ctx, ins)
	if err == nil {
		for i, item := range items {
			item.reply <- groupReply[Out]{out: outs[i]}
		}
		return
	}
	if len(items) == 1 || !g.retryAlone(err) {
		for _, item := range items {
			item.reply <- groupReply[Out]{err: err}
		}
		return
	}
	for i := range items {
		g.run(ctx, items[i:i+1], ins[i:i+1])
	}
}
