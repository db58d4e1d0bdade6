package importer

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	_ "github.com/lib/pq" // the driver
)

type miner struct {
	guid      uuid.UUID
	network   string
	address   string
	enabled   bool
	createdAt time.Time
	cached    string

	earned, paid int64
}

type worker struct {
	id        int64
	miner     uuid.UUID
	name      string
	createdAt time.Time
}

type transaction struct {
	id       int64
	at       time.Time
	network  string
	miner    uuid.UUID
	amount   string
	category string
	tx       string
	satoshis int64
}

type block struct {
	id      int64
	height  int64
	network string
	status  string
}

// original is everything that is read of it.
type original struct {
	miners       []*miner
	byGUID       map[uuid.UUID]*miner
	workers      []worker
	transactions []transaction
	blocks       []block // the pool's
	heights      map[string]int64
	notes        []string
}

func read(ctx context.Context, dsn string) (*original, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, fmt.Errorf("the original's database: %w", err)
	}
	defer db.Close()
	// All at one moment, and nothing can be written by mistake.
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("the original's database: %w", err)
	}
	defer tx.Rollback()
	src := &original{byGUID: map[uuid.UUID]*miner{}, heights: map[string]int64{}}
	for _, part := range []struct {
		what string
		read func(context.Context, *sql.Tx) error
	}{
		{"miner_miner", src.readMiners},
		{"miner_worker", src.readWorkers},
		{"puretransaction_transaction", src.readTransactions},
		{"block_block", src.readBlocks},
	} {
		if err := part.read(ctx, tx); err != nil {
			return nil, fmt.Errorf("the original's table %s: %w (is it the original's database, with all its migrations?)", part.what, err)
		}
	}
	return src, nil
}

func each(ctx context.Context, tx *sql.Tx, query string, see func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := see(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (o *original) readMiners(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, `SELECT id, network, address, enabled, inserted_at, balance::text FROM miner_miner ORDER BY inserted_at, id`, func(rows *sql.Rows) error {
		m := &miner{}
		if err := rows.Scan(&m.guid, &m.network, &m.address, &m.enabled, &m.createdAt, &m.cached); err != nil {
			return err
		}
		o.miners, o.byGUID[m.guid] = append(o.miners, m), m
		return nil
	})
}

func (o *original) readWorkers(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, `SELECT id, miner_id, name, inserted_at FROM miner_worker ORDER BY id`, func(rows *sql.Rows) error {
		var w worker
		if err := rows.Scan(&w.id, &w.miner, &w.name, &w.createdAt); err != nil {
			return err
		}
		o.workers = append(o.workers, w)
		return nil
	})
}

func (o *original) readTransactions(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, `SELECT id, inserted_at, network, miner_id, amount::text, category, tx FROM puretransaction_transaction ORDER BY id`, func(rows *sql.Rows) error {
		var t transaction
		if err := rows.Scan(&t.id, &t.at, &t.network, &t.miner, &t.amount, &t.category, &t.tx); err != nil {
			return err
		}
		o.transactions = append(o.transactions, t)
		return nil
	})
}

func (o *original) readBlocks(ctx context.Context, tx *sql.Tx) error {
	err := each(ctx, tx, `SELECT network, max(height) FROM block_block GROUP BY network`, func(rows *sql.Rows) error {
		var network string
		var height int64
		err := rows.Scan(&network, &height)
		o.heights[network] = height
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, tx, `SELECT id, height, network, process_status FROM block_block WHERE pool_block ORDER BY id`, func(rows *sql.Rows) error {
		var b block
		if err := rows.Scan(&b.id, &b.height, &b.network, &b.status); err != nil {
			return err
		}
		o.blocks = append(o.blocks, b)
		return nil
	})
}
