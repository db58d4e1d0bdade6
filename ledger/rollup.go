package ledger

import (
	"cmp"
	"context"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"
)

// The roll-ups are moved by what a batch has written, a row for each key, in
// the order of the keys: two writers meet their common rows in the same order.
const (
	rollMinuteSQL = `
INSERT INTO share_minute AS m (worker_id, minute, miner_id, network_id, shares, rejected, weight)
SELECT r.worker_id, r.minute, r.miner_id, $1, r.shares, r.rejected, r.weight
FROM unnest(CAST($2 AS bigint[]), CAST($3 AS timestamptz[]), CAST($4 AS bigint[]), CAST($5 AS bigint[]), CAST($6 AS bigint[]), CAST($7 AS numeric[]))
    AS r (worker_id, minute, miner_id, shares, rejected, weight)
ON CONFLICT (worker_id, minute) DO UPDATE SET
    shares = m.shares + excluded.shares, rejected = m.rejected + excluded.rejected, weight = m.weight + excluded.weight`

	rollReasonSQL = `
INSERT INTO reject_hour AS h (worker_id, hour, reason, network_id, rejected)
SELECT r.worker_id, r.hour, r.reason, $1, r.rejected
FROM unnest(CAST($2 AS bigint[]), CAST($3 AS timestamptz[]), CAST($4 AS text[]), CAST($5 AS bigint[]))
    AS r (worker_id, hour, reason, rejected)
ON CONFLICT (worker_id, hour, reason, network_id) DO UPDATE SET rejected = h.rejected + excluded.rejected`

	// Last, since all writers of a network meet in this row and hold it until
	// their transaction has ended.
	rollNetworkSQL = `
INSERT INTO network_minute AS n (network_id, minute, shares, rejected, rejected_unknown, weight)
SELECT $1, r.minute, r.shares, r.rejected, r.unknown, r.weight
FROM unnest(CAST($2 AS timestamptz[]), CAST($3 AS bigint[]), CAST($4 AS bigint[]), CAST($5 AS bigint[]), CAST($6 AS numeric[]))
    AS r (minute, shares, rejected, unknown, weight)
ON CONFLICT (network_id, minute) DO UPDATE SET
    shares = n.shares + excluded.shares, rejected = n.rejected + excluded.rejected,
    rejected_unknown = n.rejected_unknown + excluded.rejected_unknown, weight = n.weight + excluded.weight`
)

type (
	minuteKey struct {
		worker int64 // 0: the whole network
		minute time.Time
	}
	reasonKey struct {
		worker int64
		hour   time.Time
		reason string
	}
	tally struct {
		miner                     int64
		shares, rejected, unknown int64
		small                     int64   // weight that is not in large
		large                     big.Int // weight
	}
)

// credit adds a share. Weights are summed up in 64 bits for as long as they fit.
func (t *tally) credit(weight int64) {
	t.shares++
	if sum := t.small + weight; sum >= 0 {
		t.small = sum
		return
	}
	t.large.Add(&t.large, big.NewInt(t.small))
	t.small = weight
}

// sum is the weight of all shares.
func (t *tally) sum() string {
	return new(big.Int).Add(&t.large, big.NewInt(t.small)).String()
}

// rollUp moves the roll-ups by what this attempt has written.
func (w *writer) rollUp(ctx context.Context) error {
	minutes, reasons := w.tallies()
	if len(minutes) == 0 {
		return nil
	}
	var perWorker, perNetwork []minuteKey
	for k := range minutes {
		if k.worker == 0 {
			perNetwork = append(perNetwork, k)
		} else {
			perWorker = append(perWorker, k)
		}
	}
	if err := w.rollMinutes(ctx, perWorker, minutes); err != nil {
		return err
	}
	if err := w.rollReasons(ctx, reasons); err != nil {
		return err
	}
	return w.rollNetwork(ctx, perNetwork, minutes)
}

func (w *writer) tallies() (map[minuteKey]*tally, map[reasonKey]int64) {
	minutes, reasons := map[minuteKey]*tally{}, map[reasonKey]int64{}
	at := func(worker int64, r *row) *tally {
		k := minuteKey{worker, r.dayAt.Truncate(time.Minute)}
		t := minutes[k]
		if t == nil {
			t = &tally{miner: r.MinerID}
			minutes[k] = t
		}
		return t
	}
	var whole *tally // of the minute before, mostly that of the next share too
	var minute time.Time
	for _, r := range w.credited {
		if whole == nil || r.dayAt.Sub(minute).Abs() >= time.Minute || r.dayAt.Before(minute) {
			whole, minute = at(0, r), r.dayAt.Truncate(time.Minute)
		}
		whole.credit(r.Weight)
		at(r.WorkerID, r).credit(r.Weight)
	}
	for _, r := range w.rejected {
		whole := at(0, r)
		whole.rejected++
		if r.WorkerID > 0 {
			at(r.WorkerID, r).rejected++
		} else {
			whole.unknown++
		}
		reasons[reasonKey{max(r.WorkerID, 0), r.dayAt.Truncate(time.Hour), r.Reason}]++
	}
	for _, r := range w.revoked { // has a worker
		at(0, r).rejected--
		at(r.WorkerID, r).rejected--
		reasons[reasonKey{r.WorkerID, r.dayAt.Truncate(time.Hour), r.Reason}]--
	}
	return minutes, reasons
}

func (w *writer) rollMinutes(ctx context.Context, keys []minuteKey, tallies map[minuteKey]*tally) error {
	if len(keys) == 0 {
		return nil
	}
	slices.SortFunc(keys, compareMinutes)
	n := len(keys)
	workers, miners, shares, rejected := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	times, weights := make([]string, n), make([]string, n)
	for i, k := range keys {
		t := tallies[k]
		workers[i], times[i], miners[i] = k.worker, timeText(k.minute), t.miner
		shares[i], rejected[i], weights[i] = t.shares, t.rejected, t.sum()
	}
	_, err := w.tx.ExecContext(ctx, rollMinuteSQL, w.batch.networkID, pq.Array(workers), pq.Array(times), pq.Array(miners),
		pq.Array(shares), pq.Array(rejected), pq.Array(weights))
	return err
}

func (w *writer) rollReasons(ctx context.Context, reasons map[reasonKey]int64) error {
	if len(reasons) == 0 {
		return nil
	}
	var workers, counts []int64
	var hours, names []string
	keys := make([]reasonKey, 0, len(reasons))
	for k := range reasons {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y reasonKey) int {
		return cmp.Or(cmp.Compare(x.worker, y.worker), x.hour.Compare(y.hour), strings.Compare(x.reason, y.reason))
	})
	for _, k := range keys {
		workers, hours = append(workers, k.worker), append(hours, timeText(k.hour))
		names, counts = append(names, k.reason), append(counts, reasons[k])
	}
	_, err := w.tx.ExecContext(ctx, rollReasonSQL, w.batch.networkID, pq.Array(workers), pq.Array(hours), pq.Array(names), pq.Array(counts))
	return err
}

func (w *writer) rollNetwork(ctx context.Context, keys []minuteKey, tallies map[minuteKey]*tally) error {
	slices.SortFunc(keys, compareMinutes)
	n := len(keys)
	shares, rejected, unknown := make([]int64, n), make([]int64, n), make([]int64, n)
	times, weights := make([]string, n), make([]string, n)
	for i, k := range keys {
		t := tallies[k]
		times[i], shares[i], rejected[i], unknown[i] = timeText(k.minute), t.shares, t.rejected, t.unknown
		weights[i] = t.sum()
	}
	_, err := w.tx.ExecContext(ctx, rollNetworkSQL, w.batch.networkID, pq.Array(times), pq.Array(shares), pq.Array(rejected),
		pq.Array(unknown), pq.Array(weights))
	return err
}

func compareMinutes(x, y minuteKey) int {
	return cmp.Or(cmp.Compare(x.worker, y.worker), x.minute.Compare(y.minute))
}
