-- Under pplns a late verdict is made up for as well.

-- +goose Up

-- A round that was paid by a window of shares (pplns) and not by its own. Its
-- block's round keeps which window: shares that arrived after window_from and
-- before the round's end, and how many they were then.
ALTER TABLE round
    ADD COLUMN by_window boolean NOT NULL DEFAULT false,
    ADD COLUMN window_from timestamptz,
    ADD COLUMN window_shares bigint,
    ADD CONSTRAINT round_window_check CHECK (
        (NOT by_window OR state = 'settled') AND (window_from IS NULL OR by_window) AND (window_from IS NULL) = (window_shares IS NULL));

-- Shares that arrived within the window of a round that was paid before they
-- were judged: from_round_id is that round, round_id the one whose block makes up
-- for it. A share that missed the windows of two blocks stands here twice.
CREATE TABLE late_window (
    round_id      bigint NOT NULL,
    from_round_id bigint NOT NULL,
    miner_id      bigint NOT NULL,
    shares        bigint NOT NULL CHECK (shares > 0),
    weight        numeric NOT NULL CHECK (weight > 0), -- expected hashes
    PRIMARY KEY (round_id, from_round_id, miner_id)
);
CREATE INDEX late_window_from ON late_window (from_round_id);

-- A share that is judged after its moment has been counted is added to its
-- round, open or closed, or where that has been paid to the next one that has
-- not; and for each window that it missed, to that next one too. Whenever the
-- verdict comes, it counts as often as it should. The lock makes "counted" and
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
        INSERT INTO late_window AS w (round_id, from_round_id, miner_id, shares, weight)
        SELECT next_round, r.id, a.miner_id, count(*), sum(a.weight)
        FROM round r JOIN added a ON a.network_id = r.network_id
            AND a.received_at > r.window_from AND a.received_at < r.until_at
        WHERE r.network_id = n.network_id AND r.window_from IS NOT NULL AND r.until_at > n.first
        GROUP BY r.id, a.miner_id
        ORDER BY r.id, a.miner_id
        ON CONFLICT (round_id, from_round_id, miner_id) DO UPDATE SET
            shares = w.shares + excluded.shares, weight = w.weight + excluded.weight;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
