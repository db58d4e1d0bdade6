package ledger

import (
	"context"
	"errors"
	"time"
)

var errNotBuilt = errors.New("ledger: not built yet")

// Options sizes the connection pool of a store. Zero fields mean the defaults.
type Options struct {
	MaxOpen        int           // connections at most; 8
	MaxIdle        int           // idle connections kept; as MaxOpen
	MaxLifetime    time.Duration // age at which a connection is replaced; 30 minutes
	ConnectTimeout time.Duration // for one attempt to connect; 5 seconds
}

type conn struct{}

func open(ctx context.Context, dsn string, opts Options) (*conn, error) { return nil, errNotBuilt }

// Close closes the connections.
func (c *conn) Close() error { return nil }

// Ping says whether the database answers.
func (c *conn) Ping(ctx context.Context) error { return errNotBuilt }

// CheckVersion says whether the database has the tables this program was built
// for: ErrDatabaseOlder (run migrate), ErrDatabaseNewer (run a newer program).
func (c *conn) CheckVersion(ctx context.Context) error { return errNotBuilt }

// Networks returns the ids of the networks by name.
func (c *conn) Networks(ctx context.Context) (map[string]int16, error) { return nil, errNotBuilt }

// Away reports whether err means that the database is away, overloaded or asks
// to try again: wait and retry, never reject.
func Away(err error) bool { return false }

// Refused reports whether err means that the database has looked at the data
// and will never take it. It is also true for text that the stores themselves
// refuse (ErrBadText).
func Refused(err error) bool { return false }

var (
	// ErrBadText: a NUL character or bytes that are not UTF-8 in a text that
	// names something (an address, a worker).
	ErrBadText = errors.New("ledger: text holds a NUL character or is not UTF-8")
	// ErrDatabaseOlder: the database lacks migrations; run `purepool migrate`.
	ErrDatabaseOlder = errors.New("ledger: the database is older than this program")
	// ErrDatabaseNewer: a newer program has migrated the database.
	ErrDatabaseNewer = errors.New("ledger: the database is newer than this program")
	// ErrNoSuchMiner: no miner has this id.
	ErrNoSuchMiner = errors.New("ledger: no such miner")
)

// NetworkSeed is a network to be known to the database.
type NetworkSeed struct{ Name string }

// MigrateOptions says what Migrate shall see to beside the tables.
type MigrateOptions struct {
	// Networks are created where missing; none is ever removed.
	Networks []NetworkSeed
	// FrontendPassword and friends are set where not empty.
	FrontendPassword string
	BackendPassword  string
	WebPassword      string
}

// Migrate brings the database up to this program's version, creates roles and
// networks, and grants what each role may do. It may be run again at any time,
// also by two at once, and refuses a newer database (ErrDatabaseNewer).
func Migrate(ctx context.Context, dsn string, opts MigrateOptions) error { return errNotBuilt }
