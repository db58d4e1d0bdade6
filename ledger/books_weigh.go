package ledger

import (
	"cmp"
	"context"
	"math/big"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// roundWeightsSQL weighs the shares of rounds, and those that came too late for
// rounds and windows that were paid before. A late share of a round that was
// paid by a window is among the latter.
const roundWeightsSQL = `
SELECT miner_id, sum(shares)::bigint, sum(weight)::text FROM (
    SELECT w.miner_id, w.shares, w.weight FROM round_weight w JOIN round f ON f.id = w.from_round_id
    WHERE w.round_id = ANY (CAST($1 AS bigint[])) AND NOT f.by_window
    UNION ALL
    SELECT miner_id, shares, weight FROM late_window WHERE round_id = ANY (CAST($1 AS bigint[]))) AS w
GROUP BY miner_id ORDER BY miner_id`

// lateWeightsSQL is the second part of that, and what came too late for rounds
// that were paid by their own shares.
const lateWeightsSQL = `
SELECT miner_id, sum(shares)::bigint, sum(weight)::text FROM (
    SELECT w.miner_id, w.shares, w.weight FROM round_weight w JOIN round f ON f.id = w.from_round_id
    WHERE w.round_id = ANY (CAST($1 AS bigint[])) AND w.from_round_id <> w.round_id AND f.state = 'settled' AND NOT f.by_window
    UNION ALL
    SELECT miner_id, shares, weight FROM late_window WHERE round_id = ANY (CAST($1 AS bigint[]))) AS w
GROUP BY miner_id ORDER BY miner_id`

func selectWeights(ctx context.Context, tx *sqlx.Tx, query string, args ...any) ([]MinerWeight, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []MinerWeight
	for rows.Next() {
		var w MinerWeight
		var hashes string
		if err := rows.Scan(&w.MinerID, &w.Shares, &hashes); err != nil {
			return nil, err
		}
		if w.Hashes, err = wholeNumber(hashes); err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, rows.Err()
}

// windowSQL weighs the last shares before the end of a round. Where to begin to
// read is known from the roll-up of the whole network, whose sum without the
// last minute reaches the window.
const windowSQL = `
WITH last AS MATERIALIZED (SELECT miner_id, received_at, weight, before FROM (
    SELECT miner_id, received_at, weight, sum(weight) OVER (ORDER BY received_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - weight AS before
    FROM share WHERE network_id = $1 AND received_at < $2 AND ($4 OR received_at >= coalesce((
        SELECT minute FROM (
            SELECT minute, sum(weight) OVER (ORDER BY minute DESC) AS reached FROM network_minute
            WHERE network_id = $1 AND minute < date_trunc('minute', CAST($2 AS timestamptz), 'UTC')) AS m
        WHERE reached >= CAST($3 AS numeric) ORDER BY minute DESC LIMIT 1), '-infinity'))) AS s
    WHERE before < CAST($3 AS numeric))
SELECT miner_id, count(*), sum(least(weight, CAST($3 AS numeric) - before))::text FROM last GROUP BY miner_id
UNION ALL
-- The oldest of them, in microseconds.
SELECT 0, (extract(epoch FROM min(received_at)) * 1000000)::bigint, '0' FROM last HAVING count(*) > 0
ORDER BY miner_id`

// paidWindow is the window by which a round is paid.
type paidWindow struct {
	from string // timestamptz: the arrival of its oldest share, or from ever where it is not full
}

// weighWindow weighs the last shares before the end of the block's round, as
// many as make up the window, and what came too late for earlier rounds and
// windows. What is late counts beyond the window: it displaces nobody.
func (r *ShareOutResult) weighWindow(ctx context.Context, tx *sqlx.Tx, window *big.Int) error {
	block := &r.Block
	var until time.Time
	if err := tx.GetContext(ctx, &until, `SELECT until_at FROM round WHERE id = $1`, block.RoundID); err != nil {
		return err
	}
	var list []MinerWeight
	r.window = &paidWindow{from: "-infinity"}
	// Fewer shares than the window, or a roll-up that counts some elsewhere: all
	// are read.
	for _, all := range []bool{false, true} {
		found, err := selectWeights(ctx, tx, windowSQL, block.NetworkID, until, window.String(), all)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		list = found[1:]
		sum := new(big.Int)
		for _, w := range list {
			sum.Add(sum, w.Hashes)
		}
		if sum.Cmp(window) == 0 {
			r.window.from = timeText(time.UnixMicro(found[0].Shares))
			break
		}
	}
	late, err := selectWeights(ctx, tx, lateWeightsSQL, int64Array(r.Rounds))
	r.Weights = mergeWeights(list, late)
	return err
}

// keep writes down by which window a block was paid, so that it is known which
// shares missed it. It needs the lock of the rounds.
func (w *paidWindow) keep(ctx context.Context, tx *sqlx.Tx, block *Block) error {
	if w == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE round r SET window_from = $2, window_shares = (
		SELECT count(*) FROM share s WHERE s.network_id = r.network_id AND s.received_at > $2 AND s.received_at < r.until_at)
		WHERE id = $1`, block.RoundID, w.from)
	return err
}

// mergeWeights adds two lists up, each sorted by miner.
func mergeWeights(a, b []MinerWeight) []MinerWeight {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y MinerWeight) int { return cmp.Compare(x.MinerID, y.MinerID) })
	n := 0
	for _, w := range all {
		if n > 0 && all[n-1].MinerID == w.MinerID {
			last := &all[n-1]
			last.Shares, last.Hashes = last.Shares+w.Shares, new(big.Int).Add(last.Hashes, w.Hashes)
			continue
		}
		all[n] = w
		n++
	}
	return all[:n]
}
