package httpcompat_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"purepool/httpcompat/recorded"
	"purepool/ledger"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
)

// deskFunc is a front desk made of two functions.
type deskFunc struct {
	work     func(context.Context, pool.WorkRequest) (pool.WorkGrant, error)
	solution func(context.Context, pool.SolutionRequest) (pool.SolutionReceipt, error)
}

func (d deskFunc) RequestWork(ctx context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
	return d.work(ctx, r)
}

func (d deskFunc) SubmitSolution(ctx context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
	return d.solution(ctx, r)
}

var someGrant = pool.WorkGrant{
	PoolAddress: "BLYpMhrivkozk8Tz4CfFrrKYnDeiGTJYAb", HashTarget: recorded.HashTarget,
	MinerGUID: "11111111-1111-4111-8111-111111111111", WorkID: "aaaaaaaa-0000-4000-8000-000000000001",
}

// instantDesk grants everything at once.
func instantDesk() deskFunc {
	return deskFunc{
		work: func(context.Context, pool.WorkRequest) (pool.WorkGrant, error) { return someGrant, nil },
		solution: func(context.Context, pool.SolutionRequest) (pool.SolutionReceipt, error) {
			return pool.SolutionReceipt{WorkID: someGrant.WorkID}, nil
		},
	}
}

// recordedDesk is the real front desk over tables in memory, which hold what the
// recording presumes. On the real tables the same cases run elsewhere.
type recordedDesk struct {
	current atomic.Pointer[pool.Desk]
	tables  atomic.Pointer[tables]
	fixture recorded.Fixture
}

func newRecordedDesk(t *testing.T) *recordedDesk {
	_, fixture, err := recorded.Load()
	if err != nil {
		t.Fatal(err)
	}
	d := &recordedDesk{fixture: fixture}
	d.reset(t)
	t.Cleanup(func() { d.current.Load().Close() })
	return d
}

func (d *recordedDesk) reset(t *testing.T) {
	t.Helper()
	target, err := pow.ParseTarget(d.fixture.HashTarget)
	if err != nil {
		t.Fatal(err)
	}
	tables := newTables(d.fixture, target)
	cfg := pool.Config{
		Frontend: "test", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Networks: []pool.Network{
			{Name: "main", ID: 1, Chain: chain.BiblePayMain(), PoolAddress: d.fixture.PoolAddress["main"], HashTarget: target},
			{Name: "test", ID: 2, Chain: chain.BiblePayTest(), PoolAddress: d.fixture.PoolAddress["test"], HashTarget: target},
		},
	}
	desk, err := pool.NewDesk(cfg, tables, acceptingQueue{})
	if err != nil {
		t.Fatal(err)
	}
	d.tables.Store(tables)
	if old := d.current.Swap(desk); old != nil {
		old.Close()
	}
}

func (d *recordedDesk) RequestWork(ctx context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
	return d.current.Load().RequestWork(ctx, r)
}

func (d *recordedDesk) SubmitSolution(ctx context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error) {
	return d.current.Load().SubmitSolution(ctx, r)
}

type acceptingQueue struct{}

func (acceptingQueue) Publish(context.Context, string, *queue.Share) error { return nil }

// tables are the miner, worker and work tables, in memory.
type tables struct {
	mu      sync.Mutex
	target  [32]byte
	miners  map[string]*ledger.Miner // by address
	workers map[[2]string]ledger.Worker
	works   map[uuid.UUID]ledger.Work
}

func networkID(name string) int16 {
	if name == "main" {
		return 1
	}
	return 2
}

func newTables(f recorded.Fixture, target [32]byte) *tables {
	s := &tables{
		target: target, miners: make(map[string]*ledger.Miner),
		workers: make(map[[2]string]ledger.Worker), works: make(map[uuid.UUID]ledger.Work),
	}
	for _, m := range f.Miners {
		s.miners[m.Address] = &ledger.Miner{
			ID: int64(len(s.miners) + 1), GUID: uuid.MustParse(m.GUID), Address: m.Address, Enabled: m.Enabled,
		}
		for _, w := range m.Works {
			worker := s.ensure(m.Address, w.Worker)
			id := uuid.MustParse(w.ID)
			s.works[id] = ledger.Work{
				ID: id, NetworkID: networkID(m.Network), WorkerID: worker.ID, HashTarget: target, IssuedAt: time.Now(),
			}
		}
	}
	return s
}

func (s *tables) ensure(address, name string) ledger.Worker {
	m := s.miners[address]
	if m == nil {
		m = &ledger.Miner{ID: int64(len(s.miners) + 1), GUID: uuid.New(), Address: address, Enabled: true}
		s.miners[address] = m
	}
	key := [2]string{address, name}
	w, ok := s.workers[key]
	if !ok {
		w = ledger.Worker{ID: int64(len(s.workers) + 1), Name: name}
	}
	w.Miner = *m
	s.workers[key] = w
	return w
}

func (s *tables) EnsureWorker(_ context.Context, _ int16, address, worker, _ string) (ledger.Worker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ensure(address, worker), nil
}

func (s *tables) InsertWorks(_ context.Context, works []ledger.Work) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range works {
		s.works[w.ID] = w
	}
	return nil
}

func (s *tables) IssuedWorks(_ context.Context, network int16, ids []uuid.UUID) (map[uuid.UUID]ledger.IssuedWork, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[uuid.UUID]ledger.IssuedWork)
	for _, id := range ids {
		w, ok := s.works[id]
		if !ok || w.NetworkID != network {
			continue
		}
		for _, worker := range s.workers {
			if worker.ID == w.WorkerID {
				found[id] = ledger.IssuedWork{
					ID: id, NetworkID: network, WorkerID: w.WorkerID, MinerID: worker.Miner.ID, MinerGUID: worker.Miner.GUID,
					HashTarget: w.HashTarget, IssuedAt: w.IssuedAt, MinerEnabled: worker.Miner.Enabled,
				}
			}
		}
	}
	return found, nil
}

// lastWork is the work that was written down last, by the time it was issued.
func (s *tables) lastWork() (last ledger.Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.works {
		if w.IssuedAt.After(last.IssuedAt) {
			last = w
		}
	}
	return last
}

func (s *tables) enable(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.miners[address].Enabled = true
}
