package settle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/internal/failpoint"
	"purepool/ledger"
	"purepool/pool/chain"
)

// ChainBooks is what the watcher needs of the ledger.
type ChainBooks interface {
	ChainTip(ctx context.Context, networkID int16) (ledger.ChainPosition, bool, error)
	MainChain(ctx context.Context, networkID int16, from int32, limit int) ([]ledger.ChainPosition, error)
	Extend(ctx context.Context, networkID int16, base *ledger.ChainPosition, blocks []ledger.ChainBlock) ([]ledger.StaleWinner, error)
	CreditWinners(ctx context.Context, networkID int16) ([]ledger.StaleWinner, error)
	MarkOrphans(ctx context.Context, networkID int16, depth int32) ([]ledger.Block, error)
	ChainLooked(ctx context.Context, networkID int16) (time.Time, error)
	NoteChainLook(ctx context.Context, networkID int16, at time.Time) error
}

// WatcherOptions are the settings of a watcher; zero values mean the defaults.
type WatcherOptions struct {
	Network   string
	NetworkID int16

	// StartHeight is the first block that counts where the books know none yet.
	// 0: the first one after the tip of that moment. Never from the beginning of
	// the chain by accident.
	StartHeight int32
	Interval    time.Duration // between polls; 10 s
	Step        int           // blocks written in one transaction; 100
	// OrphanDepth is how many blocks must stand at the height of a block that left
	// the chain and above before it is orphaned; 6.
	OrphanDepth int32
	// Slack is for how long after a poll, by whichever process, a new block is
	// taken to have come just now; 2 min. After a longer absence its header's time is
	// what is known.
	Slack time.Duration

	Proof Proof // finds the share that was a block; nil: only submissions tell

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Fail       *failpoint.Point // tests only
}

func (o WatcherOptions) withDefaults() WatcherOptions {
	setDefault(&o.Interval, 10*time.Second)
	setDefault(&o.Step, 100)
	setDefault(&o.OrphanDepth, 6)
	setDefault(&o.Slack, 2*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Watcher follows the chain of one network. Several of them, in any number of
// processes, do no harm to each other.
type Watcher struct {
	opts    WatcherOptions
	source  Source
	books   ChainBooks
	wake    chan struct{}
	metrics *watcherMetrics

	once chan struct{} // one look at a time
	// looked is when the pool last reached the tip, as this look found it; used by
	// one look at a time.
	looked time.Time
}

// NewWatcher makes a watcher.
func NewWatcher(opts WatcherOptions, source Source, books ChainBooks) *Watcher {
	opts = opts.withDefaults()
	return &Watcher{
		opts: opts, source: source, books: books, wake: make(chan struct{}, 1), once: make(chan struct{}, 1),
		metrics: newWatcherMetrics(opts.Registerer, opts.Network),
	}
}

// Notify makes the watcher look at once: somebody says that there is a block.
// Safe for concurrent use; it never waits.
func (w *Watcher) Notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run follows the chain until ctx ends, which is no error. What goes wrong is
// logged and tried again.
func (w *Watcher) Run(ctx context.Context) error {
	for {
		if _, err := w.Look(ctx); err != nil && ctx.Err() == nil {
			w.opts.Logger.Warn("the chain could not be read", slog.String("network", w.opts.Network), slog.Any("error", err))
		}
		timer := time.NewTimer(w.opts.Interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Progress says what a look at the chain found.
type Progress struct {
	Height   int32 // the highest block written down
	Tip      int32 // the daemon's
	Added    int   // blocks written down
	Ours     int   // of them, those that pay the pool
	Left     int   // blocks that left the best chain
	Orphaned int   // blocks of the pool that are orphaned now
	Won      int   // shares credited that were refused as stale, since their block stands
}

// Look catches up with the daemon's chain: blocks found since, blocks replaced,
// blocks orphaned. It is the original's find_new_blocks. One look at a time.
func (w *Watcher) Look(ctx context.Context) (p Progress, err error) {
	select {
	case w.once <- struct{}{}:
	case <-ctx.Done():
		return p, ctx.Err()
	}
	defer func() { <-w.once }()
	defer func() { w.metrics.look(p, err, w.opts.Now()) }()
	asked := w.opts.Now()
	state, err := w.source.State(ctx)
	if err != nil {
		return p, fmt.Errorf("asking the daemon for its tip: %w", err)
	}
	p.Tip = int32(state.Blocks)
	if w.looked, err = w.books.ChainLooked(ctx, w.opts.NetworkID); err != nil {
		return p, err
	}
	told := asked
	for {
		done, err := w.step(ctx, &p, asked, state.Synced())
		if errors.Is(err, ledger.ErrChainMoved) || errors.Is(err, errMoving) {
			return p, nil // somebody else has written, or the chain moves: look again later
		}
		if err != nil {
			return p, err
		}
		if done {
			break
		}
		if now := w.opts.Now(); now.Sub(told) >= 5*time.Second {
			told = now
			w.opts.Logger.Info("catching up with the chain", slog.String("network", w.opts.Network),
				slog.Int("height", int(p.Height)), slog.Int("tip", int(p.Tip)), slog.Int("blocks", p.Added))
		}
	}
	// A verdict may come after its block, and a submission too.
	w.opts.Fail.Hit("watch.before-credit")
	won, err := w.books.CreditWinners(ctx, w.opts.NetworkID)
	if err != nil {
		return p, err
	}
	w.opts.Fail.Hit("watch.after-credit")
	w.credited(&p, won)
	if err := w.books.NoteChainLook(ctx, w.opts.NetworkID, asked); err != nil {
		return p, err
	}
	if !state.Synced() {
		return p, nil // what such a node says of a block's absence means nothing
	}
	orphans, err := w.books.MarkOrphans(ctx, w.opts.NetworkID, w.opts.OrphanDepth)
	if err != nil {
		return p, err
	}
	p.Orphaned = len(orphans)
	for i := range orphans {
		w.opts.Logger.Warn("a block of the pool is orphaned", slog.String("network", w.opts.Network),
			slog.Int("height", int(orphans[i].Height)), slog.String("hash", chain.HashFromDisplay(orphans[i].Hash).String()),
			slog.Bool("was_shared_out", orphans[i].State == ledger.BlockMature))
	}
	return p, nil
}

// step writes down the next blocks; done where there are none.
func (w *Watcher) step(ctx context.Context, p *Progress, asked time.Time, synced bool) (done bool, err error) {
	tip, known, err := w.books.ChainTip(ctx, w.opts.NetworkID)
	if err != nil {
		return false, err
	}
	if !known {
		return false, w.begin(ctx, p)
	}
	base, err := w.fork(ctx, tip)
	if err != nil || base == nil {
		return true, err
	}
	if base.Height != tip.Height && !synced {
		return true, nil // a node that is behind does not decide between branches
	}
	hashes, err := w.source.Hashes(ctx, base.Height+1, base.Height+int32(w.opts.Step))
	if err != nil {
		return false, fmt.Errorf("asking the daemon for hashes: %w", err)
	}
	p.Height = tip.Height
	if len(hashes) == 0 {
		return true, nil // at the tip, or the node is behind
	}
	blocks, err := w.read(ctx, p, *base, hashes, asked)
	if err != nil {
		return false, err
	}
	w.opts.Fail.Hit("watch.before-extend")
	won, err := w.books.Extend(ctx, w.opts.NetworkID, base, blocks)
	if err != nil {
		return false, err
	}
	w.opts.Fail.Hit("watch.after-extend")
	w.credited(p, won)
	p.Added += len(blocks)
	p.Left += int(tip.Height - base.Height)
	p.Height = blocks[len(blocks)-1].Height
	return len(hashes) < w.opts.Step, nil
}

// begin writes down the block below the first one that counts.
func (w *Watcher) begin(ctx context.Context, p *Progress) error {
	height := p.Tip
	if w.opts.StartHeight > 0 {
		height = min(w.opts.StartHeight-1, p.Tip)
	}
	hashes, err := w.source.Hashes(ctx, height, height)
	if err != nil {
		return fmt.Errorf("asking the daemon for the first hash: %w", err)
	}
	if len(hashes) == 0 {
		return errMoving
	}
	blocks, err := w.source.Blocks(ctx, []ledger.ChainPosition{{Height: height, Hash: hashes[0].Display()}})
	if err != nil {
		return fmt.Errorf("asking the daemon for the first block: %w", err)
	}
	blocks[0].Ours = nil // whoever found it, it was before our time
	w.opts.Logger.Info("the chain is followed from here on", slog.String("network", w.opts.Network), slog.Int("height", int(height)))
	p.Height = height
	_, err = w.books.Extend(ctx, w.opts.NetworkID, nil, []ledger.ChainBlock{blocks[0].ChainBlock})
	return err
}

// credited tells of shares that were refused as stale and are credited now.
func (w *Watcher) credited(p *Progress, won []ledger.StaleWinner) {
	p.Won += len(won)
	for i := range won {
		w.opts.Logger.Info("a share that was refused is credited, since its block stands", slog.String("network", w.opts.Network),
			slog.Int("height", int(won[i].Height)+1), slog.String("share", won[i].ShareID.String()), slog.Int64("miner", won[i].MinerID),
			slog.String("reason", won[i].Reason), slog.Int64("weight", won[i].Weight))
	}
}

// fork returns the highest block that both the books and the daemon have on the
// best chain; nil where the daemon's chain is a piece of the books': it is
// behind, and says nothing about what is above.
func (w *Watcher) fork(ctx context.Context, tip ledger.ChainPosition) (*ledger.ChainPosition, error) {
	for from, span := tip.Height, 1; ; span = min(2*span, 500) {
		ours, err := w.books.MainChain(ctx, w.opts.NetworkID, from, span)
		if err != nil {
			return nil, err
		}
		if len(ours) == 0 {
			return nil, fmt.Errorf("the daemon's chain has nothing in common with the %d blocks that are written down: is it the same network?", tip.Height-from)
		}
		lowest := ours[len(ours)-1].Height
		theirs, err := w.source.Hashes(ctx, lowest, ours[0].Height)
		if err != nil {
			return nil, fmt.Errorf("asking the daemon for hashes: %w", err)
		}
		for i := range ours {
			n := int(ours[i].Height - lowest)
			if n >= len(theirs) {
				continue // above the daemon's tip
			}
			if theirs[n].Display() != ours[i].Hash {
				continue
			}
			// Positive knowledge of a fork is another hash just above.
			if ours[i].Height < tip.Height && n+1 >= len(theirs) {
				if replaced, err := w.replaced(ctx, ours[i].Height+1); err != nil || !replaced {
					return nil, err
				}
			}
			return &ours[i], nil
		}
		from = lowest - 1
	}
}

// replaced reports whether the daemon has another block at a height than the
// books.
func (w *Watcher) replaced(ctx context.Context, height int32) (bool, error) {
	theirs, err := w.source.Hashes(ctx, height, height)
	if err != nil || len(theirs) == 0 {
		return false, err
	}
	ours, err := w.books.MainChain(ctx, w.opts.NetworkID, height, 1)
	if err != nil {
		return false, err
	}
	if len(ours) == 0 || ours[0].Height != height || ours[0].Hash == theirs[0].Display() {
		return false, errMoving
	}
	return true, nil
}

// read asks for blocks that stand on base and checks that they do.
func (w *Watcher) read(ctx context.Context, p *Progress, base ledger.ChainPosition, hashes []chain.Hash, asked time.Time) ([]ledger.ChainBlock, error) {
	at := make([]ledger.ChainPosition, len(hashes))
	for i := range hashes {
		at[i] = ledger.ChainPosition{Height: base.Height + 1 + int32(i), Hash: hashes[i].Display()}
	}
	infos, err := w.source.Blocks(ctx, at)
	if err != nil {
		if errors.Is(err, errMoving) {
			return nil, err
		}
		return nil, fmt.Errorf("asking the daemon for blocks: %w", err)
	}
	blocks := make([]ledger.ChainBlock, len(infos))
	prev := base.Hash
	for i := range infos {
		if infos[i].Prev != prev {
			return nil, errMoving
		}
		prev = infos[i].Hash
		if infos[i].Ours != nil {
			if err := w.found(ctx, &infos[i], asked); err != nil {
				return nil, err
			}
			p.Ours++
		}
		blocks[i] = infos[i].ChainBlock
	}
	return blocks, nil
}

// found adds to a block of the pool when it came and which share it was.
func (w *Watcher) found(ctx context.Context, info *BlockInfo, asked time.Time) error {
	info.Ours.SeenAt = asked
	if watching := asked.Sub(w.looked) <= w.opts.Slack; !watching && info.BlockTime.Before(asked) {
		info.Ours.SeenAt = info.BlockTime
	}
	if w.opts.Proof != nil {
		proof, err := w.opts.Proof(ctx, *info)
		if err != nil {
			return fmt.Errorf("asking the daemon for the proof of block %d: %w", info.Height, err)
		}
		info.Ours.Proof = proof
	}
	w.opts.Logger.Info("the pool has found a block", slog.String("network", w.opts.Network), slog.Int("height", int(info.Height)),
		slog.String("hash", chain.HashFromDisplay(info.Hash).String()), slog.Int64("reward", info.Ours.Reward))
	return nil
}

type watcherMetrics struct {
	height, behind, lastLook prometheus.Gauge
	found, orphaned, left    prometheus.Counter
	won, failures            prometheus.Counter
}

func newWatcherMetrics(r prometheus.Registerer, network string) *watcherMetrics {
	m := &watcherMetrics{
		height:   gauge(network, "purepool_chain_height", "Highest block that is written down."),
		behind:   gauge(network, "purepool_chain_blocks_behind", "Blocks of the daemon that are not written down yet."),
		lastLook: gauge(network, "purepool_chain_last_look_timestamp_seconds", "When the chain was read last without an error."),
		found:    counter(network, "purepool_blocks_found_total", "Blocks of the chain that pay the pool."),
		orphaned: counter(network, "purepool_blocks_orphaned_total", "Blocks of the pool that were orphaned."),
		left:     counter(network, "purepool_chain_blocks_replaced_total", "Blocks that left the best chain in a reorganisation."),
		won:      counter(network, "purepool_stale_winners_credited_total", "Shares that were refused as stale and credited when their block came to stand."),
		failures: counter(network, "purepool_chain_failures_total", "Looks at the chain that failed."),
	}
	register(r, m.height, m.behind, m.lastLook, m.found, m.orphaned, m.left, m.won, m.failures)
	return m
}

func (m *watcherMetrics) look(p Progress, err error, now time.Time) {
	m.found.Add(float64(p.Ours))
	m.orphaned.Add(float64(p.Orphaned))
	m.left.Add(float64(p.Left))
	m.won.Add(float64(p.Won))
	if err != nil {
		m.failures.Inc()
		return
	}
	m.height.Set(float64(p.Height))
	m.behind.Set(float64(max(p.Tip-p.Height, 0)))
	m.lastLook.Set(float64(now.UnixMilli()) / 1000)
}
