package soak

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"purepool/test/house"
)

// watch looks at processes while they are soaked.
type watch struct {
	over      time.Duration
	began     time.Time
	processes []*watched
}

// watched is one process.
type watched struct {
	name    string
	pid     int
	health  string
	samples []sample
}

// sample is a process at one moment.
type sample struct {
	at                       time.Duration
	resident, anonymous      float64 // bytes; anonymous are those of no file, such as the program's own
	heap, goroutines, openFD float64
}

func (w *watch) add(name string, pid int, health string) {
	w.processes = append(w.processes, &watched{name: name, pid: pid, health: health})
}

// run takes about sixty samples of each process.
func (w *watch) run(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(max(w.over/60, 250*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range w.processes {
			s, err := p.look(ctx)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("looking at the %s: %v", p.name, err)
				}
				continue
			}
			s.at = time.Since(w.began)
			p.samples = append(p.samples, s)
		}
	}
}

func (p *watched) look(ctx context.Context) (s sample, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		return s, err
	}
	var pages, resident, shared int
	if _, err := fmt.Sscan(string(text), &pages, &resident, &shared); err != nil {
		return s, err
	}
	s.resident, s.anonymous = float64(resident*os.Getpagesize()), float64((resident-shared)*os.Getpagesize())
	all, err := metrics(ctx, p.health)
	s.heap, s.goroutines, s.openFD = all["go_memstats_heap_alloc_bytes"], all["go_goroutines"], all["process_open_fds"]
	return s, err
}

// metrics reads what a process exports; the key is a series as it is written.
func metrics(ctx context.Context, health string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+health+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	all := make(map[string]float64)
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		line := lines.Text()
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				all[line[:at]] = v
			}
		}
	}
	return all, nil
}

// check compares the last third with the middle one; the first is warming up.
// Memory, goroutines and files go up and down with miners and outages, hence the
// quietest moments and the margins; what leaks with every share, connection or
// outage leaves them behind.
func (w *watch) check(t *testing.T) {
	t.Helper()
	for _, p := range w.processes {
		if len(p.samples) < 9 {
			t.Errorf("only %d samples of the %s", len(p.samples), p.name)
			continue
		}
		third := len(p.samples) / 3
		for _, of := range []struct {
			what         string
			value        func(sample) float64
			part, margin float64
		}{
			{"bytes resident", func(s sample) float64 { return s.resident }, 1.15, 16 << 20},
			{"bytes of memory of its own", func(s sample) float64 { return s.anonymous }, 1.15, 12 << 20},
			{"bytes of heap", func(s sample) float64 { return s.heap }, 1.25, 8 << 20},
			{"goroutines", func(s sample) float64 { return s.goroutines }, 1.1, 25},
			{"open files", func(s sample) float64 { return s.openFD }, 1.1, 15},
		} {
			before, after := least(p.samples[third:2*third], of.value), least(p.samples[2*third:], of.value)
			if before <= 0 || after > before*of.part+of.margin {
				t.Errorf("%s: at least %.0f %s in the last third, %.0f in the middle one", p.name, after, of.what, before)
			}
		}
	}
}

func least(samples []sample, value func(sample) float64) float64 {
	lowest := math.Inf(1)
	for _, s := range samples {
		lowest = min(lowest, value(s))
	}
	return lowest
}

// report prints what happened.
func (w *watch) report(t *testing.T, what string, told map[string]*count, h *house.House) {
	t.Helper()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "network\tsent\ttaken\trefused\tcredited\trejected later\t\n")
	for network, n := range told {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t\n", network, n.sent, n.taken, n.refused, n.credited, n.rejected)
	}
	_ = table.Flush()
	for _, p := range w.processes {
		fmt.Fprintf(table, "%s after\tresident MiB\tof no file MiB\theap MiB\tgoroutines\tfiles\t\n", p.name)
		for i := 0; i < len(p.samples); i += max(len(p.samples)/10, 1) {
			s := p.samples[i]
			fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t\n", s.at.Round(time.Second), s.resident/(1<<20), s.anonymous/(1<<20), s.heap/(1<<20), s.goroutines, s.openFD)
		}
		_ = table.Flush()
	}
	all, err := metrics(t.Context(), h.Health)
	must(t, err)
	var ends []string
	for series, n := range all {
		if strings.HasPrefix(series, "purepool_stratum_connections_closed_total") && n > 0 {
			ends = append(ends, fmt.Sprintf("%s %.0f", series[strings.IndexByte(series, '{'):], n))
		}
	}
	slices.Sort(ends)
	t.Logf("%s, %d blocks accepted\n%sconnections closed: %s", what,
		h.Count(`SELECT count(*) FROM purepool.block_submission WHERE result = 'accepted'`), text.String(), strings.Join(ends, ", "))
}
