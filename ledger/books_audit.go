package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// BooksCheck is one thing that the audit proves.
type BooksCheck struct {
	Name string `json:"name"`
	// Faults is how many were found; 0 proves it.
	Faults int64 `json:"faults"`
	// Detail names the first of them.
	Detail string `json:"detail,omitempty"`
}

// BooksTotals is what the books of a network say, in satoshis.
type BooksTotals struct {
	Miners    int64 `json:"miners"`    // balances of miners above zero
	Debts     int64 `json:"debts"`     // balances below zero: credited, paid, and taken back after a reorganisation
	Reserved  int64 `json:"reserved"`  // on its way in payments that are not booked
	Unknown   int64 `json:"unknown"`   // of the reserved, what the wallet may have paid already
	Fee       int64 `json:"fee"`       // the pool's fees, less the network fees that it pays
	Unclaimed int64 `json:"unclaimed"` // blocks without shares
	Corrected int64 `json:"corrected"` // given by hand (negative)
	Rewards   int64 `json:"rewards"`   // of all blocks that were shared out and stand
	Paid      int64 `json:"paid"`
	NetFee    int64 `json:"network_fee"`
	Immature  int64 `json:"immature"` // rewards of blocks that are not shared out yet
	Journal   int64 `json:"journal_entries"`
	// ClosedShares counts the shares of all rounds that were ever closed, as the
	// roll-up has summed them.
	ClosedShares int64 `json:"closed_shares"`
}

// Liabilities is what the pool owes to miners, in satoshis.
func (t *BooksTotals) Liabilities() int64 { return t.Miners + t.Reserved }

// BooksAudit is what an audit of a network found.
type BooksAudit struct {
	Checks []BooksCheck `json:"checks"`
	Totals BooksTotals  `json:"totals"`
}

// lineChecks are the two checks that read every line, which takes most of an
// audit's time.
var lineChecks = [2]string{"entries are balanced", "balances equal their entries"}

// lineChecksSQL proves both in one pass over all lines, whatever network they are
// of. The two halves of the table, divided at block $2, are summed side by side,
// by entry and by account at once: Postgres sums one way only where it divides a
// table by itself. An entry of one line sums to what that says, which is not zero;
// one without lines has no sum.
const lineChecksSQL = `
WITH sums AS MATERIALIZED (
    SELECT entry_id, account_id, sum(amount) AS amount FROM (
        SELECT entry_id, account_id, sum(amount) AS amount FROM journal_line WHERE ctid < CAST($2 AS tid)
        GROUP BY GROUPING SETS ((entry_id), (account_id))
        UNION ALL
        SELECT entry_id, account_id, sum(amount) FROM journal_line WHERE ctid >= CAST($2 AS tid)
        GROUP BY GROUPING SETS ((entry_id), (account_id))) AS half
    GROUP BY entry_id, account_id
)
SELECT 0, count(*), min(detail) FROM (
    SELECT 'entry ' || j.id || coalesce(' sums to ' || l.amount, ' has no lines') AS detail
    FROM journal j LEFT JOIN sums l ON l.account_id IS NULL AND l.entry_id = j.id
    WHERE j.network_id = $1 AND l.amount IS DISTINCT FROM 0) AS fault
UNION ALL
SELECT 1, count(*), min(detail) FROM (
    SELECT 'account ' || a.id || ' has ' || coalesce(b.amount, 0) || ', its lines ' || coalesce(l.amount, 0) AS detail
    FROM account a LEFT JOIN balance b ON b.account_id = a.id LEFT JOIN sums l ON l.entry_id IS NULL AND l.account_id = a.id
    WHERE a.network_id = $1 AND coalesce(b.amount, 0) <> coalesce(l.amount, 0)) AS fault
ORDER BY 1`

// checkLines runs the checks of all lines.
func checkLines(ctx context.Context, tx *sqlx.Tx, networkID int16) ([]BooksCheck, error) {
	var half string
	err := tx.GetContext(ctx, &half, `SELECT '(' || pg_relation_size('journal_line') / current_setting('block_size')::bigint / 2 || ',0)'`)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, lineChecksSQL, networkID, half)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	checks := make([]BooksCheck, len(lineChecks))
	for rows.Next() {
		var n int
		var faults int64
		var detail sql.NullString
		if err := rows.Scan(&n, &faults, &detail); err != nil {
			return nil, err
		}
		checks[n] = BooksCheck{Name: lineChecks[n], Faults: faults, Detail: detail.String}
	}
	return checks, rows.Err()
}

// auditSQL lists what else is proved of a network: each query returns what is
// wrong, in a few words. $1 is the network.
var auditSQL = []struct{ name, query string }{
	{"fees of joined coins stand in the journal as they are", `
		SELECT 'consolidation ' || c.id || ' (' || c.state || ') of fee ' || c.fee || ' is booked as ' || b.amount AS detail
		FROM consolidation c
		CROSS JOIN LATERAL (SELECT coalesce(sum(l.amount), 0) AS amount FROM journal j JOIN journal_line l ON l.entry_id = j.id
		    JOIN account a ON a.id = l.account_id AND a.kind = 'network_fee'
		    WHERE j.key = 'consolidation:' || c.id || ':' || c.bookings AND NOT EXISTS (SELECT FROM journal r WHERE r.reverses = j.id)) AS b
		WHERE c.network_id = $1 AND b.amount <> CASE WHEN c.state IN ('sent', 'confirmed') THEN c.fee ELSE 0 END`},
	{"all accounts sum to zero", `
		SELECT 'they sum to ' || sum(b.amount) AS detail FROM balance b JOIN account a ON a.id = b.account_id
		WHERE a.network_id = $1 HAVING sum(b.amount) <> 0`},
	{"rounds follow one another without a gap", `
		SELECT 'round ' || id || ' begins at ' || from_at || ', the one before ends at ' || coalesce(before::text, 'no time') AS detail
		FROM (SELECT id, from_at, lag(until_at) OVER w AS before, row_number() OVER w AS n FROM round
		      WHERE network_id = $1 WINDOW w AS (ORDER BY from_at)) AS r
		WHERE n > 1 AND before IS DISTINCT FROM from_at`},
	{"one round is open", `
		SELECT count(*) || ' are open' AS detail FROM round
		WHERE network_id = $1 AND state = 'open' HAVING count(*) <> 1`},
	{"every credited share counts in one round", ""}, // shareCheckSQL
	{"late shares are made up for", ""},              // windowCheckSQL
	{"shares whose block stands are not stale", ""},  // winnerCheckSQL
	// Each credit is one line, found by its primary key.
	{"shared out blocks are credited once and in full", `
		SELECT 'block ' || b.height || ' (' || b.state || ') of ' || b.reward || ' is credited ' || coalesce(sum(l.amount), 0) AS detail
		FROM block b
		LEFT JOIN journal j ON j.block_id = b.id
		LEFT JOIN LATERAL (SELECT -l.amount AS amount FROM journal_line l WHERE l.entry_id = j.id AND l.account_id =
		    (SELECT id FROM account WHERE network_id = $1 AND kind = 'reward')) AS l ON true
		WHERE b.network_id = $1
		GROUP BY b.id HAVING coalesce(sum(l.amount), 0) <> CASE b.state WHEN 'mature' THEN coalesce(b.reward, 0) ELSE 0 END`},
	{"paid rounds were paid by a block that stands", `
		SELECT 'round ' || r.id || ' was paid by block ' || b.height || ', which is ' || b.state AS detail
		FROM round r JOIN block b ON b.id = r.paid_by WHERE r.network_id = $1 AND b.state <> 'mature'`},
	{"reserved amounts are those of unfinished payments", `
		SELECT 'miner ' || coalesce(b.miner_id, i.miner_id) || ' has ' || coalesce(b.amount, 0) || ' reserved, planned are ' || coalesce(i.amount, 0) AS detail
		FROM (SELECT a.miner_id, b.amount FROM account a JOIN balance b ON b.account_id = a.id
		      WHERE a.network_id = $1 AND a.kind = 'reserved') AS b
		FULL JOIN (SELECT i.miner_id, sum(i.amount) AS amount FROM payment_item i JOIN payment p ON p.id = i.payment_id
		           WHERE p.network_id = $1 AND i.state = 'planned' GROUP BY 1) AS i ON i.miner_id = b.miner_id
		WHERE coalesce(b.amount, 0) <> coalesce(i.amount, 0)`},
	// What left the miners is what came to the pool's own accounts, since entries
	// are balanced: a few lines for each entry, found by their primary key.
	{"payments stand in the journal as they are", `
		SELECT 'payment ' || p.id || ' (' || p.state || ') of ' || coalesce(i.amount, 0) || ' is booked as ' || coalesce(b.amount, 0) AS detail
		FROM payment p
		LEFT JOIN (SELECT payment_id, sum(amount) AS amount FROM payment_item WHERE state = 'paid' GROUP BY 1) AS i ON i.payment_id = p.id
		LEFT JOIN (SELECT j.payment_id, sum(l.amount) AS amount FROM journal j
		           CROSS JOIN (SELECT id FROM account WHERE network_id = $1 AND miner_id IS NULL) AS a
		           CROSS JOIN LATERAL (SELECT amount FROM journal_line WHERE entry_id = j.id AND account_id = a.id OFFSET 0) AS l
		           WHERE j.network_id = $1 AND j.payment_id IS NOT NULL GROUP BY 1) AS b ON b.payment_id = p.id
		WHERE p.network_id = $1 AND (coalesce(i.amount, 0) <> coalesce(b.amount, 0) OR p.state = 'confirmed' AND NOT p.booked)`},
}

// shareCheckSQL compares shares with what was counted, for every round of which
// all shares are still there: those that are not paid (the open one as far as it
// is counted), and those that began after $2. A network's first round has no beginning; no share is older
// than its first miner.
const shareCheckSQL = `
WITH kept AS (
    SELECT id, from_at, coalesce(until_at, counted_until) AS until_at FROM round
    WHERE network_id = $1 AND (state <> 'settled' AND NOT reopened
        OR greatest(from_at, (SELECT min(created_at) FROM miner WHERE network_id = $1)) >= $2)
), counted AS (
    SELECT kept.id, w.miner_id, sum(w.shares) AS shares, sum(w.weight) AS weight FROM kept CROSS JOIN LATERAL (
        SELECT miner_id, shares, weight FROM round_weight WHERE round_id = kept.id AND from_round_id = kept.id
        UNION ALL -- uses round_weight_carried
        SELECT miner_id, shares, weight FROM round_weight WHERE from_round_id = kept.id AND from_round_id <> round_id) AS w
    GROUP BY 1, 2
), there AS (
    SELECT kept.id, s.miner_id, count(*) AS shares, sum(s.weight) AS weight
    FROM kept JOIN share s ON s.network_id = $1 AND s.received_at >= kept.from_at AND s.received_at < kept.until_at GROUP BY 1, 2
)
SELECT 'round ' || coalesce(c.id, t.id) || ', miner ' || coalesce(c.miner_id, t.miner_id) || ': ' || coalesce(t.shares, 0)
       || ' shares of weight ' || coalesce(t.weight, 0) || ', counted are ' || coalesce(c.shares, 0) || ' of ' || coalesce(c.weight, 0) AS detail
FROM counted c FULL JOIN there t ON t.id = c.id AND t.miner_id = c.miner_id
WHERE coalesce(c.weight, 0) <> coalesce(t.weight, 0) OR coalesce(c.shares, 0) <> coalesce(t.shares, 0)`

// windowCheckSQL looks for shares that came into a window after it was paid and
// that no later block makes up for, in all windows whose shares are still there.
const windowCheckSQL = `
SELECT 'the window of round ' || r.id || ' had ' || r.window_shares || ' shares and has ' || there.shares
       || ', made up for are ' || late.shares || ' of weight ' || late.weight AS detail
FROM round r
CROSS JOIN LATERAL (SELECT count(*) AS shares FROM share s
    WHERE s.network_id = $1 AND s.received_at > r.window_from AND s.received_at < r.until_at) AS there
CROSS JOIN LATERAL (SELECT coalesce(sum(shares), 0) AS shares, coalesce(sum(weight), 0) AS weight FROM late_window
    WHERE from_round_id = r.id) AS late
WHERE r.network_id = $1 AND r.window_from IS NOT NULL
  AND greatest(r.window_from, (SELECT min(created_at) FROM miner WHERE network_id = $1)) >= $2
  AND r.window_shares + late.shares <> there.shares`

// winnerCheckSQL looks for shares that were credited since their block stands and
// are not, or still stand as refused, and for such shares that are not credited an
// hour after both verdict and block.
const winnerCheckSQL = `
SELECT 'share ' || w.share_id || ' of block ' || b.height || ' was credited with ' || w.weight || ' since that stands; the ledger has '
       || coalesce(s.weight::text, 'nothing') || CASE WHEN r.id IS NULL THEN '' ELSE ', and that it was refused' END AS detail
FROM stale_winner w JOIN block b ON b.id = w.block_id
LEFT JOIN share s ON s.network_id = $1 AND s.height = w.height AND s.proof = w.proof
LEFT JOIN rejected_share r ON r.received_at = w.received_at AND r.id = w.share_id
WHERE w.network_id = $1 AND w.received_at >= $2 AND (r.id IS NOT NULL OR b.network_id <> $1 OR b.height <> w.height + 1 OR b.proof IS DISTINCT FROM w.proof
    OR (s.id, s.miner_id, s.weight, s.received_at) IS DISTINCT FROM (w.share_id, w.miner_id, w.weight, w.received_at))
UNION ALL
SELECT 'share ' || r.id || ' of block ' || b.height || ' stands as refused (' || r.reason || ')'
FROM block b JOIN rejected_share r ON r.network_id = $1 AND r.height = b.height - 1 AND r.proof = b.proof AND r.weight IS NOT NULL
WHERE b.network_id = $1 AND b.main AND r.received_at >= $2 AND greatest(b.seen_at, r.judged_at) < now() - interval '1 hour'
  AND NOT EXISTS (SELECT FROM share s WHERE s.network_id = $1 AND s.height = r.height AND s.proof = r.proof)`

// shareChecks are the checks that read shares.
var shareChecks = map[string]string{
	"shares whose block stands are not stale":  winnerCheckSQL,
	"every credited share counts in one round": shareCheckSQL,
	"late shares are made up for":              windowCheckSQL,
}

// AuditOptions says how much an audit looks at.
type AuditOptions struct {
	// SharesKept is how long paid shares are kept; rounds older than that cannot be
	// compared with their shares. Zero: 14 days.
	SharesKept time.Duration
	// SkipShares leaves the shares alone: counting them reads them all.
	SkipShares bool
}

// Audit proves the books of a network, all at one moment: everything is read in
// one transaction that sees one state of the database.
func (b *Books) Audit(ctx context.Context, networkID int16, opts AuditOptions) (audit BooksAudit, err error) {
	tx, err := b.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return BooksAudit{}, wrap(ctx, "audit", err)
	}
	defer tx.Rollback()
	// An audit of all that ever happened takes its time, but none for compiling what
	// runs once.
	if _, err := tx.ExecContext(ctx, `SET LOCAL statement_timeout = '1h'; SET LOCAL work_mem = '256MB'; SET LOCAL jit = off`); err != nil {
		return BooksAudit{}, wrap(ctx, "audit", err)
	}
	kept := opts.SharesKept
	if kept <= 0 {
		kept = 14 * 24 * time.Hour
	}
	since := storedTime(b.now().Add(-kept))
	if audit.Checks, err = checkLines(ctx, tx, networkID); err != nil {
		return BooksAudit{}, wrap(ctx, "audit: lines", err)
	}
	for _, check := range auditSQL {
		query, args := check.query, []any{networkID}
		if query == "" {
			if opts.SkipShares {
				continue
			}
			query, args = shareChecks[check.name], append(args, since)
		}
		c := BooksCheck{Name: check.name}
		var detail sql.NullString
		err := tx.QueryRowContext(ctx, `SELECT count(*), min(detail) FROM (`+query+`) AS fault`, args...).Scan(&c.Faults, &detail)
		if err != nil {
			return BooksAudit{}, wrap(ctx, fmt.Sprintf("audit: %s", check.name), err)
		}
		c.Detail = detail.String
		audit.Checks = append(audit.Checks, c)
	}
	if audit.Totals, err = totals(ctx, tx, networkID); err != nil {
		return BooksAudit{}, wrap(ctx, "audit: totals", err)
	}
	return audit, nil
}

// Totals returns what the books of a network say now, at one moment. It proves
// nothing, and takes no time.
func (b *Books) Totals(ctx context.Context, networkID int16) (BooksTotals, error) {
	t, err := totals(ctx, b.db, networkID)
	return t, wrap(ctx, "totals", err)
}

func totals(ctx context.Context, db rowQuerier, networkID int16) (t BooksTotals, err error) {
	err = db.QueryRowContext(ctx, totalsSQL, networkID).Scan(&t.Miners, &t.Debts, &t.Reserved, &t.Unknown, &t.Fee, &t.Unclaimed, &t.Corrected,
		&t.Rewards, &t.Paid, &t.NetFee, &t.Immature, &t.Journal, &t.ClosedShares)
	return t, err
}

const totalsSQL = `
SELECT coalesce(sum(b.amount) FILTER (WHERE a.kind = 'miner' AND b.amount > 0), 0)::bigint,
       coalesce(-sum(b.amount) FILTER (WHERE a.kind = 'miner' AND b.amount < 0), 0)::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'reserved'), 0)::bigint,
       (SELECT coalesce(sum(i.amount), 0) FROM payment p JOIN payment_item i ON i.payment_id = p.id
        WHERE p.network_id = $1 AND p.state IN ('sending', 'sent', 'unclear') AND i.state = 'planned')::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'fee'), 0)::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'unclaimed'), 0)::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'correction'), 0)::bigint,
       coalesce(-sum(b.amount) FILTER (WHERE a.kind = 'reward'), 0)::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'paid'), 0)::bigint,
       coalesce(sum(b.amount) FILTER (WHERE a.kind = 'network_fee'), 0)::bigint,
       (SELECT coalesce(sum(reward), 0) FROM block WHERE network_id = $1 AND state = 'immature' AND main)::bigint,
       (SELECT count(*) FROM journal WHERE network_id = $1),
       (SELECT coalesce(sum(coalesce(t.shares, (SELECT sum(w.shares) FROM round_weight w WHERE w.round_id = r.id))), 0)
        FROM round r LEFT JOIN round_total t ON t.round_id = r.id WHERE r.network_id = $1 AND r.state <> 'open')::bigint
FROM account a JOIN balance b ON b.account_id = a.id WHERE a.network_id = $1`
