package settle

import (
	"context"
	"time"

	"purepool/pool/settle/schedule"
)

// Network is everything that settles one network.
type Network struct {
	Name    string
	ID      int16
	Watcher *Watcher
	Settler *Settler
	Payer   *Payer // nil: nothing is paid
	Auditor *Auditor
	Books   UpkeepBooks
}

// Intervals say how often what is done; zero values mean the defaults.
type Intervals struct {
	Chain    time.Duration // 10 s
	Rounds   time.Duration // 1 min
	ShareOut time.Duration // 5 min
	Payments time.Duration // 10 min
	Audit    time.Duration // 1 h
	Rating   time.Duration // 1 h
}

// The names of the jobs: those of the original's management commands.
const (
	JobFindBlocks = "find_new_blocks"
	JobRounds     = "process_next_block"
	JobShareOut   = "shareout_next_block"
	JobPayments   = "send_autopayments"
	JobAudit      = "validate_fundings"
	JobRating     = "evaluate_miner"
)

// Jobs returns what is done for a network again and again.
func (n *Network) Jobs(every Intervals) []schedule.Job {
	setDefault(&every.Chain, 10*time.Second)
	setDefault(&every.Rounds, time.Minute)
	setDefault(&every.ShareOut, 5*time.Minute)
	setDefault(&every.Payments, 10*time.Minute)
	setDefault(&every.Audit, time.Hour)
	setDefault(&every.Rating, time.Hour)
	job := func(name string, every time.Duration, run func(ctx context.Context) error) schedule.Job {
		return schedule.Job{Name: name, Network: n.Name, NetworkID: n.ID, Every: every, Run: run}
	}
	jobs := []schedule.Job{
		job(JobFindBlocks, every.Chain, func(ctx context.Context) error { _, err := n.Watcher.Look(ctx); return err }),
		job(JobRounds, every.Rounds, func(ctx context.Context) error { _, err := n.Settler.CloseRounds(ctx); return err }),
		job(JobShareOut, every.ShareOut, func(ctx context.Context) error { _, err := n.Settler.ShareOutAll(ctx); return err }),
		job(JobAudit, every.Audit, func(ctx context.Context) error { return n.audit(ctx) }),
		job(JobRating, every.Rating, func(ctx context.Context) error { return Rate(ctx, n.Books, n.ID, time.Now()) }),
	}
	if n.Payer != nil {
		jobs = append(jobs, job(JobPayments, every.Payments, func(ctx context.Context) error { _, err := n.Payer.Pay(ctx); return err }))
	}
	return jobs
}

// audit fails where the books do not add up, so that the job shows it.
func (n *Network) audit(ctx context.Context) error {
	audit, err := n.Auditor.Audit(ctx)
	if err != nil {
		return err
	}
	return audit.Err()
}
