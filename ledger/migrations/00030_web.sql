-- What pages read: roll-ups of whole networks by hour and day, what miners did
-- of late, totals of rounds, and the views on them.

-- +goose Up

-- Rolling an hour up reads the minutes of that hour over all workers; the
-- primary key begins with the worker. Rows come in the order of time.
CREATE INDEX share_minute_minute ON share_minute USING brin (minute) WITH (pages_per_range = 16, autosummarize = on);

-- Whole networks by hour and day. Their sums also tell which hours and days of
-- the workers' roll-ups have changed since they were made: those whose sums
-- differ from the minutes' (see RollUp).
CREATE TABLE network_hour (
    network_id       smallint NOT NULL REFERENCES network,
    hour             timestamptz NOT NULL,
    shares           bigint NOT NULL,
    rejected         bigint NOT NULL,
    rejected_unknown bigint NOT NULL,
    weight           numeric NOT NULL,
    PRIMARY KEY (network_id, hour)
) WITH (fillfactor = 70);

CREATE TABLE network_day (
    network_id       smallint NOT NULL REFERENCES network,
    day              date NOT NULL, -- in UTC; whole days only
    shares           bigint NOT NULL,
    rejected         bigint NOT NULL,
    rejected_unknown bigint NOT NULL,
    weight           numeric NOT NULL,
    miners           bigint NOT NULL, -- with a credited share
    PRIMARY KEY (network_id, day)
);

-- Miners with a share in the last 24 hours, and what they did since the moments
-- that stand in network_recent.
CREATE TABLE miner_recent (
    miner_id     bigint PRIMARY KEY,
    network_id   smallint NOT NULL,
    workers      integer NOT NULL, -- online
    shares       bigint NOT NULL,  -- of the day
    rejected     bigint NOT NULL,  -- of the day
    weight       numeric NOT NULL, -- of the day
    weight_short numeric NOT NULL  -- of the last minutes
) WITH (fillfactor = 70);
CREATE INDEX miner_recent_rank ON miner_recent (network_id, weight DESC, miner_id);

CREATE TABLE network_recent (
    network_id  smallint PRIMARY KEY REFERENCES network,
    rolled_at   timestamptz NOT NULL,
    short_since timestamptz NOT NULL, -- from here on weight_short
    day_since   timestamptz NOT NULL, -- from here on the other counts
    miners      integer NOT NULL,     -- with a worker online
    workers     integer NOT NULL,     -- online
    miners_day  integer NOT NULL      -- with a credited share
) WITH (fillfactor = 50);

-- Sums of round_weight.
CREATE TABLE round_total (
    round_id   bigint PRIMARY KEY REFERENCES round,
    network_id smallint NOT NULL,
    miners     integer NOT NULL,
    shares     bigint NOT NULL,
    weight     numeric NOT NULL
);

-- What a miner has coming to him: his part of each round that is not paid yet.
CREATE INDEX round_weight_miner ON round_weight (miner_id, round_id);
-- Pages list a network's payments, the newest first.
CREATE INDEX payment_network ON payment (network_id, id);
CREATE INDEX block_seen ON block (network_id, seen_at);

CREATE VIEW pool_network_hour AS
    SELECT network_id, hour, shares, rejected, rejected_unknown, weight FROM network_hour;

CREATE VIEW pool_network_day AS
    SELECT network_id, day, shares, rejected, rejected_unknown, weight, miners FROM network_day;

CREATE VIEW pool_miner_recent AS
    SELECT miner_id, network_id, workers, shares, rejected, weight, weight_short FROM miner_recent;

CREATE VIEW pool_network_recent AS
    SELECT network_id, rolled_at, short_since, day_since, miners, workers, miners_day FROM network_recent;

CREATE VIEW pool_round_total AS
    SELECT round_id, network_id, miners, shares, weight FROM round_total;

CREATE VIEW pool_round_weight AS
    SELECT round_id, miner_id, shares, weight FROM round_weight;

CREATE OR REPLACE VIEW pool_block AS
    SELECT b.id, b.network_id, b.height, b.hash, b.block_time, b.seen_at, b.reward, b.state, b.state_at,
           b.finder_id, m.address AS finder, b.hashes, b.main
    FROM block b LEFT JOIN miner m ON m.id = b.finder_id;

-- The account by its own number lets the newest entries be found by
-- journal_line_account.
CREATE OR REPLACE VIEW pool_entry AS
    SELECT j.id, j.network_id, a.miner_id, j.at, j.kind, l.amount, b.height AS block_height, l.account_id, l.entry_id
    FROM journal j
    JOIN journal_line l ON l.entry_id = j.id
    JOIN account a ON a.id = l.account_id AND a.kind = 'miner'
    LEFT JOIN block b ON b.id = j.block_id;

-- A miner's accounts, with the moment of the last movement.
CREATE VIEW pool_account AS
    SELECT a.id, a.network_id, a.miner_id, a.kind, b.amount, b.updated_at AS moved_at
    FROM account a JOIN balance b ON b.account_id = a.id
    WHERE a.miner_id IS NOT NULL;

-- How a miner is paid, where it differs from the network's settings. The
-- operator's note is not for the public.
CREATE VIEW pool_payout AS
    SELECT miner_id, threshold, held FROM payout;

-- Payments as transactions.
CREATE VIEW pool_transaction AS
    SELECT p.id, p.network_id, p.state, p.txid, p.network_fee, p.confirmations, p.created_at, p.state_at
    FROM payment p;

CREATE OR REPLACE VIEW pool_payment AS
    SELECT i.id, p.network_id, i.miner_id, i.amount, i.state AS item_state, p.state, p.txid, p.confirmations,
           p.created_at, p.state_at, i.payment_id
    FROM payment p JOIN payment_item i ON i.payment_id = p.id;
