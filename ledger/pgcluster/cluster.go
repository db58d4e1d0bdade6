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
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/lib/pq"
)

// Superuser is the name of the cluster's superuser.
const Superuser = "postgres"

// maxSocketPath is below the 104 (macOS) and 108 (Linux) bytes of sun_path.
const maxSocketPath = 100

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
