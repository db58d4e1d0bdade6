package bbprpc_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"purepool/bbprpc"
)

// wireRequest is a JSON-RPC request as a daemon sees it.
type wireRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params []any           `json:"params"`
}

// peer is an HTTP server that answers as a test tells it to, over a real
// socket: what no real daemon can be made to answer. It keeps what it was asked.
type peer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // bodies
}

func newPeer(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, body []byte)) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		p.mu.Lock()
		p.asked = append(p.asked, string(body))
		p.mu.Unlock()
		answer(w, r, body)
	}))
	t.Cleanup(p.Close)
	return p
}

// saying returns a peer that gives every request the same answer.
func saying(t *testing.T, status int, body string) *peer {
	t.Helper()
	return newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// resulting returns a peer that gives every call, alone or in a batch, the same
// result.
func resulting(t *testing.T, result string) *peer {
	t.Helper()
	return newPeer(t, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var many []wireRequest
		if json.Unmarshal(body, &many) == nil {
			io.WriteString(w, "[")
			for i, r := range many {
				if i > 0 {
					io.WriteString(w, ",")
				}
				fmt.Fprintf(w, `{"result":%s,"error":null,"id":%s}`, result, r.ID)
			}
			io.WriteString(w, "]")
			return
		}
		fmt.Fprintf(w, `{"result":%s,"error":null,"id":0}`, result)
	})
}

func (p *peer) timesAsked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

func (p *peer) lastAsked(t *testing.T) wireRequest {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var r wireRequest
	if err := json.Unmarshal([]byte(p.asked[len(p.asked)-1]), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// clientOf returns a client of the daemons at these URLs, in order of preference.
func clientOf(t testing.TB, urls ...string) *bbprpc.Client {
	t.Helper()
	var cfg bbprpc.Config
	for _, url := range urls {
		cfg.Endpoints = append(cfg.Endpoints, bbprpc.Endpoint{URL: url})
	}
	return newClient(t, cfg)
}

func newClient(t testing.TB, cfg bbprpc.Config) *bbprpc.Client {
	t.Helper()
	c, err := bbprpc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
