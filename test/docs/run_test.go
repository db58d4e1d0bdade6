// Package docs reads the documentation as an operator would: every command is
// run, or tried for its spelling where it cannot be, every link is followed, and
// every test that a page names exists.
//
// Scripts are run as they stand (package page says what comments beside them mean), in a
// folder that all blocks of a page share, beside a demo pool; stage_test.go says what
// stands in for 127.0.0.1:9101, ADDRESS and the like. Those that need servers of
// their own are run on some, by other tests. Blocks that are not run are still read:
// their commands, flags, make targets and scripts must exist. So must those in `code`
// within the text.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/test/page"
)

// patience bounds one block.
const patience = 45 * time.Second

func TestEveryCommandOfThePagesWorks(t *testing.T) {
	all := pages(t)
	s := newStage(t)
	ran := 0
	for _, p := range all {
		dir := t.TempDir() // a page's blocks build upon each other
		here, err := filepath.Abs(filepath.Join(root, "grafana"))
		must(t, err)
		must(t, os.Symlink(here, filepath.Join(dir, "grafana")))
		for _, b := range p.Blocks {
			switch {
			case b.Lang != "sh":
			case !b.Note.Here():
				t.Logf("%v is not run here: %s", b, why(b.Note))
			default:
				ran++
				t.Run(b.String(), func(t *testing.T) { s.run(t, b, dir) })
			}
		}
	}
	t.Logf("%d blocks were run", ran)
	if ran < 14 {
		t.Errorf("only %d blocks were run", ran)
	}
}

// why says who runs a block, or why nobody does.
func why(n page.Note) string {
	switch {
	case n.RunBy != "":
		return n.RunBy + " runs it " + n.Why
	case len(n.CoveredBy) > 0:
		return n.Why + "; " + strings.Join(n.CoveredBy, " and ") + " do the same"
	}
	return "nothing runs it: " + n.Why
}

// run runs a block as it stands, but for the values that stand for others.
func (s *stage) run(t *testing.T, b page.Block, dir string) {
	if strings.Contains(b.Text, "purepool admin status ") {
		s.calm()
	}
	var out, errs testkit.Text
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -euo pipefail\n"+s.values.Replace(b.Text))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, s.env(b, dir), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	interrupted := b.Note.Until == nil
	for deadline := time.Now().Add(patience); ; {
		if !interrupted && (b.Note.Until.MatchString(out.String()) || b.Note.Until.MatchString(errs.String())) {
			// As Ctrl-C does: to all that the terminal runs.
			must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
			interrupted = true
		}
		select {
		case <-ended:
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
			t.Errorf("no end within %v", patience)
		}
		break
	}
	if code := cmd.ProcessState.ExitCode(); code != b.Note.Exit || !interrupted {
		t.Errorf("exit code %d, not %d\n%s%s%s", code, b.Note.Exit, b.Text, out.String(), errs.String())
	}
	if missing := unlike(s.values.Replace(strings.Join(b.Output, "\n")), out.String()); missing != "" {
		t.Errorf("the page shows this, and the command does not print it: %s\n%s", missing, out.String())
	}
}

// unlike returns the first line shown that is not printed, in its order; … stands
// for anything, and so does space for space.
func unlike(shown, printed string) string {
	lines := strings.Split(printed, "\n")
	for want := range strings.SplitSeq(shown, "\n") {
		if strings.TrimSpace(want) == "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(strings.Fields(want), " ")), "…", ".*")
		fits := regexp.MustCompile("^" + pattern + "$")
		for len(lines) > 0 && !fits.MatchString(strings.Join(strings.Fields(lines[0]), " ")) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return want
		}
		lines = lines[1:]
	}
	return ""
}

func TestShownOutputIsComparedLineByLine(t *testing.T) {
	printed := "MINER  BALANCE\nabc    1.50\nend\n"
	for shown, want := range map[string]string{
		"":                          "",
		"MINER BALANCE\nend":        "",
		"MINER …\n… 1.50":           "",
		"end\nMINER BALANCE":        "MINER BALANCE",
		"abc 1.5":                   "abc 1.5",
		"MINER BALANCE\nabc 1.50\n": "",
	} {
		if got := unlike(shown, printed); got != want {
			t.Errorf("%q: %q", shown, got)
		}
	}
}
