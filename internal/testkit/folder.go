package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Main runs the tests of a package and removes Folder in the end. The package's
// TestMain exits with the code that Main returns.
func Main(m *testing.M) int {
	if err := os.MkdirAll(folder(), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := os.RemoveAll(folder()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Folder is for what is made once for all tests of a package, such as a program.
func Folder() (string, error) {
	if _, err := os.Stat(folder()); err != nil {
		return "", fmt.Errorf("the package's TestMain has to call testkit.Main, which removes the folder in the end: %w", err)
	}
	return folder(), nil
}

func folder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("purepool-test-%d", os.Getpid()))
}
