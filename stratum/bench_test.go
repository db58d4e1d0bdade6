package stratum_test

import (
	"testing"
	"time"

	"purepool/sim/stratum"
	served "purepool/stratum"
)

// BenchmarkHonestBesideHostile reports the p99 of honest submits on a calm server
// and on one that hostile clients of every kind work on, from a process of their
// own and under the limits of every day.
func BenchmarkHonestBesideHostile(b *testing.B) {
	p := open(b, func(c *served.Config) { c.Limits = served.Limits{LineTimeout: time.Second} })
	p.sink.forget = true
	honest := func() float64 {
		l, err := stratum.NewLoad(stratum.LoadOptions{
			Pool: p.Addr("t").String(), Worker: address + ".l", Password: "d=1e-12", Connections: 20, Duration: 2 * time.Second,
		})
		if err != nil {
			b.Fatal(err)
		}
		r, err := l.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return r.Submit.P99
	}
	var calm, beside float64
	for b.Loop() {
		calm += honest()
		in, out := child(b, "hostile", p.Addr("t").String())
		said(b, out)
		beside += honest()
		_ = in.Close()
	}
	b.ReportMetric(calm/float64(b.N), "calm-p99-ms")
	b.ReportMetric(beside/float64(b.N), "beside-p99-ms")
	b.ReportMetric(beside/calm, "times-calm")
	b.ReportMetric(0, "ns/op") // a run is no operation
}
