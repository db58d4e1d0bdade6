package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrBadSpan: a series was asked for a span that there is none for.
var ErrBadSpan = errors.New("no such span: day, week or month")

// Point is one step of a series.
type Point struct {
	At              time.Time // its beginning
	HashesPerSecond int64
	Shares          int64
	Rejected        int64
}

// Series is a hash rate over time, without gaps.
type Series struct {
	Span   string
	Step   time.Duration
	Until  time.Time
	Points []Point
}

// spans says how finely a span is drawn.
var spans = map[string]struct {
	length, step time.Duration
	minutes      bool // from the minutes, otherwise from the hours
}{
	"day":   {24 * time.Hour, 10 * time.Minute, true},
	"week":  {7 * 24 * time.Hour, time.Hour, false},
	"month": {30 * 24 * time.Hour, 4 * time.Hour, false},
}

// networkSeriesSQL uses network_minute_pkey or network_hour_pkey.
func networkSeriesSQL(minutes bool) string {
	source, column := "pool_network_hour", "hour"
	if minutes {
		source, column = "pool_network_minute", "minute"
	}
	return `
SELECT date_bin(make_interval(secs => $4), ` + column + `, '2000-01-01Z') AS at,
       least(sum(weight), 9e18)::bigint AS weight, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected
FROM ` + source + ` WHERE network_id = $1 AND ` + column + ` >= $2 AND ` + column + ` <= $3 GROUP BY 1`
}

// minerSeriesSQL uses share_minute_pkey or share_hour_pkey. The day of a miner
// with many workers is drawn from hours: coarse. $6 is the most workers whose
// minutes are read, $5 the most that are looked at.
func minerSeriesSQL(minutes bool) string {
	hours := `
SELECT w.miner_id, date_bin(make_interval(secs => CASE WHEN $6 > 0 THEN 3600 ELSE $4 END), h.hour, '2000-01-01Z') AS at, w.workers > $6 AND $6 > 0 AS coarse,
       least(sum(h.weight), 9e18)::bigint AS weight, sum(h.shares)::bigint AS shares, sum(h.rejected)::bigint AS rejected
FROM w JOIN pool_share_hour h ON h.worker_id = w.id
WHERE w.workers > $6 AND h.hour >= date_trunc('hour', CAST($2 AS timestamptz)) AND h.hour <= $3 GROUP BY 1, 2, 3`
	if minutes {
		hours += `
UNION ALL
SELECT w.miner_id, date_bin(make_interval(secs => $4), m.minute, '2000-01-01Z'), false,
       least(sum(m.weight), 9e18)::bigint, sum(m.shares)::bigint, sum(m.rejected)::bigint
FROM w JOIN pool_share_minute m ON m.worker_id = w.id
WHERE w.workers <= $6 AND m.minute >= $2 AND m.minute <= $3 GROUP BY 1, 2`
	}
	return `
WITH w AS MATERIALIZED (
    SELECT i.miner_id, w.id, count(*) OVER (PARTITION BY i.miner_id) AS workers
    FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
    CROSS JOIN LATERAL (SELECT id FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $5) AS w)` + hours
}

// stepRow is one step of a series as the database gives it.
type stepRow struct {
	At                       time.Time
	Weight, Shares, Rejected int64
}

// NetworkSeries returns the pool's hash rate over a day, week or month.
func (s *WebStore) NetworkSeries(ctx context.Context, networkID int16, span string, now time.Time) (Series, error) {
	sp, ok := spans[span]
	if !ok {
		return Series{}, fmt.Errorf("ledger: %q: %w", span, ErrBadSpan)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	from := now.Add(-sp.length).Truncate(sp.step).Add(sp.step)
	var rows []stepRow
	if err := s.selectRows(ctx, &rows, networkSeriesSQL(sp.minutes), networkID, from, now, sp.step.Seconds()); err != nil {
		return Series{}, wrap(ctx, "read series", err)
	}
	// Uses network_hour_pkey.
	var since sql.NullTime
	if err := s.getRow(ctx, &since, `SELECT min(hour) FROM pool_network_hour WHERE network_id = $1`, networkID); err != nil {
		return Series{}, wrap(ctx, "read the beginning of a series", err)
	}
	return newSeries(span, from, now, sp.step, rows).Since(utcOrZero(since)), nil
}

// fewestSteps is how many steps are drawn of what has only begun.
const fewestSteps = 6

// Since is the series without what lies before a beginning, from the step of the
// beginning on, but of some steps at least. The zero time is no beginning.
func (s Series) Since(begun time.Time) Series {
	first := 0
	for first < len(s.Points)-fewestSteps && !s.Points[first].At.Add(s.Step).After(begun) {
		first++
	}
	s.Points = s.Points[first:]
	return s
}

// finelyDrawn is up to how many workers a miner's day is drawn from minutes.
const finelyDrawn = 50

// MinerSeries returns the hash rates of several miners over a day, week or
// month, by id.
func (s *WebStore) MinerSeries(ctx context.Context, minerIDs []int64, span string, now time.Time) (map[int64]Series, error) {
	sp, ok := spans[span]
	if !ok {
		return nil, fmt.Errorf("ledger: %q: %w", span, ErrBadSpan)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	from := now.Add(-sp.length).Truncate(sp.step).Add(sp.step)
	most := 0
	if sp.minutes {
		most = finelyDrawn
	}
	var rows []struct {
		stepRow
		MinerID int64 `db:"miner_id"`
		Coarse  bool
	}
	err := s.selectRows(ctx, &rows, minerSeriesSQL(sp.minutes), int64Array(minerIDs), from, now, sp.step.Seconds(), maxWorkers, most)
	if err != nil {
		return nil, wrap(ctx, "read miners' series", err)
	}
	steps, coarse := map[int64][]stepRow{}, map[int64]bool{}
	for _, r := range rows {
		steps[r.MinerID] = append(steps[r.MinerID], r.stepRow)
		coarse[r.MinerID] = coarse[r.MinerID] || r.Coarse
	}
	out := make(map[int64]Series, len(minerIDs))
	for _, id := range minerIDs {
		step := sp.step
		if coarse[id] {
			step = time.Hour
		}
		out[id] = newSeries(span, now.Add(-sp.length).Truncate(step).Add(step), now, step, steps[id])
	}
	return out, nil
}

// newSeries fills the gaps between steps.
func newSeries(span string, from, now time.Time, step time.Duration, rows []stepRow) Series {
	found := make(map[int64]*stepRow, len(rows))
	for i := range rows {
		found[rows[i].At.Unix()] = &rows[i]
	}
	out := Series{Span: span, Step: step, Until: now, Points: make([]Point, 0, int(now.Sub(from)/step)+1)}
	some := false
	for at := from; !at.After(now); at = at.Add(step) {
		elapsed := min(now.Sub(at), step)
		// A step that has only begun says nothing yet, unless it is all there is.
		if elapsed < step/2 && some {
			break
		}
		p := Point{At: at}
		if r := found[at.Unix()]; r != nil {
			p.Shares, p.Rejected = r.Shares, r.Rejected
			p.HashesPerSecond = r.Weight / max(int64(elapsed/time.Second), 60)
			some = some || r.Shares > 0
		}
		out.Points = append(out.Points, p)
	}
	return out
}
