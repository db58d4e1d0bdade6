package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pollEvery is how often a state that nobody announces is looked at again.
const pollEvery = 20 * time.Millisecond

// clearLeftover ends a server that an earlier process left running on this
// folder, and removes the pid and lock files of one that is gone. The caller
// holds the folder's lock, so nobody else has a claim on that server.
func (c *Cluster) clearLeftover(ctx context.Context) error {
	pidFile := filepath.Join(c.dataDir, "postmaster.pid")
	pid := firstLinePID(pidFile)
	if pid > 0 && isServerOf(ctx, pid, c.dataDir) {
		c.log.Info("stopping a database server left behind", slog.Int("pid", pid), slog.String("dir", c.opts.Dir))
		if err := endForeign(ctx, pid, c.dataDir); err != nil {
			return err
		}
	}
	// Postgres clears stale files itself, unless their pid is in use again by
	// another process of the same user, or by one that nobody has reaped.
	for _, name := range []string{pidFile, c.socketPath() + ".lock", c.socketPath()} {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove stale %s: %w", name, err)
		}
	}
	return nil
}

// endForeign stops a server that is not our child: fast, then immediately, then
// by force. Every one of them is safe for the data.
func endForeign(ctx context.Context, pid int, dataDir string) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the server left behind (pid %d): %w", pid, err)
		}
		deadline := time.Now().Add(step.wait)
		for time.Now().Before(deadline) {
			if !isServerOf(ctx, pid, dataDir) {
				return nil
			}
			if err := pause(ctx, pollEvery); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the server left behind (pid %d) does not end", pid)
}

// isServerOf says whether a live process is a Postgres server on that folder.
// A server's working directory is its data folder; a zombie has none.
func isServerOf(ctx context.Context, pid int, dataDir string) bool {
	if _, err := os.Stat("/proc/self"); err == nil {
		cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
		return err == nil && sameFolder(cwd, dataDir)
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), dataDir)
}

func sameFolder(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// firstLinePID reads the process id from a pid file; 0 where there is none.
func firstLinePID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
