package main

import (
	"purepool/internal/config"
	"purepool/internal/role"
)

type frontendCmd struct{ configFlag }

func (c *frontendCmd) Run(a *app) error { return c.play(a, config.RoleFrontend) }

// Help is printed below the flags.
func (c *frontendCmd) Help() string {
	return `The role that faces the internet. It reads what it must from the database, may add miners and work, publishes
shares and can do nothing else; it holds no other role's secrets and refuses to start where it can read them.
While the database is away it still takes shares; while the broker is away it spools them.`
}

type backendCmd struct{ configFlag }

func (c *backendCmd) Run(a *app) error { return c.play(a, config.RoleBackend) }

// Help is printed below the flags.
func (c *backendCmd) Help() string {
	return `Any number of backends judge shares side by side. What is away (daemon, database, broker) is waited for.`
}

type webCmd struct{ configFlag }

func (c *webCmd) Run(a *app) error { return c.play(a, config.RoleWeb) }

type allCmd struct{ configFlag }

func (c *allCmd) Run(a *app) error { return c.play(a, config.RoleAll) }

func (c configFlag) play(a *app, r config.Role) error {
	cfg, log, err := c.load(a, r)
	if err != nil {
		return err
	}
	return role.Run(a.ctx, role.Options{Role: r, Config: cfg, Logger: log, Version: version()})
}
