package stratum

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"

	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
)

// The standard Stratum v1 dialect.

func (s *session) dispatchTemplate(which method, m *message) {
	switch which {
	case methodSubmit:
		s.submit(m)
	case methodAuthorize:
		s.authorizeTemplate(m)
	case methodExtranonceSubscribe:
		s.set(tellsNonce)
		s.result(m, "true")
	case methodConfigure:
		s.configure(m)
	case methodSuggestDifficulty:
		params := listOf(m.params)
		raw, _ := params.next()
		d, ok := decimal(raw)
		s.suggest(m, d, ok && d > 0)
	case methodSuggestTarget:
		params := listOf(m.params)
		text, _ := params.nextText()
		target, err := pow.ParseTarget(string(bytes.TrimPrefix(text, []byte("0x"))))
		s.suggest(m, job.DifficultyOf(s.port.book.algorithm, target), err == nil)
	case methodGetTransactions:
		s.result(m, "[]") // the job holds no transactions, only their branches
	default:
		s.unknownMethod(m)
	}
}

// suggest notes the difficulty that a miner would like. It counts for a miner
// that has not begun; one that mines has shown what it can do.
func (s *session) suggest(m *message, difficulty float64, ok bool) {
	if !ok || math.IsInf(difficulty, 0) {
		s.refuse(m, answer{20, "Not a difficulty"})
		return
	}
	if s.vary.sent == 0 {
		s.more().suggested = difficulty
	}
	s.result(m, "true")
}

// configure answers mining.configure [[extensions], {parameters}] (BIP 310).
func (s *session) configure(m *message) {
	params := listOf(m.params)
	extensions, _ := params.next()
	options, _ := params.next()
	result := []byte{'{'}
	for names := listOf(extensions); ; {
		raw, ok := names.next()
		if !ok || len(result) > 1024 {
			break
		}
		name, _ := plain(raw)
		if len(name) > 64 {
			continue
		}
		if len(result) > 1 {
			result = append(result, ',')
		}
		result = appendText(result, string(name))
		result = append(result, ':')
		switch string(name) {
		case "version-rolling":
			result = s.configureVersion(result, options)
		case "minimum-difficulty":
			if d, ok := decimal(option(options, "minimum-difficulty.value")); ok && d > 0 && !math.IsInf(d, 0) {
				s.vary.SetFloor(d)
				result = append(result, "true"...)
			} else {
				result = append(result, "false"...)
			}
		case "subscribe-extranonce":
			s.set(tellsNonce)
			result = append(result, "true"...)
		default:
			result = append(result, "false"...)
		}
	}
	out := s.out()
	*out = appendResult(*out, m.id, append(result, '}'))
}

func (s *session) configureVersion(b, options []byte) []byte {
	offered := s.port.book.versionMask()
	text, ok := plain(option(options, "version-rolling.mask"))
	if !ok {
		text = []byte("ffffffff")
	}
	asked, ok := hex32(text)
	if !ok || asked&offered == 0 {
		return append(b, "false"...)
	}
	s.set(rollsVersion)
	s.mask, s.maskSent = asked, asked&offered
	b = append(b, `true,"version-rolling.mask":"`...)
	b = appendHex32(b, s.maskSent)
	return append(b, '"')
}

func option(options []byte, name string) []byte {
	for o := membersOf(options); ; {
		key, raw, ok := o.next()
		if !ok {
			return nil
		}
		if string(key) == name {
			return raw
		}
	}
}

// authorizeTemplate answers mining.authorize [ADDRESS.worker, password]. The
// address is checked here, the worker by the door; until that has answered, the
// miner's further lines wait.
func (s *session) authorizeTemplate(m *message) {
	user, password, ok := credentials(m)
	if !ok {
		s.refuse(m, answer{24, "A worker is written ADDRESS.name"})
		return
	}
	w := &worker{name: string(user)}
	address, rig := splitWorker(w.name)
	if _, err := chain.DecodeAddress(address, s.port.book.chain); err != nil {
		s.refuse(m, answer{24, "Worker is invalid: " + err.Error()})
		return
	}
	difficulty, least := wishes(password)
	if !s.mayCall(m) {
		return
	}
	a := Arrival{Network: s.port.Network, Address: address, Worker: rig, Agent: s.agent, RemoteIP: s.addr}
	door, log := s.port.book.door, s.srv().log
	o := s.loop.newOp(s, opCall)
	o.setID(m.id)
	o.call = func(ctx context.Context, o *op) {
		admission, err := door.Admit(ctx, a)
		if err != nil {
			o.fault = faultOf(err, 24, log)
			return
		}
		o.buf = append(o.buf, "true"...)
		o.then = func(s *session) {
			w.id = admission.Worker
			s.admitWorker(w, difficulty, least)
		}
	}
	s.link(o)
	s.set(suspended)
	s.srv().callers.push(o)
}

// mayCall reports whether another request may wait for the door or the front
// desk; where not it has been answered.
func (s *session) mayCall(m *message) bool {
	srv := s.srv()
	if s.full() || srv.calls.Add(1) > int64(srv.cfg.Limits.Calls) {
		if !s.full() {
			srv.calls.Add(-1)
		}
		s.refuse(m, answer{20, "The pool is busy, please try again"})
		return false
	}
	return true
}

// faultOf is the answer where something behind the server says no: in its own
// words if it is a refusal, with none of the pool's inner life if it is not.
func faultOf(err error, code int, log *slog.Logger) answer {
	var refusal *pool.Refusal
	if !errors.As(err, &refusal) {
		log.Warn("request could not be served", slog.Any("error", err))
		return answer{20, "The pool cannot serve this at the moment, please try again in a minute"}
	}
	switch refusal.Kind {
	case pool.KindUnknownWork, pool.KindWorkExpired:
		code = 21
	case pool.KindDuplicate:
		code = 22
	case pool.KindHashTargetExceeded:
		code = 23
	case pool.KindMinerDisabled, pool.KindWorkerInvalid, pool.KindWorkerMissing:
		code = 24
	case pool.KindUnavailable:
		code = 20
	}
	return answer{code, refusal.Text}
}

// admitWorker is called when the door has let a worker in.
func (s *session) admitWorker(w *worker, difficulty, least float64) {
	if _, ok := s.authorize(w); !ok {
		return
	}
	if least > 0 {
		s.vary.SetFloor(least)
	}
	if difficulty > 0 {
		s.set(fixed)
		s.more().fixed = difficulty
		if s.vary.sent != 0 {
			s.setDifficulty(s.port.control.Start(&s.vary.State, difficulty, s.now()), &s.loop.out)
		}
	}
	s.startMining(&s.loop.out)
}

// startMining sends the first difficulty and job once the miner has subscribed
// and a worker is authorized, in whichever order.
func (s *session) startMining(out *[]byte) {
	shelf := s.port.book.shelf.Load()
	if s.vary.sent != 0 || !s.has(subscribed) || s.worker == nil || shelf.current == nil || shelf.withdrawn {
		return
	}
	now := s.now()
	d := s.port.StartDifficulty
	if known, ok := s.srv().difficulties.Recall(s.memoryKey(), now); ok {
		d = known
	}
	if s.extra != nil && s.extra.suggested > 0 {
		d = s.extra.suggested
	}
	if s.has(fixed) {
		d = s.extra.fixed
	}
	d = s.port.control.Start(&s.vary.State, d, now)
	s.vary.want = job.BitsOf(s.port.book.algorithm, d)
	s.send(out, shelf.current, shelf.current.key+firstEpoch(s.extranonce1), true)
}

// send sends a job, and before it whatever has to be known to work on it.
func (s *session) send(out *[]byte, open *openJob, key uint64, clean bool) bool {
	v := &s.vary
	if size := open.job.Extranonce2Size; size != s.extranonce2Size {
		if !s.has(tellsNonce) {
			s.fail(ClosedExtranonce)
			return false
		}
		s.extranonce2Size = size
		*out = appendSetExtranonce(*out, s.extranonce1, size)
	}
	if s.has(rollsVersion) && s.mask&open.job.VersionMask != s.maskSent {
		s.maskSent = s.mask & open.job.VersionMask
		*out = appendSetVersionMask(*out, s.maskSent)
	}
	if v.want != v.asked.bits[0] && v.asked.room(s.port.book.shelf.Load().oldest) {
		v.asked.add(key, v.want)
		*out = appendSetDifficulty(*out, v.Difficulty())
	}
	v.sent = key
	*out = appendNotify(*out, key, open.notification(v.asked.bits[0]).body, clean)
	return true
}

// renew brings a session up to the current job, on its loop.
func (l *loop) renew(s *session, b *book) {
	shelf := b.shelf.Load()
	open := shelf.current
	if s.port.book != b || open == nil || s.vary.sent >= open.key || s.has(closed) || !s.has(subscribed) || s.worker == nil {
		return
	}
	if s.vary.sent == 0 {
		s.startMining(&l.out)
		return
	}
	// Where a clean job was passed over, this one is clean for the session.
	clean := open.job.Clean || s.vary.sent < shelf.cleanKey
	if s.vary.want == s.vary.asked.bits[0] && clean == open.job.Clean &&
		s.extranonce2Size == open.job.Extranonce2Size && (!s.has(rollsVersion) || s.mask&open.job.VersionMask == s.maskSent) {
		s.vary.sent = open.key
		s.write(open.notification(s.vary.asked.bits[0]).line) // the same bytes for everybody, or of one target
		return
	}
	s.send(&l.out, open, open.key, clean)
}

// replaceGrace is how long shares are taken that were made for a difficulty
// before the same job was sent again with another one: as long as a line takes
// to the miner and back. Beyond it a miner could choose, for every share it has
// found, the difficulty that pays best.
const replaceGrace = 5 * time.Second

// setDifficulty changes what jobs ask from now on. The current job is sent again
// with the new difficulty; where that cannot be, the next job brings it.
func (s *session) setDifficulty(d float64, out *[]byte) {
	v := &s.vary
	bits := job.BitsOf(s.port.book.algorithm, d)
	v.want = bits
	shelf := s.port.book.shelf.Load()
	if bits == v.asked.bits[0] || shelf.current == nil || shelf.withdrawn || v.sent>>epochBits != shelf.current.job.Seq ||
		v.sent&lastEpoch == lastEpoch || !v.asked.room(shelf.oldest) {
		return
	}
	s.replacedAt = seconds(s.now())
	s.send(out, shelf.current, v.sent+1, true)
}

// retarget is what vardiff has decided.
func (s *session) retarget(d float64, changed bool, out *[]byte) {
	if !changed {
		return
	}
	s.set(found)
	before := job.DifficultyOf(s.port.book.algorithm, s.vary.want.Target())
	if d > before {
		s.port.metrics.retargetUp.Inc()
	} else {
		s.port.metrics.retargetDn.Inc()
	}
	s.setDifficulty(d, out)
}

// memoryKey is what a worker's difficulty is remembered by.
func (s *session) memoryKey() workerKey { return workerKey{s.port.Name, s.worker.name} }

// remember keeps the difficulty for the next connection of the worker.
func (s *session) remember() {
	if s.has(found) && !s.has(fixed) && s.worker != nil {
		s.srv().difficulties.Remember(s.memoryKey(), s.vary.Difficulty(), s.now())
	}
}

// submit takes mining.submit [worker, job, extranonce2, time, nonce, version
// bits]: shape, worker, job, time, duplicate, in this order; the proof is left to
// the checkers.
func (s *session) submit(m *message) {
	outcome, o := s.share(m)
	if outcome != Accepted {
		s.count(outcome)
		if !s.has(closed) {
			s.refuse(m, outcome.answer())
		}
		return
	}
	o.setID(m.id)
	s.link(o)
	s.loop.batch = append(s.loop.batch, o)
}

func (s *session) share(m *message) (Outcome, *op) {
	params := listOf(m.params)
	user, ok1 := params.nextText()
	jobText, ok2 := params.nextText()
	nonce2Text, ok3 := params.nextText()
	timeText, ok4 := params.nextText()
	nonceText, ok5 := params.nextText()
	ntime, okTime := hex32(timeText)
	nonce, okNonce := hex32(nonceText)
	f := job.Found{Extranonce1: s.extranonce1, Extranonce2Size: s.extranonce2Size, Time: ntime, Nonce: nonce}
	okNonce2 := hexBytes(f.Extranonce2[:s.extranonce2Size], nonce2Text)
	var versionBits uint32
	okVersion := true
	if raw, ok := params.next(); ok && string(raw) != "null" {
		text, _ := plain(raw)
		versionBits, okVersion = hex32(text)
	}
	w := s.authorized(user)
	switch {
	case !(ok1 && ok2 && ok3 && ok4 && ok5 && okTime && okNonce && okVersion):
		return Malformed, nil
	case !s.has(subscribed):
		return Unsubscribed, nil
	case w == nil:
		return Unauthorized, nil
	}
	shelf := s.port.book.shelf.Load()
	n := shelf.named(jobText)
	open := n.open
	if open == nil {
		return Stale, nil
	}
	target, asked := s.asked(&n)
	switch {
	case !asked:
		return Stale, nil
	case !okNonce2 || int(open.job.Extranonce2Size) != int(s.extranonce2Size):
		return Malformed, nil
	case versionBits&^open.job.VersionMask != 0:
		return Malformed, nil
	}
	f.VersionBits = versionBits
	if open.job.BindsTarget {
		f.Target = target
	}
	received := s.moment()
	switch srv := s.srv(); {
	case !open.job.TimeAllowed(ntime, received):
		return TimeRange, nil
	case s.full() || int(srv.inFlight.Load())+len(s.loop.batch) >= srv.cfg.Limits.InFlight:
		return Busy, nil
	case !open.seen.Add(&f):
		return Duplicate, nil
	}
	o := s.loop.newOp(s, opShare)
	o.open, o.found, o.target, o.worker, o.received = open, f, target, w.id, received
	o.stale = n.key < shelf.cleanKey || shelf.withdrawn
	return Accepted, o
}

// judged writes the answer to a share and lets vardiff see it.
func (s *session) judged(o *op) {
	s.port.metrics.checkSeconds.Observe(float64(s.moment()-o.received) / 1e6)
	s.count(o.outcome)
	if s.has(closed) {
		return
	}
	out := &s.loop.out
	if o.outcome != Accepted {
		*out = appendError(*out, o.id(), o.outcome.answer())
		return
	}
	*out = appendResult(*out, o.id(), "true")
	if !s.has(fixed) {
		asked := job.DifficultyOf(s.port.book.algorithm, o.target.Target())
		d, changed := s.port.control.Share(&s.vary.State, asked, s.now())
		s.retarget(d, changed, out)
	}
}

// count notes what became of a share, and closes the session where its address
// has earned a ban.
func (s *session) count(o Outcome) {
	srv := s.srv()
	s.port.metrics.shares[o].Inc()
	if o == Accepted {
		s.forgive(chatterPerShare)
	}
	if o != Accepted && !o.invalid() {
		return
	}
	if srv.guard.share(s.from, o.invalid(), s.now()) {
		srv.banned(s.addr, "invalid_shares")
		// Not an answer: it does not wait for the answers before it.
		s.loop.out = appendShowMessage(s.loop.out, "Too many invalid shares: banned for "+strconv.Itoa(int(srv.cfg.Limits.BanTime.Minutes()))+" minutes")
		s.fail(ClosedBanned)
	}
}
