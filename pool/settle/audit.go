package settle

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/ledger"
)

// AuditBooks is what the auditor needs of the ledger.
type AuditBooks interface {
	Audit(ctx context.Context, networkID int16, opts ledger.AuditOptions) (ledger.BooksAudit, error)
	// Totals are those of Audit, at another moment.
	Totals(ctx context.Context, networkID int16) (ledger.BooksTotals, error)
}

// AuditWallet is what the auditor needs of the wallet.
type AuditWallet interface {
	WalletInfo(ctx context.Context) (bbprpc.WalletInfo, error)
}

// Coverage says whether the wallet can pay what is owed.
type Coverage string

// The coverages.
const (
	// Covered: what can be spent now is enough.
	Covered Coverage = "covered"
	// CoveredWhenMature: it is with the coinbases that cannot be spent yet.
	CoveredWhenMature Coverage = "covered when immature coins mature"
	// CoveredIfPaid: it is where the payments of which nobody knows were made.
	CoveredIfPaid Coverage = "covered if unclear payments were made"
	// Short: it is not.
	Short Coverage = "short"
	// CoverageUnknown: the wallet did not answer, or was not asked.
	CoverageUnknown Coverage = "unknown"
)

// WalletAudit compares the wallet with the books; all in satoshis.
type WalletAudit struct {
	Spendable   int64    `json:"spendable"`
	Unconfirmed int64    `json:"unconfirmed"`
	Immature    int64    `json:"immature"`
	Owed        int64    `json:"owed"`    // to miners: balances and what is reserved
	Missing     int64    `json:"missing"` // of it, after everything that can be spent; 0 where covered
	Coverage    Coverage `json:"coverage"`
	Error       string   `json:"error,omitempty"`
}

// Audit is the proof of one network's books.
type Audit struct {
	Network string              `json:"network"`
	At      time.Time           `json:"at"`
	Clean   bool                `json:"clean"`
	Checks  []ledger.BooksCheck `json:"checks"`
	Totals  ledger.BooksTotals  `json:"totals"`
	Wallet  WalletAudit         `json:"wallet"`
}

// Auditor proves the books of one network.
type Auditor struct {
	network   string
	networkID int16
	books     AuditBooks
	wallet    AuditWallet // nil: not compared
	opts      ledger.AuditOptions
	now       func() time.Time
	metrics   *auditMetrics
}

// NewAuditor makes an auditor. wallet may be nil: then only the books are looked
// at.
func NewAuditor(network string, networkID int16, books AuditBooks, wallet AuditWallet, opts ledger.AuditOptions, r prometheus.Registerer) *Auditor {
	return &Auditor{
		network: network, networkID: networkID, books: books, wallet: wallet, opts: opts, now: time.Now,
		metrics: newAuditMetrics(r, network),
	}
}

// Audit proves the books and compares them with the wallet. The error says that
// the books could not be read; a wallet that is away makes the audit not clean,
// since nothing is proved then.
func (a *Auditor) Audit(ctx context.Context) (Audit, error) {
	books, err := a.books.Audit(ctx, a.networkID, a.opts)
	if err != nil {
		return Audit{}, fmt.Errorf("audit of network %s: %w", a.network, err)
	}
	audit := Audit{Network: a.network, At: a.now().UTC(), Clean: true, Checks: books.Checks, Totals: books.Totals}
	var faults int64
	for _, c := range books.Checks {
		faults += c.Faults
	}
	if audit.Wallet, audit.Totals, err = a.compareStill(ctx, books.Totals); err != nil {
		return Audit{}, fmt.Errorf("audit of network %s: %w", a.network, err)
	}
	if faults > 0 || audit.Wallet.Coverage == Short || audit.Wallet.Error != "" {
		audit.Clean = false
	}
	a.metrics.set(&audit, faults)
	return audit, nil
}

// stillTries bounds how often books that move are compared with the wallet.
const stillTries = 5

// compareStill compares books and wallet, which cannot be read at one moment: what
// is paid between the two is missing in the wallet only. So a wallet that is short
// is believed where the books say the same before and after it was asked.
func (a *Auditor) compareStill(ctx context.Context, before ledger.BooksTotals) (WalletAudit, ledger.BooksTotals, error) {
	for try := 1; ; try++ {
		w := a.compare(ctx, &before)
		if w.Coverage != Short || try == stillTries {
			return w, before, nil
		}
		after, err := a.books.Totals(ctx, a.networkID)
		if err != nil {
			return w, before, err
		}
		if after == before {
			return w, before, nil
		}
		before = after
	}
}

func (a *Auditor) compare(ctx context.Context, t *ledger.BooksTotals) WalletAudit {
	w := WalletAudit{Owed: t.Liabilities(), Coverage: CoverageUnknown}
	if a.wallet == nil {
		return w
	}
	info, err := a.wallet.WalletInfo(ctx)
	if err != nil {
		w.Error = err.Error()
		return w
	}
	w.Spendable, w.Unconfirmed, w.Immature = int64(info.Balance), int64(info.Unconfirmed), int64(info.Immature)
	have := w.Spendable + w.Unconfirmed
	w.Missing = max(w.Owed-have, 0)
	switch {
	case w.Missing == 0:
		w.Coverage = Covered
	case w.Missing <= t.Unknown:
		w.Coverage = CoveredIfPaid
	case w.Missing <= w.Immature:
		w.Coverage = CoveredWhenMature
	default:
		w.Coverage = Short
	}
	return w
}

type auditMetrics struct {
	faults, clean, at, missing prometheus.Gauge
}

func newAuditMetrics(r prometheus.Registerer, network string) *auditMetrics {
	m := &auditMetrics{
		faults:  gauge(network, "purepool_audit_faults", "Faults that the last audit found in the books."),
		clean:   gauge(network, "purepool_audit_clean", "1 where the last audit found nothing wrong."),
		at:      gauge(network, "purepool_audit_timestamp_seconds", "When the last audit was made."),
		missing: gauge(network, "purepool_audit_missing_satoshis", "What the wallet lacks, of what can be spent now, to pay all that is owed."),
	}
	register(r, m.faults, m.clean, m.at, m.missing)
	return m
}

func (m *auditMetrics) set(a *Audit, faults int64) {
	m.faults.Set(float64(faults))
	m.clean.Set(0)
	if a.Clean {
		m.clean.Set(1)
	}
	m.at.Set(float64(a.At.UnixMilli()) / 1000)
	m.missing.Set(float64(a.Wallet.Missing))
}
