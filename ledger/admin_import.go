package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Import takes the books of another pool over, in one transaction: wholly or not
// at all. What was taken over before, by its key there, is not taken again.
type Import struct {
	books  *Books
	tx     *sqlx.Tx
	source string
}

// ErrImport: the other pool's books do not fit.
var ErrImport = errors.New("the other books do not fit")

// errDryRun undoes an import that was only to be looked at.
var errDryRun = errors.New("dry run")

// Import runs do in a transaction, with an audit record; dry undoes it all.
// source names the other pool.
func (b *Books) Import(ctx context.Context, source string, dry bool, by Reason, do func(context.Context, *Import) (map[string]any, error)) error {
	if by.Why == "" {
		return errors.New("ledger: import: a reason is needed")
	}
	ctx, cancel := context.WithTimeout(ctx, 6*time.Hour)
	defer cancel()
	tx, err := b.db.BeginTxx(ctx, nil)
	if err != nil {
		return wrap(ctx, "import", err)
	}
	defer tx.Rollback()
	// One import at a time, and no session that is ended while the other side is read.
	_, err = tx.ExecContext(ctx, `SET LOCAL idle_in_transaction_session_timeout = '10min'; SET LOCAL statement_timeout = '30min'`)
	if err != nil {
		return wrap(ctx, "import", err)
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('purepool:import', 0))`); err != nil {
		return wrap(ctx, "import", err)
	}
	detail, err := do(ctx, &Import{books: b, tx: tx, source: source})
	if err == nil {
		err = logChange(ctx, tx, by, "import books", detail)
	}
	if err == nil && dry {
		err = errDryRun
	}
	if errors.Is(err, errDryRun) {
		return nil
	}
	if err != nil {
		return wrap(ctx, "import", err)
	}
	return wrap(ctx, "import", tx.Commit())
}

// Known returns what was taken over before of a kind (miner, worker, block,
// payment): ours by their keys.
func (i *Import) Known(ctx context.Context, kind string) (map[string]int64, error) {
	rows, err := i.tx.QueryContext(ctx, `SELECT key, ours FROM imported WHERE source = $1 AND kind = $2`, i.source, kind)
	known := map[string]int64{}
	err = eachRow(ctx, rows, err, "read what was imported", func() error {
		var key string
		var ours int64
		if err := rows.Scan(&key, &ours); err != nil {
			return err
		}
		known[key] = ours
		return nil
	})
	return known, err
}

func (i *Import) note(ctx context.Context, kind, key string, ours int64) error {
	_, err := i.tx.ExecContext(ctx, `INSERT INTO imported (source, kind, key, ours) VALUES ($1, $2, $3, $4)`, i.source, kind, key, ours)
	return err
}

// ImportedMiner is a miner of the other pool.
type ImportedMiner struct {
	GUID      uuid.UUID
	NetworkID int16
	Address   string
	Enabled   bool
	CreatedAt time.Time
}

// Miner takes a miner over under its public identifier, which stands in the
// coinbases of work that is out. A miner of that address that is here already
// stays as it is, and is returned with kept set.
func (i *Import) Miner(ctx context.Context, m ImportedMiner) (id int64, kept bool, err error) {
	address, err := nameText(m.Address, MaxAddress)
	if err != nil || address != m.Address {
		return 0, false, fmt.Errorf("miner %s has an address that cannot be: %w", m.GUID, ErrImport)
	}
	err = i.tx.GetContext(ctx, &id, `INSERT INTO miner (guid, network_id, address, enabled, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (network_id, address) DO NOTHING RETURNING id`, m.GUID, m.NetworkID, address, m.Enabled, storedTime(m.CreatedAt))
	if errors.Is(err, sql.ErrNoRows) {
		kept = true
		err = i.tx.GetContext(ctx, &id, `SELECT id FROM miner WHERE network_id = $1 AND address = $2`, m.NetworkID, address)
	}
	if err != nil {
		return 0, false, err
	}
	return id, kept, i.note(ctx, "miner", m.GUID.String(), id)
}

// Worker takes a worker over; one of that name that is here already is it.
func (i *Import) Worker(ctx context.Context, key string, minerID int64, name string, createdAt time.Time) error {
	name, err := nameText(name, MaxWorkerName)
	if err != nil {
		return fmt.Errorf("worker %s has a name that cannot be: %w", key, ErrImport)
	}
	var id int64
	err = i.tx.GetContext(ctx, &id, `INSERT INTO worker (miner_id, name, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (miner_id, name) DO NOTHING RETURNING id`, minerID, name, storedTime(createdAt))
	if errors.Is(err, sql.ErrNoRows) {
		err = i.tx.GetContext(ctx, &id, `SELECT id FROM worker WHERE miner_id = $1 AND name = $2`, minerID, name)
	}
	if err != nil {
		return err
	}
	return i.note(ctx, "worker", key, id)
}

// Block remembers a block of the other pool, which has no hash there: ours is its
// height.
func (i *Import) Block(ctx context.Context, key string, height int64) error {
	return i.note(ctx, "block", key, height)
}

// Opened returns what miners were given by opening entries of this source, in
// satoshis, by miner.
func (i *Import) Opened(ctx context.Context) (map[int64]int64, error) {
	rows, err := i.tx.QueryContext(ctx, `
		SELECT a.miner_id, sum(l.amount)::bigint FROM imported m JOIN journal_line l ON l.entry_id = m.ours JOIN account a ON a.id = l.account_id
		WHERE m.source = $1 AND m.kind = 'opening' AND a.kind = 'miner' GROUP BY a.miner_id`, i.source)
	opened := map[int64]int64{}
	err = eachRow(ctx, rows, err, "read openings", func() error {
		var miner, amount int64
		if err := rows.Scan(&miner, &amount); err != nil {
			return err
		}
		opened[miner] = amount
		return nil
	})
	return opened, err
}

// Open gives a miner what it earned at the other pool, in satoshis, by an opening
// entry.
func (i *Import) Open(ctx context.Context, networkID int16, minerID, amount int64, guid uuid.UUID) error {
	var before int
	prefix := fmt.Sprintf("%s:", guid)
	if err := i.tx.GetContext(ctx, &before, `SELECT count(*) FROM imported WHERE source = $1 AND kind = 'opening' AND starts_with(key, $2)`, i.source, prefix); err != nil {
		return err
	}
	key := fmt.Sprintf("%s%d", prefix, before+1)
	entryID, err := post(ctx, i.tx, entry{
		networkID: networkID, kind: "opening", key: "opening:" + i.source + ":" + key, note: "Earned at " + i.source,
		lines: []line{{"opening", 0, -amount}, {"miner", minerID, amount}},
	})
	if err != nil {
		return err
	}
	return i.note(ctx, "opening", key, entryID)
}

// ImportedPayment is a payment that the other pool has made.
type ImportedPayment struct {
	Key       string // unique there
	NetworkID int16
	MinerID   int64
	Address   string
	Amount    int64    // satoshis
	TxID      [32]byte // display order; zero: not known
	At        time.Time
}

// Payment takes a payment over as history: confirmed, and booked from the miner's
// balance.
func (i *Import) Payment(ctx context.Context, p *ImportedPayment) error {
	var txid []byte
	if p.TxID != [32]byte{} {
		txid = p.TxID[:]
	}
	var id int64
	err := i.tx.GetContext(ctx, &id, `INSERT INTO payment (network_id, tag, state, txid, network_fee, subtract_fee, note, created_at, state_at, booked)
		VALUES ($1, $2, 'confirmed', $3, 0, false, $4, $5, $5, true) RETURNING id`,
		p.NetworkID, i.source+":"+p.Key, txid, "made by "+i.source, storedTime(p.At))
	if err != nil {
		return err
	}
	_, err = i.tx.ExecContext(ctx, `INSERT INTO payment_item (payment_id, miner_id, address, amount, state) VALUES ($1, $2, $3, $4, 'paid')`,
		id, p.MinerID, p.Address, p.Amount)
	if err != nil {
		return err
	}
	_, err = post(ctx, i.tx, entry{
		networkID: p.NetworkID, kind: "payment", paymentID: id, key: fmt.Sprintf("payment:%d:paid:1", id), note: "Paid by " + i.source,
		lines: []line{{"miner", p.MinerID, -p.Amount}, {"paid", 0, p.Amount}},
	})
	if err != nil {
		return err
	}
	return i.note(ctx, "payment", p.Key, id)
}

// Balances returns the balances of miners, in satoshis; 0 where there is none.
func (i *Import) Balances(ctx context.Context, miners []int64) (map[int64]int64, error) {
	rows, err := i.tx.QueryContext(ctx, `SELECT a.miner_id, b.amount FROM account a JOIN balance b ON b.account_id = a.id
		WHERE a.kind = 'miner' AND a.miner_id = ANY (CAST($1 AS bigint[]))`, pq.Array(miners))
	balances := map[int64]int64{}
	err = eachRow(ctx, rows, err, "read balances", func() error {
		var miner, amount int64
		if err := rows.Scan(&miner, &amount); err != nil {
			return err
		}
		balances[miner] = amount
		return nil
	})
	return balances, err
}
