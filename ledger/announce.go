package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// blockChannel is the channel on which a new block of a network is announced.
const blockChannel = "purepool_block"

// AnnounceBlock tells all backends that a network has a new block. Whoever does
// not hear it finds the block by itself a little later.
func (s *BackendStore) AnnounceBlock(ctx context.Context, network string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.db.ExecContext(ctx, `SELECT pg_notify($1, $2)`, blockChannel, network)
	return wrap(ctx, "announce block", err)
}

// ListenBlocks calls heard with the network of every block that is announced,
// and with none where announcements may have been missed, until ctx ends, which
// is no error. A database that is away is waited for.
func ListenBlocks(ctx context.Context, dsn string, heard func(network string)) error {
	listener := pq.NewListener(dsn, 100*time.Millisecond, 10*time.Second, nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	if err := listener.Listen(blockChannel); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		_ = listener.Close()
		return fmt.Errorf("ledger: listen for blocks: %w", err)
	}
	for n := range listener.Notify { // closed with the listener
		if n == nil { // the connection was lost and is there again
			heard("")
			continue
		}
		heard(n.Extra)
	}
	return nil
}
