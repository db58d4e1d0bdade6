package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// States of a payment. How it goes from one to the next, and which crash each
// step survives, is told in pool/settle.
const (
	PaymentIntent    = "intent"    // planned, amounts reserved; the wallet has certainly made nothing of it
	PaymentSending   = "sending"   // the wallet is being called, or was and nobody knows the answer
	PaymentSent      = "sent"      // the wallet has made a transaction
	PaymentConfirmed = "confirmed" // it is deep enough in the chain
	PaymentUnclear   = "unclear"   // on hold until the wallet shows it, or a person decides
	PaymentCancelled = "cancelled" // nothing was paid, everything is released
)

// States of an item of a payment.
const (
	ItemPlanned  = "planned"
	ItemPaid     = "paid"
	ItemSetAside = "set_aside" // the address cannot be paid
	ItemReleased = "released"  // taken out of this payment; the miner has his balance back
)

// Payment is one transaction of the wallet, planned or made.
type Payment struct {
	ID            int64
	NetworkID     int16
	Tag           string // stands in the wallet's comment
	State         string
	TxID          [32]byte // display order; zero while unknown
	NetworkFee    int64    // satoshis; -1 while unknown
	SubtractFee   bool     // the miners pay the network fee, otherwise the pool
	Note          string
	Held          bool // by a person
	Attempts      int  // calls of the wallet
	NextAt        time.Time
	CalledAt      time.Time // of the last call; zero before the first
	CalledHeight  int32     // the chain's height then
	WalletMark    [32]byte  // the wallet's newest transaction before the last call; zero: it had none
	AbsentAt      time.Time // first seen to be absent since the last call; zero: not yet
	Booked        bool      // stands in the journal as paid
	Confirmations int32
	CreatedAt     time.Time
	StateAt       time.Time
	Items         []PaymentItem
}

// PaymentItem is what one miner gets of a payment.
type PaymentItem struct {
	ID      int64
	MinerID int64 `db:"miner_id"`
	Address string
	Amount  int64 // satoshis, taken from his balance
	State   string
	Reason  string
}

// Planned returns the items that are still to be paid.
func (p *Payment) Planned() (items []PaymentItem) {
	for _, it := range p.Items {
		if it.State == ItemPlanned {
			items = append(items, it)
		}
	}
	return items
}

type paymentRow struct {
	ID            int64
	NetworkID     int16 `db:"network_id"`
	Tag           string
	State         string
	TxID          []byte        `db:"txid"`
	NetworkFee    sql.NullInt64 `db:"network_fee"`
	SubtractFee   bool          `db:"subtract_fee"`
	Note          string
	Held          bool
	Attempts      int
	NextAt        time.Time     `db:"next_at"`
	CalledAt      sql.NullTime  `db:"called_at"`
	CalledHeight  sql.NullInt32 `db:"called_height"`
	WalletMark    []byte        `db:"wallet_mark"`
	AbsentAt      sql.NullTime  `db:"absent_at"`
	Booked        bool
	Confirmations int32
	CreatedAt     time.Time `db:"created_at"`
	StateAt       time.Time `db:"state_at"`
}

const paymentColumns = `id, network_id, tag, state, txid, network_fee, subtract_fee, note, held, attempts, next_at,
	called_at, called_height, wallet_mark, absent_at, booked, confirmations, created_at, state_at`

func (r *paymentRow) payment() Payment {
	p := Payment{
		ID: r.ID, NetworkID: r.NetworkID, Tag: r.Tag, State: r.State, NetworkFee: -1, SubtractFee: r.SubtractFee,
		Note: r.Note, Held: r.Held, Attempts: r.Attempts, NextAt: r.NextAt.UTC(), CalledHeight: r.CalledHeight.Int32,
		Booked: r.Booked, Confirmations: r.Confirmations, CreatedAt: r.CreatedAt.UTC(), StateAt: r.StateAt.UTC(),
	}
	copy(p.TxID[:], r.TxID)
	copy(p.WalletMark[:], r.WalletMark)
	if r.NetworkFee.Valid {
		p.NetworkFee = r.NetworkFee.Int64
	}
	if r.CalledAt.Valid {
		p.CalledAt = r.CalledAt.Time.UTC()
	}
	if r.AbsentAt.Valid {
		p.AbsentAt = r.AbsentAt.Time.UTC()
	}
	return p
}

func selectPayments(ctx context.Context, q sqlx.QueryerContext, where string, args ...any) ([]Payment, error) {
	var rows []paymentRow
	if err := sqlx.SelectContext(ctx, q, &rows, `SELECT `+paymentColumns+` FROM payment `+where, args...); err != nil {
		return nil, err
	}
	payments := make([]Payment, len(rows))
	ids, at := make([]int64, len(rows)), make(map[int64]*Payment, len(rows))
	for i := range rows {
		payments[i] = rows[i].payment()
		ids[i], at[rows[i].ID] = rows[i].ID, &payments[i]
	}
	var items []struct {
		PaymentID int64 `db:"payment_id"`
		PaymentItem
	}
	err := sqlx.SelectContext(ctx, q, &items, `SELECT payment_id, id, miner_id, address, amount, state, reason
		FROM payment_item WHERE payment_id = ANY (CAST($1 AS bigint[])) ORDER BY id`, int64Array(ids))
	for _, it := range items {
		p := at[it.PaymentID]
		p.Items = append(p.Items, it.PaymentItem)
	}
	return payments, err
}

// UnfinishedPayments returns the payments of a network that are neither
// confirmed nor cancelled, the oldest first.
func (b *Books) UnfinishedPayments(ctx context.Context, networkID int16) ([]Payment, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Uses payment_unfinished.
	list, err := selectPayments(ctx, b.db, `WHERE network_id = $1 AND state NOT IN ('confirmed', 'cancelled') ORDER BY id`, networkID)
	return list, wrap(ctx, "list unfinished payments", err)
}

// Payments returns payments of a network, the newest first. state selects; the
// empty one does not.
func (b *Books) Payments(ctx context.Context, networkID int16, state string, limit int) ([]Payment, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	if limit <= 0 {
		limit = 50
	}
	list, err := selectPayments(ctx, b.db, `WHERE network_id = $1 AND ($2 = '' OR state = $2) ORDER BY id DESC LIMIT $3`, networkID, state, limit)
	return list, wrap(ctx, "list payments", err)
}

// Payment returns one payment. ErrNoSuchPayment.
func (b *Books) Payment(ctx context.Context, id int64) (Payment, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	list, err := selectPayments(ctx, b.db, `WHERE id = $1`, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("payment %d: %w", id, ErrNoSuchPayment)
	}
	if err != nil {
		return Payment{}, wrap(ctx, "read payment", err)
	}
	return list[0], nil
}

// PaymentPlan says whom to pay.
type PaymentPlan struct {
	NetworkID int16
	// Threshold is the balance from which on a miner is paid, in satoshis; a miner
	// may have his own.
	Threshold int64
	// MinInterval is the least time between two payments to a miner.
	MinInterval time.Duration
	MaxMiners   int // in this plan
	BatchSize   int // miners in one payment
	SubtractFee bool
	// NewTag makes a tag that no payment has had.
	NewTag func() string
	// Payable says why an address cannot be paid; nil where it can.
	Payable func(address string) error
	// Retry is how long an address that cannot be paid is left alone, by the
	// number of failures.
	Retry func(failures int) time.Duration
}

// candidate is a miner who may be paid.
type candidate struct {
	MinerID  int64 `db:"miner_id"`
	Address  string
	Amount   int64
	Failures int
}

// candidatesSQL finds who may be paid: those who have waited longest since their
// last payment come first, so that a limit never shuts anybody out. Balances are
// the books' own. A miner with an item that nobody knows the end of waits.
const candidatesSQL = `
SELECT m.id AS miner_id, m.address, b.amount, coalesce(o.failures, 0) AS failures
FROM account a
JOIN balance b ON b.account_id = a.id
JOIN miner m ON m.id = a.miner_id
LEFT JOIN payout o ON o.miner_id = m.id
LEFT JOIN LATERAL (
    SELECT max(p.created_at) AS at FROM payment_item i JOIN payment p ON p.id = i.payment_id
    WHERE i.miner_id = m.id AND i.state IN ('planned', 'paid')) AS last ON true
WHERE a.network_id = $1 AND a.kind = 'miner' AND b.amount > 0 AND b.amount >= coalesce(o.threshold, $2)
  AND m.enabled AND NOT coalesce(o.held, false)
  AND (o.retry_at IS NULL OR o.retry_at <= $3)
  AND (last.at IS NULL OR last.at <= $4)
  AND NOT EXISTS (SELECT FROM payment_item i WHERE i.miner_id = m.id AND i.state = 'planned')
ORDER BY last.at NULLS FIRST, m.id
LIMIT $5`

// PlanPayments reserves the balances of those who are due and writes down a
// payment for every batch of them; the whole plan in one transaction. Addresses
// that cannot be paid are left out and tried again after a while; they take
// nobody's place. It returns the payments, and those left out with the reason.
func (b *Books) PlanPayments(ctx context.Context, plan PaymentPlan) (payments []Payment, unpayable []PaymentItem, err error) {
	err = b.inTx(ctx, "plan payments", func(ctx context.Context, tx *sqlx.Tx) error {
		payments, unpayable = nil, nil
		if _, err := tx.ExecContext(ctx, `SELECT lock_payments($1)`, plan.NetworkID); err != nil {
			return err
		}
		due, err := b.candidates(ctx, tx, plan, &unpayable)
		if err != nil {
			return err
		}
		for len(due) > 0 {
			n := min(max(plan.BatchSize, 1), len(due))
			id, err := planPayment(ctx, tx, plan, due[:n])
			if err != nil {
				return err
			}
			planned, err := selectPayments(ctx, tx, `WHERE id = $1`, id)
			if err != nil {
				return err
			}
			payments, due = append(payments, planned...), due[n:]
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return payments, unpayable, nil
}

// candidates reads whom to pay and puts back those whose address cannot be.
func (b *Books) candidates(ctx context.Context, tx *sqlx.Tx, plan PaymentPlan, unpayable *[]PaymentItem) (due []candidate, err error) {
	now := storedTime(b.now())
	for len(due) < plan.MaxMiners {
		var found []candidate
		err := tx.SelectContext(ctx, &found, candidatesSQL, plan.NetworkID, plan.Threshold, now, now.Add(-plan.MinInterval), plan.MaxMiners)
		if err != nil {
			return nil, err
		}
		bad := 0
		due = due[:0]
		for _, c := range found {
			reason := plan.Payable(c.Address)
			if reason == nil {
				due = append(due, c)
				continue
			}
			bad++
			*unpayable = append(*unpayable, PaymentItem{MinerID: c.MinerID, Address: c.Address, Amount: c.Amount, State: ItemSetAside, Reason: reason.Error()})
			if err := putBack(ctx, tx, c.MinerID, reason.Error(), now.Add(max(plan.Retry(c.Failures+1), time.Minute))); err != nil {
				return nil, err
			}
		}
		if bad == 0 {
			break
		}
	}
	return due, nil
}

// putBack notes that a miner could not be paid.
func putBack(ctx context.Context, tx *sqlx.Tx, minerID int64, reason string, retryAt time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO payout (miner_id, note, failures, retry_at) VALUES ($1, $2, 1, $3)
		ON CONFLICT (miner_id) DO UPDATE SET note = excluded.note, failures = payout.failures + 1, retry_at = excluded.retry_at`,
		minerID, freeText(reason, 1000), storedTime(retryAt))
	return err
}

func planPayment(ctx context.Context, tx *sqlx.Tx, plan PaymentPlan, batch []candidate) (id int64, err error) {
	err = tx.GetContext(ctx, &id, `INSERT INTO payment (network_id, tag, subtract_fee) VALUES ($1, $2, $3) RETURNING id`,
		plan.NetworkID, plan.NewTag(), plan.SubtractFee)
	if err != nil {
		return 0, err
	}
	miners, amounts, addresses := make([]int64, len(batch)), make([]int64, len(batch)), make([]string, len(batch))
	e := entry{networkID: plan.NetworkID, kind: "payment", key: fmt.Sprintf("payment:%d:reserve", id), note: "Reserved for a payment", paymentID: id}
	for i, c := range batch {
		miners[i], amounts[i], addresses[i] = c.MinerID, c.Amount, c.Address
		e.lines = append(e.lines, line{"miner", c.MinerID, -c.Amount}, line{"reserved", c.MinerID, c.Amount})
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO payment_item (payment_id, miner_id, address, amount)
		SELECT $1, i.miner_id, i.address, i.amount
		FROM unnest(CAST($2 AS bigint[]), CAST($3 AS text[]), CAST($4 AS bigint[])) AS i (miner_id, address, amount)`,
		id, pq.Array(miners), pq.Array(addresses), pq.Array(amounts))
	if err != nil {
		return 0, err
	}
	_, err = post(ctx, tx, e)
	return id, err
}

// changePayment runs one step of a payment: it reads the payment, keeps others
// from changing it, checks the state, and lets f do the rest.
func (b *Books) changePayment(ctx context.Context, doing string, id int64, states []string, f func(ctx context.Context, tx *sqlx.Tx, p *Payment) error) error {
	return b.inTx(ctx, doing, func(ctx context.Context, tx *sqlx.Tx) error {
		list, err := selectPayments(ctx, tx, `WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("payment %d: %w", id, ErrNoSuchPayment)
		}
		p := &list[0]
		for _, state := range states {
			if p.State == state {
				return f(ctx, tx, p)
			}
		}
		return fmt.Errorf("payment %d is %s: %w", id, p.State, ErrPaymentState)
	})
}

// setState writes a payment's state with a note.
func setState(ctx context.Context, tx *sqlx.Tx, id int64, state, note string) error {
	_, err := tx.ExecContext(ctx, `UPDATE payment SET state = $2, note = $3, state_at = now() WHERE id = $1`, id, state, freeText(note, 1000))
	return err
}

// releaseItems gives the balances of items back and takes the items out of the
// payment; a payment without items is cancelled.
func releaseItems(ctx context.Context, tx *sqlx.Tx, p *Payment, items []PaymentItem, state, reason string) error {
	if len(items) == 0 {
		return nil
	}
	ids := make([]int64, len(items))
	e := entry{
		networkID: p.NetworkID, kind: "payment", paymentID: p.ID, note: "Not paid: " + reason,
		key: fmt.Sprintf("payment:%d:release:%d", p.ID, items[0].ID), // an item is released once
	}
	for i, it := range items {
		ids[i] = it.ID
		e.lines = append(e.lines, line{"reserved", it.MinerID, -it.Amount}, line{"miner", it.MinerID, it.Amount})
	}
	if _, err := post(ctx, tx, e); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE payment_item SET state = $2, reason = $3 WHERE id = ANY (CAST($1 AS bigint[])) AND state = 'planned'`,
		int64Array(ids), state, freeText(reason, 1000))
	if err != nil {
		return err
	}
	var left int
	err = tx.GetContext(ctx, &left, `SELECT count(*) FROM payment_item WHERE payment_id = $1 AND state = 'planned'`, p.ID)
	if err != nil || left > 0 {
		return err
	}
	return setState(ctx, tx, p.ID, PaymentCancelled, reason)
}

// SetPayout sets how a miner is paid: his own threshold in satoshis (0: the
// network's) and whether his payments are held.
func (b *Books) SetPayout(ctx context.Context, minerID, threshold int64, held bool, by Reason) error {
	return b.inTx(ctx, "set payout", func(ctx context.Context, tx *sqlx.Tx) error {
		var there bool
		if err := tx.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM miner WHERE id = $1)`, minerID); err != nil {
			return err
		}
		if !there {
			return ErrNoSuchMiner
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO payout (miner_id, threshold, held, note)
			VALUES ($1, nullif(CAST($2 AS bigint), 0), $3, $4)
			ON CONFLICT (miner_id) DO UPDATE SET threshold = excluded.threshold, held = excluded.held, note = excluded.note,
			    failures = 0, retry_at = NULL`, minerID, threshold, held, freeText(by.Why, 1000))
		if err != nil {
			return err
		}
		return logChange(ctx, tx, by, "set payout", map[string]any{"miner_id": minerID, "threshold": threshold, "held": held})
	})
}

// LockPayer makes the caller the one who sends payments of a network, over all
// backends, until unlock is called; ok is false where somebody else is. alive
// says whether the lock still stands: it ends with the database's session, so it
// is to be asked before every call of the wallet.
func (b *Books) LockPayer(ctx context.Context, networkID int16) (unlock func(), alive func(context.Context) error, ok bool, err error) {
	session, ok, err := b.tryLock(ctx, fmt.Sprintf("payer:%d", networkID))
	if err != nil || !ok {
		return nil, nil, ok, err
	}
	return session.release, session.alive, true, nil
}

// session is a connection that holds a lock.
type session struct {
	conn *sql.Conn
	name string
}

// tryLock takes a lock that lives as long as a session of the database.
func (b *Books) tryLock(ctx context.Context, name string) (*session, bool, error) {
	conn, err := b.db.Conn(ctx)
	if err != nil {
		return nil, false, wrap(ctx, "lock "+name, err)
	}
	var ok bool
	err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(hashtextextended('purepool:' || $1, 0))`, name).Scan(&ok)
	if err != nil || !ok {
		conn.Close()
		return nil, false, wrap(ctx, "lock "+name, err)
	}
	return &session{conn, name}, true, nil
}

// errLockLost: the session that held a lock is gone.
var errLockLost = errors.New("the lock is lost")

func (s *session) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := s.conn.ExecContext(ctx, `SELECT 1`); err != nil {
		return fmt.Errorf("ledger: lock %s: %w", s.name, errors.Join(errLockLost, err))
	}
	return nil
}

// release gives the lock back. A session that cannot is closed, which does it
// too.
func (s *session) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.conn.ExecContext(ctx, `SELECT pg_advisory_unlock(hashtextextended('purepool:' || $1, 0))`, s.name); err != nil {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) // never back into the pool
	}
	s.conn.Close()
}
