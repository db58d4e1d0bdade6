-- What each role may do. Runs after every migration, as the owner, in one
-- transaction: first everything is taken away, then given. A new table is
-- closed to all until it is named here (and in the test of the denials).

REVOKE ALL ON SCHEMA purepool FROM PUBLIC, purepool_frontend, purepool_backend, purepool_web;
REVOKE ALL ON ALL TABLES IN SCHEMA purepool FROM PUBLIC, purepool_frontend, purepool_backend, purepool_web;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA purepool FROM PUBLIC, purepool_frontend, purepool_backend, purepool_web;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA purepool FROM PUBLIC, purepool_frontend, purepool_backend, purepool_web;
GRANT USAGE ON SCHEMA purepool TO purepool_frontend, purepool_backend, purepool_web;
GRANT SELECT ON goose_db_version TO purepool_frontend, purepool_backend, purepool_web;

-- The frontend faces the internet. It finds miners and works and adds new ones.
-- It may not read e-mail addresses, not even those it has written.
GRANT SELECT ON network TO purepool_frontend;
GRANT SELECT (id, guid, network_id, address, enabled, hash_target) ON miner TO purepool_frontend;
GRANT SELECT (id, miner_id, name) ON worker TO purepool_frontend;
GRANT SELECT (id, issued_at, worker_id, network_id, hash_target) ON work TO purepool_frontend;
GRANT SELECT (id, prefix, miner_id, until_at) ON ban TO purepool_frontend;
GRANT SELECT (network_id, seq, issued_at, body) ON job TO purepool_frontend;
GRANT INSERT (network_id, address) ON miner TO purepool_frontend;
GRANT INSERT (miner_id, name, email) ON worker TO purepool_frontend;
GRANT INSERT (id, issued_at, worker_id, network_id, hash_target, thread_id, os, agent, remote_ip) ON work TO purepool_frontend;

-- The backend works with everything, but owns nothing: it cannot change tables,
-- rewrite the journal, touch a balance, or forget a miner.
GRANT SELECT ON network, balance, balance_fault TO purepool_backend;
GRANT SELECT, INSERT, UPDATE ON miner, worker TO purepool_backend;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    work, share, share_solution, rejected_share, tip,
    share_minute, share_hour, share_day, reject_hour, network_minute,
    round, block, payment, payment_item TO purepool_backend;
-- Shares are copied into their partitions; changed only through the whole.
DO $$
DECLARE part text;
BEGIN
    FOR part IN SELECT share_partitions() LOOP
        EXECUTE format('GRANT SELECT, INSERT ON %I TO purepool_backend', part);
    END LOOP;
END
$$;
GRANT SELECT, INSERT ON audit_log, account, journal_line TO purepool_backend;
GRANT SELECT, INSERT (network_id, kind, key, note, block_id, payment_id, reverses) ON journal TO purepool_backend;
GRANT SELECT, INSERT, UPDATE ON chain_block, chain_watch, consolidation, payout, schedule TO purepool_backend;
GRANT SELECT, INSERT, UPDATE, DELETE ON round_weight, late_window, miner_rating TO purepool_backend;
GRANT SELECT, INSERT, UPDATE ON payment_guard, miner_merge TO purepool_backend;
GRANT SELECT, INSERT ON wallet_decision, imported, stale_winner TO purepool_backend;
GRANT SELECT, INSERT, UPDATE, DELETE ON ban TO purepool_backend;
GRANT SELECT ON pool_last_share TO purepool_backend;
-- The operator's numbers are those of the pages.
GRANT SELECT ON
    pool_network_minute, pool_network_hour, pool_block, pool_round, pool_round_total, pool_tip, pool_chain_block,
    pool_network_recent TO purepool_backend;
GRANT SELECT, INSERT, DELETE ON job, job_block TO purepool_backend;
GRANT SELECT, INSERT, UPDATE ON block_submission TO purepool_backend;
GRANT SELECT, INSERT, UPDATE, DELETE ON network_hour, network_day, network_reject_hour, miner_recent, network_recent, round_total TO purepool_backend;
GRANT EXECUTE ON FUNCTION
    ensure_day_partitions(date, date),
    ensure_share_partitions(smallint, integer, integer),
    drop_day_partitions(text, date),
    drop_share_partitions(smallint, timestamptz),
    share_partition_heights(),
    lock_rounds(smallint),
    share_rounds(smallint),
    lock_chain(smallint),
    lock_payments(smallint),
    books_home(),
    settled_until(smallint) TO purepool_backend;

-- The web reads views, and no table.
GRANT SELECT ON
    pool_network, pool_miner, pool_worker, pool_share_minute, pool_share_hour, pool_share_day,
    pool_reject_hour, pool_network_minute, pool_block, pool_round, pool_tip, pool_balance,
    pool_entry, pool_payment, pool_last_share, pool_chain_block, pool_rating,
    pool_network_hour, pool_network_day, pool_network_reject_hour, pool_miner_recent, pool_network_recent, pool_round_total, pool_round_weight,
    pool_account, pool_payout, pool_transaction TO purepool_web;
