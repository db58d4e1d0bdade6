package meter_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"purepool/internal/meter"
	"purepool/ledger"
)

// away is a ledger that answers once and is away then.
type away struct{ answers int }

var errAway = errors.New("away")

func (a *away) Numbers(context.Context, int16, time.Time) (ledger.Numbers, error) {
	if a.answers--; a.answers < 0 {
		return ledger.Numbers{}, errAway
	}
	return ledger.Numbers{Imbalance: 7, Payments: map[string]int64{"unclear": 2}}, nil
}

func (a *away) DatabaseSizes(context.Context) (ledger.DatabaseSizes, error) {
	return ledger.DatabaseSizes{}, errAway
}

func (a *away) Schedules(context.Context) ([]ledger.Schedule, error) { return nil, errAway }

func TestNumbersStayWhileTheLedgerIsAwayAndSayHowOldTheyAre(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	store := &away{answers: 1}
	var told strings.Builder
	m := meter.New(meter.Options{
		Networks: []meter.Network{{Name: "test", ID: 1}}, Every: time.Millisecond, Registerer: reg, Logger: slog.New(slog.NewTextHandler(&told, nil)),
	}, store, store)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	failures := func() float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "purepool_numbers_failures_total" {
				return f.GetMetric()[0].GetCounter().GetValue() // books come first
			}
		}
		t.Fatal("failures are not counted")
		return 0
	}
	for deadline := time.Now().Add(10 * time.Second); failures() < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no failure is counted")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP purepool_ledger_imbalance_satoshis Sum of all accounts of the books: 0, or something is very wrong.
# TYPE purepool_ledger_imbalance_satoshis gauge
purepool_ledger_imbalance_satoshis{network="test"} 7
`), "purepool_ledger_imbalance_satoshis")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "purepool_numbers_timestamp_seconds"); err != nil || n != 1 {
		t.Errorf("%d ages, %v", n, err)
	}
	if n := strings.Count(told.String(), "what=books"); n != 1 {
		t.Errorf("an outage is told of %d times:\n%s", n, told.String())
	}
}

func TestDisksOfFoldersThatAreNotMadeYetAreThoseOfTheirParents(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	meter.NewDisks(map[string]string{"spool": t.TempDir() + "/not/yet", "queue": "/"}, slog.New(slog.DiscardHandler), reg)
	for _, name := range []string{"purepool_disk_free_bytes", "purepool_disk_size_bytes"} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != 2 {
			t.Errorf("%d series of %s, %v", n, name, err)
		}
	}
}
