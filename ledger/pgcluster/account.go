package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrUnreachable: the user as whom the server runs cannot enter the folder.
var ErrUnreachable = errors.New("folder is closed to the database server's user")

// account is the user as whom the server runs. The zero credential means the
// caller's own.
type account struct {
	name       string
	credential *syscall.Credential
}

// chooseAccount returns the caller's own account, or for root an unprivileged
// one: the owner of an existing cluster, else postgres, else nobody.
func chooseAccount(dataDir string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: strconv.Itoa(os.Geteuid())}, nil
	}
	if info, err := os.Stat(dataDir); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			name := strconv.Itoa(int(st.Uid))
			if u, err := user.LookupId(name); err == nil {
				name = u.Username
			}
			return account{name, &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID != nil || errGID != nil || uid == 0 {
			continue
		}
		return account{name, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("a database server refuses to run as root, and this machine has neither a user postgres nor a user nobody: start as an ordinary user")
}

// command prepares a program that runs as the account, in a process group of
// its own: a Ctrl-C on the terminal is for our process, which then stops the
// server in good order.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: a.credential}
	return cmd
}

// own makes a folder, private to the account.
func (a account) own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	if a.credential == nil {
		return nil
	}
	return os.Chown(dir, int(a.credential.Uid), int(a.credential.Gid))
}

// owns says whether the folder belongs to the account.
func (a account) owns(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	if a.credential == nil {
		return int(st.Uid) == os.Geteuid()
	}
	return st.Uid == a.credential.Uid
}

// checkReachable tries, as the account, to enter and write the folder, and
// names the folder on the way that is closed.
func (a account) checkReachable(ctx context.Context, dir string) error {
	if a.credential == nil {
		return nil // our own folder, just made
	}
	if a.test(ctx, "-w", dir) && a.test(ctx, "-x", dir) {
		return nil
	}
	closed := dir
	for p := filepath.Dir(dir); ; p = filepath.Dir(p) {
		if !a.test(ctx, "-x", p) {
			closed = p
		}
		if p == filepath.Dir(p) {
			break
		}
	}
	return fmt.Errorf("%w: %s cannot enter %s on the way to %s (the server must not run as root): "+
		"run \"chmod o+x %s\", or choose a folder elsewhere, for example below /var/lib",
		ErrUnreachable, a.name, closed, dir, closed)
}

func (a account) test(ctx context.Context, flag, path string) bool {
	return a.command(ctx, "/", "/usr/bin/env", "test", flag, path).Run() == nil
}
