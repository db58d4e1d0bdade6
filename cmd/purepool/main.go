// Command purepool is the pool: one binary with a subcommand for each role.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"purepool/internal/config"
	"purepool/internal/logging"
)

// Exit codes.
const (
	exitOK     = 0 // done, or stopped as told
	exitFailed = 1 // it did not work, or the configuration has faults
	exitUsage  = 2 // the command line was not understood
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal asks, the second one kills: from then on it is not caught.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands is the command line.
type commands struct {
	Frontend frontendCmd `cmd:"" help:"Serve miners over HTTP: give out work, take shares."`
	Backend  backendCmd  `cmd:"" help:"Judge shares, share blocks out, pay."`
	Web      webCmd      `cmd:"" help:"Serve the pages."`
	All      allCmd      `cmd:"" help:"Play all roles in one process, for one machine."`
	Demo     demoCmd     `cmd:"" help:"Run a whole pool with nothing to configure: its own Postgres, broker, simulated daemon and miners."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the database up to this version: tables, roles, grants, networks."`
	Admin    adminCmd    `cmd:"" help:"Look after miners, blocks, payments, jobs and dead letters; audit the books."`
	Sim      simCmd      `cmd:"" help:"Simulate a coin daemon, miners, a recorded share."`
	Config   configCmd   `cmd:"" help:"Check the configuration, or print an example or the reference."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

const description = `Purepool is a mining pool for BiblePay.

Examples:
  purepool demo                                  a whole pool on this machine, nothing to configure
  purepool config example > purepool.toml        then edit it
  purepool config check --role all purepool.toml
  purepool migrate --config purepool.toml
  purepool all --config purepool.toml

Exit codes: 0 done or stopped as told, 1 failed or the configuration has faults, 2 wrong usage.
A role stops in good order on SIGTERM or Ctrl-C; a second one kills it.`

// app is what every command gets.
type app struct {
	ctx    context.Context //nolint:containedctx // one app is one call of run
	env    []string
	stdout io.Writer
	stderr io.Writer
	by     string // who changes something, where that is not the user of this machine
}

// run is main without the process around it.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	a := &app{ctx: ctx, env: env, stdout: stdout, stderr: stderr}
	var cli commands
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("purepool"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Help(help), kong.Bind(a),
		kong.Vars{"default_config": config.DefaultPath, "config_env": config.EnvFile, "stratumfaults": stratumFaults()},
	)
	if err != nil {
		fmt.Fprintln(stderr, "purepool:", err)
		return exitUsage
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "purepool: %v\nTry: purepool --help\n", err)
		return exitUsage
	}
	if err := command.Run(a); err != nil {
		fmt.Fprintln(stderr, "purepool:", err)
		return exitFailed
	}
	return exitOK
}

// help prints descriptions as they are written, where kong would flow them.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if ctx.Selected() == nil {
		ctx.Model.Help = ""
		fmt.Fprintf(ctx.Stdout, "%s\n\n", description)
	} else if more := ctx.Selected().Detail; more != "" {
		ctx.Selected().Detail = ""
		defer fmt.Fprintf(ctx.Stdout, "\n%s\n", more)
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// env returns a variable of the process's environment.
func (a *app) getenv(name string) string {
	for _, word := range a.env {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			return value
		}
	}
	return ""
}

// configFlag is the flag of every command that needs the configuration.
type configFlag struct {
	ConfigFile string `name:"config" short:"c" placeholder:"FILE" help:"Configuration (default: the file that ${config_env} names, then ${default_config})."`
}

// path is the configuration's path: the flag's, the environment's, the default.
func (c configFlag) path(a *app) string {
	if c.ConfigFile != "" {
		return c.ConfigFile
	}
	if path := a.getenv(config.EnvFile); path != "" {
		return path
	}
	return config.DefaultPath
}

// load reads and checks the configuration for a role. Faults are printed.
func (c configFlag) load(a *app, role config.Role) (*config.Config, *slog.Logger, error) {
	cfg, logs, err := c.loadLogs(a, role)
	if err != nil {
		return nil, nil, err
	}
	return cfg, logs.For(role), nil
}

// loadLogs is load for a process whose log levels can change.
func (c configFlag) loadLogs(a *app, role config.Role) (*config.Config, *logging.Logs, error) {
	path := c.path(a)
	cfg, problems := config.Load(path, a.env, role)
	if n := config.Faults(problems); n > 0 {
		for _, p := range problems {
			fmt.Fprintln(a.stderr, p)
		}
		return nil, nil, fmt.Errorf("the configuration has %s", plural(n, "fault"))
	}
	logs := logging.New(a.stderr, cfg.Log)
	log := logs.For(role)
	for _, p := range problems {
		log.Warn("configuration", slog.String("problem", p.String()))
	}
	return cfg, logs, nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
