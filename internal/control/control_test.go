package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"purepool/pool/queue"
)

// listen opens an embedded broker in the folder and its control socket.
func listen(t *testing.T, folder string) (*queue.Broker, *Client) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	broker, err := queue.Open(t.Context(), queue.Config{URL: "embedded:" + folder, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	if err := broker.Provision(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	server, err := Listen(folder, broker, broker.DeadLetters(), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return broker, client
}

func add(t *testing.T, broker *queue.Broker, share *queue.Share) uuid.UUID {
	t.Helper()
	letter := queue.DeadLetter{ID: uuid.Must(uuid.NewV7()), Network: "test", Reason: "tried too often", Attempts: 8, Share: share}
	if share == nil {
		letter.Raw = []byte("no envelope \xff")
	}
	if err := broker.DeadLetters().Add(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	return letter.ID
}

func TestDeadLettersOfARunningProcessCanBeSeenReplayedAndDiscarded(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "queue")
	broker, client := listen(t, folder)
	share := &queue.Share{ID: uuid.Must(uuid.NewV7()), Frontend: "f1", Solution: []byte("1,2,3")}
	first, second := add(t, broker, share), add(t, broker, nil)

	list, err := client.List(t.Context(), "test", 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("list: %d letters, %v", len(list), err)
	}
	if l := list[0]; l.ID != first || l.Share == nil || l.Share.ID != share.ID || string(l.Share.Solution) != "1,2,3" || l.Attempts != 8 {
		t.Errorf("the first letter came as %+v", l)
	}
	if l := list[1]; l.ID != second || string(l.Raw) != "no envelope \xff" {
		t.Errorf("the second letter came as %+v", l)
	}
	if err := client.Replay(t.Context(), first); err != nil {
		t.Errorf("replay: %v", err)
	}
	if err := client.Discard(t.Context(), second); err != nil {
		t.Errorf("discard: %v", err)
	}
	if err := client.Discard(t.Context(), second); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("discarding it again: %v, want ErrNotFound", err)
	}
	add(t, broker, share)
	if n, err := client.ReplayAll(t.Context(), ""); err != nil || n != 1 {
		t.Errorf("replayed %d, %v", n, err)
	}
	if list, err := client.List(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestSocketWorksHoweverDeepItsFolderLies(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30), "queue")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	_, client := listen(t, folder)
	if _, err := client.List(t.Context(), "", 0); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheOwnerMayOpenTheSocket(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "queue")
	listen(t, folder)
	info, err := os.Stat(filepath.Join(folder, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestNobodyThereIsToldApart(t *testing.T) {
	defer goleak.VerifyNone(t)
	if _, err := Dial(t.Context(), t.TempDir()); !errors.Is(err, ErrNobody) {
		t.Errorf("%v, want ErrNobody", err)
	}
}

func TestSocketOfAKilledProcessIsReplaced(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "queue")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, socketName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, client := listen(t, folder)
	if _, err := client.List(t.Context(), "", 0); err != nil {
		t.Error(err)
	}
}

func TestTheQueueOfARunningProcessIsCopiedAndNotTaken(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "queue")
	broker, client := listen(t, folder)
	for range 3 {
		add(t, broker, &queue.Share{ID: uuid.Must(uuid.NewV7()), Frontend: "f1", Solution: []byte("1,2,3")})
	}
	if _, err := client.ReplayAll(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second look finds what the first one did
		var copied [][]byte
		err := client.Copy(t.Context(), "test", func(envelope []byte) error {
			copied = append(copied, envelope)
			return nil
		})
		if err != nil || len(copied) != 3 {
			t.Fatalf("%d envelopes, %v", len(copied), err)
		}
		if depth, err := client.Depth(t.Context(), "test"); err != nil || depth.Envelopes != 3 || depth.Oldest.IsZero() {
			t.Errorf("%+v, %v", depth, err)
		}
	}
	if _, err := client.Depth(t.Context(), "no such"); err == nil {
		t.Error("a network that is none has a queue")
	}
	stop := errors.New("enough")
	if err := client.Copy(t.Context(), "test", func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error: %v", err)
	}
	if err := client.Copy(t.Context(), "a.b", func([]byte) error { return nil }); err == nil {
		t.Error("a network that cannot be was copied")
	}
}
