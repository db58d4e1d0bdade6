package ledger

import (
	"context"
	"errors"
	"fmt"
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

// FinishRestore takes back what PrepareRestore gave.
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
