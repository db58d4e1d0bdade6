package ledger_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
)

// batchOf returns n credited shares of 20 workers with solutions of real size.
func batchOf(tb testing.TB, rng *rand.Rand, n int) []ledger.Verdict {
	batch := make([]ledger.Verdict, n)
	for i := range batch {
		v := credited(tb, 100000, rng.Uint64())
		v.WorkerID, v.MinerID = int64(1+i%20), int64(1+i%20/4)
		v.Solution = solutionText(rng)
		batch[i] = v
	}
	return batch
}

// BenchmarkWriteVerdicts and BenchmarkBareCopy write the same rows into the
// same tables of a server with fsync, in one transaction a batch: the second
// only copies, and is what the first is measured by.
func BenchmarkWriteVerdicts(b *testing.B) {
	for _, size := range []int{500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			cluster := startDurable(b)
			store := openBackend(b, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{})
			rng := rand.New(rand.NewPCG(1, 2))
			write(b, store, batchOf(b, rng, size)...)
			var shares int
			for b.Loop() {
				b.StopTimer()
				batch := batchOf(b, rng, size)
				b.StartTimer()
				if got := write(b, store, batch...); got.Credited != size {
					b.Fatalf("written: %+v", got)
				}
				shares += size
			}
			b.ReportMetric(float64(shares)/b.Elapsed().Seconds(), "shares/s")
		})
	}
}

func BenchmarkBareCopy(b *testing.B) {
	for _, size := range []int{500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			cluster := startDurable(b)
			store := openBackend(b, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{})
			if err := store.EnsurePartitions(b.Context(), time.Now(), map[int16]int32{mainNet: 100000}); err != nil {
				b.Fatal(err)
			}
			db, err := sql.Open("postgres", cluster.DSN(pgcluster.Superuser, "pool")+" search_path=purepool")
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			rng := rand.New(rand.NewPCG(1, 2))
			if err := bareCopy(db, batchOf(b, rng, size)); err != nil {
				b.Fatal(err)
			}
			var shares int
			for b.Loop() {
				b.StopTimer()
				batch := batchOf(b, rng, size)
				b.StartTimer()
				if err := bareCopy(db, batch); err != nil {
					b.Fatal(err)
				}
				shares += size
			}
			b.ReportMetric(float64(shares)/b.Elapsed().Seconds(), "shares/s")
		})
	}
}

// bareCopy copies shares and their solutions in one transaction, and does
// nothing else.
func bareCopy(db *sql.DB, batch []ledger.Verdict) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	shares, err := tx.Prepare(`COPY share (received_at, judged_at, worker_id, miner_id, weight, hashes_per_second, height, network_id, id, work_id, proof) FROM STDIN`)
	if err != nil {
		return err
	}
	for _, v := range batch {
		_, err := shares.Exec(v.ReceivedAt, v.ReceivedAt, v.WorkerID, v.MinerID, v.Weight, v.HashesPerSecond,
			int64(v.Height), int64(mainNet), v.ShareID.String(), v.WorkID.String(), v.Proof[:])
		if err != nil {
			return err
		}
	}
	if _, err := shares.Exec(); err != nil {
		return err
	}
	solutions, err := tx.Prepare(`COPY share_solution (received_at, share_id, solution) FROM STDIN`)
	if err != nil {
		return err
	}
	for _, v := range batch {
		if _, err := solutions.Exec(v.ReceivedAt, v.ShareID.String(), string(v.Solution)); err != nil {
			return err
		}
	}
	if _, err := solutions.Exec(); err != nil {
		return err
	}
	return tx.Commit()
}

// BenchmarkInsertWorks writes groups of works, each with one statement.
func BenchmarkInsertWorks(b *testing.B) {
	cluster := startDurable(b)
	store := openFrontend(b, cluster.DSN(ledger.RoleFrontend, "pool"), ledger.Options{})
	worker, err := store.EnsureWorker(b.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1, 64, 500} {
		b.Run(fmt.Sprintf("group=%d", size), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				group := make([]ledger.Work, size)
				for i := range group {
					group[i] = ledger.Work{ID: newID(b), NetworkID: mainNet, WorkerID: worker.ID, IssuedAt: time.Now(), OS: "LIN", Agent: "1.1.3.8", ThreadID: "0"}
				}
				b.StartTimer()
				if err := store.InsertWorks(b.Context(), group); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "works/s")
		})
	}
}

// BenchmarkWriteVerdictsTogether has four validators write at once.
func BenchmarkWriteVerdictsTogether(b *testing.B) {
	cluster := startDurable(b)
	store := openBackend(b, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{})
	const size, writers = 500, 4
	rng := rand.New(rand.NewPCG(1, 2))
	write(b, store, batchOf(b, rng, size)...)
	for b.Loop() {
		b.StopTimer()
		batches := make([][]ledger.Verdict, writers)
		for i := range batches {
			batches[i] = batchOf(b, rng, size)
		}
		b.StartTimer()
		var all sync.WaitGroup
		for _, batch := range batches {
			all.Go(func() {
				if _, err := store.WriteVerdicts(b.Context(), mainNet, batch); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(float64(size*writers*b.N)/b.Elapsed().Seconds(), "shares/s")
}

// BenchmarkIssuedWorks looks up the works of a batch of shares.
func BenchmarkIssuedWorks(b *testing.B) {
	cluster := startDurable(b)
	front := openFrontend(b, cluster.DSN(ledger.RoleFrontend, "pool"), ledger.Options{})
	worker, err := front.EnsureWorker(b.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		b.Fatal(err)
	}
	var timed, free []uuid.UUID
	for range 40 {
		works := make([]ledger.Work, 1000)
		for i := range works {
			works[i] = ledger.Work{ID: newID(b), NetworkID: mainNet, WorkerID: worker.ID, IssuedAt: time.Now()}
			if i%2 == 0 {
				works[i].ID = uuid.New()
				free = append(free, works[i].ID)
			} else {
				timed = append(timed, works[i].ID)
			}
		}
		if err := front.InsertWorks(b.Context(), works); err != nil {
			b.Fatal(err)
		}
	}
	back := openBackend(b, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{})
	for name, ids := range map[string][]uuid.UUID{"timed": timed, "free": free} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				found, err := back.IssuedWorks(b.Context(), mainNet, ids[:500])
				if err != nil || len(found) != 500 {
					b.Fatal(len(found), err)
				}
			}
		})
	}
}
