-- For operators: what a restore must not forget, bans, and miners of one person.

-- +goose Up

-- Whether the books and the wallet agree. home names the server and the database
-- whose books last did: another one means that the books were restored, or come
-- from a server that took over, and may lack payments that the wallet has made.
-- Payments of a network are held while held_since is set.
CREATE TABLE payment_guard (
    network_id  smallint PRIMARY KEY REFERENCES network,
    home        text NOT NULL,
    best        bytea CHECK (octet_length(best) = 32), -- the chain's tip when they agreed last; display order
    agreed_at   timestamptz,                           -- when; null: never
    last_id     bigint NOT NULL DEFAULT 0,             -- the newest payment then
    held_since  timestamptz,
    why         text NOT NULL DEFAULT '' CHECK (char_length(why) <= 1000)
);

-- Transactions of the wallet of which a person has said that they are none of
-- this pool's payments.
CREATE TABLE wallet_decision (
    network_id smallint NOT NULL REFERENCES network,
    txid       bytea NOT NULL CHECK (octet_length(txid) = 32), -- display order
    at         timestamptz NOT NULL DEFAULT now(),
    who        text NOT NULL,
    why        text NOT NULL,
    PRIMARY KEY (network_id, txid)
);
CREATE TRIGGER wallet_decision_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet_decision
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Where these books are: the server's identity, its timeline (another one after a
-- recovery to a point in time and after a take-over by a replica), the database.
-- +goose StatementBegin
CREATE FUNCTION books_home() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = purepool, pg_temp AS $$
    SELECT (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
           left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' ||
           (SELECT oid::text FROM pg_database WHERE datname = current_database())
$$;
-- +goose StatementEnd

-- An operator's bans. Frontends read them every few seconds.
CREATE TABLE ban (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix   cidr UNIQUE,
    miner_id bigint UNIQUE REFERENCES miner,
    until_at timestamptz, -- null: until it is removed
    made_at  timestamptz NOT NULL DEFAULT now(),
    who      text NOT NULL CHECK (char_length(who) BETWEEN 1 AND 100),
    why      text NOT NULL CHECK (char_length(why) BETWEEN 1 AND 1000),
    CHECK ((prefix IS NULL) <> (miner_id IS NULL))
);

-- Miners of one person: what from_id earns from now on is credited to into_id.
CREATE TABLE miner_merge (
    from_id bigint PRIMARY KEY REFERENCES miner,
    into_id bigint NOT NULL REFERENCES miner,
    at      timestamptz NOT NULL DEFAULT now(),
    CHECK (from_id <> into_id)
);
CREATE INDEX miner_merge_into ON miner_merge (into_id);

-- What was taken over from another pool's books, by its number there, so that a
-- second import takes nothing over twice.
CREATE TABLE imported (
    source text NOT NULL CHECK (char_length(source) BETWEEN 1 AND 100),
    kind   text NOT NULL CHECK (kind IN ('miner', 'worker', 'block', 'payment', 'opening')),
    key    text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 200),
    ours   bigint NOT NULL, -- the row that it became
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, kind, key)
);
CREATE TRIGGER imported_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON imported
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- New kinds, whatever others have added meanwhile: an account that opening
-- balances come out of, entries that open balances and that merge miners.
-- +goose StatementBegin
DO $$
DECLARE
    c record;
    kinds text[];
BEGIN
    FOR c IN SELECT t.conname, t.conrelid::regclass::text AS tab, pg_get_constraintdef(t.oid) AS def
             FROM pg_constraint t WHERE t.conname IN ('account_kind_check', 'journal_kind_check')
             AND t.conrelid IN ('account'::regclass, 'journal'::regclass)
    LOOP
        SELECT array_agg(DISTINCT m[1]) INTO kinds FROM regexp_matches(c.def, '''([a-z_]+)''', 'g') AS m;
        kinds := kinds || 'opening'::text;
        IF c.conname = 'journal_kind_check' THEN
            kinds := kinds || 'merge'::text;
        END IF;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.tab, c.conname);
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (kind = ANY (%L::text[]))', c.tab, c.conname, kinds);
    END LOOP;
END
$$;
-- +goose StatementEnd
