package jobs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"purepool/pool/job"
)

// A journal is one file of records, each fsynced before it counts:
//
//	4 bytes  length of the payload, little-endian
//	4 bytes  CRC-32C of the payload
//	payload  CBOR
//
// A torn end, as a power failure leaves it, is cut off when it is opened; whole
// records are never touched again.

// record is one line of the journal: a block before it is submitted (with Block),
// or what became of it (without).
type record struct {
	At     int64     `cbor:"1,keyasint"` // microseconds since 1970
	Hash   [32]byte  `cbor:"2,keyasint"` // display order
	Height int32     `cbor:"3,keyasint"`
	Share  job.Share `cbor:"4,keyasint"`
	Block  []byte    `cbor:"5,keyasint,omitempty"`
	Result string    `cbor:"6,keyasint,omitempty"` // of ledger.Submission…
	Detail string    `cbor:"7,keyasint,omitempty"`
}

const (
	journalHead = 8
	maxRecord   = 64 << 20
	// maxJournal is the size at which the journal is begun anew; the one before it
	// is kept beside it.
	maxJournal = 256 << 20
)

type journal struct {
	path string

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
	open map[[32]byte]record // blocks without a result
}

// openJournal opens a journal and returns it with the blocks whose result it does
// not know.
func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{path: path, file: f, open: make(map[[32]byte]record)}
	if err := j.read(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

// read goes through the records, and cuts off a torn end.
func (j *journal) read() error {
	data, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		r, n := parseRecord(rest)
		if n == 0 {
			if err := j.file.Truncate(j.size); err != nil {
				return err
			}
			break
		}
		if len(r.Block) > 0 {
			j.open[r.Hash] = r
		} else {
			delete(j.open, r.Hash)
		}
		rest = rest[n:]
		j.size += int64(n)
	}
	_, err = j.file.Seek(j.size, io.SeekStart)
	return err
}

// parseRecord returns the record at the start of data and its length; 0 where
// there is none that is whole.
func parseRecord(data []byte) (r record, n int) {
	if len(data) < journalHead {
		return r, 0
	}
	size := binary.LittleEndian.Uint32(data)
	if size > maxRecord || len(data)-journalHead < int(size) {
		return r, 0
	}
	payload := data[journalHead : journalHead+int(size)]
	if checksum(payload) != binary.LittleEndian.Uint32(data[4:]) || cbor.Unmarshal(payload, &r) != nil {
		return r, 0
	}
	return r, journalHead + int(size)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func encodeRecord(r *record) ([]byte, error) {
	payload, err := cbor.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxRecord {
		return nil, errors.New("record is too large")
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, journalHead+len(payload)), uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, checksum(payload))
	return append(b, payload...), nil
}

// write adds a record and returns when it is on disk.
func (j *journal) write(r record) error {
	b, err := encodeRecord(&r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.size > maxJournal {
		if err := j.renew(); err != nil {
			return err
		}
	}
	if err := j.append(b); err != nil {
		return err
	}
	if len(r.Block) > 0 {
		j.open[r.Hash] = r
	} else {
		delete(j.open, r.Hash)
	}
	return nil
}

func (j *journal) append(b []byte) error {
	_, err := j.file.WriteAt(b, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return err
	}
	j.size += int64(len(b))
	return nil
}

// renew begins a new file with the blocks whose result is not known.
func (j *journal) renew() error {
	if err := os.Rename(j.path, j.path+".1"); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = j.file.Close() // everything in it is on disk
	j.file, j.size = f, 0
	for _, r := range j.open {
		b, err := encodeRecord(&r)
		if err == nil {
			err = j.append(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unfinished returns the blocks whose result is not known.
func (j *journal) unfinished() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]record, 0, len(j.open))
	for _, r := range j.open {
		list = append(list, r)
	}
	return list
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

func (r *record) at() time.Time { return job.Moment(r.At).Time() }
