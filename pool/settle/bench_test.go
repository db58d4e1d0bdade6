package settle_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// roundTime is how long the benchmarked round lasts.
const roundTime = 3 * time.Hour

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
		SELECT $1::timestamptz + n * $5::bigint * interval '1 microsecond', m.id, m.id, 65536, 99, $2, gen_random_uuid(), gen_random_uuid(), sha256(n::text::bytea)
		FROM generate_series(1, $3) AS n
		JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS k FROM miner WHERE network_id = $2) AS m ON m.k = (n * 7919::bigint) % $4`,
		w.now, w.net, *benchShares, *benchMiners, roundTime.Microseconds()/int64(*benchShares))
	tx.MustExec(`INSERT INTO network_minute (network_id, minute, shares, weight)
		SELECT network_id, date_trunc('minute', received_at, 'UTC'), count(*), sum(weight) FROM share WHERE network_id = $1 GROUP BY 1, 2`, w.net)
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	w.super.MustExec("VACUUM (ANALYZE) share") // the index by arrival knows of all, as it does while a pool lives
}

// BenchmarkShareOut ends a round and shares a block out, and beside it sums the
// same shares with one SQL statement, which is the limit. The round was counted
// along, as it is while a pool lives; what that cost in all is told too.
func BenchmarkShareOut(b *testing.B) {
	e := newEnv(b)
	var along, closing, sharing, limit time.Duration
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
		w.pass(roundTime)
		started := time.Now()
		if _, err := w.settler.CountShares(b.Context()); err != nil {
			b.Fatal(err)
		}
		along += time.Since(started)
		w.super.MustExec("VACUUM (ANALYZE) round_weight, balance, account")
		w.pass(10 * time.Second)
		w.chain.mine(5492 * coin)
		w.look()
		w.pass(5 * time.Minute) // the round ends some blocks later
		w.share("late", 1)
		w.strangers(3)
		started = time.Now()
		if _, err := w.settler.CountShares(b.Context()); err != nil {
			b.Fatal(err)
		}
		along += time.Since(started)
		started = time.Now()
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
	b.ReportMetric(per(along), "s/count-along")
	b.ReportMetric(per(closing), "s/close")
	b.ReportMetric(per(sharing), "s/share-out")
	b.ReportMetric(per(limit), "s/one-aggregate")
	b.ReportMetric(float64(closing+sharing)/float64(limit), "times-the-aggregate")
}

// BenchmarkAudit proves the books of a pool that has lived for long, and beside it
// sums the journal's lines by account with one SQL statement, which is the limit.
// What they take of memory is the most that was seen: of this process, and of all
// processes of the database beyond the memory that they share.
func BenchmarkAudit(b *testing.B) {
	w := newWorld(b, worldOptions{})
	fillJournal(b, w)
	lines := ledgertest.Value[int](b, w.db, `SELECT count(*) FROM journal_line`)
	var limit, proving time.Duration
	var limitMemory, memory memoryUse
	for b.Loop() {
		b.StopTimer()
		stop := watchMemory(b, w)
		started := time.Now()
		_ = ledgertest.Value[int](b, w.db, `SELECT count(*) FROM (SELECT account_id, sum(amount) FROM journal_line GROUP BY account_id) AS s`)
		limit += time.Since(started)
		limitMemory.most(stop())
		stop = watchMemory(b, w)
		b.StartTimer()
		started = time.Now()
		audit, err := w.books.Audit(b.Context(), w.net, ledger.AuditOptions{})
		if err != nil {
			b.Fatal(err)
		}
		proving += time.Since(started)
		memory.most(stop())
		for _, c := range audit.Checks {
			if c.Faults > 0 {
				b.Fatal(c)
			}
		}
	}
	b.ReportMetric(float64(lines), "lines")
	b.ReportMetric(proving.Seconds()/float64(b.N), "s/audit")
	b.ReportMetric(limit.Seconds()/float64(b.N), "s/one-aggregate")
	b.ReportMetric(float64(proving)/float64(limit), "times-the-aggregate")
	b.ReportMetric(memory.process, "MiB-process")
	b.ReportMetric(memory.database, "MiB-database")
	b.ReportMetric(limitMemory.database, "MiB-database-aggregate")
}

// memoryUse is what memory was used at most, in MiB.
type memoryUse struct{ process, database float64 }

func (m *memoryUse) most(other memoryUse) {
	m.process, m.database = max(m.process, other.process), max(m.database, other.database)
}

// watchMemory looks again and again until it is stopped.
func watchMemory(b *testing.B, w *world) (stop func() memoryUse) {
	b.Helper()
	server := ledgertest.Value[int](b, w.db, `SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'`)
	var server0 int
	if _, err := fmt.Sscan(procField(server, "PPid"), &server0); err != nil {
		b.Fatal(err)
	}
	over, result := make(chan struct{}), make(chan memoryUse)
	go func() {
		var m memoryUse
		for {
			m.most(memoryUse{mebibytes(os.Getpid(), "VmRSS"), childrenOf(server0)})
			select {
			case <-over:
				result <- m
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() memoryUse {
		close(over)
		return <-result
	}
}

func childrenOf(parent int) (sum float64) {
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil && procField(pid, "PPid") == fmt.Sprint(parent) {
			sum += mebibytes(pid, "RssAnon")
		}
	}
	return sum
}

// procField is a field of a process' status; empty where it has ended.
func procField(pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func mebibytes(pid int, field string) float64 {
	var kib float64
	_, _ = fmt.Sscan(procField(pid, field), &kib) // one that has just ended has none
	return kib / 1024
}

// fillJournal writes what a pool has after a long life: blocks that were shared
// out among all miners, four fifths of the journal; payments to all of them, in
// batches; a block that was orphaned after it had been shared out; a correction; a
// payment under way. All of it is older than the shares that are kept.
func fillJournal(b *testing.B, w *world) {
	b.Helper()
	miners := *benchMiners
	blocks := max(*benchEntries*8/10/(miners+2), 2)
	paydays := max(*benchEntries*2/10/(3*miners+3), 1)
	tx := w.super.MustBegin()
	defer tx.Rollback()
	tx.MustExec("SET LOCAL session_replication_role = replica")
	tx.MustExec(`INSERT INTO miner (network_id, address, created_at) SELECT 1, 'miner ' || n, now() - interval '90 days' FROM generate_series(1, $1) AS n`, miners)
	tx.MustExec(`INSERT INTO account (network_id, kind) SELECT 1, unnest('{reward,fee,paid,network_fee,correction}'::text[])`)
	tx.MustExec(`INSERT INTO account (network_id, kind, miner_id) SELECT 1, kind, id FROM miner, unnest('{miner,reserved}'::text[]) AS kind`)
	// Blocks, each with its round; the last one was orphaned, and its round is paid by nobody yet.
	tx.MustExec(`INSERT INTO block (network_id, height, hash, block_time, seen_at, reward, state, main)
		SELECT 1, n, sha256(n::text::bytea), at, at, $2::bigint * 1000 + 77, CASE WHEN n < $1 THEN 'mature' ELSE 'orphaned' END, n < $1
		FROM (SELECT n, now() - interval '30 days' + n * interval '1 minute' AS at FROM generate_series(1, $1) AS n) AS b`, blocks, miners)
	tx.MustExec(`UPDATE round SET from_at = (SELECT max(seen_at) FROM block) WHERE network_id = 1`)
	tx.MustExec(`INSERT INTO round (network_id, from_at, until_at, block_id, state, settled_at, paid_by, reopened)
		SELECT 1, coalesce(lag(seen_at) OVER (ORDER BY id), '1970-01-01'), seen_at, id,
		       CASE WHEN main THEN 'settled' ELSE 'closed' END, CASE WHEN main THEN seen_at END, CASE WHEN main THEN id END, NOT main FROM block`)
	tx.MustExec(`INSERT INTO round_weight SELECT r.id, r.id, m.id, 100, 100 * 65536 FROM round r, miner m WHERE r.state <> 'open'`)
	tx.MustExec(`INSERT INTO round_total SELECT r.id, 1, $1::integer, 100 * $1::bigint, 65536 * 100 * $1::numeric FROM round r WHERE r.state <> 'open'`, miners)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key, block_id) SELECT 1, 'block', 'block:' || id || ':1', id FROM block ORDER BY id`)
	tx.MustExec(`INSERT INTO journal_line (entry_id, account_id, amount)
		SELECT j.id, a.id, CASE a.kind WHEN 'miner' THEN 1000 WHEN 'fee' THEN 77 ELSE -b.reward END
		FROM journal j JOIN block b ON b.id = j.block_id, account a WHERE a.kind IN ('miner', 'fee', 'reward') ORDER BY 1, 2`)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key, block_id, reverses) SELECT 1, 'reversal', 'reversal:' || j.id, b.id, j.id
		FROM journal j JOIN block b ON b.id = j.block_id WHERE NOT b.main`)
	tx.MustExec(`INSERT INTO journal_line SELECT j.id, l.account_id, -l.amount FROM journal j JOIN journal_line l ON l.entry_id = j.reverses ORDER BY 1, 2`)
	// Payments: batches of 500 miners for each payday, the last of which is under way.
	tx.MustExec(`INSERT INTO payment (network_id, tag, state, txid, network_fee, booked, confirmations)
		SELECT 1, 'bench ' || day || ' ' || batch, CASE WHEN day < $1 THEN 'confirmed' ELSE 'intent' END, CASE WHEN day < $1 THEN sha256((day || ' ' || batch)::bytea) END,
		       CASE WHEN day < $1 THEN 5 END, day < $1, CASE WHEN day < $1 THEN 6 ELSE 0 END
		FROM generate_series(1, $1) AS day, generate_series(0, ($2::integer - 1) / 500) AS batch ORDER BY day, batch`, paydays, miners)
	tx.MustExec(`INSERT INTO payment_item (payment_id, miner_id, address, amount, state)
		SELECT p.id, m.id, m.address, 700, CASE p.state WHEN 'confirmed' THEN 'paid' ELSE 'planned' END
		FROM payment p JOIN (SELECT id, address, (row_number() OVER (ORDER BY id) - 1) / 500 AS batch FROM miner) AS m
		ON split_part(p.tag, ' ', 3) = m.batch::text ORDER BY p.id, m.id`)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key, payment_id) SELECT 1, 'payment', 'payment:' || id || ':reserve', id FROM payment ORDER BY id`)
	tx.MustExec(`INSERT INTO journal_line SELECT j.id, a.id, CASE a.kind WHEN 'miner' THEN -i.amount ELSE i.amount END
		FROM journal j JOIN payment_item i ON i.payment_id = j.payment_id JOIN account a ON a.miner_id = i.miner_id ORDER BY 1, 2`)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key, payment_id) SELECT 1, 'payment', 'payment:' || id || ':paid:1', id FROM payment WHERE booked ORDER BY id`)
	tx.MustExec(`INSERT INTO journal_line SELECT j.id, a.id, -i.amount FROM journal j JOIN payment_item i ON i.payment_id = j.payment_id
		JOIN account a ON a.miner_id = i.miner_id AND a.kind = 'reserved' WHERE j.key LIKE '%:paid:1' ORDER BY 1, 2`)
	tx.MustExec(`INSERT INTO journal_line SELECT j.id, a.id, CASE a.kind WHEN 'paid' THEN (SELECT sum(amount) FROM payment_item WHERE payment_id = j.payment_id) - 5 ELSE 5 END
		FROM journal j, account a WHERE j.key LIKE '%:paid:1' AND a.kind IN ('paid', 'network_fee')`)
	tx.MustExec(`INSERT INTO journal (network_id, kind, key) VALUES (1, 'correction', 'correction:bench')`)
	tx.MustExec(`INSERT INTO journal_line SELECT j.id, a.id, CASE a.kind WHEN 'miner' THEN 5 ELSE -5 END FROM journal j, account a
		WHERE j.key = 'correction:bench' AND a.id IN ((SELECT min(id) FROM account WHERE kind = 'miner'), (SELECT id FROM account WHERE kind = 'correction'))`)
	tx.MustExec(`INSERT INTO balance (account_id, amount) SELECT account_id, sum(amount) FROM journal_line GROUP BY account_id`)
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	w.super.MustExec("VACUUM ANALYZE")
}
