package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// ShareQuery names shares; one field is set.
type ShareQuery struct {
	NetworkID int16     // 0: all
	ID        uuid.UUID // of the share or of its work
	Proof     [32]byte  // its hash
	MinerID   int64     // the newest rejected ones of a miner
	Limit     int       // 0: 20
}

// ShareStory is everything that the ledger knows of one share.
type ShareStory struct {
	ID         uuid.UUID
	NetworkID  int16
	ReceivedAt time.Time
	JudgedAt   time.Time
	Height     int32    // that it builds on; -1: not known
	Proof      [32]byte // zero: not known
	Reason     string   // empty: credited
	Detail     string
	Weight     int64 // of a credited share, expected hashes
	MinerID    int64 // 0: unknown
	Address    string
	Worker     string
	WorkID     uuid.UUID
	// IssuedAt is zero where the work was dropped by age or never was; Target is
	// that of the work.
	IssuedAt time.Time
	Target   [32]byte
	// TipHeight and TipHash are the chain's tip when the share arrived, TipSeen when
	// the pool saw it; TipSeen is zero where that is not kept any more.
	TipHeight int32
	TipHash   [32]byte
	TipSeen   time.Time
	// NextTip is when the tip after that was seen; zero: there was none.
	NextTip time.Time
	// FirstID is the share that had the same proof before; zero: none.
	FirstID uuid.UUID
	FirstAt time.Time
	// Solution is the text as it was sent, for as long as that is kept.
	Solution []byte
}

// sharesSQL reads both kinds of shares; %s selects.
const sharesSQL = `
SELECT id, network_id, received_at, judged_at, coalesce(height, -1) AS height, proof, reason, coalesce(detail, '') AS detail, 0::bigint AS weight,
       coalesce(miner_id, 0) AS miner_id, coalesce(worker_id, 0) AS worker_id, work_id
FROM rejected_share WHERE ($1 = 0 OR network_id = $1) AND %[1]s
UNION ALL
SELECT id, network_id, received_at, judged_at, height, proof, '', '', weight, miner_id, worker_id, work_id
FROM share WHERE ($1 = 0 OR network_id = $1) AND %[1]s
ORDER BY received_at DESC LIMIT %[2]d`

// minerSharesSQL reads the newest rejected shares of a miner.
const minerSharesSQL = `
SELECT id, network_id, received_at, judged_at, coalesce(height, -1) AS height, proof, reason, coalesce(detail, '') AS detail, 0::bigint AS weight,
       coalesce(miner_id, 0) AS miner_id, coalesce(worker_id, 0) AS worker_id, work_id
FROM rejected_share WHERE ($1 = 0 OR network_id = $1) AND miner_id = $2 ORDER BY received_at DESC LIMIT %d`

// ShareStories finds shares for the operator, the newest first. It reads all
// partitions where neither a time nor an index narrows them down: seconds, on a
// big pool.
func (s *BackendStore) ShareStories(ctx context.Context, q ShareQuery) ([]ShareStory, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	limit := q.Limit
	if limit <= 0 {
		limit = 20
	}
	query, arg := fmt.Sprintf(minerSharesSQL, limit), any(q.MinerID)
	switch {
	case q.ID != uuid.Nil:
		query, arg = fmt.Sprintf(sharesSQL, "(id = $2 OR work_id = $2)", limit), q.ID
	case q.Proof != [32]byte{}:
		query, arg = fmt.Sprintf(sharesSQL, "proof = $2", limit), q.Proof[:]
	case q.MinerID == 0:
		return nil, errors.New("ledger: find shares: nothing was asked for")
	}
	var rows []struct {
		ID             uuid.UUID
		NetworkID      int16     `db:"network_id"`
		ReceivedAt     time.Time `db:"received_at"`
		JudgedAt       time.Time `db:"judged_at"`
		Height         int32
		Proof          []byte
		Reason, Detail string
		Weight         int64
		MinerID        int64         `db:"miner_id"`
		WorkerID       int64         `db:"worker_id"`
		WorkID         uuid.NullUUID `db:"work_id"`
	}
	if err := s.db.SelectContext(ctx, &rows, query, q.NetworkID, arg); err != nil {
		return nil, wrap(ctx, "find shares", err)
	}
	stories := make([]ShareStory, len(rows))
	for i, r := range rows {
		stories[i] = ShareStory{
			ID: r.ID, NetworkID: r.NetworkID, ReceivedAt: r.ReceivedAt.UTC(), JudgedAt: r.JudgedAt.UTC(), Height: r.Height,
			Reason: r.Reason, Detail: r.Detail, Weight: r.Weight, MinerID: r.MinerID, WorkID: r.WorkID.UUID,
		}
		copy(stories[i].Proof[:], r.Proof)
		if err := s.tellShare(ctx, &stories[i], r.WorkerID); err != nil {
			return nil, wrap(ctx, "tell of a share", err)
		}
	}
	return stories, nil
}

// tellShare adds what stands elsewhere about a share.
func (s *BackendStore) tellShare(ctx context.Context, story *ShareStory, workerID int64) error {
	missing := func(err error) error {
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	err := s.db.QueryRowContext(ctx, `SELECT w.name, m.address FROM worker w JOIN miner m ON m.id = w.miner_id WHERE w.id = $1`, workerID).
		Scan(&story.Worker, &story.Address)
	if missing(err) != nil {
		return err
	}
	var target []byte
	err = s.db.QueryRowContext(ctx, `SELECT issued_at, hash_target FROM work WHERE id = $1 AND issued_at <= $2 ORDER BY issued_at DESC LIMIT 1`,
		story.WorkID, story.ReceivedAt.Add(workTimeSlack)).Scan(&story.IssuedAt, &target)
	if missing(err) != nil {
		return err
	}
	copy(story.Target[:], target)
	var hash []byte
	err = s.db.QueryRowContext(ctx, `SELECT height, hash, seen_at FROM tip WHERE network_id = $1 AND seen_at <= $2 ORDER BY seen_at DESC LIMIT 1`,
		story.NetworkID, story.ReceivedAt).Scan(&story.TipHeight, &hash, &story.TipSeen)
	if missing(err) != nil {
		return err
	}
	copy(story.TipHash[:], hash)
	err = s.db.QueryRowContext(ctx, `SELECT seen_at FROM tip WHERE network_id = $1 AND seen_at > $2 ORDER BY seen_at LIMIT 1`,
		story.NetworkID, story.ReceivedAt).Scan(&story.NextTip)
	if missing(err) != nil {
		return err
	}
	if story.Proof != [32]byte{} && story.Height >= 0 {
		err = s.db.QueryRowContext(ctx, `SELECT id, received_at FROM share WHERE network_id = $1 AND height = $2 AND proof = $3 AND id <> $4`,
			story.NetworkID, story.Height, story.Proof[:], story.ID).Scan(&story.FirstID, &story.FirstAt)
		if missing(err) != nil {
			return err
		}
	}
	err = s.db.QueryRowContext(ctx, `SELECT solution FROM share_solution WHERE received_at = $1 AND share_id = $2 LIMIT 1`,
		storedTime(story.ReceivedAt), story.ID).Scan(&story.Solution)
	return missing(err)
}

// MinerMove is one movement of a miner's balance.
type MinerMove struct {
	EntryID int64
	At      time.Time
	Kind    string
	Account string // miner or reserved
	Amount  int64  // satoshis
	Height  int32  // of the block, 0: none
	Payment int64  // 0: none
	Note    string
}

// MinerMoves calls see with every movement of a miner's accounts, the oldest
// first.
func (b *Books) MinerMoves(ctx context.Context, minerID int64, see func(MinerMove) error) error {
	rows, err := b.db.QueryContext(ctx, `
		SELECT j.id, j.at, j.kind, a.kind, l.amount, coalesce(k.height, 0), coalesce(j.payment_id, 0), j.note
		FROM account a JOIN journal_line l ON l.account_id = a.id JOIN journal j ON j.id = l.entry_id LEFT JOIN block k ON k.id = j.block_id
		WHERE a.miner_id = $1 ORDER BY j.id, a.kind`, minerID)
	return eachRow(ctx, rows, err, "read movements", func() error {
		var m MinerMove
		if err := rows.Scan(&m.EntryID, &m.At, &m.Kind, &m.Account, &m.Amount, &m.Height, &m.Payment, &m.Note); err != nil {
			return err
		}
		m.At = m.At.UTC()
		return see(m)
	})
}

// MinerPayout is a payment as one miner sees it.
type MinerPayout struct {
	PaymentID     int64
	Tag           string
	State         string
	ItemState     string
	Amount        int64 // satoshis, taken from his balance
	Address       string
	TxID          string // empty: none
	Confirmations int32
	CreatedAt     time.Time
}

// MinerPayouts calls see with every payment of a miner, the oldest first.
func (b *Books) MinerPayouts(ctx context.Context, minerID int64, see func(MinerPayout) error) error {
	rows, err := b.db.QueryContext(ctx, `
		SELECT p.id, p.tag, p.state, i.state, i.amount, i.address, coalesce(encode(p.txid, 'hex'), ''), p.confirmations, p.created_at
		FROM payment_item i JOIN payment p ON p.id = i.payment_id WHERE i.miner_id = $1 ORDER BY p.id`, minerID)
	return eachRow(ctx, rows, err, "read payments", func() error {
		var p MinerPayout
		if err := rows.Scan(&p.PaymentID, &p.Tag, &p.State, &p.ItemState, &p.Amount, &p.Address, &p.TxID, &p.Confirmations, &p.CreatedAt); err != nil {
			return err
		}
		p.CreatedAt = p.CreatedAt.UTC()
		return see(p)
	})
}

// MinerShare is a share of a miner, as it is exported.
type MinerShare struct {
	ID         uuid.UUID
	ReceivedAt time.Time
	Worker     string
	Height     int32
	Weight     int64
	Reason     string // empty: credited
}

// MinerShares calls see with every share of a miner that is kept, by arrival.
func (b *Books) MinerShares(ctx context.Context, minerID int64, see func(MinerShare) error) error {
	rows, err := b.db.QueryContext(ctx, `
		SELECT s.id, s.received_at, w.name, s.height, s.weight, s.reason FROM (
		    SELECT id, received_at, worker_id, height, weight, '' AS reason FROM share WHERE miner_id = $1
		      AND network_id = (SELECT network_id FROM miner WHERE id = $1)
		    UNION ALL
		    SELECT id, received_at, worker_id, coalesce(height, 0), 0, reason FROM rejected_share WHERE miner_id = $1) AS s
		JOIN worker w ON w.id = s.worker_id ORDER BY s.received_at, s.id`, minerID)
	return eachRow(ctx, rows, err, "read shares", func() error {
		var m MinerShare
		if err := rows.Scan(&m.ID, &m.ReceivedAt, &m.Worker, &m.Height, &m.Weight, &m.Reason); err != nil {
			return err
		}
		m.ReceivedAt = m.ReceivedAt.UTC()
		return see(m)
	})
}

// eachRow goes through the rows of a query.
func eachRow(ctx context.Context, rows *sql.Rows, err error, doing string, see func() error) error {
	if err != nil {
		return wrap(ctx, doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := see(); err != nil {
			return wrap(ctx, doing, err)
		}
	}
	return wrap(ctx, doing, rows.Err())
}

// Merge makes two miners of one person one: what from has is moved to into by an
// entry of the journal, and what from earns from now on is credited to into.
// Shares, workers and statistics stay with from, whose rigs may go on as they
// are. Payments that are on their way to from are not touched. Merging again
// moves what has come meanwhile. It returns the amount moved, in satoshis.
func (b *Books) Merge(ctx context.Context, from, into int64, by Reason) (moved int64, err error) {
	if by.Why == "" {
		return 0, errors.New("ledger: merge miners: a reason is needed")
	}
	err = b.inTx(ctx, "merge miners", func(ctx context.Context, tx *sqlx.Tx) error {
		networkID, err := checkMerge(ctx, tx, from, into)
		if err != nil {
			return err
		}
		// Nobody plans a payment or credits a block meanwhile.
		if _, err := tx.ExecContext(ctx, `SELECT lock_rounds($1), lock_payments($1)`, networkID); err != nil {
			return err
		}
		err = tx.GetContext(ctx, &moved, `SELECT coalesce((SELECT b.amount FROM account a JOIN balance b ON b.account_id = a.id
			WHERE a.miner_id = $1 AND a.kind = 'miner'), 0)`, from)
		if err != nil {
			return err
		}
		// Miners that were merged into this one follow it.
		if _, err := tx.ExecContext(ctx, `UPDATE miner_merge SET into_id = $2 WHERE into_id = $1`, from, into); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO miner_merge (from_id, into_id) VALUES ($1, $2)
			ON CONFLICT (from_id) DO UPDATE SET into_id = excluded.into_id, at = now()`, from, into)
		if err != nil {
			return err
		}
		var before int
		if err := tx.GetContext(ctx, &before, `SELECT count(*) FROM journal WHERE kind = 'merge' AND starts_with(key, $1)`,
			fmt.Sprintf("merge:%d:", from)); err != nil {
			return err
		}
		_, err = post(ctx, tx, entry{
			networkID: networkID, kind: "merge", key: fmt.Sprintf("merge:%d:%d", from, before+1), note: "Merged: " + by.Why,
			lines: []line{{"miner", from, -moved}, {"miner", into, moved}},
		})
		if err != nil {
			return err
		}
		return logChange(ctx, tx, by, "merge miners", map[string]any{"from_id": from, "into_id": into, "amount": moved})
	})
	return moved, err
}

// ErrMerge: these two cannot be merged.
var ErrMerge = errors.New("these miners cannot be merged")

func checkMerge(ctx context.Context, tx *sqlx.Tx, from, into int64) (networkID int16, err error) {
	var rows []struct {
		ID        int64
		NetworkID int16         `db:"network_id"`
		IntoID    sql.NullInt64 `db:"into_id"`
	}
	ids := []int64{from, into}
	slices.Sort(ids)
	err = tx.SelectContext(ctx, &rows, `SELECT m.id, m.network_id, g.into_id FROM miner m LEFT JOIN miner_merge g ON g.from_id = m.id
		WHERE m.id = ANY (CAST($1 AS bigint[])) ORDER BY m.id FOR UPDATE OF m`, int64Array(ids))
	switch {
	case err != nil:
		return 0, err
	case from == into:
		return 0, fmt.Errorf("it is one miner: %w", ErrMerge)
	case len(rows) != 2:
		return 0, ErrNoSuchMiner
	case rows[0].NetworkID != rows[1].NetworkID:
		return 0, fmt.Errorf("they mine on different networks: %w", ErrMerge)
	}
	for _, r := range rows {
		if r.ID == into && r.IntoID.Valid {
			return 0, fmt.Errorf("the second was merged into another miner itself: merge into that one: %w", ErrMerge)
		}
		networkID = r.NetworkID
	}
	return networkID, nil
}

// MergedInto returns the miner that gets what another one earns; 0: itself.
func (b *Books) MergedInto(ctx context.Context, minerID int64) (into int64, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	err = b.db.GetContext(ctx, &into, `SELECT into_id FROM miner_merge WHERE from_id = $1`, minerID)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return into, wrap(ctx, "read merge", err)
}

// redirect gives what miners earn to those they were merged into.
func redirect(ctx context.Context, tx *sqlx.Tx, lines []line) error {
	var miners []int64
	for _, l := range lines {
		if l.kind == "miner" {
			miners = append(miners, l.miner)
		}
	}
	var rows []struct {
		FromID int64 `db:"from_id"`
		IntoID int64 `db:"into_id"`
	}
	err := tx.SelectContext(ctx, &rows, `SELECT from_id, into_id FROM miner_merge WHERE from_id = ANY (CAST($1 AS bigint[]))`, int64Array(miners))
	if err != nil || len(rows) == 0 {
		return err
	}
	into := make(map[int64]int64, len(rows))
	for _, r := range rows {
		into[r.FromID] = r.IntoID
	}
	for i := range lines {
		if to, merged := into[lines[i].miner]; merged && lines[i].kind == "miner" {
			lines[i].miner = to
		}
	}
	return nil
}
