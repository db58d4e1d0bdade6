package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	lru "github.com/hashicorp/golang-lru/v2"

	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/pool/job"
)

// Store is what the keeper needs of the ledger.
type Store interface {
	InsertJob(ctx context.Context, networkID int16, j *ledger.Job) error
	LastJob(ctx context.Context, networkID int16) (ledger.Job, bool, error)
	FindJob(ctx context.Context, networkID int16, seq uint64) (ledger.Job, bool, error)
}

// ErrUnknownJob: no job of this number is known. One that another backend has
// just issued may be known a moment later.
var ErrUnknownJob = errors.New("job is unknown")

// errNoBody: the job is known, but the rest of its block has been forgotten.
var errNoBody = errors.New("the job is too old for a block")

// Issued is a job with what makes a block of it. It is immutable.
type Issued struct {
	Job  *job.Job
	Body *chain.BlockBody // nil where it has been forgotten
}

// Keeper keeps the jobs of a network: in memory those of the last hours, in the
// ledger all. While the ledger is away, new jobs are kept in files until it is
// back, so that miners need not work on an old tip meanwhile. Safe for
// concurrent use.
type Keeper struct {
	network   string
	networkID int16
	store     Store
	dir       string
	log       *slog.Logger
	codec     *job.Codec
	recent    *lru.Cache[uint64, *Issued]

	mu      sync.Mutex         // guards what follows
	pending map[uint64]*Issued // in files, not yet in the ledger
	wake    chan struct{}      // capacity 1
}

// Jobs in memory, and how long the ledger may take before a job is kept in a
// file instead.
const (
	recentJobs  = 512
	storePrompt = time.Second
)

// NewKeeper opens the folder in which jobs wait for the ledger.
func NewKeeper(network string, networkID int16, store Store, dir string, log *slog.Logger) (*Keeper, error) {
	codec, err := job.NewCodec()
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		network: network, networkID: networkID, store: store, dir: dir, log: log, codec: codec,
		pending: make(map[uint64]*Issued), wake: make(chan struct{}, 1),
	}
	k.recent, _ = lru.New[uint64, *Issued](recentJobs) // fails for a size below 1 only
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("reading jobs that wait for the ledger: %w", err)
	}
	return k, nil
}

// Last returns the newest job known here or in the ledger; false where there is
// none.
func (k *Keeper) Last(ctx context.Context) (*Issued, bool, error) {
	kept, ok, err := k.store.LastJob(ctx, k.networkID)
	if err != nil {
		return nil, false, err
	}
	var newest *Issued
	if ok {
		if newest, err = k.decode(&kept); err != nil {
			return nil, false, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range k.pending {
		if newest == nil || i.Job.Seq > newest.Job.Seq {
			newest = i
		}
	}
	return newest, newest != nil, nil
}

// Keep makes a job durable. The error is that of the disk, after that of the
// ledger.
func (k *Keeper) Keep(ctx context.Context, i *Issued) error {
	row, err := k.encode(i)
	if err != nil {
		return err
	}
	prompt, cancel := context.WithTimeout(ctx, storePrompt)
	defer cancel()
	if err = k.store.InsertJob(prompt, k.networkID, row); err != nil {
		if errFile := k.writeFile(row); errFile != nil {
			return errors.Join(err, errFile)
		}
		k.log.Warn("job kept in a file until the ledger takes it", slog.String("network", k.network),
			slog.Uint64("job", i.Job.Seq), slog.Any("error", err))
		k.mu.Lock()
		k.pending[i.Job.Seq] = i
		k.mu.Unlock()
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	k.recent.Add(i.Job.Seq, i)
	return nil
}

// Get returns a job. Errors: ErrUnknownJob, and those of the ledger.
func (k *Keeper) Get(ctx context.Context, seq uint64) (*Issued, error) {
	if i, ok := k.recent.Get(seq); ok {
		return i, nil
	}
	k.mu.Lock()
	i, ok := k.pending[seq]
	k.mu.Unlock()
	if ok {
		return i, nil
	}
	if seq == 0 || seq > job.MaxSeq {
		return nil, ErrUnknownJob
	}
	row, ok, err := k.store.FindJob(ctx, k.networkID, seq)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrUnknownJob
	}
	if i, err = k.decode(&row); err != nil {
		return nil, err
	}
	k.recent.Add(seq, i)
	return i, nil
}

// Job returns a job without what makes a block of it, or says that there is none
// of this number. The error is that of the ledger.
func (k *Keeper) Job(ctx context.Context, seq uint64) (j *job.Job, unknown bool, err error) {
	i, err := k.Get(ctx, seq)
	switch {
	case errors.Is(err, ErrUnknownJob):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	return i.Job, false, nil
}

// Run brings jobs from their files into the ledger until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		k.flush(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.wake:
		}
	}
}

func (k *Keeper) flush(ctx context.Context) {
	k.mu.Lock()
	waiting := make([]*Issued, 0, len(k.pending))
	for _, i := range k.pending {
		waiting = append(waiting, i)
	}
	k.mu.Unlock()
	for _, i := range waiting {
		row, err := k.encode(i)
		if err == nil {
			err = k.store.InsertJob(ctx, k.networkID, row)
		}
		if err != nil {
			return // at the next turn
		}
		k.mu.Lock()
		delete(k.pending, i.Job.Seq)
		k.mu.Unlock()
		if err := os.Remove(k.file(i.Job.Seq)); err != nil {
			k.log.Warn("file of a job stays", slog.String("network", k.network), slog.Any("error", err))
		}
	}
}

func (k *Keeper) encode(i *Issued) (*ledger.Job, error) {
	body, err := k.codec.EncodeJob(i.Job)
	if err != nil {
		return nil, err
	}
	row := &ledger.Job{
		Seq: i.Job.Seq, IssuedAt: i.Job.IssuedAt.Time(), Height: i.Job.Height, Prev: i.Job.Prev.Display(),
		Clean: i.Job.Clean, Body: body,
	}
	if i.Body != nil {
		row.Block = i.Body.Encode()
	}
	return row, nil
}

func (k *Keeper) decode(row *ledger.Job) (*Issued, error) {
	j, err := k.codec.DecodeJob(row.Body)
	if err != nil {
		return nil, fmt.Errorf("job %d: %w", row.Seq, err)
	}
	i := &Issued{Job: j}
	if len(row.Block) > 0 {
		if i.Body, err = chain.DecodeBlockBody(row.Block); err != nil {
			return nil, fmt.Errorf("block of job %d: %w", row.Seq, err)
		}
	}
	return i, nil
}

// fileRow is a job in a file.
type fileRow struct {
	Body  []byte `cbor:"1,keyasint"`
	Block []byte `cbor:"2,keyasint"`
}

const jobSuffix = ".job"

func (k *Keeper) file(seq uint64) string {
	return filepath.Join(k.dir, strconv.FormatUint(seq, 10)+jobSuffix)
}

func (k *Keeper) writeFile(row *ledger.Job) error {
	data, err := cbor.Marshal(fileRow{row.Body, row.Block})
	if err != nil {
		return err
	}
	return writeDurably(k.file(row.Seq), data)
}

// load reads the jobs of an earlier run that wait for the ledger.
func (k *Keeper) load() error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), jobSuffix) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(k.dir, e.Name()))
		if err != nil {
			return err
		}
		var row fileRow
		if err := cbor.Unmarshal(data, &row); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		i, err := k.decode(&ledger.Job{Body: row.Body, Block: row.Block})
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		k.pending[i.Job.Seq] = i
	}
	return nil
}

// writeDurably writes a file that is there in full or not at all, whatever
// happens to the machine.
func writeDurably(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
