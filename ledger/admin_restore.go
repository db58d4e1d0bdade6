package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrNotEmpty: the database holds a pool already.
var ErrNotEmpty = errors.New("the database holds a pool already: restore into an empty one")

// PrepareRestore makes an empty database fit for pg_restore of a dump: the roles
// that the dump names exist, and the schema does not. The user of dsn must be one
// who may migrate. ErrNotEmpty where there is a pool, which is never touched.
func PrepareRestore(ctx context.Context, dsn string) error {
	db, err := openDB(dsn, Options{MaxOpen: 1, CallTimeout: migratePatience}, map[string]string{"application_name": "purepool-restore"})
	if err != nil {
		return fmt.Errorf("ledger: prepare restore: %w", err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return wrap(ctx, "prepare restore", err)
	}
	defer conn.Close()
	if err := checkServer(ctx, conn); err != nil {
		return wrap(ctx, "prepare restore", err)
	}
	var tables int
	err = conn.QueryRowContext(ctx, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'purepool'`).Scan(&tables)
	if err != nil {
		return wrap(ctx, "prepare restore", err)
	}
	if tables > 0 {
		return fmt.Errorf("ledger: prepare restore: %w", ErrNotEmpty)
	}
	if err := createRoles(ctx, conn, MigrateOptions{}); err != nil {
		return wrap(ctx, "prepare restore", err)
	}
	// The dump makes the schema itself, as its owner, who must be allowed to.
	_, err = conn.ExecContext(ctx, `DO $$ BEGIN
		DROP SCHEMA purepool;
		EXECUTE format('GRANT CREATE ON DATABASE %I TO purepool_owner', current_database());
	END $$`)
	return wrap(ctx, "prepare restore", err)
}

// FinishRestore takes back what PrepareRestore gave. The books are then to be
// migrated, and marked as restored.
func FinishRestore(ctx context.Context, dsn string) error {
	db, err := openDB(dsn, Options{MaxOpen: 1}, map[string]string{"application_name": "purepool-restore"})
	if err != nil {
		return fmt.Errorf("ledger: finish restore: %w", err)
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `DO $$ BEGIN
		EXECUTE format('REVOKE CREATE ON DATABASE %I FROM purepool_owner', current_database());
	END $$`)
	return wrap(ctx, "finish restore", err)
}

// MarkRestored holds the payments of all networks: the books were restored from
// a backup, and must be compared with the wallet first. Like all of a restore it
// is done as the user who may migrate: where that is, no backend need be.
func MarkRestored(ctx context.Context, dsn string, by Reason) error {
	opts := Options{MaxOpen: 1}.withDefaults()
	db, err := openDB(dsn, opts, map[string]string{"application_name": "purepool-restore", "role": RoleOwner})
	if err != nil {
		return fmt.Errorf("ledger: mark as restored: %w", err)
	}
	defer db.Close()
	books := Books{&conn{db: db, opts: opts, now: time.Now}}
	return books.inTx(ctx, "mark as restored", func(ctx context.Context, tx *sqlx.Tx) error {
		var networks []int16
		if err := tx.SelectContext(ctx, &networks, `SELECT id FROM network ORDER BY id`); err != nil {
			return err
		}
		for _, id := range networks {
			if err := holdPayments(ctx, tx, id, books.now(), by); err != nil {
				return err
			}
		}
		return nil
	})
}
