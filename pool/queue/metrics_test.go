package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metric sums a metric over its labels: the count of a histogram, the value of
// anything else.
func metric(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				sum += float64(m.GetHistogram().GetSampleCount())
			case dto.MetricType_COUNTER:
				sum += m.GetCounter().GetValue()
			default:
				sum += m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestMetricsTellOfTheSpoolAndOfRefusals(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := mustOpen(t, Config{URL: "nats://127.0.0.1:1", Registerer: reg})
	p := startPublisher(t, b, PublisherConfig{Networks: []string{"test"}, SpoolDir: t.TempDir(), SpoolBytes: 20 << 10})
	taken := 0
	for {
		err := p.Publish(t.Context(), "test", newShare(taken))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	for deadline := time.Now().Add(patience); metric(t, reg, "purepool_queue_spool_oldest_seconds") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the spool has no age")
		}
	}
	for name, want := range map[string]float64{
		"purepool_queue_publish_seconds": float64(taken),
		"purepool_queue_refused_total":   1,
		"purepool_queue_spool_bytes":     float64(p.spool.used.Load()),
		"purepool_queue_pending_bytes":   0,
	} {
		if got := metric(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, err := Open(t.Context(), Config{URL: "nats://127.0.0.1:1", Registerer: reg}); err == nil {
		t.Error("the metrics of two brokers in one registry")
	}
}
