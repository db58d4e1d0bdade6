package ledger

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// The queries on miners are asked for many of them at once, so that visitors
// who look at different miners share their cost. $1 is an array of miners' ids.

// workersSQL uses worker_miner_id_name_key, share_minute_pkey for each worker's
// last minutes, and share_hour_pkey for the hours before. $3, $4, $5: from where on
// ten minutes, an hour and a day are counted; $6: this hour. Of a worker who is
// younger than that, the time since he came counts, but never less than ten minutes.
const workersSQL = `
SELECT i.miner_id, w.id, w.name, w.created_at,
       least(coalesce(m.short, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - greatest(CAST($3 AS timestamptz), w.created_at)), 600), 9e18)::bigint AS rate_short,
       least(coalesce(m.weight, 0) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - greatest(CAST($4 AS timestamptz), w.created_at)), 600), 9e18)::bigint AS rate_hour,
       least((coalesce(h.weight, 0) + coalesce(m.late, 0)) / greatest(extract(epoch FROM CAST($2 AS timestamptz) - greatest(CAST($5 AS timestamptz), w.created_at)), 600), 9e18)::bigint AS rate_day,
       coalesce(h.shares, 0) + coalesce(m.shares, 0) AS shares, coalesce(h.rejected, 0) + coalesce(m.rejected, 0) AS rejected,
       l.minute AS last_share
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
CROSS JOIN LATERAL (SELECT id, name, created_at FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $7) AS w
CROSS JOIN LATERAL (
    SELECT sum(weight) FILTER (WHERE minute >= $3) AS short, sum(weight) FILTER (WHERE minute >= $4) AS weight,
           sum(weight) FILTER (WHERE minute >= $6) AS late,
           sum(shares) FILTER (WHERE minute >= $6)::bigint AS shares, sum(rejected) FILTER (WHERE minute >= $6)::bigint AS rejected
    FROM pool_share_minute WHERE worker_id = w.id AND minute >= least($4, $6) AND minute <= $2) AS m
CROSS JOIN LATERAL (
    SELECT sum(weight) AS weight, sum(shares)::bigint AS shares, sum(rejected)::bigint AS rejected
    FROM pool_share_hour WHERE worker_id = w.id AND hour >= $5 AND hour < $6) AS h
LEFT JOIN LATERAL (
    SELECT minute FROM pool_share_minute WHERE worker_id = w.id AND shares > 0 AND minute <= $2 ORDER BY minute DESC LIMIT 1) AS l ON true
ORDER BY l.minute DESC NULLS LAST, w.name`

// refusalsSQL uses reject_hour_pkey. A miner's hundred most frequent are enough.
const refusalsSQL = `
SELECT i.miner_id, r.name, r.reason, r.count
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
CROSS JOIN LATERAL (
    SELECT w.name, r.reason, sum(r.rejected)::bigint AS count
    FROM (SELECT id, name FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $3) AS w
    JOIN pool_reject_hour r ON r.worker_id = w.id
    WHERE r.hour > CAST($2 AS timestamptz) - interval '24 hours' AND r.hour <= $2
    GROUP BY w.name, r.reason ORDER BY 3 DESC, 1, 2 LIMIT 100) AS r
ORDER BY r.count DESC, r.name, r.reason`

// minerDaysSQL uses share_day_pkey for the days that have long been rolled up,
// share_hour_pkey, and share_minute_pkey for the hour that is not. $3: the first
// day; $4: this hour; $6: from here on hours are read.
const minerDaysSQL = `
SELECT i.miner_id, d.day, sum(d.shares)::bigint AS shares, sum(d.rejected)::bigint AS rejected
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
CROSS JOIN LATERAL (SELECT id FROM pool_worker WHERE miner_id = i.miner_id ORDER BY id DESC LIMIT $5) AS w
CROSS JOIN LATERAL (
    SELECT day::timestamp AT TIME ZONE 'UTC' AS day, shares, rejected FROM pool_share_day
    WHERE worker_id = w.id AND day >= (CAST($3 AS timestamptz) AT TIME ZONE 'UTC')::date AND day < (CAST($6 AS timestamptz) AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT date_trunc('day', hour, 'UTC'), shares, rejected FROM pool_share_hour
    WHERE worker_id = w.id AND hour >= $6 AND hour < $4
    UNION ALL
    SELECT date_trunc('day', minute, 'UTC'), shares, rejected FROM pool_share_minute
    WHERE worker_id = w.id AND minute >= $4 AND minute <= $2) AS d
GROUP BY 1, 2`

// moneySQL uses account's unique key for the balance, round_weight_miner for
// what is immature, and payment_item_miner for what was paid.
const moneySQL = `
WITH maturing AS MATERIALIZED (
    SELECT r.id, b.network_id, b.reward, t.weight FROM pool_block b
    CROSS JOIN LATERAL (SELECT id FROM pool_round WHERE block_id = b.id AND state = 'closed' LIMIT 1) AS r
    CROSS JOIN LATERAL (SELECT weight FROM pool_round_total WHERE round_id = r.id AND weight > 0 LIMIT 1) AS t
    WHERE b.main AND b.state = 'immature')
SELECT m.id AS miner_id, coalesce(a.balance, 0)::bigint AS balance, coalesce(a.reserved, 0)::bigint AS reserved,
       coalesce(p.paid, 0)::bigint AS paid, p.last_payment,
       coalesce((SELECT trunc(sum(r.reward * w.weight / r.weight)) FROM maturing r
                 JOIN pool_round_weight w ON w.miner_id = m.id AND w.round_id = r.id
                 WHERE r.network_id = m.network_id), 0)::bigint AS immature,
       coalesce(o.threshold, 0) AS threshold, coalesce(o.held, false) AS held
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
JOIN pool_miner m ON m.id = i.miner_id
CROSS JOIN LATERAL (SELECT sum(amount) FILTER (WHERE kind = 'miner') AS balance, sum(amount) FILTER (WHERE kind = 'reserved') AS reserved
    FROM pool_account WHERE network_id = m.network_id AND kind IN ('miner', 'reserved') AND miner_id = m.id) AS a
CROSS JOIN LATERAL (SELECT sum(amount) FILTER (WHERE item_state = 'paid') AS paid, max(created_at) AS last_payment
    FROM pool_payment WHERE miner_id = m.id AND item_state IN ('planned', 'paid')) AS p
LEFT JOIN pool_payout o ON o.miner_id = m.id`

// ratingsSQL uses miner_rating_pkey.
const ratingsSQL = `
SELECT miner_id, rating, round(percent)::text AS percent, shares, blocks, rated_at FROM pool_rating WHERE miner_id = ANY (CAST($1 AS bigint[]))`

// entriesSQL uses journal_line_account, backwards.
const entriesSQL = `
SELECT i.miner_id, e.id, e.at, e.kind, e.amount, e.block_height
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
JOIN pool_miner m ON m.id = i.miner_id
JOIN pool_account a ON a.network_id = m.network_id AND a.kind = 'miner' AND a.miner_id = m.id
CROSS JOIN LATERAL (SELECT id, at, kind, amount, block_height FROM pool_entry
    WHERE account_id = a.id AND entry_id < $3 ORDER BY entry_id DESC LIMIT $2) AS e
ORDER BY e.id DESC`

// minerPaymentsSQL uses payment_item_miner.
const minerPaymentsSQL = `
SELECT i.miner_id, p.id, p.amount, p.item_state, p.state, p.txid, p.confirmations, p.created_at, p.state_at
FROM unnest(CAST($1 AS bigint[])) AS i (miner_id)
CROSS JOIN LATERAL (SELECT id, amount, item_state, state, txid, confirmations, created_at, state_at FROM pool_payment
    WHERE miner_id = i.miner_id AND id < $3 AND item_state <> 'released' ORDER BY id DESC LIMIT $2) AS p
ORDER BY p.id DESC`

// MinerFigures returns what the pages of several miners show, by id, with so many
// of their newest entries and payments. Of miners that there are not, nothing is
// known, which is no error.
func (s *WebStore) MinerFigures(ctx context.Context, minerIDs []int64, newest int, now time.Time) (map[int64]*MinerFigures, error) {
	now = storedTime(now)
	r := &figuresReader{WebStore: s, ids: minerIDs, now: now, of: make(map[int64]*MinerFigures, len(minerIDs))}
	for _, id := range minerIDs {
		r.of[id] = &MinerFigures{}
	}
	for _, step := range []struct {
		name string
		read func(context.Context) error
	}{
		{"list workers", r.workers}, {"list refusals", r.refusals}, {"read miners' days", r.days}, {"read money", r.money}, {"read ratings", r.ratings},
	} {
		callCtx, cancel := s.bound(ctx)
		err := step.read(callCtx)
		cancel()
		if err != nil {
			return nil, wrap(callCtx, step.name, err)
		}
	}
	entries, err := s.entries(ctx, minerIDs, newest, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	payments, err := s.minerPayments(ctx, minerIDs, newest, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	for id, f := range r.of {
		f.Entries, f.Payments = entries[id], payments[id]
	}
	return r.of, nil
}

// figuresReader fills the figures of several miners.
type figuresReader struct {
	*WebStore
	ids []int64
	now time.Time
	of  map[int64]*MinerFigures
}

func (r *figuresReader) workers(ctx context.Context) error {
	var rows []struct {
		MinerID   int64 `db:"miner_id"`
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
	hour := r.now.Truncate(time.Hour)
	err := r.selectRows(ctx, &rows, workersSQL, int64Array(r.ids), r.now, r.now.Add(-shortWindow).Truncate(time.Minute),
		r.now.Add(-time.Hour).Truncate(time.Minute), hour.Add(-23*time.Hour), hour, maxWorkers)
	for _, w := range rows {
		f := r.of[w.MinerID]
		f.Workers = append(f.Workers, WorkerFigures{
			ID: w.ID, Name: w.Name, RateShort: w.RateShort, RateHour: w.RateHour, RateDay: w.RateDay, Shares: w.Shares,
			Rejected: w.Rejected, LastShareAt: utcOrZero(w.LastShare), CreatedAt: w.CreatedAt.UTC(),
		})
	}
	return err
}

func (r *figuresReader) refusals(ctx context.Context) error {
	var rows []struct {
		MinerID      int64 `db:"miner_id"`
		Name, Reason string
		Count        int64
	}
	err := r.selectRows(ctx, &rows, refusalsSQL, int64Array(r.ids), r.now, maxWorkers)
	for _, x := range rows {
		f := r.of[x.MinerID]
		f.Refusals = append(f.Refusals, WorkerRefusals{x.Name, Refusals{x.Reason, x.Count}})
	}
	return err
}

func (r *figuresReader) days(ctx context.Context) error {
	var rows []struct {
		MinerID int64 `db:"miner_id"`
		MinerDay
	}
	first := firstOfWeek(r.now)
	for _, f := range r.of {
		f.Days = make([]MinerDay, 7)
		for i := range f.Days {
			f.Days[i].Day = first.AddDate(0, 0, i)
		}
	}
	err := r.selectRows(ctx, &rows, minerDaysSQL, int64Array(r.ids), r.now, first, r.now.Truncate(time.Hour), maxWorkers, first.AddDate(0, 0, 5))
	for _, x := range rows {
		d := &r.of[x.MinerID].Days[dayIndex(first, x.Day)]
		d.Shares, d.Rejected = d.Shares+x.Shares, d.Rejected+x.Rejected
	}
	return err
}

func (r *figuresReader) money(ctx context.Context) error {
	var rows []struct {
		MinerID int64 `db:"miner_id"`
		Money
		LastPayment sql.NullTime `db:"last_payment"`
	}
	err := r.selectRows(ctx, &rows, moneySQL, int64Array(r.ids))
	for _, m := range rows {
		m.Money.LastPaymentAt = utcOrZero(m.LastPayment)
		r.of[m.MinerID].Money = m.Money
	}
	return err
}

func (r *figuresReader) ratings(ctx context.Context) error {
	var rows []struct {
		MinerID int64 `db:"miner_id"`
		Rating
	}
	err := r.selectRows(ctx, &rows, ratingsSQL, int64Array(r.ids))
	for _, x := range rows {
		x.RatedAt = x.RatedAt.UTC()
		r.of[x.MinerID].Rating = &x.Rating
	}
	return err
}

// Entries returns the movements of a miner's balance, the newest first: those
// before this id (math.MaxInt64 begins).
func (s *WebStore) Entries(ctx context.Context, minerID int64, limit int, before int64) ([]Entry, error) {
	lists, err := s.entries(ctx, []int64{minerID}, limit, before)
	return lists[minerID], err
}

func (s *WebStore) entries(ctx context.Context, minerIDs []int64, limit int, before int64) (map[int64][]Entry, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		MinerID int64 `db:"miner_id"`
		ID      int64
		At      time.Time
		Kind    string
		Amount  int64
		Height  sql.NullInt32 `db:"block_height"`
	}
	err := s.selectRows(ctx, &rows, entriesSQL, int64Array(minerIDs), limit, before)
	lists := make(map[int64][]Entry, len(minerIDs))
	for _, r := range rows {
		lists[r.MinerID] = append(lists[r.MinerID], Entry{ID: r.ID, At: r.At.UTC(), Kind: r.Kind, Amount: r.Amount, Height: r.Height.Int32})
	}
	return lists, wrap(ctx, "list entries", err)
}

// MinerPayments returns the payments to a miner, the newest first: those before
// this id (math.MaxInt64 begins). Those that were taken back are left out.
func (s *WebStore) MinerPayments(ctx context.Context, minerID int64, limit int, before int64) ([]MinerPayment, error) {
	lists, err := s.minerPayments(ctx, []int64{minerID}, limit, before)
	return lists[minerID], err
}

func (s *WebStore) minerPayments(ctx context.Context, minerIDs []int64, limit int, before int64) (map[int64][]MinerPayment, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var rows []struct {
		MinerID       int64 `db:"miner_id"`
		ID            int64
		Amount        int64
		ItemState     string `db:"item_state"`
		State         string
		TxID          []byte `db:"txid"`
		Confirmations int32
		CreatedAt     time.Time `db:"created_at"`
		StateAt       time.Time `db:"state_at"`
	}
	err := s.selectRows(ctx, &rows, minerPaymentsSQL, int64Array(minerIDs), limit, before)
	lists := make(map[int64][]MinerPayment, len(minerIDs))
	for _, r := range rows {
		p := MinerPayment{
			ID: r.ID, Amount: r.Amount, ItemState: r.ItemState, State: r.State, Confirmations: r.Confirmations,
			CreatedAt: r.CreatedAt.UTC(), StateAt: r.StateAt.UTC(),
		}
		copy(p.TxID[:], r.TxID)
		lists[r.MinerID] = append(lists[r.MinerID], p)
	}
	return lists, wrap(ctx, "list miners' payments", err)
}
