package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// PaymentGuard says whether the books of a network are those that the wallet was
// compared with. Books that were restored from a backup lack payments that the
// wallet has made since: paying by them would pay twice.
type PaymentGuard struct {
	// Home is where the books stood when they last agreed with the wallet, Here
	// where they stand now: server, timeline, database.
	Home, Here string
	// Best is the chain's tip at that moment, in display order; zero: not known.
	Best     [32]byte
	AgreedAt time.Time // zero: they never did
	LastID   int64     // the newest payment then
	// HeldSince is zero while payments may be made; Why says what holds them.
	HeldSince time.Time
	Why       string
	// NewestID is the newest payment now. NewestTxID is the transaction of the
	// newest payment that the wallet made for these books, zero: none.
	NewestID   int64
	NewestTxID [32]byte
	// LastMoment is the newest thing that the books tell of.
	LastMoment time.Time
}

// Restored reports whether the books stand elsewhere than when they last agreed
// with the wallet, or have forgotten a payment.
func (g *PaymentGuard) Restored() bool {
	return g.Home != "" && (g.Home != g.Here || g.NewestID < g.LastID)
}

const guardSQL = `
SELECT coalesce(g.home, ''), books_home(), g.best, g.agreed_at, coalesce(g.last_id, 0), g.held_since, coalesce(g.why, ''),
       coalesce((SELECT max(id) FROM payment WHERE network_id = n.id), 0),
       (SELECT txid FROM payment WHERE network_id = n.id AND txid IS NOT NULL AND tag LIKE 'purepool %' AND booked ORDER BY id DESC LIMIT 1),
       greatest('epoch', (SELECT max(at) FROM journal WHERE network_id = n.id), (SELECT max(state_at) FROM payment WHERE network_id = n.id),
                (SELECT max(seen_at) FROM tip WHERE network_id = n.id), g.agreed_at)
FROM network n LEFT JOIN payment_guard g ON g.network_id = n.id WHERE n.id = $1`

// PaymentGuard reads the guard of a network.
func (b *Books) PaymentGuard(ctx context.Context, networkID int16) (PaymentGuard, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var g PaymentGuard
	var best, txid []byte
	var agreed, held sql.NullTime
	err := b.db.QueryRowContext(ctx, guardSQL, networkID).
		Scan(&g.Home, &g.Here, &best, &agreed, &g.LastID, &held, &g.Why, &g.NewestID, &txid, &g.LastMoment)
	copy(g.Best[:], best)
	copy(g.NewestTxID[:], txid)
	g.AgreedAt, g.HeldSince, g.LastMoment = utcOrZero(agreed), utcOrZero(held), g.LastMoment.UTC()
	return g, wrap(ctx, "read the guard of payments", err)
}

// HoldPayments keeps all payments of a network from being made until the books
// agree with the wallet again, and writes it into the audit log. Payments that
// are held already stay so since when they were; only the reason is renewed.
func (b *Books) HoldPayments(ctx context.Context, networkID int16, by Reason) error {
	return b.inTx(ctx, "hold payments", func(ctx context.Context, tx *sqlx.Tx) error {
		return holdPayments(ctx, tx, networkID, b.now(), by)
	})
}

func holdPayments(ctx context.Context, tx *sqlx.Tx, networkID int16, now time.Time, by Reason) error {
	var before string
	err := tx.GetContext(ctx, &before, `SELECT why FROM payment_guard WHERE network_id = $1 AND held_since IS NOT NULL`, networkID)
	why := freeText(by.Why, 1000)
	if err == nil && before == why || err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO payment_guard AS g (network_id, home, held_since, why) VALUES ($1, books_home(), $2, $3)
		ON CONFLICT (network_id) DO UPDATE SET held_since = coalesce(g.held_since, excluded.held_since), why = excluded.why`,
		networkID, storedTime(now), why)
	if err != nil {
		return err
	}
	return logChange(ctx, tx, by, "hold all payments", map[string]any{"network_id": networkID})
}

// Agree writes down that books and wallet agree, up to that tip of the chain, and
// ends a hold. home is where the books stood when they were compared: where they
// stand elsewhere meanwhile nothing is written, and ErrPaymentState returned.
func (b *Books) Agree(ctx context.Context, networkID int16, home string, best [32]byte, by Reason) error {
	return b.inTx(ctx, "note agreement", func(ctx context.Context, tx *sqlx.Tx) error {
		var here string
		if err := tx.GetContext(ctx, &here, `SELECT books_home()`); err != nil {
			return err
		}
		if here != home {
			return fmt.Errorf("the books have moved from %s to %s: %w", home, here, ErrPaymentState)
		}
		var held bool
		err := tx.GetContext(ctx, &held, `SELECT held_since IS NOT NULL FROM payment_guard WHERE network_id = $1 FOR UPDATE`, networkID)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO payment_guard (network_id, home, best, agreed_at, last_id)
			SELECT $1, $2, $3, $4, coalesce(max(id), 0) FROM payment WHERE network_id = $1
			ON CONFLICT (network_id) DO UPDATE SET home = excluded.home, best = excluded.best, agreed_at = excluded.agreed_at,
			    last_id = excluded.last_id, held_since = NULL, why = ''`,
			networkID, home, best[:], storedTime(b.now()))
		if err != nil || !held {
			return err
		}
		return logChange(ctx, tx, by, "release all payments", map[string]any{"network_id": networkID, "home": home})
	})
}

// PaymentsByTag returns the payments with these tags.
func (b *Books) PaymentsByTag(ctx context.Context, networkID int16, tags []string) (map[string]Payment, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	list, err := selectPayments(ctx, b.db, `WHERE network_id = $1 AND tag = ANY (CAST($2 AS text[])) ORDER BY id`, networkID, pq.Array(tags))
	found := make(map[string]Payment, len(list))
	for i := range list {
		found[list[i].Tag] = list[i]
	}
	return found, wrap(ctx, "find payments by tag", err)
}

// MinersAmong returns those of the addresses that are miners of the network.
func (b *Books) MinersAmong(ctx context.Context, networkID int16, addresses []string) (map[string]bool, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var found []string
	err := b.db.SelectContext(ctx, &found, `SELECT address FROM miner WHERE network_id = $1 AND address = ANY (CAST($2 AS text[]))`,
		networkID, pq.Array(addresses))
	known := make(map[string]bool, len(found))
	for _, a := range found {
		known[a] = true
	}
	return known, wrap(ctx, "find miners", err)
}

// SettledTransactions returns those of the wallet's transactions (display order)
// that need no look, with true where a person has decided about them, and false
// where a payment has them.
func (b *Books) SettledTransactions(ctx context.Context, networkID int16, txids [][32]byte) (map[[32]byte]bool, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	ids := make([][]byte, len(txids))
	for i := range txids {
		ids[i] = txids[i][:]
	}
	rows, err := b.db.QueryContext(ctx, `
		SELECT txid, false FROM payment WHERE network_id = $1 AND txid = ANY (CAST($2 AS bytea[]))
		UNION ALL SELECT txid, true FROM wallet_decision WHERE network_id = $1 AND txid = ANY (CAST($2 AS bytea[]))`, networkID, pq.Array(ids))
	if err != nil {
		return nil, wrap(ctx, "find transactions", err)
	}
	defer rows.Close()
	known := map[[32]byte]bool{}
	for rows.Next() {
		var id []byte
		var decided bool
		if err := rows.Scan(&id, &decided); err != nil {
			return nil, wrap(ctx, "find transactions", err)
		}
		known[[32]byte(id)] = decided || known[[32]byte(id)]
	}
	return known, wrap(ctx, "find transactions", rows.Err())
}

// IgnoreTransaction is a person's word that a transaction of the wallet (display
// order) is none of the pool's payments.
func (b *Books) IgnoreTransaction(ctx context.Context, networkID int16, txid [32]byte, by Reason) error {
	if by.Why == "" {
		return errors.New("ledger: ignore transaction: a reason is needed")
	}
	return b.inTx(ctx, "ignore transaction", func(ctx context.Context, tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO wallet_decision (network_id, txid, who, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			networkID, txid[:], freeText(by.Who, 100), freeText(by.Why, 1000))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return logChange(ctx, tx, by, "ignore transaction of the wallet", map[string]any{"network_id": networkID, "txid": fmt.Sprintf("%x", txid)})
	})
}

// Adoption is a payment as the wallet's book tells it.
type Adoption struct {
	NetworkID   int16
	Tag         string
	TxID        [32]byte // display order
	SubtractFee bool
	NetworkFee  int64     // satoshis, of the whole transaction
	At          time.Time // by the wallet's clock
	Outputs     []AdoptedOutput
}

// AdoptedOutput is what one address got, in the transaction's order.
type AdoptedOutput struct {
	Address string
	Amount  int64 // satoshis, as the address received them
}

// ErrAdoption: the wallet's transaction and the payment in the books cannot be
// the same.
var ErrAdoption = errors.New("the wallet's transaction is not the payment that the books know")

// AdoptPayment makes the books know a payment that the wallet has made: one that
// they lack is written down anew and its amounts reserved, from accounts that go
// below zero where the balance is not there (yet); one that they know as planned
// is marked as sent, and those of its miners whom the transaction does not pay
// have their balances back. It is booked and followed like any other from there
// on. Adopting twice changes nothing.
func (b *Books) AdoptPayment(ctx context.Context, a *Adoption, by Reason) (p Payment, err error) {
	err = b.inTx(ctx, "adopt payment", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT lock_payments($1)`, a.NetworkID); err != nil {
			return err
		}
		list, err := selectPayments(ctx, tx, `WHERE tag = $1 FOR UPDATE`, a.Tag)
		if err != nil {
			return err
		}
		var id int64
		switch {
		case len(list) == 0:
			id, err = writeAdopted(ctx, tx, a)
		case list[0].TxID == a.TxID:
			p = list[0]
			return nil
		default:
			id, err = list[0].ID, matchAdopted(ctx, tx, &list[0], a)
		}
		if err != nil {
			return err
		}
		if list, err = selectPayments(ctx, tx, `WHERE id = $1`, id); err != nil {
			return err
		}
		p = list[0]
		return logChange(ctx, tx, by, "rebuild payment from the wallet", map[string]any{
			"payment_id": id, "network_id": a.NetworkID, "tag": a.Tag, "txid": fmt.Sprintf("%x", a.TxID), "miners": len(a.Outputs),
		})
	})
	return p, err
}

// adoptedAmounts returns what was taken from each balance: the network fee is
// borne in equal parts, the remainder by the first (as wallets do it).
func adoptedAmounts(a *Adoption) []int64 {
	amounts := make([]int64, len(a.Outputs))
	for i, o := range a.Outputs {
		amounts[i] = o.Amount
		if a.SubtractFee {
			n := int64(len(a.Outputs))
			amounts[i] += a.NetworkFee / n
			if i == 0 {
				amounts[i] += a.NetworkFee % n
			}
		}
	}
	return amounts
}

const adoptMinersSQL = `
INSERT INTO miner (network_id, address)
SELECT $1, a FROM unnest(CAST($2 AS text[])) AS a
WHERE NOT EXISTS (SELECT FROM miner m WHERE m.network_id = $1 AND m.address = a) ON CONFLICT DO NOTHING`

func writeAdopted(ctx context.Context, tx *sqlx.Tx, a *Adoption) (id int64, err error) {
	addresses, amounts := make([]string, len(a.Outputs)), adoptedAmounts(a)
	for i, o := range a.Outputs {
		addresses[i] = o.Address
	}
	if len(addresses) == 0 {
		return 0, fmt.Errorf("it pays nobody: %w", ErrAdoption)
	}
	if _, err := tx.ExecContext(ctx, adoptMinersSQL, a.NetworkID, pq.Array(addresses)); err != nil {
		return 0, err
	}
	err = tx.GetContext(ctx, &id, `INSERT INTO payment (network_id, tag, state, txid, subtract_fee, note, created_at, attempts)
		VALUES ($1, $2, 'sent', $3, $4, 'rebuilt from the wallet', $5, 1) RETURNING id`,
		a.NetworkID, a.Tag, a.TxID[:], a.SubtractFee, storedTime(a.At))
	if err != nil {
		return 0, err
	}
	done, err := tx.ExecContext(ctx, `INSERT INTO payment_item (payment_id, miner_id, address, amount)
		SELECT $1, m.id, i.address, i.amount
		FROM unnest(CAST($3 AS text[]), CAST($4 AS bigint[])) AS i (address, amount)
		JOIN miner m ON m.network_id = $2 AND m.address = i.address`, id, a.NetworkID, pq.Array(addresses), pq.Array(amounts))
	if err != nil {
		return 0, err
	}
	if n, err := done.RowsAffected(); err != nil || n != int64(len(addresses)) {
		return 0, errors.Join(err, fmt.Errorf("%d of %d miners were found: %w", n, len(addresses), ErrAdoption))
	}
	var items []PaymentItem
	if err := tx.SelectContext(ctx, &items, `SELECT id, miner_id, address, amount, state, reason FROM payment_item WHERE payment_id = $1`, id); err != nil {
		return 0, err
	}
	e := entry{networkID: a.NetworkID, kind: "payment", key: fmt.Sprintf("payment:%d:reserve", id), note: "Rebuilt from the wallet", paymentID: id}
	for _, it := range items {
		e.lines = append(e.lines, line{"miner", it.MinerID, -it.Amount}, line{"reserved", it.MinerID, it.Amount})
	}
	_, err = post(ctx, tx, e)
	return id, err
}

// matchAdopted makes a payment that the books know as planned what the wallet has
// made of it.
func matchAdopted(ctx context.Context, tx *sqlx.Tx, p *Payment, a *Adoption) error {
	switch {
	case p.NetworkID != a.NetworkID:
		return fmt.Errorf("payment %d belongs to another network: %w", p.ID, ErrAdoption)
	case p.TxID != [32]byte{} || p.Booked:
		return fmt.Errorf("payment %d was made by transaction %x: %w", p.ID, p.TxID, ErrAdoption)
	case !slices.Contains([]string{PaymentIntent, PaymentSending, PaymentUnclear}, p.State):
		return fmt.Errorf("payment %d is %s: %w", p.ID, p.State, ErrAdoption)
	}
	paid := make(map[string]int64, len(a.Outputs))
	received := int64(0)
	for _, o := range a.Outputs {
		paid[o.Address] = o.Amount
		received += o.Amount
	}
	var left []PaymentItem
	taken := int64(0)
	for _, it := range p.Planned() {
		amount, ok := paid[it.Address]
		if !ok {
			left = append(left, it)
			continue
		}
		if amount > it.Amount {
			return fmt.Errorf("payment %d plans %d for %s, who got %d: %w", p.ID, it.Amount, it.Address, amount, ErrAdoption)
		}
		taken += it.Amount
		delete(paid, it.Address)
	}
	fee := int64(0)
	if p.SubtractFee {
		fee = a.NetworkFee
	}
	if len(paid) > 0 || taken != received+fee {
		return fmt.Errorf("payment %d plans %d for these miners, %d were paid to %d others too: %w", p.ID, taken, received+fee, len(paid), ErrAdoption)
	}
	if err := releaseItems(ctx, tx, p, left, ItemReleased, "the wallet's transaction does not pay it"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'sent', state_at = now(), txid = $2, held = false, attempts = greatest(attempts, 1),
		confirmations = 0, note = 'found in the wallet' WHERE id = $1`, p.ID, a.TxID[:])
	return err
}

// ForgetPlan takes a payment back that was planned, or begun, before the books
// were restored, and that the wallet has certainly not made: everything is given
// back to the balances, by which it is planned anew.
func (b *Books) ForgetPlan(ctx context.Context, id int64, by Reason) error {
	states := []string{PaymentIntent, PaymentSending, PaymentUnclear}
	return b.changePayment(ctx, "forget plan", id, states, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.TxID != [32]byte{} || p.Booked {
			return fmt.Errorf("payment %d was made: %w", id, ErrPaymentState)
		}
		if err := releaseItems(ctx, tx, p, p.Planned(), ItemReleased, by.Why); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "cancel payment", map[string]any{"payment_id": id})
	})
}
