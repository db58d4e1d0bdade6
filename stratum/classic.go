package stratum

import (
	"context"
	"net/netip"
	"strings"

	"purepool/pool"
	"purepool/pool/job"
)

// The classic dialect: the HTTP actions as methods, and subscribe, authorize,
// notify, submit for generic clients. Whatever the front desk is asked runs on a
// caller, since it may wait for the database or the queue.

func (s *session) dispatchClassic(which method, m *message) {
	switch which {
	case methodAuthorize:
		s.authorizeClassic(m)
	case methodSubmit:
		s.submitClassic(m)
	case methodReadyToMine:
		s.readyToMine(m)
	case methodSolution:
		s.solution(m)
	case methodExtranonceSubscribe, methodSuggestDifficulty, methodSuggestTarget:
		s.result(m, "false") // the front desk sets the target
	case methodConfigure:
		s.result(m, "{}")
	case methodGetTransactions:
		s.result(m, "[]")
	default:
		s.unknownMethod(m)
	}
}

// callDesk queues a request for the front desk, answered in its turn.
func (s *session) callDesk(m *message, call func(context.Context, *op)) {
	o := s.loop.newOp(s, opCall)
	if m == nil {
		o.silent = true
	} else {
		o.setID(m.id)
	}
	o.call = call
	s.link(o)
	s.srv().callers.push(o)
}

// minerName writes a worker as the front desk wants it: ADDRESS/worker.
func minerName(user string) string {
	address, worker := splitWorker(user)
	if worker == "" {
		return address
	}
	return address + "/" + worker
}

// authorizeClassic answers mining.authorize and sends the first work.
func (s *session) authorizeClassic(m *message) {
	user, _, ok := credentials(m)
	if !ok {
		s.refuse(m, answer{24, "A worker is written ADDRESS.name"})
		return
	}
	if !s.mayCall(m) {
		return
	}
	w := &worker{name: string(user)}
	s.set(suspended)
	s.requestWork(m, s.workRequest(w), func(grant pool.WorkGrant, o *op) {
		o.buf = append(o.buf, "true"...)
		o.then = func(s *session) {
			if _, ok := s.authorize(w); ok {
				s.notifyWork(grant, true)
			}
		}
	})
}

func (s *session) workRequest(w *worker) pool.WorkRequest {
	return pool.WorkRequest{
		Network: s.port.Network, Miner: pool.Field{Value: minerName(w.name), Present: true},
		Agent: s.agent, RemoteIP: s.addr,
	}
}

// requestWork asks the front desk for work; granted runs on the caller.
func (s *session) requestWork(m *message, r pool.WorkRequest, granted func(pool.WorkGrant, *op)) {
	desk, log := s.srv().cfg.Desk, s.srv().log
	s.callDesk(m, func(ctx context.Context, o *op) {
		grant, err := desk.RequestWork(ctx, r)
		if err != nil {
			o.fault = faultOf(err, 20, log)
			return
		}
		granted(grant, o)
	})
}

// notifyWork sends mining.notify [work_id, pool_address, hash_target, miner_guid,
// clean].
func (s *session) notifyWork(g pool.WorkGrant, clean bool) {
	s.workSince = seconds(s.now())
	b := append(s.loop.out, notifyHead...)
	b = b[:len(b)-1] // without the quote
	for _, text := range []string{g.WorkID, g.PoolAddress, g.HashTarget, g.MinerGUID} {
		b = appendText(b, text)
		b = append(b, ',')
	}
	if clean {
		b = append(b, "true]}\n"...)
	} else {
		b = append(b, "false]}\n"...)
	}
	s.loop.out = b
}

// refreshWork gives a miner new work before its old one expires.
func (s *session) refreshWork() {
	if s.worker == nil || s.head != nil || !s.has(subscribed) ||
		since(s.workSince, s.now()) < s.srv().cfg.WorkRefresh {
		return
	}
	s.workSince = seconds(s.now()) // where it fails, try again no sooner
	srv := s.srv()
	if srv.calls.Add(1) > int64(srv.cfg.Limits.Calls) {
		srv.calls.Add(-1)
		return
	}
	s.requestWork(nil, s.workRequest(s.worker), func(grant pool.WorkGrant, o *op) {
		o.then = func(s *session) { s.notifyWork(grant, false) }
	})
}

// submitClassic answers mining.submit.
func (s *session) submitClassic(m *message) {
	s.handIn(m, readSubmit(m, s.authorized))
}

// solution answers the method of the same name.
func (s *session) solution(m *message) { s.handIn(m, readSolution(m, s.port.Network)) }

// readyToMine answers readytomine2, whose params are the HTTP headers.
func (s *session) readyToMine(m *message) {
	var r pool.WorkRequest
	r.Network, r.RemoteIP = s.port.Network, s.addr
	for o := membersOf(m.params); ; {
		key, raw, ok := o.next()
		if !ok {
			break
		}
		text, isText := scalar(raw)
		switch {
		case !isText:
		case header(key, "Miner"):
			r.Miner = pool.Field{Value: text, Present: true}
		case header(key, "NetworkID"):
			r.Network = text
		case header(key, "OS"):
			r.OS = text
		case header(key, "Agent"):
			r.Agent = text
		case header(key, "ThreadID"):
			r.ThreadID = text
		}
	}
	if r.Network != s.port.Network {
		s.refuse(m, answer{20, "Invalid network"})
		return
	}
	if !s.mayCall(m) {
		return
	}
	s.requestWork(m, r, func(g pool.WorkGrant, o *op) {
		b := append(o.buf, `{"ADDRESS":`...)
		b = appendText(b, g.PoolAddress)
		b = append(b, `,"HASHTARGET":`...)
		b = appendText(b, g.HashTarget)
		b = append(b, `,"MINERGUID":`...)
		b = appendText(b, g.MinerGUID)
		b = append(b, `,"WORKID":`...)
		b = appendText(b, g.WorkID)
		o.buf = append(b, '}')
		o.then = func(s *session) {
			_, _ = s.authorize(&worker{name: r.Miner.Value}) // who got work may stay
		}
	})
}

// handing is what a request hands in, or why it is refused.
type handing struct {
	raw     []byte // the solution as JSON, within the line; nil: it is missing
	result  string // is answered; where it is empty the receipt is
	refusal answer // code 0: none
	outcome Outcome
}

// readSubmit reads mining.submit [worker, solution].
func readSubmit(m *message, authorized func(name []byte) *worker) handing {
	params := listOf(m.params)
	user, ok := params.nextText()
	raw, ok2 := params.next()
	switch {
	case !ok || !ok2 || !isText(raw):
		return handing{refusal: Malformed.answer(), outcome: Malformed}
	case authorized(user) == nil:
		return handing{refusal: Unauthorized.answer(), outcome: Unauthorized}
	}
	return handing{raw: raw, result: "true"}
}

// readSolution reads solution {NetworkID, Solution}.
func readSolution(m *message, network string) (h handing) {
	named := network
	for o := membersOf(m.params); ; {
		key, value, ok := o.next()
		if !ok {
			break
		}
		switch {
		case header(key, "Solution") && isText(value):
			h.raw = value
		case header(key, "Solution"):
			h.raw = nil
		case header(key, "NetworkID"):
			named, _ = scalar(value)
		}
	}
	if named != network {
		h.refusal = answer{20, "Invalid network"}
	}
	return h
}

func isText(raw []byte) bool { return len(raw) >= 2 && raw[0] == '"' }

// handIn hands a solution to the front desk.
func (s *session) handIn(m *message, h handing) {
	if h.refusal.code != 0 {
		s.refused(h.outcome)
		s.refuse(m, h.refusal)
		return
	}
	srv := s.srv()
	size := 2 * len(h.raw) // here, and at the front desk
	if !srv.memory.take(size, s.worker != nil) {
		s.count(Busy)
		s.refuse(m, Busy.answer())
		return
	}
	if !s.mayCall(m) {
		srv.memory.give(size)
		s.port.metrics.shares[Busy].Inc()
		return
	}
	s.callDesk(m, srv.submission(&h, s.port.Network, s.addr, s.moment()).submit)
	s.tail.charged = size
}

// refused counts a solution that was refused, unless there was none.
func (s *session) refused(o Outcome) {
	if o != Accepted {
		s.count(o)
	}
}

// submission is a solution on its way to the front desk.
type submission struct {
	srv     *Server
	request pool.SolutionRequest
	result  string // of its handing
}

// submission copies a solution out of its line.
func (srv *Server) submission(h *handing, network string, from netip.Addr, received job.Moment) *submission {
	x := &submission{srv, pool.SolutionRequest{Network: network, RemoteIP: from, ReceivedAt: received.Time()}, h.result}
	if text, ok := plain(h.raw); ok {
		x.request.Solution = pool.Field{Value: string(text), Present: true}
	}
	return x
}

// submit runs on a caller.
func (x *submission) submit(ctx context.Context, o *op) {
	receipt, err := x.srv.cfg.Desk.SubmitSolution(ctx, x.request)
	x.request.Solution.Value = ""
	outcome := Accepted
	switch {
	case err != nil:
		o.fault = faultOf(err, 20, x.srv.log)
		outcome = classicOutcome(err)
	case x.result != "":
		o.buf = append(o.buf, x.result...)
	default:
		b := append(o.buf, `{"STATUS":"ok","WORKID":`...)
		b = appendText(b, receipt.WorkID)
		o.buf = append(b, '}')
	}
	o.then = func(s *session) { s.count(outcome) }
}

func classicOutcome(err error) Outcome {
	refusal, ok := asRefusal(err)
	if !ok {
		return Busy
	}
	switch refusal.Kind {
	case pool.KindUnavailable:
		return Busy
	case pool.KindUnknownWork, pool.KindWorkExpired:
		return Stale
	case pool.KindDuplicate:
		return Duplicate
	case pool.KindHashTargetExceeded:
		return LowDifficulty
	case pool.KindMinerDisabled, pool.KindWorkerInvalid, pool.KindWorkerMissing:
		return Unauthorized
	}
	return Malformed
}

// header compares a key with the name of an HTTP header, in any case.
func header(key []byte, name string) bool { return strings.EqualFold(string(key), name) }

// scalar returns a string's content, or a number's or a boolean's text.
func scalar(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
		return "", false
	}
	if content, ok := plain(raw); ok {
		return string(content), true
	}
	return string(raw), true
}
