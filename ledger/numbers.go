package ledger

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Numbers is what an operator watches of a network, as the database has it now.
type Numbers struct {
	// HashesPerSecond by the weight of credited shares of whole minutes: over the
	// last one, ten and sixty.
	HashesPerSecond [3]float64
	Pulse           NetworkPulse
	Blocks          map[string]int64 // by state; an immature one that left the best chain is "replaced"
	Payments        map[string]int64 // by state; one that waits for a person's release is "held"
	OldestPayment   time.Time        // of those that are on their way; zero: none is
	// Accounts are the sums of the books by kind of account, in satoshis. All of
	// them together are Imbalance, which is 0 in sound books.
	Accounts  map[string]int64
	Imbalance int64
	// Liabilities is what the pool owes to miners, in satoshis; Debts what miners
	// owe to the pool.
	Liabilities, Debts int64
	Immature           int64 // rewards of blocks that are not shared out, in satoshis
}

// rateSpans are the spans of Numbers.HashesPerSecond.
var rateSpans = [3]time.Duration{time.Minute, 10 * time.Minute, time.Hour}

// rateSQL reads an hour of network_minute by its primary key. $2 is the
// beginning of this minute, which is not over.
const rateSQL = `
SELECT coalesce(sum(weight) FILTER (WHERE minute >= CAST($2 AS timestamptz) - interval '1 minute'), 0)::float8,
       coalesce(sum(weight) FILTER (WHERE minute >= CAST($2 AS timestamptz) - interval '10 minutes'), 0)::float8,
       coalesce(sum(weight), 0)::float8
FROM network_minute WHERE network_id = $1 AND minute < $2 AND minute >= CAST($2 AS timestamptz) - interval '1 hour'`

// accountsSQL reads one row an account: as many as there are miners.
const accountsSQL = `
SELECT a.kind, sum(b.amount)::bigint AS amount,
       coalesce(-sum(b.amount) FILTER (WHERE b.amount < 0), 0)::bigint AS below
FROM account a JOIN balance b ON b.account_id = a.id WHERE a.network_id = $1 GROUP BY a.kind`

// The states of blocks and payments, all of which are counted, also where there
// is none.
var (
	blockStates   = []string{BlockImmature, BlockMature, BlockOrphaned, "replaced"}
	paymentStates = []string{
		PaymentIntent, PaymentSending, PaymentSent, PaymentConfirmed, PaymentUnclear, PaymentCancelled, "held",
	}
	accountKinds = []string{"reward", "fee", "unclaimed", "miner", "reserved", "paid", "network_fee", "correction"}
)

// NumbersStore reads the numbers that an operator watches.
type NumbersStore struct {
	*conn
	web *WebStore
}

// NumbersStore returns it, on the store's connections. Make one and keep it.
func (s *BackendStore) NumbersStore() *NumbersStore {
	return &NumbersStore{s.conn, &WebStore{conn: s.conn}}
}

// Numbers reads them. It costs a few queries by index, and one pass each over
// the pool's blocks, payments and accounts; no share is counted.
func (s *NumbersStore) Numbers(ctx context.Context, networkID int16, now time.Time) (Numbers, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	n := Numbers{Blocks: zeros(blockStates), Payments: zeros(paymentStates), Accounts: zeros(accountKinds)}
	rates := &n.HashesPerSecond
	err := s.db.QueryRowContext(ctx, rateSQL, networkID, now.UTC().Truncate(time.Minute)).Scan(&rates[0], &rates[1], &rates[2])
	if err != nil {
		return Numbers{}, wrap(ctx, "read hash rates", err)
	}
	for i, span := range rateSpans {
		rates[i] /= span.Seconds()
	}
	if n.Pulse, err = s.web.Pulse(ctx, networkID, now); err != nil {
		return Numbers{}, err
	}
	if err := s.countBlocks(ctx, networkID, &n); err != nil {
		return Numbers{}, wrap(ctx, "count blocks", err)
	}
	if err := s.countPayments(ctx, networkID, &n); err != nil {
		return Numbers{}, wrap(ctx, "count payments", err)
	}
	return n, wrap(ctx, "sum accounts", s.sumAccounts(ctx, networkID, &n))
}

func zeros(names []string) map[string]int64 {
	m := make(map[string]int64, len(names))
	for _, name := range names {
		m[name] = 0
	}
	return m
}

func (s *NumbersStore) countBlocks(ctx context.Context, networkID int16, n *Numbers) error {
	var rows []struct {
		State         string
		Count, Reward int64
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT CASE WHEN state = 'immature' AND NOT main THEN 'replaced' ELSE state END AS state, count(*), coalesce(sum(reward), 0)::bigint AS reward
		FROM block WHERE network_id = $1 GROUP BY 1`, networkID)
	for _, r := range rows {
		n.Blocks[r.State] = r.Count
		if r.State == BlockImmature {
			n.Immature = r.Reward
		}
	}
	return err
}

func (s *NumbersStore) countPayments(ctx context.Context, networkID int16, n *Numbers) error {
	var rows []struct {
		State  string
		Count  int64
		Oldest time.Time
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT CASE WHEN state = 'intent' AND held THEN 'held' ELSE state END AS state, count(*), min(created_at) AS oldest
		FROM payment WHERE network_id = $1 GROUP BY 1`, networkID)
	for _, r := range rows {
		n.Payments[r.State] = r.Count
		switch r.State {
		case PaymentConfirmed, PaymentCancelled, "held":
		default:
			if n.OldestPayment.IsZero() || r.Oldest.Before(n.OldestPayment) {
				n.OldestPayment = r.Oldest.UTC()
			}
		}
	}
	return err
}

func (s *NumbersStore) sumAccounts(ctx context.Context, networkID int16, n *Numbers) error {
	var rows []struct {
		Kind          string
		Amount, Below int64
	}
	err := s.db.SelectContext(ctx, &rows, accountsSQL, networkID)
	for _, r := range rows {
		n.Accounts[r.Kind] = r.Amount
		n.Imbalance += r.Amount
		switch r.Kind {
		case "miner":
			n.Debts = r.Below
			n.Liabilities += r.Amount + r.Below
		case "reserved":
			n.Liabilities += r.Amount
		}
	}
	return err
}

// DatabaseSizes is how much room the ledger takes.
type DatabaseSizes struct {
	Bytes          int64            // of the whole database
	Tables         map[string]int64 // bytes with indexes, partitions added to their table
	Connections    int64            // to this database, of everybody
	MaxConnections int64            // that the server allows, to all its databases
}

// sizesSQL: a partition of a partition counts for the table that the program
// knows. The names are those of the schema, which migrations alone can change.
const sizesSQL = `
SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS name, sum(pg_total_relation_size(c.oid))::bigint AS bytes
FROM pg_class c WHERE c.relnamespace = 'purepool'::regnamespace AND c.relkind = 'r' GROUP BY 1`

// DatabaseSizes reads the sizes. It asks the file system about every file of the
// ledger: not for every minute.
func (s *NumbersStore) DatabaseSizes(ctx context.Context) (DatabaseSizes, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var d DatabaseSizes
	err := s.db.QueryRowContext(ctx, `SELECT pg_database_size(current_database()),
		(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()), current_setting('max_connections')::bigint`).
		Scan(&d.Bytes, &d.Connections, &d.MaxConnections)
	if err != nil {
		return DatabaseSizes{}, wrap(ctx, "read the database's size", err)
	}
	var rows []struct {
		Name  string
		Bytes int64
	}
	if err := s.db.SelectContext(ctx, &rows, sizesSQL); err != nil {
		return DatabaseSizes{}, wrap(ctx, "read the tables' sizes", err)
	}
	d.Tables = make(map[string]int64, len(rows))
	for _, r := range rows {
		d.Tables[r.Name] = r.Bytes
	}
	return d, nil
}

// PoolCollector returns the metrics of the store's connections, under the names
// go_sql_…, with the store's name in the label db_name.
func (c *conn) PoolCollector(name string) prometheus.Collector {
	return collectors.NewDBStatsCollector(c.db.DB, name)
}
