package failpoint_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"purepool/internal/failpoint"
)

func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_CHILD") != "" {
		p, err := failpoint.FromEnv()
		if err != nil {
			os.Exit(2)
		}
		for range 3 {
			p.Hit("first")
			p.Hit("second")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs a process that passes two points three times, and returns whether
// it was killed and what it passed.
func child(t *testing.T, env ...string) (killed bool, trace string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "FAILPOINT_CHILD=1", failpoint.EnvTrace+"="+file)...)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status, ok := exit.Sys().(syscall.WaitStatus)
		killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	if err != nil && !killed {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return killed, strings.Join(strings.Fields(string(text)), " ")
}

func TestTheProcessDiesAtItsPointAndNowhereElse(t *testing.T) {
	for point, want := range map[string]string{
		"first":    "first",
		"second":   "first second",
		"second#2": "first second first second",
		"third":    "first second first second first second",
	} {
		killed, trace := child(t, failpoint.Env+"="+point)
		if trace != want || killed != (point != "third") {
			t.Errorf("%s: killed %v, passed %s", point, killed, trace)
		}
	}
}

func TestNoPointIsNowhere(t *testing.T) {
	var p *failpoint.Point
	p.Hit("anything")
	t.Setenv(failpoint.Env, "")
	t.Setenv(failpoint.EnvTrace, "")
	if p, err := failpoint.FromEnv(); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	t.Setenv(failpoint.Env, "x#none")
	if _, err := failpoint.FromEnv(); err == nil {
		t.Error("a number that is none was taken")
	}
}
