package pgcluster_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"purepool/ledger/pgcluster"
)

// helperDir is set in the environment of the process that is going to be
// killed: this test binary once more.
const helperDir = "PGCLUSTER_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		os.Exit(helperProcess(dir))
	}
	os.Exit(m.Run())
}

// helperProcess has a cluster open until it is killed.
func helperProcess(dir string) int {
	_, err := pgcluster.Start(context.Background(), pgcluster.Options{
		Dir: dir, Fast: true, ThrowAway: os.Getenv("PGCLUSTER_TEST_THROW_AWAY") != "",
	})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("ready")
	select {}
}

// startHelper returns the running helper, once its cluster answers.
func startHelper(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helperDir+"="+dir), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("helper said %q (%v)", line, err)
	}
	return cmd
}

// openFolder is a temp folder that the server's user may enter, which the
// testing package's own are not; in memory where there is such a folder, since
// making a cluster is making a thousand files.
func openFolder(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if info, err := os.Stat(base); err != nil || info.Mode().Perm() != 0o777 {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "pgcluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, opts pgcluster.Options) *pgcluster.Cluster {
	t.Helper()
	c, err := pgcluster.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.StopImmediate() })
	return c
}

func query(t *testing.T, c *pgcluster.Cluster, stmt string) string {
	t.Helper()
	text, err := tryQuery(c, stmt)
	if err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
	return text
}

func tryQuery(c *pgcluster.Cluster, stmt string) (string, error) {
	db, err := sql.Open("postgres", c.DSN(pgcluster.Superuser, "postgres"))
	if err != nil {
		return "", err
	}
	defer db.Close()
	var text sql.NullString
	err = db.QueryRow(stmt).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return text.String, err
}

func postmasterPID(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestClusterIsPrivateAndDurable(t *testing.T) {
	c := start(t, pgcluster.Options{Dir: filepath.Join(openFolder(t), "pg")})
	for setting, want := range map[string]string{
		"listen_addresses": "", "fsync": "on", "full_page_writes": "on", "data_checksums": "on",
		"server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC", "synchronous_commit": "on",
	} {
		if got := query(t, c, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	info, err := os.Stat(c.Host())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is %v (%v), want mode 0700", info.Mode(), err)
	}
}

func TestSecondStartContinuesWithTheData(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	if err := c.EnsureDatabase(t.Context(), "pool's own"); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureDatabase(t.Context(), "pool's own"); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatalf("stopping twice: %v", err)
	}
	if err := c.Restart(t.Context()); !errors.Is(err, pgcluster.ErrStopped) {
		t.Fatalf("restart after stop: %v", err)
	}
	c = start(t, pgcluster.Options{Dir: dir, Fast: true, Settings: map[string]string{"work_mem": "5MB"}})
	if got := query(t, c, "SELECT count(*) FROM pg_database WHERE datname = 'pool''s own'"); got != "1" {
		t.Fatalf("databases found: %s", got)
	}
	if got := query(t, c, "SHOW work_mem"); got != "5MB" {
		t.Fatalf("work_mem is %s", got)
	}
}

func TestCommittedRowsSurviveEveryKindOfEnd(t *testing.T) {
	c := start(t, pgcluster.Options{Dir: filepath.Join(openFolder(t), "pg")})
	query(t, c, "CREATE TABLE kept (n int)")
	for i, end := range []func() error{
		c.Kill,
		func() error { return c.Halt(t.Context()) },
		func() error { return syscall.Kill(postmasterPID(t, c.Dir()), syscall.SIGKILL) }, // behind our back
		func() error { return nil },                                                      // Restart of a running server
	} {
		query(t, c, "INSERT INTO kept VALUES (1)")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(t.Context()); err != nil {
			t.Fatalf("restart %d: %v", i, err)
		}
		if got := query(t, c, "SELECT count(*) FROM kept"); got != strconv.Itoa(i+1) {
			t.Fatalf("after end %d: %s rows", i, got)
		}
	}
}

func TestServerDoesNotOutliveAKilledProcess(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	helper := startHelper(t, dir)
	pid := postmasterPID(t, dir)
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server ends", func() bool { return !running(pid) })
	start(t, pgcluster.Options{Dir: dir, Fast: true})
}

func TestThrowAwayFolderGoesWithAKilledProcess(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	// A temp folder's user may remove it only if its parent is his or open.
	if err := os.Chmod(filepath.Dir(dir), 0o777); err != nil {
		t.Fatal(err)
	}
	helper := startHelper(t, dir, "PGCLUSTER_TEST_THROW_AWAY=1")
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the folder is removed", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
}

func TestServerLeftBehindIsReplaced(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	helper := startHelper(t, dir)
	pid := postmasterPID(t, dir)
	// The whole family dies but the server: the watchdog first.
	for _, child := range childrenOf(t, helper.Process.Pid) {
		if child != pid {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	}
	_ = helper.Process.Kill()
	_ = helper.Wait()
	if !running(pid) {
		t.Fatal("the server is gone already: nothing left behind to test with")
	}
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	if now := postmasterPID(t, dir); now == pid {
		t.Fatalf("still process %d", pid)
	}
	query(t, c, "SELECT 1")
}

func TestStalePidFileOfAReusedProcessIDIsNoObstacle(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	pidFile := filepath.Join(dir, "data", "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.StopImmediate(); err != nil {
		t.Fatal(err)
	}
	// Another process of the server's user now has the number in the file.
	other := exec.Command("sleep", "60")
	other.SysProcAttr = serverUser(t)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n%s", other.Process.Pid, rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(pidFile, int(other.SysProcAttr.Credential.Uid), int(other.SysProcAttr.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	c = start(t, pgcluster.Options{Dir: dir, Fast: true})
	query(t, c, "SELECT 1")
	if !running(other.Process.Pid) {
		t.Fatal("a process that has nothing to do with it was ended")
	}
}

func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, pgcluster.Options{Dir: dir, Fast: true})
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := filepath.Join(openFolder(t), "pg")
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	if _, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: dir}); !errors.Is(err, pgcluster.ErrInUse) {
		t.Fatalf("second start: %v", err)
	}
	query(t, c, "SELECT 1")
}

func TestSomebodysFolderIsNotTakenOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: dir}); !errors.Is(err, pgcluster.ErrNotACluster) {
		t.Fatalf("start: %v", err)
	}
}

func TestLongPathGetsAShortSocket(t *testing.T) {
	dir := filepath.Join(openFolder(t), strings.Repeat("long", 25))
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	first := c.Host()
	if strings.HasPrefix(first, dir) {
		t.Fatalf("socket in %s", first)
	}
	query(t, c, "SELECT 1")
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = start(t, pgcluster.Options{Dir: dir, Fast: true})
	if c.Host() != first {
		t.Fatalf("second start uses %s, first %s", c.Host(), first)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Fatalf("the socket's folder is left: %v", err)
	}
}

func TestSocketFolderOfSomebodyElseIsNotUsed(t *testing.T) {
	dir := filepath.Join(openFolder(t), strings.Repeat("long", 25))
	c := start(t, pgcluster.Options{Dir: dir, Fast: true})
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), c.Host()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(c.Host()) })
	if _, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "belongs to somebody else") {
		t.Fatalf("start: %v", err)
	}
}

func TestClosedFolderIsExplained(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only a server of root runs as another user, who can be locked out")
	}
	closed := filepath.Join(openFolder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: filepath.Join(closed, "pg")})
	if !errors.Is(err, pgcluster.ErrUnreachable) || !strings.Contains(err.Error(), "chmod o+x "+closed+"\"") {
		t.Fatalf("start: %v", err)
	}
}

func TestBadSettingIsReportedWithTheServersWords(t *testing.T) {
	_, err := pgcluster.Start(t.Context(), pgcluster.Options{
		Dir: filepath.Join(openFolder(t), "pg"), Fast: true, Settings: map[string]string{"no_such_setting": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Fatalf("start: %v", err)
	}
}

func TestMissingBinariesAreExplained(t *testing.T) {
	_, err := pgcluster.Start(t.Context(), pgcluster.Options{Dir: filepath.Join(openFolder(t), "pg"), BinDir: t.TempDir()})
	if !errors.Is(err, pgcluster.ErrNoBinaries) {
		t.Fatalf("start: %v", err)
	}
}

func running(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(state), ") ")
	return !strings.HasPrefix(rest, "Z") // a zombie has ended, whoever reaps it
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var children []int
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children
}

// serverUser returns what runs a process as the server's user.
func serverUser(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
	}
	t.Fatal("no user postgres or nobody")
	return nil
}
