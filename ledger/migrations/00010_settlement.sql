-- From a block of the chain to a payment: the chain, rounds' weights, payments'
-- steps, miners' payment settings and ratings, schedules.

-- +goose Up

-- Every block of the chain since the pool first looked, ours or not, replaced
-- ones too: one on the best chain for each height. Pages sum its subsidies.
CREATE TABLE chain_block (
    network_id smallint NOT NULL REFERENCES network,
    height     integer NOT NULL CHECK (height >= 0),
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
    prev       bytea NOT NULL CHECK (octet_length(prev) = 32),
    block_time timestamptz NOT NULL,
    subsidy    bigint NOT NULL CHECK (subsidy >= 0), -- satoshis
    main       boolean NOT NULL DEFAULT true,        -- on the best chain now
    PRIMARY KEY (network_id, hash)
);
CREATE UNIQUE INDEX chain_block_main ON chain_block (network_id, height) INCLUDE (hash) WHERE main;
CREATE INDEX chain_block_time ON chain_block (network_id, block_time) INCLUDE (subsidy) WHERE main;

-- seen_at of a block is the moment at which it came, as well as the backend
-- knows: by its own clock, or where it was not watching then by the block's time.
ALTER TABLE block
    ADD COLUMN main boolean NOT NULL DEFAULT true, -- on the best chain now; 'orphaned' is decided later
    ADD COLUMN found_at timestamptz,               -- arrival of the share that it was
    ADD COLUMN finder_guid uuid,                   -- as the coinbase says it
    ADD COLUMN hashes numeric NOT NULL DEFAULT 0 CHECK (hashes >= 0); -- expected hashes of its target
CREATE INDEX block_unfinished ON block (network_id, id) WHERE state = 'immature';

-- A round is a stretch of arrivals that ends with the share that was a block.
-- paid_by is the block whose reward has paid it: its own, or, where that was
-- orphaned, the next one that was not.
ALTER TABLE round
    ADD COLUMN paid_by bigint REFERENCES block,
    ADD COLUMN reopened boolean NOT NULL DEFAULT false, -- was settled once, by a block that was orphaned afterwards
    ADD CHECK (paid_by IS NULL OR state = 'settled');
CREATE INDEX round_paid_by ON round (paid_by);

-- What miners have done in a round, counted once when it closes. from_round_id
-- is the round in whose stretch the shares arrived: another one where they were
-- judged only after that had been paid. No foreign keys: a round of ten
-- thousand miners is written in one go, and neither rounds nor miners are deleted.
CREATE TABLE round_weight (
    round_id      bigint NOT NULL,
    from_round_id bigint NOT NULL,
    miner_id      bigint NOT NULL,
    shares        bigint NOT NULL CHECK (shares > 0),
    weight        numeric NOT NULL CHECK (weight > 0), -- expected hashes
    PRIMARY KEY (round_id, from_round_id, miner_id)
);
CREATE INDEX round_weight_carried ON round_weight (from_round_id) WHERE from_round_id <> round_id;

ALTER TABLE account DROP CONSTRAINT account_kind_check;
ALTER TABLE account ADD CONSTRAINT account_kind_check CHECK (kind IN
    ('reward', 'fee', 'unclaimed', 'miner', 'reserved', 'paid', 'network_fee', 'correction'));

CREATE UNIQUE INDEX account_owner ON account (network_id, kind, coalesce(miner_id, 0));

-- The numbers of locks: rounds of a network (verdicts share it, whoever moves a
-- round's border has it alone), and its chain.
-- +goose StatementBegin
CREATE FUNCTION lock_rounds(network smallint) RETURNS void
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT pg_advisory_xact_lock(7310587300000 + network)
$$;
CREATE FUNCTION share_rounds(network smallint) RETURNS void
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT pg_advisory_xact_lock_shared(7310587300000 + network)
$$;
CREATE FUNCTION lock_chain(network smallint) RETURNS void
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT pg_advisory_xact_lock(7310587400000 + network)
$$;
CREATE FUNCTION lock_payments(network smallint) RETURNS void
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT pg_advisory_xact_lock(7310587500000 + network)
$$;

-- A share that is judged after its round has been counted is added to that
-- round, or where it has been paid to the next one that has not: whenever the
-- verdict comes, it counts once. The lock makes "counted" and "judged after"
-- two sides of one moment.
CREATE FUNCTION count_late_shares() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = purepool, pg_temp AS $$
DECLARE
    n record;
    next_round bigint;
BEGIN
    FOR n IN SELECT network_id, min(received_at) AS first FROM added GROUP BY network_id ORDER BY network_id LOOP
        PERFORM share_rounds(n.network_id);
        CONTINUE WHEN NOT EXISTS (SELECT FROM round WHERE network_id = n.network_id AND until_at > n.first);
        SELECT id INTO STRICT next_round FROM round
        WHERE network_id = n.network_id AND state <> 'settled' ORDER BY from_at LIMIT 1;
        INSERT INTO round_weight AS w (round_id, from_round_id, miner_id, shares, weight)
        SELECT CASE r.state WHEN 'settled' THEN next_round ELSE r.id END AS into_round, r.id, a.miner_id, count(*), sum(a.weight)
        FROM added a JOIN round r ON r.network_id = a.network_id AND a.received_at >= r.from_at AND a.received_at < r.until_at
        WHERE a.network_id = n.network_id
        GROUP BY into_round, r.id, a.miner_id
        ORDER BY into_round, r.id, a.miner_id
        ON CONFLICT (round_id, from_round_id, miner_id) DO UPDATE SET
            shares = w.shares + excluded.shares, weight = w.weight + excluded.weight;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER share_counts_late AFTER INSERT ON share
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_late_shares();

-- Steps of a payment, beside its state:
--   intent   planned, amounts reserved; the wallet has not been called since
--   sending  the wallet is being called, or was and gave no answer
--   sent     the wallet has made the transaction txid
--   unclear  nobody knows; waits for the wallet to show it, or for a person
ALTER TABLE payment
    ADD COLUMN subtract_fee boolean NOT NULL DEFAULT true,
    ADD COLUMN held         boolean NOT NULL DEFAULT false,   -- by a person
    ADD COLUMN attempts     integer NOT NULL DEFAULT 0,       -- calls of the wallet
    ADD COLUMN next_at      timestamptz NOT NULL DEFAULT 'epoch', -- not before: back-off
    ADD COLUMN called_at    timestamptz,                      -- the last call
    ADD COLUMN wallet_mark  bytea CHECK (octet_length(wallet_mark) = 32), -- newest transaction of the wallet before that
    ADD COLUMN called_height integer,                         -- the chain's height then
    ADD COLUMN absent_at    timestamptz,                      -- first seen to be absent, since the last call
    ADD COLUMN booked       boolean NOT NULL DEFAULT false,   -- stands in the journal as paid
    ADD COLUMN confirmations integer NOT NULL DEFAULT 0;
ALTER TABLE payment_item
    ADD COLUMN reason text NOT NULL DEFAULT '',
    DROP CONSTRAINT payment_item_state_check,
    ADD CONSTRAINT payment_item_state_check CHECK (state IN ('planned', 'paid', 'set_aside', 'released'));
CREATE INDEX payment_item_open ON payment_item (miner_id) WHERE state = 'planned';

-- How a miner is paid, where it differs from the network's settings.
CREATE TABLE payout (
    miner_id  bigint PRIMARY KEY REFERENCES miner,
    threshold bigint CHECK (threshold > 0), -- satoshis
    held      boolean NOT NULL DEFAULT false,
    note      text NOT NULL DEFAULT '' CHECK (char_length(note) <= 1000),
    failures  integer NOT NULL DEFAULT 0, -- since the last payment
    retry_at  timestamptz                 -- not before
);

CREATE TABLE miner_rating (
    miner_id   bigint PRIMARY KEY REFERENCES miner,
    network_id smallint NOT NULL REFERENCES network,
    rating     smallint NOT NULL CHECK (rating BETWEEN -3 AND 3),
    ratio      numeric NOT NULL, -- shares for each block
    percent    numeric NOT NULL, -- of the pool's ratio
    shares     bigint NOT NULL,
    blocks     integer NOT NULL,
    rated_at   timestamptz NOT NULL
);
CREATE INDEX miner_rating_network ON miner_rating (network_id);

-- What runs by itself, and how it went.
CREATE TABLE schedule (
    network_id  smallint NOT NULL REFERENCES network,
    name        text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,40}$'),
    every       interval NOT NULL,
    next_at     timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    succeeded_at timestamptz,
    last_error  text NOT NULL DEFAULT '' CHECK (char_length(last_error) <= 1000),
    runner      text NOT NULL DEFAULT '' CHECK (char_length(runner) <= 100),
    runs        bigint NOT NULL DEFAULT 0,
    failures    bigint NOT NULL DEFAULT 0, -- since the last success
    paused      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (network_id, name)
);

-- The last sign of life, from roll-ups; to the minute within the days for which
-- minutes are kept.
CREATE VIEW pool_last_share AS
    SELECT network_id, miner_id, worker_id, max(at) AS last_share_at
    FROM (SELECT network_id, miner_id, worker_id, minute AS at FROM share_minute WHERE shares > 0
          UNION ALL
          SELECT network_id, miner_id, worker_id, hour FROM share_hour WHERE shares > 0) AS seen
    GROUP BY network_id, miner_id, worker_id;

CREATE VIEW pool_chain_block AS
    SELECT network_id, height, hash, block_time, subsidy FROM chain_block WHERE main;

CREATE VIEW pool_rating AS
    SELECT miner_id, network_id, rating, ratio, percent, shares, blocks, rated_at FROM miner_rating;

-- One line of a miner's page for each movement of his balance.
DROP VIEW pool_payment;
CREATE VIEW pool_payment AS
    SELECT i.id, p.network_id, i.miner_id, i.amount, i.state AS item_state, p.state, p.txid, p.confirmations,
           p.created_at, p.state_at
    FROM payment p JOIN payment_item i ON i.payment_id = p.id;
