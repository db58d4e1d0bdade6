package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// maxWorkers bounds how many workers of one miner pages look at: the newest. An
// address can have any number of them, since anybody may name one.
const maxWorkers = 1000

// WebMiner is a miner as anybody may see him.
type WebMiner struct {
	ID        int64
	NetworkID int16
	Address   string
	Enabled   bool
	CreatedAt time.Time
}

// FindMiner returns the miner with this address on a network. ErrNoSuchMiner.
func (s *WebStore) FindMiner(ctx context.Context, networkID int16, address string) (WebMiner, error) {
	if _, err := nameText(address, MaxAddress); err != nil || len(address) > MaxAddress {
		return WebMiner{}, fmt.Errorf("ledger: find miner: %w", ErrNoSuchMiner)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	m := WebMiner{NetworkID: networkID, Address: address}
	// Uses miner_network_id_address_key.
	err := s.db.QueryRowContext(ctx, `SELECT id, enabled, created_at FROM pool_miner WHERE network_id = $1 AND address = $2`, networkID, address).
		Scan(&m.ID, &m.Enabled, &m.CreatedAt)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoSuchMiner
	}
	m.CreatedAt = m.CreatedAt.UTC()
	return m, wrap(ctx, "find miner", err)
}

// WorkerFigures are a worker's numbers.
type WorkerFigures struct {
	ID          int64
	Name        string
	RateShort   int64 // hashes per second over ten minutes
	RateHour    int64
	RateDay     int64
	Shares      int64 // credited in 24 hours
	Rejected    int64
	LastShareAt time.Time // to the minute; zero: none in the days for which minutes are kept
	CreatedAt   time.Time
}

// Online says whether the worker counts as online at that moment.
func (w *WorkerFigures) Online(now time.Time) bool {
	return !w.LastShareAt.IsZero() && now.Sub(w.LastShareAt) < OnlineWindow+time.Minute
}

// workersSQL uses worker_miner_id_name_key, share_minute_pkey for each worker's
// last minutes, and share_hour_pkey for the hours before. $3, $4, $5: from where
// on ten minutes, an hour and a day are counted.
const workersSQL = `
SELECT w.id, w.name, w.created_at,
       least(coalesce(m.short, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($3 AS timestamptz)), 1), 9e18)::bigint AS rate_short,
       least(coalesce(m.weight, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($4 AS timestamptz)), 1), 9e18)::bigint AS rate_hour,
       least((coalesce(h.weight, 0) + coalesce(m.late, 0)) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($5 AS timestamptz)), 1), 9e18)::bigint AS rate_day,
       coalesce(h.shares, 0) + coalesce(m.shares, 0) AS shares, coalesce(h.rejected, 0) + coalesce(m.rejected, 0) AS rejected,
       l.minute AS last_share
FROM (SELECT id, name, created_at FROM pool_worker WHERE miner_id = $1 ORDER BY id DESC LIMIT $7) AS w
LEFT JOIN LATERAL (
    SELECT sum(weight) FILTER (WHERE minute >= $3) AS short, sum(weight) FILTER (WHERE minute >= $4) AS weight,
           sum(weight) FILTER (WHERE minute >= $6) AS late,
           sum(shares) FILTER (WHERE minute >= $6)::bigint AS shares, sum(rejected) FILTER (WHERE minute >= $6)::bigint AS rejected
    FROM pool_share_minute WHERE worker_id = w.id AND minute >= least($4, $6) AND minute <= $2) AS m ON true
LEFT JOIN LATERAL (
    SELECT sum(weight) AS weight, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected
    FROM pool_share_hour WHERE worker_id = w.id AND hour >= $5 AND hour < $6) AS h ON true
LEFT JOIN LATERAL (
    SELECT minute FROM pool_share_minute WHERE worker_id = w.id AND shares > 0 AND minute <= $2 ORDER BY minute DESC LIMIT 1) AS l ON true
ORDER BY l.minute DESC NULLS LAST, w.name`

// Workers returns the workers of a miner, those who worked last first.
func (s *WebStore) Workers(ctx context.Context, minerID int64, now time.Time) ([]WorkerFigures, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	var rows []struct {
		ID        int64
		Name      string
		CreatedAt time.Time `db:"created_at"`
		RateShort int64     `db:"rate_short"`
		RateHour  int64     `db:"rate_hour"`
		RateDay   int64     `db:"rate_day"`
		Shares    int64
		Rejected  int64
		LastShare sql.NullTime `db:"last_share"`
	}
	hour := now.Truncate(time.Hour)
	err := s.db.SelectContext(ctx, &rows, workersSQL, minerID, now, now.Add(-shortWindow).Truncate(time.Minute),
		now.Add(-time.Hour).Truncate(time.Minute), hour.Add(-23*time.Hour), hour, maxWorkers)
	list := make([]WorkerFigures, len(rows))
	for i, r := range rows {
		list[i] = WorkerFigures{
			ID: r.ID, Name: r.Name, RateShort: r.RateShort, RateHour: r.RateHour, RateDay: r.RateDay, Shares: r.Shares,
			Rejected: r.Rejected, LastShareAt: utcOrZero(r.LastShare), CreatedAt: r.CreatedAt.UTC(),
		}
	}
	return list, wrap(ctx, "list workers", err)
}

// WorkerRefusals counts a worker's refused shares by reason.
type WorkerRefusals struct {
	Worker string
	Refusals
}

// MinerRefusals returns the refused shares of a miner's workers in the last 24
// hours, the most frequent first.
func (s *WebStore) MinerRefusals(ctx context.Context, minerID int64, now time.Time) ([]WorkerRefusals, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		Name, Reason string
		Count        int64
	}
	// Uses reject_hour_pkey.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT w.name, r.reason, sum(r.rejected)::bigint AS count
		FROM (SELECT id, name FROM pool_worker WHERE miner_id = $1 ORDER BY id DESC LIMIT $3) AS w
		JOIN pool_reject_hour r ON r.worker_id = w.id
		WHERE r.hour > CAST($2 AS timestamptz) - interval '24 hours' AND r.hour <= $2
		GROUP BY w.name, r.reason ORDER BY 3 DESC, 1, 2 LIMIT 100`, minerID, storedTime(now), maxWorkers)
	list := make([]WorkerRefusals, len(rows))
	for i, r := range rows {
		list[i] = WorkerRefusals{r.Name, Refusals{r.Reason, r.Count}}
	}
	return list, wrap(ctx, "list refusals", err)
}

// Money is what a miner has, in satoshis.
type Money struct {
	Balance  int64 // credited and not paid
	Reserved int64 // in payments under way
	Paid     int64 // in payments that were made
	// Immature is his part of blocks that are not shared out yet, by their shares
	// as counted so far and before the fee: an estimate.
	Immature int64
	// Threshold is his own, 0: the network's.
	Threshold int64
	Held      bool // the operator holds his payments
	// LastPaymentAt is when the last payment to him was planned; zero: never.
	LastPaymentAt time.Time
}

// moneySQL uses account's unique key for the balance, round_weight_miner for
// what is immature, and payment_item_miner for what was paid.
const moneySQL = `
SELECT coalesce((SELECT amount FROM pool_account WHERE network_id = $2 AND miner_id = $1 AND kind = 'miner'), 0) AS balance,
       coalesce((SELECT amount FROM pool_account WHERE network_id = $2 AND miner_id = $1 AND kind = 'reserved'), 0) AS reserved,
       coalesce((SELECT sum(amount) FROM pool_payment WHERE miner_id = $1 AND item_state = 'paid'), 0)::bigint AS paid,
       (SELECT max(created_at) FROM pool_payment WHERE miner_id = $1 AND item_state IN ('planned', 'paid')) AS last_payment,
       coalesce((SELECT sum(trunc(b.reward * w.weight / t.weight)) FROM pool_round r
                 JOIN pool_block b ON b.id = r.block_id AND b.main AND b.state = 'immature'
                 JOIN pool_round_total t ON t.round_id = r.id AND t.weight > 0
                 JOIN LATERAL (SELECT sum(weight) AS weight FROM pool_round_weight w WHERE w.miner_id = $1 AND w.round_id = r.id) AS w ON true
                 WHERE r.network_id = $2 AND r.state = 'closed'), 0)::bigint AS immature,
       coalesce((SELECT threshold FROM pool_payout WHERE miner_id = $1), 0) AS threshold,
       coalesce((SELECT held FROM pool_payout WHERE miner_id = $1), false) AS held`

// Money returns a miner's balance and what belongs to it.
func (s *WebStore) Money(ctx context.Context, networkID int16, minerID int64) (Money, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var row struct {
		Money
		LastPayment sql.NullTime `db:"last_payment"`
	}
	err := s.db.GetContext(ctx, &row, moneySQL, minerID, networkID)
	row.Money.LastPaymentAt = utcOrZero(row.LastPayment)
	return row.Money, wrap(ctx, "read money", err)
}

// Entry is one movement of a miner's balance.
type Entry struct {
	ID     int64
	At     time.Time
	Kind   string // block, payment, correction, reversal
	Amount int64  // satoshis
	Height int32  // of the block; 0: none
}

// Entries returns the movements of a miner's balance, the newest first: those
// before this id (math.MaxInt64 begins).
func (s *WebStore) Entries(ctx context.Context, networkID int16, minerID int64, limit int, before int64) ([]Entry, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		ID     int64
		At     time.Time
		Kind   string
		Amount int64
		Height sql.NullInt32 `db:"block_height"`
	}
	// Uses journal_line_account, backwards.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT id, at, kind, amount, block_height FROM pool_entry
		WHERE account_id = (SELECT id FROM pool_account WHERE network_id = $1 AND miner_id = $2 AND kind = 'miner')
		  AND entry_id < $4
		ORDER BY entry_id DESC LIMIT $3`, networkID, minerID, limit, before)
	list := make([]Entry, len(rows))
	for i, r := range rows {
		list[i] = Entry{ID: r.ID, At: r.At.UTC(), Kind: r.Kind, Amount: r.Amount, Height: r.Height.Int32}
	}
	return list, wrap(ctx, "list entries", err)
}

// MinerPayment is a miner's part of a payment.
type MinerPayment struct {
	ID            int64
	Amount        int64  // satoshis
	ItemState     string // planned, paid, set_aside, released
	State         string // of the payment
	TxID          [32]byte
	Confirmations int32
	CreatedAt     time.Time
	StateAt       time.Time
}

// MinerPayments returns the payments to a miner, the newest first: those before
// this id (math.MaxInt64 begins). Those that were taken back are left out.
func (s *WebStore) MinerPayments(ctx context.Context, minerID int64, limit int, before int64) ([]MinerPayment, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		ID            int64
		Amount        int64
		ItemState     string `db:"item_state"`
		State         string
		TxID          []byte `db:"txid"`
		Confirmations int32
		CreatedAt     time.Time `db:"created_at"`
		StateAt       time.Time `db:"state_at"`
	}
	// Uses payment_item_miner.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT id, amount, item_state, state, txid, confirmations, created_at, state_at FROM pool_payment
		WHERE miner_id = $1 AND id < $3 AND item_state <> 'released' ORDER BY id DESC LIMIT $2`, minerID, limit, before)
	list := make([]MinerPayment, len(rows))
	for i, r := range rows {
		list[i] = MinerPayment{
			ID: r.ID, Amount: r.Amount, ItemState: r.ItemState, State: r.State, Confirmations: r.Confirmations,
			CreatedAt: r.CreatedAt.UTC(), StateAt: r.StateAt.UTC(),
		}
		copy(list[i].TxID[:], r.TxID)
	}
	return list, wrap(ctx, "list a miner's payments", err)
}

// Rating is a miner's rating.
type Rating struct {
	Rating  int
	Percent string // of the pool's shares for each block, decimal
	Shares  int64
	Blocks  int64
	RatedAt time.Time `db:"rated_at"`
}

// Rating returns a miner's rating, nil where he has none.
func (s *WebStore) Rating(ctx context.Context, minerID int64) (*Rating, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var r Rating
	err := s.db.GetContext(ctx, &r, `SELECT rating, round(percent)::text AS percent, shares, blocks, rated_at FROM pool_rating WHERE miner_id = $1`, minerID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // no rating is no error
	}
	r.RatedAt = r.RatedAt.UTC()
	return &r, wrap(ctx, "read rating", err)
}

// finelyDrawn is up to how many workers a miner's day is drawn from minutes.
const finelyDrawn = 50

// MinerSeries returns a miner's hash rate over a day, week or month.
func (s *WebStore) MinerSeries(ctx context.Context, minerID int64, span string, now time.Time) (Series, error) {
	sp, ok := spans[span]
	if !ok {
		return Series{}, fmt.Errorf("ledger: %q: %w", span, ErrBadSpan)
	}
	callCtx, cancel := s.bound(ctx)
	defer cancel()
	var workers []int64
	err := s.db.SelectContext(callCtx, &workers, `SELECT id FROM pool_worker WHERE miner_id = $1 ORDER BY id DESC LIMIT $2`, minerID, maxWorkers)
	if err != nil {
		return Series{}, wrap(callCtx, "read series", err)
	}
	source, column := "pool_share_hour", "hour"
	if sp.minutes {
		if len(workers) <= finelyDrawn {
			source, column = "pool_share_minute", "minute"
		} else {
			sp.step = time.Hour
		}
	}
	// Uses share_minute_pkey or share_hour_pkey.
	return s.series(ctx, span, sp.length, sp.step, now, `
		SELECT date_bin(make_interval(secs => $4), `+column+`, '2000-01-01Z') AS at,
		       least(sum(weight), 9e18)::bigint AS weight, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected
		FROM `+source+` WHERE worker_id = ANY (CAST($1 AS bigint[])) AND `+column+` >= $2 AND `+column+` <= $3 GROUP BY 1`, pq.Array(workers))
}

// MinerPulse is what changes on a miner's page while one looks.
type MinerPulse struct {
	MinerID         int64     `db:"miner_id"`
	HashesPerSecond int64     `db:"rate"`      // over ten minutes
	HashesHour      int64     `db:"rate_hour"` // over an hour
	SharesHour      int64     `db:"shares"`
	RejectedHour    int64     `db:"rejected"`
	LastShareAt     time.Time // to the minute; zero: none in the hour
}

// MinerPulses returns the pulses of several miners in one query. Miners without
// workers are missing.
func (s *WebStore) MinerPulses(ctx context.Context, minerIDs []int64, now time.Time) (map[int64]MinerPulse, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	var rows []struct {
		MinerPulse
		LastShare sql.NullTime `db:"last_share"`
	}
	// Uses share_minute_pkey.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT i.miner_id,
		       least(coalesce(sum(m.short), 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($3 AS timestamptz)), 1), 9e18)::bigint AS rate,
		       least(coalesce(sum(m.weight), 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - CAST($4 AS timestamptz)), 1), 9e18)::bigint AS rate_hour,
		       coalesce(sum(m.shares), 0)::bigint AS shares, coalesce(sum(m.rejected), 0)::bigint AS rejected, max(m.last_share) AS last_share
		FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
		CROSS JOIN LATERAL (SELECT id FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $5) AS w
		CROSS JOIN LATERAL (
			SELECT sum(weight) AS weight, sum(weight) FILTER (WHERE minute >= $3) AS short, sum(shares) AS shares, sum(rejected) AS rejected,
			       max(minute) FILTER (WHERE shares > 0) AS last_share
			FROM pool_share_minute WHERE worker_id = w.id AND minute >= $4 AND minute <= $2) AS m
		GROUP BY i.miner_id`,
		int64Array(minerIDs), now, now.Add(-shortWindow).Truncate(time.Minute), now.Add(-time.Hour).Truncate(time.Minute), maxWorkers)
	pulses := make(map[int64]MinerPulse, len(rows))
	for _, r := range rows {
		r.MinerPulse.LastShareAt = utcOrZero(r.LastShare)
		pulses[r.MinerID] = r.MinerPulse
	}
	return pulses, wrap(ctx, "read miners' pulses", err)
}

// MinerDay is what a miner did on a day.
type MinerDay struct {
	Day      time.Time // its beginning, UTC
	Shares   int64
	Rejected int64
}

// MinerDays returns the last seven days of a miner, today last: UTC days,
// half-open.
func (s *WebStore) MinerDays(ctx context.Context, minerID int64, now time.Time) ([]MinerDay, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now = storedTime(now)
	first, hour := firstOfWeek(now), now.Truncate(time.Hour)
	var rows []MinerDay
	// Uses share_hour_pkey, and share_minute_pkey for the hour that is not rolled up.
	err := s.db.SelectContext(ctx, &rows, `
		SELECT date_trunc('day', h.hour, 'UTC') AS day, sum(h.shares)::bigint AS shares, sum(h.rejected)::bigint AS rejected
		FROM (SELECT id FROM pool_worker WHERE miner_id = $1 ORDER BY id DESC LIMIT $5) AS w
		JOIN pool_share_hour h ON h.worker_id = w.id WHERE h.hour >= $3 AND h.hour < $4 GROUP BY 1
		UNION ALL
		SELECT date_trunc('day', m.minute, 'UTC'), sum(m.shares)::bigint, sum(m.rejected)::bigint
		FROM (SELECT id FROM pool_worker WHERE miner_id = $1 ORDER BY id DESC LIMIT $5) AS w
		JOIN pool_share_minute m ON m.worker_id = w.id WHERE m.minute >= $4 AND m.minute <= $2 GROUP BY 1`,
		minerID, now, first, hour, maxWorkers)
	if err != nil {
		return nil, wrap(ctx, "read a miner's days", err)
	}
	list := make([]MinerDay, 7)
	for i := range list {
		list[i].Day = first.AddDate(0, 0, i)
	}
	for _, r := range rows {
		d := &list[min(max(int(r.Day.Sub(first)/(24*time.Hour)), 0), 6)]
		d.Shares, d.Rejected = d.Shares+r.Shares, d.Rejected+r.Rejected
	}
	return list, nil
}
