package daemon

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"purepool/pool/chain"
	"purepool/pool/pow"
)

// Block is a block of the simulated chain. Nobody changes it once it is there.
type Block struct {
	Hash   chain.Hash // X11 of the header
	Header chain.Header
	Height int64

	Recipient string // of the coinbase's first output, empty where no address is paid
	Value     int64  // of that output, in satoshis
	Message   string // the messages of all the coinbase's outputs, one after the other
	Version   string // the client's, from the message
	MinerGUID string // from the message
	TxIDs     []chain.Hash
	Raw       []byte // nil for the first block of a chain that begins in the middle
}

// Chain is a simulated chain: the best branch, and every other block that was
// ever seen. Safe for concurrent use.
type Chain struct {
	opts    Options
	network chain.Network
	target  pow.Target
	hashers *pow.Pool
	journal *journal

	mu      sync.RWMutex
	active  []*Block // by height, from BaseHeight
	known   map[chain.Hash]*Block
	ours    []*Block      // of any branch, whose coinbase pays the wallet, as they came
	changed chan struct{} // closed when the tip changes
	rng     *rand.Rand
	frozen  bool
}

// nonceRule is the classic rule: 256 nonces for every second since the previous
// block, at least 512, and any nonce once 30 minutes have passed.
func nonceRule(elapsed int64) int64 {
	const (
		perSecond = 256
		least     = 512
		unlimited = 999_999_999
		maxAge    = 30 * 60
	)
	if elapsed > maxAge {
		return unlimited
	}
	return max(elapsed*perSecond, least)
}

func newChain(opts Options, network chain.Network, kept *journal, events []event) (*Chain, error) {
	target, err := pow.TargetFromCompact(opts.Bits)
	if err != nil {
		return nil, err
	}
	c := &Chain{
		opts: opts, network: network, target: target,
		hashers: pow.NewPool(pow.X11()),
		known:   make(map[chain.Hash]*Block),
		changed: make(chan struct{}),
		// A chain that goes on must not make the blocks of its beginning once more.
		rng: rand.New(rand.NewPCG(opts.Seed+uint64(len(events)), 0x636861696e)), //nolint:gosec // a simulation must be repeatable
	}
	if len(events) > 0 {
		err := c.replay(events)
		c.journal = kept
		return c, err
	}
	base := c.makeBlock(opts.BaseHeight, chain.Hash{}, opts.BaseTime.Unix(), opts.BaseTime.Unix())
	first := baseEvent{Height: opts.BaseHeight, Raw: base.Raw}
	if !opts.BaseHash.IsZero() {
		base.Hash, base.Raw, first.Stranger = opts.BaseHash, nil, true
	}
	first.Hash = base.Hash.String()
	kept.write(event{Base: &first})
	c.connect(base)
	c.journal = kept
	at := opts.BaseTime
	for range opts.History {
		at = at.Add(opts.spacing())
		c.connect(c.strangerBlock(at.Unix()))
	}
	return c, nil
}

// Tip returns the best block.
func (c *Chain) Tip() *Block {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tip()
}

// tip needs the lock.
func (c *Chain) tip() *Block { return c.active[len(c.active)-1] }

// At returns the best branch's block at a height, nil where there is none.
func (c *Chain) At(height int64) *Block {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.at(height)
}

// at needs the lock.
func (c *Chain) at(height int64) *Block {
	i := height - c.opts.BaseHeight
	if i < 0 || i >= int64(len(c.active)) {
		return nil
	}
	return c.active[i]
}

// ByHash returns a block of any branch and the number of its confirmations, which
// is -1 where it is not on the best one; nil where there is none.
func (c *Chain) ByHash(hash chain.Hash) (*Block, int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b := c.known[hash]
	if b == nil {
		return nil, 0
	}
	return b, c.confirmations(b)
}

// confirmations needs the lock.
func (c *Chain) confirmations(b *Block) int64 {
	if c.at(b.Height) != b {
		return -1
	}
	return c.tip().Height - b.Height + 1
}

// Changed returns a channel that is closed when the tip changes next.
func (c *Chain) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Freeze stops the tip where it is, or lets it go on: a node that has lost its
// peers. While it is frozen no block is taken and none is found.
func (c *Chain) Freeze(frozen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = frozen
}

// Template is what a classic miner's own node tells it: all that it needs to build
// a block.
type Template struct {
	Height        int64 // of the block to be built
	PrevHash      chain.Hash
	PrevTime      int64 // Unix seconds
	Time          int64 // the node's clock now, Unix seconds
	Bits          uint32
	CoinbaseValue int64 // satoshis
}

// MaxNonce is the highest nonce allowed for a block of a time, in Unix seconds.
func (t *Template) MaxNonce(blockTime int64) int64 { return nonceRule(blockTime - t.PrevTime) }

// Template returns what a block on the tip is built of.
func (c *Chain) Template() Template {
	tip := c.Tip()
	return Template{
		Height: tip.Height + 1, PrevHash: tip.Hash, PrevTime: int64(tip.Header.Time),
		Time: max(c.opts.Now().Unix(), int64(tip.Header.Time)+1),
		Bits: c.opts.Bits, CoinbaseValue: c.opts.Subsidy,
	}
}

// MineStranger adds one block that somebody else has found, and returns it; nil
// while the chain is frozen.
func (c *Chain) MineStranger() *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen {
		return nil
	}
	b := c.strangerBlock(c.opts.Now().Unix())
	c.connect(b)
	return b
}

// Reorg replaces the last depth blocks by depth+1 blocks of strangers and returns
// the new tip. Only blocks above the first one can be replaced, so depth is cut
// to what there is.
func (c *Chain) Reorg(depth int) *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	depth = max(0, min(depth, len(c.active)-1))
	c.active = c.active[:len(c.active)-depth]
	if depth > 0 {
		c.journal.write(event{Cut: depth})
	}
	now := c.opts.Now().Unix()
	for i := depth; i >= 0; i-- {
		c.connect(c.strangerBlock(now - int64(i)))
	}
	return c.tip()
}

// connect puts a block on the tip. It needs the lock.
func (c *Chain) connect(b *Block) {
	c.journal.write(event{Connect: b.Raw})
	if known := c.known[b.Hash]; known != nil {
		b = known
	} else {
		c.remember(b)
	}
	c.active = append(c.active, b)
	close(c.changed)
	c.changed = make(chan struct{})
}

// follow makes the branch of a known block the best one. It needs the lock.
func (c *Chain) follow(b *Block) {
	var branch []*Block
	for ; c.at(b.Height) != b; b = c.known[b.Header.Prev] {
		branch = append(branch, b)
	}
	cut := int(c.tip().Height - b.Height)
	c.active = c.active[:len(c.active)-cut]
	c.journal.write(event{Cut: cut})
	for _, b := range slices.Backward(branch) {
		c.connect(b)
	}
}

// remember keeps a block of any branch. It needs the lock.
func (c *Chain) remember(b *Block) {
	c.known[b.Hash] = b
	if b.Recipient == c.opts.PoolAddress {
		c.ours = append(c.ours, b)
	}
}

// coinbase is a block that pays the wallet, and its confirmations, -1 where it is
// not on the best branch.
type coinbase struct {
	*Block
	confirmations int64
}

// coinbases returns the blocks that pay the wallet, as they came.
func (c *Chain) coinbases() []coinbase {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]coinbase, len(c.ours))
	for i, b := range c.ours {
		list[i] = coinbase{b, c.confirmations(b)}
	}
	return list
}

// strangerBlock makes a block on the tip, at a time or, where that is past, a
// second after the tip. It needs the lock.
func (c *Chain) strangerBlock(unix int64) *Block {
	tip := c.tip()
	unix = max(unix, int64(tip.Header.Time)+1)
	return c.makeBlock(tip.Height+1, tip.Hash, unix, int64(tip.Header.Time))
}

// makeBlock builds a stranger's block: every byte of it real but its proof of
// work. It needs the lock.
func (c *Chain) makeBlock(height int64, prev chain.Hash, unix, prevUnix int64) *Block {
	var pubKeyHash [20]byte
	copy(pubKeyHash[:], "stranger")
	pubKeyHash[19] = byte(c.rng.IntN(7)) // seven strangers, so that a page has something to count
	stranger := chain.NewAddress(chain.PubKeyHash, pubKeyHash, c.network)
	var random [16]byte
	for i := range random {
		random[i] = byte(c.rng.Uint32())
	}
	guid := uuid.UUID(random)
	message := chain.ClassicMessage("1.1.3.8", guid.String())
	coinbase := chain.NewCoinbase(height, random[:4], chain.PayTo(stranger, c.opts.Subsidy, message))
	block := chain.NewBlock(chain.Header{
		Version: 0x20000000, Prev: prev, Time: uint32(unix), Bits: c.opts.Bits,
		Nonce: uint32(c.rng.Int64N(nonceRule(unix - prevUnix))),
	}, coinbase)
	return c.describe(block, height, block.Encode(), c.hash(&block.Header))
}

// hash is the X11 of a header.
func (c *Chain) hash(h *chain.Header) [32]byte {
	b := h.Bytes()
	return c.hashers.Hash(b[:])
}

// describe keeps what the calls tell of a block.
func (c *Chain) describe(block *chain.Block, height int64, raw []byte, x11 [32]byte) *Block {
	coinbase := &block.Transactions[0]
	message := coinbaseMessage(coinbase)
	b := &Block{
		Hash: chain.HashFromDisplay(x11), Header: block.Header, Height: height, Raw: raw,
		Recipient: recipient(coinbase, c.network), Value: coinbase.Outputs[0].Value, Message: string(message),
		Version: string(chain.Tag(message, "VER")), MinerGUID: string(chain.Tag(message, "MINERGUID")),
	}
	for i := range block.Transactions {
		b.TxIDs = append(b.TxIDs, block.Transactions[i].TxID())
	}
	return b
}

// recipient is the daemon's PubKeyToAddress of the first output.
func recipient(coinbase *chain.Transaction, network chain.Network) string {
	address, err := chain.ScriptAddress(coinbase.Outputs[0].Script, network)
	if err != nil {
		return ""
	}
	return address.String()
}

// coinbaseMessage is the messages of all outputs, one after the other.
func coinbaseMessage(coinbase *chain.Transaction) []byte {
	if len(coinbase.Outputs) == 1 {
		return coinbase.Outputs[0].Message
	}
	var message []byte
	for i := range coinbase.Outputs {
		message = append(message, coinbase.Outputs[i].Message...)
	}
	return message
}

// medianTime is the median of a block's and its ten predecessors' times. It needs
// the lock.
func (c *Chain) medianTime(b *Block) int64 {
	times := make([]int64, 0, 11)
	for len(times) < cap(times) && b != nil {
		times = append(times, int64(b.Header.Time))
		b = c.known[b.Header.Prev]
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// The answers of submitblock, as far as they are given here. The empty one means
// that the block is the new tip.
const (
	rejectDuplicate    = "duplicate"
	rejectInconclusive = "inconclusive"
	rejectPrevUnknown  = "prev-blk-not-found"
	rejectBits         = "bad-diffbits"
	rejectTimeOld      = "time-too-old"
	rejectTimeNew      = "time-too-new"
	rejectNonce        = "bad-nonce"
	rejectHash         = "high-hash"
	rejectCoinbase     = "bad-cb-missing"
	rejectMerkle       = "bad-txnmrklroot"
	rejectHeight       = "bad-cb-height"
	rejectAmount       = "bad-cb-amount"
)

// Submit offers a block, as the node of a classic miner does with a block that its
// miner has found. The answer is empty where the block is the new tip, and
// bitcoin's reason where it is not. The error is chain's where the bytes are no
// block. Safe for concurrent use; raw is kept.
func (c *Chain) Submit(raw []byte) (reason string, err error) {
	block, err := chain.DecodeBlock(raw)
	if err != nil {
		return "", err
	}
	x11 := c.hash(&block.Header)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[chain.HashFromDisplay(x11)] != nil {
		return rejectDuplicate, nil
	}
	prev := c.known[block.Header.Prev]
	if prev == nil {
		return rejectPrevUnknown, nil
	}
	if reason := c.judge(block, prev, x11); reason != "" {
		return reason, nil
	}
	b := c.describe(block, prev.Height+1, raw, x11)
	if prev == c.tip() && !c.frozen {
		c.connect(b)
		return "", nil
	}
	c.journal.write(event{Keep: raw})
	c.remember(b)
	if c.frozen || b.Height <= c.tip().Height {
		return rejectInconclusive, nil
	}
	c.follow(b) // all blocks are as much work: the longest branch is the best
	return "", nil
}

// judge checks a block on prev. It needs the lock.
func (c *Chain) judge(block *chain.Block, prev *Block, x11 [32]byte) string {
	h := &block.Header
	elapsed := int64(h.Time) - int64(prev.Header.Time)
	in := HashInput{
		BlockHash: x11, BlockTime: int64(h.Time), PrevBlockTime: int64(prev.Header.Time),
		PrevHeight: prev.Height, Nonce: h.Nonce,
	}
	coinbase, coinbaseErr := block.Coinbase()
	switch {
	case h.Bits != c.opts.Bits:
		return rejectBits
	case int64(h.Time) <= c.medianTime(prev):
		return rejectTimeOld
	case int64(h.Time) > c.opts.Now().Add(2*time.Hour).Unix():
		return rejectTimeNew
	case int64(h.Nonce) > nonceRule(elapsed):
		return rejectNonce
	case !c.target.MetBy(BibleHash(in)):
		return rejectHash
	case coinbaseErr != nil:
		return rejectCoinbase
	case block.Check() != nil:
		return rejectMerkle
	}
	if height, err := coinbase.CoinbaseHeight(); err != nil || height != prev.Height+1 {
		return rejectHeight
	}
	if total, err := coinbase.TotalOut(); err != nil || total > c.opts.Subsidy {
		return rejectAmount
	}
	return ""
}

// median is medianTime under the lock.
func (c *Chain) median(b *Block) int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.medianTime(b)
}
