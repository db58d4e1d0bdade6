package house

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Main runs the tests of a package whose tests use the program, and removes what
// was built for them. Its TestMain exits with the code that Main returns.
func Main(m *testing.M) int {
	if err := os.MkdirAll(folder(), 0o700); err != nil {
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

// folder is the place of the program that this process builds.
func folder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("purepool-bin-%d", os.Getpid()))
}

var build = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("PUREPOOL_BINARY"); binary != "" {
		// Looking at the file lets go test know when a kept result is stale. The
		// program itself knows no such key and would refuse it.
		_, err := os.Stat(binary)
		return binary, errors.Join(err, os.Unsetenv("PUREPOOL_BINARY"))
	}
	if _, err := os.Stat(folder()); err != nil {
		return "", fmt.Errorf("the package's TestMain has to call house.Main, which removes the program in the end: %w", err)
	}
	binary := filepath.Join(folder(), "purepool")
	out, err := exec.Command("go", "build", "-o", binary, "purepool/cmd/purepool").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building purepool: %w\n%s", err, out)
	}
	return binary, nil
})

// Binary returns the path of the program, built once a test process.
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := build()
	must(t, err)
	return binary
}
