package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Options sizes the connection pool of a store. Zero fields mean the defaults.
type Options struct {
	MaxOpen        int           // connections at most; 8
	MaxIdle        int           // idle connections kept; as MaxOpen
	MaxLifetime    time.Duration // age at which a connection is replaced; 30 minutes
	ConnectTimeout time.Duration // for one attempt to connect; 5 seconds
	// CallTimeout bounds each call of a store, whatever the caller's context
	// says; 30 seconds. Ending by it is Away: the database hangs.
	CallTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.MaxOpen <= 0 {
		o.MaxOpen = 8
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = o.MaxOpen
	}
	if o.MaxLifetime <= 0 {
		o.MaxLifetime = 30 * time.Minute
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	return o
}

// conn is what all stores have in common.
type conn struct {
	db   *sqlx.DB
	opts Options
	now  func() time.Time // for tests

	insertWorksStmt statement
}

func open(dsn, application string, opts Options) (*conn, error) {
	opts = opts.withDefaults()
	db, err := openDB(dsn, opts, map[string]string{"application_name": application})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &conn{db: db, opts: opts, now: time.Now}, nil
}

// openDB prepares a pool of connections; none is made yet.
func openDB(dsn string, opts Options, runtime map[string]string) (*sqlx.DB, error) {
	opts = opts.withDefaults()
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	withDefaults(&cfg, runtime)
	// One round trip for a query with arguments instead of three.
	cfg.BinaryParameters = true
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = opts.ConnectTimeout
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	connector.Dialer(dialer{patience: opts.CallTimeout + 2*time.Second})
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(opts.MaxOpen)
	db.SetMaxIdleConns(opts.MaxIdle)
	db.SetConnMaxLifetime(opts.MaxLifetime)
	return db, nil
}

// Close closes the connections.
func (c *conn) Close() error { return c.db.Close() }

// Stats returns the state of the connection pool, for metrics.
func (c *conn) Stats() sql.DBStats { return c.db.Stats() }

// Ping says whether the database answers.
func (c *conn) Ping(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return wrap(ctx, "ping", c.db.PingContext(ctx))
}

// Networks returns the ids of the networks by name.
func (c *conn) Networks(ctx context.Context) (map[string]int16, error) {
	return c.networks(ctx, "network")
}

func (c *conn) networks(ctx context.Context, table string) (map[string]int16, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var rows []struct {
		ID   int16
		Name string
	}
	if err := c.db.SelectContext(ctx, &rows, `SELECT id, name FROM `+table); err != nil {
		return nil, wrap(ctx, "read networks", err)
	}
	networks := make(map[string]int16, len(rows))
	for _, r := range rows {
		networks[r.Name] = r.ID
	}
	return networks, nil
}

// statement is a statement that is worth preparing: parsed and planned once a
// connection instead of once a call. Safe for concurrent use.
type statement struct {
	mu   sync.Mutex
	stmt *sql.Stmt
}

// prepared returns the prepared statement, made with the first call that finds
// the database there.
func (s *statement) prepared(ctx context.Context, db *sqlx.DB, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stmt == nil {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		s.stmt = stmt
	}
	return s.stmt, nil
}

// bound limits a call's time.
func (c *conn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.opts.CallTimeout)
}

// dialer makes connections on which no read or write waits for ever: the
// driver itself goes on waiting for a server that hangs, whatever the context
// says.
type dialer struct{ patience time.Duration }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &impatientConn{Conn: plain, patience: d.patience}, nil
}

type impatientConn struct {
	net.Conn
	patience time.Duration
	theirs   atomic.Bool // the driver has set a deadline of its own (while connecting)
}

func (c *impatientConn) SetDeadline(t time.Time) error {
	c.theirs.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

func (c *impatientConn) Read(b []byte) (int, error) {
	if !c.theirs.Load() {
		if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

func (c *impatientConn) Write(b []byte) (int, error) {
	if !c.theirs.Load() {
		if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}
