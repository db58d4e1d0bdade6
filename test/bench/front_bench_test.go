package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/sim/load"
	"purepool/sim/miner"
)

const poolAddress = "yQRnSo2Fa4KofZdWVuTFqtYoxeTZqXYU7y"

// rounds of both servers in turn, so that whatever else the machine does falls on
// both.
const rounds = 3

// BenchmarkReadyToMine2 asks for work, whose row is durable in Postgres before the
// answer. The limit is net/http with a handler that answers a constant.
func BenchmarkReadyToMine2(b *testing.B) { benchmarkFront(b, "readytomine2") }

// BenchmarkSolution hands in real solutions of 3.4 kB, each durable in the queue
// before the answer.
func BenchmarkSolution(b *testing.B) { benchmarkFront(b, "solution") }

func benchmarkFront(b *testing.B, action string) {
	cluster := startPostgres(b)
	front := start(b, "front", envDSN+"="+cluster.DSN(ledger.RoleFrontend, "purepool"),
		envQueue+"="+filepath.Join(b.TempDir(), "queue"), envPool+"="+poolAddress)
	bare, durable := start(b, "bare"), start(b, "durable")
	client, err := miner.NewClient(front.addr.String())
	must(b, err)
	numbered, ok, err := load.Against(b.Context(), client, "test", action, 100)
	must(b, err)
	var sent int64 // over all runs: a share that was handed in before is refused
	source := func(dst []byte, n int64) []byte {
		sent++
		return numbered(dst, sent)
	}
	for _, clients := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			for b.Loop() {
				var limit, pool []*load.Result
				for range rounds {
					limit = append(limit, measure(b, bare, source, nil, clients))
					pool = append(pool, measure(b, front, source, ok, clients))
				}
				report(b, median(limit), median(pool))
			}
			if clients == 1 {
				alone := measure(b, durable, source, nil, 1)
				b.ReportMetric(alone.RequestsPerSecond(), "bare-with-fsync-req/s")
			}
			b.ReportMetric(0, "ns/op") // a run is no operation
			b.ReportMetric(float64(front.memory(b))/(1<<20), "MiB-most")
		})
	}
}

func measure(b *testing.B, s *server, source load.Source, ok []byte, clients int) *load.Result {
	b.Helper()
	r, err := load.Run(context.Background(), load.Options{
		Addr: s.addr, Source: source, Concurrency: clients, Duration: 2 * time.Second, OK: ok,
	})
	must(b, err)
	if r.Failed+r.Refused > 0 {
		b.Fatalf("%v: refused %d, failed %d: %s %v", s.addr, r.Refused, r.Failed, r.Sample, r.Err)
	}
	return r
}

func median(results []*load.Result) *load.Result {
	slices.SortFunc(results, func(a, b *load.Result) int { return int(a.RequestsPerSecond() - b.RequestsPerSecond()) })
	return results[len(results)/2]
}

func report(b *testing.B, limit, pool *load.Result) {
	b.ReportMetric(limit.RequestsPerSecond(), "bare-req/s")
	b.ReportMetric(pool.RequestsPerSecond(), "req/s")
	b.ReportMetric(100*pool.RequestsPerSecond()/limit.RequestsPerSecond(), "%-of-bare")
	b.ReportMetric(float64(pool.Latency.Percentile(50).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(pool.Latency.Percentile(99).Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(limit.Latency.Percentile(99).Microseconds())/1000, "bare-p99-ms")
}

// startPostgres starts a server that fsyncs every commit, as a pool's must.
func startPostgres(b *testing.B) *pgcluster.Cluster {
	b.Helper()
	dir, err := os.MkdirTemp("", "purepool-bench-")
	must(b, err)
	cluster, err := pgcluster.Start(b.Context(), pgcluster.Options{Dir: dir, ThrowAway: true})
	must(b, err)
	b.Cleanup(func() { _ = cluster.Stop(context.Background()) })
	must(b, cluster.EnsureDatabase(b.Context(), "purepool"))
	must(b, ledger.Migrate(b.Context(), cluster.DSN(pgcluster.Superuser, "purepool"), ledger.MigrateOptions{
		Networks: []ledger.NetworkSeed{{Name: "test"}},
	}))
	return cluster
}
