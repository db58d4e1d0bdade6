package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/internal/config"
	"purepool/ledger"
	"purepool/pool/settle"
	"purepool/pool/settle/schedule"
	"purepool/pool/settle/scheme"
	"purepool/pool/validate/recheck"
)

// The jobs of a backend, by their names in the table of schedules.
const (
	JobWatch       = "watch"
	JobCloseRounds = "close-rounds"
	JobShareOut    = "share-out"
	JobPay         = "pay"
	JobRollUp      = "roll-up"
	JobRate        = "rate"
	JobCleanUp     = "clean-up"
	JobAudit       = "audit"
	// JobDeepValidate is there for classic networks alone.
	JobDeepValidate = "deep-validate"
)

// ErrNotClean: an audit has found something.
var ErrNotClean = errors.New("the audit is not clean")

// Settlement is what turns the blocks of one network into payments, put
// together from the configuration.
type Settlement struct {
	Network   string
	NetworkID int16
	Watcher   *settle.Watcher
	Settler   *settle.Settler
	Payer     *settle.Payer
	Auditor   *settle.Auditor

	cfg      *config.Config
	schedule *config.Schedule
	store    *ledger.BackendStore
	daemon   *bbprpc.Client
	log      *slog.Logger

	mu   sync.Mutex
	last Report // protected by mu
}

// Report is what the last runs of jobs in this process came to.
type Report struct {
	Watch    settle.Progress
	Closed   int
	Shared   []ledger.ShareOutResult
	Paid     settle.PayResult
	Audit    settle.Audit
	RolledUp ledger.RolledUp
	Dropped  []string

	DeepValidated recheck.Result
}

// Last returns what the last runs came to. Safe for concurrent access.
func (s *Settlement) Last() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// note keeps what a run came to.
func (s *Settlement) note(write func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	write(&s.last)
}

// SettlementOptions says what a settlement is made of.
type SettlementOptions struct {
	Config  *config.Config
	Network string
	ID      int16
	Store   *ledger.BackendStore
	// Daemon is the daemon whose wallet is the pool's, and no other; see [Wallet].
	Daemon     *bbprpc.Client
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// SkipShares keeps audits from counting shares.
	SkipShares bool
	// PayNow lets payments begin at any time of day, and also where they are
	// switched off: a person is there who says so.
	PayNow bool
}

// Wallet returns the one of a network's daemons whose wallet is the pool's: the
// first. Rewards and payments are asked of nobody else: another daemon's wallet
// would not know them.
func Wallet(client *bbprpc.Client) *bbprpc.Client { return client.Daemons()[0] }

// NewDaemons makes the client of a network's daemons.
func NewDaemons(n *config.Network, log *slog.Logger, r prometheus.Registerer) (*bbprpc.Client, error) {
	return bbprpc.New(bbprpc.Config{
		Endpoints: endpoints(n), Timeout: n.DaemonTimeout, MaxInFlight: n.DaemonConcurrency, MaxBatch: n.DaemonBatch,
		Logger: log, Registerer: r,
	})
}

// NewSettlement makes the parts of a network's settlement; none of them runs.
func NewSettlement(opts SettlementOptions) (*Settlement, error) {
	n := opts.Config.Network[opts.Network]
	books := opts.Store.Books()
	source, proof := chainSource(n, opts.Daemon)
	s := &Settlement{
		Network: opts.Network, NetworkID: opts.ID, cfg: opts.Config, schedule: &opts.Config.Backend.Schedule,
		store: opts.Store, daemon: opts.Daemon, log: opts.Logger,
	}
	s.Watcher = settle.NewWatcher(settle.WatcherOptions{
		Network: opts.Network, NetworkID: opts.ID, StartHeight: int32(n.Settlement.StartHeight), Interval: s.schedule.Watch, //nolint:gosec // bounded by the configuration
		OrphanDepth: int32(n.Settlement.OrphanDepth), Slack: max(2*time.Minute, 10*s.schedule.Watch), Proof: proof, //nolint:gosec // the same
		Logger: opts.Logger, Registerer: opts.Registerer,
	}, source, books)
	var err error
	s.Settler, err = settle.NewSettler(settle.SettlerOptions{
		Network: opts.Network, NetworkID: opts.ID,
		Scheme: scheme.Name(n.Settlement.Scheme), WindowFactor: int64(n.Settlement.PPLNSWindow), Fee: feeOf(n.FeePercent),
		CloseDepth: int64(n.Settlement.CloseDepth), Grace: orNone(n.Settlement.ShareGrace),
		Confirmations: int64(n.Settlement.Confirmations), MaturityAge: n.Settlement.MaturityTime, Proof: proof,
		Logger: opts.Logger, Registerer: opts.Registerer,
	}, source, books)
	if err != nil {
		return nil, err
	}
	payer, err := payerOptions(opts.Network, n)
	if err != nil {
		return nil, err
	}
	if opts.PayNow {
		payer.Window = settle.DayWindow{}
	}
	payer.NetworkID, payer.Logger, payer.Registerer = opts.ID, opts.Logger, opts.Registerer
	s.Payer = settle.NewPayer(payer, opts.Daemon, books)
	s.Auditor = settle.NewAuditor(opts.Network, opts.ID, books, opts.Daemon,
		ledger.AuditOptions{SharesKept: opts.Config.Backend.KeepShares, SkipShares: opts.SkipShares}, opts.Registerer)
	return s, nil
}

// chainSource is how a network's daemon tells of its chain, and how the share
// that was a block is found.
func chainSource(n *config.Network, daemon *bbprpc.Client) (settle.Source, settle.Proof) {
	if n.Mode == "classic" {
		return settle.NewClassicSource(daemon, n.PoolAddress), settle.ClassicProof(daemon)
	}
	source := settle.NewTemplateSource(daemon, n.PoolAddress)
	if n.Algorithm == "scrypt" {
		return source, nil // a block's hash is not its proof: the submission tells
	}
	return source, settle.BlockHashIsProof
}

// feeOf turns a percentage in millionths into hundred-millionths of the whole,
// which is the same number.
func feeOf(p config.Percent) scheme.Fee { return scheme.Fee(p) }

// never is a time of day that does not come: payments that are on their way are
// followed, and none begin.
func never() settle.DayWindow { return settle.DayWindow{From: 24 * time.Hour, To: 25 * time.Hour} }

func payerOptions(name string, n *config.Network) (settle.PayerOptions, error) {
	c, err := n.ChainOf(name)
	if err != nil {
		return settle.PayerOptions{}, err
	}
	p := &n.Payments
	window := settle.DayWindow{From: time.Duration(p.WindowFrom), To: time.Duration(p.WindowTo)}
	if !p.Enabled {
		window = never()
	}
	return settle.PayerOptions{
		Network: name, Chain: c, Family: walletFamily(n), Threshold: int64(p.Threshold), MinInterval: orNone(p.MinInterval), Window: window,
		MaxMiners: p.MaxMiners, BatchSize: p.Batch, PoolPaysFee: p.PoolPaysFee, Consolidate: p.Consolidate, MinConf: p.MinConfirmations,
		ConfirmDepth: int64(p.ConfirmDepth), RebroadcastAfter: orNone(p.RebroadcastAfter),
		AbsentDelay: p.AbsentDelay, AbsentBlocks: int32(orNone(p.AbsentBlocks)), RetryMin: p.RetryMin, RetryMax: p.RetryMax, //nolint:gosec // bounded by the configuration
		PassphraseFile: string(p.PassphraseFile), UnlockFor: p.UnlockFor,
	}, nil
}

// walletFamily is what the network's wallet wants sendmany to look like.
func walletFamily(n *config.Network) bbprpc.WalletFamily {
	switch {
	case n.Payments.WalletFamily != "":
		return bbprpc.WalletFamily(n.Payments.WalletFamily)
	case strings.HasPrefix(n.Chain, "litecoin-"), strings.HasPrefix(n.Chain, "bitcoin-"):
		return bbprpc.FamilyBitcoin
	}
	return bbprpc.FamilyDash
}

// orNone turns the configuration's 0 into what means none to the settlement,
// where 0 is a default.
func orNone[T ~int | ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// Jobs returns what is to be done again and again for the network. keep is nil
// but for one network: dropping what is old concerns all of them.
func (s *Settlement) Jobs(keep *ledger.Retention) []schedule.Job {
	job := func(name string, every time.Duration, run func(context.Context) error) schedule.Job {
		return schedule.Job{Name: name, Network: s.Network, NetworkID: s.NetworkID, Every: every, Run: run}
	}
	jobs := []schedule.Job{
		job(JobWatch, s.schedule.Watch, func(ctx context.Context) error {
			progress, err := s.Watcher.Look(ctx)
			s.note(func(r *Report) { r.Watch = progress })
			return err
		}),
		job(JobCloseRounds, s.schedule.CloseRounds, func(ctx context.Context) error {
			closed, err := s.Settler.CloseRounds(ctx)
			s.note(func(r *Report) { r.Closed = closed })
			return err
		}),
		job(JobShareOut, s.schedule.ShareOut, func(ctx context.Context) error {
			shared, err := s.Settler.ShareOutAll(ctx)
			s.note(func(r *Report) { r.Shared = shared })
			return err
		}),
		job(JobPay, s.schedule.Pay, func(ctx context.Context) error {
			paid, err := s.Payer.Pay(ctx)
			s.note(func(r *Report) { r.Paid = paid })
			return err
		}),
		job(JobRollUp, s.schedule.RollUp, func(ctx context.Context) error {
			done, err := s.store.RollUp(ctx, s.NetworkID, time.Now())
			s.note(func(r *Report) { r.RolledUp = done })
			_, countErr := s.Settler.CountShares(ctx)
			return errors.Join(err, countErr)
		}),
		job(JobRate, s.schedule.Rate, func(ctx context.Context) error {
			return settle.Rate(ctx, s.store.Books(), s.NetworkID, time.Now())
		}),
		job(JobAudit, s.schedule.Audit, s.audit),
	}
	if !s.cfg.Network[s.Network].IsTemplate() && s.schedule.DeepValidateShares > 0 {
		jobs = append(jobs, job(JobDeepValidate, s.schedule.DeepValidate, s.deepValidate))
	}
	if keep != nil {
		jobs = append(jobs, job(JobCleanUp, s.schedule.CleanUp, func(ctx context.Context) error { return s.cleanUp(ctx, *keep) }))
	}
	return jobs
}

func (s *Settlement) audit(ctx context.Context) error {
	audit, err := s.Auditor.Audit(ctx)
	if err != nil {
		return err
	}
	s.note(func(r *Report) { r.Audit = audit })
	if audit.Clean {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotClean, strings.Join(Findings(&audit), "; "))
}

// Findings says what keeps an audit from being clean, in a few words each.
func Findings(a *settle.Audit) (found []string) {
	for _, c := range a.Checks {
		if c.Faults > 0 {
			found = append(found, fmt.Sprintf("%s: %d faults, such as: %s", c.Name, c.Faults, c.Detail))
		}
	}
	switch {
	case a.Wallet.Error != "":
		found = append(found, "the wallet does not answer: "+a.Wallet.Error)
	case a.Wallet.Coverage == settle.Short:
		found = append(found, fmt.Sprintf("the wallet is short of %s coins", bbprpc.Amount(a.Wallet.Missing)))
	}
	return found
}

// cleanUp drops what is too old, over all networks. What is counted by minute
// is counted by hour first.
func (s *Settlement) cleanUp(ctx context.Context, keep ledger.Retention) error {
	networks, err := s.store.Networks(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, id := range networks {
		if _, err := s.store.RollUp(ctx, id, now); err != nil {
			return err
		}
	}
	dropped, err := settle.CleanUp(ctx, s.store, now, keep, s.log)
	s.note(func(r *Report) { r.Dropped = dropped })
	return err
}

// Retention is how long things are kept.
func Retention(b *config.Backend) ledger.Retention {
	return ledger.Retention{
		Shares: b.KeepShares, Works: b.KeepWork, Rejected: b.KeepRejected, Solutions: b.KeepSolutions,
		Minutes: b.KeepMinutes, Tips: b.KeepTips,
	}
}
