// Package recheck judges shares a second time: the solutions that are kept, by
// the judge of the first time and the same daemon, against what the ledger says
// became of them. It is the original's deepvalidate_solutions.
//
// It writes nothing. A difference means that a row of the ledger was changed
// behind the pool's back, that a rule or its setting has changed since, or that
// the daemon says another thing than it did. What can only have changed is not
// held against anybody: whether a miner was disabled or ignored at the time, and
// a daemon that was outdated.
package recheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/queue"
	"purepool/pool/solution"
	"purepool/pool/validate"
)

// Store is what the second judgement needs of the ledger.
type Store interface {
	IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error)
	JudgedMinutes(ctx context.Context, networkID int16, from, until time.Time) ([]time.Time, error)
	KeptSolutions(ctx context.Context, from, until time.Time, limit int) ([]ledger.KeptSolution, error)
	Rulings(ctx context.Context, kept []ledger.KeptSolution) (map[uuid.UUID]ledger.Ruling, error)
}

// ErrSilence: the daemon, or the database, did not answer for [Options.Patience].
var ErrSilence = errors.New("nothing more could be judged, since daemon or database does not answer")

// Options say what is judged. Zero values mean the defaults.
type Options struct {
	Network   string
	NetworkID int16
	Rules     validate.Rules // as the network's validators have them
	// NonceSlack is that of the validators.
	NonceSlack time.Duration

	// From and Until bound the arrivals of the shares.
	From, Until time.Time
	// Sample is how many shares are judged, chosen at random; 0: all.
	Sample int
	// Patience is for how long a group of shares may wait for the daemon; 1 min.
	Patience time.Duration
	// Most bounds the differences that are told one by one; 1,000.
	Most   int
	Logger *slog.Logger
}

// Difference is a share of which the ledger says another thing than the judge.
type Difference struct {
	Share      uuid.UUID `json:"share"`
	ReceivedAt time.Time `json:"received_at"`
	Ledger     string    `json:"ledger"` // credited, a reason, or nothing
	Judge      string    `json:"judge"`  // the same; unanswered: no proper answer came
	Detail     string    `json:"detail,omitempty"`
}

// Result is what came of it.
type Result struct {
	Network string    `json:"network"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Judged  int       `json:"judged"`  // a second time
	Skipped int       `json:"skipped"` // rejected for what may have changed since
	// Differing counts all differences, of which the first ones are told.
	Differing   int          `json:"differing"`
	Differences []Difference `json:"differences"`
}

// Clean reports whether ledger and judge agree.
func (r *Result) Clean() bool { return r.Differing == 0 }

// groupSize is how many shares are judged at once.
const groupSize = 500

// Run judges again. The result holds what was judged until an error came; see
// [ErrSilence].
func Run(ctx context.Context, opts Options, store Store, daemon validate.Daemon, tips validate.Tips) (Result, error) {
	if opts.Patience == 0 {
		opts.Patience = time.Minute
	}
	if opts.Most == 0 {
		opts.Most = 1000
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &run{opts: opts, bench: &bench{Store: store}}
	r.result = Result{Network: opts.Network, From: opts.From.UTC(), Until: opts.Until.UTC(), Differences: []Difference{}}
	judge, err := validate.New(validate.Config{
		Network: opts.Network, NetworkID: opts.NetworkID, Rules: opts.Rules, NonceSlack: opts.NonceSlack, Tries: 3, Logger: opts.Logger,
	}, r.bench, daemon, tips, r.bench)
	if err != nil {
		return r.result, err
	}
	r.judge = judge
	err = r.all(ctx)
	return r.result, err
}

// run is one time through.
type run struct {
	opts   Options
	bench  *bench
	judge  *validate.Validator
	result Result
}

func (r *run) all(ctx context.Context) error {
	minutes, err := r.bench.JudgedMinutes(ctx, r.opts.NetworkID, r.opts.From, r.opts.Until)
	if err != nil {
		return err
	}
	left := int(^uint(0) >> 1)
	if r.opts.Sample > 0 {
		left = r.opts.Sample
		rand.Shuffle(len(minutes), func(i, j int) { minutes[i], minutes[j] = minutes[j], minutes[i] })
	}
	for _, minute := range minutes {
		if left <= 0 {
			return nil
		}
		from, until := later(minute, r.opts.From), minute.Add(time.Minute)
		if until.After(r.opts.Until) {
			until = r.opts.Until
		}
		kept, err := r.bench.KeptSolutions(ctx, from, until, min(left, 1_000_000))
		if err != nil {
			return err
		}
		for len(kept) > 0 {
			n := min(groupSize, len(kept))
			judged, err := r.group(ctx, kept[:n])
			if err != nil {
				return err
			}
			kept, left = kept[n:], left-judged
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// group judges some shares, and says how many of them were this network's.
func (r *run) group(ctx context.Context, kept []ledger.KeptSolution) (judged int, err error) {
	for i := range kept {
		if s, err := solution.Parse(kept[i].Solution); err == nil {
			kept[i].Height, kept[i].Proof, kept[i].HasProof = s.PrevHeight, s.BibleHash, true
		}
	}
	rulings, err := r.bench.Rulings(ctx, kept)
	if err != nil {
		return 0, err
	}
	var shares []*queue.Share
	for i := range kept {
		k := &kept[i]
		ruling, known := rulings[k.ShareID]
		switch {
		case !known:
			// Of which network, nobody knows: its verdict has gone.
			r.differ(Difference{Share: k.ShareID, ReceivedAt: k.KeptAt, Ledger: "nothing", Judge: "not judged", Detail: "its solution is kept, its verdict is not there"})
		case ruling.NetworkID != r.opts.NetworkID:
		case mayHaveChanged(ruling.Reason):
			r.result.Skipped++
			judged++
		default:
			judged++
			share := &queue.Share{ID: k.ShareID, ReceivedAt: ruling.ReceivedAt, Solution: k.Solution}
			if s, err := solution.Parse(k.Solution); err == nil {
				share.WorkID, share.MinerID = s.WorkID, s.MinerID
			}
			shares = append(shares, share)
		}
	}
	if len(shares) == 0 {
		return judged, nil
	}
	r.bench.begin()
	patient, cancel := context.WithTimeout(ctx, r.opts.Patience)
	defer cancel()
	if err := r.judge.Judge(patient, shares); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w within %s", ErrSilence, r.opts.Patience)
		}
		return judged, err
	}
	for _, s := range shares {
		ruling := rulings[s.ID]
		r.compare(s.ID, &ruling)
	}
	return judged, nil
}

// mayHaveChanged names the rejections that today's judge cannot repeat.
func mayHaveChanged(reason string) bool {
	switch validate.Reason(reason) {
	case validate.MinerDisabled, validate.MinerIgnored, validate.DaemonOutdated:
		return true
	}
	return false
}

func (r *run) compare(id uuid.UUID, ruling *ledger.Ruling) {
	r.result.Judged++
	d := Difference{Share: id, ReceivedAt: ruling.ReceivedAt, Ledger: word(ruling.Reason)}
	verdict, judged := r.bench.verdicts[id]
	switch {
	case !judged:
		d.Judge, d.Detail = "unanswered", r.bench.unanswered[id]
	case verdict.Reason != ruling.Reason && ruling.Reason == string(validate.AlreadyKnown) && verdict.Reason == "" && ruling.Owner != uuid.Nil:
		return // good by itself, and somebody else's
	case verdict.Reason != "" && ruling.Stands && verdict.Weight == ruling.Weight:
		return // refused for its place in the chain, and then its block came to stand
	case verdict.Reason != ruling.Reason:
		d.Judge, d.Detail = word(verdict.Reason), verdict.Detail
	case verdict.Reason == "" && verdict.Weight != ruling.Weight:
		d.Judge, d.Detail = "credited", fmt.Sprintf("the ledger says weight %d, the judge %d", ruling.Weight, verdict.Weight)
	case verdict.WorkerID != ruling.WorkerID:
		d.Judge, d.Detail = word(verdict.Reason), fmt.Sprintf("the ledger says worker %d, the judge %d", ruling.WorkerID, verdict.WorkerID)
	default:
		return
	}
	r.differ(d)
}

func (r *run) differ(d Difference) {
	if r.result.Differing++; len(r.result.Differences) < r.opts.Most {
		r.result.Differences = append(r.result.Differences, d)
	}
}

func word(reason string) string {
	if reason == "" {
		return "credited"
	}
	return reason
}

// bench stands where the ledger and the dead letters are in earnest: it takes
// verdicts and writes none.
type bench struct {
	Store
	mu         sync.Mutex // guards all below while the judge is at work
	verdicts   map[uuid.UUID]ledger.Verdict
	unanswered map[uuid.UUID]string
}

func (b *bench) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.verdicts, b.unanswered = map[uuid.UUID]ledger.Verdict{}, map[uuid.UUID]string{}
}

// IssuedWorks returns works as if no miner were disabled or ignored: what was so
// when a share came is not known.
func (b *bench) IssuedWorks(ctx context.Context, networkID int16, ids []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error) {
	works, err := b.Store.IssuedWorks(ctx, networkID, ids)
	for id, w := range works {
		w.MinerEnabled, w.IgnoreShares = true, false
		works[id] = w
	}
	return works, err
}

// WriteVerdicts keeps the verdicts and writes nothing.
func (b *bench) WriteVerdicts(_ context.Context, _ int16, verdicts []ledger.Verdict) (ledger.Written, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range verdicts {
		b.verdicts[verdicts[i].ShareID] = verdicts[i]
	}
	return ledger.Written{}, nil
}

// Add keeps why a share could not be judged.
func (b *bench) Add(_ context.Context, letter queue.DeadLetter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unanswered[letter.Share.ID] = letter.Reason
	return nil
}
