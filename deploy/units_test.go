package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"purepool/internal/testkit"
)

// worst is the highest exposure that a unit may have, of 10, by systemd's own
// reckoning: docs/INSTALL.md says so.
const worst = 1.6

func TestUnitsAreConfined(t *testing.T) {
	units, err := filepath.Glob("systemd/purepool-*.service")
	must(t, err)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		must(t, err)
		if strings.Contains(string(text), "Type=oneshot") { // the firewall: nft, once, as root
			continue
		}
		out := testkit.Command(t, "systemd-analyze", "security", "--offline=true", "--no-pager", unit)
		found := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%s: %s", unit, out)
		}
		score, err := strconv.ParseFloat(found[1], 64)
		must(t, err)
		t.Logf("%s: %.1f", filepath.Base(unit), score)
		if score > worst {
			t.Errorf("%s: exposure %.1f, at most %.1f: %s", unit, score, worst, out)
		}
		for _, want := range []string{"\nUser=", "\nNoNewPrivileges=yes", "\nProtectSystem=strict", "\nPrivateTmp=yes", "\nCapabilityBoundingSet=", "\nSystemCallFilter=@system-service"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %s", unit, strings.TrimSpace(want))
			}
		}
	}
	if len(units) != 6 {
		t.Errorf("%d units", len(units))
	}
}

// systemd-analyze verify names every key and value that systemd does not know.
func TestUnitsAreSound(t *testing.T) {
	units, err := filepath.Glob("systemd/purepool-*.service")
	must(t, err)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		must(t, err)
		// The program and the users are not there where no server is set up.
		changed := regexp.MustCompile(`/usr/(local/bin/purepool|sbin/nats-server|sbin/nft)`).ReplaceAllString(string(text), "/bin/true")
		copied := filepath.Join(t.TempDir(), filepath.Base(unit))
		must(t, os.WriteFile(copied, []byte(changed), 0o600))
		if out := testkit.Command(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copied); strings.Contains(out, filepath.Base(unit)) {
			t.Errorf("%s: %s", unit, out)
		}
	}
}
