package validate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/job"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
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

// Late judges a winning share that a frontend has sent as a block and not as a
// share, since it came too late for its job: it is refused, and stands in the ledger
// with what it is worth should its block come to stand. It returns an error only when
// ctx ends first.
func (v *Template) Late(ctx context.Context, share *job.Share) error {
	text, err := v.codec.EncodeShares([]job.Share{*share})
	if err != nil {
		return err
	}
	return v.Judge(ctx, []*queue.Share{{
		ID: job.Identity(v.base.cfg.Network, share), ReceivedAt: share.ReceivedAt.Time(), RemoteIP: share.RemoteIP, Template: text,
	}})
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
		s := &shares[n]
		i := item{message: m, share: s, verdict: ledger.Verdict{
			ShareID: job.Identity(v.base.cfg.Network, s), ReceivedAt: s.ReceivedAt.Time(), RemoteIP: s.RemoteIP,
			WorkID: job.WorkID(s.Job),
		}}
		if i.verdict.ReceivedAt.After(now) { // a frontend's clock is not believed to run ahead
			i.verdict.ReceivedAt = now
		}
		items = append(items, i)
	}
	return items
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
