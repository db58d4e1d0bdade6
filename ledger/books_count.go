package ledger

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"
)

// countStep is about how many shares are counted while verdicts wait: about a
// tenth of a second.
const countStep = 200_000

// CountShares counts the open round along, so that ending it is no work: shares
// that arrived before a moment are added, once, to what the miners have done in
// it. It returns that moment. Shares whose verdict comes later are added by the
// verdict's own transaction, so how far is counted never changes what is paid,
// and calling this often, seldom, never or by several backends at once comes to
// the same.
//
// The moment is lag before now, or before the newest verdict where the
// validators are behind: late verdicts cost more. It is not after the border of
// a block whose round has not ended, as far as that is known yet; but for that,
// less than lag is not worth a step.
func (b *Books) CountShares(ctx context.Context, networkID int16, now time.Time, lag time.Duration) (until time.Time, err error) {
	for counted := false; ; counted = true {
		s, err := b.nextCount(ctx, networkID, storedTime(now), lag)
		if err == nil && (!s.To.Valid || !s.To.Time.After(s.From)) {
			if counted {
				err = b.openAccounts(ctx, networkID, s.ID)
			}
			return s.From.UTC(), err
		}
		if err != nil {
			return time.Time{}, wrap(ctx, "count shares", err)
		}
		err = b.inTx(ctx, "count shares", func(ctx context.Context, tx *sqlx.Tx) error {
			return countAlong(ctx, tx, networkID, s)
		})
		if err != nil {
			return s.From.UTC(), err
		}
	}
}

// stretch is a piece of the open round that is not counted yet.
type stretch struct {
	ID   int64        // of the round
	From time.Time    `db:"from_at"`
	To   sql.NullTime `db:"to_at"` // not after From: there is nothing to count
}

// nextCountSQL finds where to go on and how far to go at once. How many shares
// there are is told by the roll-up; a wrong guess only costs time.
const nextCountSQL = `
WITH open AS (
    SELECT id, coalesce(counted_until, from_at) AS from_at FROM round WHERE network_id = $1 AND state = 'open'
), judged AS ( -- uses network_minute_pkey
    SELECT minute FROM network_minute WHERE network_id = $1 AND minute <= $2 AND shares > 0 ORDER BY minute DESC LIMIT 1
), waiting AS ( -- uses block_unfinished
    SELECT min(least(seen_at, found_at + interval '1 microsecond')) AS border FROM block b
    WHERE network_id = $1 AND state = 'immature' AND main AND NOT EXISTS (SELECT FROM round WHERE block_id = b.id)
), step AS (
    SELECT min(minute) + interval '1 minute' AS until_at FROM (
        SELECT minute, sum(shares) OVER (ORDER BY minute) AS shares FROM network_minute, open
        WHERE network_id = $1 AND minute >= date_trunc('minute', open.from_at, 'UTC')) AS m
    WHERE shares >= $4
)
SELECT id, from_at, CASE WHEN to_at - from_at >= $3 * interval '1 microsecond' OR to_at = border THEN to_at END AS to_at
FROM (SELECT open.id, open.from_at, (SELECT border FROM waiting) AS border, CASE WHEN EXISTS (SELECT FROM judged) THEN least(
          CAST($2 AS timestamptz) - $3 * interval '1 microsecond',
          (SELECT minute + interval '1 minute' FROM judged) - $3 * interval '1 microsecond',
          (SELECT border FROM waiting), (SELECT until_at FROM step)) END AS to_at
      FROM open) AS s`

func (b *Books) nextCount(ctx context.Context, networkID int16, now time.Time, lag time.Duration) (s stretch, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	return s, b.db.GetContext(ctx, &s, nextCountSQL, networkID, now, lag.Microseconds(), countStep)
}

// countAlong counts a stretch, or what is left of it when it has the lock.
func countAlong(ctx context.Context, tx *sqlx.Tx, networkID int16, s stretch) error {
	// First of all: verdicts that are being written come before or after.
	if _, err := tx.ExecContext(ctx, `SELECT lock_rounds($1)`, networkID); err != nil {
		return err
	}
	var open stretch
	err := tx.GetContext(ctx, &open, `SELECT id, coalesce(counted_until, from_at) AS from_at FROM round
		WHERE network_id = $1 AND state = 'open'`, networkID)
	if err != nil || open.ID != s.ID || !s.To.Time.After(open.From) {
		return err // somebody else was faster
	}
	if err := countRound(ctx, tx, networkID, open.ID, open.From, s.To.Time); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE round SET counted_until = $2 WHERE id = $1`, open.ID, s.To.Time.UTC())
	return err
}

// countRound adds the shares of [from, until) to those of a round. It uses
// share_received_at.
func countRound(ctx context.Context, tx *sqlx.Tx, networkID int16, id int64, from, until time.Time) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO round_weight AS w (round_id, from_round_id, miner_id, shares, weight)
		SELECT CAST($1 AS bigint), CAST($1 AS bigint), miner_id, count(*), sum(weight) FROM share
		WHERE network_id = $2 AND received_at >= $3 AND received_at < $4 GROUP BY miner_id
		ON CONFLICT (round_id, from_round_id, miner_id) DO UPDATE SET
		    shares = w.shares + excluded.shares, weight = w.weight + excluded.weight`, id, networkID, from.UTC(), until.UTC())
	return err
}

// openAccounts opens the accounts of miners who are new in a round, so that the
// share-out finds them open. An account without lines says nothing.
func (b *Books) openAccounts(ctx context.Context, networkID int16, roundID int64) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	_, err := b.db.ExecContext(ctx, `INSERT INTO account (network_id, kind, miner_id)
		SELECT $1, 'miner', w.miner_id FROM round_weight w
		WHERE w.round_id = $2 AND w.from_round_id = $2
		  AND NOT EXISTS (SELECT FROM account a WHERE a.network_id = $1 AND a.kind = 'miner' AND a.miner_id = w.miner_id)
		ORDER BY w.miner_id
		ON CONFLICT DO NOTHING`, networkID, roundID)
	return wrap(ctx, "open accounts", err)
}

// endOpenRound gives the open round to a block and opens the next one. What was
// counted beyond the border moves along.
func endOpenRound(ctx context.Context, tx *sqlx.Tx, networkID int16, r round, border time.Time, blockID int64, scheme string) error {
	counted := r.From
	if r.Counted.Valid {
		counted = r.Counted.Time
	}
	_, err := tx.ExecContext(ctx, `UPDATE round SET until_at = $2, block_id = $3, scheme = $4, state = 'closed', counted_until = NULL WHERE id = $1`,
		r.ID, border, blockID, scheme)
	if err != nil {
		return err
	}
	beyond := counted.After(border)
	var next int64
	err = tx.GetContext(ctx, &next, `INSERT INTO round (network_id, from_at, counted_until)
		VALUES ($1, $2, CASE WHEN $4 THEN CAST($3 AS timestamptz) END) RETURNING id`, networkID, border, counted.UTC(), beyond)
	if err != nil {
		return err
	}
	if !beyond {
		return countRound(ctx, tx, networkID, r.ID, counted, border)
	}
	if err := countRound(ctx, tx, networkID, next, border, counted); err != nil {
		return err
	}
	// Who has worked only after the border has no part in the round at all.
	_, err = tx.ExecContext(ctx, `DELETE FROM round_weight w USING round_weight m
		WHERE w.round_id = $1 AND w.from_round_id = $1 AND m.round_id = $2 AND m.from_round_id = $2
		  AND w.miner_id = m.miner_id AND w.shares = m.shares`, r.ID, next)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE round_weight w SET shares = w.shares - m.shares, weight = w.weight - m.weight FROM round_weight m
		WHERE w.round_id = $1 AND w.from_round_id = $1 AND m.round_id = $2 AND m.from_round_id = $2
		  AND w.miner_id = m.miner_id`, r.ID, next)
	return err
}
