package config

import "time"

// Backend is the role that judges shares.
type Backend struct {
	// Batches of shares of one network that are judged at the same time.
	ValidatorParallelism int `toml:"validator_parallelism" default:"4" min:"1" max:"256"`

	// Most shares in one batch: one request to the daemon, one database transaction.
	// On template networks, whose shares are small, eight times as many. What waits
	// is taken; no batch waits for more.
	BatchShares int `toml:"batch_shares" default:"1000" min:"1" max:"100000"`

	// How many times a share is tried whose judging fails for reasons of its own
	// before it goes to the dead letters (purepool admin deadletter). What is away
	// is waited for, however long.
	DeadLetterAfter int `toml:"dead_letter_after" default:"8" min:"1" max:"1000"`

	// First wait after a daemon or the database did not answer; it doubles up to retry_max.
	RetryMin time.Duration `toml:"retry_min" default:"100ms" min:"10ms" max:"1m"`

	// Longest wait between tries.
	RetryMax time.Duration `toml:"retry_max" default:"10s" min:"100ms" max:"10m"`

	// How often the daemons are asked for the chain's tip.
	TipPollInterval time.Duration `toml:"tip_poll_interval" default:"1s" min:"100ms" max:"1m"`

	// How long after a new block shares for the one before are still taken:
	// neither clocks nor daemons agree to the second.
	ArrivalGrace time.Duration `toml:"arrival_grace" default:"15s" max:"10m"`

	// How far the clocks of frontends and daemons may be apart where the highest
	// nonce that the chain allows by now is concerned.
	NonceSlack time.Duration `toml:"nonce_slack" default:"2s" max:"10m"`

	// How long judged shares are kept.
	KeepShares time.Duration `toml:"keep_shares" default:"14d" min:"1d" max:"3650d"`

	// How long work is kept. At least as long as shares.
	KeepWork time.Duration `toml:"keep_work" default:"16d" min:"1d" max:"3650d"`

	// How long rejected shares are kept.
	KeepRejected time.Duration `toml:"keep_rejected" default:"3d" min:"1d" max:"3650d"`

	// How long the text of solutions is kept.
	KeepSolutions time.Duration `toml:"keep_solutions" default:"2d" min:"1d" max:"3650d"`

	// How long counts by minute are kept; those by hour and day stay.
	KeepMinutes time.Duration `toml:"keep_minutes" default:"8d" min:"1d" max:"3650d"`

	// How long it is remembered which block was the chain's tip when. At least
	// as long as work.
	KeepTips time.Duration `toml:"keep_tips" default:"17d" min:"1d" max:"3650d"`

	// How long the shares in hand may take to be written down when the process is told to stop.
	DrainTimeout time.Duration `toml:"drain_timeout" default:"15s" min:"1s" max:"5m"`

	// Folder for what must outlive this process whatever is away: the journal of
	// found blocks, and jobs that the database has not taken yet. This process's
	// own. Needed for template networks.
	StateDir Path `toml:"state_dir" default:"/var/lib/purepool/backend"`

	// How often the backend does what is to be done by itself. Each job runs in one
	// backend at a time (purepool admin schedule).
	Schedule Schedule `toml:"schedule"`
}

// Schedule says how often jobs run.
type Schedule struct {
	// watch: read the chain and write its blocks down. New blocks are looked for
	// at once where the tip changes or purepool admin notify-block is called.
	Watch time.Duration `toml:"watch" default:"10s" min:"100ms" max:"1h"`

	// close-rounds: end the rounds of the pool's blocks.
	CloseRounds time.Duration `toml:"close_rounds" default:"30s" min:"100ms" max:"1d"`

	// share-out: credit the rewards of mature blocks to the miners.
	ShareOut time.Duration `toml:"share_out" default:"1m" min:"100ms" max:"1d"`

	// pay: bring payments on their way one step further, and begin new ones.
	Pay time.Duration `toml:"pay" default:"2m" min:"100ms" max:"1d"`

	// roll-up: bring the counts by hour and day, which the pages read, up to date.
	RollUp time.Duration `toml:"roll_up" default:"30s" min:"100ms" max:"1h"`

	// rate: compare miners' shares with their blocks.
	Rate time.Duration `toml:"rate" default:"1h" min:"100ms" max:"7d"`

	// clean-up: drop what is older than the keep_… keys say.
	CleanUp time.Duration `toml:"clean_up" default:"1h" min:"1s" max:"7d"`

	// audit: prove the books. It reads all shares that are kept.
	Audit time.Duration `toml:"audit" default:"6h" min:"100ms" max:"30d"`

	// deep-validate: judge kept solutions of classic networks once more, against
	// the daemon, and compare with what the ledger says became of them.
	DeepValidate time.Duration `toml:"deep_validate" default:"1d" min:"100ms" max:"30d"`

	// How many shares deep-validate judges in a run, chosen at random from those
	// whose solutions are kept; 0: it does not run.
	DeepValidateShares int `toml:"deep_validate_shares" default:"1000" min:"0" max:"10000000"`
}
