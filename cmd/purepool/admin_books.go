package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"purepool/bbprpc"
	"purepool/internal/config"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/settle/schedule"
)

// bookFlags are those of every command that works on the books.
type bookFlags struct {
	configFlag
	Network string `help:"Only this network."`
	JSON    bool   `help:"Print as JSON."`
}

// bookRoom is what such a command works with.
type bookRoom struct {
	app   *app
	cfg   *config.Config
	log   *slog.Logger
	store *ledger.BackendStore
	books *ledger.Books
	// ids are the networks that the command is about, or all configured ones.
	ids   map[string]int16
	close []func() error
}

// withBooks calls do with the ledger opened as the backend does.
func (c bookFlags) withBooks(a *app, do func(*bookRoom) error) (err error) {
	cfg, log, err := c.load(a, config.RoleAdmin)
	if err != nil {
		return err
	}
	if _, known := cfg.Network[c.Network]; c.Network != "" && !known {
		return fmt.Errorf("the configuration has no network %s", oneLine(c.Network, 40))
	}
	store, err := openLedger(a, cfg, 8)
	if err != nil {
		return err
	}
	room := &bookRoom{app: a, cfg: cfg, log: log, store: store, books: store.Books(), ids: map[string]int16{}}
	room.close = append(room.close, store.Close)
	defer func() {
		for _, f := range slices.Backward(room.close) {
			err = errors.Join(err, f())
		}
	}()
	all, err := store.Networks(a.ctx)
	if err != nil {
		return err
	}
	for name := range cfg.Network {
		if c.Network != "" && c.Network != name {
			continue
		}
		id, ok := all[name]
		if !ok {
			return fmt.Errorf("network %s is not in the database: run purepool migrate with this configuration", name)
		}
		room.ids[name] = id
	}
	if len(room.ids) == 0 {
		return errors.New("the configuration has no network")
	}
	return do(room)
}

// networks lists the networks that the command is about.
func (r *bookRoom) networks() []string { return slices.Sorted(maps.Keys(r.ids)) }

// eachNetwork does a command's work for every network that it is about and returns
// what came of it: printed one by one, or together as JSON. A network that fails keeps
// none of the others waiting.
func eachNetwork[T any](room *bookRoom, asJSON bool, work func(room *bookRoom, network string) (T, error), print func(*app, *T)) ([]T, error) {
	var errs []error
	done := []T{}
	for _, network := range room.networks() {
		out, err := work(room, network)
		if err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", network, err))
			continue
		}
		done = append(done, out)
		if !asJSON {
			print(room.app, &out)
		}
	}
	if asJSON {
		errs = append(errs, printJSON(room.app.stdout, done))
	}
	return done, errors.Join(errs...)
}

// theNetwork is the one that the command is about.
func (r *bookRoom) theNetwork() (string, error) {
	if names := r.networks(); len(names) == 1 {
		return names[0], nil
	}
	return "", errors.New("there are several networks, say which with --network")
}

// settlement puts a network's settlement together as the backend does.
func (r *bookRoom) settlement(network string, opts role.SettlementOptions) (*role.Settlement, error) {
	n := r.cfg.Network[network]
	if len(n.Daemon) == 0 {
		return nil, fmt.Errorf("network %s has no daemon in this configuration", network)
	}
	daemons, err := role.NewDaemons(n, r.log, nil)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, func() error { daemons.Close(); return nil })
	opts.Config, opts.Network, opts.ID, opts.Store = r.cfg, network, r.ids[network], r.store
	opts.Daemon, opts.Logger = role.Wallet(daemons), r.log
	return role.NewSettlement(opts)
}

// patience is how long a command waits for a run of the same job elsewhere.
const patience = 30 * time.Second

// once runs a job of a network now, after a run elsewhere that is under way, and
// returns what it came to. payNow is for the job that pays: see [role.SettlementOptions].
func (r *bookRoom) once(network, job string, payNow bool) (role.Report, error) {
	s, err := r.settlement(network, role.SettlementOptions{PayNow: payNow})
	if err != nil {
		return role.Report{}, err
	}
	keep := role.Retention(&r.cfg.Backend)
	runner := schedule.New(schedule.Options{Runner: r.runner(), Logger: r.log}, r.books, s.Jobs(&keep)...)
	err = r.after(schedule.ErrBusy, func() error { return runner.Once(r.app.ctx, network, job) })
	return s.Last(), err
}

// after calls do, again and again while it says that somebody else is busy.
func (r *bookRoom) after(busy error, do func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := do()
		if !errors.Is(err, busy) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-r.app.ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// runner names who runs a job, for the table of schedules.
func (r *bookRoom) runner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return "admin " + operator(r.app) + " " + host
}

// errReason: the change is about money.
var errReason = errors.New("this is about money, so it needs a --reason, for the audit log")

func (r *bookRoom) by(why string) ledger.Reason { return ledger.Reason{Who: operator(r.app), Why: why} }

// networkOf names a network by its id.
func (r *bookRoom) networkOf(id int16) string {
	for name, known := range r.ids {
		if known == id {
			return name
		}
	}
	return fmt.Sprintf("#%d", id)
}

// coins writes satoshis as coins.
func coins(satoshis int64) string { return bbprpc.Amount(satoshis).String() }

// moment writes a time in UTC; a dash where there is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

// optional is a time for JSON: nothing where there is none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printList prints what was found as JSON, or as a table with a row for each; none is
// said where there is nothing.
func printList[T any](a *app, asJSON bool, found []T, none, head string, rows []string) error {
	if asJSON {
		return printJSON(a.stdout, found)
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stdout, none)
		return nil
	}
	return printTable(a.stdout, head, rows)
}

// printTable writes rows of cells under a head.
func printTable(w io.Writer, head string, rows []string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, row := range rows {
		fmt.Fprintln(t, row)
	}
	return t.Flush()
}
