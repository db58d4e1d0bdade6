package main

import (
	"os"
	"path/filepath"
	"time"

	"purepool/internal/demo"
)

type demoCmd struct {
	Dir        string        `placeholder:"DIR" help:"Folder of everything it keeps (default: /var/lib/purepool-demo for root, else purepool-demo in the user's data folder)."`
	Duration   time.Duration `default:"0s" help:"Stop after this time; 0s: when told, or with --fast after an hour of the pool's life."`
	Fast       bool          `help:"Twenty times the pace: an hour of the pool's life takes three minutes."`
	Miners     int           `default:"6" help:"Simulated miners."`
	Rigs       int           `default:"2" help:"Rigs of each miner."`
	Faults     int           `default:"100" help:"Wrong solutions, of a thousand."`
	Prometheus bool          `help:"Run a Prometheus beside it, with all rules; it must be installed (make demo-full installs it)."`
	Plain      bool          `help:"Write lines where a terminal would get one live screen."`
}

// Help is printed below the flags.
func (c *demoCmd) Help() string {
	return `Needs nothing but Postgres' binaries (make run installs them). Everything listens on loopback. The next start on the same
folder goes on with its data; remove the folder to begin anew. Blocks mature after ten others, so that they are shared out
and paid while one looks on; at the end the books are audited. Exit code 1 where that finds anything.`
}

func (c *demoCmd) Run(a *app) error {
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = demoDir(a); err != nil {
			return err
		}
	}
	return demo.Run(a.ctx, demo.Options{
		Dir: dir, Duration: c.Duration, Fast: c.Fast, Prometheus: c.Prometheus, Miners: c.Miners, Rigs: c.Rigs, FaultPerMille: c.Faults,
		Out: a.stdout, Screen: !c.Plain && isTerminal(a), Version: version(),
	})
}

// demoDir is where the demo lives unless told otherwise. Postgres does not run
// as root: root's database belongs to another user, who cannot enter root's home.
func demoDir(a *app) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/purepool-demo", nil
	}
	data := a.getenv("XDG_DATA_HOME")
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "purepool-demo"), nil
}

// isTerminal reports whether standard output can be drawn on.
func isTerminal(a *app) bool {
	file, ok := a.stdout.(*os.File)
	if !ok || a.getenv("TERM") == "" || a.getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
