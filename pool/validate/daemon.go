package validate

import (
	"context"
	"errors"
	"time"

	"purepool/bbprpc"
	"purepool/pool/chain"
	"purepool/pool/tip"
)

// Question is what the daemon is asked about one share.
type Question struct {
	BlockHash     [32]byte // big-endian
	BlockTime     uint32
	PrevBlockTime uint32
	PrevHeight    int32
	Nonce         uint32
	// BlockHex and TransHex are empty where only the BibleHash is wanted.
	BlockHex, TransHex string
}

// Answer is the daemon's word on one share.
type Answer struct {
	BibleHash    [32]byte // big-endian
	HasBibleHash bool     // false where an argument is out of the daemon's range

	Refused      string // why the block could not be decoded; empty where it could
	Recipient    string
	CPIDSigValid *bool // nil where the daemon is too old to say
	CPIDLegal    *bool
	CPIDLegality string

	// Fault is an answer that says nothing about the share, though the daemon is
	// there.
	Fault error
}

// Daemon is the daemon as the validator needs it.
type Daemon interface {
	// Examine answers all questions. An error means that the daemon is away.
	Examine(ctx context.Context, questions []Question) ([]Answer, error)
}

// RPC is a Daemon, and a tip.Source, behind JSON-RPC.
type RPC struct{ client *bbprpc.Client }

// NewRPC returns the daemon behind a client.
func NewRPC(client *bbprpc.Client) *RPC { return &RPC{client} }

// Examine sends two calls a share, all in one batch.
func (r *RPC) Examine(ctx context.Context, questions []Question) ([]Answer, error) {
	answers := make([]Answer, len(questions))
	coinbases := make([]bbprpc.CoinbaseInfo, len(questions))
	calls := make([]*bbprpc.Call, 0, 2*len(questions))
	for i := range questions {
		q := &questions[i]
		calls = append(calls, bbprpc.BibleHashCall(bbprpc.BibleHashQuery{
			BlockHash: chain.HashFromDisplay(q.BlockHash), BlockTime: int64(q.BlockTime),
			PrevBlockTime: int64(q.PrevBlockTime), PrevHeight: int64(q.PrevHeight), Nonce: q.Nonce,
		}, &answers[i].BibleHash))
		if q.BlockHex != "" {
			calls = append(calls, bbprpc.HexBlockToCoinbaseCall(q.BlockHex, q.TransHex, &coinbases[i]))
		}
	}
	if err := r.client.Batch(ctx, calls); err != nil && !answered(err) {
		return nil, err
	}
	faulty := false
	for i, next := 0, 0; i < len(questions); i++ {
		answers[i].hearBibleHash(calls[next].Err)
		next++
		if questions[i].BlockHex != "" {
			answers[i].hearCoinbase(&coinbases[i], calls[next].Err)
			next++
		}
		faulty = faulty || answers[i].Fault != nil
	}
	if faulty {
		// Is it the shares, or a daemon that answers nothing at all?
		if _, err := r.client.PInfo(ctx); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (a *Answer) hearBibleHash(err error) {
	switch {
	case err == nil:
		a.HasBibleHash = true
	case errors.Is(err, bbprpc.ErrNoBibleHash):
	case aboutTheShare(err):
	default:
		a.Fault = err
	}
}

func (a *Answer) hearCoinbase(info *bbprpc.CoinbaseInfo, err error) {
	switch {
	case err == nil:
		a.Recipient = info.Recipient
		a.CPIDSigValid, a.CPIDLegal, a.CPIDLegality = info.CPIDSigValid, info.CPIDLegal, info.CPIDLegalityNarr
	case aboutTheShare(err):
		a.Refused = err.Error()
	case a.Fault == nil:
		a.Fault = err
	}
}

// aboutTheShare tells a daemon's refusal of what was asked from its refusal to
// answer at all (an internal error, a method that it does not have).
func aboutTheShare(err error) bool {
	var said *bbprpc.DaemonError
	return errors.As(err, &said) &&
		(said.Code == bbprpc.CodeDeserialization || said.Code == bbprpc.CodeInvalidParameter)
}

// answered tells a daemon that is there, and only gave some call no answer that
// can be used, from one that is away.
func answered(err error) bool {
	var away *bbprpc.AwayError
	return errors.As(err, &away) && away.Answered
}

// BestBlock returns the hash of the daemon's tip, big-endian.
func (r *RPC) BestBlock(ctx context.Context) ([32]byte, error) {
	hash, err := r.client.BestBlockHash(ctx)
	return hash.Display(), err
}

// Block describes a block.
func (r *RPC) Block(ctx context.Context, hash [32]byte) (tip.Header, error) {
	b, err := r.client.Block(ctx, chain.HashFromDisplay(hash))
	if err != nil {
		return tip.Header{}, err
	}
	return tip.Header{Height: int32(b.Height), Hash: hash, Prev: b.Prev.Display(), Time: time.Unix(b.Time, 0).UTC()}, nil
}

// Age is the daemon's own count of the time since its tip's block time.
func (r *RPC) Age(ctx context.Context) (height int32, age time.Duration, err error) {
	info, err := r.client.PInfo(ctx)
	return int32(info.Height), time.Duration(info.Elapsed) * time.Second, err
}

// TemplateRPC is a tip.Source behind JSON-RPC for daemons that do not know the
// calls of the classic age.
type TemplateRPC struct{ *RPC }

// NewTemplateRPC returns the source behind a client.
func NewTemplateRPC(client *bbprpc.Client) TemplateRPC { return TemplateRPC{NewRPC(client)} }

// Age says that the age of the tip is not known: only the classic rule for nonces
// needs it.
func (TemplateRPC) Age(context.Context) (height int32, age time.Duration, err error) {
	return -1, 0, nil
}
