package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/jmoiron/sqlx"
)

// LocateFinder looks again for the share that was a block whose round has not
// ended: when the block was written down, its verdict may not have been there. A
// nil proof is the one that is known from before. It returns the block as it is then.
func (b *Books) LocateFinder(ctx context.Context, blockID int64, proof *[32]byte) (block Block, err error) {
	err = b.inTx(ctx, "locate finder", func(ctx context.Context, tx *sqlx.Tx) error {
		if block, err = lockBlock(ctx, tx, blockID); err != nil || block.RoundID != 0 {
			return err
		}
		f, err := findShare(ctx, tx, block.NetworkID, block.Height, block.Hash, proof)
		if err != nil || f.MinerID == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE block SET finder_id = $2, share_id = $3, found_at = $4, proof = $5 WHERE id = $1`,
			blockID, f.MinerID, f.id(), f.at(), f.Proof)
		block.FinderID, block.ShareID, block.FoundAt = f.MinerID, f.ID, f.ReceivedAt.UTC()
		return err
	})
	return block, err
}

// lockBlock reads a block and keeps others from changing it.
func lockBlock(ctx context.Context, tx *sqlx.Tx, blockID int64) (Block, error) {
	blocks, err := selectBlocks(ctx, tx, `WHERE b.id = $1 FOR UPDATE OF b`, blockID)
	if err != nil {
		return Block{}, err
	}
	if len(blocks) == 0 {
		return Block{}, fmt.Errorf("block %d: %w", blockID, ErrNoSuchBlock)
	}
	return blocks[0], nil
}

// round is a stretch of arrivals [from, until); until is zero while it is open.
type round struct {
	ID      int64
	From    time.Time    `db:"from_at"`
	Until   sql.NullTime `db:"until_at"`
	Counted sql.NullTime `db:"counted_until"` // of the open round: shares before it are counted
}

// CloseRound ends the round of a block at a border: shares that arrived before
// it are the block's, those at it or after it are the next one's. The border is
// moved up where it lies within what has been paid already, so that a round is
// never empty of time. Where it lies within the round of another block that has
// not been paid, that one is divided. What miners have done in the round has been
// counted along ([Books.CountShares]) but for the last minutes; these are counted
// now, and later verdicts add to it. Verdicts of the network wait meanwhile.
//
// A block that has a round, or that is not on the best chain, is left alone.
func (b *Books) CloseRound(ctx context.Context, blockID int64, border time.Time, scheme string) (closed bool, err error) {
	border = storedTime(border)
	err = b.inTx(ctx, "close round", func(ctx context.Context, tx *sqlx.Tx) error {
		var networkID int16
		err := tx.GetContext(ctx, &networkID, `SELECT network_id FROM block WHERE id = $1`, blockID)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("block %d: %w", blockID, ErrNoSuchBlock)
		}
		if err != nil {
			return err
		}
		// First of all: verdicts that are being written come before or after.
		if _, err := tx.ExecContext(ctx, `SELECT lock_rounds($1)`, networkID); err != nil {
			return err
		}
		block, err := lockBlock(ctx, tx, blockID)
		if err != nil || block.RoundID != 0 || !block.Main || block.State != BlockImmature {
			return err
		}
		r, border, err := roundAt(ctx, tx, networkID, border)
		if err != nil {
			return err
		}
		if err := divideRound(ctx, tx, networkID, r, border, blockID, scheme); err != nil {
			return err
		}
		closed = true
		return nil
	})
	return closed && err == nil, err
}

// roundAt finds the round in which a border lies, or the next one that it can
// lie in, and the border within it.
func roundAt(ctx context.Context, tx *sqlx.Tx, networkID int16, border time.Time) (round, time.Time, error) {
	var rounds []round
	// A round that was paid once has its shares counted for good.
	err := tx.SelectContext(ctx, &rounds, `SELECT id, from_at, until_at, counted_until FROM round
		WHERE network_id = $1 AND state <> 'settled' AND NOT reopened AND (until_at IS NULL OR until_at > $2)
		ORDER BY from_at`, networkID, border)
	if err != nil {
		return round{}, border, err
	}
	for _, r := range rounds {
		at := border
		if earliest := r.From.Add(time.Microsecond); at.Before(earliest) {
			at = earliest
		}
		if !r.Until.Valid || at.Before(r.Until.Time) {
			return r, at.UTC(), nil
		}
	}
	return round{}, border, errors.New("the network has no open round")
}

// divideRound cuts a round in two and gives the first part to a block.
func divideRound(ctx context.Context, tx *sqlx.Tx, networkID int16, r round, border time.Time, blockID int64, scheme string) error {
	if !r.Until.Valid {
		return endOpenRound(ctx, tx, networkID, r, border, blockID, scheme)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE round SET from_at = $2 WHERE id = $1`, r.ID, border); err != nil {
		return err
	}
	var first int64
	err := tx.GetContext(ctx, &first, `INSERT INTO round (network_id, from_at, until_at, block_id, scheme, state)
		VALUES ($1, $2, $3, $4, $5, 'closed') RETURNING id`, networkID, r.From, border, blockID, scheme)
	if err != nil {
		return err
	}
	// Shares of rounds that were paid before their verdicts came go to the
	// earliest round that is not.
	_, err = tx.ExecContext(ctx, `UPDATE round_weight SET round_id = $2 WHERE round_id = $1 AND from_round_id <> round_id`, r.ID, first)
	if err != nil {
		return err
	}
	if _, err = tx.ExecContext(ctx, `UPDATE late_window SET round_id = $2 WHERE round_id = $1`, r.ID, first); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM round_weight WHERE round_id = $1 AND from_round_id = $1`, r.ID)
	if err != nil {
		return err
	}
	if err := countRound(ctx, tx, networkID, first, r.From, border); err != nil {
		return err
	}
	return countRound(ctx, tx, networkID, r.ID, border, r.Until.Time)
}

// MinerWeight is what a miner has done for a block.
type MinerWeight struct {
	MinerID int64
	Shares  int64
	Hashes  *big.Int // expected hashes of his shares
}

// MinerCredit is what a miner gets, in satoshis.
type MinerCredit struct {
	MinerID, Amount int64
}

// Division says who gets what of a block's reward: it is the sum of all.
type Division struct {
	Fee       int64
	Unclaimed int64 // what nobody has worked for
	Credits   []MinerCredit
}

// ShareOutRequest says which block is shared out, and how.
type ShareOutRequest struct {
	BlockID int64
	// Window is nil where the shares of the block's rounds are weighed; otherwise
	// the last shares before the end of its round are, as many as have this many
	// expected hashes, the oldest one in part.
	Window *big.Int
	// Divide divides the reward. It is called within the transaction and must
	// neither wait nor ask anybody.
	Divide func(block Block, weights []MinerWeight) (Division, error)
	// DryRun computes everything and writes nothing.
	DryRun bool
}

// ShareOutResult is what came of it.
type ShareOutResult struct {
	Block   Block
	Rounds  []int64 // that were paid: the block's own, and those of orphaned blocks before it
	Weights []MinerWeight
	Division

	window *paidWindow // nil where the rounds' own shares were weighed
}

// ShareOut credits a block's reward to those who worked for it and marks its
// rounds as paid, all in one transaction. ErrNotDue: see there; the error's text
// says which reason it is. Whether the block is mature is the caller's to know.
func (b *Books) ShareOut(ctx context.Context, req ShareOutRequest) (result ShareOutResult, err error) {
	errDry := errors.New("dry run")
	err = b.inTx(ctx, "share out", func(ctx context.Context, tx *sqlx.Tx) error {
		result = ShareOutResult{}
		var networkID int16
		err := tx.GetContext(ctx, &networkID, `SELECT network_id FROM block WHERE id = $1`, req.BlockID)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("block %d: %w", req.BlockID, ErrNoSuchBlock)
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `SELECT lock_rounds($1)`, networkID); err != nil {
			return err
		}
		if result.Block, err = lockBlock(ctx, tx, req.BlockID); err != nil {
			return err
		}
		if err := prepareShareOut(ctx, tx, req.Window, &result); err != nil {
			return err
		}
		if result.Division, err = req.Divide(result.Block, result.Weights); err != nil {
			return err
		}
		if err := creditBlock(ctx, tx, &result); err != nil {
			return err
		}
		if req.DryRun {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return result, err
}

// prepareShareOut checks that the block's turn has come and gathers weights.
func prepareShareOut(ctx context.Context, tx *sqlx.Tx, window *big.Int, result *ShareOutResult) error {
	block := &result.Block
	switch {
	case block.State != BlockImmature:
		return fmt.Errorf("block %d is %s: %w", block.Height, block.State, ErrNotDue)
	case !block.Main:
		return fmt.Errorf("block %d is not on the best chain: %w", block.Height, ErrNotDue)
	case block.RoundID == 0:
		return fmt.Errorf("the round of block %d is not closed: %w", block.Height, ErrNotDue)
	}
	var rounds []struct {
		ID     int64
		Height int32
		State  string
	}
	err := tx.SelectContext(ctx, &rounds, `SELECT r.id, b.height, b.state FROM round r JOIN block b ON b.id = r.block_id
		WHERE r.network_id = $1 AND r.state = 'closed' AND r.until_at <= (SELECT until_at FROM round WHERE id = $2)
		ORDER BY r.from_at`, block.NetworkID, block.RoundID)
	if err != nil {
		return err
	}
	for _, r := range rounds {
		if r.ID != block.RoundID && r.State != BlockOrphaned {
			return fmt.Errorf("block %d waits before block %d: %w", r.Height, block.Height, ErrNotDue)
		}
		result.Rounds = append(result.Rounds, r.ID)
	}
	if window == nil {
		result.Weights, err = selectWeights(ctx, tx, roundWeightsSQL, int64Array(result.Rounds))
		return err
	}
	return result.weighWindow(ctx, tx, window)
}

// creditBlock writes the entry and marks block and rounds.
func creditBlock(ctx context.Context, tx *sqlx.Tx, result *ShareOutResult) error {
	block := &result.Block
	e := entry{networkID: block.NetworkID, kind: "block", blockID: block.ID}
	e.lines = append(e.lines,
		line{kind: "reward", amount: -block.Reward},
		line{kind: "fee", amount: result.Fee},
		line{kind: "unclaimed", amount: result.Unclaimed})
	for _, c := range result.Credits {
		if c.Amount < 0 {
			return fmt.Errorf("miner %d would get %d satoshis", c.MinerID, c.Amount)
		}
		e.lines = append(e.lines, line{kind: "miner", miner: c.MinerID, amount: c.Amount})
	}
	if err := redirect(ctx, tx, e.lines); err != nil {
		return err
	}
	e.note = fmt.Sprintf("Share for block %d", block.Height)
	if result.Unclaimed > 0 {
		e.note = fmt.Sprintf("Block %d had no shares: the pool keeps it", block.Height)
	}
	// A block that was credited, orphaned and came back is credited again.
	var before int
	err := tx.GetContext(ctx, &before, `SELECT count(*) FROM journal WHERE block_id = $1 AND kind = 'block'`, block.ID)
	if err != nil {
		return err
	}
	e.key = fmt.Sprintf("block:%d:%d", block.ID, before+1)
	if _, err := post(ctx, tx, e); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE round SET state = 'settled', paid_by = $2, settled_at = now(), by_window = $3
		WHERE id = ANY (CAST($1 AS bigint[]))`, int64Array(result.Rounds), block.ID, result.window != nil)
	if err != nil {
		return err
	}
	if err := result.window.keep(ctx, tx, block); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE block SET state = 'mature', state_at = now() WHERE id = $1`, block.ID)
	return err
}

// RoundRecord is a round as pages and operators see it.
type RoundRecord struct {
	ID      int64
	From    time.Time
	Until   time.Time // zero while open
	State   string
	Height  int32 // of its block; 0 while open
	Shares  int64 // counted; of the open one, so far
	Carried int64 // of them, those that came too late for the round in which they arrived
}

// Rounds returns the last rounds of a network, the newest first.
func (b *Books) Rounds(ctx context.Context, networkID int16, limit int) ([]RoundRecord, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	rows, err := b.db.QueryContext(ctx, `
		SELECT r.id, r.from_at, r.until_at, r.state, coalesce(b.height, 0), coalesce(w.shares, 0)::bigint, coalesce(w.carried, 0)::bigint
		FROM (SELECT * FROM round WHERE network_id = $1 ORDER BY from_at DESC LIMIT $2) AS r
		LEFT JOIN block b ON b.id = r.block_id
		LEFT JOIN LATERAL (SELECT sum(shares) AS shares, sum(shares) FILTER (WHERE from_round_id <> round_id) AS carried
			FROM round_weight WHERE round_id = r.id) AS w ON true
		ORDER BY r.from_at DESC`, networkID, max(limit, 1))
	if err != nil {
		return nil, wrap(ctx, "list rounds", err)
	}
	defer rows.Close()
	var list []RoundRecord
	for rows.Next() {
		var r RoundRecord
		var until sql.NullTime
		if err := rows.Scan(&r.ID, &r.From, &until, &r.State, &r.Height, &r.Shares, &r.Carried); err != nil {
			return nil, wrap(ctx, "list rounds", err)
		}
		r.From = r.From.UTC()
		if until.Valid {
			r.Until = until.Time.UTC()
		}
		list = append(list, r)
	}
	return list, wrap(ctx, "list rounds", rows.Err())
}
