package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// budget is a bound shared by several users. Safe for concurrent use.
type budget struct {
	max  int64
	used atomic.Int64
}

// take reserves n bytes. When nothing is reserved any n is granted, so that one
// share larger than the bound can still pass.
func (b *budget) take(n int64) bool {
	if used := b.used.Add(n); used > b.max && used != n {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// spool keeps the envelopes of one network on disk while the broker is away:
// first in, first out, durable when append returns.
//
// It is own code because what exists promises less: nsqio/go-diskqueue answers
// its writer before it calls fsync, whatever SyncEvery says, and tidwall/wal
// refuses to open (ErrCorrupt) after a torn write instead of cutting it off.
//
// Consumed envelopes are remembered in memory only; a segment is deleted when
// all of it is consumed. After a crash the oldest segment comes again from its
// start, which delivery at least once allows.
//
// One goroutine may append while another peeks and consumes.
type spool struct {
	dir          string
	segmentBytes int64
	budget       *budget
	log          *slog.Logger
	damaged      func(bytes int64) // told of every stretch set aside
	now          func() time.Time

	mu       sync.Mutex
	closed   bool
	segments []*segment // oldest first; the last may be the one being written
	nextSeq  uint64
	bytes    int64 // of all segment files

	w       *os.File // file of the last segment, nil when none is open for writing
	writing bool     // an append is under way: the last segment must stay

	buf []byte // used by the appending goroutine alone

	r     *os.File // file of rSeq, used by the consuming goroutine alone
	rSeq  uint64
	fsync func(*os.File) error // replaced by tests of failing disks
}

const defaultSegmentBytes = 16 << 20

// openSpool opens or creates the spool in dir and repairs what a crash left.
// Everything in it counts against the budget, even beyond its bound.
func openSpool(dir string, b *budget, log *slog.Logger, damaged func(int64)) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	s := &spool{
		dir: dir, budget: b, log: log, damaged: damaged, now: time.Now, nextSeq: 1,
		segmentBytes: min(defaultSegmentBytes, max(b.max/8, 1)),
		fsync:        (*os.File).Sync,
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok || e.IsDir() {
			continue
		}
		seq, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		s.segments = append(s.segments, &segment{seq: seq, path: filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(s.segments, func(a, b *segment) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for i, g := range s.segments {
		if err := s.recover(g, i == len(s.segments)-1); err != nil {
			return nil, fmt.Errorf("recover spool segment %s: %w", g.path, err)
		}
		s.nextSeq = g.seq + 1
		s.bytes += g.size
		s.budget.used.Add(g.size)
	}
	s.dropConsumed()
	return s, nil
}

// recover loads a segment. The torn end of the last segment was never
// acknowledged and is cut off; any other damage is set aside, loudly.
func (s *spool) recover(g *segment, last bool) error {
	bad, err := g.load()
	if err != nil && !errors.Is(err, errSegmentHead) {
		return err
	}
	headless := err != nil
	for _, d := range bad {
		if d.tail && last {
			s.log.Warn("spool: torn end cut off", slog.String("segment", g.path), slog.Int64("offset", d.off), slog.Int("bytes", len(d.data)))
			if !headless {
				if err := truncate(g.path, d.off); err != nil {
					return err
				}
				g.size = d.off
			}
			continue
		}
		if err := s.setAside(g, d.off, d.data); err != nil {
			return err
		}
	}
	return nil
}

// setAside keeps a damaged stretch of a segment in a file of its own, for a
// person to look at.
func (s *spool) setAside(g *segment, off int64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	dir := filepath.Join(s.dir, "damaged")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The name is the same at every start, so that the same damage is kept once.
	path := filepath.Join(dir, fmt.Sprintf("%020d-%d.bad", g.seq, off))
	if err := writeFileSync(path, data); err != nil {
		return err
	}
	s.damaged(int64(len(data)))
	s.log.Error("spool: damaged stretch set aside", slog.String("segment", g.path), slog.Int64("offset", off),
		slog.Int("bytes", len(data)), slog.String("kept", path))
	return nil
}

// append makes payloads durable, in order, with one fsync. It returns how many
// of them are: fewer than all together with ErrFull when the budget ends, none with
// another error when the disk fails.
func (s *spool) append(payloads ...[]byte) (int, error) {
	fit, room := 0, error(nil)
	for _, p := range payloads {
		if !s.budget.take(int64(frameHead + len(p))) {
			room = ErrFull
			break
		}
		fit++
	}
	if fit == 0 {
		return 0, room
	}
	done := 0
	for done < fit {
		n, err := s.appendToSegment(payloads[done:fit])
		if err != nil {
			for _, p := range payloads[done:fit] {
				s.budget.give(int64(frameHead + len(p)))
			}
			return done, fmt.Errorf("%w: spool: %w", ErrUnavailable, err)
		}
		done += n
	}
	return fit, room
}

// appendToSegment writes as many payloads as the current segment still takes,
// at least one.
func (s *spool) appendToSegment(payloads [][]byte) (int, error) {
	g, w, err := s.writable()
	if err != nil {
		return 0, err
	}
	s.buf = s.buf[:0]
	now := s.now()
	var frames []frame
	for _, p := range payloads {
		if len(frames) > 0 && g.size+int64(len(s.buf)) >= s.segmentBytes {
			break
		}
		off := g.size + int64(len(s.buf))
		s.buf = g.appendFrame(s.buf, p, now)
		frames = append(frames, frame{off: off, size: int64(frameHead + len(p)), at: now})
	}
	_, err = w.WriteAt(s.buf, g.size)
	if err == nil {
		err = s.fsync(w)
	}
	wrote := int64(len(s.buf))
	if cap(s.buf) > 4<<20 {
		s.buf = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if err != nil {
		// After a failed fsync the kernel may have thrown the pages away and
		// report success the next time, so nothing more is written to this file.
		s.seal()
		_ = truncate(g.path, g.size)
		s.dropConsumed()
		return 0, err
	}
	g.size += wrote
	g.frames = append(g.frames, frames...)
	s.bytes += wrote
	if g.size >= s.segmentBytes {
		s.seal()
	}
	return len(frames), nil
}

// writable returns the segment that is being written, a new one if need be, and
// marks it as being written to.
func (s *spool) writable() (*segment, *os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	if s.w != nil {
		s.writing = true
		return s.segments[len(s.segments)-1], s.w, nil
	}
	g := &segment{seq: s.nextSeq, path: filepath.Join(s.dir, segmentName(s.nextSeq))}
	w, err := g.create()
	if err != nil {
		return nil, nil, err
	}
	s.nextSeq++
	s.bytes += g.size
	s.budget.used.Add(g.size)
	s.segments = append(s.segments, g)
	s.w, s.writing = w, true
	return g, w, nil
}

// seal ends the segment that is being written. s.mu is held.
func (s *spool) seal() {
	if s.w != nil {
		_ = s.w.Close()
		s.w = nil
	}
}

// dropConsumed deletes the oldest segments while they hold nothing more. s.mu
// is held, or the spool is not yet shared.
func (s *spool) dropConsumed() {
	for len(s.segments) > 0 && len(s.segments[0].frames) == 0 {
		g := s.segments[0]
		if len(s.segments) == 1 {
			if s.writing {
				return
			}
			s.seal()
		}
		if err := os.Remove(g.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			// What is left is published again after a restart: harmless.
			s.log.Warn("spool: consumed segment stays", slog.String("segment", g.path), slog.Any("error", err))
		}
		s.bytes -= g.size
		s.budget.give(g.size)
		s.segments = s.segments[1:]
	}
}

// peek returns the oldest envelopes, joined into one of at most maxBytes and
// maxShares (but at least one of them), and how many frames it stands for. No
// envelope means that the spool is empty.
func (s *spool) peek(maxBytes, maxShares int) (envelope []byte, frames int, err error) {
	for {
		s.mu.Lock()
		if len(s.segments) == 0 || len(s.segments[0].frames) == 0 {
			s.mu.Unlock()
			return nil, 0, nil
		}
		g := s.segments[0]
		head := slices.Clone(g.frames[:min(len(g.frames), maxShares)])
		s.mu.Unlock()

		if err := s.openForReading(g); err != nil {
			return nil, 0, err
		}
		envelope, frames, damaged, err := s.join(g, head, maxBytes, maxShares)
		if err != nil || frames > 0 {
			return envelope, frames, err
		}
		// The very first frame is damaged: set it aside and go on behind it.
		if err := s.setAside(g, head[0].off, damaged); err != nil {
			return nil, 0, err
		}
		s.consume(1)
	}
}

// join reads frames while they fit into one envelope. When the first of them is
// damaged it returns its bytes and no frames.
func (s *spool) join(g *segment, head []frame, maxBytes, maxShares int) (envelope []byte, frames int, damaged []byte, err error) {
	shares := 0
	for _, f := range head {
		if frames > 0 && len(envelope)+int(f.size) > maxBytes {
			break
		}
		payload, ok, err := g.read(s.r, f)
		if err != nil {
			return nil, 0, nil, err
		}
		if !ok {
			if frames == 0 {
				return nil, 0, payload, nil
			}
			break
		}
		n, joins := countShares(payload)
		if frames == 0 {
			envelope, shares, frames = payload, n, 1
			if !joins {
				break // of an older or newer version: it travels alone
			}
			continue
		}
		if !joins || shares+n > maxShares {
			break
		}
		envelope = append(envelope, payload[envelopeHead:]...)
		shares += n
		frames++
		setCount(envelope, shares)
	}
	return envelope, frames, nil, nil
}

func (s *spool) openForReading(g *segment) error {
	if s.r != nil && s.rSeq == g.seq {
		return nil
	}
	s.closeReader()
	f, err := os.Open(g.path)
	if err != nil {
		return err
	}
	s.r, s.rSeq = f, g.seq
	return nil
}

func (s *spool) closeReader() {
	if s.r != nil {
		_ = s.r.Close()
		s.r = nil
	}
}

// consume forgets the oldest frames, as counted by peek.
func (s *spool) consume(frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.segments[0]
	g.frames = g.frames[frames:]
	s.dropConsumed()
	if len(s.segments) == 0 || s.segments[0] != g {
		s.closeReader()
	}
}

// empty reports whether everything has been consumed.
func (s *spool) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) == 0 || (len(s.segments) == 1 && len(s.segments[0].frames) == 0)
}

// state returns the bytes on disk and the time of the oldest envelope, zero when
// there is none.
func (s *spool) state() (bytes int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if len(g.frames) > 0 {
			return s.bytes, g.frames[0].at
		}
	}
	return s.bytes, time.Time{}
}

// close lets go of the files. Nothing is lost: all of it is durable.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.seal()
	s.closeReader()
}

func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func writeFileSync(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
