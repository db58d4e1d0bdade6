package pgcluster

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// Superuser is the name of the cluster's superuser.
const Superuser = "postgres"

const (
	// startWithin bounds the wait for a starting server: crash recovery of a
	// busy cluster replays up to max_wal_size.
	startWithin = 2 * time.Minute
	// maxSocketPath is below the 104 (macOS) and 108 (Linux) bytes of sun_path.
	maxSocketPath = 100
	// maxLog is the size at which the log is put aside at start.
	maxLog = 8 << 20
)

var (
	// ErrInUse: another live process has this cluster open.
	ErrInUse = errors.New("the cluster is in use by another process")
	// ErrNotACluster: the folder holds something that is not a cluster's.
	ErrNotACluster = errors.New("the folder is not empty and holds no cluster")
	// ErrStopped: the cluster has been stopped.
	ErrStopped = errors.New("the cluster is stopped")
)

// Options says where and how a cluster runs.
type Options struct {
	// Dir is the cluster's folder; it is made where missing.
	Dir string
	// BinDir holds initdb and postgres; found where empty.
	BinDir string
	// Logger gets what the manager does; nil discards it.
	Logger *slog.Logger
	// Fast gives up durability (fsync and full_page_writes off), for tests that
	// do not look at it. A machine that loses power loses such a cluster.
	Fast bool
	// ThrowAway removes the folder when the server stops or our process ends.
	ThrowAway bool
	// Settings are server settings (postgresql.conf) on top of the defaults.
	Settings map[string]string
}

// Cluster is a running (or stopped) private cluster. Its methods are safe for
// concurrent use.
type Cluster struct {
	opts    Options
	log     *slog.Logger
	who     account
	binDir  string
	dataDir string
	sockDir string
	lock    *os.File

	mu      sync.Mutex // guards what follows, and serialises start and stop
	proc    *process   // nil while stopped
	stopped bool       // Stop was called; the folder's lock is given back
}

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the server has ended and was reaped
}

// Start makes the cluster where it is missing, clears away what a killed
// process left behind, starts the server and waits until it answers.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil || opts.Dir == "" {
		return nil, fmt.Errorf("pgcluster: no folder given: %w", errors.Join(err, os.ErrInvalid))
	}
	opts.Dir = dir
	c := &Cluster{opts: opts, log: opts.Logger, dataDir: filepath.Join(dir, "data")}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.open(ctx); err != nil {
		c.release()
		return nil, fmt.Errorf("pgcluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) open(ctx context.Context) error {
	var err error
	if c.who, err = chooseAccount(c.dataDir); err != nil {
		return err
	}
	if c.binDir, err = findBinaries(ctx, c.opts.BinDir, c.dataDir); err != nil {
		return err
	}
	if err := c.prepareFolders(ctx); err != nil {
		return err
	}
	if err := c.clearLeftover(ctx); err != nil {
		return err
	}
	if err := c.init(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.start(ctx)
}

// prepareFolders makes the folders and takes the folder's lock.
func (c *Cluster) prepareFolders(ctx context.Context) error {
	dir := c.opts.Dir
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	_, errLock := os.Stat(filepath.Join(dir, "lock"))
	_, errData := os.Stat(filepath.Join(c.dataDir, "PG_VERSION"))
	if len(entries) > 0 && errLock != nil && errData != nil {
		// The folder will be given to another user: not somebody's home.
		return fmt.Errorf("%w: %s", ErrNotACluster, dir)
	}
	if err := c.who.own(dir); err != nil {
		return err
	}
	if err := c.who.checkReachable(ctx, dir); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	c.lock = lock
	return c.prepareSocketFolder(ctx)
}

// prepareSocketFolder chooses the socket's folder: run/ in our own, or where
// that makes too long a path one below the temp folder whose name follows from
// ours, so that the next start finds it again.
func (c *Cluster) prepareSocketFolder(ctx context.Context) error {
	c.sockDir = filepath.Join(c.opts.Dir, "run")
	if len(c.socketPath()) <= maxSocketPath {
		return c.who.own(c.sockDir)
	}
	sum := sha256.Sum256([]byte(c.opts.Dir))
	name := "purepool-pg-" + hex.EncodeToString(sum[:8])
	c.sockDir = filepath.Join(os.TempDir(), name)
	if len(c.socketPath()) > maxSocketPath {
		c.sockDir = filepath.Join("/tmp", name)
	}
	// Anybody may write the temp folder: a folder (or link) of that name that
	// is not ours must not be used.
	info, err := os.Lstat(c.sockDir)
	switch {
	case os.IsNotExist(err):
		if err := os.Mkdir(c.sockDir, 0o700); err != nil {
			return err
		}
		if err := c.who.own(c.sockDir); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir() || !c.who.owns(info):
		return fmt.Errorf("socket folder %s belongs to somebody else", c.sockDir)
	case info.Mode().Perm() != 0o700:
		if err := os.Chmod(c.sockDir, 0o700); err != nil {
			return err
		}
	}
	return c.who.checkReachable(ctx, c.sockDir)
}

// init makes the cluster. It is made beside its place and then renamed, so a
// data folder that exists is whole.
func (c *Cluster) init(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dataDir, "PG_VERSION")); err == nil {
		return nil
	}
	half := c.dataDir + ".new"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	args := []string{
		"-D", half, "-U", Superuser, "-A", "trust", "-E", "UTF8", "--locale=C",
		"--data-checksums", "--no-instructions",
	}
	if c.opts.Fast {
		args = append(args, "--no-sync")
	}
	cmd := c.who.command(ctx, c.opts.Dir, filepath.Join(c.binDir, "initdb"), args...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLines(string(out), 5))
	}
	return os.Rename(half, c.dataDir)
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

// DSN returns a connection string for that user and database.
func (c *Cluster) DSN(user, db string) string {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	return fmt.Sprintf("host=%s port=5432 user=%s dbname=%s sslmode=disable", quote(c.sockDir), quote(user), quote(db))
}

// Host is the folder of the socket: what libpq and psql take as host. It is
// run/ in the cluster's folder, or where that path is too long for a socket a
// folder below the temp folder.
func (c *Cluster) Host() string { return c.sockDir }

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.opts.Dir }

func (c *Cluster) socketPath() string { return filepath.Join(c.sockDir, ".s.PGSQL.5432") }

// Done is closed when the server that runs now ends, for whatever reason.
func (c *Cluster) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return c.proc.done
}

// EnsureDatabase creates a database where it is missing.
func (c *Cluster) EnsureDatabase(ctx context.Context, name string) error {
	db, err := sql.Open("postgres", c.DSN(Superuser, "postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	var there bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		return fmt.Errorf("pgcluster: look for database %s: %w", name, err)
	}
	if there {
		return nil
	}
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)); err != nil {
		return fmt.Errorf("pgcluster: create database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server in good order: sessions are ended, everything is
// written. If ctx ends first the server is stopped immediately, which the next
// start recovers from. Stopping twice is no error.
func (c *Cluster) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	defer c.release()
	return c.end(ctx, syscall.SIGINT)
}

// StopImmediate ends the server as a crash would, without a checkpoint. What
// was committed is kept; the next start recovers it.
func (c *Cluster) StopImmediate() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	defer c.release()
	return c.end(context.Background(), syscall.SIGQUIT)
}

// Halt stops the server in good order but keeps the folder: Restart brings it
// back. For tests of an outage.
func (c *Cluster) Halt(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return ErrStopped
	}
	return c.end(ctx, syscall.SIGINT)
}

// Kill ends the server with SIGKILL and keeps the folder: Restart brings it
// back. For tests of a crash.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return ErrStopped
	}
	return c.end(context.Background(), syscall.SIGKILL)
}

// Restart stops the server (if it runs) and starts it again.
func (c *Cluster) Restart(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return ErrStopped
	}
	if err := c.end(ctx, syscall.SIGINT); err != nil {
		return err
	}
	if err := c.clearLeftover(ctx); err != nil {
		return fmt.Errorf("pgcluster: %w", err)
	}
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("pgcluster: %w", err)
	}
	return nil
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

// release gives the folder back.
func (c *Cluster) release() {
	if c.lock == nil {
		return
	}
	if c.sockDir != "" && filepath.Dir(c.sockDir) != c.opts.Dir {
		_ = os.Remove(c.sockDir) // only where it is empty
	}
	if c.opts.ThrowAway {
		if err := os.RemoveAll(c.opts.Dir); err != nil {
			c.log.Warn("removing the cluster's folder failed", slog.String("dir", c.opts.Dir), slog.Any("error", err))
		}
	}
	c.lock.Close() // gives the lock back
	c.lock = nil
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
