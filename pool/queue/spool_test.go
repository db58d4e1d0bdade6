package queue

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustSpool(t testing.TB, dir string, max int64) *spool {
	t.Helper()
	s, err := openSpool(dir, &budget{max: max}, testLog(t), func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// oneShare is an envelope of one share that says n.
func oneShare(t testing.TB, n int, pad int) []byte {
	t.Helper()
	data, err := mustCodec(t).encodeEnvelope(Share{Refusal: fmt.Sprint(n), Solution: make([]byte, pad)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// drain consumes everything and returns what the shares say.
func drain(t testing.TB, s *spool) []string {
	t.Helper()
	c := mustCodec(t)
	var out []string
	for {
		envelope, frames, err := s.peek(1<<20, 512)
		if err != nil {
			t.Fatal(err)
		}
		if frames == 0 {
			return out
		}
		shares, err := c.decodeEnvelope(envelope)
		if err != nil {
			t.Fatal(err)
		}
		for i := range shares {
			out = append(out, shares[i].Refusal)
		}
		s.consume(frames)
	}
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func appendNumbers(t testing.TB, s *spool, from, to, pad int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := s.append(oneShare(t, i, pad)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantEqual(t testing.TB, got, want []string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSpoolGivesBackInOrderAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 64<<10) // segments of 8 kB
	appendNumbers(t, s, 0, 40, 1000)
	if n := len(segmentFiles(t, dir)); n < 4 {
		t.Fatalf("%d segments", n)
	}
	wantEqual(t, drain(t, s), numbers(0, 40))
	appendNumbers(t, s, 40, 45, 1000)
	wantEqual(t, drain(t, s), numbers(40, 45))
	if f := segmentFiles(t, dir); len(f) != 0 || s.budget.used.Load() != 0 || !s.empty() {
		t.Fatalf("left: %v, %d bytes", f, s.budget.used.Load())
	}
}

func TestSpoolSurvivesARestartInOrder(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 64<<10)
	appendNumbers(t, s, 0, 20, 1000)
	used := s.budget.used.Load()
	s.close()

	s = mustSpool(t, dir, 64<<10)
	if got := s.budget.used.Load(); got != used {
		t.Fatalf("%d bytes counted, %d before", got, used)
	}
	if bytes, oldest := s.state(); bytes != used || time.Since(oldest) > time.Minute {
		t.Fatalf("state %d, %v", bytes, oldest)
	}
	appendNumbers(t, s, 20, 30, 1000)
	wantEqual(t, drain(t, s), numbers(0, 30))
}

// Whatever is appended, consumed and restarted: what comes out is what went in,
// in order, with repetitions only after a restart.
func TestSpoolKeepsEverythingUnderAnyUse(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	c := mustCodec(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		dir := filepath.Join(base, fmt.Sprint(run))
		open := func() *spool {
			s, err := openSpool(dir, &budget{max: 32 << 10}, slog.New(slog.DiscardHandler), func(int64) {})
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s := open()
		defer func() { s.close() }()
		next, seen := 0, 0 // next to append; all below seen have come out
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				s.close()
				s = open()
			case 1:
				envelope, frames, err := s.peek(rapid.IntRange(1, 8000).Draw(rt, "bytes"), rapid.IntRange(1, 10).Draw(rt, "shares"))
				if err != nil {
					rt.Fatal(err)
				}
				if frames == 0 {
					if seen != next {
						rt.Fatalf("empty at %d of %d", seen, next)
					}
					continue
				}
				shares, err := c.decodeEnvelope(envelope)
				if err != nil {
					rt.Fatal(err)
				}
				for i := range shares {
					var n int
					_, _ = fmt.Sscan(shares[i].Refusal, &n)
					if n > seen {
						rt.Fatalf("%d came before %d", n, seen)
					}
					seen = max(seen, n+1)
				}
				s.consume(frames)
			default:
				var group [][]byte
				for i := range rapid.IntRange(1, 5).Draw(rt, "group") {
					group = append(group, oneShare(t, next+i, rapid.IntRange(0, 3000).Draw(rt, "size")))
				}
				n, err := s.append(group...)
				if err != nil && !errors.Is(err, ErrFull) {
					rt.Fatal(err)
				}
				next += n
			}
		}
		if got := drain(t, s); seen < next && (len(got) == 0 || got[len(got)-1] != fmt.Sprint(next-1)) {
			rt.Fatalf("the end is missing: %v, want up to %d", got, next-1)
		}
		if left := s.budget.used.Load(); left != 0 {
			rt.Fatalf("%d bytes still counted", left)
		}
	})
}

func TestSpoolCutsATornEndAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20)
	appendNumbers(t, s, 0, 3, 20)
	s.close()
	file := segmentFiles(t, dir)[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size := (len(whole) - segmentHead) / 3
	for cut := range whole {
		for _, zeroed := range []bool{false, true} { // cut short, or long enough but never written
			torn := bytes.Clone(whole[:cut])
			if zeroed {
				torn = append(torn, make([]byte, len(whole)-cut)...)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), torn, 0o600); err != nil {
				t.Fatal(err)
			}
			bad := false
			s, err := openSpool(dir, &budget{max: 1 << 20}, slog.New(slog.DiscardHandler), func(int64) { bad = true })
			if err != nil {
				t.Fatal(err)
			}
			headless := cut < segmentHead && zeroed // nothing tells such a file from a damaged one
			if bad && !headless {
				t.Fatalf("cut at %d: a torn end was taken for damage", cut)
			}
			keep := 0
			if cut >= segmentHead {
				keep = (cut - segmentHead) / size
			}
			appendNumbers(t, s, 100, 101, 20)
			got := drain(t, s)
			// The bytes cut off can be zeros themselves.
			if len(got) < keep+1 || fmt.Sprint(got[:keep]) != fmt.Sprint(numbers(0, keep)) || got[len(got)-1] != "100" {
				t.Fatalf("cut at %d (zeroed %v): got %v, want %d and 100", cut, zeroed, got, keep)
			}
			s.close()
		}
	}
}

func TestSpoolSetsDamageInTheMiddleAsideAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before opening", "while open"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			s := mustSpool(t, dir, 1<<20)
			appendNumbers(t, s, 0, 5, 100)
			file := segmentFiles(t, dir)[0]
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			second := segmentHead + (len(data)-segmentHead)/5
			data[second+frameHead+10] ^= 1 // payload
			third := second + (len(data)-segmentHead)/5
			data[third+markerSize+2] ^= 1 // length
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			lost := int64(0)
			if when == "before opening" {
				s.close()
				if s, err = openSpool(dir, &budget{max: 1 << 20}, testLog(t), func(n int64) { lost += n }); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.close)
			}
			s.damaged = func(n int64) { lost += n }
			wantEqual(t, drain(t, s), []string{"0", "3", "4"})
			kept, err := filepath.Glob(filepath.Join(dir, "damaged", "*.bad"))
			if err != nil || len(kept) == 0 {
				t.Fatalf("kept %v, %v", kept, err)
			}
			var all []byte
			for _, f := range kept {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, b...)
			}
			if !bytes.Equal(all, data[second:third+(third-second)]) || lost != int64(len(all)) {
				t.Fatalf("%d bytes kept, %d told", len(all), lost)
			}
		})
	}
}

func TestSpoolSetsADamagedHeadAside(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 64<<10)
	appendNumbers(t, s, 0, 20, 1000)
	s.close()
	files := segmentFiles(t, dir)
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[0] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustSpool(t, dir, 64<<10)
	got := drain(t, s)
	if len(got) == 0 || got[len(got)-1] != "19" {
		t.Fatalf("got %v", got)
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "damaged", "*.bad")); len(kept) != 1 {
		t.Fatalf("kept %v", kept)
	}
	if left := segmentFiles(t, dir); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

func TestSpoolRefusesAtItsBoundAndTakesAgainBehindIt(t *testing.T) {
	s := mustSpool(t, t.TempDir(), 20<<10)
	n := 0
	for {
		took, err := s.append(oneShare(t, n, 1000), oneShare(t, n+1, 1000))
		n += took
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if used := s.budget.used.Load(); n < 15 || used > 21<<10 {
		t.Fatalf("%d taken, %d bytes", n, used)
	}
	wantEqual(t, drain(t, s), numbers(0, n))
	appendNumbers(t, s, n, n+1, 1000)
	wantEqual(t, drain(t, s), numbers(n, n+1))
}

func TestSpoolOfAFullDiskFailsAndRecovers(t *testing.T) {
	s := mustSpool(t, t.TempDir(), 1<<20)
	appendNumbers(t, s, 0, 3, 100)
	s.fsync = func(*os.File) error { return syscall.ENOSPC }
	for range 3 {
		n, err := s.append(oneShare(t, 99, 100))
		if n != 0 || !errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	s.fsync = (*os.File).Sync
	appendNumbers(t, s, 3, 6, 100)
	wantEqual(t, drain(t, s), numbers(0, 6))
	if left := s.budget.used.Load(); left != 0 {
		t.Fatalf("%d bytes still counted", left)
	}
}

// /dev/full refuses every write with ENOSPC, as a full disk does.
func TestSpoolWriteErrorsAreReturned(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, s, 0, 1, 100)
	s.mu.Lock()
	_ = s.w.Close()
	s.w = full
	s.mu.Unlock()
	if n, err := s.append(oneShare(t, 99, 100)); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %d, %v", n, err)
	}
	wantEqual(t, drain(t, s), numbers(0, 1))
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	g := &segment{path: filepath.Join(dir, segmentName(1))}
	w, err := g.create()
	if err != nil {
		f.Fatal(err)
	}
	_ = w.Close()
	head, err := os.ReadFile(g.path)
	if err != nil {
		f.Fatal(err)
	}
	good := g.appendFrame(g.appendFrame(bytes.Clone(head), []byte("one"), time.Unix(1, 0)), []byte("two"), time.Unix(2, 0))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(head)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, segmentName(1)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSpool(dir, &budget{max: 1 << 20}, slog.New(slog.DiscardHandler), func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		for {
			_, n, err := s.peek(1<<20, 512)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			s.consume(n)
		}
	})
}
