package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// Books is the backend's store of blocks, rounds, the journal and payments.
//
// Each of its writing methods is one transaction: it happens wholly or not at
// all, may be called again after an answer was lost, and by several backends at
// once. Nothing here talks to a daemon, and nothing is ever deleted.
type Books struct{ *conn }

// Books returns the books on the store's connections.
func (s *BackendStore) Books() *Books { return &Books{s.conn} }

var (
	// ErrNoSuchBlock: no block of the pool has this id.
	ErrNoSuchBlock = errors.New("no such block of the pool")
	// ErrNotDue: the block cannot be shared out now: it has been, it is not on
	// the best chain, its round is not closed, or an earlier one waits.
	ErrNotDue = errors.New("the block cannot be shared out now")
	// ErrChainMoved: somebody else has written down other blocks meanwhile.
	ErrChainMoved = errors.New("the chain has moved meanwhile")
	// ErrPaymentState: the payment is not in the state that the step begins with.
	ErrPaymentState = errors.New("the payment is in another state")
	// ErrKeyUsed: there is a correction with this key.
	ErrKeyUsed = errors.New("a correction with this key was made before")
	// ErrNoSuchPayment: no payment has this id.
	ErrNoSuchPayment = errors.New("no such payment")
)

// inTx runs f in a transaction, bounded in time.
func (b *Books) inTx(ctx context.Context, doing string, f func(ctx context.Context, tx *sqlx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, booksTimeout)
	defer cancel()
	tx, err := b.db.BeginTxx(ctx, nil)
	if err != nil {
		return wrap(ctx, doing, err)
	}
	defer tx.Rollback()
	if err := f(ctx, tx); err != nil {
		return wrap(ctx, doing, err)
	}
	return wrap(ctx, doing, tx.Commit())
}

// booksTimeout bounds one transaction of the books: a round of millions of
// shares is counted in one.
const booksTimeout = 5 * time.Minute

// Block is a block that pays this pool.
type Block struct {
	ID        int64
	NetworkID int16
	Height    int32
	Hash      [32]byte // display order
	BlockTime time.Time
	// SeenAt is when it came, as well as the backend knows.
	SeenAt time.Time
	// FinderID is the miner who found it, 0 where nobody known did; FinderGUID is
	// what the coinbase says.
	FinderID   int64
	FinderGUID uuid.UUID
	ShareID    uuid.UUID // the share that was this block, where known
	FoundAt    time.Time // arrival of that share
	Reward     int64     // satoshis
	Hashes     *big.Int  // expected hashes of the network's target; 0: not known
	State      string    // immature, mature, orphaned
	// Main is true while the block stands on the best chain.
	Main bool
	// RoundID is the round that it closed, 0 where it has not yet.
	RoundID int64
}

// States of a block.
const (
	BlockImmature = "immature" // not shared out yet
	BlockMature   = "mature"   // shared out
	BlockOrphaned = "orphaned" // another block stands at its height for good
)

const blockColumns = `
	b.id, b.network_id, b.height, b.hash, b.block_time, b.seen_at, b.finder_id, b.finder_guid, b.share_id, b.found_at,
	b.reward, b.hashes, b.state, b.main, r.id AS round_id`

type blockRow struct {
	ID         int64
	NetworkID  int16 `db:"network_id"`
	Height     int32
	Hash       []byte
	BlockTime  time.Time     `db:"block_time"`
	SeenAt     time.Time     `db:"seen_at"`
	FinderID   sql.NullInt64 `db:"finder_id"`
	FinderGUID uuid.NullUUID `db:"finder_guid"`
	ShareID    uuid.NullUUID `db:"share_id"`
	FoundAt    sql.NullTime  `db:"found_at"`
	Reward     sql.NullInt64
	Hashes     string
	State      string
	Main       bool
	RoundID    sql.NullInt64 `db:"round_id"`
}

func (r *blockRow) block() (Block, error) {
	hashes, err := wholeNumber(r.Hashes)
	if err != nil {
		return Block{}, err
	}
	b := Block{
		ID: r.ID, NetworkID: r.NetworkID, Height: r.Height, BlockTime: r.BlockTime.UTC(), SeenAt: r.SeenAt.UTC(),
		FinderID: r.FinderID.Int64, FinderGUID: r.FinderGUID.UUID, ShareID: r.ShareID.UUID,
		Reward: r.Reward.Int64, Hashes: hashes, State: r.State, Main: r.Main, RoundID: r.RoundID.Int64,
	}
	if r.FoundAt.Valid {
		b.FoundAt = r.FoundAt.Time.UTC()
	}
	copy(b.Hash[:], r.Hash)
	return b, nil
}

// wholeNumber reads a numeric without fraction.
func wholeNumber(text string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no whole number", text)
	}
	return n, nil
}

func selectBlocks(ctx context.Context, q sqlx.QueryerContext, where string, args ...any) ([]Block, error) {
	var rows []blockRow
	err := sqlx.SelectContext(ctx, q, &rows, `SELECT `+blockColumns+` FROM block b LEFT JOIN round r ON r.block_id = b.id `+where, args...)
	if err != nil {
		return nil, err
	}
	blocks := make([]Block, len(rows))
	for i := range rows {
		if blocks[i], err = rows[i].block(); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

// PoolBlocks returns blocks of the pool on a network, the newest first, limit at
// most (0: 100).
func (b *Books) PoolBlocks(ctx context.Context, networkID int16, limit int) ([]Block, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	if limit <= 0 {
		limit = 100
	}
	blocks, err := selectBlocks(ctx, b.db, `WHERE b.network_id = $1 ORDER BY b.height DESC, b.id DESC LIMIT $2`, networkID, limit)
	return blocks, wrap(ctx, "list blocks", err)
}

// ImmatureBlocks returns the blocks that stand on the best chain and are not
// shared out, in the order in which their rounds ended; those whose rounds have
// not ended come last, by height.
func (b *Books) ImmatureBlocks(ctx context.Context, networkID int16) ([]Block, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	blocks, err := selectBlocks(ctx, b.db, `WHERE b.network_id = $1 AND b.state = 'immature' AND b.main
		ORDER BY r.until_at NULLS LAST, b.height`, networkID)
	return blocks, wrap(ctx, "list immature blocks", err)
}

// line is one line of a journal entry.
type line struct {
	kind   string // of the account
	miner  int64  // 0: the account belongs to no miner
	amount int64  // satoshis; lines of 0 are left out
}

// entry is a journal entry to be written.
type entry struct {
	networkID int16
	kind      string
	key       string // makes it happen once
	note      string
	blockID   int64 // 0: none
	paymentID int64 // 0: none
	lines     []line
}

// postSQL writes an entry's lines; the database moves the balances with them and
// refuses lines that do not sum to zero. Accounts are found by account_owner.
const postSQL = `
INSERT INTO journal_line (entry_id, account_id, amount)
SELECT $2, a.id, sum(l.amount)::bigint
FROM unnest(CAST($3 AS text[]), CAST($4 AS bigint[]), CAST($5 AS bigint[])) AS l (kind, miner, amount)
JOIN account a ON a.network_id = $1 AND a.kind = l.kind AND coalesce(a.miner_id, 0) = l.miner
GROUP BY a.id HAVING sum(l.amount) <> 0 ORDER BY a.id`

const openAccountsSQL = `
INSERT INTO account (network_id, kind, miner_id)
SELECT DISTINCT CAST($1 AS smallint), l.kind, nullif(l.miner, 0)
FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[])) AS l (kind, miner)
WHERE NOT EXISTS (SELECT FROM account a
    WHERE a.network_id = $1 AND a.kind = l.kind AND coalesce(a.miner_id, 0) = l.miner)
ORDER BY 2, 3
ON CONFLICT DO NOTHING`

// post writes an entry. An entry without lines other than zero is none, and is
// not written (id 0).
func post(ctx context.Context, tx *sqlx.Tx, e entry) (id int64, err error) {
	var kinds []string
	var miners, amounts []int64
	for _, l := range e.lines {
		if l.amount != 0 {
			kinds, miners, amounts = append(kinds, l.kind), append(miners, l.miner), append(amounts, l.amount)
		}
	}
	if len(kinds) == 0 {
		return 0, nil
	}
	if _, err := tx.ExecContext(ctx, openAccountsSQL, e.networkID, pq.Array(kinds), pq.Array(miners)); err != nil {
		return 0, fmt.Errorf("accounts: %w", err)
	}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO journal (network_id, kind, key, note, block_id, payment_id)
		VALUES ($1, $2, $3, $4, nullif(CAST($5 AS bigint), 0), nullif(CAST($6 AS bigint), 0)) RETURNING id`,
		e.networkID, e.kind, e.key, freeText(e.note, 500), e.blockID, e.paymentID).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("journal: %w", err)
	}
	if _, err := tx.ExecContext(ctx, postSQL, e.networkID, id, pq.Array(kinds), pq.Array(miners), pq.Array(amounts)); err != nil {
		return 0, fmt.Errorf("lines: %w", err)
	}
	return id, nil
}

// reverse writes the opposite of an entry.
func reverse(ctx context.Context, tx *sqlx.Tx, entryID int64, note string) error {
	var id int64
	err := tx.QueryRowContext(ctx, `
		INSERT INTO journal (network_id, kind, key, note, block_id, payment_id, reverses)
		SELECT network_id, 'reversal', 'reversal:' || id, $2, block_id, payment_id, id FROM journal WHERE id = $1
		RETURNING id`, entryID, freeText(note, 500)).Scan(&id)
	if err != nil {
		return fmt.Errorf("reversal: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO journal_line (entry_id, account_id, amount)
		SELECT $1, account_id, -amount FROM journal_line WHERE entry_id = $2 ORDER BY account_id`, id, entryID)
	return err
}

// MinerBalance returns what a miner has and what of it is on its way to him, in
// satoshis.
func (b *Books) MinerBalance(ctx context.Context, minerID int64) (balance, reserved int64, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	err = b.db.QueryRowContext(ctx, `
		SELECT coalesce(sum(b.amount) FILTER (WHERE a.kind = 'miner'), 0)::bigint,
		       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'reserved'), 0)::bigint
		FROM account a JOIN balance b ON b.account_id = a.id WHERE a.miner_id = $1`, minerID).Scan(&balance, &reserved)
	return balance, reserved, wrap(ctx, "read balance", err)
}

// Correct moves an amount between the pool's correction account and a miner, by
// hand; positive gives to the miner. key makes it happen once. ErrKeyUsed: there is a
// correction with this key, and nothing was changed; the text says which.
func (b *Books) Correct(ctx context.Context, minerID, amount int64, key string, by Reason) error {
	correct := func(ctx context.Context, tx *sqlx.Tx) error {
		var networkID int16
		if err := tx.GetContext(ctx, &networkID, `SELECT network_id FROM miner WHERE id = $1`, minerID); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return ErrNoSuchMiner
			}
			return err
		}
		e := entry{
			networkID: networkID, kind: "correction", key: "correction:" + key, note: by.Why,
			lines: []line{{kind: "correction", amount: -amount}, {kind: "miner", miner: minerID, amount: amount}},
		}
		if err := keyUnused(ctx, tx, e.key, minerID, amount); err != nil {
			return err
		}
		if _, err := post(ctx, tx, e); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "correct balance", map[string]any{"miner_id": minerID, "amount": amount, "key": key})
	}
	err := b.inTx(ctx, "correct", correct)
	if pq.As(err, pqerror.UniqueViolation) != nil {
		err = b.inTx(ctx, "correct", correct) // somebody else used the key at the same moment: now it is seen
	}
	return err
}

// keyUnused is ErrKeyUsed where there is a correction with a key.
func keyUnused(ctx context.Context, tx *sqlx.Tx, key string, minerID, amount int64) error {
	var before struct {
		At      time.Time
		Address string
		MinerID int64 `db:"miner_id"`
		Amount  int64
	}
	err := tx.GetContext(ctx, &before, `SELECT j.at, m.address, m.id AS miner_id, l.amount
		FROM journal j JOIN journal_line l ON l.entry_id = j.id JOIN account a ON a.id = l.account_id JOIN miner m ON m.id = a.miner_id
		WHERE j.key = $1`, key)
	if err != nil {
		return noRows(err)
	}
	what := fmt.Sprintf("another one, of %d satoshis for %s; take another key", before.Amount, before.Address)
	if before.MinerID == minerID && before.Amount == amount {
		what = "this very one"
	}
	return fmt.Errorf("%w: %s, at %s", ErrKeyUsed, what, before.At.UTC().Format(time.RFC3339))
}

// int64Array writes ids as a Postgres array, an empty one where there are none.
func int64Array(ids []int64) any {
	if ids == nil {
		ids = []int64{}
	}
	return pq.Array(ids)
}
