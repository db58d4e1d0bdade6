package schedule_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/settle/schedule"
)

func find(t *testing.T, books *ledger.Books, name string) ledger.Schedule {
	t.Helper()
	list, err := books.Schedules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no schedule %s", name)
	return ledger.Schedule{}
}

func TestAJobRunsOnceAtATimeOverAllBackends(t *testing.T) {
	db := ledgertest.New(t)
	var running, runs, together atomic.Int32
	job := schedule.Job{Name: "count", Network: "main", NetworkID: 1, Every: time.Millisecond, Run: func(context.Context) error {
		if running.Add(1) > 1 {
			together.Add(1)
		}
		defer running.Add(-1)
		time.Sleep(5 * time.Millisecond)
		runs.Add(1)
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		runner := schedule.New(schedule.Options{Poll: time.Millisecond}, db.Backend().Books(), job)
		all.Go(func() {
			if err := runner.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for deadline := time.Now().Add(30 * time.Second); runs.Load() < 10 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	all.Wait()
	if together.Load() != 0 || runs.Load() < 10 {
		t.Errorf("%d runs, %d together with another", runs.Load(), together.Load())
	}
	s := find(t, db.Backend().Books(), "count")
	if s.Runs < 10 || s.SucceededAt.IsZero() || s.FinishedAt.Before(s.StartedAt) || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

// W8: the original's --run-local was ignored and the work queued for somebody
// else. Here no backend runs, the job is not due, and the database says what it is
// to say when the call returns.
func TestWhatIsRunByHandRunsHereAndNow(t *testing.T) {
	db := ledgertest.New(t)
	books := db.Backend().Books()
	type caller struct{}
	ctx := context.WithValue(t.Context(), caller{}, "this call")
	runs := 0
	runner := schedule.New(schedule.Options{Runner: "admin here"}, books, schedule.Job{
		Name: "share-out", Network: "main", NetworkID: 1, Every: 24 * time.Hour,
		Run: func(ctx context.Context) error {
			if runs++; ctx.Value(caller{}) != "this call" {
				t.Error("the job runs for somebody else")
			}
			if s := find(t, books, "share-out"); !s.FinishedAt.Before(s.StartedAt) && runs > 1 {
				t.Errorf("not seen to be running: %+v", s)
			}
			if runs == 2 {
				return errors.New("the daemon is away")
			}
			return nil
		},
	})
	for call, want := range []string{"", "the daemon is away", ""} {
		err := runner.Once(ctx, "main", "share-out")
		if runs != call+1 { // at once, though it is not due for a day
			t.Fatalf("%d runs after %d calls", runs, call+1)
		}
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("call %d: %v", call, err) // whoever asked is told how it went
		}
		s := find(t, books, "share-out")
		if s.Runner != "admin here" || s.Runs != int64(call)+1 || s.FinishedAt.Before(s.StartedAt) || s.LastError != want {
			t.Errorf("after call %d: %+v", call, s)
		}
	}
}

func TestErrorsAndPanicsAreWrittenDownAndTheJobGoesOn(t *testing.T) {
	db := ledgertest.New(t)
	books := db.Backend().Books()
	registry := prometheus.NewRegistry()
	outcomes := []func() error{
		func() error { return errors.New("no daemon") },
		func() error { panic("a bug") },
		func() error { return nil },
	}
	n := 0
	runner := schedule.New(schedule.Options{Runner: "here", Registerer: registry}, books, schedule.Job{
		Name: "find_new_blocks", Network: "main", NetworkID: 1, Every: time.Hour,
		Run: func(context.Context) error { n++; return outcomes[n-1]() },
	})
	for i, want := range []struct {
		text     string
		failures int64
	}{{"no daemon", 1}, {"panic: a bug", 2}, {"", 0}} {
		err := runner.Once(t.Context(), "main", "find_new_blocks")
		s := find(t, books, "find_new_blocks")
		if (err == nil) != (want.text == "") || s.LastError != want.text || s.Failures != want.failures || s.Runner != "here" || s.Runs != int64(i)+1 {
			t.Errorf("run %d: %v, %+v", i, err, s)
		}
		if s.NextAt.Before(time.Now().Add(50 * time.Minute)) {
			t.Errorf("next at %s", s.NextAt)
		}
	}
	if err := runner.Once(t.Context(), "main", "nonsense"); !errors.Is(err, schedule.ErrNoJob) {
		t.Errorf("an unknown job: %v", err)
	}
	if got, err := testutil.GatherAndCount(registry, "purepool_schedule_runs_total"); err != nil || got != 2 {
		t.Errorf("%d series, %v", got, err)
	}
}

func TestAPausedJobRunsOnlyWhenAPersonSaysSo(t *testing.T) {
	db := ledgertest.New(t)
	books := db.Backend().Books()
	var runs atomic.Int32
	runner := schedule.New(schedule.Options{Poll: time.Millisecond}, books, schedule.Job{
		Name: "send_autopayments", Network: "main", NetworkID: 1, Every: time.Microsecond,
		Run: func(context.Context) error { runs.Add(1); return nil },
	})
	if err := runner.Once(t.Context(), "main", "send_autopayments"); err != nil {
		t.Fatal(err)
	}
	if err := books.PauseSchedule(t.Context(), 1, "send_autopayments", true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := runner.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if runs.Load() != 1 {
		t.Errorf("ran %d times while paused", runs.Load()-1)
	}
	if err := runner.Once(t.Context(), "main", "send_autopayments"); err != nil || runs.Load() != 2 {
		t.Errorf("by hand: %v", err)
	}
	if err := books.PauseSchedule(t.Context(), 1, "nonsense", true); err == nil {
		t.Error("an unknown schedule was paused")
	}
}

func TestAJobThatRunsElsewhereIsBusy(t *testing.T) {
	db := ledgertest.New(t)
	started, end := make(chan struct{}), make(chan struct{})
	job := func(run func(context.Context) error) schedule.Job {
		return schedule.Job{Name: "audit", Network: "main", NetworkID: 1, Every: time.Hour, Run: run}
	}
	first := schedule.New(schedule.Options{}, db.Backend().Books(), job(func(context.Context) error {
		close(started)
		<-end
		return nil
	}))
	second := schedule.New(schedule.Options{}, db.Backend().Books(), job(func(context.Context) error { return nil }))
	done := make(chan error)
	go func() { done <- first.Once(t.Context(), "main", "audit") }()
	<-started
	if err := second.Once(t.Context(), "main", "audit"); !errors.Is(err, schedule.ErrBusy) {
		t.Errorf("at the same time: %v", err)
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := second.Once(t.Context(), "main", "audit"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
