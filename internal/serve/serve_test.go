package serve

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func start(t *testing.T, handler http.HandlerFunc, drain time.Duration) (url string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- HTTP(ctx, &http.Server{Handler: handler}, listener, drain) }() //nolint:gosec // a test's
	return "http://" + listener.Addr().String(), cancel, done
}

func client() *http.Client { return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} }

func TestRequestUnderWayIsAnsweredAtTheEnd(t *testing.T) {
	defer goleak.VerifyNone(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	url, stop, ended := start(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = w.Write([]byte("done"))
	}, time.Minute)
	body := make(chan string, 1)
	go func() {
		answer, err := client().Get(url)
		if err != nil {
			body <- err.Error()
			return
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		body <- string(text)
	}()
	<-begun
	stop()
	close(finish)
	if got := <-body; got != "done" {
		t.Errorf("answer %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRequestThatDoesNotEndIsCutAfterTheDrainTime(t *testing.T) {
	defer goleak.VerifyNone(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	url, stop, ended := start(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-finish
	}, 50*time.Millisecond)
	cut := make(chan error, 1)
	go func() {
		answer, err := client().Get(url)
		if err == nil {
			answer.Body.Close()
		}
		cut <- err
	}()
	<-begun
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-cut; err == nil {
		t.Error("the request was answered")
	}
	close(finish)
}

func TestBrokenListenerIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := HTTP(t.Context(), &http.Server{}, listener, time.Second); err == nil { //nolint:gosec // a test's
		t.Error("no error")
	}
}
