package jobs

import (
	"fmt"
	"time"

	"purepool/pool/chain"
	"purepool/pool/job"
)

// Plan is what is the same in all jobs of a network.
type Plan struct {
	Network   string
	Algorithm string // x11, scrypt or sha256d
	// Chain is whose addresses and transactions these are.
	Chain       chain.Network
	PoolAddress string
	Tag         string // the pool's name in its coinbases, at most 32 bytes; may be empty
	// VersionMask holds the bits of the header's version that miners may change;
	// zero on BiblePay, whose daemon refuses blocks for some of them.
	VersionMask     uint32
	Extranonce2Size uint8 // 4 where zero
	// BindTargets lets every share's target stand in its coinbase (job.Job), so that
	// no frontend can choose it afterwards.
	BindTargets bool
}

// boundBytes is the length of a target in a coinbase.
const boundBytes = 4

// builder makes jobs of templates. It is immutable.
type builder struct {
	plan     Plan
	coinbase chain.CoinbasePlan
}

func newBuilder(plan Plan) (*builder, error) {
	address, err := chain.DecodeAddress(plan.PoolAddress, plan.Chain)
	if err != nil {
		return nil, fmt.Errorf("pool address: %w", err)
	}
	if plan.Extranonce2Size == 0 {
		plan.Extranonce2Size = job.MinExtranonce2
	}
	reserved := job.Extranonce1Size + int(plan.Extranonce2Size)
	if plan.BindTargets {
		reserved += boundBytes
	}
	return &builder{plan, chain.CoinbasePlan{
		PoolScript: address.PayScript(), Reserved: reserved, Tag: plan.Tag, OutputMessages: plan.Chain.OutputMessages(),
	}}, nil
}

// build makes a job of a template.
func (b *builder) build(t *chain.Template, seq uint64, clean bool, now time.Time) (*Issued, error) {
	first, second, err := t.SplitCoinbase(b.coinbase)
	if err != nil {
		return nil, err
	}
	j := &job.Job{
		Network: b.plan.Network, Seq: seq, Algorithm: b.plan.Algorithm, Height: t.Height,
		Version: t.Version, VersionMask: b.plan.VersionMask, Prev: t.Prev, Bits: t.Bits,
		Time: max(t.Time, t.MinTime), MinTime: t.MinTime, Coinbase1: first, Coinbase2: second,
		Extranonce2Size: b.plan.Extranonce2Size, Branches: job.Branches(t.TransactionIDs()),
		Clean: clean, IssuedAt: job.MomentOf(now), BindsTarget: b.plan.BindTargets,
	}
	if err := j.Validate(); err != nil {
		return nil, err
	}
	return &Issued{Job: j, Body: t.Body()}, nil
}

// proposal is a block of the job that lacks nothing but its proof of work.
func (i *Issued) proposal(a *job.Assembler) ([]byte, error) {
	f := &job.Found{Extranonce2Size: i.Job.Extranonce2Size, Time: i.Job.Time}
	return i.block(a, f)
}

// block puts the block of a share together.
func (i *Issued) block(a *job.Assembler, f *job.Found) ([]byte, error) {
	if i.Body == nil {
		return nil, errNoBody
	}
	header := [chain.HeaderSize]byte(a.Header(i.Job, f))
	return i.Body.Block(header[:], a.Coinbase(i.Job, f))
}

// blockHash returns the hash by which the chain knows a block, in display order:
// that of the proof of work on x11 chains, the double SHA-256 on the others.
func blockHash(j *job.Job, header []byte, proof [32]byte) [32]byte {
	if j.Algorithm == "x11" {
		return proof
	}
	return chain.DoubleSHA256(header).Display()
}
