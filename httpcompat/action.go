package httpcompat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	"purepool/pool"
)

// request is what a head says, in strings of its own.
type request struct {
	action     pool.Field
	network    string
	miner      pool.Field
	solution   pool.Field
	os         string
	agent      string
	thread     string
	forwarded  string
	realIP     string
	receivedAt time.Time
}

// maxShort is the longest value, in bytes, that is taken of any field but the
// solution. The front desk cuts names much shorter; the point here is that nobody
// can make it remember megabytes.
const maxShort = 4 << 10

// takeRequest copies what matters out of buf.
func takeRequest(h *head, buf []byte) (r request) {
	take := func(f field, limit int) (p pool.Field) {
		p.Value, p.Present = h.text(buf, f, limit)
		return p
	}
	r.action = take(fieldAction, maxShort)
	r.network = take(fieldNetworkID, maxShort).Value
	r.miner = take(fieldMiner, maxShort)
	r.os = take(fieldOS, maxShort).Value
	r.agent = take(fieldAgent, maxShort).Value
	r.thread = take(fieldThreadID, maxShort).Value
	r.forwarded = take(fieldForwardedFor, len(buf)).Value // its end counts
	r.realIP = take(fieldRealIP, maxShort).Value
	if r.action.Value == actionSolution {
		r.solution = take(fieldSolution, len(buf))
	}
	return r
}

// result is an answer and what to count it as.
type result struct {
	answer  []byte
	action  string
	outcome outcome
	request pool.RequestID // 0 where the front desk was not asked
}

// act lets the front desk do what r asks for and appends the answer to b.
func (s *Server) act(ctx context.Context, b []byte, r *request, client netip.Addr) result {
	ctx, cancel := context.WithTimeout(ctx, s.limits.DeskTimeout)
	defer cancel()
	id := pool.RequestID(rand.Uint32())
	switch r.action.Value {
	case actionWork:
		grant, err := s.requestWork(ctx, pool.WorkRequest{
			Network: r.network, Miner: r.miner, OS: r.os, Agent: r.agent, ThreadID: r.thread, RemoteIP: client,
		})
		if err != nil {
			return s.refuse(b, id, actionWork, err)
		}
		return result{appendGrant(b, grant), actionWork, outcomeOK, id}
	case actionSolution:
		receipt, err := s.submitSolution(ctx, pool.SolutionRequest{
			Network: r.network, Solution: r.solution, RemoteIP: client, ReceivedAt: r.receivedAt, ID: id,
		})
		if err != nil {
			return s.refuse(b, id, actionSolution, err)
		}
		return result{appendReceipt(b, receipt), actionSolution, outcomeOK, id}
	}
	name := r.action.Value
	if !r.action.Present {
		name = "EMPTY"
	}
	return result{appendError(b, answerHead, "UNKNOWN ACTION "+name), actionNone, outcomeUnknownAction, id}
}

// refuse appends the answer to a request that the front desk turned down or could
// not deal with. What went wrong inside is for the log, not for the miner, who
// gets a number by which to ask.
func (s *Server) refuse(b []byte, id pool.RequestID, action string, err error) result {
	if refusal, ok := errors.AsType[*pool.Refusal](err); ok {
		return result{appendError(b, answerHead, refusal.Text), action, outcome(refusal.Kind), id}
	}
	out, text := outcomeFault, "The pool has a problem, please try again later"
	if errors.Is(err, context.DeadlineExceeded) {
		out, text = outcomeTimeout, "The pool took too long, please try again"
	}
	s.logFault(id, action, err)
	return result{appendError(b, answerHead, text+" (request "+id.String()+")"), action, out, id}
}

// logFault logs a fault, unless so many come at once that they only repeat
// themselves: then the next one that is logged says how many were not.
func (s *Server) logFault(id pool.RequestID, action string, err error) {
	if !s.faultLog.Allow() {
		s.faultsUnlogged.Add(1)
		return
	}
	attrs := []slog.Attr{
		slog.String("request", id.String()), slog.String("action", action), slog.Any("error", err),
		slog.Int64("unlogged", s.faultsUnlogged.Swap(0)),
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	s.log.LogAttrs(context.Background(), slog.LevelError, "Request failed", attrs...)
}

// panicError is a panic behind the front desk: one request's fault, not the end of
// the process for all miners.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{v, debug.Stack()}
	}
}

func (s *Server) requestWork(ctx context.Context, r pool.WorkRequest) (g pool.WorkGrant, err error) {
	defer recovered(&err)
	return s.desk.RequestWork(ctx, r)
}

func (s *Server) submitSolution(ctx context.Context, r pool.SolutionRequest) (rec pool.SolutionReceipt, err error) {
	defer recovered(&err)
	return s.desk.SubmitSolution(ctx, r)
}
