package stratum

import "strings"

// method is a method of the protocol; it labels purepool_stratum_requests_total.
type method uint8

const (
	methodOther method = iota // not known
	methodJunk                // no request at all
	methodAnswer
	methodSubscribe
	methodAuthorize
	methodSubmit
	methodExtranonceSubscribe
	methodConfigure
	methodSuggestDifficulty
	methodSuggestTarget
	methodMultiVersion
	methodGetTransactions
	methodPing
	methodReadyToMine
	methodSolution
	methods
)

func (m method) String() string {
	return [methods]string{
		"other", "junk", "answer", "mining.subscribe", "mining.authorize", "mining.submit", "mining.extranonce.subscribe",
		"mining.configure", "mining.suggest_difficulty", "mining.suggest_target", "mining.multi_version",
		"mining.get_transactions", "mining.ping", "readytomine2", "solution",
	}[min(m, methods-1)]
}

func methodOf(name []byte) method {
	switch string(name) { // does not allocate
	case "mining.submit":
		return methodSubmit
	case "mining.subscribe":
		return methodSubscribe
	case "mining.authorize":
		return methodAuthorize
	case "mining.extranonce.subscribe":
		return methodExtranonceSubscribe
	case "mining.configure":
		return methodConfigure
	case "mining.suggest_difficulty":
		return methodSuggestDifficulty
	case "mining.suggest_target":
		return methodSuggestTarget
	case "mining.multi_version":
		return methodMultiVersion
	case "mining.get_transactions":
		return methodGetTransactions
	case "mining.ping":
		return methodPing
	case "readytomine2":
		return methodReadyToMine
	case "solution":
		return methodSolution
	}
	return methodOther
}

// dispatch handles one request. What a dialect does not know is answered with an
// error, never with a hang-up.
func (s *session) dispatch(m *message) {
	which := methodOf(m.method)
	if m.method == nil && m.answer {
		which = methodAnswer
	}
	s.port.metrics.requests[which].Inc()
	if which != methodSubmit && which != methodSolution && s.talks() {
		return
	}
	switch which {
	case methodAnswer:
		s.answered(m)
	case methodPing:
		s.result(m, `"pong"`)
	case methodSubscribe:
		s.subscribe(m)
	case methodMultiVersion:
		s.result(m, "true")
	default:
		if s.port.Dialect == Classic {
			s.dispatchClassic(which, m)
		} else {
			s.dispatchTemplate(which, m)
		}
	}
}

// talks counts a request that is no share, and closes who asks without end. Time
// forgives, and so does every accepted share: a miner may subscribe after each.
func (s *session) talks() (tooMuch bool) {
	s.chatter++
	if int(s.chatter) <= s.srv().cfg.Limits.Chatter {
		return false
	}
	s.overdone()
	return true
}

const (
	chatterPerSecond = 20
	chatterPerShare  = 4
)

func (s *session) forgive(n uint16) { s.chatter -= min(s.chatter, n) }

func (s *session) result(m *message, json string) {
	out := s.out()
	*out = appendResult(*out, m.id, json)
}

func (s *session) refuse(m *message, a answer) {
	out := s.out()
	*out = appendError(*out, m.id, a)
}

func (s *session) unknownMethod(m *message) {
	const most = 64
	name := string(m.method[:min(len(m.method), most)])
	s.refuse(m, answer{20, "Unknown method " + name})
}

// answered takes an answer to something we sent. Nothing depends on any but the
// one to client.get_version.
func (s *session) answered(m *message) {
	if text, ok := plain(m.result); ok && string(m.id) == versionID {
		s.named(text)
	}
}

// named notes the miner's own name for itself, the first that it gives.
func (s *session) named(agent []byte) {
	if s.agent == "" {
		const most = 100
		s.agent = string(agent[:min(len(agent), most)])
	}
}

// subscribe answers mining.subscribe [agent, session]. Subscribing again keeps
// the extranonce, and so does coming back with the id of an earlier session: a
// miner that subscribes after every submit loses nothing. A miner that does not say
// what it is, is asked.
func (s *session) subscribe(m *message) {
	params := listOf(m.params)
	if agent, ok := params.nextText(); ok {
		s.named(agent)
	}
	earlier, _ := params.nextText()
	first := !s.has(subscribed)
	if first {
		s.set(subscribed)
		srv := s.srv()
		if x, ok := srv.seals.open(earlier); ok && x.Frontend() == srv.cfg.Frontend {
			s.extranonce1 = x
			s.set(resumed)
			s.port.metrics.resumed.Inc()
		} else {
			s.extranonce1 = srv.nextExtranonce1()
		}
		s.extranonce2Size = s.port.extranonce2Size()
	}
	out := s.out()
	*out = appendSubscribed(*out, m.id, s.srv().seals.id(s.extranonce1), s.extranonce2Size)
	if first && s.agent == "" {
		*out = appendGetVersion(*out)
	}
	if first && s.port.Dialect == Template {
		s.startMining(out)
	}
}

// splitWorker takes `ADDRESS.worker` or `ADDRESS/worker` apart. No address holds
// a dot or a slash.
func splitWorker(name string) (address, worker string) {
	if i := strings.IndexAny(name, "./"); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// authorized returns the worker of this name.
func (s *session) authorized(name []byte) *worker {
	if s.worker != nil && s.worker.name == string(name) { // does not allocate
		return s.worker
	}
	if s.extra != nil {
		return s.extra.workers.named(name)
	}
	return nil
}

// authorize notes that a worker may mine, and reports whether it is the first.
func (s *session) authorize(w *worker) (first, ok bool) {
	if known := s.authorized([]byte(w.name)); known != nil {
		known.id = w.id
		return false, true
	}
	if s.worker == nil {
		s.worker = w
		s.set(countedAuthed)
		s.port.metrics.fresh.Dec()
		s.port.metrics.authorized.Inc()
		return true, true
	}
	x := s.more()
	if len(x.workers) >= maxWorkers-1 {
		return false, false
	}
	x.workers = append(x.workers, w)
	return false, true
}

func (s *session) more() *extra {
	if s.extra == nil {
		s.extra = new(extra)
	}
	return s.extra
}

// credentials reads [user, password].
func credentials(m *message) (user, password []byte, ok bool) {
	params := listOf(m.params)
	user, ok = params.nextText()
	password, _ = params.nextText()
	const most = 512
	return user, password, ok && len(user) > 0 && len(user) <= most
}

// wishes reads `d=1000` and `md=10` out of a password: the difficulty, fixed, and
// the least. Words are parted by commas, semicolons or blanks; other words mean
// nothing.
func wishes(password []byte) (difficulty, least float64) {
	const most = 256
	if len(password) > most {
		return 0, 0
	}
	for _, word := range strings.FieldsFunc(string(password), func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		key, number, _ := strings.Cut(word, "=")
		f, ok := decimal([]byte(number))
		if !ok || !(f > 0) {
			continue
		}
		switch strings.ToLower(key) {
		case "d", "diff":
			difficulty = f
		case "md", "mindiff":
			least = f
		}
	}
	return difficulty, least
}
