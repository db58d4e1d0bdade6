package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"purepool/internal/config"
	"purepool/internal/control"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/queue"
)

type adminCmd struct {
	By string `placeholder:"NAME" help:"Who does it, for the audit log, beside the user of this machine."`

	Status statusCmd `cmd:"" help:"Everything on one screen; exit code 1 where something is wrong."`
	Log    logCmd    `cmd:"" help:"Who changed what, when and why."`

	Deadletter deadletterCmd `cmd:"" help:"Shares that could not be judged, set aside for a person."`
	Miner      minerCmd      `cmd:"" help:"Find miners, see what they have, change how they are treated."`

	Audit auditCmd `cmd:"" help:"Prove the books, and that the wallet covers them."`

	DeepValidate deepValidateCmd `cmd:"" name:"deep-validate" help:"Judge kept shares once more, against the daemon."`

	Block       blockCmd       `cmd:"" help:"Blocks of the pool and their sharing out."`
	Payment     paymentCmd     `cmd:"" help:"Payments: look, begin, hold, decide."`
	Consolidate consolidateCmd `cmd:"" help:"Join the wallet's smallest coins."`
	Schedule    scheduleCmd    `cmd:"" help:"What the backends do by themselves."`
	LogLevel    logLevelCmd    `cmd:"" help:"Show or change what a running process logs."`
	NotifyBlock notifyBlockCmd `cmd:"" help:"Tell the backends that there is a new block (the daemon's blocknotify)."`

	Share   shareCmd   `cmd:"" help:"Shares: why was one rejected."`
	Ban     banCmd     `cmd:"" help:"Keep addresses and miners away from all frontends."`
	Backup  backupCmd  `cmd:"" help:"Write down everything that cannot be made anew."`
	Restore restoreCmd `cmd:"" help:"Put a backup back into an empty database."`

	ImportOriginal importCmd `cmd:"" help:"Take the books of the original pool (Django) over."`
}

// AfterApply keeps who is at the keyboard for the audit log.
func (c *adminCmd) AfterApply(a *app) error {
	a.by = c.By
	return nil
}

type deadletterCmd struct {
	List    letterListCmd    `cmd:"" help:"List dead letters, oldest first."`
	Replay  letterReplayCmd  `cmd:"" help:"Put dead letters back on the queue."`
	Discard letterDiscardCmd `cmd:"" help:"Remove dead letters for good."`
}

// withLetters calls do with the dead letters of the configured broker. Those of
// an embedded one are reached through the process that has it open, or, where
// none runs, by opening it.
func (c configFlag) withLetters(a *app, do func(control.DeadLetters) error) (err error) {
	cfg, log, err := c.load(a, config.RoleAdmin)
	if err != nil {
		return err
	}
	if folder, ok := role.Embedded(&cfg.Queue); ok {
		client, err := control.Dial(a.ctx, folder)
		if err == nil {
			return do(client)
		}
		if _, missing := os.Stat(folder); missing != nil {
			return fmt.Errorf("the embedded broker's folder: %w", missing)
		}
		log.Debug("no process has the broker open", slog.Any("error", err))
	}
	broker, err := queue.Open(a.ctx, role.QueueConfig(&cfg.Queue, "admin", log, nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return do(broker.DeadLetters())
}

type letterListCmd struct {
	configFlag
	Network string `help:"Only those of this network."`
	Limit   int    `default:"100" help:"How many at most; 0 means all."`
	JSON    bool   `help:"Print as JSON, with the solutions."`
}

func (c *letterListCmd) Run(a *app) error {
	return c.withLetters(a, func(letters control.DeadLetters) error {
		list, err := letters.List(a.ctx, c.Network, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return printLettersJSON(a.stdout, list)
		}
		return printLetters(a.stdout, list)
	})
}

// letterJSON is a dead letter for machines: text where there is text.
type letterJSON struct {
	ID       uuid.UUID  `json:"id"`
	At       time.Time  `json:"at"`
	Network  string     `json:"network"`
	Reason   string     `json:"reason"`
	Attempts int        `json:"attempts"`
	Share    *uuid.UUID `json:"share,omitempty"`
	Received *time.Time `json:"received_at,omitempty"`
	Frontend string     `json:"frontend,omitempty"`
	Solution string     `json:"solution,omitempty"`
	Raw      []byte     `json:"raw_base64,omitempty"`
}

func printLettersJSON(w io.Writer, list []queue.DeadLetter) error {
	out := make([]letterJSON, len(list))
	for i, l := range list {
		out[i] = letterJSON{ID: l.ID, At: l.At, Network: l.Network, Reason: l.Reason, Attempts: l.Attempts, Raw: l.Raw}
		if s := l.Share; s != nil {
			out[i].Share, out[i].Received, out[i].Frontend, out[i].Solution = &s.ID, &s.ReceivedAt, s.Frontend, string(s.Solution)
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func printLetters(w io.Writer, list []queue.DeadLetter) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "no dead letters")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSET ASIDE\tNETWORK\tTRIES\tHOLDS\tREASON")
	for _, l := range list {
		holds := fmt.Sprintf("%d bytes", len(l.Raw))
		if l.Share != nil {
			holds = "share " + l.Share.ID.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.At.UTC().Format(time.DateTime), l.Network, l.Attempts, holds, oneLine(l.Reason, 120))
	}
	return t.Flush()
}

// oneLine makes foreign text fit for a terminal.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

type letterReplayCmd struct {
	configFlag
	All     bool        `help:"Replay every dead letter there is now."`
	Network string      `help:"With --all: only those of this network."`
	Reason  string      `help:"Why, for the audit log."`
	JSON    bool        `help:"Print the result as JSON."`
	IDs     []uuid.UUID `arg:"" optional:"" name:"id" help:"Which ones."`
}

// Help is printed below the flags.
func (c *letterReplayCmd) Help() string {
	return `A replayed share is judged as any other, by the time at which it arrived; one that was written down meanwhile is dropped as known.`
}

func (c *letterReplayCmd) Run(a *app) error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("say which dead letters to replay, or --all")
	}
	if err := c.log(a, c.Reason, "replay dead letters", map[string]any{"all": c.All, "network": c.Network, "ids": c.IDs}); err != nil {
		return err
	}
	return c.withLetters(a, func(letters control.DeadLetters) error {
		if c.All {
			n, err := letters.ReplayAll(a.ctx, c.Network)
			if err != nil {
				return err
			}
			return printCount(a.stdout, c.JSON, "replayed", n)
		}
		return eachLetter(a, c.IDs, c.JSON, "replayed", letters.Replay)
	})
}

type letterDiscardCmd struct {
	configFlag
	Reason string      `required:"" help:"Why, for the audit log: a share is lost with it."`
	JSON   bool        `help:"Print the result as JSON."`
	IDs    []uuid.UUID `arg:"" name:"id" help:"Which ones."`
}

// log writes into the audit log, before it happens, what is changed elsewhere
// than in the ledger.
func (c configFlag) log(a *app, why, action string, detail map[string]any) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		return store.Log(a.ctx, ledger.Reason{Who: operator(a), Why: why}, action, detail)
	})
}

func (c *letterDiscardCmd) Run(a *app) error {
	if err := c.log(a, c.Reason, "discard dead letters", map[string]any{"ids": c.IDs}); err != nil {
		return err
	}
	return c.withLetters(a, func(letters control.DeadLetters) error {
		return eachLetter(a, c.IDs, c.JSON, "discarded", letters.Discard)
	})
}

func eachLetter(a *app, ids []uuid.UUID, asJSON bool, done string, do func(context.Context, uuid.UUID) error) error {
	for i, id := range ids {
		if err := do(a.ctx, id); err != nil {
			return fmt.Errorf("%s: %w (%d of %d %s)", id, err, i, len(ids), done)
		}
	}
	return printCount(a.stdout, asJSON, done, len(ids))
}

func printCount(w io.Writer, asJSON bool, done string, n int) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]int{done: n})
	}
	fmt.Fprintf(w, "%s %s\n", plural(n, "dead letter"), done)
	return nil
}

type minerCmd struct {
	Find      minerFindCmd    `cmd:"" help:"List miners."`
	Disable   minerDisableCmd `cmd:"" help:"Refuse a miner's requests and shares."`
	Enable    minerEnableCmd  `cmd:"" help:"Take a miner's requests and shares again."`
	SetTarget minerTargetCmd  `cmd:"" help:"Give a miner a hash target of its own."`
	Show      minerShowCmd    `cmd:"" help:"Show a miner's balance, how it is paid, and its last share."`
	Ignore    minerIgnoreCmd  `cmd:"" help:"Do not credit a miner's shares."`
	Credit    minerCreditCmd  `cmd:"" help:"Credit a miner's shares again."`
	SetPayout minerPayoutCmd  `cmd:"" help:"Set a miner's own payment threshold, hold or release its payments."`
	Correct   minerCorrectCmd `cmd:"" help:"Give a miner coins from the pool's correction account, or take them."`
	Merge     minerMergeCmd   `cmd:"" help:"Make two miners of one person one."`
	Export    minerExportCmd  `cmd:"" help:"Write down what is kept of a miner: shares, credits, payments."`
}

// withLedger calls do with the backend's store, which is the operator's too.
func (c configFlag) withLedger(a *app, do func(*ledger.BackendStore) error) (err error) {
	cfg, _, err := c.load(a, config.RoleAdmin)
	if err != nil {
		return err
	}
	store, err := openLedger(a, cfg, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return do(store)
}

// openLedger opens the ledger as the backend does, where it is of this version.
func openLedger(a *app, cfg *config.Config, connections int) (*ledger.BackendStore, error) {
	if !cfg.Database.BackendDSN.IsSet() {
		return nil, errors.New("database.backend_dsn is missing in the configuration")
	}
	store, err := ledger.OpenBackend(a.ctx, cfg.Database.BackendDSN.Value(), ledger.Options{MaxOpen: connections})
	if err != nil {
		return nil, err
	}
	if err := store.CheckVersion(a.ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// query selects miners by what a person knows of them.
func query(ctx context.Context, store *ledger.BackendStore, who, network string) (ledger.MinerQuery, error) {
	var q ledger.MinerQuery
	if id, err := uuid.Parse(who); err == nil {
		q.GUID = id
	} else {
		q.Address = who
	}
	if network == "" {
		return q, nil
	}
	ids, err := store.Networks(ctx)
	if err != nil {
		return q, err
	}
	id, ok := ids[network]
	if !ok {
		return q, fmt.Errorf("the database knows no network %s", network)
	}
	q.NetworkID = id
	return q, nil
}

type minerFindCmd struct {
	configFlag
	Network  string `help:"Only those of this network."`
	Disabled bool   `help:"Only disabled ones."`
	Limit    int    `default:"100" help:"How many at most."`
	JSON     bool   `help:"Print as JSON."`
	Worker   string `help:"Only those that have a worker of this name."`
	Who      string `arg:"" optional:"" name:"address" help:"Address, the beginning of one, or MINERGUID; all where it is missing."`
}

func (c *minerFindCmd) Run(a *app) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		q, err := query(a.ctx, store, c.Who, c.Network)
		if err != nil {
			return err
		}
		q.Disabled, q.Limit, q.Worker = c.Disabled, c.Limit, c.Worker
		q.Address, q.Prefix = "", q.Address
		miners, err := store.FindMiners(a.ctx, q)
		if err != nil {
			return err
		}
		if c.JSON {
			return printMinersJSON(a.stdout, miners)
		}
		return printMiners(a.stdout, miners)
	})
}

func printMinersJSON(w io.Writer, miners []ledger.MinerRecord) error {
	type minerJSON struct {
		Address    string    `json:"address"`
		Network    string    `json:"network"`
		GUID       uuid.UUID `json:"miner_guid"`
		Enabled    bool      `json:"enabled"`
		HashTarget string    `json:"hash_target,omitempty"`
		Workers    int       `json:"workers"`
		CreatedAt  time.Time `json:"created_at"`
	}
	out := make([]minerJSON, len(miners))
	for i, m := range miners {
		out[i] = minerJSON{m.Address, m.Network, m.GUID, m.Enabled, "", m.Workers, m.CreatedAt}
		if m.HashTarget != nil {
			out[i].HashTarget = hex.EncodeToString(m.HashTarget[:])
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func printMiners(w io.Writer, miners []ledger.MinerRecord) error {
	if len(miners) == 0 {
		fmt.Fprintln(w, "no such miner")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tNETWORK\tMINERGUID\tSTATE\tWORKERS\tSINCE\tTARGET")
	for _, m := range miners {
		state, target := "enabled", "the network's"
		if !m.Enabled {
			state = "disabled"
		}
		if m.HashTarget != nil {
			target = hex.EncodeToString(m.HashTarget[:])
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n",
			m.Address, m.Network, m.GUID, state, m.Workers, m.CreatedAt.UTC().Format(time.DateTime), target)
	}
	return t.Flush()
}

// minerChange is what the three commands that change a miner have in common.
type minerChange struct {
	configFlag
	Network string `help:"The miner's network, where the address stands on several."`
	Reason  string `help:"Why, for the audit log."`
	JSON    bool   `help:"Print the miner as JSON."`
	Who     string `arg:"" name:"address" help:"Address or MINERGUID."`
}

func (c *minerChange) change(a *app, do func(*ledger.BackendStore, ledger.MinerRecord, ledger.Reason) error) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		m, err := oneMiner(a, store, c.Who, c.Network)
		if err != nil {
			return err
		}
		if err := do(store, m, ledger.Reason{Who: operator(a), Why: c.Reason}); err != nil {
			return err
		}
		if m, err = oneMiner(a, store, c.Who, c.Network); err != nil {
			return err
		}
		if c.JSON {
			return printMinersJSON(a.stdout, []ledger.MinerRecord{m})
		}
		return printMiners(a.stdout, []ledger.MinerRecord{m})
	})
}

// operator names who is at the keyboard, for the audit log: the user of this
// machine, and before it the name that was given with --by.
func operator(a *app) string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := a.getenv("SUDO_USER"); sudo != "" {
		name = sudo
	}
	if a.by != "" {
		return oneLine(a.by, 60) + " (" + name + ")"
	}
	return name
}

type minerDisableCmd struct{ minerChange }

// Help is printed below the flags.
func (c *minerDisableCmd) Help() string {
	return "Takes effect at every frontend within frontend.miner_recheck, 30 seconds unless configured."
}

func (c *minerDisableCmd) Run(a *app) error {
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		return store.SetMinerEnabled(a.ctx, m.ID, false, by)
	})
}

type minerEnableCmd struct{ minerChange }

func (c *minerEnableCmd) Run(a *app) error {
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		return store.SetMinerEnabled(a.ctx, m.ID, true, by)
	})
}

type minerTargetCmd struct {
	minerChange
	Target string `arg:"" help:"64 hex digits, or none for the network's."`
}

// Help is printed below the flags.
func (c *minerTargetCmd) Help() string {
	return `Easier (larger) than the network's hash_target needs easiest_hash_target in the backend's configuration, or the shares are rejected.`
}

func (c *minerTargetCmd) Run(a *app) error {
	var target *[32]byte
	if c.Target != "none" {
		var t config.Target
		if err := t.UnmarshalText([]byte(c.Target)); err != nil {
			return err
		}
		target = (*[32]byte)(&t)
	}
	return c.change(a, func(store *ledger.BackendStore, m ledger.MinerRecord, by ledger.Reason) error {
		return store.SetMinerTarget(a.ctx, m.ID, target, by)
	})
}
