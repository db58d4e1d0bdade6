package stratum

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"purepool/pool/chain"
	"purepool/pool/job"
)

// errProtocol is a line of the server's that a miner cannot make sense of.
var errProtocol = errors.New("server breaks the protocol")

// line is anything that a server sends.
type line struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
	Result json.RawMessage   `json:"result"`
	Error  json.RawMessage   `json:"error"`
}

// errorOf returns the number and text of a refusal; 0: none.
func (l *line) errorOf() (code int, text string) {
	var parts []json.RawMessage
	if json.Unmarshal(l.Error, &parts) != nil || len(parts) < 2 {
		return 0, ""
	}
	_ = json.Unmarshal(parts[0], &code)
	_ = json.Unmarshal(parts[1], &text)
	return code, text
}

// session is a connection as a miner sees it.
type session struct {
	net.Conn
	r    *bufio.Reader
	seen state
	id   string // by which the pool knows the session
}

// state is what a miner has been told.
type state struct {
	extranonce1     job.Extranonce1
	extranonce2Size int
	difficulty      float64
	jobID           string
	job             *job.Job // as far as mining.notify tells it
	clean           bool
	generation      int // counts jobs
}

func connect(ctx context.Context, address string, from netip.Addr, trust *tls.Config) (*session, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the pool: %w", err)
	}
	if trust != nil {
		secured := tls.Client(conn, trust)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("connecting to the pool: %w", err)
		}
		conn = secured
	}
	return &session{Conn: conn, r: bufio.NewReaderSize(conn, 4096)}, nil
}

// read returns the next line and notes what it says.
func (s *session) read(algorithm string) (*line, error) {
	text, err := s.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		head := append([]byte(nil), text...)
		var rest []byte
		rest, err = s.r.ReadBytes('\n')
		text = append(head, rest...)
	}
	if err != nil {
		return nil, err
	}
	l := new(line)
	if err := json.Unmarshal(text, l); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", errProtocol, text, err)
	}
	return l, s.seen.note(l, algorithm)
}

func (st *state) note(l *line, algorithm string) error {
	switch l.Method {
	case "mining.set_difficulty":
		if len(l.Params) != 1 || json.Unmarshal(l.Params[0], &st.difficulty) != nil {
			return fmt.Errorf("%w: set_difficulty %s", errProtocol, l.Params)
		}
	case "mining.set_extranonce":
		return st.extranonce(l.Params)
	case "mining.notify":
		return st.notify(l.Params, algorithm)
	}
	return nil
}

// subscribed reads the result of mining.subscribe.
func (st *state) subscribed(result json.RawMessage) error {
	var parts []json.RawMessage
	if json.Unmarshal(result, &parts) != nil || len(parts) < 3 {
		return fmt.Errorf("%w: subscribe %s", errProtocol, result)
	}
	return st.extranonce(parts[1:])
}

// sessionID returns the session's id out of the result of mining.subscribe: that
// of the subscription to mining.notify.
func sessionID(result json.RawMessage) string {
	var parts []json.RawMessage
	var subscriptions [][]string
	if json.Unmarshal(result, &parts) != nil || len(parts) == 0 || json.Unmarshal(parts[0], &subscriptions) != nil {
		return ""
	}
	for _, s := range subscriptions {
		if len(s) == 2 && s[0] == "mining.notify" {
			return s[1]
		}
	}
	return ""
}

func (st *state) extranonce(parts []json.RawMessage) error {
	var text string
	if len(parts) < 2 || json.Unmarshal(parts[0], &text) != nil || json.Unmarshal(parts[1], &st.extranonce2Size) != nil {
		return fmt.Errorf("%w: extranonce %s", errProtocol, parts)
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(st.extranonce1) || st.extranonce2Size < 1 || st.extranonce2Size > job.MaxExtranonce2 {
		return fmt.Errorf("%w: extranonce1 %q with %d bytes of extranonce2", errProtocol, text, st.extranonce2Size)
	}
	copy(st.extranonce1[:], b)
	return nil
}

func (st *state) notify(params []json.RawMessage, algorithm string) error {
	if len(params) != 9 {
		return fmt.Errorf("%w: notify has %d parameters", errProtocol, len(params))
	}
	var texts [8]string
	for i := range texts {
		if i != 4 && json.Unmarshal(params[i], &texts[i]) != nil {
			return fmt.Errorf("%w: notify %s", errProtocol, params[i])
		}
	}
	var branches []string
	if json.Unmarshal(params[4], &branches) != nil || json.Unmarshal(params[8], &st.clean) != nil {
		return fmt.Errorf("%w: notify %s", errProtocol, params[4])
	}
	j := &job.Job{Algorithm: algorithm, Extranonce2Size: uint8(st.extranonce2Size)}
	prev, err := hex.DecodeString(texts[1])
	if err != nil || len(prev) != len(j.Prev) {
		return fmt.Errorf("%w: prevhash %q", errProtocol, texts[1])
	}
	for i := range prev { // eight words, each byte-swapped
		j.Prev[i] = prev[i&^3|3-i&3]
	}
	var errs [5]error
	j.Coinbase1, errs[0] = hex.DecodeString(texts[2])
	j.Coinbase2, errs[1] = hex.DecodeString(texts[3])
	j.Version, errs[2] = hex32(texts[5])
	j.Bits, errs[3] = hex32(texts[6])
	j.Time, errs[4] = hex32(texts[7])
	for _, text := range branches {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			return fmt.Errorf("%w: merkle branch %q", errProtocol, text)
		}
		j.Branches = append(j.Branches, chain.Hash(b))
	}
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	st.jobID, st.job = texts[0], j
	st.generation++
	return nil
}

func hex32(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 16, 32)
	return uint32(n), err
}

func loginText(agent, earlier, worker, password string) string {
	who := quote(agent)
	if earlier != "" {
		who += "," + quote(earlier)
	}
	return fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":[%s]}`+"\n"+`{"id":2,"method":"mining.authorize","params":[%s,%s]}`+"\n",
		who, quote(worker), quote(password))
}

// login sends subscribe, with the id of an earlier session where there was one, and
// authorize, and reads until there is a job.
func (s *session) login(agent, earlier, worker, password, algorithm string, wait time.Duration) error {
	_ = s.SetDeadline(time.Now().Add(wait))
	if _, err := io.WriteString(s, loginText(agent, earlier, worker, password)); err != nil {
		return err
	}
	for s.seen.job == nil || s.seen.difficulty == 0 {
		l, err := s.read(algorithm)
		if err != nil {
			return err
		}
		code, reason := l.errorOf()
		switch {
		case code != 0:
			return fmt.Errorf("login refused: %d %s", code, reason)
		case string(l.ID) == "1":
			if err := s.seen.subscribed(l.Result); err != nil {
				return err
			}
			s.id = sessionID(l.Result)
		}
	}
	return s.SetDeadline(time.Time{})
}

func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil { // a string always is JSON
		return `""`
	}
	return string(b)
}

// submitLine is one mining.submit.
func submitLine(b []byte, id int, worker string, st *state, f *job.Found, upper bool) []byte {
	b = fmt.Appendf(b, `{"id":%d,"method":"mining.submit","params":[%s,"%s","%x","%08x","%08x"]}`+"\n",
		id, quote(worker), st.jobID, f.Extranonce2[:f.Extranonce2Size], f.Time, f.Nonce)
	if upper {
		end := strings.LastIndex(string(b), `","`+fmt.Sprintf("%08x", f.Nonce))
		copy(b[end:], strings.ToUpper(string(b[end:])))
	}
	return b
}
