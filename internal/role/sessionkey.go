package role

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// sessionKeySize is the length of the secret with which a frontend knows its
// miners' sessions again, in bytes.
const sessionKeySize = 32

// sessionKey reads the frontend's secret from a file, and makes both where there
// is none. Whoever has it can claim another miner's search space, which is worth
// nothing but a place to do the same work twice.
//
// Without a spool there is no folder to keep it in (the name has none then): the
// key lasts as long as the process.
func sessionKey(name string) ([]byte, error) {
	if filepath.Dir(name) == "." {
		key := make([]byte, sessionKeySize)
		_, _ = rand.Read(key) // never fails
		return key, nil
	}
	key, err := os.ReadFile(name)
	switch {
	case err == nil && len(key) == sessionKeySize:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s holds %d bytes, a key of sessions has %d: remove it, and a new one is made", name, len(key), sessionKeySize)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading the key of sessions: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("making a key of sessions: %w", err)
	}
	key = make([]byte, sessionKeySize)
	_, _ = rand.Read(key) // never fails
	// There in full or not at all; a second process that comes first wins.
	f, err := os.CreateTemp(filepath.Dir(name), ".session-key-*")
	if err == nil {
		_, err = f.Write(key)
		if errClose := f.Close(); err == nil {
			err = errClose
		}
		if err == nil {
			err = os.Link(f.Name(), name)
		}
		_ = os.Remove(f.Name())
	}
	if errors.Is(err, fs.ErrExist) {
		return sessionKey(name)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key of sessions: %w", err)
	}
	return key, nil
}
