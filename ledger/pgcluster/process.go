package pgcluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
)

const (
	// startWithin bounds the wait for a starting server: crash recovery of a
	// busy cluster replays up to max_wal_size.
	startWithin = 2 * time.Minute
	// maxLog is the size at which the log is put aside at start.
	maxLog = 8 << 20
)

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the server has ended and was reaped
}

// start starts the server and waits until it answers. The caller holds c.mu.
func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		logStart, err := c.launch()
		if err != nil {
			return err
		}
		err = c.awaitReady(ctx)
		if err == nil {
			return nil
		}
		c.signalAndWait(syscall.SIGQUIT)
		said := c.logSince(logStart)
		// Sessions of a server that was killed hold its shared memory until
		// they notice, which takes a moment.
		if ctx.Err() == nil && strings.Contains(said, "pre-existing shared memory block") {
			if err := pause(ctx, 5*pollEvery); err != nil {
				return err
			}
			continue
		}
		return fmt.Errorf("%w; the server said: %s", err, lastLines(said, 6))
	}
}

// launch starts the server's process with its watchdog and returns the size of
// the log before.
func (c *Cluster) launch() (int64, error) {
	logFile, err := c.openLog()
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	size, err := logFile.Seek(0, 2)
	if err != nil {
		return 0, err
	}
	// Not the caller's context: that one bounds the start, not the server.
	cmd := c.who.command(context.Background(), c.opts.Dir, filepath.Join(c.binDir, "postgres"), c.serverArgs()...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the server: %w", err)
	}
	guard, err := startWatchdog(c.who, c.opts.Dir, cmd.Process.Pid, c.opts.ThrowAway)
	if err != nil {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		return 0, fmt.Errorf("start the watchdog: %w", err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the server; awaited through p.done
		defer close(p.done)
		_ = cmd.Wait()
		guard.dismiss()
	}()
	c.proc = p
	return size, nil
}

func (c *Cluster) serverArgs() []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": c.sockDir,
		"unix_socket_permissions": "0700",
		"port":                    "5432",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_line_prefix":         "%m [%p] %u@%d ",
		"max_connections":         "200",
	}
	if c.opts.Fast {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	for name, value := range c.opts.Settings {
		settings[name] = value
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	args := []string{"-D", c.dataDir}
	for _, name := range names {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func (c *Cluster) awaitReady(ctx context.Context) error {
	connector, err := pq.NewConnector(c.DSN(Superuser, "postgres") + " connect_timeout=5")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-c.proc.done:
			return errors.New("the server ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pollEvery):
		}
	}
}

// end signals the server and waits until it is gone. The caller holds c.mu.
func (c *Cluster) end(ctx context.Context, signal syscall.Signal) error {
	if c.proc == nil {
		return nil
	}
	_ = c.proc.cmd.Process.Signal(signal)
	select {
	case <-c.proc.done:
		c.proc = nil
		return nil
	case <-ctx.Done():
		c.signalAndWait(syscall.SIGQUIT)
		return fmt.Errorf("pgcluster: stopped immediately: %w", ctx.Err())
	}
}

// signalAndWait ends the server for certain. The caller holds c.mu.
func (c *Cluster) signalAndWait(signal syscall.Signal) {
	if c.proc == nil {
		return
	}
	_ = c.proc.cmd.Process.Signal(signal)
	select {
	case <-c.proc.done:
	case <-time.After(10 * time.Second):
		_ = c.proc.cmd.Process.Kill()
		<-c.proc.done
	}
	c.proc = nil
}

func (c *Cluster) logPath() string { return filepath.Join(c.opts.Dir, "postgres.log") }

// openLog opens the server's log and puts a large one aside.
func (c *Cluster) openLog() (*os.File, error) {
	if info, err := os.Stat(c.logPath()); err == nil && info.Size() > maxLog {
		_ = os.Rename(c.logPath(), c.logPath()+".1")
	}
	return os.OpenFile(c.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

func (c *Cluster) logSince(offset int64) string {
	text, err := os.ReadFile(c.logPath())
	if err != nil || int64(len(text)) < offset {
		return ""
	}
	return string(text[offset:])
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, " | ")
}
