package role

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"purepool/ledger"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/pool/validate/recheck"
)

var (
	// ErrDiffer: the ledger says another thing of a share than the judge.
	ErrDiffer = errors.New("ledger and judge disagree")
	// ErrNoDaemonsWord: a template network's shares are judged by the bytes of their
	// jobs alone, and their solutions are not kept.
	ErrNoDaemonsWord = errors.New("no solutions are kept of a template network's shares: there is nothing to judge again")
)

// DeepValidated is what came of a second judgement.
type DeepValidated = recheck.Result

// DeepValidation says which shares are judged once more; see [recheck.Options].
type DeepValidation struct {
	From, Until time.Time
	Sample      int
	Patience    time.Duration
}

// DeepValidate judges kept solutions of shares once more, and writes nothing.
func (s *Settlement) DeepValidate(ctx context.Context, d DeepValidation) (recheck.Result, error) {
	n, b := s.cfg.Network[s.Network], &s.cfg.Backend
	if n.IsTemplate() {
		return recheck.Result{}, ErrNoDaemonsWord
	}
	rpc := validate.NewRPC(s.daemon)
	follower := tip.NewFollower(tip.Config{
		Network: s.Network, Interval: b.TipPollInterval, Keep: b.KeepTips, Slack: tip.Slack{Seen: b.ArrivalGrace}, Logger: s.log,
	}, rpc, knownTips{validate.NewTipStore(s.store, s.NetworkID)})
	following, stop := context.WithCancel(ctx)
	var end sync.WaitGroup
	end.Go(func() { _ = follower.Run(following) })
	defer end.Wait()
	defer stop()
	return recheck.Run(ctx, recheck.Options{
		Network: s.Network, NetworkID: s.NetworkID, Rules: classicRules(s.cfg, s.Network), NonceSlack: b.NonceSlack,
		From: d.From, Until: d.Until, Sample: d.Sample, Patience: d.Patience, Logger: s.log,
	}, judged{s.store, s.store.Books()}, rpc, follower)
}

// deepValidate is the job: a sample of what is kept.
func (s *Settlement) deepValidate(ctx context.Context) error {
	now := time.Now()
	result, err := s.DeepValidate(ctx, DeepValidation{
		From: now.Add(-s.cfg.Backend.KeepSolutions), Until: now, Sample: s.schedule.DeepValidateShares,
	})
	s.note(func(r *Report) { r.DeepValidated = result })
	if err == nil && !result.Clean() {
		err = Disagreement(&result)
	}
	return err
}

// Disagreement is the error of a result that is not clean.
func Disagreement(r *recheck.Result) error {
	first := ""
	if len(r.Differences) > 0 {
		d := &r.Differences[0]
		first = fmt.Sprintf(", such as share %s: %s in the ledger, %s by the judge", d.Share, d.Ledger, d.Judge)
	}
	return fmt.Errorf("network %s: %w on %d of %d shares%s", r.Network, ErrDiffer, r.Differing, r.Judged, first)
}

// judged is the ledger as the second judgement reads it.
type judged struct {
	*ledger.BackendStore
	*ledger.Books
}

// knownTips reads tips and writes none: that is the backends' business.
type knownTips struct{ validate.TipStore }

func (knownTips) RecordTips(context.Context, []tip.Tip) error { return nil }
