package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"purepool/internal/config"
	"purepool/ledger"
	"purepool/ledger/importer"
	"purepool/ledger/pgcluster"
)

type importCmd struct {
	configFlag
	From       string   `placeholder:"DSN" env:"PUREPOOL_ORIGINAL_DSN" help:"Connection to the original's Postgres: a postgres:// URL or key=value words. $PUREPOOL_ORIGINAL_DSN keeps a password off the command line."`
	Dump       string   `placeholder:"FILE" help:"Or a dump of it, by pg_dump in any of its formats; it is loaded into a database that is dropped afterwards."`
	Skip       []string `placeholder:"NETWORK" help:"Leave this network out. May be given again."`
	Unfinished bool     `help:"Leave blocks behind that the original has not shared out; their rewards stay with the pool."`
	DryRun     bool     `help:"Do everything, report, and write nothing."`
	Reason     string   `required:"" help:"Why, for the audit log."`
	JSON       bool     `help:"Print the report as JSON; amounts are in satoshis."`
}

// Help is printed below the flags.
func (c *importCmd) Help() string {
	return `Takes over miners with their MINERGUID, workers, what each has earned (as opening entries of the journal) and every payment (as
history), so that each balance is the original's to the satoshi; else nothing. Running it again takes over what has come
since. The original is only read. docs/MIGRATING.md walks through the whole move.
  purepool admin import-original --from "postgres://reader@oldhost/purepool?sslmode=require" --dry-run --reason "the move"`
}

func (c *importCmd) Run(a *app) (err error) {
	if (c.From == "") == (c.Dump == "") {
		return errors.New("say where the original's books are: --from DSN or --dump FILE")
	}
	cfg, _, err := c.load(a, config.RoleAdmin)
	if err != nil {
		return err
	}
	dsn := c.From
	if c.Dump != "" {
		if _, err := os.Stat(c.Dump); err != nil {
			return fmt.Errorf("the dump: %w", err)
		}
		owner, _, err := c.load(a, config.RoleMigrate)
		if err != nil {
			return err
		}
		loaded, drop, failed := loadDump(a.ctx, owner.Database.OwnerDSN.Value(), c.Dump)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, drop()) }()
		dsn = loaded
	}
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		known, err := store.Networks(a.ctx)
		if err != nil {
			return err
		}
		networks := map[string]int16{}
		for name := range cfg.Network {
			if id, ok := known[name]; ok {
				networks[name] = id
			}
		}
		report, err := importer.Run(a.ctx, store.Books(), importer.Options{
			DSN: dsn, Networks: networks, Skip: c.Skip, Unfinished: c.Unfinished, DryRun: c.DryRun,
			By: ledger.Reason{Who: operator(a), Why: c.Reason},
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(a.stdout, report)
		}
		c.print(a, &report)
		return nil
	})
}

func (c *importCmd) print(a *app, r *importer.Report) {
	for _, n := range r.Networks {
		fmt.Fprintf(a.stdout, "network %s: %s (%d new), %s (%d new), %s, %s (%d new)\n", n.Network, plural(n.Miners, "miner"), n.NewMiners,
			plural(n.Workers, "worker"), n.NewWorkers, plural(n.Blocks, "pool block"), plural(n.Payments, "payment"), n.NewPayments)
		fmt.Fprintf(a.stdout, "  earned %s, paid %s, balances %s coins: equal to the original's to the satoshi; opened by this run %s; its newest block is %d\n",
			coins(n.Earned), coins(n.Paid), coins(n.Balances), coins(n.Opened), n.Height)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(a.stdout, "note: %s\n", oneLine(note, 300))
	}
	if r.DryRun {
		fmt.Fprintln(a.stdout, "a dry run: nothing was written")
	}
}

// loadDump loads a dump into a database of its own on the owner's server, and
// returns how to reach it and how to drop it.
func loadDump(ctx context.Context, owner, file string) (dsn string, drop func() error, err error) {
	name := "purepool_import_" + strings.ToLower(rand.Text())
	server, password := config.SplitDSN(owner)
	psql := func(ctx context.Context, target string, args ...string) error {
		return postgresTool(ctx, password, "psql", append([]string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", "--dbname=" + target}, args...)...)
	}
	if err := psql(ctx, server, "--command=CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	drop = func() error {
		// Also where the command was told to stop.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return psql(ctx, server, "--command=DROP DATABASE "+name+" WITH (FORCE)")
	}
	dsn, err = config.DSNWithDatabase(owner, name)
	if err == nil {
		target, _ := config.SplitDSN(dsn)
		// A dump in pg_dump's own formats begins with PGDMP, or is a folder.
		if isArchive(file) {
			err = postgresTool(ctx, password, "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--no-password", "--dbname="+target, file)
		} else {
			err = psql(ctx, target, "--output="+os.DevNull, "--file="+file)
		}
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("loading the dump: %w", err), drop())
	}
	return dsn, drop, nil
}

func isArchive(file string) bool {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return true
	}
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 5)
	n, _ := f.Read(head)
	return string(head[:n]) == "PGDMP"
}

// postgresTool runs one of Postgres' own programs.
func postgresTool(ctx context.Context, password, name string, args ...string) error {
	path, err := pgcluster.FindTool(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // a program of the Postgres installation
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, oneLine(string(out), 500))
	}
	return nil
}
