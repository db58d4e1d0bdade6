package miner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// FleetOptions are the settings of many miners.
type FleetOptions struct {
	// Miner is what all miners have in common. Its Address must be empty: each has
	// one of its own. Its Worker is the name of the first rig of an address.
	Miner Options
	// Miners is how many are there at start.
	Miners int
	// Rigs is how many miners share one address, each under a worker name of its
	// own (1).
	Rigs int
	// Churn is the mean time after which one miner leaves and another joins. 0: they
	// stay.
	Churn time.Duration
	// RampUp spreads the joining of the first miners over this time.
	RampUp time.Duration
}

// Fleet is many miners, which join and leave. Safe for concurrent use.
type Fleet struct {
	opts  FleetOptions
	stats *Stats

	mu     sync.Mutex
	enlist func(*Miner) // sets a miner to work; nil while the fleet does not run
	leaves []func()     // of those at work, in the order in which they joined
	joined int          // ever
	wg     sync.WaitGroup
}

// NewFleet makes a fleet.
func NewFleet(opts FleetOptions) (*Fleet, error) {
	if opts.Miner.Stats == nil {
		opts.Miner.Stats = new(Stats)
	}
	opts.Rigs = max(opts.Rigs, 1)
	switch {
	case opts.Miner.Address != "":
		return nil, errors.New("simulated miners: a fleet's miners have addresses of their own")
	case opts.Miners < 0 || opts.Miners > 100_000 || opts.Churn < 0 || opts.RampUp < 0:
		return nil, errors.New("simulated miners: number, churn or ramp-up is out of range")
	}
	f := &Fleet{opts: opts, stats: opts.Miner.Stats}
	if _, err := f.next(0); err != nil { // what is wrong with one is wrong with all
		return nil, err
	}
	return f, nil
}

// Stats returns what all miners together count.
func (f *Fleet) Stats() *Stats { return f.stats }

// next makes the miner of a number: always the same of the same seed.
func (f *Fleet) next(number int) (*Miner, error) {
	opts := f.opts.Miner
	rig := number % f.opts.Rigs
	group := opts
	group.Seed = opts.Seed*1_000_003 + uint64(number-rig)
	first, err := New(group) // gives the address
	if err != nil {
		return nil, err
	}
	opts.Address, opts.Seed = first.opts.Address, opts.Seed*1_000_003+uint64(number)
	if rig > 0 {
		opts.Worker = or(opts.Worker, "rig") + strconv.Itoa(rig)
	}
	return New(opts)
}

// Run keeps the fleet at work until ctx is done, and waits for all its miners. It
// runs once.
func (f *Fleet) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		f.mu.Lock() // who is just joining has joined, and nobody does from here on
		f.enlist, f.leaves = nil, nil
		f.mu.Unlock()
		f.wg.Wait()
	}()
	f.mu.Lock()
	f.enlist = func(m *Miner) {
		ctx, leave := context.WithCancel(ctx)
		f.leaves = append(f.leaves, leave)
		f.wg.Go(func() {
			defer leave()
			if err := m.Run(ctx); err != nil {
				m.opts.Logger.Error("miner failed", slog.String("miner", m.name), slog.Any("error", err))
			}
		})
	}
	f.mu.Unlock()
	for i := range f.opts.Miners {
		if i > 0 && f.opts.RampUp > 0 {
			sleep(ctx, f.opts.RampUp/time.Duration(f.opts.Miners))
		}
		if ctx.Err() != nil {
			break
		}
		if err := f.Join(); err != nil {
			return err
		}
	}
	if f.opts.Churn == 0 {
		<-ctx.Done()
		return nil
	}
	rng := rand.New(rand.NewPCG(f.opts.Miner.Seed, 0x666c656574)) //nolint:gosec // a simulation must be repeatable
	for ctx.Err() == nil {
		sleep(ctx, f.opts.Churn/2+time.Duration(rng.Int64N(int64(f.opts.Churn))))
		if ctx.Err() != nil {
			break
		}
		f.leave(rng)
		if err := f.Join(); err != nil {
			return err
		}
	}
	return nil
}

// Join lets one more miner join a running fleet.
func (f *Fleet) Join() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.enlist == nil {
		return errors.New("simulated miners: the fleet does not run")
	}
	m, err := f.next(f.joined)
	if err != nil {
		return fmt.Errorf("miner %d: %w", f.joined, err)
	}
	f.joined++
	f.enlist(m)
	return nil
}

// Leave lets the miner that has been there longest leave, in the middle of
// whatever it does. It reports whether there was one.
func (f *Fleet) Leave() bool { return f.leave(nil) }

func (f *Fleet) leave(rng *rand.Rand) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.leaves) == 0 {
		return false
	}
	i := 0
	if rng != nil {
		i = rng.IntN(len(f.leaves))
	}
	f.leaves[i]()
	f.leaves = slices.Delete(f.leaves, i, i+1)
	return true
}
