package stratum_test

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"purepool/sim/stratum"
)

// BenchmarkHonestBesideHostile reports the p99 of honest submits on a server that
// is left alone and on the same one while hostile clients of every kind work on
// it, among them lines without end and ten thousand reconnects, under the limits of
// every day. A share is answered once it is on disk. Server, honest and hostile
// clients have a process each. Calm and hostile phases take turns, and the middle
// of the rounds is reported, since a busy machine would fall on one of two long
// phases.
//
// Honest miners hand in a share ten times a second each, which leaves most of the
// machine idle. Hostile clients want all of it; what they use for themselves says
// nothing about the server, so they run only where nobody else does ("idle"). That
// is a scheduling class: to a process of the lowest priority the kernel gives
// milliseconds at a time, once it has waited. "competing" is with three processes
// of the same priority.
func BenchmarkHonestBesideHostile(b *testing.B) {
	for _, c := range []struct {
		name, policy string
		phase        time.Duration // in which there are ten thousand reconnects
		rest         string        // between two of the same machine; there are eight
		rounds       int
	}{
		{"idle/reconnects-in-10s", "--idle", 10 * time.Second, "5ms", 5},
		{"idle/reconnects-in-3s", "--idle", 3 * time.Second, "0s", 7},
		{"competing/reconnects-in-3s", "--other", 3 * time.Second, "0s", 7},
	} {
		b.Run(c.name, func(b *testing.B) { besideHostile(b, c.policy, c.rest, c.phase, c.rounds) })
	}
}

func besideHostile(b *testing.B, policy, rest string, phase time.Duration, rounds int) {
	in, out := child(b, "everyday")
	ports := strings.Fields(said(b, out))
	used := func() float64 {
		if _, err := io.WriteString(in, "\n"); err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseFloat(said(b, out), 64)
		if err != nil {
			b.Fatal(err)
		}
		return ns / 1e9
	}
	farms := byte(0)
	honest := func() (p50, p99, processors float64) {
		farms++ // each from an address of its own, which may open so many at once
		l, err := stratum.NewLoad(stratum.LoadOptions{
			Pool: ports[0], Worker: address + ".l", Password: "d=1e-12", Connections: 200, Pipeline: 16,
			Duration: phase, Every: 100 * time.Millisecond, From: netip.AddrFrom4([4]byte{127, 1, 1, farms}),
		})
		if err != nil {
			b.Fatal(err)
		}
		before := used()
		r, err := l.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if r.Lost > 0 || float64(r.Submit.Count) < 0.9*200*10*phase.Seconds() {
			b.Fatalf("honest miners suffer: %s", r.JSON())
		}
		return r.Submit.P50, r.Submit.P99, (used() - before) / phase.Seconds()
	}
	numbers := make(map[string][]float64)
	note := func(name string, value float64) { numbers[name] = append(numbers[name], value) }
	for b.Loop() {
		honest() // warms up
		for round := range rounds {
			p50, calm, processors := honest()
			note("calm-p50-ms", p50)
			note("calm-p99-ms", calm)
			note("calm-server-cpu-%", 100*processors)
			hostile, told := childAs(b, exec.Command("chrt", policy, "0", os.Args[0]), "hostile", strconv.Itoa(round+1), ports[0], ports[1], rest)
			said(b, told)
			p50, beside, processors := honest()
			_ = hostile.Close()
			var came, churned, ns float64
			if _, err := fmt.Sscan(said(b, told), &came, &churned, &ns); err != nil {
				b.Fatal(err)
			}
			note("beside-p50-ms", p50)
			note("beside-p99-ms", beside)
			note("beside-server-cpu-%", 100*processors)
			note("hostile-connects", came)
			note("reconnects", churned)
			note("hostile-cpu-%", ns/1e7/phase.Seconds())
			time.Sleep(200 * time.Millisecond) // what they left open ends
		}
	}
	b.ReportMetric(0, "ns/op") // a run is no operation
	for name, all := range numbers {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name)
		b.Logf("%s: %.4g", name, all)
	}
	b.ReportMetric(numbers["beside-p99-ms"][rounds/2]/numbers["calm-p99-ms"][rounds/2], "times-calm")
}
