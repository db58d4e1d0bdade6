package bbprpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"purepool/bbprpc"
)

// asAway returns the AwayError of err.
func asAway(t *testing.T, err error) *bbprpc.AwayError {
	t.Helper()
	var away *bbprpc.AwayError
	if !errors.As(err, &away) || !errors.Is(err, bbprpc.ErrAway) {
		t.Fatalf("err = %v, want one that is away", err)
	}
	var refusal *bbprpc.DaemonError
	if errors.As(err, &refusal) {
		t.Fatalf("%v is away and a refusal at once", err)
	}
	return away
}

func TestWhatIsNoAnswerIsAway(t *testing.T) {
	for _, c := range []struct {
		name        string
		status      int
		body        string
		reason      bbprpc.Reason
		notExecuted bool
	}{
		{"nothing", 200, ``, bbprpc.AwayGarbled, false},
		{"a web page", 200, `<html>`, bbprpc.AwayGarbled, false},
		{"half an answer", 200, `{"result":7,"error":null,"id":`, bbprpc.AwayGarbled, false},
		{"more than an answer", 200, `{"result":7,"error":null,"id":0}x`, bbprpc.AwayGarbled, false},
		{"neither result nor error", 200, `{"id":0}`, bbprpc.AwayGarbled, false},
		{"the answer to another call", 200, `{"result":7,"error":null,"id":1}`, bbprpc.AwayGarbled, false},
		{"an answer without id", 200, `{"result":7,"error":null}`, bbprpc.AwayGarbled, false},
		{"an array", 200, `[{"result":7,"error":null,"id":0}]`, bbprpc.AwayGarbled, false},
		{"null", 200, `null`, bbprpc.AwayGarbled, false},
		{"an error without code", 200, `{"result":null,"error":"no","id":0}`, bbprpc.AwayGarbled, false},
		{"an error with an odd code", 200, `{"result":null,"error":{"code":"x"},"id":0}`, bbprpc.AwayGarbled, false},
		{"wrong credentials", 401, ``, bbprpc.AwayCredentials, true},
		{"forbidden", 403, ``, bbprpc.AwayCredentials, true},
		{"a web server's 404", 404, `<html>not found`, bbprpc.AwayGarbled, false},
		{"a web server's 500", 500, `oops`, bbprpc.AwayGarbled, false},
		{"a proxy's 502", 502, `{"result":7,"error":null,"id":0}`, bbprpc.AwayGarbled, false},
		{"a proxy's 503", 503, `try later`, bbprpc.AwayBusy, false},
		{"a full work queue", 503, `Work queue depth exceeded`, bbprpc.AwayBusy, true},
		{"a full work queue of older daemons", 500, `Work queue depth exceeded`, bbprpc.AwayBusy, true},
		{"a redirection", 302, ``, bbprpc.AwayGarbled, false},
		{"a daemon that starts", 500, `{"result":null,"error":{"code":-28,"message":"Loading block index..."},"id":0}`, bbprpc.AwayWarmingUp, true},
		{"a daemon out of memory", 500, `{"result":null,"error":{"code":-7,"message":"x"},"id":0}`, bbprpc.AwayFault, false},
		{"a fault inside the daemon", 500, `{"result":null,"error":{"code":-32603,"message":"x"},"id":0}`, bbprpc.AwayFault, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			daemon := saying(t, c.status, c.body)
			_, err := clientOf(t, daemon.URL).BlockCount(t.Context())
			away := asAway(t, err)
			if away.Reason != c.reason || away.NotExecuted != c.notExecuted || away.Endpoint != daemon.URL+"/" {
				t.Errorf("away = %+v", away)
			}
		})
	}
}

func TestRefusalsOfEveryHTTPStatusAreNo(t *testing.T) {
	for status, code := range map[int]int{200: -5, 500: -8, 404: -32601, 400: -32600} {
		daemon := saying(t, status, fmt.Sprintf(`{"result":null,"error":{"code":%d,"message":"m"},"id":null}`, code))
		_, err := clientOf(t, daemon.URL).BlockCount(t.Context())
		if !bbprpc.IsCode(err, code) || errors.Is(err, bbprpc.ErrAway) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestASlowDaemonIsAway(t *testing.T) {
	hold := make(chan struct{})
	daemon := newPeer(t, func(http.ResponseWriter, *http.Request, []byte) { <-hold })
	t.Cleanup(func() { close(hold) })
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL}}, Timeout: 50 * time.Millisecond})
	_, err := c.BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayTimeout || away.NotExecuted || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("away = %+v", away)
	}
	if c.Status()[0].Up {
		t.Error("the daemon still counts as up")
	}
}

func TestACallerThatGivesUpDoesNotBlameTheDaemon(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hold := make(chan struct{})
	daemon := newPeer(t, func(http.ResponseWriter, *http.Request, []byte) { cancel(); <-hold })
	t.Cleanup(func() { close(hold) })
	c := clientOf(t, daemon.URL)
	_, err := c.BlockCount(ctx)
	if away := asAway(t, err); away.Reason != bbprpc.AwayCancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("away = %+v", away)
	}
	if !c.Status()[0].Up {
		t.Error("the daemon counts as away")
	}
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	daemon := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, err := clientOf(t, daemon.URL).BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayGarbled {
		t.Errorf("away = %+v", away)
	}
}

func TestExchangesUnderWayAreBounded(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	both := sync.OnceFunc(func() { close(release) })
	daemon := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 2 {
			both() // places are taken
		}
		<-release
		now.Add(-1)
		io.WriteString(w, `{"result":7,"error":null,"id":0}`)
	})
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL}}, MaxInFlight: 2})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := c.BlockCount(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 2 {
		t.Errorf("%d exchanges at once", most.Load())
	}
}

func TestACallGoesToTheNextDaemonWhereTheFirstIsAway(t *testing.T) {
	gone := saying(t, 200, `x`)
	gone.Close()
	for name, first := range map[string]string{
		"refuses connections": gone.URL,
		"answers garbage":     saying(t, 200, `<html>`).URL,
		"starts":              saying(t, 500, `{"result":null,"error":{"code":-28,"message":"m"},"id":0}`).URL,
		"wants a password":    saying(t, 401, ``).URL,
		"is busy":             saying(t, 503, `Work queue depth exceeded`).URL,
	} {
		second := resulting(t, `7`)
		c := clientOf(t, first, second.URL)
		for range 2 { // the second time it does not even ask the first
			if height, err := c.BlockCount(t.Context()); err != nil || height != 7 {
				t.Errorf("first daemon %s: %d, %v", name, height, err)
			}
		}
		if status := c.Status(); status[0].Up || status[0].Err == nil || !status[1].Up {
			t.Errorf("first daemon %s: status %+v", name, status)
		}
	}
}

func TestARefusalIsNotAskedForAgainElsewhere(t *testing.T) {
	first := saying(t, 500, `{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":0}`)
	second := resulting(t, `"`+someHash+`"`)
	_, err := clientOf(t, first.URL, second.URL).BlockHash(t.Context(), 9)
	if !bbprpc.IsCode(err, bbprpc.CodeInvalidParameter) || second.timesAsked() != 0 {
		t.Errorf("%v; the second daemon was asked %d times", err, second.timesAsked())
	}
}

func TestAPaymentThatMayHaveHappenedIsNeverSentAgain(t *testing.T) {
	for name, first := range map[string]*peer{
		"cuts the line": newPeer(t, func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }),
		"garbles":       saying(t, 200, `{"result":`),
		"says 502":      saying(t, 502, ``),
		"faults":        saying(t, 500, `{"result":null,"error":{"code":-32603,"message":"m"},"id":0}`),
		"sends no txid": resulting(t, `null`),
	} {
		second := resulting(t, `"`+someHash+`"`)
		_, err := clientOf(t, first.URL, second.URL).SendToAddress(t.Context(), bbprpc.Payment{Address: "B9", Amount: 1})
		if away := asAway(t, err); away.NotExecuted {
			t.Errorf("a daemon that %s: %+v", name, away)
		}
		if first.timesAsked() != 1 || second.timesAsked() != 0 {
			t.Errorf("a daemon that %s was asked %d times, the second %d times", name, first.timesAsked(), second.timesAsked())
		}
	}
}

func TestAPaymentThatSurelyDidNotHappenGoesToTheNextDaemon(t *testing.T) {
	gone := saying(t, 200, `x`)
	gone.Close()
	for name, first := range map[string]string{
		"refuses connections": gone.URL,
		"starts":              saying(t, 500, `{"result":null,"error":{"code":-28,"message":"m"},"id":0}`).URL,
		"wants a password":    saying(t, 401, ``).URL,
		"is busy":             saying(t, 503, `Work queue depth exceeded`).URL,
	} {
		second := resulting(t, `"`+someHash+`"`)
		_, err := clientOf(t, first, second.URL).SendToAddress(t.Context(), bbprpc.Payment{Address: "B9", Amount: 1})
		if err != nil || second.timesAsked() != 1 {
			t.Errorf("a daemon that %s: %v; the second was asked %d times", name, err, second.timesAsked())
		}
	}
}

func TestADaemonThatIsAwayIsLeftAlone(t *testing.T) {
	daemon := saying(t, 401, ``)
	c := clientOf(t, daemon.URL)
	_, err := c.BlockCount(t.Context())
	asAway(t, err)
	_, err = c.BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayBackOff || !away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
	if daemon.timesAsked() != 1 {
		t.Errorf("asked %d times", daemon.timesAsked())
	}
}

func TestRunTakesThePreferredDaemonBack(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	first := newPeer(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		if broken.Load() {
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, `{"result":1,"error":null,"id":0}`)
	})
	second := resulting(t, `2`)
	c := clientOf(t, first.URL, second.URL)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	waitFor(t, func() bool { return !c.Status()[0].Up })
	if height, err := c.BlockCount(ctx); err != nil || height != 2 {
		t.Errorf("while the first is away: %d, %v", height, err)
	}
	broken.Store(false)
	waitFor(t, func() bool { return c.Status()[0].Up })
	if height, err := c.BlockCount(ctx); err != nil || height != 1 {
		t.Errorf("after the first is back: %d, %v", height, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// waitFor waits for what happens in another goroutine or process.
func waitFor(t *testing.T, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestANewCookieIsReadWhenTheOldOneIsRefused(t *testing.T) {
	cookie := filepath.Join(t.TempDir(), ".cookie")
	var secret atomic.Value
	secret.Store("one")
	daemon := newPeer(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if _, password, _ := r.BasicAuth(); password != secret.Load() {
			w.WriteHeader(401)
			return
		}
		io.WriteString(w, `{"result":7,"error":null,"id":0}`)
	})
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL, CookieFile: cookie}}})
	_, err := c.BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayCredentials || !away.NotExecuted {
		t.Errorf("without a cookie file: %+v", away)
	}

	write := func(text string) {
		if err := os.WriteFile(cookie, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() error {
		c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL, CookieFile: cookie}}})
		write("__cookie__:one\n")
		if _, err := c.BlockCount(t.Context()); err != nil {
			return err
		}
		secret.Store("two") // as a daemon that starts anew
		defer secret.Store("one")
		write("__cookie__:two")
		_, err := c.BlockCount(t.Context())
		return err
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
	write("no colon")
	_, err = newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL, CookieFile: cookie}}}).BlockCount(t.Context())
	asAway(t, err)
}

func TestNoErrorTellsAPassword(t *testing.T) {
	gone := saying(t, 200, ``)
	gone.Close()
	with := strings.Replace(gone.URL, "http://", "http://alice:hunter2@", 1)
	_, err := clientOf(t, with).BlockCount(t.Context())
	asAway(t, err)
	_, bad := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: "http://alice:hunter2@bad host"}}})
	_, twice := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: with}, {URL: with}}})
	for _, err := range []error{err, bad, twice} {
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "alice") {
			t.Errorf("err = %v", err)
		}
	}
}

func TestCredentialsInTheURLAreSent(t *testing.T) {
	daemon := newPeer(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "hunter2" {
			w.WriteHeader(401)
			return
		}
		io.WriteString(w, `{"result":7,"error":null,"id":0}`)
	})
	if _, err := clientOf(t, strings.Replace(daemon.URL, "http://", "http://alice:hunter2@", 1)).BlockCount(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAWrongConfigurationIsRefused(t *testing.T) {
	for name, cfg := range map[string]bbprpc.Config{
		"no daemon":           {},
		"no scheme":           {Endpoints: []bbprpc.Endpoint{{URL: "localhost:9998"}}},
		"another scheme":      {Endpoints: []bbprpc.Endpoint{{URL: "ftp://localhost"}}},
		"no host":             {Endpoints: []bbprpc.Endpoint{{URL: "http://"}}},
		"cookie and user":     {Endpoints: []bbprpc.Endpoint{{URL: "http://h", User: "u", CookieFile: "c"}}},
		"two passwords":       {Endpoints: []bbprpc.Endpoint{{URL: "http://h", User: "u", Password: "p", PasswordFile: "f"}}},
		"password, no user":   {Endpoints: []bbprpc.Endpoint{{URL: "http://h", Password: "p"}}},
		"user in both places": {Endpoints: []bbprpc.Endpoint{{URL: "http://a:b@h", User: "u"}}},
		"negative time-out":   {Endpoints: []bbprpc.Endpoint{{URL: "http://h"}}, Timeout: -1},
		"the same twice":      {Endpoints: []bbprpc.Endpoint{{URL: "http://h"}, {URL: "http://h/"}}},
	} {
		if _, err := bbprpc.New(cfg); !errors.Is(err, bbprpc.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A daemon closes connections that were idle; the next call must not fail for it.
func TestAConnectionThatTheDaemonClosedIsNoFailure(t *testing.T) {
	daemon := resulting(t, `7`)
	c := clientOf(t, daemon.URL)
	for range 5 {
		if _, err := c.BlockCount(t.Context()); err != nil {
			t.Fatal(err)
		}
		daemon.CloseClientConnections()
	}
}

func TestConnectionsAreKept(t *testing.T) {
	connections := make(map[string]bool) // by the client's port
	daemon := newPeer(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		connections[r.RemoteAddr] = true
		io.WriteString(w, `{"result":7,"error":null,"id":0}`)
	})
	c := clientOf(t, daemon.URL)
	for range 20 {
		if _, err := c.BlockCount(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d connections for calls one after the other", len(connections))
	}
}
