package stratum_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// client is a miner's connection, driven by a test.
type client struct {
	t testing.TB
	net.Conn
	r      *bufio.Reader
	nextID int
	// Filled in by read:
	session     string // the id of its session
	extranonce1 string
	difficulty  float64
	notify      []json.RawMessage
	notified    int
}

func (p *pond) dial(t testing.TB) *client { return p.dialPort(t, "t") }

func (p *pond) dialPort(t testing.TB, port string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr(port).String())
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, conn)
}

func wrap(t testing.TB, conn net.Conn) *client {
	c := &client{t: t, Conn: conn, r: bufio.NewReaderSize(conn, 1<<16)}
	t.Cleanup(func() { _ = conn.Close() })
	return c
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// reply is a line from the server.
type reply struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
	Result json.RawMessage   `json:"result"`
	Error  json.RawMessage   `json:"error"`
	line   string
}

// code returns the error's number; 0: none.
func (r *reply) code() (n int) {
	var parts []json.RawMessage
	if json.Unmarshal(r.Error, &parts) == nil && len(parts) == 3 {
		_ = json.Unmarshal(parts[0], &n)
	}
	return n
}

// read returns the next line, whatever it is, and notes what it says.
func (c *client) read() (*reply, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	r := &reply{line: line}
	if err := json.Unmarshal([]byte(line), r); err != nil {
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	switch r.Method {
	case "mining.set_difficulty":
		_ = json.Unmarshal(r.Params[0], &c.difficulty)
	case "mining.notify":
		c.notify = r.Params
		c.notified++
	case "mining.set_extranonce":
		_ = json.Unmarshal(r.Params[0], &c.extranonce1)
	}
	return r, nil
}

// answer returns the next line that answers something.
func (c *client) answer() *reply {
	c.t.Helper()
	for {
		r, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if r.Method == "" {
			return r
		}
	}
}

// await reads until a method has come.
func (c *client) await(method string) *reply {
	c.t.Helper()
	for {
		r, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", method, err)
		}
		if r.Method == method {
			return r
		}
	}
}

// ask sends a request and returns its answer.
func (c *client) ask(method, params string) *reply {
	c.t.Helper()
	c.nextID++
	c.send(`{"id":%d,"method":%q,"params":%s}`, c.nextID, method, params)
	r := c.answer()
	if string(r.ID) != fmt.Sprint(c.nextID) {
		c.t.Fatalf("asked as %d, answered %s", c.nextID, r.line)
	}
	return r
}

// login subscribes, authorizes and waits for a job.
func (c *client) login(worker string) *client {
	c.t.Helper()
	c.subscribe()
	if r := c.ask("mining.authorize", fmt.Sprintf(`[%q,"x"]`, worker)); string(r.Result) != "true" {
		c.t.Fatalf("authorize: %s", r.line)
	}
	c.await("mining.notify")
	return c
}

// subscribe subscribes, with the id of an earlier session if there was one.
func (c *client) subscribe() {
	c.t.Helper()
	params := `["test/1.0"]`
	if c.session != "" {
		params = fmt.Sprintf(`["test/1.0",%q]`, c.session)
	}
	r := c.ask("mining.subscribe", params)
	var parts []json.RawMessage
	var subscriptions [][2]string
	if err := json.Unmarshal(r.Result, &parts); err != nil || len(parts) != 3 || json.Unmarshal(parts[0], &subscriptions) != nil {
		c.t.Fatalf("subscribe: %s", r.line)
	}
	_ = json.Unmarshal(parts[1], &c.extranonce1)
	c.session = subscriptions[1][1]
}

func (c *client) jobID() string {
	var id string
	_ = json.Unmarshal(c.notify[0], &id)
	return id
}

func (c *client) ntime() string {
	var s string
	_ = json.Unmarshal(c.notify[7], &s)
	return s
}

// submit hands in nonce n of the current job.
func (c *client) submit(worker string, n uint32) *reply {
	c.t.Helper()
	return c.ask("mining.submit", c.submitParams(worker, n))
}

func (c *client) submitParams(worker string, n uint32) string {
	return fmt.Sprintf(`[%q,%q,"00000001",%q,"%08x"]`, worker, c.jobID(), c.ntime(), n)
}

// closed waits for the end of the connection and returns what came before it.
func (c *client) closed() string {
	c.t.Helper()
	var all strings.Builder
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				c.t.Fatal("the connection stays open")
			}
			return all.String()
		}
	}
}
