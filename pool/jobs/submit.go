package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/pool/job"
)

// Daemons are all daemons of a network. *bbprpc.Client is one.
type Daemons interface {
	SubmitEverywhere(ctx context.Context, block []byte) <-chan bbprpc.Submission
	BlockCount(ctx context.Context) (int64, error)
}

// SubmitStore is what the submitter needs of the ledger.
type SubmitStore interface {
	RecordSubmission(ctx context.Context, networkID int16, b *ledger.BlockSubmission) error
}

// SubmitConfig holds the settings of a submitter; zero values mean the defaults.
type SubmitConfig struct {
	Network   string
	NetworkID int16
	Dir       string // of the journal; this process's own

	Timeout time.Duration // of one round of submitblock; 30 s
	// MinWait and MaxWait bound the back-off between rounds; 250 ms, 10 s.
	MinWait, MaxWait time.Duration
	// GiveUpAfter is the age, and GiveUpDepth the number of blocks on top, at which
	// a block that no daemon has judged is given up; 1 h, 12.
	GiveUpAfter time.Duration
	GiveUpDepth int32
	// Late judges a winning share that is stale by its frontend's word until its
	// refusal stands in the ledger: the way of all shares may be long, and frontends of
	// earlier versions do not send it there. It is called beside the submission, and
	// returns an error only when ctx ends. It may be nil: then nothing but the way of
	// all shares brings such a share into the ledger.
	Late func(ctx context.Context, share *job.Share) error
	// OnAccepted is called when a daemon has taken a block. It may be nil.
	OnAccepted func()

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Submitter puts blocks together and submits them. Safe for concurrent use. Any
// number of them, in any number of processes, may have the same block: daemons
// take it once.
type Submitter struct {
	cfg     SubmitConfig
	keeper  *Keeper
	daemons Daemons
	store   SubmitStore
	journal *journal
	codec   *job.Codec
	metrics *submitMetrics

	ctx   context.Context //nolint:containedctx // of what goes on in the background; ends with Close
	stop  context.CancelFunc
	going sync.WaitGroup

	mu   sync.Mutex             // guards what follows
	seen map[[32]byte]time.Time // blocks taken on lately
	done bool
}

// seenFor is how long a block is remembered, so that the second way of its share
// (every winning share comes as a share, too) finds it known.
const seenFor = time.Hour

// NewSubmitter opens the journal and takes up what an earlier run has left
// unfinished.
func NewSubmitter(cfg SubmitConfig, keeper *Keeper, daemons Daemons, store SubmitStore) (*Submitter, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.MinWait == 0 {
		cfg.MinWait = 250 * time.Millisecond
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 10 * time.Second
	}
	if cfg.GiveUpAfter == 0 {
		cfg.GiveUpAfter = time.Hour
	}
	if cfg.GiveUpDepth == 0 {
		cfg.GiveUpDepth = 12
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	codec, err := job.NewCodec()
	if err != nil {
		return nil, err
	}
	j, err := openJournal(filepath.Join(cfg.Dir, "blocks-"+cfg.Network+".journal"))
	if err != nil {
		return nil, err
	}
	s := &Submitter{
		cfg: cfg, keeper: keeper, daemons: daemons, store: store, journal: j, codec: codec,
		metrics: newSubmitMetrics(cfg.Registerer, cfg.Network), seen: make(map[[32]byte]time.Time),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, r := range j.unfinished() {
		s.cfg.Logger.Warn("block of an earlier run is submitted again", slog.String("network", cfg.Network),
			slog.Int64("height", int64(r.Height)), slog.String("hash", fmt.Sprintf("%x", r.Hash)))
		s.seen[r.Hash] = cfg.Now()
		s.going.Go(func() { s.submit(&r) })
	}
	return s, nil
}

// Close ends the submitter. What is unfinished is taken up at the next start.
func (s *Submitter) Close() error {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	s.stop()
	s.going.Wait()
	return s.journal.close()
}

// Message takes a winning share as a frontend has published it. An error means
// that it should come again.
func (s *Submitter) Message(ctx context.Context, body []byte) error {
	shares, err := s.codec.DecodeShares(body)
	if err != nil {
		s.metrics.blocks.WithLabelValues("none").Inc()
		s.cfg.Logger.Error("a message about a block cannot be read", slog.String("network", s.cfg.Network), slog.Any("error", err))
		return nil // it would be no better the next time
	}
	for i := range shares {
		err := s.Win(ctx, &shares[i])
		switch {
		case errors.Is(err, ErrUnknownJob) && s.cfg.Now().Sub(shares[i].ReceivedAt.Time()) > time.Minute, errors.Is(err, errNoBody):
			s.metrics.blocks.WithLabelValues("none").Inc()
			s.cfg.Logger.Error("a winning share is for no job of ours", slog.String("network", s.cfg.Network),
				slog.Uint64("job", shares[i].Job), slog.Any("error", err))
		case err != nil:
			return err
		}
	}
	return nil
}

// Win submits the block of a share, if it makes one. It returns nil once the
// block is in the journal, from where it is submitted in the background, and also
// where the share makes no block: what a frontend says of a proof counts for
// nothing. Errors: ErrUnknownJob, and those of the ledger and the disk.
func (s *Submitter) Win(ctx context.Context, share *job.Share) error {
	issued, err := s.keeper.Get(ctx, share.Job)
	if err != nil {
		return err
	}
	r, err := s.examine(issued, share)
	if err != nil || r == nil {
		return err
	}
	if !s.takeOn(r.Hash) {
		return nil
	}
	if err := s.journal.write(*r); err != nil {
		// Better submitted without a journal than not at all.
		s.cfg.Logger.Error("block could not be journaled, it is submitted nevertheless", slog.String("network", s.cfg.Network), slog.Any("error", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return errors.New("closing")
	}
	s.going.Go(func() { s.submit(r) })
	return nil
}

// examine assembles the block of a share; nil where it is none.
func (s *Submitter) examine(i *Issued, share *job.Share) (*record, error) {
	var a job.Assembler
	f := &share.Found
	target, err := i.Job.Target()
	if err != nil {
		return nil, err
	}
	proof := a.Proof(i.Job, f)
	if f.Extranonce2Size != i.Job.Extranonce2Size || f.VersionBits&^i.Job.VersionMask != 0 || !target.MetBy(proof) {
		s.metrics.blocks.WithLabelValues("none").Inc()
		s.cfg.Logger.Warn("a frontend calls a share a block that is none", slog.String("network", s.cfg.Network),
			slog.Uint64("job", share.Job), slog.String("proof", fmt.Sprintf("%x", proof)))
		return nil, nil //nolint:nilnil // no block is an answer
	}
	hash := blockHash(i.Job, a.Header(i.Job, f), proof)
	block, err := i.block(&a, f)
	if err != nil {
		return nil, err
	}
	own := *share
	own.Proof = proof
	return &record{
		At: s.cfg.Now().UnixMicro(), Hash: hash, Height: i.Job.Height, Share: own, Block: bytes.Clone(block),
	}, nil
}

// takeOn reports whether the block is new here, and remembers it.
func (s *Submitter) takeOn(hash [32]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if _, ok := s.seen[hash]; ok {
		return false
	}
	if len(s.seen) >= 1024 {
		for h, at := range s.seen {
			if now.Sub(at) > seenFor {
				delete(s.seen, h)
			}
		}
	}
	s.seen[hash] = now
	return true
}

// submit tries a block until its fate is known, or it cannot count any more.
func (s *Submitter) submit(r *record) {
	s.metrics.pending.Inc()
	defer s.metrics.pending.Dec()
	row := &ledger.BlockSubmission{
		Hash: r.Hash, Height: r.Height, Seq: r.Share.Job, ShareID: job.Identity(s.cfg.Network, &r.Share), Proof: r.Share.Proof, WorkerID: r.Share.Worker,
		ReceivedAt: r.Share.ReceivedAt.Time(), SubmittedAt: s.cfg.Now(), Stale: r.Share.Stale, Result: ledger.SubmissionPending,
	}
	// Beside, not before: a database that hangs must not cost a block.
	var noted sync.WaitGroup
	noted.Go(func() { s.note(row) })
	if r.Share.Stale && s.cfg.Late != nil {
		noted.Go(func() { s.late(r) })
	}
	defer noted.Wait()
	wait := s.cfg.MinWait
	for round := 1; ; round++ {
		result, detail := s.round(r, round == 1)
		if result == ledger.SubmissionPending && s.hopeless(r) {
			s.metrics.blocks.WithLabelValues("given_up").Inc()
			result, detail = ledger.SubmissionRefused, "given up: "+detail
		}
		if result != ledger.SubmissionPending {
			s.finish(r, row, result, detail, round, &noted)
			return
		}
		s.cfg.Logger.Error("block is not decided yet, it is tried again", slog.String("network", s.cfg.Network),
			slog.Int64("height", int64(r.Height)), slog.Duration("in", wait), slog.String("daemons", detail))
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return // the journal knows it
		case <-timer.C:
		}
		wait = min(2*wait, s.cfg.MaxWait)
	}
}

// finish writes down what became of a block: in the ledger first, so that whatever
// dies before it knows all is tried once more at the next start.
func (s *Submitter) finish(r *record, row *ledger.BlockSubmission, result, detail string, rounds int, noted *sync.WaitGroup) {
	s.metrics.blocks.WithLabelValues(result).Inc()
	level := slog.LevelInfo
	switch result {
	case ledger.SubmissionInconclusive:
		level = slog.LevelWarn
	case ledger.SubmissionRefused:
		level = slog.LevelError
	}
	s.cfg.Logger.Log(context.Background(), level, "block submitted", slog.String("network", s.cfg.Network),
		slog.Int64("height", int64(r.Height)), slog.String("hash", fmt.Sprintf("%x", r.Hash)), slog.String("result", result),
		slog.String("daemons", detail), slog.Bool("stale", r.Share.Stale))
	noted.Wait()
	done := *row
	done.Result, done.Detail, done.Attempts = result, detail, rounds
	s.insist("result of a block", func() error { return s.store.RecordSubmission(s.ctx, s.cfg.NetworkID, &done) })
	if s.ctx.Err() != nil {
		return // what stands in the ledger is not certain: the journal keeps the block
	}
	err := s.journal.write(record{
		At: s.cfg.Now().UnixMicro(), Hash: r.Hash, Height: r.Height, Share: r.Share, Result: result, Detail: detail,
	})
	if err != nil {
		s.cfg.Logger.Error("result of a block could not be journaled", slog.String("network", s.cfg.Network), slog.Any("error", err))
	}
}

// late lets a stale share be judged.
func (s *Submitter) late(r *record) {
	if err := s.cfg.Late(s.ctx, &r.Share); err != nil && s.ctx.Err() == nil {
		s.cfg.Logger.Error("late share of a block could not be judged", slog.String("network", s.cfg.Network),
			slog.String("hash", fmt.Sprintf("%x", r.Hash)), slog.Any("error", err))
	}
}

// round hands a block to all daemons and sums their answers up.
func (s *Submitter) round(r *record, first bool) (result, detail string) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	arrived := r.Share.ReceivedAt.Time()
	if first {
		s.metrics.handed.Observe(s.cfg.Now().Sub(arrived).Seconds())
	}
	sum := tally{}
	for answer := range s.daemons.SubmitEverywhere(ctx, r.Block) {
		kind := kindOf(answer)
		if kind == "accepted" && sum.accepted == 0 {
			if first {
				s.metrics.taken.Observe(s.cfg.Now().Sub(arrived).Seconds())
			}
			if s.cfg.OnAccepted != nil {
				s.cfg.OnAccepted()
			}
		}
		s.metrics.answers.WithLabelValues(answer.Endpoint, kind).Inc()
		sum.add(kind, answer)
	}
	return sum.result(), sum.text.String()
}

// tally sums up the answers of one round.
type tally struct {
	accepted, inconclusive, open, refused int
	text                                  bytes.Buffer
}

func (t *tally) add(kind string, answer bbprpc.Submission) {
	switch kind {
	case "accepted", "duplicate":
		t.accepted++
	case "inconclusive":
		t.inconclusive++
	case "refused":
		t.refused++
	default:
		t.open++
	}
	word := answer.Verdict
	if answer.Err != nil {
		word = answer.Err.Error()
	}
	if word == "" {
		word = "accepted"
	}
	if t.text.Len() > 0 {
		t.text.WriteString("; ")
	}
	fmt.Fprintf(&t.text, "%s: %s", answer.Endpoint, word)
}

// result says what the answers mean. A block on a side branch is done: every
// daemon that knows it takes it over by itself should the branch win. One that
// some daemon refuses while another cannot be asked is tried again.
func (t *tally) result() string {
	switch {
	case t.accepted > 0:
		return ledger.SubmissionAccepted
	case t.open > 0:
		return ledger.SubmissionPending
	case t.inconclusive > 0:
		return ledger.SubmissionInconclusive
	}
	return ledger.SubmissionRefused
}

// kindOf sorts a daemon's answer (docs/PROTOCOL.md, "submitblock").
func kindOf(a bbprpc.Submission) string {
	switch {
	case errors.Is(a.Err, bbprpc.ErrAway):
		return "away"
	case a.Err != nil:
		return "refused"
	}
	switch a.Verdict {
	case "":
		return "accepted"
	case "duplicate":
		return "duplicate" // this daemon has it: from us, or from another daemon
	case "inconclusive", "duplicate-inconclusive":
		return "inconclusive"
	case "prev-blk-not-found", "bad-prevblk", "inconclusive-not-best-prevblk":
		return "behind" // the daemon does not know the block before it yet
	}
	return "refused"
}

// hopeless reports whether a block that is not decided cannot count any more.
func (s *Submitter) hopeless(r *record) bool {
	if s.cfg.Now().Sub(r.at()) > s.cfg.GiveUpAfter {
		return true
	}
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	height, err := s.daemons.BlockCount(ctx)
	return err == nil && height >= int64(r.Height)+int64(s.cfg.GiveUpDepth)
}

// note tells the ledger which share the block was, before its fate is known.
func (s *Submitter) note(row *ledger.BlockSubmission) {
	s.insist("submission of a block", func() error { return s.store.RecordSubmission(s.ctx, s.cfg.NetworkID, row) })
}

// insist tries until it works, the data is refused for good, or the submitter is
// closed; the journal knows what the ledger does not.
func (s *Submitter) insist(what string, try func() error) {
	wait := s.cfg.MinWait
	for {
		err := try()
		if err == nil || s.ctx.Err() != nil {
			return
		}
		s.cfg.Logger.Error("ledger does not take what is known of a block", slog.String("network", s.cfg.Network),
			slog.String("what", what), slog.Any("error", err))
		if ledger.Refused(err) {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, s.cfg.MaxWait)
	}
}
