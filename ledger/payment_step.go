package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// BeginSending writes down that the wallet is about to be called: from here on
// it may have paid. It returns the number of the attempt. mark is the wallet's
// newest transaction (zero: it has none), height the chain's height.
func (b *Books) BeginSending(ctx context.Context, id int64, mark [32]byte, height int32) (attempt int, err error) {
	err = b.changePayment(ctx, "begin sending", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.Held {
			return fmt.Errorf("payment %d is held by a person: %w", id, ErrPaymentState)
		}
		var known []byte
		if mark != [32]byte{} {
			known = mark[:]
		}
		return tx.GetContext(ctx, &attempt, `UPDATE payment SET state = 'sending', state_at = now(), note = '',
			attempts = attempts + 1, called_at = $2, called_height = $3, wallet_mark = $4, absent_at = NULL
			WHERE id = $1 RETURNING attempts`, id, storedTime(b.now()), height, known)
	})
	return attempt, err
}

// Sent writes down the wallet's transaction. The answer of an older attempt is
// as good as that of the last: the tag is the same.
func (b *Books) Sent(ctx context.Context, id int64, txid [32]byte) error {
	return b.changePayment(ctx, "note transaction", id, []string{PaymentSending, PaymentUnclear, PaymentSent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.State == PaymentSent {
			if p.TxID != txid {
				return fmt.Errorf("payment %d has another transaction: %w", id, ErrPaymentState)
			}
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'sent', state_at = now(), note = '', txid = $2, confirmations = 0 WHERE id = $1`, id, txid[:])
		return err
	})
}

// BookSent writes a sent payment into the journal: the reserved amounts become
// paid ones, and the network's fee is what the wallet says it was. Once.
func (b *Books) BookSent(ctx context.Context, id, networkFee int64) error {
	return b.changePayment(ctx, "book payment", id, []string{PaymentSent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.Booked {
			return nil
		}
		var entries int
		err := tx.GetContext(ctx, &entries, `SELECT count(*) FROM journal WHERE payment_id = $1 AND key LIKE 'payment:%:paid:%'`, id)
		if err != nil {
			return err
		}
		e := entry{networkID: p.NetworkID, kind: "payment", paymentID: id, note: "Autosend", key: fmt.Sprintf("payment:%d:paid:%d", id, entries+1)}
		var total int64
		for _, it := range p.Planned() {
			total += it.Amount
			e.lines = append(e.lines, line{"reserved", it.MinerID, -it.Amount})
		}
		if p.SubtractFee {
			e.lines = append(e.lines, line{"paid", 0, total - networkFee}, line{"network_fee", 0, networkFee})
		} else {
			e.lines = append(e.lines, line{"paid", 0, total}, line{"network_fee", 0, networkFee}, line{"fee", 0, -networkFee})
		}
		if _, err := post(ctx, tx, e); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE payment SET booked = true, network_fee = $2 WHERE id = $1`, id, networkFee); err != nil {
			return err
		}
		// Only now is a miner's run of failures over.
		_, err = tx.ExecContext(ctx, `UPDATE payout SET failures = 0, retry_at = NULL
			WHERE failures > 0 AND miner_id IN (SELECT miner_id FROM payment_item WHERE payment_id = $1 AND state = 'planned')`, id)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE payment_item SET state = 'paid' WHERE payment_id = $1 AND state = 'planned'`, id)
		return err
	})
}

// Confirmed notes how deep a booked payment is in the chain; done ends it.
func (b *Books) Confirmed(ctx context.Context, id int64, confirmations int32, done bool) error {
	return b.changePayment(ctx, "note confirmations", id, []string{PaymentSent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if done && !p.Booked {
			return fmt.Errorf("payment %d is not booked: %w", id, ErrPaymentState)
		}
		_, err := tx.ExecContext(ctx, `UPDATE payment SET confirmations = $2,
			state = CASE WHEN $3 THEN 'confirmed' ELSE state END, state_at = CASE WHEN $3 THEN now() ELSE state_at END
			WHERE id = $1`, id, confirmations, done)
		return err
	})
}

// NotPaid writes down that the wallet has certainly made nothing of the last
// attempt: the payment is an intent again, to be tried from nextAt on.
func (b *Books) NotPaid(ctx context.Context, id int64, nextAt time.Time, note string) error {
	return b.changePayment(ctx, "note refusal", id, []string{PaymentSending, PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, _ *Payment) error {
		_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'intent', state_at = now(), next_at = $2, absent_at = NULL, note = $3
			WHERE id = $1`, id, storedTime(nextAt), freeText(note, 1000))
		return err
	})
}

// Absent notes that the wallet did not show a payment that may have been made.
// It returns when that was seen first since the last call.
func (b *Books) Absent(ctx context.Context, id int64) (since time.Time, err error) {
	err = b.changePayment(ctx, "note absence", id, []string{PaymentSending, PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, _ *Payment) error {
		return tx.GetContext(ctx, &since, `UPDATE payment SET absent_at = coalesce(absent_at, $2) WHERE id = $1 RETURNING absent_at`,
			id, storedTime(b.now()))
	})
	return since.UTC(), err
}

// Unclear puts a payment on hold: nobody knows whether it was made, or what was
// made cannot stand.
func (b *Books) Unclear(ctx context.Context, id int64, note string) error {
	return b.changePayment(ctx, "hold payment", id, []string{PaymentSending, PaymentSent, PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.State == PaymentUnclear && p.Note == note {
			return nil
		}
		return setState(ctx, tx, id, PaymentUnclear, note)
	})
}

// NeverMade takes a payment back whose transaction can certainly never be in the
// chain: what was booked is reversed, and it is an intent again.
func (b *Books) NeverMade(ctx context.Context, id int64, nextAt time.Time, note string) error {
	return b.changePayment(ctx, "take payment back", id, []string{PaymentSent, PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		return takeBack(ctx, tx, p, nextAt, note)
	})
}

func takeBack(ctx context.Context, tx *sqlx.Tx, p *Payment, nextAt time.Time, note string) error {
	if p.Booked {
		var entryID int64
		err := tx.GetContext(ctx, &entryID, `SELECT j.id FROM journal j WHERE j.payment_id = $1 AND j.key LIKE 'payment:%:paid:%'
			AND NOT EXISTS (SELECT FROM journal r WHERE r.reverses = j.id)`, p.ID)
		if err != nil {
			return fmt.Errorf("the entry of payment %d: %w", p.ID, err)
		}
		if err := reverse(ctx, tx, entryID, note); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE payment_item SET state = 'planned' WHERE payment_id = $1 AND state = 'paid'`, p.ID)
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'intent', state_at = now(), next_at = $2, note = $3, absent_at = NULL,
		booked = false, txid = NULL, network_fee = NULL, confirmations = 0 WHERE id = $1`, p.ID, storedTime(nextAt), freeText(note, 1000))
	return err
}

// Postpone sets when an intent is tried next, and why not now.
func (b *Books) Postpone(ctx context.Context, id int64, nextAt time.Time, note string) error {
	return b.changePayment(ctx, "postpone payment", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, _ *Payment) error {
		_, err := tx.ExecContext(ctx, `UPDATE payment SET next_at = $2, note = $3 WHERE id = $1`, id, storedTime(nextAt), freeText(note, 1000))
		return err
	})
}

// SetAside takes an address that cannot be paid out of an intent: the miner has
// his balance back and is left alone until retryAt. The rest is paid.
func (b *Books) SetAside(ctx context.Context, id int64, address, reason string, retryAt time.Time) error {
	return b.changePayment(ctx, "set address aside", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		for _, it := range p.Planned() {
			if it.Address != address {
				continue
			}
			if err := putBack(ctx, tx, it.MinerID, reason, retryAt); err != nil {
				return err
			}
			return releaseItems(ctx, tx, p, []PaymentItem{it}, ItemSetAside, reason)
		}
		return nil
	})
}

// Shrink takes the last items out of an intent, all but keep of them; their
// miners have their balances back and are planned anew.
func (b *Books) Shrink(ctx context.Context, id int64, keep int, reason string) error {
	return b.changePayment(ctx, "shrink payment", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		items := p.Planned()
		if keep >= len(items) {
			return nil
		}
		return releaseItems(ctx, tx, p, items[max(keep, 0):], ItemReleased, reason)
	})
}

// HoldPayment keeps an intent from being sent until it is released. A payment
// that may have been made cannot be held back.
func (b *Books) HoldPayment(ctx context.Context, id int64, by Reason) error {
	return b.changePayment(ctx, "hold payment", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, _ *Payment) error {
		if _, err := tx.ExecContext(ctx, `UPDATE payment SET held = true, note = $2 WHERE id = $1`, id, freeText(by.Why, 1000)); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "hold payment", map[string]any{"payment_id": id})
	})
}

// ReleasePayment lets a held intent be sent again.
func (b *Books) ReleasePayment(ctx context.Context, id int64, by Reason) error {
	return b.changePayment(ctx, "release payment", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, _ *Payment) error {
		if _, err := tx.ExecContext(ctx, `UPDATE payment SET held = false, note = '', next_at = 'epoch' WHERE id = $1`, id); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "release payment", map[string]any{"payment_id": id})
	})
}

// CancelPayment gives all balances of an intent back to the miners.
func (b *Books) CancelPayment(ctx context.Context, id int64, by Reason) error {
	return b.changePayment(ctx, "cancel payment", id, []string{PaymentIntent}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if err := releaseItems(ctx, tx, p, p.Planned(), ItemReleased, by.Why); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "cancel payment", map[string]any{"payment_id": id})
	})
}

// ResolvePaid is a person's word that an unclear payment was made, by this
// transaction. It goes on as if the wallet had said so.
func (b *Books) ResolvePaid(ctx context.Context, id int64, txid [32]byte, by Reason) error {
	return b.changePayment(ctx, "resolve payment", id, []string{PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if p.Booked && p.TxID != txid {
			// Another transaction has taken the place of the one that was booked.
			if err := takeBack(ctx, tx, p, b.now(), by.Why); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE payment SET state = 'sent', state_at = now(), txid = $2, note = $3 WHERE id = $1`,
			id, txid[:], freeText(by.Why, 1000))
		if err != nil {
			return err
		}
		return logChange(ctx, tx, by, "resolve payment as paid", map[string]any{"payment_id": id, "txid": fmt.Sprintf("%x", txid)})
	})
}

// ResolveUnpaid is a person's word that an unclear payment was not made and
// never will be. It is held until it is released or cancelled.
func (b *Books) ResolveUnpaid(ctx context.Context, id int64, by Reason) error {
	return b.changePayment(ctx, "resolve payment", id, []string{PaymentUnclear}, func(ctx context.Context, tx *sqlx.Tx, p *Payment) error {
		if err := takeBack(ctx, tx, p, b.now(), by.Why); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE payment SET held = true WHERE id = $1`, id); err != nil {
			return err
		}
		return logChange(ctx, tx, by, "resolve payment as unpaid", map[string]any{"payment_id": id})
	})
}
