-- Blocks, rounds, double-entry books and payments.

-- +goose Up

-- Blocks that pay this pool. A block is known by its hash: two of one height
-- may both have been ours, and one of them is orphaned.
CREATE TABLE block (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id smallint NOT NULL REFERENCES network,
    height     integer NOT NULL CHECK (height >= 0),
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
    block_time timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    finder_id  bigint REFERENCES miner, -- null where nobody known found it
    share_id   uuid,                    -- the share that was this block
    reward     bigint CHECK (reward >= 0),
    state      text NOT NULL DEFAULT 'immature' CHECK (state IN ('immature', 'mature', 'orphaned')),
    state_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (network_id, hash)
);
CREATE INDEX block_height ON block (network_id, height);

-- Rounds: [from_at, until_at) by arrival of shares, one open round a network,
-- one after the other. Shares of rounds that are not settled are never dropped.
CREATE TABLE round (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id smallint NOT NULL REFERENCES network,
    from_at    timestamptz NOT NULL,
    until_at   timestamptz CHECK (until_at > from_at),
    block_id   bigint UNIQUE REFERENCES block,
    scheme     text NOT NULL DEFAULT 'prop',
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed', 'settled')),
    settled_at timestamptz,
    UNIQUE (network_id, from_at),
    CHECK ((state = 'open') = (until_at IS NULL)),
    CHECK ((state = 'settled') = (settled_at IS NOT NULL))
);
CREATE UNIQUE INDEX round_open ON round (network_id) WHERE state = 'open';

-- Up to here all shares are settled: the arrival from which on some are not.
-- A network without rounds has settled nothing.
-- +goose StatementBegin
CREATE FUNCTION settled_until(network smallint) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = purepool, pg_temp AS $$
    SELECT coalesce(min(from_at) FILTER (WHERE state <> 'settled'), '-infinity')
    FROM round WHERE network_id = network
$$;
-- +goose StatementEnd

-- An account of the books. The sum of all balances is zero: what miners and the
-- pool have came out of 'reward', and what was paid went into 'paid'.
CREATE TABLE account (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id smallint NOT NULL REFERENCES network,
    kind       text NOT NULL CHECK (kind IN ('reward', 'fee', 'miner', 'reserved', 'paid', 'network_fee', 'correction')),
    miner_id   bigint REFERENCES miner,
    CHECK ((kind IN ('miner', 'reserved')) = (miner_id IS NOT NULL)),
    UNIQUE NULLS NOT DISTINCT (network_id, kind, miner_id)
);

-- Kept by a trigger from the journal's lines; nobody writes it.
CREATE TABLE balance (
    account_id bigint PRIMARY KEY REFERENCES account,
    amount     bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

-- Payments: intent → sending → sent → confirmed. 'unclear' waits for a person.
CREATE TABLE payment (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id  smallint NOT NULL REFERENCES network,
    tag         text NOT NULL UNIQUE, -- stands in the wallet's comment, and finds it again
    state       text NOT NULL DEFAULT 'intent'
                CHECK (state IN ('intent', 'sending', 'sent', 'confirmed', 'unclear', 'cancelled')),
    txid        bytea CHECK (octet_length(txid) = 32), -- display order
    network_fee bigint CHECK (network_fee >= 0),
    note        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    state_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payment_unfinished ON payment (network_id, id) WHERE state NOT IN ('confirmed', 'cancelled');

CREATE TABLE payment_item (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id bigint NOT NULL REFERENCES payment,
    miner_id   bigint NOT NULL REFERENCES miner,
    address    text NOT NULL, -- as it was when the payment was made
    amount     bigint NOT NULL CHECK (amount > 0),
    state      text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'paid', 'set_aside')),
    UNIQUE (payment_id, miner_id)
);
CREATE INDEX payment_item_miner ON payment_item (miner_id, id);

-- The journal: the head of an entry. Its key makes it happen once: whoever
-- writes 'credit:block:12' a second time is refused.
CREATE TABLE journal (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id smallint NOT NULL REFERENCES network,
    kind       text NOT NULL CHECK (kind IN ('block', 'payment', 'network_fee', 'correction', 'reversal')),
    key        text NOT NULL UNIQUE,
    at         timestamptz NOT NULL DEFAULT now(),
    note       text NOT NULL DEFAULT '',
    block_id   bigint REFERENCES block,
    payment_id bigint REFERENCES payment,
    reverses   bigint UNIQUE REFERENCES journal,
    xact       xid8 NOT NULL DEFAULT pg_current_xact_id(), -- lines come in the same transaction
    CHECK ((kind = 'reversal') = (reverses IS NOT NULL))
);
CREATE INDEX journal_block ON journal (block_id);
CREATE INDEX journal_payment ON journal (payment_id);

CREATE TABLE journal_line (
    entry_id   bigint NOT NULL REFERENCES journal,
    account_id bigint NOT NULL REFERENCES account,
    amount     bigint NOT NULL CHECK (amount <> 0), -- satoshis; positive adds to the account
    PRIMARY KEY (entry_id, account_id)
);
CREATE INDEX journal_line_account ON journal_line (account_id, entry_id);

-- Every INSERT of lines must balance by itself, belong to heads of its own
-- transaction, and stay on one network; it moves the balances. Accounts are
-- taken in the order of their ids, so that two writers never wait in a circle.
-- +goose StatementBegin
CREATE FUNCTION post_lines() RETURNS trigger
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
    SELECT j.id, j.xact <> pg_current_xact_id() AS old INTO bad
    FROM added a JOIN journal j ON j.id = a.entry_id JOIN account c ON c.id = a.account_id
    WHERE j.xact <> pg_current_xact_id() OR j.network_id <> c.network_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry %: %', bad.id,
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

-- At the end of its transaction an entry has lines, and they sum to zero.
CREATE FUNCTION check_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = purepool, pg_temp AS $$
DECLARE
    lines bigint;
    rest numeric;
BEGIN
    SELECT count(*), coalesce(sum(amount), 0) INTO lines, rest FROM journal_line WHERE entry_id = NEW.id;
    IF lines < 2 OR rest <> 0 THEN
        RAISE EXCEPTION 'journal entry % does not balance: % lines, % satoshis remain', NEW.id, lines, rest
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER journal_line_posts AFTER INSERT ON journal_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION post_lines();
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry();
CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER journal_line_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Accounts whose balance is not the sum of their lines: always empty.
CREATE VIEW balance_fault AS
    SELECT c.id AS account_id, b.amount AS balance, l.amount AS lines
    FROM account c
    LEFT JOIN balance b ON b.account_id = c.id
    LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM journal_line GROUP BY account_id) l ON l.account_id = c.id
    WHERE coalesce(b.amount, 0) <> coalesce(l.amount, 0);
