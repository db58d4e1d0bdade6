package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// States of a consolidation.
const (
	ConsolidationMade      = "made"      // signed, perhaps handed in
	ConsolidationSent      = "sent"      // the wallet has it; its fee is booked
	ConsolidationConfirmed = "confirmed" // deep enough
	ConsolidationDropped   = "dropped"   // refused, or its coins were spent elsewhere
)

// Consolidation is a transaction of the wallet to itself that joins small coins.
type Consolidation struct {
	ID        int64
	NetworkID int16    // of the books
	TxID      [32]byte // display order
	Raw       string   // signed, in hex
	Coins     int      // joined
	Amount    int64    // their sum, in satoshis
	Fee       int64    // satoshis
	State     string
	Note      string
	CreatedAt time.Time
	StateAt   time.Time
}

// ErrNoSuchConsolidation: no consolidation has this id.
var ErrNoSuchConsolidation = errors.New("no such consolidation")

type consolidationRow struct {
	ID          int64
	NetworkID   int16  `db:"network_id"`
	TxID        []byte `db:"txid"`
	Raw         string
	Coins       int
	Amount, Fee int64
	State, Note string
	CreatedAt   time.Time `db:"created_at"`
	StateAt     time.Time `db:"state_at"`
	Bookings    int
}

func (r *consolidationRow) consolidation() Consolidation {
	c := Consolidation{
		ID: r.ID, NetworkID: r.NetworkID, Raw: r.Raw, Coins: r.Coins, Amount: r.Amount, Fee: r.Fee, State: r.State, Note: r.Note,
		CreatedAt: r.CreatedAt.UTC(), StateAt: r.StateAt.UTC(),
	}
	copy(c.TxID[:], r.TxID)
	return c
}

const consolidationColumns = `id, network_id, txid, raw, coins, amount, fee, state, note, created_at, state_at, bookings`

// PlanConsolidation writes a signed transaction down before it is handed in, and,
// where a person does it, who and why.
func (b *Books) PlanConsolidation(ctx context.Context, c *Consolidation, by Reason) (id int64, err error) {
	err = b.inTx(ctx, "write consolidation", func(ctx context.Context, tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &id, `INSERT INTO consolidation (network_id, txid, raw, coins, amount, fee)
			VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`, c.NetworkID, c.TxID[:], c.Raw, c.Coins, c.Amount, c.Fee)
		if err != nil || by.Who == "" {
			return err
		}
		return logChange(ctx, tx, by, "join coins", map[string]any{
			"consolidation": id, "network_id": c.NetworkID, "coins": c.Coins, "amount": c.Amount, "fee": c.Fee, "txid": hex.EncodeToString(c.TxID[:]),
		})
	})
	return id, err
}

// OpenConsolidations returns those of a network that are made or sent, and those
// that were dropped since a moment: they may come back. The oldest first.
func (b *Books) OpenConsolidations(ctx context.Context, networkID int16, droppedSince time.Time) ([]Consolidation, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var rows []consolidationRow
	// Uses consolidation_open.
	err := b.db.SelectContext(ctx, &rows, `SELECT `+consolidationColumns+` FROM consolidation
		WHERE network_id = $1 AND state <> 'confirmed' AND (state <> 'dropped' OR state_at > $2) ORDER BY id`, networkID, storedTime(droppedSince))
	list := make([]Consolidation, len(rows))
	for i := range rows {
		list[i] = rows[i].consolidation()
	}
	return list, wrap(ctx, "list consolidations", err)
}

// changeConsolidation runs one step: f, where the state is not the one that the
// step leads to already.
func (b *Books) changeConsolidation(ctx context.Context, doing string, id int64, to, note string, f func(ctx context.Context, tx *sqlx.Tx, c *consolidationRow) error) error {
	return b.inTx(ctx, doing, func(ctx context.Context, tx *sqlx.Tx) error {
		var c consolidationRow
		err := tx.GetContext(ctx, &c, `SELECT `+consolidationColumns+` FROM consolidation WHERE id = $1 FOR UPDATE`, id)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("consolidation %d: %w", id, ErrNoSuchConsolidation)
		}
		if err != nil || c.State == to {
			return err
		}
		if err := f(ctx, tx, &c); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE consolidation SET state = $2, note = $3, state_at = $4 WHERE id = $1`,
			id, to, freeText(note, 1000), storedTime(b.now()))
		return err
	})
}

func (c *consolidationRow) key(booking int) string {
	return fmt.Sprintf("consolidation:%d:%d", c.ID, booking)
}

// ConsolidationSent notes that the wallet has the transaction in its book, and
// books its fee, which the pool pays. Once.
func (b *Books) ConsolidationSent(ctx context.Context, id int64) error {
	return b.changeConsolidation(ctx, "book consolidation", id, ConsolidationSent, "", func(ctx context.Context, tx *sqlx.Tx, c *consolidationRow) error {
		if c.State == ConsolidationConfirmed {
			return fmt.Errorf("consolidation %d is confirmed", id)
		}
		_, err := post(ctx, tx, entry{
			networkID: c.NetworkID, kind: "network_fee", key: c.key(c.Bookings + 1), note: fmt.Sprintf("%d small coins were joined", c.Coins),
			lines: []line{{kind: "network_fee", amount: c.Fee}, {kind: "fee", amount: -c.Fee}},
		})
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE consolidation SET bookings = bookings + 1 WHERE id = $1`, id)
		return err
	})
}

// ConsolidationConfirmed notes that a sent transaction is deep in the chain.
func (b *Books) ConsolidationConfirmed(ctx context.Context, id int64) error {
	return b.changeConsolidation(ctx, "note consolidation", id, ConsolidationConfirmed, "", func(_ context.Context, _ *sqlx.Tx, c *consolidationRow) error {
		if c.State != ConsolidationSent {
			return fmt.Errorf("consolidation %d is %s, not sent", id, c.State)
		}
		return nil
	})
}

// ConsolidationDropped notes that the transaction is not and will not be in the
// chain; a fee that was booked is taken back.
func (b *Books) ConsolidationDropped(ctx context.Context, id int64, why string) error {
	return b.changeConsolidation(ctx, "drop consolidation", id, ConsolidationDropped, why, func(ctx context.Context, tx *sqlx.Tx, c *consolidationRow) error {
		switch c.State {
		case ConsolidationMade:
			return nil
		case ConsolidationConfirmed:
			return fmt.Errorf("consolidation %d is confirmed", id)
		}
		var entryID int64
		if err := tx.GetContext(ctx, &entryID, `SELECT id FROM journal WHERE key = $1`, c.key(c.Bookings)); err != nil {
			return fmt.Errorf("the entry of consolidation %d: %w", id, err)
		}
		return reverse(ctx, tx, entryID, why)
	})
}
