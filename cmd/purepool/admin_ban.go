package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"purepool/ledger"
)

type banCmd struct {
	List   banListCmd   `cmd:"" help:"List the operator's bans."`
	Add    banAddCmd    `cmd:"" help:"Keep an address, a network of addresses or a miner away."`
	Remove banRemoveCmd `cmd:"" help:"End a ban."`
}

type banJSON struct {
	ID      int64      `json:"id"`
	Prefix  string     `json:"prefix,omitempty"`
	Miner   string     `json:"miner,omitempty"`
	Network string     `json:"network,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Over    bool       `json:"over"`
	MadeAt  time.Time  `json:"made_at"`
	Who     string     `json:"who"`
	Why     string     `json:"why"`
}

func describeBan(b *ledger.Ban) banJSON {
	out := banJSON{
		ID: b.ID, Miner: b.Miner, Network: b.Network, Until: optional(b.Until), MadeAt: b.MadeAt, Who: b.Who, Why: b.Why,
		Over: !b.Until.IsZero() && b.Until.Before(time.Now()),
	}
	if b.Prefix.IsValid() {
		out.Prefix = b.Prefix.String()
	}
	return out
}

type banListCmd struct {
	configFlag
	JSON bool `help:"Print as JSON."`
}

// Help is printed below the flags.
func (c *banListCmd) Help() string {
	return `Bans that a frontend makes by itself, for junk and for bad shares, stay in its memory and are not listed: its metrics count
them (docs/METRICS.md).`
}

func (c *banListCmd) Run(a *app) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error { return printBans(a, store, c.JSON) })
}

func printBans(a *app, store *ledger.BackendStore, asJSON bool) error {
	list, err := store.Bans(a.ctx)
	if err != nil {
		return err
	}
	out, rows := []banJSON{}, []string{}
	for i := range list {
		b := describeBan(&list[i])
		out = append(out, b)
		whom, until := b.Prefix, "removed"
		if b.Miner != "" {
			whom = b.Miner + " (" + b.Network + ")"
		}
		if b.Until != nil {
			until = moment(*b.Until)
		}
		if b.Over {
			until += " (over)"
		}
		rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s", b.ID, whom, until, moment(b.MadeAt), oneLine(b.Who, 40), oneLine(b.Why, 100)))
	}
	return printList(a, asJSON, out, "nobody is banned", "ID\tWHO IS BANNED\tUNTIL\tSINCE\tBY\tWHY", rows)
}

type banAddCmd struct {
	configFlag
	Network string        `help:"The miner's network, where the address stands on several."`
	For     time.Duration `placeholder:"DURATION" help:"How long, such as 24h; without it until it is removed."`
	Reason  string        `required:"" help:"Why, for the audit log."`
	JSON    bool          `help:"Print all bans as JSON."`
	Whom    string        `arg:"" help:"An IP address, a network such as 198.51.100.0/24, or a miner's address or MINERGUID."`
}

// Help is printed below the flags.
func (c *banAddCmd) Help() string {
	return `Every frontend applies it within seconds, also to connections that are open. What the miner has earned stays his. An IPv6
address stands for itself alone here; ban its /64 to ban a customer.`
}

func (c *banAddCmd) Run(a *app) error {
	ban := ledger.Ban{}
	if c.For < 0 {
		return fmt.Errorf("--for %v: a ban lasts for a while, such as 24h", c.For)
	}
	if c.For > 0 {
		ban.Until = time.Now().Add(c.For)
	}
	if ip, err := netip.ParseAddr(c.Whom); err == nil {
		ip = ip.Unmap().WithZone("")
		ban.Prefix = netip.PrefixFrom(ip, ip.BitLen())
	} else if prefix, err := netip.ParsePrefix(c.Whom); err == nil {
		if ban.Prefix, err = bannable(prefix); err != nil {
			return err
		}
	}
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		if !ban.Prefix.IsValid() {
			m, err := oneMiner(a, store, c.Whom, c.Network)
			if err != nil {
				return fmt.Errorf("%w; and it is no IP address and no network such as 198.51.100.0/24", err)
			}
			ban.MinerID = m.ID
		}
		if _, err := store.AddBan(a.ctx, ban, ledger.Reason{Who: operator(a), Why: c.Reason}); err != nil {
			return err
		}
		return printBans(a, store, c.JSON)
	})
}

// bannable refuses networks that are half the internet: a slip of the finger.
func bannable(p netip.Prefix) (netip.Prefix, error) {
	least := 8
	if p.Addr().Is6() {
		least = 16
	}
	if p.Bits() < least {
		return p, fmt.Errorf("%s is more than a ban is for: at least /%d", p, least)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits beyond its length: say %s for the network, or %s for the one address", p, p.Masked(), p.Addr())
	}
	return p, nil
}

type banRemoveCmd struct {
	configFlag
	Reason string `help:"Why, for the audit log."`
	JSON   bool   `help:"Print the bans that are left as JSON."`
	ID     int64  `arg:"" help:"The ban's number (purepool admin ban list)."`
}

func (c *banRemoveCmd) Run(a *app) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		err := store.RemoveBan(a.ctx, c.ID, ledger.Reason{Who: operator(a), Why: c.Reason})
		if errors.Is(err, ledger.ErrNoSuchBan) {
			return fmt.Errorf("%w (purepool admin ban list)", err)
		}
		if err != nil {
			return err
		}
		return printBans(a, store, c.JSON)
	})
}
