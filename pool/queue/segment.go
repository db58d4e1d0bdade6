package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A segment is one append-only file of the spool:
//
//	8 bytes  "PPSPOOL1"
//	8 bytes  marker, random for each segment
//	frames   marker (8), payload length (4), CRC-32C (4), time (8, µs since the epoch), payload
//
// Integers are little-endian. The CRC covers length, time and payload. The
// marker is how reading finds its way again behind a damaged frame; being random,
// it cannot be forged by what a miner puts into a solution.
const (
	segmentMagic  = "PPSPOOL1"
	markerSize    = 8
	segmentHead   = len(segmentMagic) + markerSize
	frameHead     = markerSize + 4 + 4 + 8
	segmentSuffix = ".seg"
)

var errSegmentHead = errors.New("segment head is damaged")

// frame says where one payload lies in its segment.
type frame struct {
	off  int64 // of the frame's head
	size int64 // of head and payload
	at   time.Time
}

// segment is one file of a spool. Protected by the spool's mutex.
type segment struct {
	seq    uint64
	path   string
	marker [markerSize]byte
	size   int64   // bytes that are durable
	frames []frame // not yet consumed, oldest first
}

func segmentName(seq uint64) string { return fmt.Sprintf("%020d%s", seq, segmentSuffix) }

// appendFrame appends the frame of a payload to dst.
func (s *segment) appendFrame(dst, payload []byte, at time.Time) []byte {
	dst = append(dst, s.marker[:]...)
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload))) //nolint:gosec // bounded by MaxEnvelopeBytes
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.UnixMicro())) //nolint:gosec // the same bits
	sum := frameSum(dst[start:], payload)
	binary.LittleEndian.PutUint32(dst[start+4:], sum)
	return append(dst, payload...)
}

// frameSum is the CRC of a frame; head begins at the length.
func frameSum(head, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, head[:4])
	sum = crc32.Update(sum, table, head[8:16])
	return crc32.Update(sum, table, payload)
}

// parseFrame returns the payload of the frame at the start of data.
func (s *segment) parseFrame(data []byte) (payload []byte, at time.Time, ok bool) {
	if len(data) < frameHead || !bytes.Equal(data[:markerSize], s.marker[:]) {
		return nil, time.Time{}, false
	}
	head := data[markerSize:frameHead]
	n := int64(binary.LittleEndian.Uint32(head))
	if n > MaxEnvelopeBytes || frameHead+n > int64(len(data)) {
		return nil, time.Time{}, false
	}
	payload = data[frameHead : frameHead+n]
	if frameSum(head, payload) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, time.Time{}, false
	}
	return payload, time.UnixMicro(int64(binary.LittleEndian.Uint64(head[8:]))).UTC(), true //nolint:gosec // the same bits
}

// create makes the file of a new segment and makes its name durable. The file
// is returned open for appending.
func (s *segment) create() (f *os.File, err error) {
	if _, err := rand.Read(s.marker[:]); err != nil {
		return nil, err
	}
	f, err = os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(s.path)
		}
	}()
	if _, err := f.Write(append([]byte(segmentMagic), s.marker[:]...)); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return nil, err
	}
	s.size = int64(segmentHead)
	return f, nil
}

// damage is a stretch of a segment that is no frame.
type damage struct {
	off  int64
	data []byte
	tail bool // no good frame follows
}

// load reads a segment from its file and returns what is damaged in it.
func (s *segment) load() ([]damage, error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return nil, err
	}
	s.size = int64(len(data))
	if len(data) < segmentHead || string(data[:len(segmentMagic)]) != segmentMagic {
		// Without its marker nothing in it can be trusted to be a frame. A crash
		// right after creation leaves such a file too, but a short one.
		return []damage{{data: data, tail: len(data) <= segmentHead}}, errSegmentHead
	}
	copy(s.marker[:], data[len(segmentMagic):segmentHead])
	var bad []damage
	for off := segmentHead; off < len(data); {
		payload, at, ok := s.parseFrame(data[off:])
		if ok {
			size := frameHead + len(payload)
			s.frames = append(s.frames, frame{off: int64(off), size: int64(size), at: at})
			off += size
			continue
		}
		next := s.resync(data, off+1)
		bad = append(bad, damage{off: int64(off), data: data[off:next], tail: next == len(data)})
		off = next
	}
	return bad, nil
}

// resync returns the offset of the next good frame at or after off, or the end.
func (s *segment) resync(data []byte, off int) int {
	for off < len(data) {
		i := bytes.Index(data[off:], s.marker[:])
		if i < 0 {
			break
		}
		off += i
		if _, _, ok := s.parseFrame(data[off:]); ok {
			return off
		}
		off++
	}
	return len(data)
}

// read returns the payload of one of the segment's frames, or the frame's raw
// bytes and false when it is damaged.
func (s *segment) read(r io.ReaderAt, f frame) ([]byte, bool, error) {
	data := make([]byte, f.size)
	if n, err := r.ReadAt(data, f.off); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	} else if int64(n) < f.size {
		return data[:n], false, nil
	}
	payload, _, ok := s.parseFrame(data)
	if !ok || int64(len(payload)) != f.size-frameHead {
		return data, false, nil
	}
	return payload, true, nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
