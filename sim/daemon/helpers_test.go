package daemon

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is what a test asks a daemon with: real HTTP, a connection of its own.
type client struct {
	t    *testing.T
	d    *Daemon
	url  string
	http *http.Client
}

func start(t *testing.T, opts Options) (*Daemon, *client) {
	t.Helper()
	d, stop, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return d, connect(t, d, d.URL())
}

func connect(t *testing.T, d *Daemon, url string) *client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, d: d, url: url, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

// post sends a body and returns status and answer.
func (c *client) post(body string) (int, string, error) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth(c.d.Credentials())
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// raw makes one call and returns its result as it came.
func (c *client) raw(method string, params ...any) string {
	c.t.Helper()
	status, answer := c.call(method, params...)
	if status != http.StatusOK {
		c.t.Fatalf("%s: status %d: %s", method, status, answer)
	}
	const head, tail = `{"result":`, ",\"error\":null,\"id\":\"t\"}\n"
	if !strings.HasPrefix(answer, head) || !strings.HasSuffix(answer, tail) {
		c.t.Fatalf("%s: answered %s", method, answer)
	}
	return answer[len(head) : len(answer)-len(tail)]
}

func (c *client) call(method string, params ...any) (int, string) {
	c.t.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params, "id": "t"})
	if err != nil {
		c.t.Fatal(err)
	}
	status, answer, err := c.post(string(body))
	if err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	return status, answer
}

// decode makes one call and decodes its result.
func (c *client) decode(into any, method string, params ...any) {
	c.t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(c.raw(method, params...))))
	if err := d.Decode(into); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// clock is a clock that stands until it is set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
