package hosts

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a share costs in each process, in processor time: how many a server can
// take follows from that, whatever else runs on this machine. Figures of docs/SCALING.md.
func TestWhatAShareCosts(t *testing.T) {
	if !*long {
		t.Skip("a measurement: make test-long")
	}
	p := newPool(t, map[string]string{"STRATUM_PORTS": "3333=test"}, nil)
	processes := []struct {
		what string
		h    *host
		unit string // its main process and all below it
	}{
		{"frontend", p.frontend, "purepool-frontend.service"},
		{"backend", p.backend, "purepool-backend.service"},
		{"coin daemon, simulated", p.backend, "sim-daemon.service"},
		{"nats-server", p.data, "purepool-nats.service"},
		{"postgres", p.data, "postgresql@15-main.service"},
	}
	for _, action := range []string{"readytomine2", "solution"} {
		before := make([]time.Duration, len(processes))
		for i, process := range processes {
			before[i] = process.h.processorTime(process.unit)
		}
		out := p.frontend.run("/usr/local/bin/purepool", "sim", "http-load", "--pool", "http://127.0.0.1:80", "--network", "test",
			"--action", action, "--clients", "64", "--miners", "500", "--duration", "10s", "--json")
		var result struct {
			OK int64
		}
		must(t, json.Unmarshal([]byte(out), &result))
		if result.OK < 1000 {
			t.Fatalf("%s: %s", action, out)
		}
		p.eventually(t, "validators have caught up", time.Minute, func() bool {
			seen := p.number(`SELECT count(*) FROM rejected_share`)
			time.Sleep(500 * time.Millisecond)
			return seen == p.number(`SELECT count(*) FROM rejected_share`)
		})
		for i, process := range processes {
			took := process.h.processorTime(process.unit) - before[i]
			t.Logf("%s: %s: %v of processor time each (%d in 10 s)", action, process.what, (took / time.Duration(result.OK)).Round(time.Microsecond), result.OK)
		}
	}
}

// processorTime is what a unit's processes have used so far; those that have ended count
// with their parent.
func (h *host) processorTime(unit string) time.Duration {
	h.t.Helper()
	main := strings.TrimSpace(h.run("systemctl", "show", "--property=MainPID", "--value", unit))
	var total time.Duration
	entries, err := os.ReadDir(h.path("/proc"))
	must(h.t, err)
	for _, e := range entries {
		text, err := os.ReadFile(h.path(fmt.Sprintf("/proc/%s/stat", e.Name())))
		if err != nil {
			continue // no process, or gone
		}
		// After the name in brackets: state, parent, …; times are fields 14 to 17 from the first.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if e.Name() != main && fields[1] != main {
			continue
		}
		for _, ticks := range fields[11:15] {
			n, err := strconv.ParseInt(ticks, 10, 64)
			must(h.t, err)
			total += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100
		}
	}
	return total
}
