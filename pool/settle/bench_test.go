package settle_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/settle"
)

// The full sizes: -settle.shares 1000000 -settle.miners 10000 -settle.entries 10000000.
var (
	benchShares  = flag.Int("settle.shares", 100_000, "shares of the benchmarked round")
	benchMiners  = flag.Int("settle.miners", 1_000, "miners of the benchmarked round")
	benchEntries = flag.Int("settle.entries", 100_000, "lines of the benchmarked journal")
)

// fillRound writes a round's shares past all triggers: what is measured comes
// after.
func fillRound(b *testing.B, w *world) {
	b.Helper()
	w.store.EnsurePartitions(b.Context(), time.Now(), map[int16]int32{w.net: 99})
	tx := w.super.MustBegin()
	defer tx.Rollback()
	tx.MustExec("SET LOCAL session_replication_role = replica")
	tx.MustExec(`INSERT INTO miner (network_id, address) SELECT $1, 'miner ' || n FROM generate_series(1, $2) AS n ON CONFLICT DO NOTHING`, w.net, *benchMiners)
	tx.MustExec(`INSERT INTO share (received_at, worker_id, miner_id, weight, height, network_id, id, work_id, proof)
		SELECT $1::timestamptz + n * interval '1 microsecond', m.id, m.id, 65536, 99, $2, gen_random_uuid(), gen_random_uuid(), sha256(n::text::bytea)
		FROM generate_series(1, $3) AS n
		JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS k FROM miner WHERE network_id = $2) AS m ON m.k = (n * 7919::bigint) % $4`,
		w.now, w.net, *benchShares, *benchMiners)
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	w.super.MustExec("ANALYZE share")
}

// BenchmarkShareOut ends a round and shares a block out, and beside it sums the
// same shares with one SQL statement, which is the limit.
func BenchmarkShareOut(b *testing.B) {
	e := newEnv(b)
	var closing, sharing, limit time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		name := fmt.Sprintf("b%d", n)
		if err := ledger.Migrate(b.Context(), e.db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: name}}}); err != nil {
			b.Fatal(err)
		}
		w := newWorldOn(b, e, name, worldOptions{settler: settle.SettlerOptions{Fee: 1_500_000}})
		fillRound(b, w)
		w.pass(10 * time.Second)
		w.chain.mine(5492 * coin)
		w.look()
		w.strangers(3)
		started := time.Now()
		var weight string
		if err := e.super.Get(&weight, `SELECT sum(weight) FROM (SELECT miner_id, count(*), sum(weight) AS weight FROM share
			WHERE network_id = $1 GROUP BY miner_id) AS s`, w.net); err != nil {
			b.Fatal(err)
		}
		limit += time.Since(started)
		b.StartTimer()
		started = time.Now()
		if w.closeRounds() != 1 {
			b.Fatal("no round has ended")
		}
		closing += time.Since(started)
		started = time.Now()
		done, err := w.settler.ShareOutAll(b.Context())
		if err != nil || len(done) != 1 || len(done[0].Credits) != *benchMiners {
			b.Fatal(len(done), err)
		}
		sharing += time.Since(started)
	}
	per := func(d time.Duration) float64 { return d.Seconds() / float64(b.N) }
	b.ReportMetric(per(closing), "s/close")
	b.ReportMetric(per(sharing), "s/share-out")
	b.ReportMetric(per(limit), "s/one-aggregate")
	b.ReportMetric(float64(closing+sharing)/float64(limit), "times-the-aggregate")
}

// BenchmarkAudit proves a journal, and beside it sums its lines by account with
// one SQL statement, which is the limit.
func BenchmarkAudit(b *testing.B) {
	w := newWorld(b, worldOptions{})
	fillJournal(b, w)
	var limit time.Duration
	for b.Loop() {
		b.StopTimer()
		started := time.Now()
		_ = ledgertest.Value[int](b, w.db, `SELECT count(*) FROM (SELECT account_id, sum(amount) FROM journal_line GROUP BY account_id) AS s`)
		limit += time.Since(started)
		b.StartTimer()
		audit, err := w.books.Audit(b.Context(), w.net, ledger.AuditOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range audit.Checks {
			if c.Faults > 0 {
				b.Fatal(c)
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/audit")
	b.ReportMetric(limit.Seconds()/float64(b.N), "s/one-aggregate")
	b.ReportMetric(float64(b.Elapsed())/float64(limit), "times-the-aggregate")
}

// fillJournal writes entries of a thousand credits each, and their balances.
func fillJournal(b *testing.B, w *world) {
	b.Helper()
	tx := w.super.MustBegin()
	defer tx.Rollback()
	tx.MustExec("SET LOCAL session_replication_role = replica")
	const perEntry = 1000
	entries := max(*benchEntries/(perEntry+1), 1)
	tx.MustExec(`INSERT INTO miner (network_id, address) SELECT 1, 'miner ' || n FROM generate_series(1, $1) AS n`, perEntry)
	tx.MustExec(`INSERT INTO account (network_id, kind, miner_id) SELECT 1, 'miner', id FROM miner`)
	tx.MustExec(`INSERT INTO account (network_id, kind) VALUES (1, 'correction')`)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key) SELECT 1, 'correction', 'bench:' || n FROM generate_series(1, $1) AS n`, entries)
	tx.MustExec(`INSERT INTO journal_line (entry_id, account_id, amount)
		SELECT j.id, a.id, CASE a.kind WHEN 'miner' THEN 7 ELSE -7 * $1::bigint END FROM journal j CROSS JOIN account a ORDER BY 1, 2`, perEntry)
	tx.MustExec(`INSERT INTO balance (account_id, amount) SELECT account_id, sum(amount) FROM journal_line GROUP BY account_id`)
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	w.super.MustExec("VACUUM ANALYZE journal_line")
}
