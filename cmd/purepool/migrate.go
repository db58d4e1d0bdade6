package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"purepool/internal/config"
	"purepool/ledger"
)

type migrateCmd struct {
	configFlag
	JSON bool `help:"Print the result as JSON."`
}

// Help is printed below the flags.
func (c *migrateCmd) Help() string {
	return `Logs in with database.owner_dsn, whose user must be a superuser or own the database and have CREATEROLE. Makes or
updates the tables, the roles purepool_frontend, purepool_backend and purepool_web with exactly the rights they need
(passwords are those in their connections), and the networks of the configuration. May be run again at any time, also
while the pool runs; never goes back to an older version.`
}

func (c *migrateCmd) Run(a *app) error {
	cfg, log, err := c.load(a, config.RoleMigrate)
	if err != nil {
		return err
	}
	opts, networks := migrateOptions(cfg), slices.Sorted(maps.Keys(cfg.Network))
	log.Info("migrating the database")
	begun := time.Now()
	if err := ledger.Migrate(a.ctx, cfg.Database.OwnerDSN.Value(), opts); err != nil {
		return err
	}
	took := time.Since(begun).Round(time.Millisecond)
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(map[string]any{"networks": networks, "milliseconds": took.Milliseconds()})
	}
	fmt.Fprintf(a.stdout, "the database is up to date: tables, roles and grants; networks: %s (%v)\n", orNone(networks), took)
	return nil
}

// migrateOptions are the networks and the roles' passwords of a configuration.
func migrateOptions(cfg *config.Config) ledger.MigrateOptions {
	opts := ledger.MigrateOptions{
		FrontendPassword: config.DSNPassword(cfg.Database.FrontendDSN.Value()),
		BackendPassword:  config.DSNPassword(cfg.Database.BackendDSN.Value()),
		WebPassword:      config.DSNPassword(cfg.Database.WebDSN.Value()),
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Network)) {
		opts.Networks = append(opts.Networks, ledger.NetworkSeed{Name: name})
	}
	return opts
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none configured"
	}
	return strings.Join(words, ", ")
}
