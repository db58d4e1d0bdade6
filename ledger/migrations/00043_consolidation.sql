-- Small coins of the wallet that are joined, so that payments fit into
-- transactions.

-- +goose Up

-- A transaction of the wallet to itself. It is signed and written down before
-- anybody has it, so that whatever dies in between, handing it in again is the
-- same transaction. Its fee stands in the journal while it stands.
--   made      signed; perhaps handed in
--   sent      the wallet has it in its book
--   confirmed deep enough in the chain
--   dropped   refused, or its coins were spent elsewhere
CREATE TABLE consolidation (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_id smallint NOT NULL REFERENCES network,
    txid       bytea NOT NULL CHECK (octet_length(txid) = 32), -- display order
    raw        text NOT NULL,                                  -- signed, in hex
    coins      integer NOT NULL CHECK (coins > 0),             -- that are joined
    amount     bigint NOT NULL CHECK (amount > 0),             -- their sum, in satoshis
    fee        bigint NOT NULL CHECK (fee > 0 AND fee < amount),
    state      text NOT NULL DEFAULT 'made' CHECK (state IN ('made', 'sent', 'confirmed', 'dropped')),
    bookings   integer NOT NULL DEFAULT 0,                     -- how often its fee was booked; taken back each time but the last
    note       text NOT NULL DEFAULT '' CHECK (char_length(note) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    state_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (network_id, txid)
);
CREATE INDEX consolidation_open ON consolidation (network_id, id) WHERE state <> 'confirmed';
