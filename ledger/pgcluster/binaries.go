package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// ErrNoBinaries: no installed Postgres server was found.
var ErrNoBinaries = errors.New("no Postgres server is installed (initdb and postgres were looked for in /usr/lib/postgresql/*/bin and in PATH); install the package postgresql, or name the folder of the binaries")

// findBinaries returns the folder that holds initdb and postgres. An existing
// cluster decides the major version: no other can open it.
func findBinaries(ctx context.Context, dir, dataDir string) (string, error) {
	if dir != "" {
		if !hasBinaries(dir) {
			return "", fmt.Errorf("folder %s holds no initdb and postgres: %w", dir, ErrNoBinaries)
		}
		return dir, nil
	}
	candidates := installedBinaries()
	if len(candidates) == 0 {
		return "", ErrNoBinaries
	}
	made, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if err != nil {
		return candidates[0], nil //nolint:nilerr // there is no cluster yet: any will do
	}
	want := strings.TrimSpace(string(made))
	for _, c := range candidates {
		if majorOf(ctx, c) == want {
			return c, nil
		}
	}
	return "", fmt.Errorf("the cluster in %s was made by Postgres %s, which is not installed (found: %s)",
		dataDir, want, strings.Join(candidates, ", "))
}

// installedBinaries returns the folders with a server, the newest first, the
// one in PATH last.
func installedBinaries() []string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(found, func(i, j int) bool { return versionOf(found[i]) > versionOf(found[j]) })
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			found = append(found, filepath.Dir(p))
		}
	}
	var usable []string
	for _, dir := range found {
		if hasBinaries(dir) {
			usable = append(usable, dir)
		}
	}
	return usable
}

// versionOf reads the major version out of /usr/lib/postgresql/15/bin.
func versionOf(binDir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(binDir)))
	return n
}

// majorOf asks the server in binDir for its major version; "" if it won't say.
func majorOf(ctx context.Context, binDir string) string {
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version").Output()
	if err != nil {
		return ""
	}
	// "postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"
	_, rest, ok := strings.Cut(string(out), "(PostgreSQL) ")
	if !ok {
		return ""
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return rest
	}
	return rest[:end]
}

func hasBinaries(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}
