package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

var (
	// ErrBadText: a NUL character or bytes that are not UTF-8 in a text that
	// names something (an address, a worker), or no text at all.
	ErrBadText = errors.New("text is empty, holds a NUL character or is not UTF-8")
	// ErrBadRow: a value that no honest caller sends (a weight below 1, an id
	// whose time is not the work's).
	ErrBadRow = errors.New("value out of range")
	// ErrNoSuchMiner: no miner has this id.
	ErrNoSuchMiner = errors.New("no such miner")
)

// wrap says what was being done. Where the call's own time is up the driver
// reports a cancelled statement or a broken connection: the reason is added.
func wrap(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return fmt.Errorf("ledger: %s: %w", doing, err)
}

// Away reports whether err means that the database is away, overloaded, or asks
// to try again: wait and retry, never reject. A context that the caller has
// cancelled is not Away.
func Away(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, driver.ErrBadConn),
		errors.Is(err, sql.ErrConnDone),
		errors.Is(err, sql.ErrTxDone), // the connection broke and took the transaction along
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, syscall.ENOENT): // the socket of a stopped server
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	e := pq.As(err)
	return e != nil && awayCode(e)
}

func awayCode(e *pq.Error) bool {
	switch e.Code.Class() {
	case pqerror.ClassConnectionException, // 08
		pqerror.ClassInsufficientResources, // 53: disk full, too many connections
		pqerror.ClassSystemError,           // 58: I/O error
		pqerror.ClassInternalError:         // XX: also a corrupted index, for which no share can be blamed
		return true
	}
	switch e.Code {
	case pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow, pqerror.DatabaseDropped,
		pqerror.IdleSessionTimeout, pqerror.IdleInTransactionSessionTimeout,
		pqerror.QueryCanceled,    // statement_timeout, or our own deadline
		pqerror.LockNotAvailable, // lock_timeout
		pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected, pqerror.TRStatementCompletionUnknown,
		pqerror.ReadOnlySQLTransaction: // a standby, until fail-over is done
		return true
	}
	return missingPartition(e)
}

// missingPartition: no partition for the row. To Postgres that is a violated
// check (of a table, but of no constraint; its message is in the server's
// language), but nothing is wrong with the row: partitions are the backend's
// business.
func missingPartition(e *pq.Error) bool {
	return e.Code == pqerror.CheckViolation && e.Constraint == "" && e.Table != ""
}

// Refused reports whether err means that the data itself will never be taken,
// however often it is tried: constraints, values out of range, text that the
// stores refuse.
func Refused(err error) bool {
	if errors.Is(err, ErrBadText) || errors.Is(err, ErrBadRow) {
		return true
	}
	e := pq.As(err)
	if e == nil || missingPartition(e) {
		return false
	}
	switch e.Code.Class() {
	case pqerror.ClassDataException, pqerror.ClassIntegrityConstraintViolation:
		return true
	}
	return false
}
