package settle

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/pow"
)

// Source is the chain as a daemon tells it.
type Source interface {
	// State says how far the daemon is.
	State(ctx context.Context) (bbprpc.ChainState, error)
	// Hashes returns the hashes of the best chain's blocks at these heights. It
	// ends early, without an error, at the first height above the tip.
	Hashes(ctx context.Context, from, to int32) ([]chain.Hash, error)
	// Blocks describes blocks of the best chain, by height and hash.
	Blocks(ctx context.Context, at []ledger.ChainPosition) ([]BlockInfo, error)
	// Confirmations counts the tip as 1; -1 for a block that is not on the best
	// chain, 0 for one that the daemon does not know.
	Confirmations(ctx context.Context, hash chain.Hash) (int64, error)
}

// BlockInfo is a block as the watcher needs it.
type BlockInfo struct {
	ledger.ChainBlock
	// Nonce and Bits are the header's.
	Nonce, Bits uint32
}

// Proof finds the proof of the share that was a block; nil where it cannot be
// told.
type Proof func(ctx context.Context, block BlockInfo) (*[32]byte, error)

// BlockHashIsProof is the proof on chains whose block hash is the miners' proof:
// X11 and SHA-256d.
func BlockHashIsProof(_ context.Context, block BlockInfo) (*[32]byte, error) {
	hash := block.Hash
	return &hash, nil
}

// ClassicProof asks the daemon for the BibleHash of a block.
func ClassicProof(client *bbprpc.Client) Proof {
	return func(ctx context.Context, block BlockInfo) (*[32]byte, error) {
		prev, err := client.Block(ctx, chain.HashFromDisplay(block.Prev))
		if err != nil {
			return nil, err
		}
		proof, err := client.BibleHash(ctx, bbprpc.BibleHashQuery{
			BlockHash: chain.HashFromDisplay(block.Hash), BlockTime: block.BlockTime.Unix(),
			PrevBlockTime: prev.Time, PrevHeight: prev.Height, Nonce: block.Nonce,
		})
		if errors.Is(err, bbprpc.ErrNoBibleHash) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return &proof, nil
	}
}

// daemonSource is what both ages of daemons have in common.
type daemonSource struct {
	client *bbprpc.Client
	// pool is the address that the pool's blocks pay.
	pool string
}

func (s daemonSource) State(ctx context.Context) (bbprpc.ChainState, error) {
	return s.client.ChainState(ctx)
}

func (s daemonSource) Confirmations(ctx context.Context, hash chain.Hash) (int64, error) {
	block, err := s.client.Block(ctx, hash)
	if bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) {
		return 0, nil
	}
	return block.Confirmations, err
}

func (s daemonSource) Hashes(ctx context.Context, from, to int32) ([]chain.Hash, error) {
	if to < from {
		return nil, nil
	}
	hashes := make([]chain.Hash, to-from+1)
	calls := make([]*bbprpc.Call, len(hashes))
	for i := range hashes {
		calls[i] = bbprpc.BlockHashCall(int64(from)+int64(i), &hashes[i])
	}
	if err := s.client.Batch(ctx, calls); err != nil {
		return nil, err
	}
	for i, call := range calls {
		if bbprpc.IsCode(call.Err, bbprpc.CodeInvalidParameter) {
			return hashes[:i], nil
		}
		if call.Err != nil {
			return nil, call.Err
		}
	}
	return hashes, nil
}

// fullBlocks asks for headers and, where the daemon tells them, coinbases.
func (s daemonSource) fullBlocks(ctx context.Context, at []ledger.ChainPosition, outputs bool) ([]bbprpc.FullBlock, error) {
	blocks := make([]bbprpc.FullBlock, len(at))
	calls := make([]*bbprpc.Call, len(at))
	for i, p := range at {
		calls[i] = bbprpc.FullBlockCall(chain.HashFromDisplay(p.Hash), outputs, &blocks[i])
	}
	if err := s.client.Batch(ctx, calls); err != nil {
		return nil, err
	}
	for i, call := range calls {
		if call.Err != nil {
			return nil, fmt.Errorf("block %d: %w", at[i].Height, call.Err)
		}
		if blocks[i].Height != int64(at[i].Height) {
			return nil, fmt.Errorf("block %d: the daemon says that its height is %d", at[i].Height, blocks[i].Height)
		}
	}
	return blocks, nil
}

func describe(b *bbprpc.FullBlock) BlockInfo {
	return BlockInfo{
		ChainBlock: ledger.ChainBlock{
			Height: int32(b.Height), Hash: b.Hash.Display(), Prev: b.Prev.Display(), BlockTime: time.Unix(b.Time, 0).UTC(),
			Hashes: expectedHashes(b.Bits),
		},
		Nonce: b.Nonce, Bits: b.Bits,
	}
}

// expectedHashes is the work that the network expects for a block of these bits;
// nil where they are none.
func expectedHashes(bits uint32) *big.Int {
	target, err := pow.TargetFromCompact(bits)
	if err != nil {
		return nil
	}
	return target.ExpectedHashes()
}

// ClassicSource reads the chain of a daemon of the classic age: recipient and
// reward from exec subsidy, in whole coins. What a block of the pool pays
// exactly, the wallet knows.
type ClassicSource struct{ daemonSource }

// NewClassicSource reads from a daemon which blocks pay an address.
func NewClassicSource(client *bbprpc.Client, poolAddress string) *ClassicSource {
	return &ClassicSource{daemonSource{client, poolAddress}}
}

// Blocks implements [Source]. exec subsidy asks by height, not by hash: the
// hashes are asked for once more afterwards, so that no answer belongs to another
// block.
func (s *ClassicSource) Blocks(ctx context.Context, at []ledger.ChainPosition) ([]BlockInfo, error) {
	full, err := s.fullBlocks(ctx, at, false)
	if err != nil {
		return nil, err
	}
	subsidies, again := make([]bbprpc.Subsidy, len(at)), make([]chain.Hash, len(at))
	calls := make([]*bbprpc.Call, 0, 2*len(at))
	for i, p := range at {
		calls = append(calls, bbprpc.SubsidyCall(int64(p.Height), &subsidies[i]))
	}
	if err := s.client.Batch(ctx, calls); err != nil {
		return nil, err
	}
	for i, call := range calls {
		// The first block of a chain has no subsidy to the daemon.
		if call.Err != nil && (!errors.Is(call.Err, bbprpc.ErrBlockNotFound) || at[i].Height != 0) {
			return nil, fmt.Errorf("subsidy of block %d: %w", at[i].Height, call.Err)
		}
	}
	calls = calls[:0]
	for i, p := range at {
		calls = append(calls, bbprpc.BlockHashCall(int64(p.Height), &again[i]))
	}
	if err := s.client.Batch(ctx, calls); err != nil {
		return nil, err
	}
	infos := make([]BlockInfo, len(at))
	for i := range at {
		if calls[i].Err != nil || again[i].Display() != at[i].Hash {
			return nil, errMoving
		}
		infos[i] = describe(&full[i])
		infos[i].Subsidy = int64(subsidies[i].Subsidy)
		if subsidies[i].Recipient != s.pool {
			continue
		}
		guid, err := uuid.Parse(subsidies[i].MinerGUID)
		if err != nil {
			guid = uuid.Nil // any text may stand there
		}
		reward, err := s.exactReward(ctx, full[i].Coinbase, subsidies[i].Subsidy)
		if err != nil {
			return nil, err
		}
		infos[i].Ours = &ledger.FoundBlock{Reward: int64(reward), Hashes: infos[i].Hashes, FinderGUID: guid}
	}
	return infos, nil
}

// exactReward asks the wallet what it got from a coinbase. Whole coins are what
// is known where it does not know the transaction.
func (s *ClassicSource) exactReward(ctx context.Context, coinbase chain.Hash, whole bbprpc.Amount) (bbprpc.Amount, error) {
	tx, err := s.client.WalletTransaction(ctx, coinbase)
	var refusal *bbprpc.DaemonError
	if errors.As(err, &refusal) {
		return whole, nil
	}
	if err != nil {
		return 0, err
	}
	var sum bbprpc.Amount
	for _, d := range tx.Details {
		if d.Address == s.pool && d.Category != "send" {
			sum += d.Amount
		}
	}
	if sum <= 0 {
		return whole, nil
	}
	return sum, nil
}

// TemplateSource reads the chain of a daemon of today: everything from getblock
// with its transactions.
type TemplateSource struct{ daemonSource }

// NewTemplateSource reads from a daemon which blocks pay an address.
func NewTemplateSource(client *bbprpc.Client, poolAddress string) *TemplateSource {
	return &TemplateSource{daemonSource{client, poolAddress}}
}

// Blocks implements [Source]. The subsidy is all that the coinbase pays.
func (s *TemplateSource) Blocks(ctx context.Context, at []ledger.ChainPosition) ([]BlockInfo, error) {
	full, err := s.fullBlocks(ctx, at, true)
	if err != nil {
		return nil, err
	}
	infos := make([]BlockInfo, len(at))
	for i := range full {
		infos[i] = describe(&full[i])
		var ours bbprpc.Amount
		var message string
		for _, o := range full[i].Outputs {
			infos[i].Subsidy += int64(o.Amount)
			message += o.Message
			if o.Address == s.pool {
				ours += o.Amount
			}
		}
		if ours == 0 {
			continue
		}
		guid, err := uuid.ParseBytes(chain.Tag([]byte(message), "MINERGUID"))
		if err != nil {
			guid = uuid.Nil
		}
		infos[i].Ours = &ledger.FoundBlock{Reward: int64(ours), Hashes: infos[i].Hashes, FinderGUID: guid}
	}
	return infos, nil
}

// errMoving: the chain changed while it was read; the next look will do.
var errMoving = errors.New("the chain was reorganised while it was read")
