package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"

	"purepool/ledger/migrations"
)

var (
	// ErrDatabaseOlder: the database lacks migrations; run `purepool migrate`.
	ErrDatabaseOlder = errors.New("the database is older than this program: run purepool migrate")
	// ErrDatabaseNewer: a newer program has migrated the database.
	ErrDatabaseNewer = errors.New("the database is newer than this program: install the newer purepool")
	// ErrServerTooOld: Postgres itself lacks what the ledger needs.
	ErrServerTooOld = errors.New("the Postgres server is older than version 15")
	// ErrMigrateRights: the user who migrates may not do all of it.
	ErrMigrateRights = errors.New("the migrating user must be a superuser, or own the database and have CREATEROLE")
)

// schema is where the ledger's tables stand.
const schema = "purepool"

// migrateLock serialises migrations of one database ("purepool" in ASCII, cut).
const migrateLock int64 = 0x707572_65706f6f

// migratePatience bounds one statement of a migration, and the wait for another
// one that is running.
const migratePatience = time.Hour

// NetworkSeed is a network to be known to the database.
type NetworkSeed struct {
	// Name is the network's name on the wire: main, test, regtest.
	Name string
}

// MigrateOptions says what Migrate shall see to beside the tables.
type MigrateOptions struct {
	// Networks are created where missing; none is ever removed.
	Networks []NetworkSeed
	// FrontendPassword and friends are set where not empty, and left as they
	// are where empty. Printable ASCII.
	FrontendPassword string
	BackendPassword  string
	WebPassword      string
}

// Migrate brings the database up to this program's version, creates roles and
// networks, and grants what each role may do. It may be run again at any time,
// also by two at once, and refuses a newer database (ErrDatabaseNewer). The
// server is asked for only once: a database that is away is an error.
//
// The user of dsn must be a superuser, or own the database and have the
// CREATEROLE attribute. All objects belong to the role purepool_owner, as whom
// nobody can log in.
func Migrate(ctx context.Context, dsn string, opts MigrateOptions) error {
	if err := migrate(ctx, dsn, opts); err != nil {
		return fmt.Errorf("ledger: migrate: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, dsn string, opts MigrateOptions) error {
	admin, err := openDB(dsn, Options{MaxOpen: 1, CallTimeout: migratePatience}, map[string]string{"application_name": "purepool-migrate"})
	if err != nil {
		return err
	}
	defer admin.Close()
	// The lock lives as long as this connection.
	conn, err := admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := checkServer(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrateLock); err != nil {
		return fmt.Errorf("wait for another migration: %w", err)
	}
	if err := refuseNewer(ctx, conn); err != nil {
		return err
	}
	if err := createRoles(ctx, conn, opts); err != nil {
		return err
	}

	owner, err := openDB(dsn, Options{MaxOpen: 2, CallTimeout: migratePatience}, map[string]string{
		"application_name": "purepool-migrate", "role": "purepool_owner", "search_path": schema,
	})
	if err != nil {
		return err
	}
	defer owner.Close()
	if err := migrateUp(ctx, owner.DB); err != nil {
		return err
	}
	return seed(ctx, owner.DB, opts.Networks)
}

func checkServer(ctx context.Context, conn *sql.Conn) error {
	var version int
	err := conn.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version)
	if err != nil {
		return err
	}
	if version < 150000 {
		return ErrServerTooOld
	}
	return nil
}

func migrateUp(ctx context.Context, owner *sql.DB) error {
	// goose prints on its own; what it did is seen by its error alone.
	provider, err := goose.NewProvider(goose.DialectPostgres, owner, migrations.Files,
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// seed sees to networks, grants, and the partitions of the next days, so that a
// frontend can start before any backend has.
func seed(ctx context.Context, owner *sql.DB, networks []NetworkSeed) error {
	tx, err := owner.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, n := range networks {
		if _, err := tx.ExecContext(ctx, `SELECT ensure_network($1)`, n.Name); err != nil {
			return fmt.Errorf("network %q: %w", n.Name, err)
		}
	}
	if _, err := tx.ExecContext(ctx, migrations.Grants); err != nil {
		return fmt.Errorf("grants: %w", err)
	}
	from, to := dayRange(time.Now())
	if _, err := tx.ExecContext(ctx, `SELECT ensure_day_partitions($1, $2)`, from, to); err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	return tx.Commit()
}

// latestVersion is the number of the newest migration in this program.
func latestVersion() (int64, error) {
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, name := range names {
		n, err := goose.NumericComponent(name)
		if err != nil {
			return 0, err
		}
		latest = max(latest, n)
	}
	return latest, nil
}

type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// databaseVersion returns the database's version, 0 where it has none.
func databaseVersion(ctx context.Context, db rowQuerier) (int64, error) {
	var version sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM purepool.goose_db_version WHERE is_applied`).Scan(&version)
	if pq.As(err, pqerror.UndefinedTable, pqerror.InvalidSchemaName) != nil {
		return 0, nil //nolint:nilerr // a database in which nothing is has version 0
	}
	return version.Int64, err
}

func refuseNewer(ctx context.Context, db rowQuerier) error {
	latest, err := latestVersion()
	if err != nil {
		return err
	}
	version, err := databaseVersion(ctx, db)
	if err != nil {
		return err
	}
	if version > latest {
		return fmt.Errorf("%w (database %d, program %d)", ErrDatabaseNewer, version, latest)
	}
	return nil
}

// CheckVersion says whether the database has the tables this program was built
// for: ErrDatabaseOlder (run migrate), ErrDatabaseNewer (install a newer program).
func (c *conn) CheckVersion(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if err := refuseNewer(ctx, c.db); err != nil {
		return wrap(ctx, "check version", err)
	}
	latest, err := latestVersion()
	if err != nil {
		return err
	}
	version, err := databaseVersion(ctx, c.db)
	if err != nil {
		return wrap(ctx, "check version", err)
	}
	if version < latest {
		return fmt.Errorf("ledger: %w (database %d, program %d)", ErrDatabaseOlder, version, latest)
	}
	return nil
}

// withDefaults adds run-time parameters where the connection string has none.
func withDefaults(cfg *pq.Config, runtime map[string]string) {
	merged := map[string]string{"TimeZone": "UTC", "search_path": schema}
	maps.Copy(merged, runtime)
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	for name, value := range merged {
		if name == "application_name" {
			if cfg.ApplicationName == "" {
				cfg.ApplicationName = value
			}
			continue
		}
		cfg.Runtime[name] = value
	}
}
