package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"purepool/pool/queue"
)

// Target is where a backup is put back.
type Target struct {
	DSN      string // of an empty database that was prepared (ledger.PrepareRestore), without the password
	Password string
	SpoolDir string
	StateDir string
}

// CheckTarget says why a backup cannot be put back there, before anything was
// touched: folders that hold something are never written over.
func CheckTarget(root string, m *Manifest, t *Target) error {
	if m.Kind != KindDump {
		return fmt.Errorf("%s is a copy of the server's files: put it back as docs/BACKUP.md says (recovery to a point in time)", root)
	}
	for _, f := range []struct{ from, to, key string }{
		{folderSpool, t.SpoolDir, "queue.spool_dir"},
		{folderState, t.StateDir, "backend.state_dir"},
	} {
		if !m.has(f.from) {
			continue
		}
		if f.to == "" {
			return fmt.Errorf("the backup holds files of %s, which this configuration does not name", f.key)
		}
		if busy, err := holdsFiles(f.to); err != nil {
			return err
		} else if busy {
			return fmt.Errorf("%s (%s) holds files: move them away first, nothing is written over", f.to, f.key)
		}
	}
	return nil
}

func holdsFiles(folder string) (found bool, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !entry.IsDir() && entry.Name() != "lock" {
			found = true
			return fs.SkipAll
		}
		return err
	})
	return found, err
}

// RestoreDatabase puts the ledger back into a prepared database.
func RestoreDatabase(ctx context.Context, root string, t *Target) error {
	return run(ctx, t.Password, "pg_restore", "--dbname="+t.DSN, "--exit-on-error", "--jobs=2", "--no-password", filepath.Join(root, folderDatabase))
}

// RestoreFiles puts the spool and the backend's state back.
func RestoreFiles(root string, m *Manifest, t *Target) error {
	if m.has(folderSpool) {
		if err := copyTree(filepath.Join(root, folderSpool), t.SpoolDir); err != nil {
			return fmt.Errorf("the spool: %w", err)
		}
	}
	if m.has(folderState) {
		if err := copyTree(filepath.Join(root, folderState), t.StateDir); err != nil {
			return fmt.Errorf("the state of the backend: %w", err)
		}
	}
	return nil
}

// Publisher takes envelopes back.
type Publisher interface {
	PutBack(ctx context.Context, network string, envelope []byte) error
}

// LetterBox takes dead letters back.
type LetterBox interface {
	Add(ctx context.Context, l queue.DeadLetter) error
}

// maxEnvelope is more than any envelope has.
const maxEnvelope = 64 << 20

// RestoreQueue puts the broker's backlog and the dead letters back, and returns
// how many envelopes.
func RestoreQueue(ctx context.Context, root string, m *Manifest, to Publisher, box LetterBox) (n int, err error) {
	for network, want := range m.Queue {
		put, err := putBack(ctx, filepath.Join(root, folderQueue, network+".envelopes"), network, to)
		n += put
		if err != nil {
			return n, fmt.Errorf("the queue of %s: %w", network, err)
		}
		if put != want {
			return n, fmt.Errorf("the queue of %s: %d envelopes of %d: %w", network, put, want, ErrDamaged)
		}
	}
	names, err := filepath.Glob(filepath.Join(root, folderLetters, "*.json"))
	if err != nil {
		return n, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return n, err
		}
		var l queue.DeadLetter
		if err := json.Unmarshal(text, &l); err != nil {
			return n, fmt.Errorf("dead letter %s: %w", strings.TrimSuffix(filepath.Base(name), ".json"), err)
		}
		if err := box.Add(ctx, l); err != nil {
			return n, err
		}
	}
	return n, nil
}

func putBack(ctx context.Context, path, network string, to Publisher) (n int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	buffered := bufio.NewReader(in)
	for {
		var head [4]byte
		switch _, err := io.ReadFull(buffered, head[:]); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
		length := binary.LittleEndian.Uint32(head[:])
		if length > maxEnvelope {
			return n, fmt.Errorf("an envelope of %d bytes: %w", length, ErrDamaged)
		}
		envelope := make([]byte, length)
		if _, err := io.ReadFull(buffered, envelope); err != nil {
			return n, err
		}
		if err := to.PutBack(ctx, network, envelope); err != nil {
			return n, err
		}
		n++
	}
}
