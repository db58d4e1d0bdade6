-- Template networks: the jobs that the backend has issued, and the blocks that
-- it has submitted.

-- +goose Up

-- Every job issued, for as long as a share for it may still be on its way: a
-- validator judges a share by the job that stands here and by nothing that a
-- frontend says. seq grows with time, over restarts too. body is the job as
-- pool/job encodes it.
CREATE TABLE job (
    network_id smallint NOT NULL REFERENCES network,
    seq        bigint NOT NULL CHECK (seq > 0),
    issued_at  timestamptz NOT NULL,
    height     integer NOT NULL CHECK (height > 0),
    prev       bytea NOT NULL CHECK (octet_length(prev) = 32),
    clean      boolean NOT NULL, -- the tip had changed
    body       bytea NOT NULL,
    PRIMARY KEY (network_id, seq)
);
CREATE INDEX job_issued_at ON job (issued_at);

-- What makes a block of a job, beside header and coinbase (pool/chain's block
-- body). Kept for as long as such a block may count.
CREATE TABLE job_block (
    network_id smallint NOT NULL,
    seq        bigint NOT NULL,
    issued_at  timestamptz NOT NULL,
    body       bytea COMPRESSION lz4 NOT NULL,
    PRIMARY KEY (network_id, seq)
);
CREATE INDEX job_block_issued_at ON job_block (issued_at);

-- A winning share and what the daemons said to its block. One row a block,
-- brought up to date as long as it is tried. result is what counts in the end:
-- accepted; inconclusive (sound, but not on the best chain when it came);
-- refused (no daemon took it); pending.
CREATE TABLE block_submission (
    network_id   smallint NOT NULL REFERENCES network,
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32), -- display order
    height       integer NOT NULL,
    seq          bigint NOT NULL,
    share_id     uuid NOT NULL,
    worker_id    bigint NOT NULL,
    received_at  timestamptz NOT NULL, -- of the share
    submitted_at timestamptz NOT NULL, -- the first time
    stale        boolean NOT NULL,     -- the tip had changed when the share arrived
    result       text NOT NULL CHECK (result IN ('pending', 'accepted', 'inconclusive', 'refused')),
    detail       text NOT NULL DEFAULT '' CHECK (char_length(detail) <= 500), -- the daemons' words
    attempts     integer NOT NULL DEFAULT 1,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (network_id, hash)
);
CREATE INDEX block_submission_at ON block_submission (submitted_at);
