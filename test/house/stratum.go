package house

import (
	"context"
	"errors"
	"sync"
	"testing"

	sim "purepool/sim/stratum"
)

// StartMiner lets a miner mine on a Stratum port until stop is called, at the latest
// until the test ends. What stop returns is what the miner has seen.
func StartMiner(t testing.TB, opts sim.Options) (stop func() sim.Snapshot) {
	t.Helper()
	m, err := sim.NewMiner(opts)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stop = sync.OnceValue(func() sim.Snapshot {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("miner: %v", err)
		}
		return m.Stats().Snapshot()
	})
	t.Cleanup(func() { stop() })
	return stop
}
