package bench

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/pool/pow"

	sim "purepool/sim/stratum"
)

// startStratum starts the port that is measured.
func startStratum(b *testing.B, algorithm string, judge bool) (*server, *pgcluster.Cluster) {
	b.Helper()
	cluster := startPostgres(b)
	env := []string{
		envDSN + "=" + cluster.DSN(ledger.RoleFrontend, "purepool"), envQueue + "=" + filepath.Join(b.TempDir(), "queue"),
		envAlgorithm + "=" + algorithm,
	}
	if judge {
		env = append(env, envJudge+"="+cluster.DSN(ledger.RoleBackend, "purepool"))
	}
	return start(b, "stratum", env...), cluster
}

// submits measures submitting from many connections. A server whose port closes a
// connection, or refuses more than the one hash in 65,536 that no difficulty is
// easy enough for, is no server.
func submits(b *testing.B, s *server, connections, pipeline int) *sim.LoadResult {
	b.Helper()
	return submitsFor(b, s, connections, pipeline, 2*time.Second)
}

func submitsFor(b *testing.B, s *server, connections, pipeline int, over time.Duration) *sim.LoadResult {
	b.Helper()
	l, err := sim.NewLoad(sim.LoadOptions{
		Pool: s.addr.String(), Worker: poolAddress + ".l", Password: fmt.Sprintf("d=%g", lowest),
		Connections: connections, Pipeline: pipeline, Duration: over,
	})
	must(b, err)
	r, err := l.Run(b.Context())
	must(b, err)
	var refused int64
	for _, n := range r.Refused {
		refused += n
	}
	if r.Lost > 0 || refused > r.Accepted/5000+5 {
		b.Fatalf("%s", r.JSON())
	}
	return r
}

// BenchmarkStratumSubmit hands in shares over 1,000 connections: checked, durable
// in the queue, answered. The limit is a bare line echo on gnet.
func BenchmarkStratumSubmit(b *testing.B) {
	s, _ := startStratum(b, "sha256d", false)
	echo := start(b, "echo")
	for _, pipeline := range []int{1, 8} {
		b.Run(fmt.Sprintf("in-flight=%d", pipeline), func(b *testing.B) {
			var pool, limit []*sim.LoadResult
			for b.Loop() {
				for range rounds {
					limit = append(limit, submits(b, echo, 1000, pipeline))
					pool = append(pool, submits(b, s, 1000, pipeline))
				}
			}
			ours, bare := middleLoad(pool), middleLoad(limit)
			b.ReportMetric(0, "ns/op") // a run is no operation
			b.ReportMetric(ours.PerSecond, "shares/s")
			b.ReportMetric(bare.PerSecond, "echo/s")
			b.ReportMetric(100*ours.PerSecond/bare.PerSecond, "%-of-echo")
			b.ReportMetric(ours.Submit.P50, "p50-ms")
			b.ReportMetric(ours.Submit.P99, "p99-ms")
		})
	}
	b.Logf("most resident memory of the pool: %d MiB", s.memory(b)>>20)
}

func middleLoad(all []*sim.LoadResult) *sim.LoadResult {
	rates := make([]float64, len(all))
	for i, r := range all {
		rates[i] = r.PerSecond
	}
	m := middle(rates)
	for _, r := range all {
		if r.PerSecond == m {
			return r
		}
	}
	return all[0]
}

// BenchmarkStratumX11 does the same with x11. The limit is the rate at which the
// same processors hash every share twice, since frontend and backend both check.
func BenchmarkStratumX11(b *testing.B) {
	s, _ := startStratum(b, "x11", false)
	var pool, limit []float64
	for b.Loop() {
		for range rounds {
			limit = append(limit, hashes(b, "x11", time.Second)/2)
			pool = append(pool, submits(b, s, 1000, 8).PerSecond)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(pool), "shares/s")
	b.ReportMetric(middle(limit), "hashed-twice/s")
	b.ReportMetric(100*middle(pool)/middle(limit), "%-of-limit")
}

// BenchmarkStratumX11Judged has the backend judge the same shares on the same
// processors, into Postgres, and counts from the first submit to the last verdict.
// The limit is measured before and after each round, for a processor whose speed
// changes meanwhile.
func BenchmarkStratumX11Judged(b *testing.B) {
	s, cluster := startStratum(b, "x11", true)
	db, err := sql.Open("postgres", cluster.DSN(pgcluster.Superuser, "purepool"))
	must(b, err)
	defer db.Close()
	submitsFor(b, s, 1000, 8, time.Second) // makes the workers
	var ours, limits, parts []float64
	for b.Loop() {
		before := hashes(b, "x11", time.Second) / 2
		for range 7 {
			judged := judgedPerSecond(b, s, db)
			after := hashes(b, "x11", time.Second) / 2
			limit := (before + after) / 2
			before = after
			ours, limits, parts = append(ours, judged), append(limits, limit), append(parts, 100*judged/limit)
			b.Logf("%.0f of %.0f: %.1f %%", judged, limit, 100*judged/limit)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(ours), "judged/s")
	b.ReportMetric(middle(limits), "hashed-twice/s")
	b.ReportMetric(middle(parts), "%-of-limit")
	var rejected int64
	must(b, db.QueryRowContext(b.Context(), `SELECT count(*) FROM purepool.rejected_share`).Scan(&rejected))
	if rejected > 0 {
		b.Fatalf("%d honest shares rejected", rejected)
	}
}

// judgedPerSecond submits for a while and waits for the last verdict.
func judgedPerSecond(b *testing.B, s *server, db *sql.DB) float64 {
	b.Helper()
	before, began := verdicts(b, db), time.Now()
	load := submitsFor(b, s, 1000, 8, 4*time.Second)
	for verdicts(b, db) < before+load.Accepted {
		time.Sleep(10 * time.Millisecond)
	}
	return float64(load.Accepted) / (time.Since(began).Seconds() - load.ConnectSeconds)
}

// verdicts counts by the roll-ups, which come in the same transaction as the shares.
func verdicts(b *testing.B, db *sql.DB) (n int64) {
	b.Helper()
	must(b, db.QueryRowContext(b.Context(), `SELECT coalesce(sum(shares), 0) FROM purepool.network_minute`).Scan(&n))
	return n
}

// hashes returns how many headers all processors hash in a second.
func hashes(b *testing.B, name string, over time.Duration) float64 {
	algorithm, err := pow.AlgorithmByName(name)
	must(b, err)
	counts := make([]int, runtime.GOMAXPROCS(0))
	end := time.Now().Add(over)
	var all sync.WaitGroup
	for i := range counts {
		all.Go(func() {
			hasher := algorithm.NewHasher()
			header := make([]byte, 80)
			for ; counts[i]%64 != 0 || time.Now().Before(end); counts[i]++ {
				header[76], header[77], header[78] = byte(counts[i]), byte(counts[i]>>8), byte(counts[i]>>16)
				hasher.Hash(header)
			}
		})
	}
	all.Wait()
	n := 0
	for _, c := range counts {
		n += c
	}
	return float64(n) / over.Seconds()
}

// BenchmarkStratumIdle reports the resident memory of 18,000 authorized
// connections that do nothing, each.
func BenchmarkStratumIdle(b *testing.B) {
	const n, warm = 18_000, 200
	needFiles(b, n+500)
	for b.Loop() {
		s, _ := startStratum(b, "sha256d", false)
		resident := func() (n float64) {
			s.tell(b, "rss")
			_, err := fmt.Sscan(s.said(b), &n)
			must(b, err)
			return n
		}
		first := connect(b, s, warm, nil) // what the first connections bring up is not theirs alone
		before := resident()
		rest := connect(b, s, n-warm, nil)
		b.ReportMetric((resident()-before)/(n-warm), "resident-B/connection")
		b.ReportMetric(0, "ns/op")
		must(b, first.Close())
		must(b, rest.Close())
		s.stop()
	}
}

// connect logs connections in and leaves them idle.
func connect(b *testing.B, s *server, n int, passwords []string) *sim.Load {
	b.Helper()
	l, err := sim.NewLoad(idle(s, n, passwords))
	must(b, err)
	must(b, l.Connect(b.Context()))
	return l
}

func idle(s *server, n int, passwords []string) sim.LoadOptions {
	return sim.LoadOptions{Pool: s.addr.String(), Worker: poolAddress + ".l", Passwords: passwords, Connections: n, Idle: true}
}

// BenchmarkStratumBroadcast tells a new job to 15,000 connections of twenty
// difficulties, each of which has a coinbase of its own. The limit is a bare loop
// that writes the same bytes to the same sockets.
func BenchmarkStratumBroadcast(b *testing.B) {
	const n, times, difficulties = 15_000, 20, 20
	needFiles(b, n+500)
	s, _ := startStratum(b, "sha256d", false)
	var passwords []string
	for i := range difficulties {
		passwords = append(passwords, fmt.Sprintf("d=%d", 3<<i))
	}
	l := connect(b, s, n, passwords)
	defer func() { must(b, l.Close()) }()
	s.tell(b, "prepare")
	if found := s.said(b); !strings.HasPrefix(found, fmt.Sprint(n)) && found != fmt.Sprint(n+1) {
		b.Fatalf("the bare loop finds %s sockets", found)
	}
	measure := func(command string) sim.Latency {
		r, err := l.Broadcasts(context.Background(), times, func() { s.tell(b, command) })
		must(b, err)
		return r
	}
	for b.Loop() {
		measure("bare") // whoever comes first warms up for the other
		limit, ours := measure("bare"), measure("job")
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ours.P50, "p50-ms")
		b.ReportMetric(ours.P99, "p99-ms")
		b.ReportMetric(limit.P50, "bare-p50-ms")
		b.ReportMetric(limit.P99, "bare-p99-ms")
		b.ReportMetric(ours.P99/limit.P99, "times-bare")
	}
}

// needFiles raises the number of files that this process and its children may
// open, and says what to do where that is not enough.
func needFiles(b *testing.B, n uint64) {
	b.Helper()
	var limit syscall.Rlimit
	must(b, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur >= n {
		return
	}
	raised := syscall.Rlimit{Cur: n, Max: max(limit.Max, n)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		b.Fatalf("%d open files are needed and %d are allowed: raise them with ulimit -n (%v)", n, limit.Max, err)
	}
}
