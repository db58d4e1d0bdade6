package bbprpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// A daemon that is away is left alone for firstPause, then twice as long each
	// time.
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
)

// endpoint is one daemon and what is known of it. Safe for concurrent use.
type endpoint struct {
	name   string // the URL, without credentials
	creds  *credentials
	http   *http.Client
	log    *slog.Logger
	upness prometheus.Gauge
	// changed wakes Run when the daemon goes away; of capacity 1.
	changed chan struct{}

	mu             sync.Mutex // protects what follows
	read           bool       // whether user and password hold anything
	user, password string
	away           bool
	pause          time.Duration
	retryAt        time.Time // while away
	lastHeard      time.Time
	lastErr        error
}

// up reports whether the daemon is believed to be up.
func (e *endpoint) up() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.away
}

// due reports whether a daemon that is away may be tried again.
func (e *endpoint) due(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !now.Before(e.retryAt)
}

// nextCheck returns when Run should ask the daemon.
func (e *endpoint) nextCheck(every time.Duration) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away {
		return e.retryAt
	}
	return e.lastHeard.Add(every)
}

// heard notes that the daemon gave an answer.
func (e *endpoint) heard(now time.Time) {
	e.mu.Lock()
	wasAway := e.away
	e.away, e.pause, e.lastHeard, e.lastErr = false, 0, now, nil
	e.mu.Unlock()
	e.upness.Set(1)
	if wasAway {
		e.log.Info("daemon is back", slog.String("daemon", e.name))
	}
}

// failed notes that the daemon is away. Of several calls that fail together only
// the first makes the pause longer.
func (e *endpoint) failed(now time.Time, err *AwayError) {
	e.mu.Lock()
	wasAway := e.away
	if !wasAway || !now.Before(e.retryAt) {
		e.pause = min(max(2*e.pause, firstPause), maxPause)
		e.retryAt = now.Add(e.pause)
	}
	e.away, e.lastErr = true, err
	e.mu.Unlock()
	e.upness.Set(0)
	if !wasAway {
		e.log.Warn("daemon is away", slog.String("daemon", e.name),
			slog.String("reason", string(err.Reason)), slog.Any("error", err.Err))
		select {
		case e.changed <- struct{}{}:
		default: // Run has not even seen the last change
		}
	}
}

// awayError makes an error that names this daemon.
func (e *endpoint) awayError(reason Reason, notExecuted bool, err error) *AwayError {
	return &AwayError{Endpoint: e.name, Reason: reason, NotExecuted: notExecuted, Err: err}
}

// credentials returns the user and password to send; fresh reads them again.
func (e *endpoint) credentials(fresh bool) (user, password string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if fresh || !e.read {
		user, password, err := e.creds.read()
		if err != nil {
			return "", "", err
		}
		e.user, e.password, e.read = user, password, true
	}
	return e.user, e.password, nil
}

// post sends a JSON-RPC request and returns the body of the answer, of any HTTP
// status that may come with one. Credentials that are refused are read again
// once, since a daemon writes a new cookie at each start.
func (e *endpoint) post(ctx context.Context, body []byte, harmless bool) ([]byte, *AwayError) {
	user, password, err := e.credentials(false)
	if err != nil {
		return nil, e.awayError(AwayCredentials, true, err)
	}
	answer, away := e.postAs(ctx, user, password, body, harmless)
	if away == nil || away.Reason != AwayCredentials || !e.creds.fromFile() {
		return answer, away
	}
	newUser, newPassword, err := e.credentials(true)
	switch {
	case err != nil:
		return nil, e.awayError(AwayCredentials, true, err)
	case newUser == user && newPassword == password:
		return nil, away
	}
	return e.postAs(ctx, newUser, newPassword, body, harmless)
}

func (e *endpoint) postAs(ctx context.Context, user, password string, body []byte, harmless bool) ([]byte, *AwayError) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.name, bytes.NewReader(body))
	if err != nil {
		return nil, e.awayError(AwayConnect, true, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if user != "" || password != "" {
		req.SetBasicAuth(user, password)
	}
	if harmless {
		// net/http then sends again by itself where a kept connection turns out to
		// have been closed by the daemon. An empty value is not sent.
		req.Header["Idempotency-Key"] = []string{}
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, e.transportError(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, e.transportError(ctx, err)
	case len(answer) > maxResponse:
		return nil, e.awayError(AwayGarbled, false, fmt.Errorf("the answer has more than %d bytes", maxResponse))
	}
	return answer, e.statusError(resp.StatusCode, answer)
}

// transportError classifies an exchange that did not come to its end.
func (e *endpoint) transportError(ctx context.Context, err error) *AwayError {
	var inURL *url.Error // says where to, which AwayError does too
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var op *net.OpError
	dialled := !errors.As(err, &op) || op.Op != "dial"
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return e.awayError(AwayCancelled, !dialled, err)
	case !dialled:
		return e.awayError(AwayConnect, true, err)
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout():
		return e.awayError(AwayTimeout, false, err)
	}
	return e.awayError(AwayBroken, false, err)
}

// statusError tells which answers need not even be parsed. The statuses that a
// daemon uses for its refusals (400, 404, 500) come with JSON, and so does 200.
func (e *endpoint) statusError(status int, answer []byte) *AwayError {
	err := fmt.Errorf("HTTP status %d: %.200q", status, answer)
	// The daemon's own words, with 500 in older versions and 503 in newer ones. A
	// proxy's 503, in other words, may come after the call was passed on.
	queueFull := status >= 500 && bytes.Contains(answer[:min(len(answer), 200)], []byte("Work queue depth exceeded"))
	switch {
	case queueFull || status == http.StatusServiceUnavailable:
		return e.awayError(AwayBusy, queueFull, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return e.awayError(AwayCredentials, true, fmt.Errorf("HTTP status %d", status))
	case status == http.StatusOK:
		return nil
	case status == http.StatusBadRequest || status == http.StatusNotFound || status == http.StatusInternalServerError:
		if start := bytes.TrimLeft(answer, " \t\r\n"); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
			return nil
		}
	}
	return e.awayError(AwayGarbled, false, err)
}
