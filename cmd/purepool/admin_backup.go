package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"purepool/internal/backup"
	"purepool/internal/config"
	"purepool/internal/control"
	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/queue"
)

type backupCmd struct {
	configFlag
	Dir          string `arg:"" help:"Folder to make; it must not be there, or be empty."`
	Base         bool   `help:"Copy the whole Postgres server (pg_basebackup), as the ground of recovery to a point in time, instead of the ledger alone (pg_dump)."`
	WithoutQueue bool   `help:"Leave the broker out: RabbitMQ shows nothing without giving it away, and keeps its own."`
	Verify       bool   `help:"Check a backup that is there, and make none."`
	JSON         bool   `help:"Print as JSON."`
}

// Help is printed below the flags.
func (c *backupCmd) Help() string {
	return `May run while the pool runs. Copies in the order in which shares travel: spool, queue and dead letters, the journal of found
blocks, the database (as database.owner_dsn, by Postgres' own programs), and seals them with a manifest of checksums. A
folder that holds something is never written over. The wallet is not in it: back wallet.dat up by the daemon's own
backupwallet. docs/BACKUP.md tells how to restore, and how to recover to a point in time.`
}

// loadAsOwner loads the configuration twice: as that of the database's owner, and as
// the operator's, which knows the rest.
func (c configFlag) loadAsOwner(a *app) (owner, cfg *config.Config, log *slog.Logger, err error) {
	if owner, _, err = c.load(a, config.RoleMigrate); err != nil {
		return nil, nil, nil, err
	}
	cfg, log, err = c.load(a, config.RoleAdmin)
	return owner, cfg, log, err
}

func (c *backupCmd) Run(a *app) error {
	if c.Verify {
		m, err := backup.Verify(c.Dir)
		if err != nil {
			return err
		}
		return c.print(a, &m, "is whole")
	}
	owner, cfg, log, err := c.loadAsOwner(a)
	if err != nil {
		return err
	}
	opts := backup.Options{
		Dir: c.Dir, Kind: backup.KindDump, Networks: slices.Sorted(maps.Keys(cfg.Network)), SpoolDir: string(cfg.Queue.SpoolDir),
		StateDir: string(cfg.Backend.StateDir), Version: version(), Logger: log,
	}
	if c.Base {
		opts.Kind = backup.KindBase
	}
	opts.DSN, opts.Password = config.SplitDSN(owner.Database.OwnerDSN.Value())
	var m backup.Manifest
	make := func(b brokerRoom) (err error) {
		if !c.WithoutQueue {
			opts.Queue, opts.Letters = b.queue, b.letters
		}
		m, err = backup.Make(a.ctx, opts)
		return err
	}
	if c.WithoutQueue {
		err = make(brokerRoom{})
	} else {
		err = withAnyBroker(a.ctx, cfg, log, make)
	}
	if errors.Is(err, queue.ErrCannotCopy) {
		err = fmt.Errorf("%w: leave it out with --without-queue, and keep its data folder or a mirror of the queue (docs/BACKUP.md)", err)
	}
	if err != nil {
		return err
	}
	return c.print(a, &m, "made")
}

// withAnyBroker is withBroker, and opens an embedded broker that no process has
// open.
func withAnyBroker(ctx context.Context, cfg *config.Config, log *slog.Logger, do func(brokerRoom) error) error {
	err := withBroker(ctx, cfg, log, do)
	if !errors.Is(err, control.ErrNobody) {
		return err
	}
	return withOwnBroker(ctx, cfg, log, func(b *queue.Broker) error {
		// One that never ran has nothing yet to look at.
		if err := b.Provision(ctx, slices.Sorted(maps.Keys(cfg.Network))...); err != nil {
			return err
		}
		return do(brokerRoom{b, b.DeadLetters()})
	})
}

func (c *backupCmd) print(a *app, m *backup.Manifest, done string) error {
	envelopes := 0
	for _, n := range m.Queue {
		envelopes += n
	}
	if c.JSON {
		return printJSON(a.stdout, map[string]any{
			"folder": c.Dir, "kind": m.Kind, "begun": m.Begun, "done": m.Done, "bytes": m.Bytes(), "files": len(m.Files),
			"networks": m.Networks, "envelopes": envelopes, "dead_letters": m.Letters, "queue_left_out": m.NoQueue, "purepool": m.Version,
		})
	}
	left := ""
	if m.NoQueue {
		left = "; the queue is NOT in it"
	}
	fmt.Fprintf(a.stdout, "backup %s %s: %s of %s, %d files, %d MiB, %s, %s%s\n", c.Dir, done, m.Kind, moment(m.Begun), len(m.Files),
		m.Bytes()>>20, plural(envelopes, "envelope"), plural(m.Letters, "dead letter"), left)
	return nil
}

type restoreCmd struct {
	configFlag
	Dir    string `arg:"" help:"The backup."`
	Reason string `required:"" help:"Why, for the audit log."`
	JSON   bool   `help:"Print as JSON."`
}

// Help is printed below the flags.
func (c *restoreCmd) Help() string {
	return `Into the empty database of database.owner_dsn; nothing that is there is ever written over. Stop every role first. What the
backup has of spool, queue and journals is put back where this configuration says; shares that the ledger has already are
dropped there as known. All payments are held until the books agree with the wallet again: the backend compares them by
itself, and purepool admin payment reconcile does it at once.`
}

func (c *restoreCmd) Run(a *app) error {
	m, err := backup.Verify(c.Dir)
	if err != nil {
		return err
	}
	owner, cfg, log, err := c.loadAsOwner(a)
	if err != nil {
		return err
	}
	if folder, ok := role.Embedded(&cfg.Queue); ok {
		if _, err := control.Dial(a.ctx, folder); err == nil {
			return errors.New("a pool is running with this configuration: stop it first")
		}
	}
	target := backup.Target{SpoolDir: string(cfg.Queue.SpoolDir), StateDir: string(cfg.Backend.StateDir)}
	dsn := owner.Database.OwnerDSN.Value()
	target.DSN, target.Password = config.SplitDSN(dsn)
	if err := backup.CheckTarget(c.Dir, &m, &target); err != nil {
		return err
	}
	begun := time.Now()
	if err := ledger.PrepareRestore(a.ctx, dsn); err != nil {
		return err
	}
	log.Info("restoring the database")
	if err := backup.RestoreDatabase(a.ctx, c.Dir, &target); err != nil {
		return fmt.Errorf("%w; the database holds a part of the backup now: drop it, create it anew and try again", err)
	}
	if err := ledger.FinishRestore(a.ctx, dsn); err != nil {
		return err
	}
	if err := ledger.Migrate(a.ctx, dsn, migrateOptions(owner)); err != nil {
		return err
	}
	err = ledger.MarkRestored(a.ctx, dsn, ledger.Reason{
		Who: operator(a), Why: fmt.Sprintf("restored from a backup of %s: %s", moment(m.Begun), oneLine(c.Reason, 500)),
	})
	if err != nil {
		return err
	}
	envelopes, err := c.rest(a, cfg, log, &m, &target)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(a.stdout, map[string]any{
			"restored": c.Dir, "of": m.Begun, "envelopes": envelopes, "dead_letters": m.Letters, "milliseconds": time.Since(begun).Milliseconds(),
		})
	}
	fmt.Fprintf(a.stdout, "restored the state of %s: the ledger, %s, %s (%v)\nall payments are held until books and wallet agree: purepool admin payment reconcile\n",
		moment(m.Begun), plural(envelopes, "envelope"), plural(m.Letters, "dead letter"), time.Since(begun).Round(time.Millisecond))
	return nil
}

// rest puts back what is not in the database.
func (c *restoreCmd) rest(a *app, cfg *config.Config, log *slog.Logger, m *backup.Manifest, t *backup.Target) (envelopes int, err error) {
	if err := backup.RestoreFiles(c.Dir, m, t); err != nil {
		return 0, err
	}
	if m.NoQueue {
		return 0, nil
	}
	err = withOwnBroker(a.ctx, cfg, log, func(b *queue.Broker) error {
		if err := b.Provision(a.ctx, m.Networks...); err != nil {
			return err
		}
		envelopes, err = backup.RestoreQueue(a.ctx, c.Dir, m, b, b.DeadLetters())
		return err
	})
	return envelopes, err
}
