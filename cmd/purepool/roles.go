package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

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
	cfg, logs, err := c.loadLogs(a, r)
	if err != nil {
		return err
	}
	// From here on, so that a process is never killed by it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	return role.Run(a.ctx, role.Options{
		Role: r, Config: cfg, Logs: logs, Version: version(),
		Reload: func(ctx context.Context, apply func(*config.Config)) {
			c.reload(ctx, a, r, logs.For(r), hangups, apply)
		},
	})
}

// reload reads the configuration again at each SIGHUP until ctx ends. One with
// faults changes nothing.
func (c configFlag) reload(ctx context.Context, a *app, r config.Role, log *slog.Logger, hangups <-chan os.Signal, apply func(*config.Config)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		cfg, problems := config.Load(c.path(a), a.env, r)
		for _, p := range problems {
			log.Warn("configuration", slog.String("problem", p.String()))
		}
		if config.Faults(problems) > 0 {
			log.Error("the configuration was not read again: it has faults")
			continue
		}
		apply(cfg)
	}
}
