package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	manifestName = "manifest.json"
	// formatVersion is that of the folder's layout.
	formatVersion = 1
)

// The kinds of backups.
const (
	// KindDump: the ledger as pg_dump writes it; restored into an empty database of
	// the same or a newer Postgres.
	KindDump = "dump"
	// KindBase: the whole server as pg_basebackup writes it; the ground of recovery
	// to a point in time.
	KindBase = "base"
)

var (
	// ErrDamaged: a file is missing, changed or too much.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrNoBackup: the folder holds no whole backup.
	ErrNoBackup = errors.New("the folder holds no whole backup")
)

// Manifest says what a backup holds.
type Manifest struct {
	Format   int            `json:"format"`
	Kind     string         `json:"kind"`
	Version  string         `json:"purepool"` // of the program that made it
	Begun    time.Time      `json:"begun"`    // nothing older is missing
	Done     time.Time      `json:"done"`
	Networks []string       `json:"networks"`
	Queue    map[string]int `json:"queue_envelopes"` // by network
	NoQueue  bool           `json:"queue_left_out,omitempty"`
	Letters  int            `json:"dead_letters"`
	Files    []File         `json:"files"`
}

// File is one file of a backup.
type File struct {
	Path   string `json:"path"` // slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() (total int64) {
	for i := range m.Files {
		total += m.Files[i].Bytes
	}
	return total
}

// has reports whether there are files below a folder.
func (m *Manifest) has(folder string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return strings.HasPrefix(f.Path, folder+"/") })
}

// list describes every file below root but the manifest.
func list(root string) (files []File, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == manifestName {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is no plain file", name)
		}
		f, err := describe(path)
		f.Path = filepath.ToSlash(name)
		files = append(files, f)
		return err
	})
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}

func describe(path string) (File, error) {
	in, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	return File{Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// seal writes the manifest of a finished folder.
func (m *Manifest) seal(root string) (err error) {
	if m.Files, err = list(root); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(root, manifestName), append(text, '\n'))
}

// Verify reads the manifest of a backup and holds every file against it:
// ErrNoBackup, ErrDamaged.
func Verify(root string) (Manifest, error) {
	text, err := os.ReadFile(filepath.Join(root, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("%s: %w", root, ErrNoBackup)
	}
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%s: the manifest cannot be read: %w", root, errors.Join(ErrDamaged, err))
	}
	if m.Format != formatVersion {
		return m, fmt.Errorf("%s has format %d, this program reads %d: use the version that made it", root, m.Format, formatVersion)
	}
	found, err := list(root)
	if err != nil {
		return m, err
	}
	for i := range max(len(found), len(m.Files)) {
		switch {
		case i >= len(found) || i < len(m.Files) && m.Files[i].Path < found[i].Path:
			return m, fmt.Errorf("%s is missing: %w", m.Files[i].Path, ErrDamaged)
		case i >= len(m.Files) || found[i].Path < m.Files[i].Path:
			return m, fmt.Errorf("%s is no part of the backup: %w", found[i].Path, ErrDamaged)
		case found[i] != m.Files[i]:
			return m, fmt.Errorf("%s was changed: %w", found[i].Path, ErrDamaged)
		}
	}
	return m, nil
}

// writeFile writes a small file that is on disk when it returns.
func writeFile(path string, content []byte) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.Write(content); err != nil {
		return err
	}
	return out.Sync()
}
