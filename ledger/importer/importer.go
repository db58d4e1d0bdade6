// Package importer takes the books of the original pool (Python, Django, 2018)
// over from its Postgres: miners under their public identifiers, workers, what
// each miner earned there as opening entries, and every payment as history, so
// that each balance here is the original's to the satoshi.
//
// The original's balance of a miner is the sum of its transactions; the column
// balance is a copy that may be old. Amounts are decimals with four places there
// (floats in its first weeks); what has more than eight is refused.
//
// Nothing is written to the original, which is read at one moment. Running it
// again takes over what has come since.
package importer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/google/uuid"

	"purepool/ledger"
)

// Source is the name under which the original's books are taken over.
const Source = "original"

// Options says what is taken over.
type Options struct {
	DSN string // of the original's database
	// Networks are the networks here, by name; the original's others are refused
	// unless they are in Skip.
	Networks map[string]int16
	Skip     []string
	// Unfinished lets blocks be left behind that the original has not shared out.
	Unfinished bool
	DryRun     bool
	By         ledger.Reason
}

// Report says what was found and what was taken over; amounts are in satoshis.
type Report struct {
	DryRun   bool            `json:"dry_run"`
	Networks []NetworkReport `json:"networks"`
	// Notes are what a person should read.
	Notes []string `json:"notes"`
}

// NetworkReport is about one network.
type NetworkReport struct {
	Network  string `json:"network"`
	Miners   int    `json:"miners"`
	Workers  int    `json:"workers"`
	Blocks   int    `json:"pool_blocks"`
	Payments int    `json:"payments"`
	// New are those that were not here before.
	NewMiners   int   `json:"new_miners"`
	NewWorkers  int   `json:"new_workers"`
	NewPayments int   `json:"new_payments"`
	Opened      int64 `json:"opened_now"` // by this import
	Earned      int64 `json:"earned"`     // at the original, ever
	Paid        int64 `json:"paid"`       // the same
	Balances    int64 `json:"balances"`   // earned less paid
	Height      int64 `json:"height"`     // the newest block that the original knows
}

// Run takes the books over. ledger.ErrImport lists what does not fit; nothing was
// written then.
func Run(ctx context.Context, books *ledger.Books, opts Options) (report Report, err error) {
	src, err := read(ctx, opts.DSN)
	if err != nil {
		return report, err
	}
	if err := src.check(&opts); err != nil {
		return report, err
	}
	err = books.Import(ctx, Source, opts.DryRun, opts.By, func(ctx context.Context, i *ledger.Import) (map[string]any, error) {
		report = Report{DryRun: opts.DryRun, Notes: src.notes}
		if err := src.write(ctx, i, &opts, &report); err != nil {
			return nil, err
		}
		detail := map[string]any{"source": Source}
		for _, n := range report.Networks {
			detail[n.Network] = map[string]any{"miners": n.NewMiners, "payments": n.NewPayments, "opened": n.Opened}
		}
		return detail, nil
	})
	return report, err
}

// satoshis reads a decimal exactly.
func satoshis(text string) (int64, error) {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, fmt.Errorf("%q is no number", text)
	}
	r.Mul(r, big.NewRat(100_000_000, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("%s coins are no whole number of satoshis", text)
	}
	if !r.Num().IsInt64() {
		return 0, fmt.Errorf("%s coins are more than there are", text)
	}
	return r.Num().Int64(), nil
}

// maxProblems bounds how many problems are listed.
const maxProblems = 20

// check holds everything against what the books here can take, and sums up.
func (o *original) check(opts *Options) error {
	var problems []string
	count := 0
	problem := func(format string, args ...any) {
		if count++; count <= maxProblems {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	o.dropSkipped(opts.Skip)
	unknown := map[string]bool{}
	for _, m := range o.miners {
		if _, ok := opts.Networks[m.network]; !ok && !unknown[m.network] {
			unknown[m.network] = true
			problem("network %q of the original is not configured here: add it, or leave it out with --skip %s", m.network, m.network)
		}
	}
	for i := range o.transactions {
		t := &o.transactions[i]
		m := o.byGUID[t.miner]
		var err error
		t.satoshis, err = satoshis(t.amount)
		switch {
		case err != nil:
			problem("transaction %d: %v", t.id, err)
		case m == nil:
			problem("transaction %d belongs to miner %s, whom the original does not have", t.id, t.miner)
		case m.network != t.network:
			problem("transaction %d of network %s belongs to a miner of network %s", t.id, t.network, m.network)
		case t.category == "TX" && t.satoshis > 0:
			problem("transaction %d is a payment that gives: %s", t.id, t.amount)
		case t.category == "TX":
			m.paid -= t.satoshis
		default:
			m.earned += t.satoshis
		}
	}
	open := map[string]int{}
	for _, b := range o.blocks {
		if b.status == "OP" || b.status == "BP" || b.status == "PS" {
			open[b.network]++
		}
	}
	for network, n := range open {
		if !opts.Unfinished {
			problem("%d pool blocks of network %s are not shared out there: stop the original's frontends and let it finish them first (--unfinished leaves them to the pool)", n, network)
		}
	}
	if count > 0 {
		if count > maxProblems {
			problems = append(problems, fmt.Sprintf("and %d more", count-maxProblems))
		}
		slices.Sort(problems)
		return fmt.Errorf("%w; nothing was written:\n  %s", ledger.ErrImport, strings.Join(problems, "\n  "))
	}
	o.remark(open)
	return nil
}

// dropSkipped forgets networks that are not wanted.
func (o *original) dropSkipped(skip []string) {
	gone := func(network string) bool { return slices.Contains(skip, network) }
	o.miners = slices.DeleteFunc(o.miners, func(m *miner) bool { return gone(m.network) })
	o.workers = slices.DeleteFunc(o.workers, func(w worker) bool {
		m := o.byGUID[w.miner]
		return m != nil && gone(m.network)
	})
	o.transactions = slices.DeleteFunc(o.transactions, func(t transaction) bool { return gone(t.network) })
	o.blocks = slices.DeleteFunc(o.blocks, func(b block) bool { return gone(b.network) })
}

// remark notes what a person should know.
func (o *original) remark(open map[string]int) {
	for network, n := range open {
		o.notes = append(o.notes, fmt.Sprintf("%d pool blocks of network %s were not shared out there: their rewards stay with the pool", n, network))
	}
	for _, m := range o.miners {
		balance := m.earned - m.paid
		if cached, err := satoshis(m.cached); err != nil || cached != balance {
			o.notes = append(o.notes, fmt.Sprintf("%s has %s in the original's column balance, its transactions sum to %s: the sum counts", m.address, m.cached, coins(balance)))
		}
		if balance < 0 {
			o.notes = append(o.notes, fmt.Sprintf("%s was paid more than it earned there: it begins with %s", m.address, coins(balance)))
		}
	}
	slices.Sort(o.notes)
}

func coins(satoshis int64) string {
	return new(big.Rat).SetFrac64(satoshis, 100_000_000).FloatString(8)
}

// write takes everything over that is not here yet.
func (o *original) write(ctx context.Context, i *ledger.Import, opts *Options, report *Report) error {
	w := &writer{original: o, to: i, opts: opts, report: report, ids: map[uuid.UUID]int64{}, by: map[string]*NetworkReport{}}
	for _, step := range []func(context.Context) error{w.miners, w.workers, w.blocks, w.open, w.payments, w.prove} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, n := range w.by {
		n.Height = o.heights[n.Network]
		report.Networks = append(report.Networks, *n)
	}
	slices.SortFunc(report.Networks, func(a, b NetworkReport) int { return strings.Compare(a.Network, b.Network) })
	return nil
}

// writer is one import.
type writer struct {
	*original
	to     *ledger.Import
	opts   *Options
	report *Report
	ids    map[uuid.UUID]int64 // miners here
	by     map[string]*NetworkReport
	before map[int64]int64 // balances before
	opened map[int64]int64 // by this import
	paid   map[int64]int64 // the same
}

func (w *writer) of(network string) *NetworkReport {
	if w.by[network] == nil {
		w.by[network] = &NetworkReport{Network: network}
	}
	return w.by[network]
}

func (w *writer) miners(ctx context.Context) error {
	known, err := w.to.Known(ctx, "miner")
	if err != nil {
		return err
	}
	for _, m := range w.original.miners {
		n := w.of(m.network)
		n.Miners++
		n.Earned += m.earned
		n.Paid += m.paid
		n.Balances += m.earned - m.paid
		if id, ok := known[m.guid.String()]; ok {
			w.ids[m.guid] = id
			continue
		}
		id, kept, err := w.to.Miner(ctx, ledger.ImportedMiner{
			GUID: m.guid, NetworkID: w.opts.Networks[m.network], Address: m.address, Enabled: m.enabled, CreatedAt: m.createdAt,
		})
		if err != nil {
			return err
		}
		if kept {
			w.report.Notes = append(w.report.Notes, m.address+" mines here already: it keeps its MINERGUID and settings of here, and gets its balance of there")
		} else {
			n.NewMiners++
		}
		w.ids[m.guid] = id
	}
	return nil
}

func (w *writer) workers(ctx context.Context) error {
	known, err := w.to.Known(ctx, "worker")
	if err != nil {
		return err
	}
	for _, k := range w.original.workers {
		m := w.byGUID[k.miner]
		if m == nil {
			return fmt.Errorf("worker %d belongs to nobody: %w", k.id, ledger.ErrImport)
		}
		n, key := w.of(m.network), fmt.Sprint(k.id)
		n.Workers++
		if _, ok := known[key]; ok {
			continue
		}
		if strings.TrimSpace(k.name) == "" {
			w.report.Notes = append(w.report.Notes, fmt.Sprintf("worker %d of %s has no name and is left out", k.id, m.address))
			continue
		}
		if err := w.to.Worker(ctx, key, w.ids[k.miner], k.name, k.createdAt); err != nil {
			return err
		}
		n.NewWorkers++
	}
	return nil
}

func (w *writer) blocks(ctx context.Context) error {
	known, err := w.to.Known(ctx, "block")
	if err != nil {
		return err
	}
	for _, b := range w.original.blocks {
		key := fmt.Sprint(b.id)
		w.of(b.network).Blocks++
		if _, ok := known[key]; ok {
			continue
		}
		if err := w.to.Block(ctx, key, b.height); err != nil {
			return err
		}
	}
	return nil
}

// open gives each miner what it earned there and was not given yet.
func (w *writer) open(ctx context.Context) error {
	before, err := w.to.Opened(ctx)
	if err != nil {
		return err
	}
	all := make([]int64, 0, len(w.ids))
	for _, id := range w.ids {
		all = append(all, id)
	}
	if w.before, err = w.to.Balances(ctx, all); err != nil {
		return err
	}
	w.opened, w.paid = map[int64]int64{}, map[int64]int64{}
	for _, m := range w.original.miners {
		id := w.ids[m.guid]
		amount := m.earned - before[id]
		if amount == 0 {
			continue
		}
		if err := w.to.Open(ctx, w.opts.Networks[m.network], id, amount, m.guid); err != nil {
			return err
		}
		w.opened[id] += amount
		w.of(m.network).Opened += amount
	}
	return nil
}

func (w *writer) payments(ctx context.Context) error {
	known, err := w.to.Known(ctx, "payment")
	if err != nil {
		return err
	}
	for i := range w.transactions {
		t := &w.transactions[i]
		if t.category != "TX" || t.satoshis == 0 {
			continue
		}
		m, n, key := w.byGUID[t.miner], w.of(t.network), fmt.Sprint(t.id)
		n.Payments++
		if _, ok := known[key]; ok {
			continue
		}
		p := &ledger.ImportedPayment{
			Key: key, NetworkID: w.opts.Networks[t.network], MinerID: w.ids[t.miner], Address: m.address, Amount: -t.satoshis, At: t.at,
		}
		if id, err := hex.DecodeString(t.tx); err == nil && len(id) == 32 {
			p.TxID = [32]byte(id)
		} else {
			w.report.Notes = append(w.report.Notes, fmt.Sprintf("payment %d to %s has no transaction id there", t.id, m.address))
		}
		if err := w.to.Payment(ctx, p); err != nil {
			return err
		}
		w.paid[p.MinerID] += p.Amount
		n.NewPayments++
	}
	return nil
}

// prove holds every balance against the original's, to the satoshi.
func (w *writer) prove(ctx context.Context) error {
	all := make([]int64, 0, len(w.ids))
	for _, id := range w.ids {
		all = append(all, id)
	}
	now, err := w.to.Balances(ctx, all)
	if err != nil {
		return err
	}
	var errs []error
	for guid, id := range w.ids {
		if want := w.before[id] + w.opened[id] - w.paid[id]; now[id] != want {
			errs = append(errs, fmt.Errorf("%s has %d satoshis, want %d", w.byGUID[guid].address, now[id], want))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("the balances are not the original's: %w: %w", ledger.ErrImport, errors.Join(errs[:min(len(errs), maxProblems)]...))
	}
	return nil
}
