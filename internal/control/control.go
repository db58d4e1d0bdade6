// Package control lets `purepool admin` reach the queue and the dead letters of a
// broker that lives inside another process. It is HTTP on a unix socket in the broker's own
// folder: who may open that folder may do as the operator does, nobody else.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"purepool/internal/serve"
	"purepool/pool/queue"
)

// DeadLetters is what the operator does with dead letters: *queue.DeadLetters
// where the broker can be reached, *Client where it lives in another process.
type DeadLetters interface {
	List(ctx context.Context, network string, limit int) ([]queue.DeadLetter, error)
	Replay(ctx context.Context, id uuid.UUID) error
	ReplayAll(ctx context.Context, network string) (int, error)
	Discard(ctx context.Context, id uuid.UUID) error
}

// Queue is what waits in the broker: *queue.Broker, or *Client.
type Queue interface {
	Depth(ctx context.Context, network string) (queue.Depth, error)
	Copy(ctx context.Context, network string, see func(envelope []byte) error) error
}

const (
	socketName = "control.sock"
	timeout    = time.Minute
	drainFor   = 5 * time.Second
	// maxAnswer bounds what a client reads.
	maxAnswer = 256 << 20
)

// Server is the listening end.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen opens the socket in the folder.
func Listen(folder string, broker Queue, letters DeadLetters, log *slog.Logger) (*Server, error) {
	address, release, err := socketPath(folder)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer release()
	// What a killed process left behind; the broker's own lock says that no other lives.
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The path by which it was bound may be gone when it closes.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(address, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Server{listener: listener, server: &http.Server{
		Handler: handler(broker, letters), ReadTimeout: timeout, WriteTimeout: timeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	return serve.HTTP(ctx, s.server, s.listener, drainFor)
}

// socketPath returns a path of the socket that is short enough for a socket's
// address (108 bytes) however deep the folder lies, until released.
func socketPath(folder string) (path string, release func(), err error) {
	dir, err := os.Open(folder)
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(folder, socketName)
	if len(path) >= 100 {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)
	}
	return path, func() { dir.Close() }, nil
}

// answer is what every request gets.
type answer struct {
	Letters  []queue.DeadLetter `json:"letters,omitempty"`
	Replayed int                `json:"replayed,omitempty"`
	Depth    queue.Depth        `json:"depth,omitzero"`
	Error    string             `json:"error,omitempty"`
	NotFound bool               `json:"not_found,omitempty"`
}

func handler(broker Queue, letters DeadLetters) http.Handler {
	mux := http.NewServeMux()
	serve := func(pattern string, do func(r *http.Request) (answer, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a, err := do(r)
			if err != nil {
				a.Error, a.NotFound = err.Error(), errors.Is(err, queue.ErrNotFound)
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(a)
		})
	}
	one := func(do func(context.Context, uuid.UUID) error) func(r *http.Request) (answer, error) {
		return func(r *http.Request) (answer, error) {
			id, err := uuid.Parse(r.PathValue("id"))
			if err != nil {
				return answer{}, err
			}
			return answer{}, do(r.Context(), id)
		}
	}
	serve("GET /deadletters", func(r *http.Request) (answer, error) {
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		if err != nil {
			return answer{}, err
		}
		list, err := letters.List(r.Context(), r.URL.Query().Get("network"), limit)
		return answer{Letters: list}, err
	})
	serve("POST /deadletters", func(r *http.Request) (answer, error) {
		n, err := letters.ReplayAll(r.Context(), r.URL.Query().Get("network"))
		return answer{Replayed: n}, err
	})
	serve("POST /deadletters/{id}", one(letters.Replay))
	serve("DELETE /deadletters/{id}", one(letters.Discard))
	serve("GET /queue/{network}", func(r *http.Request) (answer, error) {
		depth, err := broker.Depth(r.Context(), r.PathValue("network"))
		return answer{Depth: depth}, err
	})
	mux.HandleFunc("GET /queue/{network}/copy", func(w http.ResponseWriter, r *http.Request) { sendCopy(w, r, broker) })
	return mux
}

// Client is the operator's end.
type Client struct {
	http *http.Client
}

// ErrNobody: no process has a broker open in the folder.
var ErrNobody = errors.New("no process has this broker open")

// Dial reaches the process whose broker is in the folder, or returns ErrNobody.
func Dial(ctx context.Context, folder string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, release, err := socketPath(folder)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}
	conn, err := dial(ctx, "", "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNobody, err)
	}
	conn.Close()
	return &Client{http: &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values) (answer, error) {
	u := url.URL{Scheme: "http", Host: "control", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return answer{}, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("asking the running process: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("asking the running process: %w", err)
	}
	var a answer
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("asking the running process: %w", err)
	}
	switch {
	case a.NotFound:
		return a, queue.ErrNotFound
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

// List is that of queue.DeadLetters.
func (c *Client) List(ctx context.Context, network string, limit int) ([]queue.DeadLetter, error) {
	a, err := c.do(ctx, http.MethodGet, "/deadletters", url.Values{"network": {network}, "limit": {strconv.Itoa(limit)}})
	return a.Letters, err
}

// Replay is that of queue.DeadLetters.
func (c *Client) Replay(ctx context.Context, id uuid.UUID) error {
	_, err := c.do(ctx, http.MethodPost, "/deadletters/"+id.String(), nil)
	return err
}

// ReplayAll is that of queue.DeadLetters.
func (c *Client) ReplayAll(ctx context.Context, network string) (int, error) {
	a, err := c.do(ctx, http.MethodPost, "/deadletters", url.Values{"network": {network}})
	return a.Replayed, err
}

// Discard is that of queue.DeadLetters.
func (c *Client) Discard(ctx context.Context, id uuid.UUID) error {
	_, err := c.do(ctx, http.MethodDelete, "/deadletters/"+id.String(), nil)
	return err
}
