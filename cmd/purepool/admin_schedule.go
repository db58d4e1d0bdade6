package main

import (
	"errors"
	"fmt"
	"time"

	"purepool/internal/role"
)

type scheduleCmd struct {
	List   scheduleListCmd   `cmd:"" help:"List the jobs of the backends: when they ran, how it went, when they run next."`
	Run    scheduleRunCmd    `cmd:"" help:"Run a job now, once."`
	Pause  schedulePauseCmd  `cmd:"" help:"Keep a job from running by itself."`
	Resume scheduleResumeCmd `cmd:"" help:"Let a job run by itself again."`
}

type scheduleListCmd struct{ bookFlags }

func (c *scheduleListCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		list, err := room.books.Schedules(a.ctx)
		if err != nil {
			return err
		}
		type jobJSON struct {
			Network   string     `json:"network"`
			Name      string     `json:"name"`
			Every     string     `json:"every"`
			NextAt    time.Time  `json:"next_at"`
			Started   *time.Time `json:"started_at,omitempty"`
			Finished  *time.Time `json:"finished_at,omitempty"`
			Succeeded *time.Time `json:"succeeded_at,omitempty"`
			Runs      int64      `json:"runs"`
			Failures  int64      `json:"failures"`
			LastError string     `json:"last_error,omitempty"`
			Runner    string     `json:"runner"`
			Paused    bool       `json:"paused"`
		}
		out, rows := []jobJSON{}, []string{}
		for _, s := range list {
			network := room.networkOf(s.NetworkID)
			if _, ours := room.ids[network]; !ours {
				continue
			}
			out = append(out, jobJSON{
				network, s.Name, s.Every.String(), s.NextAt, optional(s.StartedAt), optional(s.FinishedAt), optional(s.SucceededAt),
				s.Runs, s.Failures, s.LastError, s.Runner, s.Paused,
			})
			next, last := moment(s.NextAt), "ok"
			switch {
			case s.Paused:
				next = "paused"
			case s.NextAt.Before(time.Now()):
				next = "due"
			}
			switch {
			case s.StartedAt.IsZero():
				last = "never ran"
			case s.FinishedAt.Before(s.StartedAt):
				last = "running, or its process died"
			case s.LastError != "":
				last = fmt.Sprintf("failed %d times: %s", s.Failures, oneLine(s.LastError, 100))
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%v\t%s\t%s\t%d\t%s\t%s", network, s.Name, s.Every, moment(s.StartedAt), next, s.Runs, s.Runner, last))
		}
		if c.JSON {
			return printJSON(a.stdout, out)
		}
		return printTable(a.stdout, "NETWORK\tJOB\tEVERY\tLAST RUN\tNEXT RUN\tRUNS\tBY\tRESULT", rows)
	})
}

type scheduleRunCmd struct {
	bookFlags
	Reason string `help:"Why, for the audit log."`
	Job    string `arg:"" help:"watch, close-rounds, share-out, pay, roll-up, rate, clean-up, audit or deep-validate."`
}

// Help is printed below the flags.
func (c *scheduleRunCmd) Help() string {
	return `Runs in this process, whether the job is due or paused. A run elsewhere is waited for, ten seconds at most.
The original's commands and the jobs in their place stand in docs/OPERATIONS.md.`
}

func (c *scheduleRunCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		networks := room.networks()
		if c.Job == role.JobCleanUp {
			if c.Network != "" {
				return errors.New("clean-up is about all networks, so it knows no --network")
			}
			networks = networks[:1]
		}
		reports := map[string]any{}
		var errs []error
		if err := room.store.Log(a.ctx, room.by(c.Reason), "run job", map[string]any{"job": c.Job, "networks": networks}); err != nil {
			return err
		}
		for _, network := range networks {
			report, err := room.once(network, c.Job, false)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s of network %s: %w", c.Job, network, err))
				continue
			}
			words, value := describeRun(c.Job, &report)
			reports[network] = value
			if !c.JSON {
				fmt.Fprintf(a.stdout, "%s: %s\n", network, words)
			}
		}
		if c.JSON {
			errs = append(errs, printJSON(a.stdout, reports))
		}
		return errors.Join(errs...)
	})
}

// describeRun says what a run came to, to people and to machines.
func describeRun(job string, r *role.Report) (words string, value any) {
	switch job {
	case role.JobWatch:
		w := &r.Watch
		return fmt.Sprintf("height %d of %d; %d blocks new, %d of the pool, %d replaced, %d orphaned, %s credited after all",
				w.Height, w.Tip, w.Added, w.Ours, w.Left, w.Orphaned, plural(w.Won, "stale share")),
			map[string]any{"height": w.Height, "tip": w.Tip, "added": w.Added, "ours": w.Ours, "replaced": w.Left, "orphaned": w.Orphaned, "stale_shares_credited": w.Won}
	case role.JobCloseRounds:
		return plural(r.Closed, "round") + " ended", map[string]any{"closed": r.Closed}
	case role.JobShareOut:
		heights := []int32{}
		for i := range r.Shared {
			heights = append(heights, r.Shared[i].Block.Height)
		}
		return fmt.Sprintf("%s shared out %v", plural(len(heights), "block"), heights), map[string]any{"blocks": heights}
	case role.JobPay:
		return describePaid(&r.Paid)
	case role.JobRollUp:
		return "brought up to date", r.RolledUp
	case role.JobCleanUp:
		return plural(len(r.Dropped), "partition") + " dropped", map[string]any{"dropped": len(r.Dropped)}
	case role.JobDeepValidate:
		return plural(r.DeepValidated.Judged, "share") + " judged again, none differs", r.DeepValidated
	case role.JobAudit:
		return "clean", r.Audit
	}
	return "done", map[string]any{"done": true}
}

type schedulePauseCmd struct{ scheduleChange }

// Help is printed below the flags.
func (c *schedulePauseCmd) Help() string {
	return "A job that is running goes on to its end. What is paused stays so over restarts."
}

func (c *schedulePauseCmd) Run(a *app) error { return c.change(a, true, "paused") }

type scheduleResumeCmd struct{ scheduleChange }

func (c *scheduleResumeCmd) Run(a *app) error { return c.change(a, false, "runs by itself again") }

type scheduleChange struct {
	bookFlags
	Reason string `help:"Why, for the audit log; needed for the job that pays."`
	Job    string `arg:"" help:"The job's name."`
}

func (c *scheduleChange) change(a *app, paused bool, done string) error {
	if c.Job == role.JobPay && c.Reason == "" {
		return errReason
	}
	return c.withBooks(a, func(room *bookRoom) error {
		list, err := room.books.Schedules(a.ctx)
		if err != nil {
			return err
		}
		changed := []string{}
		for _, s := range list {
			network := room.networkOf(s.NetworkID)
			if _, ours := room.ids[network]; !ours || s.Name != c.Job {
				continue
			}
			if err := room.books.SetSchedulePaused(a.ctx, s.NetworkID, s.Name, paused, room.by(c.Reason)); err != nil {
				return err
			}
			changed = append(changed, network)
		}
		if len(changed) == 0 {
			return fmt.Errorf("there is no job %s", oneLine(c.Job, 40))
		}
		if c.JSON {
			return printJSON(a.stdout, map[string]any{"job": c.Job, "networks": changed, "paused": paused})
		}
		for _, network := range changed {
			fmt.Fprintf(a.stdout, "%s of network %s %s\n", c.Job, network, done)
		}
		return nil
	})
}

type notifyBlockCmd struct {
	bookFlags
	Hash string `arg:"" optional:"" help:"The block's hash; not used."`
}

// Help is printed below the flags.
func (c *notifyBlockCmd) Help() string {
	return `Tells every backend to look at its daemon at once. For the daemon's own configuration:
  blocknotify=purepool admin notify-block --network main %s`
}

func (c *notifyBlockCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		for _, network := range room.networks() {
			if err := room.store.AnnounceBlock(a.ctx, network); err != nil {
				return err
			}
		}
		if c.JSON {
			return printJSON(a.stdout, map[string]any{"announced": room.networks()})
		}
		return nil
	})
}
