package validate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/solution"
)

// Rules is what a classic network asks of a share.
type Rules struct {
	Chain       chain.Network
	PoolAddress string
	// EasiestTarget is the easiest target that the pool has issued work for. Work
	// with an easier one was written by somebody else than an honest frontend.
	EasiestTarget pow.Target
	// WorkLifetime is how long after its issue a share may arrive for a work.
	WorkLifetime time.Duration
	// MinPoolPercent is the least part of a coinbase's outputs that must pay the
	// pool, since the daemon looks at the first output only. The rest is what the
	// chain itself grants to others.
	MinPoolPercent int64

	poolScript []byte
}

// candidate is one share on its way to a verdict.
type candidate struct {
	share    *queue.Share
	solution *solution.Solution
	work     ledger.IssuedWork
	prev     [32]byte // the header's previous block, big-endian; zero where the block is no block
	verdict  ledger.Verdict
	decided  bool
	// fromBlock is what the bytes of the block are rejected for, decided on only
	// after the daemon's word on the proof, which comes first in the order.
	fromBlock Reason
	detail    string
	// fault says that the share cannot be judged although nothing is away.
	fault *poisonError
}

func (c *candidate) reject(r Reason, detail string) {
	c.verdict.Reason, c.verdict.Detail, c.verdict.Weight = string(r), detail, 0
	c.decided = true
}

// misplace refuses a share for its place in the chain and nothing else: it keeps
// its weight, which is what it is worth should its block come to stand on the best
// chain after all.
func (c *candidate) misplace(r Reason) {
	c.verdict.Reason, c.decided = string(r), true
}

// read parses the share. What the front desk refused already is only written
// down, under the front desk's word.
func read(share *queue.Share, now time.Time) *candidate {
	c := &candidate{share: share, verdict: ledger.Verdict{
		ShareID: share.ID, ReceivedAt: share.ReceivedAt, RemoteIP: share.RemoteIP, WorkID: share.WorkID,
	}}
	if c.verdict.ReceivedAt.After(now) { // a frontend's clock is not believed to run ahead
		c.verdict.ReceivedAt = now
	}
	if share.Refusal != "" {
		c.reject(stable(share.Refusal), "refused at the front desk")
		return c
	}
	s, err := solution.Parse(share.Solution)
	if err != nil {
		c.reject(SolutionInvalid, err.Error())
		return c
	}
	c.solution = s
	c.verdict.WorkID = s.WorkID
	c.verdict.Height, c.verdict.Proof, c.verdict.HasProof = s.PrevHeight, s.BibleHash, true
	c.verdict.HashesPerSecond = s.HashesPerSecond()
	c.verdict.Solution = share.Solution
	return c
}

func (c *candidate) minerID() uuid.UUID {
	if c.solution != nil {
		return c.solution.MinerID
	}
	return c.share.MinerID
}

// checkWork judges the share by the work that the ledger says was issued.
func (c *candidate) checkWork(work ledger.IssuedWork, known bool, rules *Rules) {
	// Somebody else's work is unknown work, and nothing to hold against its owner.
	if known = known && work.MinerGUID == c.minerID(); known {
		c.work = work
		c.verdict.WorkerID, c.verdict.MinerID = work.WorkerID, work.MinerID
	}
	if c.decided {
		return
	}
	s, target := c.solution, pow.Target(work.HashTarget)
	switch {
	case !known:
		c.reject(UnknownWork, "")
	case bytes.Compare(target[:], rules.EasiestTarget[:]) > 0:
		c.reject(WorkTampered, "the work's target is easier than any that this pool issues")
	case !work.MinerEnabled:
		c.reject(MinerDisabled, "")
	case work.IgnoreShares:
		c.reject(MinerIgnored, "")
	case c.verdict.ReceivedAt.Sub(work.IssuedAt) > rules.WorkLifetime:
		c.reject(WorkExpired, "")
	case !target.MetBy(s.BibleHash):
		c.reject(HashTargetExceeded, "")
	default:
		c.verdict.Weight = target.Weight()
	}
}

// checkBlock ties the solution's fields to the bytes of its block: without this
// one good hash could be sent with any block that pays the pool.
func (c *candidate) checkBlock(rules *Rules, hasher pow.Hasher, scratch []byte) []byte {
	if c.decided {
		return scratch
	}
	c.fromBlock, c.detail, scratch = c.inspect(rules, hasher, scratch)
	return scratch
}

func (c *candidate) inspect(rules *Rules, hasher pow.Hasher, scratch []byte) (Reason, string, []byte) {
	s := c.solution
	scratch = slices.Grow(scratch[:0], len(s.BlockHex)/2)[:len(s.BlockHex)/2]
	if _, err := hex.Decode(scratch, s.BlockHex); err != nil {
		return TransactionInvalid, err.Error(), scratch
	}
	block, err := chain.DecodeBlock(scratch)
	if err != nil {
		return TransactionInvalid, err.Error(), scratch
	}
	c.prev = block.Header.Prev.Display()
	coinbase, err := block.Coinbase()
	if err != nil {
		return TransactionInvalid, err.Error(), scratch
	}
	transaction, err := chain.DecodeTransactionHex(s.TransHex)
	if err != nil {
		return TransactionInvalid, err.Error(), scratch
	}
	header := block.Header.Bytes()
	switch {
	case transaction.TxID() != coinbase.TxID():
		return NotTheCoinbase, "", scratch
	case block.Header.Time != s.BlockTime:
		return BlockTimeWrong, "", scratch
	case block.Header.Nonce != s.Nonce:
		return NonceWrong, "", scratch
	}
	if err := block.Check(); err != nil {
		if errors.Is(err, chain.ErrMerkleRoot) || errors.Is(err, chain.ErrMerkleMutated) {
			return MerkleRootWrong, err.Error(), scratch
		}
		return TransactionInvalid, err.Error(), scratch
	}
	if coinbase.MinerGUID() != s.MinerID.String() {
		return MinerGUIDWrong, "", scratch
	}
	total, err := coinbase.TotalOut()
	if err != nil {
		return TransactionInvalid, err.Error(), scratch
	}
	if hasher.Hash(header[:]) != s.BlockHash {
		return BlockHashWrong, "", scratch
	}
	// Where the first output pays somebody else, the daemon names the recipient.
	if bytes.Equal(coinbase.Outputs[0].Script, rules.poolScript) &&
		coinbase.PaidTo(rules.poolScript) < total/100*rules.MinPoolPercent {
		return PoolPaidTooLittle, "", scratch
	}
	return Credited, "", scratch
}
