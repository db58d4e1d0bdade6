package ledger

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// copySharesSQL names the columns in the order of shareLines.line.
const copySharesSQL = `COPY share_n%d_h%d (received_at, judged_at, worker_id, miner_id, weight, hashes_per_second, height, network_id, id, work_id, proof) FROM STDIN`

// copyCredited writes the credited shares by COPY. A proof that stands in the
// ledger, or that another validator has just written, fails it (unique violation).
//
// Each partition is copied into by itself: through its parent, whose trigger sees
// the rows, Postgres would insert them one by one instead of a page at a time. A
// partition has the same trigger (count_late_shares).
func (w *writer) copyCredited(ctx context.Context, conn *sqlx.Conn) error {
	for rest := w.credited; len(rest) > 0; { // sorted by height
		first := rest[0].Height / shareHeights * shareHeights
		n := 0
		for n < len(rest) && rest[n].Height/shareHeights*shareHeights == first {
			n++
		}
		err := conn.Raw(func(c any) error { return w.copyPartition(ctx, c, first, rest[:n]) })
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	w.written.Credited = len(w.credited)
	return nil
}

// copier is the driver's COPY, which takes lines of its text format as they are.
type copier interface {
	driver.Stmt
	CopyData(ctx context.Context, lines string) (driver.Result, error)
}

var errNoCopy = errors.New("the database driver has no COPY of whole lines")

func (w *writer) copyPartition(ctx context.Context, c any, firstHeight int32, rows []*row) error {
	preparer, ok := c.(driver.ConnPrepareContext)
	if !ok {
		return errNoCopy
	}
	stmt, err := preparer.PrepareContext(ctx, fmt.Sprintf(copySharesSQL, w.batch.networkID, firstHeight))
	if err != nil {
		return err
	}
	into, ok := stmt.(copier)
	if !ok {
		return errors.Join(errNoCopy, stmt.Close())
	}
	lines := newShareLines(w.batch)
	for len(rows) > 0 {
		n := min(len(rows), linesAtOnce)
		if _, err := into.CopyData(ctx, lines.text(rows[:n])); err != nil {
			return errors.Join(err, into.Close())
		}
		rows = rows[n:]
	}
	return into.Close() // waits for the server's word
}

// linesAtOnce is about 50 kB.
const linesAtOnce = 256

// shareLines writes shares as lines of COPY's text format. Written with care for
// time: a busy pool writes tens of thousands a second.
type shareLines struct {
	same   string // judged_at, between tabs
	suffix string // network_id, between tabs
	line   []byte

	second int64  // since 1970
	prefix []byte // its text, up to the dot
}

func newShareLines(b *batch) *shareLines {
	return &shareLines{
		same: "\t" + timeText(b.now) + "\t", suffix: "\t" + strconv.Itoa(int(b.networkID)) + "\t", second: -1 << 63,
	}
}

// text returns the lines of some shares, without the last line's end.
func (l *shareLines) text(rows []*row) string {
	var out strings.Builder
	out.Grow(len(rows) * 224)
	for i, r := range rows {
		l.line = l.line[:0]
		if i > 0 {
			l.line = append(l.line, '\n')
		}
		l.add(r)
		out.Write(l.line)
	}
	return out.String()
}

func (l *shareLines) add(r *row) {
	l.time(r.ReceivedAt)
	b := append(l.line, l.same...)
	b = append(strconv.AppendInt(b, r.WorkerID, 10), '\t')
	b = append(strconv.AppendInt(b, r.MinerID, 10), '\t')
	b = append(strconv.AppendInt(b, r.Weight, 10), '\t')
	if r.HashesPerSecond > 0 {
		b = append(strconv.AppendInt(b, r.HashesPerSecond, 10), '\t')
	} else {
		b = append(b, `\N`+"\t"...)
	}
	b = strconv.AppendInt(b, int64(r.Height), 10)
	b = append(b, l.suffix...)
	b = append(hex.AppendEncode(b, r.ShareID[:]), '\t')
	b = append(hex.AppendEncode(b, r.WorkID[:]), '\t')
	b = append(b, `\\x`...)
	l.line = hex.AppendEncode(b, r.Proof[:])
}

// time writes a moment in UTC. Shares of a batch mostly come within a second or
// two, so that most of the text is known.
func (l *shareLines) time(t time.Time) {
	if second := t.Unix(); second != l.second {
		l.second, l.prefix = second, t.UTC().AppendFormat(l.prefix[:0], "2006-01-02 15:04:05")
	}
	l.line = append(append(l.line, l.prefix...), '.')
	micro := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		l.line = append(l.line, byte('0'+micro/unit%10)) //nolint:gosec // a digit
	}
	l.line = append(l.line, "+00"...)
}
