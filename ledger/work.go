package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// workTimeSlack is how far the time in a version 7 work id may lie from the
// work's IssuedAt.
const workTimeSlack = time.Hour

// issuedWorksSQL uses the primary key of the days' partitions (work_pkey). The
// subquery with OFFSET keeps the planner at one index probe for each id.
const issuedWorksSQL = `
SELECT w.id, w.worker_id, r.miner_id, m.guid, w.hash_target, w.issued_at, m.enabled, %s AS ignore_shares
FROM unnest(CAST($1 AS uuid[])) AS asked (id)
CROSS JOIN LATERAL (
    SELECT id, worker_id, network_id, hash_target, issued_at FROM work
    WHERE id = asked.id AND issued_at >= $2 AND issued_at < $3 OFFSET 0
) AS w
JOIN worker r ON r.id = w.worker_id
JOIN miner m ON m.id = r.miner_id AND m.network_id = w.network_id
WHERE w.network_id = $4`

// The ends of time for a work whose id tells none: before and after all days
// that have partitions.
var (
	workBeginning = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	workEnd       = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// issuedWorks looks works up; query is issuedWorksSQL as the role may read it.
func (c *conn) issuedWorks(ctx context.Context, query string, networkID int16, ids []uuid.UUID) (map[uuid.UUID]IssuedWork, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	works := make(map[uuid.UUID]IssuedWork, len(ids))
	for _, span := range workSpans(ids) {
		rows, err := c.db.QueryContext(ctx, query, uuidArray(span.ids), span.from, span.to, networkID)
		if err != nil {
			return nil, wrap(ctx, "look up works", err)
		}
		for rows.Next() {
			w := IssuedWork{NetworkID: networkID}
			var target []byte
			err = rows.Scan(&w.ID, &w.WorkerID, &w.MinerID, &w.MinerGUID, &target, &w.IssuedAt, &w.MinerEnabled, &w.IgnoreShares)
			if err != nil {
				break
			}
			copy(w.HashTarget[:], target)
			w.IssuedAt = w.IssuedAt.UTC()
			works[w.ID] = w
		}
		rows.Close()
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			return nil, wrap(ctx, "look up works", err)
		}
	}
	return works, nil
}

// workSpan is a set of work ids with the time within which they were issued.
type workSpan struct {
	ids      []uuid.UUID
	from, to time.Time
}

// workSpans splits ids into those that carry their time, for which only a few
// days' partitions are read, and the others, for which all are.
func workSpans(ids []uuid.UUID) []workSpan {
	var timed, free workSpan
	seen := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		if _, again := seen[id]; again {
			continue
		}
		seen[id] = struct{}{}
		at, ok := workIDTime(id)
		if !ok {
			free.ids = append(free.ids, id)
			continue
		}
		from, to := at.Add(-workTimeSlack), at.Add(workTimeSlack)
		if len(timed.ids) == 0 || from.Before(timed.from) {
			timed.from = from
		}
		if len(timed.ids) == 0 || to.After(timed.to) {
			timed.to = to
		}
		timed.ids = append(timed.ids, id)
	}
	var spans []workSpan
	if len(timed.ids) > 0 {
		spans = append(spans, timed)
	}
	if len(free.ids) > 0 {
		free.from, free.to = workBeginning, workEnd
		spans = append(spans, free)
	}
	return spans
}

// workIDTime returns the time in a version 7 UUID (RFC 9562: 48 bits of
// milliseconds since 1970). Times without partitions are treated as none.
func workIDTime(id uuid.UUID) (time.Time, bool) {
	if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	at := time.UnixMilli(ms).UTC()
	return at, at.After(workBeginning) && at.Before(workEnd)
}

// insertWorksSQL relies on work_pkey for writing the same group again.
const insertWorksSQL = `
INSERT INTO work (id, issued_at, worker_id, network_id, hash_target, thread_id, os, agent, remote_ip)
SELECT * FROM unnest(
    CAST($1 AS uuid[]), CAST($2 AS timestamptz[]), CAST($3 AS bigint[]), CAST($4 AS smallint[]), CAST($5 AS bytea[]),
    CAST($6 AS text[]), CAST($7 AS text[]), CAST($8 AS text[]), CAST($9 AS inet[]))
ON CONFLICT (id, issued_at) DO NOTHING`

// insertWorks writes a group of works with one statement.
func (c *conn) insertWorks(ctx context.Context, works []Work) error {
	if len(works) == 0 {
		return nil
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	n := len(works)
	ids, issued := make([]string, n), make([]string, n)
	workers, networks, targets := make([]int64, n), make([]int64, n), make([][]byte, n)
	threads, systems, agents, ips := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	for i := range works {
		w := &works[i]
		if at, ok := workIDTime(w.ID); ok && at.Sub(w.IssuedAt).Abs() > workTimeSlack {
			return wrap(ctx, "insert works: the id's time is not the work's", ErrBadRow)
		}
		ids[i], issued[i] = w.ID.String(), timeText(w.IssuedAt)
		workers[i], networks[i], targets[i] = w.WorkerID, int64(w.NetworkID), w.HashTarget[:]
		threads[i], systems[i] = freeText(w.ThreadID, MaxThreadID), freeText(w.OS, MaxOS)
		agents[i], ips[i] = freeText(w.Agent, MaxAgent), ipText(w.RemoteIP)
	}
	stmt, err := c.insertWorksStmt.prepared(ctx, c.db, insertWorksSQL)
	if err != nil {
		return wrap(ctx, "prepare to insert works", err)
	}
	_, err = stmt.ExecContext(ctx, pq.Array(ids), pq.Array(issued), pq.Array(workers), pq.Array(networks),
		pq.Array(targets), pq.Array(threads), pq.Array(systems), pq.Array(agents), pq.Array(ips))
	return wrap(ctx, "insert works", err)
}

// uuidArray writes ids as a Postgres array.
func uuidArray(ids []uuid.UUID) string {
	text := make([]byte, 0, 2+37*len(ids))
	text = append(text, '{')
	for i, id := range ids {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, id.String()...)
	}
	return string(append(text, '}'))
}
