package stratum

import (
	"context"
	"strings"

	"purepool/pool"
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

// submitClassic answers mining.submit [worker, solution].
func (s *session) submitClassic(m *message) {
	params := listOf(m.params)
	user, ok := params.nextText()
	raw, ok2 := params.next()
	switch {
	case !ok || !ok2 || len(raw) < 2 || raw[0] != '"':
		s.count(Malformed)
		s.refuse(m, Malformed.answer())
		return
	case s.authorized(user) == nil:
		s.count(Unauthorized)
		s.refuse(m, Unauthorized.answer())
		return
	}
	s.handIn(m, s.port.Network, raw, true, "true")
}

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

// solution answers the method of the same name.
func (s *session) solution(m *message) {
	network := s.port.Network
	var raw []byte
	for o := membersOf(m.params); ; {
		key, value, ok := o.next()
		if !ok {
			break
		}
		switch {
		case header(key, "Solution"):
			raw = value
		case header(key, "NetworkID"):
			network, _ = scalar(value)
		}
	}
	if network != s.port.Network {
		s.refuse(m, answer{20, "Invalid network"})
		return
	}
	present := len(raw) >= 2 && raw[0] == '"'
	s.handIn(m, network, raw, present, "")
}

// handIn hands a solution to the front desk; result is the answer, and where it
// is empty the receipt is.
func (s *session) handIn(m *message, network string, raw []byte, present bool, result string) {
	srv := s.srv()
	size := 2 * len(raw) // here, and at the front desk
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
	r := pool.SolutionRequest{Network: network, RemoteIP: s.addr, ReceivedAt: s.moment().Time()}
	if present {
		text, _ := plain(raw)
		r.Solution = pool.Field{Value: string(text), Present: true}
	}
	desk, log := srv.cfg.Desk, srv.log
	s.callDesk(m, func(ctx context.Context, o *op) {
		receipt, err := desk.SubmitSolution(ctx, r)
		r.Solution.Value = ""
		outcome := Accepted
		switch {
		case err != nil:
			o.fault = faultOf(err, 20, log)
			outcome = classicOutcome(err)
		case result != "":
			o.buf = append(o.buf, result...)
		default:
			b := append(o.buf, `{"STATUS":"ok","WORKID":`...)
			b = appendText(b, receipt.WorkID)
			o.buf = append(b, '}')
		}
		o.then = func(s *session) { s.count(outcome) }
	})
	s.tail.charged = size
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
