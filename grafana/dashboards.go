package grafana

// Dashboards returns all of them.
func Dashboards() []*Dashboard {
	return []*Dashboard{overview(), shares(), money(), internals(), frontend()}
}

const coins = "suffix: coins" // amounts are divided by 1e8 in the queries

func overview() *Dashboard {
	return dashboard("purepool-overview", "Purepool / Overview", "Is the pool well? Start here.", instancesOf,
		row{"Is it well?", 4, 4, []*Panel{
			stat("Alarms", "short", "Alerts that fire now; the table below names them.",
				q(`count(ALERTS{alertname=~"Purepool.+",alertstate="firing"}) or vector(0)`, "firing"), from(1, "red")),
			stat("Processes that do not answer", "short", "Prometheus cannot reach them.",
				q(`sum(up{job="purepool",<I>} == bool 0)`, "down"), from(1, "red")),
			stat("Processes that are not ready", "short", "They answer, and say that they cannot do their job.",
				q(`sum(purepool_ready{<I>} == bool 0)`, "not ready"), from(1, "red")),
			stat("Parts that are away", "short", "Databases, brokers, daemons, as each process sees them.",
				q(`sum(purepool_part_up{part!="process",<I>} == bool 0)`, "away"), from(1, "orange")),
			stat("Daemons that answer", "percentunit", "Of all daemons, as each backend sees them.",
				q(`avg by (network) (purepool_daemon_up{<NI>})`, "{{network}}"), from(0, "red"), from(0.5, "orange"), from(1, "green")),
			stat("Ledger imbalance", "suffix: sat", "Sum of all accounts; anything but 0 stops payments.",
				q(`max by (network) (abs(purepool_ledger_imbalance_satoshis{<N>}))`, "{{network}}"), from(1, "red")),
		}},
		row{"Now", 4, 4, []*Panel{
			stat("Hash rate, 10 minutes", "Hs", "By the weight of credited shares.",
				q(`network_window:purepool_hashrate:max{window="10m",<N>}`, "{{network}}")),
			stat("Miners online", "short", "With a worker that has handed in a share within 15 minutes.",
				q(`max by (network) (purepool_miners_online{<N>})`, "{{network}}")),
			stat("Since the last share", "s", "To the minute.",
				q(`time() - max by (network) (purepool_last_share_timestamp_seconds{<N>})`, "{{network}}"), from(600, "orange"), from(1200, "red")),
			stat("Since the last block", "s", "Of the pool.",
				q(`time() - max by (network) (purepool_last_block_timestamp_seconds{<N>})`, "{{network}}")),
			stat("Effort of this round", "percentunit", "100 % is what a block takes on average.",
				q(`max by (network) (purepool_round_effort_ratio{<N>})`, "{{network}}"), from(2, "orange"), from(5, "red")),
			stat("Payments that need a person", "short", "Unclear or held.",
				q(`sum by (network) (max by (network, state) (purepool_payments{state=~"unclear|held",<N>}))`, "{{network}}"), from(1, "red")),
		}},
		row{"The last hours", 8, 12, []*Panel{
			graph("Hash rate", "Hs", "By the weight of credited shares, over three spans.",
				q(`network_window:purepool_hashrate:max{<N>}`, "{{network}} {{window}}")),
			stacked("Shares by verdict", "ops", "What the validators have written.",
				q(`network_verdict:purepool_verdicts:rate5m{<N>}`, "{{network}} {{verdict}}")),
			graph("The slowest hundredth of a share's way", "s", "Station by station: checked, durable, delivered to a validator, judged, in the ledger.",
				q(`network_station:purepool_way_seconds:p99{<N>}`, "{{network}} {{station}}")),
			graph("Queue: how long the oldest share waits", "s", "In the broker, and on the frontends' disks while the broker is away.",
				q(`max by (network) (purepool_queue_lag_seconds{<NI>})`, "{{network}} broker"),
				q(`max by (network, instance) (purepool_queue_spool_oldest_seconds{<NI>})`, "{{network}} spool of {{instance}}")),
			stacked("Connections", "short", "Of miners, by port and state.",
				q(`sum by (port, state) (purepool_stratum_connections{<I>})`, "stratum {{port}} {{state}}"),
				q(`sum by (port, state) (purepool_http_connections{<I>})`, "{{port}} {{state}}")),
			list("Alarms", "short", "Each has an entry in docs/RUNBOOK.md.",
				q(`count by (alertname, severity, network, instance, alertstate) (ALERTS{alertname=~"Purepool.+"}) or vector(0)`, "")),
		}},
	)
}

func shares() *Dashboard {
	return dashboard("purepool-shares", "Purepool / Miners and shares", "Who mines, what is handed in, how it is judged, and how long that takes.", instancesOf,
		row{"Miners", 8, 8, []*Panel{
			graph("Hash rate", "Hs", "By the weight of credited shares, over three spans.", q(`network_window:purepool_hashrate:max{<N>}`, "{{network}} {{window}}")),
			graph("Miners online", "short", "", q(`max by (network) (purepool_miners_online{<N>})`, "{{network}} miners"),
				q(`max by (network) (purepool_workers_online{<N>})`, "{{network}} workers")),
			stacked("Connections", "short", "By port and state.",
				q(`sum by (port, state) (purepool_stratum_connections{<I>})`, "stratum {{port}} {{state}}"),
				q(`sum by (port, state) (purepool_http_connections{<I>})`, "{{port}} {{state}}")),
			stacked("Closed HTTP connections", "ops", "By reason; answered is the good end.",
				q(`sum by (reason) (rate(purepool_http_connections_closed_total{<I>}[<R>]))`, "{{reason}}")),
			stacked("Closed Stratum connections", "ops", "By reason.",
				q(`sum by (reason) (rate(purepool_stratum_connections_closed_total{<I>}[<R>]))`, "{{reason}}")),
			graph("Addresses banned", "short", "", q(`sum by (instance) (purepool_stratum_banned_addresses{<I>})`, "{{instance}}")),
		}},
		row{"Shares", 8, 12, []*Panel{
			stacked("Verdicts", "ops", "By verdict.", q(`sum by (network, verdict) (rate(purepool_validate_verdicts_total{<NI>}[<R>]))`, "{{network}} {{verdict}}")),
			graph("Rejected of all", "percentunit", "", q(`network:purepool_rejected:ratio5m{<N>}`, "{{network}}")),
			stacked("Rejected, by reason", "ops", "docs/PROTOCOL.md says what each reason means.",
				q(`sum by (network, reason) (rate(purepool_validate_verdicts_total{verdict="rejected",<NI>}[<R>]))`, "{{network}} {{reason}}")),
			stacked("Front desk: solutions by outcome", "ops", "What the miner was told. Classic networks.",
				q(`sum by (network, outcome) (rate(purepool_desk_requests_total{action="solution",<NI>}[<R>]))`, "{{network}} {{outcome}}")),
			stacked("Front desk: requests for work by outcome", "ops", "Classic networks.",
				q(`sum by (network, outcome) (rate(purepool_desk_requests_total{action="work",<NI>}[<R>]))`, "{{network}} {{outcome}}")),
			stacked("Stratum: shares by outcome", "ops", "What the miner was told.",
				q(`sum by (port, outcome) (rate(purepool_stratum_shares_total{<I>}[<R>]))`, "{{port}} {{outcome}}")),
			stacked("Changes of difficulty", "ops", "Stratum, template networks.",
				q(`sum by (port, direction) (rate(purepool_stratum_retargets_total{<I>}[<R>]))`, "{{port}} {{direction}}")),
			graph("Seen twice", "ops", "Deliveries whose verdict stood in the ledger already, as after a crash.",
				q(`sum by (network) (rate(purepool_validate_redelivered_total{<NI>}[<R>]))`, "{{network}}")),
		}},
		row{"A share's way", 8, 12, []*Panel{
			graph("The slowest hundredth, station by station", "s", "", q(`network_station:purepool_way_seconds:p99{<N>}`, "{{network}} {{station}}")),
			graph("From the line to the ledger", "s", "Median and slowest hundredth.",
				q(`histogram_quantile(0.5, sum by (network, le) (rate(purepool_validate_share_seconds_bucket{<NI>}[<R>])))`, "{{network}} median"),
				q(`histogram_quantile(0.99, sum by (network, le) (rate(purepool_validate_share_seconds_bucket{<NI>}[<R>])))`, "{{network}} 99 %")),
			heat("1: line to checked", "s", "", `sum by (le) (increase(purepool_desk_check_seconds_bucket{<NI>}[<R>]))`),
			heat("2: checked to durable", "s", "", `sum by (le) (increase(purepool_queue_publish_seconds_bucket{<NI>}[<R>]))`),
			heat("3: line to validator", "s", "", `sum by (le) (increase(purepool_validate_delivery_seconds_bucket{<NI>}[<R>]))`),
			heat("4: validator to verdict", "s", "", `sum by (le) (increase(purepool_validate_verdict_seconds_bucket{<NI>}[<R>]))`),
			heat("5: verdict to ledger", "s", "", `sum by (le) (increase(purepool_validate_write_seconds_bucket{<NI>}[<R>]))`),
			heat("All: line to ledger", "s", "", `sum by (le) (increase(purepool_validate_share_seconds_bucket{<NI>}[<R>]))`),
		}},
	)
}
