package settle_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"slices"
	"sync"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/settle"
)

// testBlock is a block of a test's chain.
type testBlock struct {
	Height int64
	Hash   [32]byte
	Prev   [32]byte
	Time   time.Time
	Reward int64 // to the pool; 0: a stranger's
}

// testChain is a chain with branches. Safe for concurrent use.
type testChain struct {
	now    func() time.Time
	mu     sync.Mutex
	best   []*testBlock
	known  map[[32]byte]*testBlock
	count  uint64
	behind int64 // headers that the daemon has no blocks of
	err    error // every question is answered by it
}

func newTestChain(now func() time.Time) *testChain {
	c := &testChain{now: now, known: map[[32]byte]*testBlock{}}
	for range 100 {
		c.mine(0)
	}
	return c
}

func (c *testChain) height() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.best)) - 1
}

func (c *testChain) mine(reward int64) *testBlock { return c.mineAt(reward, c.now()) }

func (c *testChain) mineAt(reward int64, at time.Time) *testBlock {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	b := &testBlock{Height: int64(len(c.best)), Time: at.Truncate(time.Second), Reward: reward}
	b.Hash = sha256.Sum256(binary.BigEndian.AppendUint64([]byte("block"), c.count))
	if len(c.best) > 0 {
		b.Prev = c.best[len(c.best)-1].Hash
	}
	c.best = append(c.best, b)
	c.known[b.Hash] = b
	return b
}

// cut takes the last n blocks from the best chain, and returns them.
func (c *testChain) cut(n int) []*testBlock {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.best)-1)
	gone := slices.Clone(c.best[len(c.best)-n:])
	c.best = c.best[:len(c.best)-n]
	return gone
}

// put puts blocks that were cut back on the chain they stood on.
func (c *testChain) put(blocks ...*testBlock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.best = append(c.best[:blocks[0].Height], blocks...)
}

func (c *testChain) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *testChain) State(context.Context) (bbprpc.ChainState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tip := c.best[len(c.best)-1]
	return bbprpc.ChainState{Blocks: tip.Height, Headers: tip.Height + c.behind, Best: chain.HashFromDisplay(tip.Hash)}, c.err
}

func (c *testChain) Hashes(_ context.Context, from, to int32) (list []chain.Hash, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := from; h <= to && int(h) < len(c.best); h++ {
		list = append(list, chain.HashFromDisplay(c.best[h].Hash))
	}
	return list, c.err
}

func (c *testChain) Blocks(_ context.Context, at []ledger.ChainPosition) (list []settle.BlockInfo, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range at {
		b := c.known[p.Hash]
		info := settle.BlockInfo{Bits: 0x207fffff, ChainBlock: ledger.ChainBlock{
			Height: int32(b.Height), Hash: b.Hash, Prev: b.Prev, BlockTime: b.Time, Subsidy: 20 * coin,
		}}
		if b.Reward != 0 {
			info.Ours = &ledger.FoundBlock{Reward: max(b.Reward, 0), Hashes: big.NewInt(2)}
		}
		list = append(list, info)
	}
	return list, c.err
}

func (c *testChain) Confirmations(_ context.Context, hash chain.Hash) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.known[hash.Display()]
	switch {
	case b == nil:
		return 0, c.err
	case int(b.Height) >= len(c.best) || c.best[b.Height] != b:
		return -1, c.err
	}
	return int64(len(c.best)) - b.Height, c.err
}

// ours sums the rewards of the pool's blocks on the best chain.
func (c *testChain) ours() (sum int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.best {
		sum += max(b.Reward, 0)
	}
	return sum
}
