-- What the web may read: no IP addresses, no e-mail addresses, no audit log.

-- +goose Up

CREATE VIEW pool_network AS
    SELECT id, name FROM network;

CREATE VIEW pool_miner AS
    SELECT m.id, m.network_id, n.name AS network, m.address, m.enabled, m.created_at
    FROM miner m JOIN network n ON n.id = m.network_id;

CREATE VIEW pool_worker AS
    SELECT id, miner_id, name, created_at FROM worker;

CREATE VIEW pool_share_minute AS
    SELECT network_id, miner_id, worker_id, minute, shares, rejected, weight FROM share_minute;

CREATE VIEW pool_share_hour AS
    SELECT network_id, miner_id, worker_id, hour, shares, rejected, weight FROM share_hour;

CREATE VIEW pool_share_day AS
    SELECT network_id, miner_id, worker_id, day, shares, rejected, weight FROM share_day;

CREATE VIEW pool_reject_hour AS
    SELECT network_id, worker_id, hour, reason, rejected FROM reject_hour;

CREATE VIEW pool_network_minute AS
    SELECT network_id, minute, shares, rejected, rejected_unknown, weight FROM network_minute;

CREATE VIEW pool_block AS
    SELECT b.id, b.network_id, b.height, b.hash, b.block_time, b.seen_at, b.reward, b.state, b.state_at,
           b.finder_id, m.address AS finder
    FROM block b LEFT JOIN miner m ON m.id = b.finder_id;

CREATE VIEW pool_round AS
    SELECT id, network_id, from_at, until_at, block_id, scheme, state, settled_at FROM round;

CREATE VIEW pool_tip AS
    SELECT network_id, height, hash, block_time, seen_at FROM tip;

-- What a miner has, and what of it is on its way to him.
CREATE VIEW pool_balance AS
    SELECT a.network_id, a.miner_id,
           coalesce(sum(b.amount) FILTER (WHERE a.kind = 'miner'), 0)::bigint AS amount,
           coalesce(sum(b.amount) FILTER (WHERE a.kind = 'reserved'), 0)::bigint AS reserved
    FROM account a JOIN balance b ON b.account_id = a.id
    WHERE a.miner_id IS NOT NULL
    GROUP BY a.network_id, a.miner_id;

-- A miner's movements, for his page.
CREATE VIEW pool_entry AS
    SELECT j.id, j.network_id, a.miner_id, j.at, j.kind, l.amount, b.height AS block_height
    FROM journal j
    JOIN journal_line l ON l.entry_id = j.id
    JOIN account a ON a.id = l.account_id AND a.kind = 'miner'
    LEFT JOIN block b ON b.id = j.block_id;

CREATE VIEW pool_payment AS
    SELECT i.id, p.network_id, i.miner_id, i.amount, i.state AS item_state, p.state, p.txid, p.created_at, p.state_at
    FROM payment p JOIN payment_item i ON i.payment_id = p.id;
