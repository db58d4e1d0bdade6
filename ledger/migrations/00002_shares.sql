-- Verdicts on shares, the tips they were judged against, and their roll-ups.

-- +goose Up

-- Credited shares. Partitioned by network, then by height (200 heights each),
-- so that Postgres itself enforces one share per (network, height, proof).
-- There is no default partition: a height without one is an error that names it.
-- Order of arrival is (received_at, id). No foreign keys: rows of miner and
-- worker are never deleted, and a check would lock them for every share.
CREATE TABLE share (
    received_at       timestamptz NOT NULL,
    judged_at         timestamptz NOT NULL DEFAULT now(),
    worker_id         bigint NOT NULL,
    miner_id          bigint NOT NULL,
    weight            bigint NOT NULL CHECK (weight > 0), -- expected hashes of its work's target
    hashes_per_second bigint,                             -- the miner's claim
    height            integer NOT NULL,
    network_id        smallint NOT NULL,
    id                uuid NOT NULL,
    work_id           uuid NOT NULL,
    proof             bytea NOT NULL CHECK (octet_length(proof) = 32),
    UNIQUE (network_id, height, proof)
) PARTITION BY LIST (network_id);

-- Shares of a round are read by time of arrival; heights do not tell it.
CREATE INDEX share_received_at ON share USING brin (received_at);

-- What miners sent, word for word, for a short time. No unique key: the id is
-- the frontend's word. Looked up by (received_at, share_id).
CREATE TABLE share_solution (
    received_at timestamptz NOT NULL,
    share_id    uuid NOT NULL,
    solution    bytea COMPRESSION lz4 NOT NULL
) PARTITION BY RANGE (received_at);

CREATE INDEX share_solution_received_at ON share_solution USING brin (received_at);

-- One row for each refused share, once however often it is delivered.
CREATE TABLE rejected_share (
    received_at timestamptz NOT NULL,
    judged_at   timestamptz NOT NULL DEFAULT now(),
    worker_id   bigint, -- null where the work is unknown
    miner_id    bigint,
    height      integer,
    network_id  smallint NOT NULL,
    id          uuid NOT NULL,
    work_id     uuid,
    proof       bytea CHECK (octet_length(proof) = 32),
    reason      text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 64),
    detail      text CHECK (char_length(detail) <= 500),
    remote_ip   inet,
    PRIMARY KEY (received_at, id)
) PARTITION BY RANGE (received_at);

-- The chain's tips as the backend saw them: a share is judged against the tip
-- at its arrival, also after a restart. A tip may come back after a
-- reorganisation, so the moment belongs to the key.
CREATE TABLE tip (
    network_id  smallint NOT NULL REFERENCES network,
    seen_at     timestamptz NOT NULL,
    height      integer NOT NULL CHECK (height >= 0),
    hash        bytea NOT NULL CHECK (octet_length(hash) = 32),
    block_time  timestamptz NOT NULL,
    approximate boolean NOT NULL DEFAULT false, -- seen later than it may have come
    PRIMARY KEY (network_id, seen_at, hash)
);

-- Roll-ups: what pages and graphs read; they never count shares. Written in the
-- transaction of the shares. Rows are updated in place, hence the fill factor.
CREATE TABLE share_minute (
    worker_id  bigint NOT NULL,
    minute     timestamptz NOT NULL,
    miner_id   bigint NOT NULL,
    shares     bigint NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    network_id smallint NOT NULL,
    weight     numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (worker_id, minute)
) PARTITION BY RANGE (minute);

CREATE TABLE share_hour (
    worker_id  bigint NOT NULL,
    hour       timestamptz NOT NULL,
    miner_id   bigint NOT NULL,
    shares     bigint NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    network_id smallint NOT NULL,
    weight     numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (worker_id, hour)
);
CREATE INDEX share_hour_hour ON share_hour (hour);

CREATE TABLE share_day (
    worker_id  bigint NOT NULL,
    day        date NOT NULL, -- in UTC
    miner_id   bigint NOT NULL,
    shares     bigint NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    network_id smallint NOT NULL,
    weight     numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (worker_id, day)
);
CREATE INDEX share_day_day ON share_day (day);

-- Refusals by reason. Worker 0 stands for all unknown ones.
CREATE TABLE reject_hour (
    worker_id  bigint NOT NULL,
    hour       timestamptz NOT NULL,
    rejected   bigint NOT NULL,
    network_id smallint NOT NULL,
    reason     text NOT NULL,
    PRIMARY KEY (worker_id, hour, reason, network_id)
) WITH (fillfactor = 70);
CREATE INDEX reject_hour_hour ON reject_hour (hour);

-- The whole network, refusals of unknown miners included.
CREATE TABLE network_minute (
    network_id       smallint NOT NULL REFERENCES network,
    minute           timestamptz NOT NULL,
    shares           bigint NOT NULL DEFAULT 0,
    rejected         bigint NOT NULL DEFAULT 0,
    rejected_unknown bigint NOT NULL DEFAULT 0, -- of the rejected, those of unknown work
    weight           numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (network_id, minute)
) WITH (fillfactor = 50);
