package settle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/internal/failpoint"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/settle/scheme"
)

// RoundBooks is what the settler needs of the ledger.
type RoundBooks interface {
	ImmatureBlocks(ctx context.Context, networkID int16) ([]ledger.Block, error)
	PoolBlocks(ctx context.Context, networkID int16, limit int) ([]ledger.Block, error)
	LocateFinder(ctx context.Context, blockID int64, proof *[32]byte) (ledger.Block, error)
	CountShares(ctx context.Context, networkID int16, now time.Time, lag time.Duration) (time.Time, error)
	CloseRound(ctx context.Context, blockID int64, border time.Time, scheme string) (bool, error)
	ShareOut(ctx context.Context, req ledger.ShareOutRequest) (ledger.ShareOutResult, error)
}

// ErrImmature: a block is not old enough to be shared out.
var ErrImmature = errors.New("the block is not mature")

// SettlerOptions are the settings of a settler; zero values mean the defaults.
type SettlerOptions struct {
	Network   string
	NetworkID int16

	Scheme scheme.Name // prop
	// WindowFactor is the window of pplns in thousandths of the work of one block
	// of the network; 2000.
	WindowFactor int64
	Fee          scheme.Fee // the pool's part; 0

	// CloseDepth is how many confirmations a block needs before its round ends; 3.
	CloseDepth int64
	// Grace is for how long after a block was seen its share may still come; 10
	// min. Negative: none.
	Grace time.Duration
	// Confirmations and MaturityAge are what a block needs to be shared out: 101
	// (a coinbase can be spent then), and the time since it was seen (none; the
	// original waited 24 hours).
	Confirmations int64
	MaturityAge   time.Duration

	// CountLag is how long shares are left alone before they are counted for the
	// open round; 2 min. Negative: none.
	CountLag time.Duration

	Proof Proof // finds the share that was a block; nil: only submissions tell

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Fail       *failpoint.Point // tests only
}

func (o SettlerOptions) withDefaults() SettlerOptions {
	setDefault(&o.Scheme, scheme.Prop)
	setDefault(&o.WindowFactor, 2000)
	setDefault(&o.CloseDepth, 3)
	setDefault(&o.Grace, 10*time.Minute)
	setDefault(&o.Confirmations, 101)
	setDefault(&o.CountLag, 2*time.Minute)
	o.Grace, o.CountLag = max(o.Grace, 0), max(o.CountLag, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Settler ends rounds and shares rewards out. Any number of them, in any number
// of processes, may do so at once: each block is shared out once.
type Settler struct {
	opts    SettlerOptions
	source  Source
	books   RoundBooks
	metrics *settlerMetrics
}

// NewSettler makes a settler. The error speaks of the scheme or the fee.
func NewSettler(opts SettlerOptions, source Source, books RoundBooks) (*Settler, error) {
	opts = opts.withDefaults()
	if !opts.Scheme.Valid() {
		return nil, fmt.Errorf("there is no scheme %q; there are prop, pplns and solo", opts.Scheme)
	}
	if _, err := opts.Fee.Of(0); err != nil {
		return nil, err
	}
	return &Settler{opts: opts, source: source, books: books, metrics: newSettlerMetrics(opts.Registerer, opts.Network)}, nil
}

// CountShares counts the open round along, and returns how far that went: the
// more often it is called, the less there is to be counted when a round ends.
func (s *Settler) CountShares(ctx context.Context) (until time.Time, err error) {
	s.opts.Fail.Hit("count.before")
	until, err = s.books.CountShares(ctx, s.opts.NetworkID, s.opts.Now(), s.opts.CountLag)
	s.opts.Fail.Hit("count.after")
	return until, err
}

// CloseRounds ends the rounds of blocks that are some confirmations deep. It is
// the original's process_next_block. It returns how many it ended; what goes
// wrong with one block ends the run, since rounds end in the order of blocks.
func (s *Settler) CloseRounds(ctx context.Context) (closed int, err error) {
	blocks, err := s.books.ImmatureBlocks(ctx, s.opts.NetworkID)
	if err != nil {
		return 0, err
	}
	for i := range blocks {
		b := &blocks[i]
		if b.RoundID != 0 {
			continue
		}
		if s.opts.Now().Before(b.SeenAt.Add(s.opts.Grace)) {
			return closed, nil // its share may still be on its way
		}
		depth, err := s.source.Confirmations(ctx, chain.HashFromDisplay(b.Hash))
		if err != nil {
			return closed, fmt.Errorf("asking for the depth of block %d: %w", b.Height, err)
		}
		if depth < s.opts.CloseDepth {
			return closed, nil // or it has just been replaced, and the watcher will say so
		}
		done, err := s.closeRound(ctx, *b)
		if err != nil {
			return closed, err
		}
		if done {
			closed++
		}
	}
	return closed, nil
}

func (s *Settler) closeRound(ctx context.Context, b ledger.Block) (bool, error) {
	var proof *[32]byte
	if s.opts.Proof != nil && b.FoundAt.IsZero() {
		infos, err := s.source.Blocks(ctx, []ledger.ChainPosition{{Height: b.Height, Hash: b.Hash}})
		if err != nil {
			return false, fmt.Errorf("asking for block %d: %w", b.Height, err)
		}
		if proof, err = s.opts.Proof(ctx, infos[0]); err != nil {
			return false, fmt.Errorf("asking for the proof of block %d: %w", b.Height, err)
		}
	}
	s.opts.Fail.Hit("close.before-finder")
	b, err := s.books.LocateFinder(ctx, b.ID, proof)
	if err != nil {
		return false, err
	}
	border := Border(b, s.opts.Grace)
	s.opts.Fail.Hit("close.before-round")
	closed, err := s.books.CloseRound(ctx, b.ID, border, string(s.opts.Scheme))
	s.opts.Fail.Hit("close.after-round")
	if closed {
		s.opts.Logger.Info("a round has ended", slog.String("network", s.opts.Network), slog.Int("height", int(b.Height)),
			slog.Time("border", border), slog.Bool("share_known", !b.FoundAt.IsZero()))
	}
	return closed, err
}

// Border is where a block's round ends: a microsecond after the share that was
// the block, or where that is not known, or came more than grace after the block
// was seen, the moment at which the block was seen.
func Border(b ledger.Block, grace time.Duration) time.Time {
	if !b.FoundAt.IsZero() && !b.FoundAt.After(b.SeenAt.Add(grace)) {
		return b.FoundAt.Add(time.Microsecond)
	}
	return b.SeenAt
}

// ShareOutAll shares out every block whose turn has come, one after the other.
// It is the original's shareout_next_block. A block that cannot be shared out
// now ends the run: those behind it wait for it, and the next run goes on.
func (s *Settler) ShareOutAll(ctx context.Context) (done []ledger.ShareOutResult, err error) {
	defer func() { s.metrics.run(err) }()
	blocks, err := s.books.ImmatureBlocks(ctx, s.opts.NetworkID)
	if err != nil {
		return nil, err
	}
	for i := range blocks {
		result, err := s.shareOut(ctx, &blocks[i], false)
		switch {
		case errors.Is(err, ErrImmature), errors.Is(err, ledger.ErrNotDue):
			s.opts.Logger.Debug("a block waits", slog.String("network", s.opts.Network), slog.Int("height", int(blocks[i].Height)), slog.Any("for", err))
			return done, nil
		case err != nil:
			return done, err
		}
		done = append(done, result)
	}
	return done, nil
}

// ShareOutBlock shares out one block of the pool, by its height, or says what
// would come of it (dry). Like any other it must be mature, and its turn must
// have come: [ErrImmature], ledger.ErrNotDue, ledger.ErrNoSuchBlock.
func (s *Settler) ShareOutBlock(ctx context.Context, height int32, dry bool) (ledger.ShareOutResult, error) {
	blocks, err := s.books.PoolBlocks(ctx, s.opts.NetworkID, 1_000_000)
	if err != nil {
		return ledger.ShareOutResult{}, err
	}
	for i := range blocks {
		if b := &blocks[i]; b.Height == height && b.Main {
			return s.shareOut(ctx, b, dry)
		}
	}
	return ledger.ShareOutResult{}, fmt.Errorf("height %d: %w", height, ledger.ErrNoSuchBlock)
}

func (s *Settler) shareOut(ctx context.Context, b *ledger.Block, dry bool) (ledger.ShareOutResult, error) {
	if b.State != ledger.BlockImmature {
		return ledger.ShareOutResult{}, fmt.Errorf("block %d is %s: %w", b.Height, b.State, ledger.ErrNotDue)
	}
	if ripe := b.SeenAt.Add(s.opts.MaturityAge); s.opts.Now().Before(ripe) {
		return ledger.ShareOutResult{}, fmt.Errorf("block %d matures at %s: %w", b.Height, ripe.Format(time.RFC3339), ErrImmature)
	}
	depth, err := s.source.Confirmations(ctx, chain.HashFromDisplay(b.Hash))
	if err != nil {
		return ledger.ShareOutResult{}, fmt.Errorf("asking for the depth of block %d: %w", b.Height, err)
	}
	if depth < s.opts.Confirmations {
		return ledger.ShareOutResult{}, fmt.Errorf("block %d has %d of %d confirmations: %w", b.Height, depth, s.opts.Confirmations, ErrImmature)
	}
	req := ledger.ShareOutRequest{BlockID: b.ID, Divide: s.divide, DryRun: dry}
	if s.opts.Scheme == scheme.PPLNS {
		req.Window = scheme.Window(networkWork(b), s.opts.WindowFactor)
	}
	s.opts.Fail.Hit("shareout.before-commit")
	result, err := s.books.ShareOut(ctx, req)
	if err != nil {
		return result, err
	}
	s.opts.Fail.Hit("shareout.after-commit")
	if !dry {
		s.metrics.count(&result)
		s.opts.Logger.Info("a block is shared out", slog.String("network", s.opts.Network), slog.Int("height", int(b.Height)),
			slog.Int64("reward", b.Reward), slog.Int64("fee", result.Fee), slog.Int64("unclaimed", result.Unclaimed),
			slog.Int("miners", len(result.Credits)), slog.Int("rounds", len(result.Rounds)))
	}
	return result, nil
}

// networkWork is the work of one block; one hash where it is not known.
func networkWork(b *ledger.Block) *big.Int {
	if b.Hashes == nil || b.Hashes.Sign() <= 0 {
		return big.NewInt(1)
	}
	return b.Hashes
}

// divide applies scheme and fee.
func (s *Settler) divide(block ledger.Block, weights []ledger.MinerWeight) (ledger.Division, error) {
	s.opts.Fail.Hit("shareout.within-transaction")
	var list []scheme.Weight
	if s.opts.Scheme == scheme.Solo {
		list = scheme.SoloWeight(block.FinderID)
	} else {
		list = make([]scheme.Weight, len(weights))
		for i, w := range weights {
			list[i] = scheme.Weight{Miner: w.MinerID, Hashes: w.Hashes}
		}
	}
	d, err := scheme.Divide(block.Reward, s.opts.Fee, list)
	if err != nil {
		return ledger.Division{}, err
	}
	credits := make([]ledger.MinerCredit, len(d.Credits))
	for i, c := range d.Credits {
		credits[i] = ledger.MinerCredit{MinerID: c.Miner, Amount: c.Satoshis}
	}
	return ledger.Division{Fee: d.Fee, Unclaimed: d.Unclaimed, Credits: credits}, nil
}

type settlerMetrics struct {
	blocks, failures   prometheus.Counter
	satoshis           *prometheus.CounterVec
	unclaimed, credits prometheus.Counter
}

func newSettlerMetrics(r prometheus.Registerer, network string) *settlerMetrics {
	m := &settlerMetrics{
		blocks:    counter(network, "purepool_blocks_shared_out_total", "Blocks that were shared out."),
		failures:  counter(network, "purepool_share_out_failures_total", "Runs of the share-out that failed."),
		satoshis:  counterVec(network, "purepool_share_out_satoshis_total", "Satoshis shared out, by who got them: miners, fee, unclaimed.", "to"),
		unclaimed: counter(network, "purepool_blocks_without_shares_total", "Blocks that the pool kept because nobody had worked for them."),
		credits:   counter(network, "purepool_credits_total", "Credits to miners."),
	}
	for _, to := range []string{"miners", "fee", "unclaimed"} {
		m.satoshis.WithLabelValues(to)
	}
	register(r, m.blocks, m.failures, m.satoshis, m.unclaimed, m.credits)
	return m
}

func (m *settlerMetrics) run(err error) {
	if err != nil {
		m.failures.Inc()
	}
}

func (m *settlerMetrics) count(r *ledger.ShareOutResult) {
	m.blocks.Inc()
	var miners int64
	for _, c := range r.Credits {
		miners += c.Amount
	}
	m.satoshis.WithLabelValues("miners").Add(float64(miners))
	m.satoshis.WithLabelValues("fee").Add(float64(r.Fee))
	m.satoshis.WithLabelValues("unclaimed").Add(float64(r.Unclaimed))
	m.credits.Add(float64(len(r.Credits)))
	if r.Unclaimed > 0 {
		m.unclaimed.Inc()
	}
}
