package validate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"purepool/ledger"
	"purepool/pool/job"
	"purepool/pool/queue"
)

// Further reasons, of template networks.
const (
	UnknownJob      Reason = "UnknownJob"
	UnknownWorker   Reason = "UnknownWorker"
	ExtranonceWrong Reason = "ExtranonceWrong"  // of another length than the job says
	VersionWrong    Reason = "VersionBitsWrong" // bits set that the job does not leave open
	TimeOutOfRange  Reason = "TimeOutOfRange"
	StaleShare      Reason = "StaleShare" // the tip had changed when it arrived
)

// templateReasons lists all names under which a share of a template network may
// be rejected.
func templateReasons() []Reason {
	return []Reason{
		SolutionInvalid, UnknownJob, UnknownWorker, MinerDisabled, MinerIgnored, ExtranonceWrong, VersionWrong, StaleShare, WorkExpired,
		WorkTampered, TimeOutOfRange, HashTargetExceeded, PrevBlockWrong,
	}
}

// TemplateStore is what the template validator needs of the ledger.
type TemplateStore interface {
	WorkerStates(ctx context.Context, networkID int16, ids []int64) (map[int64]ledger.WorkerState, error)
	WriteVerdicts(ctx context.Context, networkID int16, verdicts []ledger.Verdict) (ledger.Written, error)
}

// Jobs are the jobs that the backend itself has issued.
type Jobs interface {
	// Job returns a job. unknown is true where there is none of this number; err
	// means that this cannot be said now.
	Job(ctx context.Context, seq uint64) (j *job.Job, unknown bool, err error)
}

// Wins takes shares that make a block. It returns nil once the block cannot be
// lost any more; the same share may come several times.
type Wins interface {
	Win(ctx context.Context, share *job.Share) error
}

// TemplateConfig holds the settings of a template validator; zero values mean the
// defaults. Of Config.Rules only WorkLifetime and EasiestTarget are used: how long
// after a job's issue its shares may arrive (1 h), and the easiest target that
// any share may claim.
type TemplateConfig struct {
	Config
	// HardestBits is the hardest target that a share may claim; 0 is no bound.
	HardestBits job.Bits
	// JobPatience is how long after a share's arrival its job may still turn up:
	// another backend may have issued it a moment ago. 30 s.
	JobPatience time.Duration
}

// Template judges the shares of one template network, as [Validator] those of a
// classic one: every share is assembled and hashed again from the job that the
// backend itself issued. Of what a frontend says it takes what cannot be had
// elsewhere, and it is bound as follows.
//
//   - The job's number: it must be one that was issued; what it holds is read here.
//   - Extranonces, time, nonce, version bits: they are hashed, so a proof fits one
//     choice of them only.
//   - The target: the share's weight is that of the target it claims, and the
//     proof must meet it. A claim cannot be too hard, then, and an easy one is
//     worth little; but a claim that is made after the proof is known can be the
//     hardest that the proof meets, which on average multiplies the weight of the
//     shares by 1 + ln(easiest target / hardest target). A job that binds its
//     targets ([job.Job].BindsTarget) holds the target within the coinbase, so that
//     it was fixed before the proof was looked for; jobs that do not are bounded by
//     EasiestTarget and HardestBits alone.
//   - The worker: nothing in a proof says whose it is. A frontend that was broken
//     into can hand in the shares of the miners that are connected to it in
//     somebody else's name, as it could give them work in somebody else's name.
//     It cannot do so with shares of other frontends (their proofs are known), nor
//     make shares that nobody worked for.
//   - The arrival: never after now, nor before the job was issued.
type Template struct {
	base        *Validator // settings, patience, dead letters, metrics
	store       TemplateStore
	jobs        Jobs
	wins        Wins
	codec       *job.Codec
	hardest     job.Bits
	jobPatience time.Duration
	assemblers  sync.Pool
}

// NewTemplate returns a validator of a template network.
func NewTemplate(cfg TemplateConfig, store TemplateStore, jobs Jobs, wins Wins, tips Tips, dead DeadLetters) (*Template, error) {
	if cfg.Rules.WorkLifetime == 0 {
		cfg.Rules.WorkLifetime = time.Hour
	}
	if cfg.JobPatience == 0 {
		cfg.JobPatience = 30 * time.Second
	}
	setDefaults(&cfg.Config)
	codec, err := job.NewCodec()
	if err != nil {
		return nil, err
	}
	return &Template{
		base:  &Validator{cfg: cfg.Config, tips: tips, dead: dead, metrics: newMetrics(cfg.Registerer, cfg.Network, templateReasons())},
		store: store, jobs: jobs, wins: wins, codec: codec, hardest: cfg.HardestBits, jobPatience: cfg.JobPatience,
		assemblers: sync.Pool{New: func() any { return new(job.Assembler) }},
	}, nil
}

// batchTimes is how many times as many shares as on a classic network, where each
// has a text of some kilobytes, make a batch. Where many wait, large batches are
// cheaper: each has to look every worker up, and to move his roll-ups.
const batchTimes = 8

// Run judges deliveries until the channel is closed or ctx ends. What is under
// way at the end goes back to the queue.
func (v *Template) Run(ctx context.Context, deliveries <-chan *queue.Delivery) error {
	inBatches(ctx, v.base.cfg.Parallel, batchTimes*v.base.cfg.Batch, deliveries, v.handle)
	return nil
}

func (v *Template) handle(ctx context.Context, batch []*queue.Delivery) {
	var messages []*queue.Share
	for _, d := range batch {
		for i := range d.Shares {
			messages = append(messages, &d.Shares[i])
		}
	}
	err := v.Judge(ctx, messages)
	if err != nil && ctx.Err() == nil {
		v.base.cfg.Logger.Error("shares go back to the queue", slog.String("network", v.base.cfg.Network),
			slog.Int("messages", len(messages)), slog.Any("error", err))
	}
	for _, d := range batch {
		if err != nil {
			d.Nack()
		} else {
			d.Ack()
		}
	}
}

// Late judges a winning share that its frontend calls stale, without waiting for it
// on the way of all shares, which may be long: it is refused, and stands in the ledger
// with what it is worth should its block come to stand. It returns an error only when
// ctx ends first.
func (v *Template) Late(ctx context.Context, share *job.Share) error {
	// As it would be on the queue, alone.
	message := &queue.Share{ReceivedAt: share.ReceivedAt.Time(), RemoteIP: share.RemoteIP}
	return v.judge(ctx, []item{v.item(message, share, v.base.cfg.Now())})
}

// Judge brings the shares of some messages to verdicts in the ledger, or to the
// dead letters. It returns an error only when ctx ends first.
func (v *Template) Judge(ctx context.Context, messages []*queue.Share) error {
	now := v.base.cfg.Now()
	expected := 0
	for _, m := range messages {
		expected += 1 + len(m.Template)/shareBytes
	}
	items := make([]item, 0, expected)
	for _, m := range messages {
		items = v.read(items, m, now)
	}
	// A message may hold many: they are shared out evenly.
	most := batchTimes * v.base.cfg.Batch
	parts := (len(items) + most - 1) / most
	for ; parts > 0; parts-- {
		n := (len(items) + parts - 1) / parts
		if err := v.judge(ctx, items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// read takes a message apart and appends its shares. One that holds no shares is
// written down as such.
func (v *Template) read(items []item, m *queue.Share, now time.Time) []item {
	shares, err := v.codec.DecodeShares(m.Template)
	if err != nil || len(shares) == 0 {
		i := item{message: m, verdict: ledger.Verdict{ShareID: m.ID, ReceivedAt: m.ReceivedAt, RemoteIP: m.RemoteIP}}
		if i.verdict.ReceivedAt.After(now) {
			i.verdict.ReceivedAt = now
		}
		i.reject(SolutionInvalid, fmt.Sprintf("a message without shares: %v", err))
		return append(items, i)
	}
	for n := range shares {
		items = append(items, v.item(m, &shares[n], now))
	}
	return items
}

func (v *Template) item(m *queue.Share, s *job.Share, now time.Time) item {
	i := item{message: m, share: s, verdict: ledger.Verdict{
		ShareID: job.Identity(v.base.cfg.Network, s), ReceivedAt: s.ReceivedAt.Time(), RemoteIP: s.RemoteIP,
		WorkID: job.WorkID(s.Job),
	}}
	if i.verdict.ReceivedAt.After(now) { // a frontend's clock is not believed to run ahead
		i.verdict.ReceivedAt = now
	}
	return i
}

// judge is the way of a batch. Where one share spoils it, its halves are judged
// each by itself, and so on.
func (v *Template) judge(ctx context.Context, items []item) error {
	started := v.base.cfg.Now()
	err := v.attempt(ctx, items)
	var poison *poisonError
	switch {
	case err == nil:
		v.base.metrics.batch(len(items), v.base.cfg.Now().Sub(started))
		return nil
	case !errors.As(err, &poison):
		return err
	case len(items) == 1:
		return v.bury(ctx, &items[0], poison)
	}
	for n := range items {
		if i := &items[n]; i.share != nil {
			i.decided, i.verdict.Reason, i.verdict.Detail, i.verdict.Weight = false, "", "", 0
		}
	}
	half := len(items) / 2
	if err := v.judge(ctx, items[:half]); err != nil {
		return err
	}
	return v.judge(ctx, items[half:])
}

// bury sets one share aside, in a message of its own.
func (v *Template) bury(ctx context.Context, i *item, why *poisonError) error {
	alone := *i.message
	if i.share != nil {
		text, err := v.codec.EncodeShares([]job.Share{*i.share})
		if err != nil {
			return err
		}
		alone.ID, alone.Template = i.verdict.ShareID, text
	}
	return v.base.bury(ctx, &alone, why)
}

func (v *Template) attempt(ctx context.Context, items []item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &poisonError{err: fmt.Errorf("panic: %v", p), tries: 1}
		}
	}()
	taken := v.base.cfg.Now()
	if err := v.findJobs(ctx, items); err != nil {
		return err
	}
	v.hash(items)
	for n := range items {
		if !items[n].wins {
			continue
		}
		// The second way of a winning share; as a rule its block is known by now.
		err := v.base.persist(ctx, "blocks", always, 1, func() error { return v.wins.Win(ctx, items[n].share) })
		if err != nil {
			return err
		}
	}
	if err := v.checkWorkers(ctx, items); err != nil {
		return err
	}
	weigh(items)
	for n := range items {
		if err := v.check(ctx, &items[n]); err != nil {
			return err
		}
	}
	judged := v.base.cfg.Now()
	verdicts := make([]ledger.Verdict, len(items))
	for n := range items {
		verdicts[n] = items[n].verdict
	}
	v.base.logVerdicts(ctx, "share judged", verdicts)
	var written ledger.Written
	err = v.base.persist(ctx, "ledger", ledger.Away, len(items), func() error {
		var err error
		written, err = v.store.WriteVerdicts(ctx, v.base.cfg.NetworkID, verdicts)
		return err
	})
	if err != nil {
		return err
	}
	v.base.metrics.count(verdicts, written)
	v.base.metrics.way(verdicts, taken, judged, v.base.cfg.Now())
	v.base.logVerdicts(ctx, "share in the ledger", verdicts)
	return nil
}
