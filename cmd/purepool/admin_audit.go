package main

import (
	"errors"
	"fmt"

	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/settle"
)

type auditCmd struct {
	bookFlags
	SkipShares bool `help:"Do not count the shares, which reads all that are kept."`
	BooksOnly  bool `help:"Do not ask the wallet."`
}

// Help is printed below the flags.
func (c *auditCmd) Help() string {
	return `Proves that every entry is balanced, that every balance equals its entries, that every credited share counts in one round,
that blocks and payments stand in the books as they are, and compares what is owed with the wallet.
Exit code 1 where anything is wrong, or the wallet does not answer: then nothing is proved.`
}

func (c *auditCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		var audits []settle.Audit
		for _, name := range room.networks() {
			auditor, err := c.auditor(room, name)
			if err != nil {
				return err
			}
			audit, err := auditor.Audit(a.ctx)
			if err != nil {
				return err
			}
			audits = append(audits, audit)
		}
		if c.JSON {
			if err := printJSON(a.stdout, audits); err != nil {
				return err
			}
		}
		var errs []error
		for i := range audits {
			if !c.JSON {
				role.WriteAudit(a.stdout, &audits[i])
			}
			if !audits[i].Clean {
				errs = append(errs, fmt.Errorf("network %s: %w", audits[i].Network, role.ErrNotClean))
			}
		}
		return errors.Join(errs...)
	})
}

func (c *auditCmd) auditor(room *bookRoom, network string) (*settle.Auditor, error) {
	if c.BooksOnly {
		opts := ledger.AuditOptions{SharesKept: room.cfg.Backend.KeepShares, SkipShares: c.SkipShares}
		return settle.NewAuditor(network, room.ids[network], room.books, nil, opts, nil), nil
	}
	s, err := room.settlement(network, role.SettlementOptions{SkipShares: c.SkipShares})
	if err != nil {
		return nil, fmt.Errorf("%w (--books-only leaves the wallet alone)", err)
	}
	return s.Auditor, nil
}
