package role

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestSessionKeyIsMadeOnceAndKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "sessions.key")
	keys := make([][]byte, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = sessionKey(name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if len(key) != sessionKeySize || !bytes.Equal(key, keys[0]) {
			t.Fatalf("%x, %x", key, keys[0])
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sessionKey(name); err == nil {
		t.Error("half a key is taken")
	}
}

func TestSessionKeyOfAFrontendWithoutASpoolIsKeptNowhere(t *testing.T) {
	t.Chdir(t.TempDir())
	first, err := sessionKey("sessions.key")
	if err != nil || len(first) != sessionKeySize {
		t.Fatalf("%x, %v", first, err)
	}
	if second, err := sessionKey("sessions.key"); err != nil || bytes.Equal(first, second) {
		t.Errorf("%x again, %v", second, err)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
