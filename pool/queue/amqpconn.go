package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpConn is a connection that is made again when it breaks.
type amqpConn struct {
	dial func(name string) (*amqp.Connection, error)
	name string
	log  *slog.Logger

	mu      sync.Mutex
	conn    *amqp.Connection // nil while away
	blocked bool
	started bool
	closed  bool
	stop    context.CancelFunc
	done    sync.WaitGroup
}

func newAMQPConn(dial func(string) (*amqp.Connection, error), name string, log *slog.Logger) *amqpConn {
	return &amqpConn{dial: dial, name: name, log: log}
}

// start makes the first attempt to connect and goes on in the background. Later
// calls do nothing.
func (c *amqpConn) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.started {
		return nil
	}
	c.started = true
	conn, err := c.dial(c.name)
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	first := c.adopt(conn)
	c.done.Go(func() { c.keep(ctx, first) })
	return err
}

// amqpEvents are what a connection tells about itself.
type amqpEvents struct {
	conn    *amqp.Connection
	closed  chan *amqp.Error
	blocked chan amqp.Blocking
}

// adopt makes conn the current connection. c.mu is held.
func (c *amqpConn) adopt(conn *amqp.Connection) *amqpEvents {
	if conn == nil {
		return nil
	}
	c.conn, c.blocked = conn, false
	return &amqpEvents{
		conn:    conn,
		closed:  conn.NotifyClose(make(chan *amqp.Error, 1)),
		blocked: conn.NotifyBlocked(make(chan amqp.Blocking, 1)),
	}
}

// keep watches the connection and makes it again, until ctx ends.
func (c *amqpConn) keep(ctx context.Context, e *amqpEvents) {
	retry := backoff{min: 250 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		if e == nil {
			retry.wait(ctx)
			conn, err := c.dial(c.name)
			if err != nil {
				if retry.attempt%16 == 1 {
					c.log.Warn("amqp: cannot connect, trying on", slog.String("connection", c.name), slog.Any("error", err))
				}
				continue
			}
			c.mu.Lock()
			e = c.adopt(conn)
			c.mu.Unlock()
			c.log.Info("amqp: connected", slog.String("connection", c.name))
		}
		if c.watch(ctx, e) {
			retry.reset()
		}
		e = nil
	}
}

// watch returns when the connection is lost (true) or ctx has ended (false).
func (c *amqpConn) watch(ctx context.Context, e *amqpEvents) bool {
	for {
		select {
		case err := <-e.closed:
			c.mu.Lock()
			c.conn = nil
			c.mu.Unlock()
			c.log.Warn("amqp: disconnected", slog.String("connection", c.name), slog.Any("error", err))
			return true
		case b, ok := <-e.blocked:
			if !ok {
				e.blocked = nil // the connection is going, which closed tells
				continue
			}
			c.mu.Lock()
			c.blocked = b.Active
			c.mu.Unlock()
			c.log.Warn("amqp: the broker has blocked or unblocked publishing", slog.Bool("blocked", b.Active), slog.String("reason", b.Reason))
		case <-ctx.Done():
			return false
		}
	}
}

// get returns the connection, with errBlocked when the broker takes nothing
// now, or errDisconnected.
func (c *amqpConn) get() (*amqp.Connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil, errDisconnected
	}
	if c.blocked {
		return c.conn, errBlocked
	}
	return c.conn, nil
}

func (c *amqpConn) close() {
	c.mu.Lock()
	c.closed = true
	if c.stop != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		// A broker that does not answer must not keep us.
		_ = c.conn.CloseDeadline(time.Now().Add(2 * time.Second))
		c.conn = nil
	}
}
