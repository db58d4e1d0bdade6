package house

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"purepool/internal/testkit"
)

var build = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("PUREPOOL_BINARY"); binary != "" {
		// Looking at the file lets go test know when a kept result is stale. The
		// program itself knows no such key and would refuse it.
		_, err := os.Stat(binary)
		return binary, errors.Join(err, os.Unsetenv("PUREPOOL_BINARY"))
	}
	dir, err := testkit.Folder()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "purepool")
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
