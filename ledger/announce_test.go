package ledger_test

import (
	"context"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
)

func TestAnnouncedBlocksAreHeard(t *testing.T) {
	db := ledgertest.New(t)
	heard := make(chan string, 16)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- ledger.ListenBlocks(ctx, db.DSN(ledger.RoleBackend), func(network string) { heard <- network })
	}()
	deadline := time.After(20 * time.Second)
	for got := ""; got != "test"; {
		if err := db.Backend().AnnounceBlock(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		select { // an announcement before the listener is there is nobody's
		case got = <-heard:
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			t.Fatal("nothing was heard")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestListeningEndsWhileTheDatabaseIsAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := ledger.ListenBlocks(ctx, "host="+t.TempDir()+" sslmode=disable user=nobody dbname=none", func(string) {}); err != nil {
		t.Error(err)
	}
}
