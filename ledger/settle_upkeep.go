package ledger

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// MinerWork is what a miner has done in a span of time.
type MinerWork struct {
	MinerID int64 // 0: blocks of finders who are not known
	Shares  int64 // credited
	Blocks  int64 // found by him, on the best chain
}

// MinerRating is how a miner's shares stand to his blocks.
type MinerRating struct {
	MinerWork
	Rating  int    // -3 to 3
	Ratio   string // shares for each block, decimal
	Percent string // of the pool's ratio, decimal
}

// Rate reads what the miners of a network have done from since on, rates them by
// f, and replaces the network's ratings by the result, in one transaction. Other
// networks are left alone, and so is everything else about the miners.
func (b *Books) Rate(ctx context.Context, networkID int16, since time.Time, f func([]MinerWork) []MinerRating) error {
	return b.inTx(ctx, "rate miners", func(ctx context.Context, tx *sqlx.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT miner_id, coalesce(s.shares, 0)::bigint, coalesce(f.blocks, 0)::bigint
			FROM (SELECT miner_id, sum(shares) AS shares FROM share_minute WHERE network_id = $1 AND minute >= $2
			      GROUP BY miner_id HAVING sum(shares) > 0) AS s
			FULL JOIN (SELECT coalesce(finder_id, 0) AS miner_id, count(*) AS blocks FROM block
			      WHERE network_id = $1 AND main AND seen_at >= $2 GROUP BY 1) AS f
			USING (miner_id) ORDER BY 1`, networkID, since.UTC())
		if err != nil {
			return err
		}
		defer rows.Close()
		var work []MinerWork
		for rows.Next() {
			var w MinerWork
			if err := rows.Scan(&w.MinerID, &w.Shares, &w.Blocks); err != nil {
				return err
			}
			work = append(work, w)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return writeRatings(ctx, tx, networkID, storedTime(b.now()), f(work))
	})
}

func writeRatings(ctx context.Context, tx *sqlx.Tx, networkID int16, now time.Time, ratings []MinerRating) error {
	var miners, shares, blocks, values []int64
	var ratios, percents []string
	for _, r := range ratings {
		miners, shares, blocks = append(miners, r.MinerID), append(shares, r.Shares), append(blocks, r.Blocks)
		values, ratios, percents = append(values, int64(r.Rating)), append(ratios, r.Ratio), append(percents, r.Percent)
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM miner_rating WHERE network_id = $1 AND NOT miner_id = ANY (CAST($2 AS bigint[]))`, networkID, int64Array(miners))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO miner_rating (miner_id, network_id, rating, ratio, percent, shares, blocks, rated_at)
		SELECT m, $1, r, ratio, percent, s, b, $2
		FROM unnest(CAST($3 AS bigint[]), CAST($4 AS bigint[]), CAST($5 AS numeric[]), CAST($6 AS numeric[]), CAST($7 AS bigint[]), CAST($8 AS bigint[]))
		    AS x (m, r, ratio, percent, s, b)
		ON CONFLICT (miner_id) DO UPDATE SET rating = excluded.rating, ratio = excluded.ratio, percent = excluded.percent,
		    shares = excluded.shares, blocks = excluded.blocks, rated_at = excluded.rated_at`,
		networkID, now, int64Array(miners), int64Array(values), pq.Array(ratios), pq.Array(percents), int64Array(shares), int64Array(blocks))
	return err
}

// LastShare is the last sign of life of a worker.
type LastShare struct {
	MinerID  int64     `db:"miner_id"`
	WorkerID int64     `db:"worker_id"`
	At       time.Time `db:"last_share_at"` // the minute, or where that was long ago the hour
}

// LastShares returns when each worker of a miner had his last credited share,
// from roll-ups. Workers without one are missing.
func (b *Books) LastShares(ctx context.Context, minerID int64) ([]LastShare, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var list []LastShare
	err := b.db.SelectContext(ctx, &list, `SELECT miner_id, worker_id, last_share_at FROM pool_last_share
		WHERE worker_id IN (SELECT id FROM worker WHERE miner_id = $1) ORDER BY worker_id`, minerID)
	for i := range list {
		list[i].At = list[i].At.UTC()
	}
	return list, wrap(ctx, "last shares", err)
}
