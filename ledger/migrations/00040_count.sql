-- The open round is counted along, so that ending it counts next to nothing.

-- +goose Up

-- Shares of the open round that arrived before this moment stand in
-- round_weight; null: none of them do.
ALTER TABLE round
    ADD COLUMN counted_until timestamptz,
    ADD CONSTRAINT round_counted_check CHECK (counted_until IS NULL OR state = 'open' AND counted_until >= from_at);

-- A share that is judged after its moment has been counted is added to its
-- round, open or closed, or where that has been paid to the next one that has
-- not: whenever the verdict comes, it counts once. The lock makes "counted" and
-- "judged after" two sides of one moment.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION count_late_shares() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = purepool, pg_temp AS $$
DECLARE
    n record;
    next_round bigint;
BEGIN
    FOR n IN SELECT network_id, min(received_at) AS first FROM added GROUP BY network_id ORDER BY network_id LOOP
        PERFORM share_rounds(n.network_id);
        CONTINUE WHEN NOT EXISTS (SELECT FROM round
            WHERE network_id = n.network_id AND coalesce(until_at, counted_until) > n.first);
        SELECT id INTO STRICT next_round FROM round
        WHERE network_id = n.network_id AND state <> 'settled' ORDER BY from_at LIMIT 1;
        INSERT INTO round_weight AS w (round_id, from_round_id, miner_id, shares, weight)
        SELECT CASE r.state WHEN 'settled' THEN next_round ELSE r.id END AS into_round, r.id, a.miner_id, count(*), sum(a.weight)
        FROM added a JOIN round r ON r.network_id = a.network_id
            AND a.received_at >= r.from_at AND a.received_at < coalesce(r.until_at, r.counted_until)
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

-- Lines are checked a statement at a time, ten thousand of them in a blink;
-- foreign keys would look up entry and account for each by itself. Entries and
-- accounts are never removed, so what held once holds for good.
ALTER TABLE journal_line
    DROP CONSTRAINT journal_line_entry_id_fkey,
    DROP CONSTRAINT journal_line_account_id_fkey;
ALTER TABLE balance DROP CONSTRAINT balance_account_id_fkey;
CREATE TRIGGER account_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every INSERT of lines must balance by itself, belong to heads of its own
-- transaction and to accounts that are there, and stay on one network; it moves
-- the balances. Accounts are taken in the order of their ids, so that two
-- writers never wait in a circle.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION post_lines() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = purepool, pg_temp AS $$
DECLARE
    bad record;
BEGIN
    SELECT a.entry_id, sum(a.amount) AS rest INTO bad
    FROM added a GROUP BY a.entry_id HAVING sum(a.amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry % does not balance: % satoshis remain', bad.entry_id, bad.rest
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT a.entry_id, a.account_id, j.id IS NULL OR c.id IS NULL AS unknown, j.xact <> pg_current_xact_id() AS old INTO bad
    FROM added a LEFT JOIN journal j ON j.id = a.entry_id LEFT JOIN account c ON c.id = a.account_id
    WHERE j.id IS NULL OR c.id IS NULL OR j.xact <> pg_current_xact_id() OR j.network_id <> c.network_id LIMIT 1;
    IF FOUND AND bad.unknown THEN
        RAISE EXCEPTION 'a line of journal entry % and account %: there is no such entry or account', bad.entry_id, bad.account_id
            USING ERRCODE = 'foreign_key_violation';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'journal entry %: %', bad.entry_id,
            CASE WHEN bad.old THEN 'lines may only be added in its own transaction'
                 ELSE 'an account belongs to another network' END
            USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO balance AS b (account_id, amount)
    SELECT a.account_id, sum(a.amount)::bigint FROM added a GROUP BY a.account_id ORDER BY a.account_id
    ON CONFLICT (account_id) DO UPDATE SET amount = b.amount + excluded.amount, updated_at = now();
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- Shares are read by time of arrival every half minute now: the index must know
-- of new ones soon, not after the next vacuum.
DROP INDEX share_received_at;
CREATE INDEX share_received_at ON share USING brin (received_at) WITH (autosummarize = on);
