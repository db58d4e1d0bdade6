package bbprpc

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// chunk is what goes into one HTTP exchange. Call number i has the id i, also
// when only some of them are sent again.
type chunk struct {
	calls  []*Call
	bodies [][]byte
}

// chunks encodes calls and cuts them into chunks of at most MaxBatch calls and,
// where a single call is not larger than that, maxRequest bytes. A call that
// cannot be encoded gets its Err and is left out.
func (c *Client) chunks(calls []*Call) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		var ch chunk
		size := 0
		for _, call := range calls {
			body, err := encodeCall(call, len(ch.calls))
			if err != nil {
				call.Err = fmt.Errorf("bbprpc: encode %s: %w", call.method, err)
				continue
			}
			if len(ch.calls) == c.cfg.MaxBatch || len(ch.calls) > 0 && size+len(body) > maxRequest {
				if !yield(ch) {
					return
				}
				ch, size = chunk{}, 0
				if body, err = encodeCall(call, 0); err != nil {
					call.Err = fmt.Errorf("bbprpc: encode %s: %w", call.method, err)
					continue
				}
			}
			ch.calls, ch.bodies = append(ch.calls, call), append(ch.bodies, body)
			size += len(body)
		}
		if len(ch.calls) > 0 {
			yield(ch)
		}
	}
}

// exchange makes the calls of a chunk at the first daemon that answers and sets
// their Err.
func (c *Client) exchange(ctx context.Context, ch chunk) {
	pending := make([]int, len(ch.calls))
	for i, call := range ch.calls {
		pending[i], call.Err = i, nil
	}
	tried := make([]bool, len(c.endpoints))
	// First the daemons that are up, in order of preference; only where none of
	// them answers, those that were away and have been left alone for long enough.
	for _, wantUp := range []bool{true, false} {
		for i, e := range c.endpoints {
			if tried[i] || e.up() != wantUp || !wantUp && !e.due(c.nowFn()) {
				continue
			}
			tried[i] = true
			c.attempt(ctx, e, ch, pending)
			if pending = ch.unanswered(pending); len(pending) == 0 || ctx.Err() != nil {
				break
			}
		}
		if len(pending) == 0 || ctx.Err() != nil {
			break
		}
	}
	for _, i := range pending {
		if call := ch.calls[i]; call.Err == nil {
			call.Err = c.allAway(ctx)
		}
	}
	for _, call := range ch.calls {
		c.metrics.count(call)
	}
}

// unanswered returns those of the calls that the next daemon may be asked.
func (ch chunk) unanswered(sent []int) []int {
	var rest []int
	for _, i := range sent {
		call := ch.calls[i]
		var away *AwayError
		if errors.As(call.Err, &away) && (away.NotExecuted || call.harmless()) {
			rest = append(rest, i)
		}
	}
	return rest
}

// allAway is the error of a call that was sent nowhere.
func (c *Client) allAway(ctx context.Context) error {
	preferred := c.endpoints[0]
	if err := ctx.Err(); err != nil {
		return preferred.awayError(AwayCancelled, true, err)
	}
	preferred.mu.Lock()
	cause := preferred.lastErr
	preferred.mu.Unlock()
	if cause == nil {
		cause = errors.New("it was away a moment ago")
	}
	var away *AwayError
	if errors.As(cause, &away) {
		cause = away.Err // its daemon is named once
	}
	return preferred.awayError(AwayBackOff, true, cause)
}

// attempt makes the calls with the given numbers at one daemon, in one exchange,
// and sets their Err.
func (c *Client) attempt(ctx context.Context, e *endpoint, ch chunk, pending []int) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		ch.setAll(pending, e.awayError(AwayCancelled, true, ctx.Err()))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()

	start := c.nowFn()
	body, away := e.post(ctx, ch.request(pending), ch.harmless(pending))
	c.metrics.observe(e.name, c.nowFn().Sub(start))
	if away != nil {
		ch.setAll(pending, away)
		if away.Reason != AwayCancelled {
			e.failed(c.nowFn(), away)
			// A daemon that is stopping answers 503 and waits for us to hang up.
			c.transport.CloseIdleConnections()
		}
		return
	}

	var outcomes []outcome
	if len(ch.calls) == 1 {
		outcomes = []outcome{parseSingle(body)}
	} else {
		outcomes = parseBatch(body, len(ch.calls))
	}
	var trouble *AwayError // of the daemon as a whole
	answered := false
	for _, i := range pending {
		answered = answered || outcomes[i].garbled == nil
	}
	for _, i := range pending {
		ch.calls[i].Err = e.settle(ch.calls[i], outcomes[i])
		var away *AwayError
		if errors.As(ch.calls[i].Err, &away) {
			away.Answered = answered && away.Reason != AwayWarmingUp
			if trouble == nil || away.Reason == AwayWarmingUp {
				trouble = away
			}
		}
	}
	if trouble != nil && (!answered || trouble.Reason == AwayWarmingUp) {
		e.failed(c.nowFn(), trouble)
		return
	}
	e.heard(c.nowFn())
}

func (ch chunk) setAll(calls []int, err error) {
	for _, i := range calls {
		ch.calls[i].Err = err
	}
}

func (ch chunk) harmless(calls []int) bool {
	for _, i := range calls {
		if !ch.calls[i].harmless() {
			return false
		}
	}
	return true
}

// request returns the body that asks for the given calls: an object where the
// chunk is one call, and else an array.
func (ch chunk) request(calls []int) []byte {
	if len(ch.calls) == 1 {
		return ch.bodies[0]
	}
	size := 2
	for _, i := range calls {
		size += len(ch.bodies[i]) + 1
	}
	body := append(make([]byte, 0, size), '[')
	for n, i := range calls {
		if n > 0 {
			body = append(body, ',')
		}
		body = append(body, ch.bodies[i]...)
	}
	return append(body, ']')
}

// settle turns what came back for a call into its Err, and puts a result in its
// place.
func (e *endpoint) settle(call *Call, o outcome) error {
	switch {
	case o.garbled != nil:
		return e.awayError(AwayGarbled, false, o.garbled)
	case o.refusal != nil:
		// As text only: errors.As must not find a refusal of the call in these.
		switch o.refusal.Code {
		case codeWarmingUp:
			return e.awayError(AwayWarmingUp, true, errors.New(o.refusal.Message))
		case codeOutOfMemory, codeInternal, codeParse:
			return e.awayError(AwayFault, false, errors.New(o.refusal.Error()))
		}
		return o.refusal
	}
	err := call.decode(o.result)
	var refusal *DaemonError
	if err == nil || errors.Is(err, ErrNoBibleHash) || errors.Is(err, ErrBlockNotFound) || errors.As(err, &refusal) {
		return err
	}
	return e.awayError(AwayGarbled, false, fmt.Errorf("result of %s: %w", call.label(), err))
}
