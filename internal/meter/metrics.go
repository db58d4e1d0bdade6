package meter

import "github.com/prometheus/client_golang/prometheus"

// windows are the spans of the hash rate, in the order of
// ledger.Numbers.HashesPerSecond.
var windows = [3]string{"1m", "10m", "60m"}

type metrics struct {
	hashrate, miners, workers, lastShare        *prometheus.GaugeVec
	blocks, lastBlock, effort, immature         *prometheus.GaugeVec
	payments, oldestPayment                     *prometheus.GaugeVec
	accounts, imbalance, liabilities, debts     *prometheus.GaugeVec
	wallet, walletAt, height                    *prometheus.GaugeVec
	scheduleSuccess, scheduleEvery              *prometheus.GaugeVec
	scheduleFailures, schedulePaused            *prometheus.GaugeVec
	tables, readAt                              *prometheus.GaugeVec
	database, connections, maxConnections, took prometheus.Gauge
	failures                                    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, networks []Network) *metrics {
	var all []prometheus.Collector
	vec := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "purepool_" + name, Help: help}, labels)
		all = append(all, g)
		return g
	}
	of := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return vec(name, help, append([]string{"network"}, labels...)...)
	}
	one := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "purepool_" + name, Help: help})
		all = append(all, g)
		return g
	}
	m := &metrics{
		hashrate:  of("hashrate_hashes_per_second", "The pool's hash rate by the weight of credited shares of whole minutes, by window.", "window"),
		miners:    of("miners_online", "Miners with a worker that is online."),
		workers:   of("workers_online", "Workers that have handed in a share within 15 minutes."),
		lastShare: of("last_share_timestamp_seconds", "When the last share was credited, to the minute; 0: not within a day."),
		blocks:    of("blocks", "Blocks of the pool, by state: immature, mature (shared out), orphaned, replaced (off the best chain, not given up).", "state"),
		lastBlock: of("last_block_timestamp_seconds", "When the pool's newest block was seen."),
		effort:    of("round_effort_ratio", "Hashes of the shares since the pool's newest block, 1 being what a block takes on average."),
		immature:  of("immature_satoshis", "Rewards of blocks that are not shared out yet."),
		payments: of("payments",
			"Payments by state: intent, held (planned, waits for a person), sending, sent, unclear (a person must decide), confirmed, cancelled.", "state"),
		oldestPayment:    of("payment_oldest_seconds", "Age of the oldest payment that is on its way; 0 where none is."),
		accounts:         of("account_satoshis", "Sums of the books, by kind of account.", "account"),
		imbalance:        of("ledger_imbalance_satoshis", "Sum of all accounts of the books: 0, or something is very wrong."),
		liabilities:      of("liabilities_satoshis", "What the pool owes to miners."),
		debts:            of("debts_satoshis", "What miners owe to the pool: paid for a block that was orphaned later."),
		wallet:           of("wallet_satoshis", "What the pool's wallet has, by kind: spendable, unconfirmed, immature.", "kind"),
		walletAt:         of("wallet_timestamp_seconds", "When the wallet was read last."),
		height:           of("daemon_height", "Height of a daemon's best chain.", "daemon"),
		scheduleSuccess:  of("schedule_last_success_timestamp_seconds", "When a schedule last ended well, in any backend; 0: never.", "schedule"),
		scheduleEvery:    of("schedule_interval_seconds", "How often a schedule is to run.", "schedule"),
		scheduleFailures: of("schedule_failures", "Runs of a schedule that failed since the last that went well.", "schedule"),
		schedulePaused:   of("schedule_paused", "1 where a person has paused a schedule.", "schedule"),
		tables:           vec("database_table_bytes", "Size of a table with indexes and partitions.", "table"),
		readAt:           of("numbers_timestamp_seconds", "When the numbers of the books were read last."),
		database:         one("database_bytes", "Size of the database."),
		connections:      one("database_connections", "Connections to the database, of everybody."),
		maxConnections:   one("database_connections_limit", "Connections that the database server allows."),
		took:             one("numbers_read_seconds", "How long the last reading of all numbers took."),
	}
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "purepool_numbers_failures_total", Help: "Readings of numbers that failed, by what: books, wallet, schedules, sizes.",
	}, []string{"what"})
	for _, what := range []string{"books", "wallet", "schedules", "sizes"} {
		m.failures.WithLabelValues(what)
	}
	for _, n := range networks {
		m.readAt.WithLabelValues(n.Name).Set(0)
		m.walletAt.WithLabelValues(n.Name).Set(0)
	}
	if r != nil {
		r.MustRegister(append(all, m.failures)...)
	}
	return m
}
