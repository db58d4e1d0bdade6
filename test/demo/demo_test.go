// Package demo tests purepool demo as a person would: started, stopped, started
// again.
package demo

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/test/house"
)

func folder(t *testing.T) string {
	t.Helper()
	// Postgres does not run as root, and its user cannot enter root's folders.
	dir, err := os.MkdirTemp("", "purepool-demo-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "d")
}

// play runs the demo until the condition holds for its output, stops it as
// Ctrl-C does and returns what it printed.
func play(t *testing.T, dir string, until func(printed string) bool, flags ...string) string {
	t.Helper()
	var out testkit.Text
	cmd := exec.Command(house.Binary(t), append([]string{"demo", "--dir", dir}, flags...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(90 * time.Second)
	for !until(out.String()) {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended: %v\n%s", err, out.String())
		case <-deadline:
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("nothing of what was waited for happened:\n%s\n%s", out.String(), logOf(dir))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("Ctrl-C: %v\n%s", err, out.String())
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("Ctrl-C did not stop it:\n%s", out.String())
	}
	return out.String()
}

func logOf(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "purepool.log"))
	return string(text[max(0, len(text)-8<<10):])
}

var counts = regexp.MustCompile(`up=.* credited=(\d+) rejected=(\d+) miners=(\d+) .* unexpected=(\d+) reasons=(.*)`)

// last returns the numbers of the last line of counts.
func last(t *testing.T, printed string) (credited, rejected, miners, unexpected int) {
	t.Helper()
	all := counts.FindAllStringSubmatch(printed, -1)
	if len(all) == 0 {
		return 0, 0, 0, 0
	}
	var n [4]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(all[len(all)-1][i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return n[0], n[1], n[2], n[3]
}

func TestDemoMinesStopsOnCtrlCAndGoesOnWhereItWas(t *testing.T) {
	dir := folder(t)
	health := regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/readyz`)
	asked := false
	first := play(t, dir, func(printed string) bool {
		credited, _, _, _ := last(t, printed)
		if credited < 10 {
			return false
		}
		if !asked {
			asked = true
			base := health.FindStringSubmatch(printed)[1]
			if code, body := house.Get(t, base+"/readyz"); code != http.StatusOK || !strings.Contains(body, "daemon of test: ok") {
				t.Errorf("readyz: %d %s", code, body)
			}
			if _, body := house.Get(t, base+"/metrics"); !strings.Contains(body, "purepool_validate_verdicts_total") {
				t.Error("the metrics do not tell of verdicts")
			}
		}
		return true
	})
	creditedFirst, _, miners, unexpected := last(t, first)
	if miners != 6 || unexpected != 0 {
		t.Errorf("%d miners, %d unexpected answers:\n%s", miners, unexpected, first)
	}
	if !strings.Contains(first, "stopping; ") {
		t.Errorf("no last word:\n%s", first)
	}

	second := play(t, dir, func(printed string) bool {
		credited, _, _, _ := last(t, printed)
		return credited > creditedFirst+5
	})
	start := counts.FindStringSubmatch(second)
	if n, _ := strconv.Atoi(start[1]); n < creditedFirst {
		t.Errorf("the second start began with %d credited shares, the first had ended with %d", n, creditedFirst)
	}
	if _, _, miners, unexpected := last(t, second); miners != 6 || unexpected != 0 {
		t.Errorf("second start: %d miners, %d unexpected answers:\n%s", miners, unexpected, second)
	}
	if log := logOf(dir); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log tells of errors:\n%s", log)
	}
}

var coins = regexp.MustCompile(`shared_out=(\d+) orphaned=\d+ credited_coins=\S+ paid_coins=\S+ payments=(\d+)`)

// paid returns how many blocks were shared out and how many payments were made,
// as the last line says.
func paid(printed string) (sharedOut, payments int) {
	all := coins.FindAllStringSubmatch(printed, -1)
	if len(all) == 0 {
		return 0, 0
	}
	sharedOut, _ = strconv.Atoi(all[len(all)-1][1])
	payments, _ = strconv.Atoi(all[len(all)-1][2])
	return sharedOut, payments
}

func TestFastDemoPaysAndItsBooksAreCleanAlsoAfterARestart(t *testing.T) {
	dir := folder(t)
	before := 0
	for range 2 {
		printed := play(t, dir, func(printed string) bool {
			sharedOut, payments := paid(printed)
			return sharedOut > 1 && payments > before
		}, "--fast")
		if !strings.Contains(printed, "The audit of the books:\nnetwork test at ") || !strings.Contains(printed, " UTC: clean\n") {
			t.Errorf("no clean audit:\n%s", printed)
		}
		_, before = paid(printed)
	}
	if log := logOf(dir); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log tells of errors:\n%s", log)
	}
}

func TestDemoEndsByItselfAfterItsDuration(t *testing.T) {
	dir := folder(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Less than Postgres takes to be made: stopping while starting is no failure.
	for _, duration := range []string{"300ms", "10s"} {
		out, err := exec.CommandContext(ctx, house.Binary(t), "demo", "--dir", dir, "--duration", duration).CombinedOutput()
		if err != nil {
			t.Fatalf("after %s: %v\n%s", duration, err, out)
		}
	}
	// And nothing is left running: the folder can be opened again at once.
	if out, err := exec.CommandContext(ctx, house.Binary(t), "demo", "--dir", dir, "--duration", "2s").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
