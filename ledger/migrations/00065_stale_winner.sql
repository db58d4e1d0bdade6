-- A winning share that was refused as stale, and whose block stands after all.

-- +goose Up

-- What a refused share is worth should its block come to stand on the best
-- chain; null where more is wrong with it than its place in the chain.
ALTER TABLE rejected_share ADD COLUMN weight bigint CHECK (weight > 0);
CREATE INDEX rejected_share_sound ON rejected_share (network_id, height, proof) WHERE weight IS NOT NULL;

-- The proof of the share that was a block, as the backend computed it: by it the
-- share is found on chains whose block hash is something else.
ALTER TABLE block_submission ADD COLUMN proof bytea CHECK (octet_length(proof) = 32);
ALTER TABLE block ADD COLUMN proof bytea CHECK (octet_length(proof) = 32);

-- Shares that were refused as stale and are credited since their block came to
-- stand: they are in share now, and in rejected_share no more.
CREATE TABLE stale_winner (
    network_id  smallint NOT NULL REFERENCES network,
    height      integer NOT NULL, -- of the share: that of the block before
    proof       bytea NOT NULL CHECK (octet_length(proof) = 32),
    block_id    bigint NOT NULL REFERENCES block,
    share_id    uuid NOT NULL,
    miner_id    bigint NOT NULL,
    weight      bigint NOT NULL CHECK (weight > 0), -- expected hashes
    received_at timestamptz NOT NULL,
    judged_at   timestamptz NOT NULL, -- when it was refused
    reason      text NOT NULL,        -- for what
    credited_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (network_id, height, proof)
);
CREATE TRIGGER stale_winner_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stale_winner
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
