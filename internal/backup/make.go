package backup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"purepool/ledger/pgcluster"
	"purepool/pool/queue"
)

// Broker is what a backup needs of the queue: a broker, or the control socket of
// the process that has it open.
type Broker interface {
	Copy(ctx context.Context, network string, see func(envelope []byte) error) error
}

// Letters are the broker's dead letters.
type Letters interface {
	List(ctx context.Context, network string, limit int) ([]queue.DeadLetter, error)
}

// Options says what is backed up, and where to.
type Options struct {
	Dir      string // must not exist, or be empty
	Kind     string
	DSN      string // of a user who may read everything, without the password
	Password string
	Networks []string
	Queue    Broker // nil: left out
	Letters  Letters
	SpoolDir string // empty: there is none here
	StateDir string // the same
	Version  string
	Logger   *slog.Logger
	Now      func() time.Time
}

// Folders of a backup.
const (
	folderSpool    = "spool"
	folderQueue    = "queue"
	folderLetters  = "deadletters"
	folderState    = "state"
	folderDatabase = "database"
)

// Make writes a backup. A folder that is there is never written over; what fails
// leaves nothing under the folder's name.
func Make(ctx context.Context, opts Options) (m Manifest, err error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return m, err
	}
	if left, err := os.ReadDir(opts.Dir); err == nil && len(left) > 0 {
		return m, fmt.Errorf("%s is not empty: a backup is never written over, name another folder", opts.Dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	half := opts.Dir + ".partial"
	if err := os.Mkdir(half, 0o700); errors.Is(err, fs.ErrExist) {
		return m, fmt.Errorf("%s is there: another backup is under way, or one was broken off (then remove it)", half)
	} else if err != nil {
		return m, err
	}
	m = Manifest{
		Format: formatVersion, Kind: opts.Kind, Version: opts.Version, Begun: opts.Now().UTC().Truncate(time.Second),
		Networks: opts.Networks, Queue: map[string]int{}, NoQueue: opts.Queue == nil,
	}
	if err := fill(ctx, &opts, half, &m); err != nil {
		return m, errors.Join(err, os.RemoveAll(half))
	}
	m.Done = opts.Now().UTC().Truncate(time.Second)
	if err := m.seal(half); err != nil {
		return m, errors.Join(err, os.RemoveAll(half))
	}
	if err := os.Remove(opts.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	return m, os.Rename(half, opts.Dir)
}

// fill copies in the order in which shares travel.
func fill(ctx context.Context, opts *Options, root string, m *Manifest) error {
	if opts.SpoolDir != "" {
		if err := copyTree(opts.SpoolDir, filepath.Join(root, folderSpool)); err != nil {
			return fmt.Errorf("the spool: %w", err)
		}
	}
	letters := map[uuid.UUID]queue.DeadLetter{}
	if opts.Queue != nil {
		// Before and after: a letter that is made or replayed meanwhile is in one.
		if err := gatherLetters(ctx, opts, letters); err != nil {
			return err
		}
		for _, network := range opts.Networks {
			n, err := copyQueue(ctx, opts, filepath.Join(root, folderQueue), network)
			if err != nil {
				return fmt.Errorf("the queue of %s: %w", network, err)
			}
			m.Queue[network] = n
		}
		if err := gatherLetters(ctx, opts, letters); err != nil {
			return err
		}
		if err := writeLetters(filepath.Join(root, folderLetters), letters); err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
	}
	m.Letters = len(letters)
	if opts.StateDir != "" {
		if err := copyTree(opts.StateDir, filepath.Join(root, folderState)); err != nil {
			return fmt.Errorf("the state of the backend: %w", err)
		}
	}
	return copyDatabase(ctx, opts, filepath.Join(root, folderDatabase))
}

func gatherLetters(ctx context.Context, opts *Options, into map[uuid.UUID]queue.DeadLetter) error {
	found, err := opts.Letters.List(ctx, "", 0)
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	for _, l := range found {
		into[l.ID] = l
	}
	return nil
}

func writeLetters(folder string, letters map[uuid.UUID]queue.DeadLetter) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	for id, l := range letters {
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(folder, id.String()+".json"), text); err != nil {
			return err
		}
	}
	return nil
}

// copyQueue writes a network's envelopes one after the other, each behind its
// length (four bytes, little-endian).
func copyQueue(ctx context.Context, opts *Options, folder, network string) (n int, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(filepath.Join(folder, network+".envelopes"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	err = opts.Queue.Copy(ctx, network, func(envelope []byte) error {
		n++
		frame := binary.LittleEndian.AppendUint32(nil, uint32(len(envelope))) //nolint:gosec // bounded by the queue
		_, err := out.Write(append(frame, envelope...))
		return err
	})
	if err != nil {
		return n, err
	}
	return n, out.Sync()
}

// copyTree copies the plain files below a folder, which others may append to
// meanwhile, and may remove: what is gone has moved on to where is looked next. A
// folder that is not there is empty.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case !entry.Type().IsRegular() || entry.Name() == "lock":
			return nil
		}
		if err := copyFile(path, target); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %v", to, err) //nolint:errorlint // that the target is missing must not look as if the source were
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

func copyDatabase(ctx context.Context, opts *Options, folder string) error {
	if opts.Kind == KindBase {
		err := run(ctx, opts.Password, "pg_basebackup", "--dbname="+opts.DSN, "--pgdata="+folder, "--wal-method=stream",
			"--checkpoint=fast", "--no-password")
		if err != nil {
			return err
		}
		return run(ctx, "", "pg_verifybackup", "--quiet", folder)
	}
	return run(ctx, opts.Password, "pg_dump", "--dbname="+opts.DSN, "--format=directory", "--jobs=2", "--schema=purepool",
		"--no-password", "--file="+folder)
}

// run runs one of Postgres' own programs.
func run(ctx context.Context, password, name string, args ...string) error {
	path, err := pgcluster.FindTool(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // a program of the Postgres installation
	cmd.Env = append(os.Environ(), "PGAPPNAME=purepool-backup", "LC_ALL=C")
	if password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLines(string(out)))
	}
	return nil
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(len(lines)-5, 0):], " | ")
}
