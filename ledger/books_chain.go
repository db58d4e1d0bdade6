package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// ChainBlock is a block of the chain, whoever found it.
type ChainBlock struct {
	Height    int32
	Hash      [32]byte // display order
	Prev      [32]byte // display order
	BlockTime time.Time
	Subsidy   int64    // satoshis: whole coins in the classic age, the coinbase's outputs today
	Hashes    *big.Int // expected hashes of the block's target; nil: not known
	// Ours is set for a block that pays the pool.
	Ours *FoundBlock
}

// FoundBlock is what the books keep of a block that pays the pool.
type FoundBlock struct {
	SeenAt     time.Time
	Reward     int64     // satoshis
	Hashes     *big.Int  // expected hashes of the block's target; nil: not known
	FinderGUID uuid.UUID // as the coinbase says it; the zero UUID where it says none
	// Proof is the proof that the share which was this block carries; nil where it
	// cannot be told.
	Proof *[32]byte
}

// ChainPosition is a block by height and hash.
type ChainPosition struct {
	Height int32
	Hash   [32]byte
}

// ChainTip returns the highest block of the best chain that is written down;
// false where there is none yet.
func (b *Books) ChainTip(ctx context.Context, networkID int16) (ChainPosition, bool, error) {
	list, err := b.MainChain(ctx, networkID, 1<<31-1, 1)
	if err != nil || len(list) == 0 {
		return ChainPosition{}, false, err
	}
	return list[0], true, nil
}

// MainChain returns blocks of the best chain that are written down, from a
// height downwards, limit at most.
func (b *Books) MainChain(ctx context.Context, networkID int16, from int32, limit int) ([]ChainPosition, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Uses chain_block_main.
	rows, err := b.db.QueryContext(ctx, `SELECT height, hash FROM chain_block
		WHERE network_id = $1 AND main AND height <= $2 ORDER BY height DESC LIMIT $3`, networkID, from, limit)
	if err != nil {
		return nil, wrap(ctx, "read chain", err)
	}
	defer rows.Close()
	var list []ChainPosition
	for rows.Next() {
		var p ChainPosition
		var hash []byte
		if err := rows.Scan(&p.Height, &hash); err != nil {
			return nil, wrap(ctx, "read chain", err)
		}
		copy(p.Hash[:], hash)
		list = append(list, p)
	}
	return list, wrap(ctx, "read chain", rows.Err())
}

// Extend writes down that these blocks, in order of height and each on the one
// before, stand on top of base on the best chain. Blocks above base that are not
// among them leave the best chain; those that were known before come back with
// what was known of them. A nil base is a first start: the books must be empty.
//
// Where a block of the pool is a share that was refused as stale, the share is
// credited along, see [Books.CreditWinners]; these are returned.
//
// ErrChainMoved: base is not on the best chain as it is written down now, or
// the books are not empty. Writing the same twice changes nothing.
func (b *Books) Extend(ctx context.Context, networkID int16, base *ChainPosition, blocks []ChainBlock) (won []StaleWinner, err error) {
	err = b.inTx(ctx, "extend chain", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := lockChain(ctx, tx, networkID); err != nil {
			return err
		}
		if err := checkBase(ctx, tx, networkID, base); err != nil {
			return err
		}
		if base != nil {
			next := make([][]byte, len(blocks))
			for i := range blocks {
				next[i] = blocks[i].Hash[:]
			}
			if err := leaveMain(ctx, tx, networkID, base.Height, next); err != nil {
				return err
			}
		}
		ours := false
		for i := range blocks {
			if err := addChainBlock(ctx, tx, networkID, &blocks[i]); err != nil {
				return fmt.Errorf("block %d: %w", blocks[i].Height, err)
			}
			ours = ours || blocks[i].Ours != nil
		}
		if ours {
			won, err = b.creditWinners(ctx, tx, networkID)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return won, nil
}

func checkBase(ctx context.Context, tx *sqlx.Tx, networkID int16, base *ChainPosition) error {
	if base == nil {
		var some bool
		err := tx.GetContext(ctx, &some, `SELECT EXISTS (SELECT FROM chain_block WHERE network_id = $1)`, networkID)
		if err == nil && some {
			err = ErrChainMoved
		}
		return err
	}
	var there bool
	err := tx.GetContext(ctx, &there, `SELECT EXISTS (
		SELECT FROM chain_block WHERE network_id = $1 AND height = $2 AND hash = $3 AND main)`, networkID, base.Height, base.Hash[:])
	if err == nil && !there {
		err = ErrChainMoved
	}
	return err
}

// leaveMain takes the blocks above a height from the best chain, but for those
// that stay.
func leaveMain(ctx context.Context, tx *sqlx.Tx, networkID int16, above int32, stay [][]byte) error {
	for _, table := range []string{"chain_block", "block"} {
		_, err := tx.ExecContext(ctx, `UPDATE `+table+` SET main = false
			WHERE network_id = $1 AND height > $2 AND main AND NOT hash = ANY (CAST($3 AS bytea[]))`, networkID, above, pq.ByteaArray(stay))
		if err != nil {
			return err
		}
	}
	return nil
}

func addChainBlock(ctx context.Context, tx *sqlx.Tx, networkID int16, c *ChainBlock) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO chain_block (network_id, height, hash, prev, block_time, subsidy, hashes)
		VALUES ($1, $2, $3, $4, $5, $6, CAST($7 AS numeric))
		ON CONFLICT (network_id, hash) DO UPDATE SET main = true WHERE NOT chain_block.main`,
		networkID, c.Height, c.Hash[:], c.Prev[:], c.BlockTime.UTC(), c.Subsidy, hashesText(c.Hashes))
	if err != nil || c.Ours == nil {
		return err
	}
	o := c.Ours
	f, err := findShare(ctx, tx, networkID, c.Height, c.Hash, o.Proof)
	if err != nil {
		return err
	}
	hashes := "0"
	if o.Hashes != nil {
		hashes = o.Hashes.String()
	}
	guid := uuid.NullUUID{UUID: o.FinderGUID, Valid: o.FinderGUID != uuid.Nil}
	// A block that comes back is what it was; its share is looked for again.
	_, err = tx.ExecContext(ctx, `
		INSERT INTO block (network_id, height, hash, block_time, seen_at, reward, hashes, finder_guid, finder_id, share_id, found_at, proof)
		VALUES ($1, $2, $3, $4, $5, $6, CAST($7 AS numeric), $8,
		        coalesce(nullif(CAST($9 AS bigint), 0), (SELECT id FROM miner WHERE guid = $8 AND network_id = $1)), $10, $11, $12)
		ON CONFLICT (network_id, hash) DO UPDATE SET main = true,
		    state = CASE block.state WHEN 'orphaned' THEN 'immature' ELSE block.state END,
		    state_at = CASE block.state WHEN 'orphaned' THEN now() ELSE block.state_at END
		WHERE NOT block.main`,
		networkID, c.Height, c.Hash[:], c.BlockTime.UTC(), storedTime(o.SeenAt), o.Reward, hashes, guid, f.MinerID, f.id(), f.at(), f.Proof)
	return err
}

// hashesText is null where they are not known.
func hashesText(hashes *big.Int) sql.NullString {
	if hashes == nil || hashes.Sign() <= 0 {
		return sql.NullString{}
	}
	return sql.NullString{String: hashes.String(), Valid: true}
}

// foundShare is the share that was a block.
type foundShare struct {
	ID         uuid.UUID `db:"id"`
	MinerID    int64     `db:"miner_id"`
	ReceivedAt time.Time `db:"received_at"`
	Proof      []byte    `db:"-"` // null: not known
}

func (f foundShare) id() uuid.NullUUID { return uuid.NullUUID{UUID: f.ID, Valid: f.ID != uuid.Nil} }
func (f foundShare) at() sql.NullTime {
	return sql.NullTime{Time: f.ReceivedAt.UTC(), Valid: f.ID != uuid.Nil}
}

// findShare looks for the share that was a block of a height and hash: the
// credited one with its proof, the one that was refused for its place in the chain
// alone, or that with which the pool has submitted the block, in this order: a
// verdict says when the share arrived, a submission when a frontend says it did. A
// nil proof is the one that is known from before.
func findShare(ctx context.Context, tx *sqlx.Tx, networkID int16, height int32, hash [32]byte, proof *[32]byte) (f foundShare, err error) {
	var known []byte
	if proof != nil {
		known = proof[:]
	}
	err = tx.GetContext(ctx, &known, `SELECT coalesce(CAST($3 AS bytea),
		(SELECT proof FROM block WHERE network_id = $1 AND hash = $2), (SELECT proof FROM block_submission WHERE network_id = $1 AND hash = $2))`,
		networkID, hash[:], known)
	if err != nil {
		return f, err
	}
	if known != nil {
		// A share's height is that of the block before. Uses
		// share_network_id_height_proof_key and rejected_share_sound.
		err = tx.GetContext(ctx, &f, `SELECT id, miner_id, received_at FROM (
			SELECT 1 AS n, id, miner_id, received_at, judged_at FROM share WHERE network_id = $1 AND height = $2 AND proof = $3
			UNION ALL
			SELECT 2, id, miner_id, received_at, judged_at FROM rejected_share
			WHERE network_id = $1 AND height = $2 AND proof = $3 AND weight IS NOT NULL) AS s ORDER BY n, judged_at, received_at, id LIMIT 1`,
			networkID, height-1, known)
	}
	if known == nil || errors.Is(err, sql.ErrNoRows) {
		err = noRows(tx.GetContext(ctx, &f, `SELECT s.share_id AS id, w.miner_id, s.received_at
			FROM block_submission s JOIN worker w ON w.id = s.worker_id WHERE s.network_id = $1 AND s.hash = $2`, networkID, hash[:]))
	}
	f.Proof = known
	return f, err
}

func noRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// MarkOrphans decides on blocks of the pool that left the best chain: those at
// whose height another block stands, with depth blocks or more on top of it (1:
// that block itself is the tip), are orphaned, and what they had credited is
// taken back. Their rounds are paid by the next block. It returns the blocks
// orphaned now.
func (b *Books) MarkOrphans(ctx context.Context, networkID int16, depth int32) (orphans []Block, err error) {
	err = b.inTx(ctx, "mark orphans", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT lock_chain($1), lock_rounds($1)`, networkID); err != nil {
			return err
		}
		orphans, err = selectBlocks(ctx, tx, `WHERE b.network_id = $1 AND NOT b.main AND b.state <> 'orphaned'
			AND EXISTS (SELECT FROM chain_block c WHERE c.network_id = b.network_id AND c.height = b.height AND c.main AND c.hash <> b.hash)
			AND b.height + $2 <= 1 + (SELECT max(height) FROM chain_block c WHERE c.network_id = b.network_id AND c.main)
			ORDER BY b.id FOR UPDATE OF b`, networkID, depth)
		if err != nil {
			return err
		}
		for i := range orphans {
			if err := orphan(ctx, tx, &orphans[i]); err != nil {
				return fmt.Errorf("block %d: %w", orphans[i].Height, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return orphans, nil
}

func orphan(ctx context.Context, tx *sqlx.Tx, block *Block) error {
	_, err := tx.ExecContext(ctx, `UPDATE block SET state = 'orphaned', state_at = now() WHERE id = $1`, block.ID)
	if err != nil {
		return err
	}
	var credits []int64
	err = tx.SelectContext(ctx, &credits, `SELECT j.id FROM journal j WHERE j.block_id = $1 AND j.kind = 'block'
		AND NOT EXISTS (SELECT FROM journal r WHERE r.reverses = j.id)`, block.ID)
	if err != nil {
		return err
	}
	for _, id := range credits {
		if err := reverse(ctx, tx, id, fmt.Sprintf("block %d was orphaned after it had been shared out", block.Height)); err != nil {
			return err
		}
	}
	// A window that is not paid any more is missed by nobody.
	_, err = tx.ExecContext(ctx, `DELETE FROM late_window w USING round f, round n WHERE f.id = w.from_round_id AND f.paid_by = $1
		AND n.id = w.round_id AND (n.state <> 'settled' OR n.paid_by = $1)`, block.ID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE round SET state = 'closed', paid_by = NULL, settled_at = NULL, reopened = true,
		by_window = false, window_from = NULL, window_shares = NULL WHERE paid_by = $1`, block.ID)
	return err
}

// SubsidySum returns the sum of the subsidies, in satoshis, and the number of all
// blocks of the best chain whose time lies within [from, to).
func (b *Books) SubsidySum(ctx context.Context, networkID int16, from, to time.Time) (sum, count int64, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Uses chain_block_time alone.
	err = b.db.QueryRowContext(ctx, `SELECT coalesce(sum(subsidy), 0)::bigint, count(*) FROM chain_block
		WHERE network_id = $1 AND main AND block_time >= $2 AND block_time < $3`, networkID, from.UTC(), to.UTC()).Scan(&sum, &count)
	return sum, count, wrap(ctx, "sum subsidies", err)
}

// logChange writes an audit record within the transaction of the change.
func logChange(ctx context.Context, tx *sqlx.Tx, by Reason, action string, detail map[string]any) error {
	who, err := nameText(by.Who, 100)
	if err != nil {
		return fmt.Errorf("who does it: %w", err)
	}
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit_log (who, action, why, detail) VALUES ($1, $2, $3, $4)`,
		who, cmp.Or(freeText(action, 100), "change"), freeText(by.Why, 1000), string(text))
	return err
}
