package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// OnlineWindow is how long after its last share a worker counts as online. A
// classic client submits at most one solution in two minutes, and may need
// several minutes to find it.
const OnlineWindow = 15 * time.Minute

// shortWindow is the span of a miner's hash rate of the moment.
const shortWindow = 10 * time.Minute

// RolledUp says what RollUp has done.
type RolledUp struct {
	// Busy is true where somebody else is rolling this network up right now;
	// nothing was done.
	Busy   bool
	Hours  int // hours of workers made anew
	Days   int // days of workers made anew
	Rounds int // rounds summed up
	Miners int // miners seen in the last day
}

// RollUp brings the roll-ups of a network up to date: hours and days of workers
// from their minutes, those of the whole network, what miners did of late, and
// totals of rounds. It is to be called about every half minute, by any number
// of backends, and at least once before minutes are dropped; calling it twice
// changes nothing.
//
// Which hours have changed is seen by the sums of the whole network, which move
// in the transaction of every verdict: an hour whose sums are those of its
// minutes needs nothing. So a share that is judged a day late is found, and an
// hour whose minutes were dropped is never touched.
func (s *BackendStore) RollUp(ctx context.Context, networkID int16, now time.Time) (done RolledUp, err error) {
	ctx, cancel := context.WithTimeout(ctx, booksTimeout)
	defer cancel()
	// One snapshot: sums and rows that are compared must be of one moment.
	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return done, wrap(ctx, "roll up", err)
	}
	defer tx.Rollback()
	var turn bool
	err = tx.GetContext(ctx, &turn, `SELECT pg_try_advisory_xact_lock(hashtextextended('purepool:rollup:' || $1, 0))`, fmt.Sprint(networkID))
	if err != nil || !turn {
		return RolledUp{Busy: err == nil}, wrap(ctx, "roll up", err)
	}
	r := &roller{tx: tx, networkID: networkID, now: storedTime(now)}
	for _, step := range []struct {
		name string
		run  func(context.Context, *RolledUp) error
	}{
		{"hours", r.hours}, {"days", r.days}, {"rounds", r.rounds}, {"recent miners", r.recent},
	} {
		if err := step.run(ctx, &done); err != nil {
			return RolledUp{}, wrap(ctx, "roll up "+step.name, err)
		}
	}
	return done, wrap(ctx, "roll up", tx.Commit())
}

// roller is one run of RollUp.
type roller struct {
	tx        *sqlx.Tx
	networkID int16
	now       time.Time
}

// changedHoursSQL uses network_minute_pkey from the first day on that late
// shares may still change, or from where the last run ended.
const changedHoursSQL = `
SELECT m.hour FROM (
    SELECT date_trunc('hour', minute, 'UTC') AS hour,
           sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected, sum(rejected_unknown)::bigint AS unknown, sum(weight) AS weight
    FROM network_minute
    WHERE network_id = $1
      AND minute >= least($2, (SELECT coalesce(max(hour), '-infinity') FROM network_hour WHERE network_id = $1))
    GROUP BY 1) AS m
LEFT JOIN network_hour h ON h.network_id = $1 AND h.hour = m.hour
WHERE h.hour IS NULL OR (h.shares, h.rejected, h.rejected_unknown, h.weight) <> (m.shares, m.rejected, m.unknown, m.weight)
ORDER BY m.hour`

const networkHourSQL = `
INSERT INTO network_hour AS h (network_id, hour, shares, rejected, rejected_unknown, weight)
SELECT $1, $2, sum(shares), sum(rejected), sum(rejected_unknown), sum(weight)
FROM network_minute WHERE network_id = $1 AND minute >= $2 AND minute < $3
ON CONFLICT (network_id, hour) DO UPDATE SET shares = excluded.shares, rejected = excluded.rejected,
    rejected_unknown = excluded.rejected_unknown, weight = excluded.weight`

// workerHourSQL uses share_minute_minute.
const workerHourSQL = `
INSERT INTO share_hour AS h (worker_id, hour, miner_id, network_id, shares, rejected, weight)
SELECT worker_id, $2, max(miner_id), $1, sum(shares), sum(rejected), sum(weight)
FROM share_minute WHERE network_id = $1 AND minute >= $2 AND minute < $3
GROUP BY worker_id
ON CONFLICT (worker_id, hour) DO UPDATE SET shares = excluded.shares, rejected = excluded.rejected, weight = excluded.weight
WHERE (h.shares, h.rejected, h.weight) <> (excluded.shares, excluded.rejected, excluded.weight)`

// networkReasonsSQL uses reject_hour_hour.
const networkReasonsSQL = `
INSERT INTO network_reject_hour AS n (network_id, hour, reason, rejected)
SELECT $1, CAST($2 AS timestamptz), reason, sum(rejected)
FROM reject_hour WHERE network_id = $1 AND hour >= $2 AND hour < $3
GROUP BY reason
ON CONFLICT (network_id, hour, reason) DO UPDATE SET rejected = excluded.rejected`

func (r *roller) hours(ctx context.Context, done *RolledUp) error {
	first, _ := dayRange(r.now)
	var hours []time.Time
	if err := r.tx.SelectContext(ctx, &hours, changedHoursSQL, r.networkID, first.AddDate(0, 0, -1)); err != nil {
		return err
	}
	for _, hour := range hours {
		for _, stmt := range []string{workerHourSQL, networkReasonsSQL, networkHourSQL} {
			if _, err := r.tx.ExecContext(ctx, stmt, r.networkID, hour.UTC(), hour.UTC().Add(time.Hour)); err != nil {
				return err
			}
		}
		done.Hours++
	}
	return nil
}

// changedDaysSQL compares days with their hours, as changedHoursSQL does. A day
// is rolled up when it is over.
const changedDaysSQL = `
SELECT d.day::text FROM (
    SELECT (hour AT TIME ZONE 'UTC')::date AS day,
           sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected, sum(rejected_unknown)::bigint AS unknown, sum(weight) AS weight
    FROM network_hour
    WHERE network_id = $1 AND hour < $3
      AND hour >= least($2, (SELECT coalesce(max(day)::timestamp AT TIME ZONE 'UTC', '-infinity') FROM network_day WHERE network_id = $1))
    GROUP BY 1) AS d
LEFT JOIN network_day n ON n.network_id = $1 AND n.day = d.day
WHERE n.day IS NULL OR (n.shares, n.rejected, n.rejected_unknown, n.weight) <> (d.shares, d.rejected, d.unknown, d.weight)
ORDER BY d.day`

// workerDaySQL uses share_hour_hour.
const workerDaySQL = `
INSERT INTO share_day AS d (worker_id, day, miner_id, network_id, shares, rejected, weight)
SELECT worker_id, CAST($2 AS date), max(miner_id), $1, sum(shares), sum(rejected), sum(weight)
FROM share_hour
WHERE network_id = $1 AND hour >= CAST($2 AS date)::timestamp AT TIME ZONE 'UTC' AND hour < (CAST($2 AS date) + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY worker_id
ON CONFLICT (worker_id, day) DO UPDATE SET shares = excluded.shares, rejected = excluded.rejected, weight = excluded.weight`

// networkDaySQL uses share_day_day for the miners.
const networkDaySQL = `
INSERT INTO network_day AS d (network_id, day, shares, rejected, rejected_unknown, weight, miners)
SELECT $1, CAST($2 AS date), sum(shares), sum(rejected), sum(rejected_unknown), sum(weight),
       (SELECT count(DISTINCT miner_id) FROM share_day WHERE network_id = $1 AND day = CAST($2 AS date) AND shares > 0)
FROM network_hour
WHERE network_id = $1 AND hour >= CAST($2 AS date)::timestamp AT TIME ZONE 'UTC' AND hour < (CAST($2 AS date) + 1)::timestamp AT TIME ZONE 'UTC'
ON CONFLICT (network_id, day) DO UPDATE SET shares = excluded.shares, rejected = excluded.rejected,
    rejected_unknown = excluded.rejected_unknown, weight = excluded.weight, miners = excluded.miners`

func (r *roller) days(ctx context.Context, done *RolledUp) error {
	today := r.now.Truncate(24 * time.Hour)
	first, _ := dayRange(r.now)
	var days []string
	if err := r.tx.SelectContext(ctx, &days, changedDaysSQL, r.networkID, first.AddDate(0, 0, -1), today); err != nil {
		return err
	}
	for _, day := range days {
		for _, stmt := range []string{workerDaySQL, networkDaySQL} {
			if _, err := r.tx.ExecContext(ctx, stmt, r.networkID, day); err != nil {
				return err
			}
		}
		done.Days++
	}
	return nil
}

// roundTotalSQL sums rounds that have ended: those that have no total, and those
// that late shares may have joined since.
const roundTotalSQL = `
INSERT INTO round_total AS t (round_id, network_id, miners, shares, weight)
SELECT r.id, r.network_id, count(DISTINCT w.miner_id), coalesce(sum(w.shares), 0), coalesce(sum(w.weight), 0)
FROM round r LEFT JOIN round_weight w ON w.round_id = r.id
WHERE r.network_id = $1 AND r.state <> 'open'
  AND (r.until_at > $2 OR r.settled_at > $2 OR NOT EXISTS (SELECT FROM round_total x WHERE x.round_id = r.id))
GROUP BY r.id
ON CONFLICT (round_id) DO UPDATE SET miners = excluded.miners, shares = excluded.shares, weight = excluded.weight
WHERE (t.miners, t.shares, t.weight) <> (excluded.miners, excluded.shares, excluded.weight)`

func (r *roller) rounds(ctx context.Context, done *RolledUp) error {
	result, err := r.tx.ExecContext(ctx, roundTotalSQL, r.networkID, r.now.Add(-2*time.Hour))
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	done.Rounds = int(n)
	return err
}

// recentSQL reads whole hours from share_hour and the last minutes from
// share_minute. $2: from here on the day, $3: the short span, $4: online.
const recentSQL = `
INSERT INTO miner_recent AS m (miner_id, network_id, workers, shares, rejected, weight, weight_short)
SELECT d.miner_id, $1, coalesce(o.workers, 0), d.shares, d.rejected, d.weight, coalesce(o.weight, 0)
FROM (SELECT miner_id, sum(shares) AS shares, sum(rejected) AS rejected, sum(weight) AS weight
      FROM share_hour WHERE network_id = $1 AND hour >= $2 GROUP BY miner_id) AS d
LEFT JOIN (SELECT miner_id, count(DISTINCT worker_id) FILTER (WHERE shares > 0) AS workers, sum(weight) FILTER (WHERE minute >= $3) AS weight
      FROM share_minute WHERE network_id = $1 AND minute >= $4 GROUP BY miner_id) AS o USING (miner_id)
ON CONFLICT (miner_id) DO UPDATE SET workers = excluded.workers, shares = excluded.shares, rejected = excluded.rejected,
    weight = excluded.weight, weight_short = excluded.weight_short
WHERE (m.workers, m.shares, m.rejected, m.weight, m.weight_short)
   <> (excluded.workers, excluded.shares, excluded.rejected, excluded.weight, excluded.weight_short)`

// networkRecentSQL: credits and payments move balances.
const networkRecentSQL = `
INSERT INTO network_recent AS n (network_id, rolled_at, short_since, day_since, miners, workers, miners_day, miners_moved)
SELECT $1, $2, $3, $4, count(*) FILTER (WHERE workers > 0), coalesce(sum(workers), 0), count(*) FILTER (WHERE shares > 0),
       (SELECT count(*) FROM account a JOIN balance b ON b.account_id = a.id
        WHERE a.network_id = $1 AND a.kind = 'miner' AND b.updated_at > CAST($2 AS timestamptz) - interval '24 hours')
FROM miner_recent WHERE network_id = $1
ON CONFLICT (network_id) DO UPDATE SET rolled_at = excluded.rolled_at, short_since = excluded.short_since,
    day_since = excluded.day_since, miners = excluded.miners, workers = excluded.workers, miners_day = excluded.miners_day,
    miners_moved = excluded.miners_moved
RETURNING miners_day`

func (r *roller) recent(ctx context.Context, done *RolledUp) error {
	short := r.now.Add(-shortWindow).Truncate(time.Minute)
	day := r.now.Truncate(time.Hour).Add(-23 * time.Hour)
	_, err := r.tx.ExecContext(ctx, recentSQL, r.networkID, day, short, r.now.Add(-OnlineWindow).Truncate(time.Minute))
	if err != nil {
		return err
	}
	// Who has been away for a day is forgotten here.
	_, err = r.tx.ExecContext(ctx, `DELETE FROM miner_recent m WHERE network_id = $1 AND NOT EXISTS (
		SELECT FROM share_hour h WHERE h.network_id = $1 AND h.hour >= $2 AND h.miner_id = m.miner_id)`, r.networkID, day)
	if err != nil {
		return err
	}
	return r.tx.GetContext(ctx, &done.Miners, networkRecentSQL, r.networkID, r.now, short, day)
}
