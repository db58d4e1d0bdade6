package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"purepool/internal/control"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/queue"
)

type statusCmd struct {
	bookFlags
	NoDaemon bool          `help:"Do not ask the coin daemons."`
	NoQueue  bool          `help:"Do not ask the broker."`
	Quiet    time.Duration `default:"15m" help:"How long a network may have no share before that is wrong; 0 means for ever."`
	Lag      time.Duration `default:"1m" help:"How long a share may wait to be judged before that is wrong."`
}

// Help is printed below the flags.
func (c *statusCmd) Help() string {
	return `Exit code 1 where anything is wrong; each such line begins with "wrong:" and says what to do. For a monitor:
  purepool admin status --json > status.json || alarm`
}

// statusJSON is everything on one screen; money is in satoshis.
type statusJSON struct {
	At       time.Time       `json:"at"`
	OK       bool            `json:"ok"`
	Wrong    []string        `json:"wrong"`
	Roles    []roleJSON      `json:"roles"`
	Networks []networkStatus `json:"networks"`
	Letters  *int            `json:"dead_letters,omitempty"`
	Bans     int             `json:"bans"`
	Late     []string        `json:"schedules_late"`
}

type roleJSON struct {
	Role        string `json:"role"`
	Connections int    `json:"connections"`
}

type networkStatus struct {
	Network     string           `json:"network"`
	Height      int32            `json:"height"`
	HeightAt    *time.Time       `json:"height_at,omitempty"`
	Books       int32            `json:"books_height"`
	Daemon      *daemonStatus    `json:"daemon,omitempty"`
	HashRate    int64            `json:"hashes_per_second"`
	Miners      int64            `json:"miners_online"`
	Workers     int64            `json:"workers_online"`
	LastWork    *time.Time       `json:"last_work_at,omitempty"`
	LastShare   *time.Time       `json:"last_share_at,omitempty"`
	Effort      *float64         `json:"round_effort,omitempty"`
	LastBlock   *lastBlockJSON   `json:"last_block,omitempty"`
	Blocks      map[string]int64 `json:"blocks"`
	Payments    map[string]int64 `json:"payments"`
	Held        string           `json:"all_payments_held,omitempty"`
	Liabilities int64            `json:"liabilities"`
	Imbalance   int64            `json:"imbalance"`
	Queue       *queue.Depth     `json:"queue,omitempty"`
}

type lastBlockJSON struct {
	Height int32     `json:"height"`
	At     time.Time `json:"at"`
	State  string    `json:"state"`
}

type daemonStatus struct {
	Height  int64  `json:"height"`
	Headers int64  `json:"headers"`
	Lag     int64  `json:"books_lag"`
	Synced  bool   `json:"synced"`
	Error   string `json:"error,omitempty"`
}

// status gathers a screen.
type status struct {
	*bookRoom
	cmd     *statusCmd
	numbers *ledger.NumbersStore
	out     statusJSON
}

// wrong notes what is wrong and what to do about it.
func (s *status) wrong(format string, args ...any) {
	s.out.Wrong = append(s.out.Wrong, fmt.Sprintf(format, args...))
}

func (c *statusCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		s := &status{bookRoom: room, cmd: c, numbers: room.store.NumbersStore()}
		s.out = statusJSON{At: time.Now().UTC().Truncate(time.Second), Wrong: []string{}, Roles: []roleJSON{}, Networks: []networkStatus{}, Late: []string{}}
		if err := s.gather(a.ctx); err != nil {
			return err
		}
		s.out.OK = len(s.out.Wrong) == 0
		if c.JSON {
			if err := printJSON(a.stdout, s.out); err != nil {
				return err
			}
		} else if err := s.print(); err != nil {
			return err
		}
		if !s.out.OK {
			return fmt.Errorf("%s wrong", plural(len(s.out.Wrong), "thing"))
		}
		return nil
	})
}

func (s *status) gather(ctx context.Context) error {
	if err := s.roles(ctx); err != nil {
		return err
	}
	for _, name := range s.networks() {
		if err := s.network(ctx, name); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
	}
	if err := s.schedules(ctx); err != nil {
		return err
	}
	bans, err := s.store.Bans(ctx)
	if err != nil {
		return err
	}
	for _, b := range bans {
		if b.Until.IsZero() || b.Until.After(s.out.At) {
			s.out.Bans++
		}
	}
	if !s.cmd.NoQueue {
		s.queue(ctx)
	}
	return nil
}

// roles says who is connected to the database. The name of the role is all that
// one role sees of another.
func (s *status) roles(ctx context.Context) error {
	list, err := s.store.Roles(ctx)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, r := range list {
		seen[strings.TrimPrefix(r.Role, "purepool_")] += r.Connections
	}
	seen["backend"]-- // this command's own
	for _, name := range []string{"frontend", "backend", "web"} {
		s.out.Roles = append(s.out.Roles, roleJSON{name, max(seen[name], 0)})
	}
	if seen["backend"] <= 0 {
		s.wrong("no backend is connected to the database: shares are not judged and nobody is paid; start it (purepool backend)")
	}
	if seen["frontend"] <= 0 {
		s.wrong("no frontend is connected to the database: no miner is served; start it (purepool frontend)")
	}
	return nil
}

func (s *status) network(ctx context.Context, name string) error {
	id := s.ids[name]
	numbers, err := s.numbers.Numbers(ctx, id, time.Now())
	if err != nil {
		return err
	}
	signs, err := s.store.Signs(ctx, id)
	if err != nil {
		return err
	}
	guard, err := s.books.PaymentGuard(ctx, id)
	if err != nil {
		return err
	}
	p := &numbers.Pulse
	n := networkStatus{
		Network: name, Height: max(p.Height, signs.TipHeight), HeightAt: optional(signs.LastTip), Books: signs.BookHeight,
		HashRate: p.HashesPerSecond, Miners: p.Miners, Workers: p.Workers, LastWork: optional(signs.LastWork), LastShare: optional(p.LastShareAt),
		Blocks: numbers.Blocks, Payments: numbers.Payments, Liabilities: numbers.Liabilities, Imbalance: numbers.Imbalance, Held: guard.Why,
	}
	if effort, ok := p.Effort(); ok {
		n.Effort = &effort
	}
	if b := p.LastBlock; b != nil {
		n.LastBlock = &lastBlockJSON{b.Height, b.SeenAt, b.State}
	}
	s.judge(&n, p)
	if guard.Restored() && guard.Why == "" {
		s.wrong("%s: the database was restored or moved since books and wallet agreed last: the next payments compare them (purepool admin payment reconcile)", name)
	}
	if !s.cmd.NoDaemon {
		n.Daemon = s.daemon(ctx, name, &n)
	}
	s.out.Networks = append(s.out.Networks, n)
	return nil
}

// judge says what is wrong with a network.
func (s *status) judge(n *networkStatus, p *ledger.NetworkPulse) {
	if s.cmd.Quiet > 0 && p.LastShareAt.Before(s.out.At.Add(-s.cmd.Quiet)) {
		s.wrong("%s: no share was credited for %v: are miners connected, and is the backend judging?", n.Network, s.cmd.Quiet)
	}
	if n.Imbalance != 0 {
		s.wrong("%s: the books are out of balance by %d satoshis: stop paying (purepool admin schedule pause pay), then purepool admin audit", n.Network, n.Imbalance)
	}
	if n.Held != "" {
		s.wrong("%s: all payments are held: %s (purepool admin payment reconcile)", n.Network, oneLine(n.Held, 200))
	}
	if c := n.Payments[ledger.PaymentUnclear]; c > 0 {
		s.wrong("%s: of %s nobody knows whether it was made: purepool admin payment list --state unclear", n.Network, plural(int(c), "payment"))
	}
	if c := n.Payments["held"]; c > 0 {
		s.wrong("%s: %s held by a person: purepool admin payment list --state intent", n.Network, plural(int(c), "payment"))
	}
}

// daemonPatience bounds how long a daemon is waited for: the screen must come.
const daemonPatience = 5 * time.Second

func (s *status) daemon(ctx context.Context, name string, n *networkStatus) *daemonStatus {
	cfg := s.cfg.Network[name]
	if len(cfg.Daemon) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, daemonPatience)
	defer cancel()
	d := &daemonStatus{}
	client, err := role.NewDaemons(cfg, s.log, nil)
	if err == nil {
		defer client.Close()
		state, asked := role.Wallet(client).ChainState(ctx)
		d.Height, d.Headers, d.Synced, err = state.Blocks, state.Headers, state.Synced(), asked
	}
	if err != nil {
		d.Error = err.Error()
		s.wrong("%s: the daemon does not answer: %s", name, oneLine(d.Error, 200))
		return d
	}
	d.Lag = max(d.Height-int64(n.Books), 0)
	if !d.Synced {
		s.wrong("%s: the daemon has %d blocks of %d: it is not synced", name, d.Height, d.Headers)
	}
	if d.Lag > 3 {
		s.wrong("%s: the books are %d blocks behind the daemon: is the job watch running? (purepool admin schedule list)", name, d.Lag)
	}
	return d
}

// schedules notes jobs that fail, or that should have run long ago.
func (s *status) schedules(ctx context.Context) error {
	list, err := s.books.Schedules(ctx)
	if err != nil {
		return err
	}
	for _, j := range list {
		name := s.networkOf(j.NetworkID)
		if _, ours := s.ids[name]; !ours {
			continue
		}
		late := s.out.At.Sub(j.NextAt)
		switch {
		case j.Paused:
			s.out.Late = append(s.out.Late, fmt.Sprintf("%s of %s: paused", j.Name, name))
			s.wrong("%s: the job %s is paused: purepool admin schedule resume %s", name, j.Name, j.Name)
		case j.Failures >= 3:
			s.out.Late = append(s.out.Late, fmt.Sprintf("%s of %s: failed %d times", j.Name, name, j.Failures))
			s.wrong("%s: the job %s failed %d times: %s", name, j.Name, j.Failures, oneLine(j.LastError, 200))
		case late > max(2*j.Every, 2*time.Minute):
			s.out.Late = append(s.out.Late, fmt.Sprintf("%s of %s: due since %s", j.Name, name, moment(j.NextAt)))
			s.wrong("%s: the job %s is due since %s: is a backend running?", name, j.Name, moment(j.NextAt))
		}
	}
	return nil
}

// room of the broker: what waits in it, and its dead letters.
func (s *status) queue(ctx context.Context) {
	err := withBroker(ctx, s.cfg, s.log, func(b brokerRoom) error {
		for i := range s.out.Networks {
			n := &s.out.Networks[i]
			depth, err := b.queue.Depth(ctx, n.Network)
			if err != nil {
				return err
			}
			n.Queue = &depth
			if age := s.out.At.Sub(depth.Oldest); !depth.Oldest.IsZero() && age > s.cmd.Lag {
				s.wrong("%s: shares have waited %v to be judged: is a backend running, does its daemon answer?", n.Network, age.Round(time.Second))
			}
		}
		letters, err := b.letters.List(ctx, "", 0)
		if err != nil {
			return err
		}
		count := len(letters)
		s.out.Letters = &count
		if count > 0 {
			s.wrong("%s could not be judged: purepool admin deadletter list", plural(count, "share"))
		}
		return nil
	})
	switch {
	case errors.Is(err, control.ErrNobody):
		s.wrong("no process has the embedded broker open: start the pool")
	case err != nil:
		s.wrong("the broker does not answer: %s", oneLine(err.Error(), 200))
	}
}

func (s *status) print() error {
	w := s.app.stdout
	var roles []string
	for _, r := range s.out.Roles {
		roles = append(roles, fmt.Sprintf("%s %d", r.Role, r.Connections))
	}
	fmt.Fprintf(w, "%s UTC   connections: %s   bans: %d", moment(s.out.At), strings.Join(roles, ", "), s.out.Bans)
	if s.out.Letters != nil {
		fmt.Fprintf(w, "   dead letters: %d", *s.out.Letters)
	}
	fmt.Fprintln(w)
	for i := range s.out.Networks {
		s.printNetwork(&s.out.Networks[i])
	}
	for _, text := range s.out.Wrong {
		fmt.Fprintf(w, "wrong: %s\n", text)
	}
	if s.out.OK {
		fmt.Fprintln(w, "all is well")
	}
	return nil
}

func (s *status) printNetwork(n *networkStatus) {
	w := s.app.stdout
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "network %s\n", n.Network)
	when := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return moment(*t)
	}
	row("chain", "height %d since %s, books at %d", n.Height, when(n.HeightAt), n.Books)
	if d := n.Daemon; d != nil && d.Error == "" {
		row("daemon", "height %d of %d, books %d behind", d.Height, d.Headers, d.Lag)
	}
	row("mining", "%s, %s, %d hashes/s; last work %s, last share %s",
		plural(int(n.Miners), "miner"), plural(int(n.Workers), "worker"), n.HashRate, when(n.LastWork), when(n.LastShare))
	effort := "effort not known"
	if n.Effort != nil {
		effort = fmt.Sprintf("effort %.0f %%", 100**n.Effort)
	}
	last := "no block yet"
	if b := n.LastBlock; b != nil {
		last = fmt.Sprintf("last block %d at %s (%s)", b.Height, moment(b.At), b.State)
	}
	row("round", "%s; %s; %d immature, %d shared out, %d orphaned", effort, last,
		n.Blocks[ledger.BlockImmature], n.Blocks[ledger.BlockMature], n.Blocks[ledger.BlockOrphaned])
	p := n.Payments
	row("payments", "%d planned, %d held, %d sending, %d sent, %d unclear, %d confirmed", p[ledger.PaymentIntent], p["held"],
		p[ledger.PaymentSending], p[ledger.PaymentSent], p[ledger.PaymentUnclear], p[ledger.PaymentConfirmed])
	row("books", "owes %s coins, imbalance %d satoshis", coins(n.Liabilities), n.Imbalance)
	if q := n.Queue; q != nil {
		oldest := "nothing waits"
		if !q.Oldest.IsZero() {
			oldest = "the oldest since " + moment(q.Oldest)
		}
		row("queue", "%s, %s", plural(int(q.Envelopes), "envelope"), oldest)
	}
}
