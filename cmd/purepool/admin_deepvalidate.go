package main

import (
	"errors"
	"fmt"
	"time"

	"purepool/internal/role"
)

type deepValidateCmd struct {
	bookFlags
	Since    time.Duration `default:"48h" help:"Shares that arrived within this time, as far as their solutions are kept (backend.keep_solutions)."`
	Patience time.Duration `default:"1m" help:"How long to wait for a daemon that does not answer."`
	Sample   int           `placeholder:"N" help:"Only this many of them, chosen at random. Each costs the daemon two calls."`
}

// Help is printed below the flags.
func (c *deepValidateCmd) Help() string {
	return `Judges the kept solutions of classic networks once more, in full and against the daemon, and compares with what the ledger says
became of them: credited with which weight, or rejected for which reason. Nothing is written. Not compared is what cannot be repeated: whether
a miner was disabled or ignored then, and a daemon that was outdated.
Exit code 1 where ledger and judge disagree on a share, or the daemon does not answer.`
}

func (c *deepValidateCmd) Run(a *app) error {
	if c.Since <= 0 || c.Patience <= 0 || c.Sample < 0 {
		return errors.New("--since and --patience must be above zero, and --sample not below")
	}
	return c.withBooks(a, func(room *bookRoom) error {
		now := time.Now()
		results := []role.DeepValidated{}
		var errs []error
		for _, name := range room.networks() {
			if room.cfg.Network[name].IsTemplate() {
				if c.Network == name {
					return fmt.Errorf("network %s: %w", name, role.ErrNoDaemonsWord)
				}
				continue
			}
			s, err := room.settlement(name, role.SettlementOptions{})
			if err != nil {
				return err
			}
			result, err := s.DeepValidate(a.ctx, role.DeepValidation{From: now.Add(-c.Since), Until: now, Sample: c.Sample, Patience: c.Patience})
			results = append(results, result)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("network %s: %w", name, err))
			case !result.Clean():
				errs = append(errs, role.Disagreement(&result))
			}
		}
		if len(results) == 0 {
			return role.ErrNoDaemonsWord
		}
		if c.JSON {
			return errors.Join(append(errs, printJSON(a.stdout, results))...)
		}
		for i := range results {
			if err := printRecheck(a, &results[i]); err != nil {
				return err
			}
		}
		return errors.Join(errs...)
	})
}

func printRecheck(a *app, r *role.DeepValidated) error {
	fmt.Fprintf(a.stdout, "network %s: %d shares judged again, %d differ, %d skipped\n", r.Network, r.Judged, r.Differing, r.Skipped)
	if len(r.Differences) == 0 {
		return nil
	}
	rows := make([]string, len(r.Differences))
	for i, d := range r.Differences {
		rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s", d.Share, moment(d.ReceivedAt), d.Ledger, d.Judge, oneLine(d.Detail, 100))
	}
	return printTable(a.stdout, "SHARE\tARRIVED\tLEDGER\tJUDGE\tDETAIL", rows)
}
