package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// StaleWinner is a share that was refused for its place in the chain and is
// credited, since the block that it is stands on the best chain.
type StaleWinner struct {
	BlockID    int64
	ShareID    uuid.UUID
	MinerID    int64
	Height     int32 // of the share: that of the block before
	Weight     int64 // expected hashes
	ReceivedAt time.Time
	Reason     string // for which it was refused
}

// CreditWinners credits the shares that are blocks of the pool on the best chain
// and that were refused for their place in the chain: a share whose block stands
// was not stale. Each is credited once, whoever calls this, how often and when,
// in the round in which it arrived, as by a verdict that comes late; the refusal
// is taken out of the ledger and its sums in the same transaction.
//
// What was refused for anything else besides stays refused. Nothing here is
// anybody's word: which block stands is the chain's, and that a share is this block
// and what it is worth a validator has computed.
func (b *Books) CreditWinners(ctx context.Context, networkID int16) (won []StaleWinner, err error) {
	err = b.inTx(ctx, "credit winners", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := lockChain(ctx, tx, networkID); err != nil {
			return err
		}
		won, err = b.creditWinners(ctx, tx, networkID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return won, nil
}

// lockChain keeps others from changing the chain, and lets this transaction
// credit shares. Verdicts go on meanwhile; whoever moves a round's border has
// either ended or waits, as rows of blocks may be locked only after this.
func lockChain(ctx context.Context, tx *sqlx.Tx, networkID int16) error {
	_, err := tx.ExecContext(ctx, `SELECT lock_chain($1), share_rounds($1)`, networkID)
	return err
}

// learnProofsSQL takes over what submissions say that came after their block.
// Uses block_unfinished.
const learnProofsSQL = `
UPDATE block b SET proof = s.proof FROM block_submission s
WHERE b.network_id = $1 AND b.state = 'immature' AND b.proof IS NULL
  AND s.network_id = $1 AND s.hash = b.hash AND s.proof IS NOT NULL`

// winnersSQL finds blocks whose share stands as refused, by block_height and
// rejected_share_sound; where there are no such refusals it reads nothing else.
// Where several shares have the proof, the one with which the pool submitted the
// block counts, or the first to be judged. Shares that are dropped by age are not
// missed: with them goes their partition.
const winnersSQL = `
SELECT DISTINCT ON (b.id) b.id AS block_id, r.id, r.received_at, r.judged_at, r.worker_id, r.miner_id, r.height, r.proof, r.work_id, r.reason, r.weight
FROM block b
CROSS JOIN LATERAL (SELECT * FROM rejected_share
    WHERE network_id = $1 AND height = b.height - 1 AND proof = b.proof AND weight IS NOT NULL OFFSET 0) AS r
WHERE b.network_id = $1 AND b.main AND b.proof IS NOT NULL
  AND b.height > (SELECT min(height) FROM rejected_share WHERE network_id = $1 AND weight IS NOT NULL)
  AND NOT EXISTS (SELECT FROM share WHERE network_id = $1 AND height = b.height - 1 AND proof = b.proof)
  AND (b.seen_at > $2 OR to_regclass(format('share_n%s_h%s', b.network_id, (b.height - 1) / share_partition_heights() * share_partition_heights())) IS NOT NULL)
ORDER BY b.id, r.id = b.share_id DESC NULLS LAST, r.judged_at, r.received_at, r.id`

type winnerRow struct {
	BlockID    int64 `db:"block_id"`
	ID         uuid.UUID
	ReceivedAt time.Time `db:"received_at"`
	JudgedAt   time.Time `db:"judged_at"`
	WorkerID   int64     `db:"worker_id"`
	MinerID    int64     `db:"miner_id"`
	Height     int32
	Proof      []byte
	WorkID     uuid.NullUUID `db:"work_id"`
	Reason     string
	Weight     int64
}

// creditWinners does it within a transaction that holds lockChain.
func (b *Books) creditWinners(ctx context.Context, tx *sqlx.Tx, networkID int16) ([]StaleWinner, error) {
	if _, err := tx.ExecContext(ctx, learnProofsSQL, networkID); err != nil {
		return nil, fmt.Errorf("proofs of submissions: %w", err)
	}
	now := storedTime(b.now())
	var found []winnerRow
	if err := tx.SelectContext(ctx, &found, winnersSQL, networkID, now.Add(-leastKept)); err != nil || len(found) == 0 {
		return nil, err
	}
	w := &writer{tx: tx, batch: &batch{networkID: networkID, now: now, rows: make([]row, len(found))}}
	blocks := map[uuid.UUID]winnerRow{}
	for i, f := range found {
		if _, err := tx.ExecContext(ctx, `SELECT ensure_share_partitions($1, $2, $2)`, networkID, f.Height); err != nil {
			return nil, fmt.Errorf("partition of height %d: %w", f.Height, err)
		}
		r := row{dayAt: f.ReceivedAt.UTC(), id: f.ID.String()}
		r.ShareID, r.ReceivedAt, r.WorkID, r.WorkerID, r.MinerID = f.ID, f.ReceivedAt.UTC(), f.WorkID.UUID, f.WorkerID, f.MinerID
		r.Height, r.HasProof, r.Weight = f.Height, true, f.Weight
		copy(r.Proof[:], f.Proof)
		w.batch.rows[i] = r
		w.credited = append(w.credited, &w.batch.rows[i])
		blocks[f.ID] = f
	}
	slices.SortFunc(w.credited, func(x, y *row) int {
		return cmp.Or(cmp.Compare(x.Height, y.Height), bytes.Compare(x.Proof[:], y.Proof[:]))
	})
	if err := w.insertCredited(ctx); err != nil {
		return nil, fmt.Errorf("credited shares: %w", err)
	}
	w.rejected = nil // a validator has just credited another share with the proof: this refusal stays
	won := make([]StaleWinner, 0, len(w.credited))
	for _, r := range w.credited {
		f := blocks[r.ShareID]
		if err := w.revoke(ctx, r, &f); err != nil {
			return nil, fmt.Errorf("share %s: %w", r.id, err)
		}
		won = append(won, StaleWinner{f.BlockID, f.ID, f.MinerID, f.Height, f.Weight, f.ReceivedAt.UTC(), f.Reason})
	}
	if err := w.rollUp(ctx); err != nil {
		return nil, fmt.Errorf("roll-ups: %w", err)
	}
	return won, nil
}

// leastKept is for how long every share is kept at least, whatever the retention.
const leastKept = 24 * time.Hour

// revoke takes the refusal of a share back that is credited now, and writes down
// that it stood and whose the block is.
func (w *writer) revoke(ctx context.Context, r *row, f *winnerRow) error {
	if _, err := w.tx.ExecContext(ctx, `DELETE FROM rejected_share WHERE received_at = $1 AND id = $2`, timeText(r.dayAt), r.id); err != nil {
		return err
	}
	refused := *r
	refused.Reason = f.Reason
	w.revoked = append(w.revoked, &refused)
	_, err := w.tx.ExecContext(ctx, `
		INSERT INTO stale_winner (network_id, height, proof, block_id, share_id, miner_id, weight, received_at, judged_at, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		w.batch.networkID, r.Height, r.Proof[:], f.BlockID, r.id, r.MinerID, r.Weight, timeText(r.ReceivedAt), timeText(f.JudgedAt.UTC()), f.Reason)
	if err != nil {
		return err
	}
	_, err = w.tx.ExecContext(ctx, `UPDATE block SET share_id = $2, found_at = $3, finder_id = $4 WHERE id = $1`,
		f.BlockID, r.id, timeText(r.ReceivedAt), r.MinerID)
	return err
}
