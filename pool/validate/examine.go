package validate

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
)

// examine judges shares without writing anything down. The steps are in the
// order of the protocol, but each is taken for all shares at once.
func (v *Validator) examine(ctx context.Context, shares []*queue.Share) ([]*candidate, error) {
	now := v.cfg.Now()
	candidates := make([]*candidate, len(shares))
	for i, share := range shares {
		candidates[i] = read(share, now)
	}
	if err := v.lookUp(ctx, candidates); err != nil {
		return nil, err
	}
	hasher := v.hashers.Get().(pow.Hasher)
	defer v.hashers.Put(hasher)
	var scratch []byte
	for _, c := range candidates {
		scratch = c.checkBlock(&v.cfg.Rules, hasher, scratch)
	}
	if err := v.ask(ctx, candidates); err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if err := v.checkTip(ctx, c); err != nil {
			return nil, err
		}
	}
	return candidates, nil
}

// lookUp checks the shares against the work that was issued.
func (v *Validator) lookUp(ctx context.Context, candidates []*candidate) error {
	ids := make([]uuid.UUID, 0, len(candidates))
	for _, c := range candidates {
		if c.verdict.WorkID != uuid.Nil {
			ids = append(ids, c.verdict.WorkID)
		}
	}
	var works map[uuid.UUID]ledger.IssuedWork
	if len(ids) > 0 {
		err := v.persist(ctx, "ledger", ledger.Away, len(candidates), func() error {
			var err error
			works, err = v.store.IssuedWorks(ctx, v.cfg.NetworkID, ids)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, c := range candidates {
		work, known := works[c.verdict.WorkID]
		c.checkWork(work, known, &v.cfg.Rules)
	}
	return nil
}

// ask puts the questions that only the daemon can answer, all in one. A share to
// which the daemon gives no proper answer is asked about again, alone with its
// like; in the end it is at fault.
func (v *Validator) ask(ctx context.Context, candidates []*candidate) error {
	var open []*candidate
	for _, c := range candidates {
		if !c.decided {
			open = append(open, c)
		}
	}
	wait := v.cfg.MinWait
	for try := 1; len(open) > 0; try++ {
		answers, err := v.examineAll(ctx, open)
		if err != nil {
			return err
		}
		asked := open
		open = nil
		for i, c := range asked {
			switch {
			case answers[i].Fault == nil:
				c.hear(&answers[i], v.cfg.Rules.PoolAddress)
			case try >= v.cfg.Tries:
				c.fault = &poisonError{err: fmt.Errorf("daemon: %w", answers[i].Fault), tries: try}
				c.decided = true
			default:
				open = append(open, c)
			}
		}
		if len(open) > 0 {
			if err := pause(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, v.cfg.MaxWait)
		}
	}
	return nil
}

func (v *Validator) examineAll(ctx context.Context, open []*candidate) ([]Answer, error) {
	questions := make([]Question, len(open))
	for i, c := range open {
		questions[i] = Question{
			BlockHash: c.solution.BlockHash, BlockTime: c.solution.BlockTime,
			PrevBlockTime: c.solution.PrevBlockTime, PrevHeight: c.solution.PrevHeight, Nonce: c.solution.Nonce,
		}
		if c.fromBlock == Credited {
			questions[i].BlockHex, questions[i].TransHex = string(c.solution.BlockHex), string(c.solution.TransHex)
		}
	}
	var answers []Answer
	err := v.persist(ctx, "daemon", always, len(open), func() error {
		var err error
		answers, err = v.daemon.Examine(ctx, questions)
		return err
	})
	return answers, err
}

// hear draws the conclusions from the daemon's word.
func (c *candidate) hear(a *Answer, poolAddress string) {
	switch {
	case !a.HasBibleHash:
		c.reject(BibleHashWrong, "the daemon computes no BibleHash from these numbers")
	case a.BibleHash != c.solution.BibleHash:
		c.reject(BibleHashWrong, "")
	case c.fromBlock != Credited:
		c.reject(c.fromBlock, c.detail)
	case a.Refused != "":
		c.reject(TransactionInvalid, a.Refused)
	case a.Recipient != poolAddress:
		c.reject(InvalidRecipient, "")
	case a.CPIDSigValid == nil:
		c.reject(DaemonOutdated, "the daemon does not say whether the CPID signature is valid; it needs version 1.1.1.1c or later")
	case !*a.CPIDSigValid:
		c.reject(InvalidCPID, "")
	case a.CPIDLegal == nil:
		c.reject(DaemonOutdated, "the daemon does not say whether the CPID is legal; it needs version 1.1.1.1c or later")
	case !*a.CPIDLegal:
		c.reject(IllegalCPID, a.CPIDLegality)
	}
}

// checkTip judges the share against the chain as it was when the share arrived.
func (v *Validator) checkTip(ctx context.Context, c *candidate) error {
	if c.decided {
		return nil
	}
	s, arrived := c.solution, c.verdict.ReceivedAt
	t, standing, err := v.tips.Judge(ctx, c.prev, s.PrevHeight, arrived)
	if err != nil {
		return err
	}
	switch {
	case standing == tip.Unknown && v.tips.HeightReigned(s.PrevHeight, arrived):
		c.misplace(PrevBlockWrong)
	case standing != tip.Current:
		c.misplace(WrongHeight)
	case s.Nonce > v.tips.MaxNonce(t, arrived.Add(v.cfg.NonceSlack)):
		c.reject(NonceTooHigh, "")
	case t.Height != s.PrevHeight:
		c.reject(WrongHeight, "")
	case t.BlockTime.Unix() != int64(s.PrevBlockTime):
		c.reject(PrevBlockTimeWrong, "")
	}
	return nil
}
