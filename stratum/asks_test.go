package stratum

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"purepool/pool/job"
)

func TestShareIsJudgedByWhatItsJobWasSentWith(t *testing.T) {
	var a asks
	a.add(keyOf(10), 1)
	a.add(keyOf(12), 2)
	a.add(keyOf(12)+1, 3)
	for _, c := range []struct {
		key        uint64
		bits       job.Bits
		superseded bool
		ok         bool
	}{
		{keyOf(9), 0, false, false}, // before the session
		{keyOf(10), 1, false, true},
		{keyOf(11), 1, false, true},
		{keyOf(12), 2, true, true}, // sent again since, with another difficulty
		{keyOf(12) + 1, 3, false, true},
		{keyOf(13), 3, false, true},
	} {
		if bits, superseded, ok := a.lookup(c.key); bits != c.bits || superseded != c.superseded || ok != c.ok {
			t.Errorf("%x: %d %v %v", c.key, bits, superseded, ok)
		}
	}
}

// Whatever changes come, as long as each finds room: no open job's target is
// forgotten or changed.
func TestNoChangeForgetsWhatAnOpenJobAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a asks
		truth := map[uint64]job.Bits{}
		oldest, next, now := keyOf(1), uint64(1), job.Bits(1)
		a.add(oldest, now)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "clean") {
				oldest = keyOf(next)
			}
			if want := job.Bits(rapid.Uint32Range(1, 9).Draw(t, "bits")); want != now && a.room(oldest) {
				now = want
				a.add(keyOf(next), now)
			}
			truth[keyOf(next)] = now
			next++
			for key, want := range truth {
				if key < oldest {
					continue
				}
				if got, superseded, ok := a.lookup(key); !ok || superseded || got != want {
					t.Fatalf("job %x asked %d, remembered is %d (%v)", key, want, got, ok)
				}
			}
		}
	})
}

func TestQueueKeepsOrderAndEndsWhenItIsEmpty(t *testing.T) {
	q := newQueue()
	const n = 10_000
	go func() {
		for i := range n {
			q.push(&op{received: job.Moment(i)})
			if i%1000 == 0 {
				time.Sleep(time.Microsecond)
			}
		}
		q.close()
	}()
	want := job.Moment(0)
	for buf := make([]*op, 0, 7); ; {
		ops := q.pop(buf)
		if ops == nil {
			break
		}
		for _, o := range ops {
			if o.received != want {
				t.Fatalf("%d after %d", o.received, want-1)
			}
			want++
		}
	}
	if want != n {
		t.Errorf("%d came out", want)
	}
}

func TestShelfKeepsOpenJobsAndAFewStaleOnes(t *testing.T) {
	sh := new(shelf)
	for seq := uint64(1); seq <= 100; seq++ {
		sh = sh.with(&openJob{key: keyOf(seq), job: &job.Job{Seq: seq, Clean: seq%50 == 0}})
		if len(sh.jobs) > maxOpenJobs+maxStaleJobs {
			t.Fatalf("%d jobs", len(sh.jobs))
		}
	}
	if sh.cleanKey != keyOf(100) || sh.oldest != keyOf(100) || len(sh.jobs) != 1+maxStaleJobs || sh.find(keyOf(99)+3) == nil || sh.find(keyOf(90)) != nil {
		t.Errorf("clean %x, oldest %x, %d jobs", sh.cleanKey, sh.oldest, len(sh.jobs))
	}
}

func TestMemoryKeepsAReserveForAuthorizedMiners(t *testing.T) {
	b := newBudget(100)
	if !b.take(50, false) || b.take(1, false) || !b.take(50, true) || b.take(1, true) {
		t.Error("the reserve is not kept")
	}
	b.give(100)
	if b.left.Load() != 100 {
		t.Error(b.left.Load())
	}
}

func TestIdleSessionIsSmall(t *testing.T) {
	if size := sizeOfSession; size > 512 {
		t.Errorf("%d bytes", size)
	}
}
