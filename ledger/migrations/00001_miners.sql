-- Who mines, and what work was issued.
--
-- Everything stands in the schema purepool and belongs to purepool_owner, as
-- whom migrations run. What other roles may do is in grants.sql, which runs
-- after every migration. Hashes and targets are 32 bytes, big-endian. Money is
-- bigint satoshis. Times are timestamptz, partitions are cut in UTC.

-- +goose Up

CREATE TABLE network (
    id   smallint PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9_-]{1,20}$')
);

CREATE TABLE miner (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid          uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE, -- the public MINERGUID
    network_id    smallint NOT NULL REFERENCES network,
    address       text NOT NULL CHECK (char_length(address) BETWEEN 1 AND 100),
    enabled       boolean NOT NULL DEFAULT true,
    ignore_shares boolean NOT NULL DEFAULT false, -- judge his shares, credit none
    hash_target   bytea CHECK (octet_length(hash_target) = 32), -- instead of the network's
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (network_id, address)
);

CREATE TABLE worker (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    miner_id   bigint NOT NULL REFERENCES miner,
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    email      text CHECK (char_length(email) BETWEEN 1 AND 254),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (miner_id, name)
);

-- One row for each issued work: the hottest insert of the frontends. No foreign
-- key to worker: its check would lock the worker's row for every work. Lookups
-- join worker and miner, so a work of nobody is an unknown work.
CREATE TABLE work (
    id          uuid NOT NULL,
    issued_at   timestamptz NOT NULL,
    worker_id   bigint NOT NULL,
    network_id  smallint NOT NULL,
    hash_target bytea NOT NULL CHECK (octet_length(hash_target) = 32),
    thread_id   text NOT NULL DEFAULT '' CHECK (char_length(thread_id) <= 20),
    os          text NOT NULL DEFAULT '' CHECK (char_length(os) <= 50),
    agent       text NOT NULL DEFAULT '' CHECK (char_length(agent) <= 50),
    remote_ip   inet,
    PRIMARY KEY (id, issued_at)
) PARTITION BY RANGE (issued_at);

-- Who changed what by hand, and why. Only ever added to.
CREATE TABLE audit_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    who    text NOT NULL CHECK (char_length(who) BETWEEN 1 AND 100),
    action text NOT NULL CHECK (char_length(action) BETWEEN 1 AND 100),
    why    text NOT NULL CHECK (char_length(why) <= 1000),
    detail jsonb NOT NULL DEFAULT '{}'
);

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: entries are only ever added', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
