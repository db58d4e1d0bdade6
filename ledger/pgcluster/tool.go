package pgcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// FindTool returns the path of one of Postgres' own programs (pg_dump,
// pg_basebackup, pg_restore): that of the newest installed server, since an older
// one refuses to talk to a newer server, else the one in PATH. ErrNoBinaries.
func FindTool(name string) (string, error) {
	for _, dir := range installedBinaries() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (package postgresql-client): %w", name, ErrNoBinaries)
	}
	return path, nil
}
