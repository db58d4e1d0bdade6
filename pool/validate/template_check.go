package validate

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"time"

	"purepool/ledger"
	"purepool/pool/job"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
)

// item is one share on its way to a verdict.
type item struct {
	message *queue.Share
	share   *job.Share // nil where the message holds no shares
	job     *job.Job
	asked   *asked
	proof   [32]byte
	wins    bool // the proof makes a block
	verdict ledger.Verdict
	decided bool
}

// asked is what a share was asked to meet.
type asked struct {
	target pow.Target
	weight int64
}

// weigh finds out what the shares were asked to meet, and what that is worth: a
// long division for each target, of which there are few.
func weigh(items []item) {
	targets := make(map[job.Bits]*asked, 16)
	for n := range items {
		i := &items[n]
		if i.share == nil {
			continue
		}
		if i.asked = targets[i.share.Target]; i.asked == nil {
			target := i.share.Target.Target()
			i.asked = &asked{target, target.Weight()}
			targets[i.share.Target] = i.asked
		}
	}
}

func (i *item) reject(r Reason, detail string) {
	i.verdict.Reason, i.verdict.Detail, i.verdict.Weight = string(r), detail, 0
	i.decided = true
}

// misplace refuses a share for its place in the chain. Where that is all, it is
// known what the share is worth should its block come to stand on the best chain
// after all: 0 says that there is more wrong with it.
func (i *item) misplace(r Reason, worth int64) {
	i.reject(r, "")
	i.verdict.Weight = worth
}

// findJobs looks up the jobs of all shares. A job that nobody knows is waited for
// while it may have been issued just now.
func (v *Template) findJobs(ctx context.Context, items []item) error {
	known := make(map[uint64]*job.Job, 4)
	for n := range items {
		i := &items[n]
		if i.decided {
			continue
		}
		j, seen := known[i.share.Job]
		for wait := v.base.cfg.MinWait; !seen; wait = min(2*wait, v.base.cfg.MaxWait) {
			unknown := false
			err := v.base.persist(ctx, "jobs", ledger.Away, len(items), func() (err error) {
				j, unknown, err = v.jobs.Job(ctx, i.share.Job)
				return err
			})
			if err != nil {
				return err
			}
			if !unknown || v.base.cfg.Now().Sub(i.verdict.ReceivedAt) > v.jobPatience || !v.mayCome(i.share.Job) {
				break
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
		known[i.share.Job] = j
		if i.job = j; j == nil {
			i.reject(UnknownJob, "")
		}
	}
	return nil
}

// mayCome reports whether a job of this number may have been issued within the
// last minutes: numbers are milliseconds since 1970, or a little more.
func (v *Template) mayCome(seq uint64) bool {
	now := v.base.cfg.Now()
	return seq > uint64(now.Add(-10*time.Minute).UnixMilli()) && seq < uint64(now.Add(time.Minute).UnixMilli())
}

// hash computes all proofs, on as many processors as there are for a batch.
func (v *Template) hash(items []item) {
	const atOnce = 256 // shares for which another goroutine is worth it
	workers := min(runtime.GOMAXPROCS(0), (len(items)+atOnce-1)/atOnce)
	var wg sync.WaitGroup
	each := (len(items) + workers - 1) / max(workers, 1)
	for begin := 0; begin < len(items); begin += each {
		part := items[begin:min(begin+each, len(items))]
		wg.Go(func() {
			a := v.assemblers.Get().(*job.Assembler)
			defer v.assemblers.Put(a)
			for n := range part {
				v.prove(a, &part[n])
			}
		})
	}
	wg.Wait()
}

func (v *Template) prove(a *job.Assembler, i *item) {
	if i.decided {
		return
	}
	f := &i.share.Found
	switch {
	case f.Extranonce2Size != i.job.Extranonce2Size:
		i.reject(ExtranonceWrong, "")
		return
	case f.VersionBits&^i.job.VersionMask != 0:
		i.reject(VersionWrong, "")
		return
	}
	i.proof = a.Proof(i.job, f)
	// A share's height is that of the block before, as on classic networks.
	i.verdict.Height, i.verdict.Proof, i.verdict.HasProof = i.job.Height-1, i.proof, true
	if target, err := i.job.Target(); err == nil {
		i.wins = target.MetBy(i.proof)
	}
}

// checkWorkers finds out whose the shares are.
func (v *Template) checkWorkers(ctx context.Context, items []item) error {
	ids := make([]int64, 0, 16)
	seen := make(map[int64]struct{}, 16)
	for n := range items {
		if items[n].share == nil {
			continue
		}
		id := items[n].share.Worker
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var states map[int64]ledger.WorkerState
	err := v.base.persist(ctx, "ledger", ledger.Away, len(items), func() error {
		var err error
		states, err = v.store.WorkerStates(ctx, v.base.cfg.NetworkID, ids)
		return err
	})
	if err != nil {
		return err
	}
	for n := range items {
		i := &items[n]
		if i.share == nil {
			continue
		}
		w, known := states[i.share.Worker]
		if known {
			i.verdict.WorkerID, i.verdict.MinerID = i.share.Worker, w.MinerID
		}
		switch {
		case i.decided:
		case !known:
			i.reject(UnknownWorker, "")
		case !w.Enabled:
			i.reject(MinerDisabled, "")
		case w.IgnoreShares:
			i.reject(MinerIgnored, "")
		}
	}
	return nil
}

// check is all that is left to say of a share whose proof is known.
func (v *Template) check(ctx context.Context, i *item) error {
	if i.decided {
		return nil
	}
	s, arrived := i.share, i.verdict.ReceivedAt
	if issued := i.job.IssuedAt.Time(); arrived.Before(issued) {
		// Clocks differ; but what came before its job came when the job did.
		arrived = issued
		i.verdict.ReceivedAt = issued
	}
	fault, detail := v.fault(i, arrived)
	switch {
	case s.Stale && fault != "":
		i.misplace(StaleShare, 0)
	case s.Stale:
		i.misplace(StaleShare, i.asked.weight)
	case fault != "":
		i.reject(fault, detail)
	default:
		i.verdict.Weight = i.asked.weight
		return v.checkTip(ctx, i, arrived)
	}
	return nil
}

// fault is what is wrong with a share, wherever in the chain it is; empty:
// nothing.
func (v *Template) fault(i *item, arrived time.Time) (r Reason, detail string) {
	s := i.share
	target, easiest := i.asked.target, v.base.cfg.Rules.EasiestTarget
	switch {
	case arrived.Sub(i.job.IssuedAt.Time()) > v.base.cfg.Rules.WorkLifetime:
		return WorkExpired, ""
	case i.job.BindsTarget && s.Found.Target != s.Target:
		return WorkTampered, "the target is not the one that stands in the coinbase"
	case compare(target, easiest) > 0:
		return WorkTampered, "the target is easier than any that this pool asks for"
	case v.hardest != 0 && compare(target, v.hardest.Target()) < 0:
		return WorkTampered, "the target is harder than any that this pool asks for"
	case !i.job.TimeAllowed(s.Found.Time, job.MomentOf(arrived)):
		return TimeOutOfRange, ""
	case !target.MetBy(i.proof):
		return HashTargetExceeded, ""
	}
	return "", ""
}

func compare(a, b pow.Target) int { return bytes.Compare(a[:], b[:]) }

// briefTip is how long after a job's issue its shares count although nobody has
// seen its previous block as a tip: it was the tip of the daemon that gave the
// template, for a moment.
const briefTip = time.Minute

// checkTip judges the share against the chain as it was when the share arrived.
func (v *Template) checkTip(ctx context.Context, i *item, arrived time.Time) error {
	_, standing, err := v.base.tips.Judge(ctx, i.job.Prev.Display(), i.job.Height-1, arrived)
	switch {
	case err != nil:
		return err
	case standing == tip.Stale:
		i.misplace(StaleShare, i.verdict.Weight)
	case standing == tip.Unknown && arrived.Sub(i.job.IssuedAt.Time()) > briefTip:
		i.misplace(PrevBlockWrong, i.verdict.Weight)
	}
	return nil
}
