package hosts

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// testUnits looks at the running processes: the units of deploy/ confine them in
// fact, and not in their files only.
func testUnits(t *testing.T, p *pool, _ *load) {
	for _, u := range []struct {
		h          *host
		unit, user string
		caps       string // CapEff, hexadecimal
	}{
		{p.frontend, "purepool-frontend.service", "purepool-frontend", "0000000000000400"}, // CAP_NET_BIND_SERVICE
		{p.backend, "purepool-backend.service", "purepool-backend", "0000000000000000"},
		{p.data, "purepool-nats.service", "nats", "0000000000000000"},
	} {
		wantConfined(t, u.h, u.unit, u.user, u.caps)
		score := u.h.run("systemd-analyze", "security", "--no-pager", u.unit)
		lines := strings.Split(strings.TrimSpace(score), "\n")
		t.Log(strings.TrimSpace(strings.TrimPrefix(lines[len(lines)-1], "→")))
	}
}

// wantConfined checks what the kernel says of a unit's process.
func wantConfined(t *testing.T, h *host, unit, user, caps string) {
	t.Helper()
	pid := strings.TrimSpace(h.run("systemctl", "show", "--property=MainPID", "--value", unit))
	status, err := os.ReadFile(h.path("/proc/" + pid + "/status"))
	must(t, err)
	for key, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": caps, "CapBnd": caps} {
		if got := field(string(status), key); got != want {
			t.Errorf("%s: %s is %s, want %s", unit, key, got, want)
		}
	}
	uid := strings.TrimSpace(h.run("id", "-u", user))
	if got := strings.Fields(field(string(status), "Uid"))[0]; got != uid || uid == "0" {
		t.Errorf("%s runs as user %s, want %s", unit, got, uid)
	}
	// As the process sees it, the system is read-only but for its own folder.
	mounts, err := os.ReadFile(h.path("/proc/" + pid + "/mounts"))
	must(t, err)
	if !strings.Contains(string(mounts), " / overlay ro,") {
		t.Errorf("%s can write the system:\n%s", unit, mounts)
	}
	if restarts := strings.TrimSpace(h.run("systemctl", "show", "--property=NRestarts", "--value", unit)); restarts != "0" {
		t.Errorf("%s was restarted %s times: %s", unit, restarts, h.run("journalctl", "-n", "50", "--no-pager", "-u", unit))
	}
}

// field returns a line of /proc/PID/status.
func field(status, key string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("no %s", key)
}
