package ledger

import (
	"context"
	"database/sql"
	"time"
)

// MinerPulse is what changes on a miner's page while one looks.
type MinerPulse struct {
	MinerID         int64     `db:"miner_id"`
	HashesPerSecond int64     `db:"rate"`      // over ten minutes
	HashesHour      int64     `db:"rate_hour"` // over an hour
	SharesHour      int64     `db:"shares"`
	RejectedHour    int64     `db:"rejected"`
	LastShareAt     time.Time // to the minute; zero: none in the hour
}

// MinerPulses returns the pulses of several miners in one query. Miners without
// workers are missing.
func (s *WebStore) MinerPulses(ctx context.Context, minerIDs []int64, now time.Time) (map[int64]MinerPulse, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	var rows []struct {
		MinerPulse
		LastShare sql.NullTime `db:"last_share"`
	}
	// Uses share_minute_pkey.
	err := s.selectRows(ctx, &rows, `
		SELECT i.miner_id,
		       least(coalesce(sum(m.short), 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($3 AS timestamptz)), 1), 9e18)::bigint AS rate,
		       least(coalesce(sum(m.weight), 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($4 AS timestamptz)), 1), 9e18)::bigint AS rate_hour,
		       coalesce(sum(m.shares), 0)::bigint AS shares, coalesce(sum(m.rejected), 0)::bigint AS rejected, max(m.last_share) AS last_share
		FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
		CROSS JOIN LATERAL (SELECT id FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $5) AS w
		CROSS JOIN LATERAL (
			SELECT sum(weight) AS weight, sum(weight) FILTER (WHERE minute >= $3) AS short, sum(shares) AS shares, sum(rejected) AS rejected,
			       max(minute) FILTER (WHERE shares > 0) AS last_share
			FROM pool_share_minute WHERE worker_id = w.id AND minute >= $4 AND minute <= $2) AS m
		GROUP BY i.miner_id`,
		int64Array(minerIDs), now, now.Add(-shortWindow).Truncate(time.Minute), now.Add(-time.Hour).Truncate(time.Minute), maxWorkers)
	pulses := make(map[int64]MinerPulse, len(rows))
	for _, r := range rows {
		r.MinerPulse.LastShareAt = utcOrZero(r.LastShare)
		pulses[r.MinerID] = r.MinerPulse
	}
	return pulses, wrap(ctx, "read miners' pulses", err)
}
