-- When the pool looked at the chain last: whether it was watching when a block
-- came, whichever process was.

-- +goose Up

CREATE TABLE chain_watch (
    network_id smallint PRIMARY KEY REFERENCES network,
    looked_at  timestamptz NOT NULL -- the last look that reached the tip
);
