package stratum

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"purepool/pool/job"
)

// loader is one connection of a Load. After the login it belongs to its event
// loop; a Load reads its numbers when all have ended, or have heard.
type loader struct {
	load   *Load
	conn   gnet.Conn
	seen   state
	worker string
	rest   []byte // an unfinished line

	found   job.Found
	nextID  int
	sent    []int64 // unix ns by id, modulo its length
	out     []byte
	params  []byte // of a submit, up to the nonce
	madeFor int    // generation of the job that params are for
	flying  int
	due     atomic.Int32 // submits whose time has come, of a paced load
	working bool
	left    bool

	latency histogram
	ok      int64
	refused [26]int64
	lost    bool
	took    time.Duration // of the broadcast at hand
}

// loadEngine is what gnet calls.
type loadEngine struct{ gnet.BuiltinEventEngine }

func (*loadEngine) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.Context().(*loader).conn = c
	return nil, gnet.None
}

func (*loadEngine) OnTraffic(c gnet.Conn) gnet.Action {
	l := c.Context().(*loader)
	data, err := c.Peek(-1)
	if err == nil {
		l.take(data)
		_, _ = c.Discard(len(data))
	}
	return gnet.None
}

func (*loadEngine) OnClose(c gnet.Conn, _ error) gnet.Action {
	l := c.Context().(*loader)
	l.lost = true
	l.leave()
	return gnet.None
}

// silent is a log that says nothing: what fails shows in the numbers.
type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

// leave ends submitting.
func (c *loader) leave() {
	if end := c.load.end.Load(); end != 0 && !c.left {
		c.left = true
		c.load.busy.Done()
	}
}

// take handles what has come, and answers it with as many new submits as there
// were answers.
func (c *loader) take(data []byte) {
	if len(c.rest) > 0 {
		data = append(c.rest, data...)
		c.rest = nil
	}
	now := time.Now().UnixNano()
	answered := 0
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		if c.line(data[:end], now) {
			answered++
		}
		data = data[end+1:]
	}
	if len(data) > 0 {
		c.rest = append(c.rest, data...)
	}
	end := c.load.end.Load()
	switch {
	case end == 0 || c.left:
		return
	case c.load.opt.Every > 0:
		answered = min(int(c.due.Swap(0)), len(c.sent)-c.flying)
	case !c.working:
		c.working = true
		answered = c.load.opt.Pipeline
	}
	if now < end {
		c.fill(answered, now)
	} else if c.flying == 0 {
		c.leave()
	}
}

const idHead = `{"id":`

// line takes one line and reports whether it answers a submit.
func (c *loader) line(text []byte, now int64) bool {
	if !bytes.HasPrefix(text, []byte(idHead)) || bytes.HasPrefix(text[len(idHead):], []byte("null")) {
		c.told(text, now)
		return false
	}
	end := bytes.IndexByte(text, ',')
	if end < 0 {
		return false
	}
	var n int
	jsonInt(text[len(idHead):end], &n)
	c.flying--
	c.latency.add(time.Duration(now - c.sent[n%len(c.sent)]))
	if bytes.HasSuffix(text, []byte(`"error":null}`)) {
		c.ok++
		return true
	}
	l := new(line)
	code := 0
	if json.Unmarshal(text, l) == nil {
		code, _ = l.errorOf()
	}
	if code < 20 || code > 25 {
		code = 0
	}
	c.refused[code]++
	return true
}

// told takes what answers nothing. While broadcasts are measured, only the
// beginning of a line is looked at: reading it all takes longer than its way.
func (c *loader) told(text []byte, now int64) {
	if issued := c.load.issued.Load(); issued != 0 {
		if bytes.Contains(text[:min(len(text), 64)], []byte("mining.notify")) {
			c.took = time.Duration(now - issued)
			if c.load.heard.Add(1) == int64(len(c.load.conns)) {
				c.load.all <- struct{}{}
			}
		}
		return
	}
	l := new(line)
	if json.Unmarshal(text, l) == nil {
		_ = c.seen.note(l, c.load.opt.Algorithm)
	}
}

// fill sends n more submits in one write.
func (c *loader) fill(n int, now int64) {
	if n == 0 {
		return
	}
	if c.madeFor != c.seen.generation {
		c.madeFor = c.seen.generation
		c.params = fmt.Appendf(c.params[:0], `,"method":"mining.submit","params":[%s,"%s","%x","%08x","`,
			quote(c.worker), c.seen.jobID, c.found.Extranonce2[:c.seen.extranonce2Size], c.seen.job.Time)
	}
	const digits = "0123456789abcdef"
	b := c.out[:0]
	for range n {
		c.nextID++
		c.found.Nonce++
		c.sent[c.nextID%len(c.sent)] = now
		b = strconv.AppendInt(append(b, idHead...), int64(c.nextID), 10)
		b = append(b, c.params...)
		for shift := 28; shift >= 0; shift -= 4 {
			b = append(b, digits[c.found.Nonce>>shift&15])
		}
		b = append(b, "\"]}\n"...)
	}
	c.out = b
	c.flying += n
	_, _ = c.conn.Write(b) // its failure closes the connection, which counts as lost
}
