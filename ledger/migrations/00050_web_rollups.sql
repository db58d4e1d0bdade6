-- What pages would otherwise count anew for every reader: refusals of a whole
-- network by reason, who was credited of late; and the chain's difficulty.

-- +goose Up

-- Made with an hour's other roll-ups (see RollUp).
CREATE TABLE network_reject_hour (
    network_id smallint NOT NULL REFERENCES network,
    hour       timestamptz NOT NULL,
    reason     text NOT NULL,
    rejected   bigint NOT NULL,
    PRIMARY KEY (network_id, hour, reason)
) WITH (fillfactor = 70);

-- RollUp makes an hour anew where its sums have changed; these have not.
INSERT INTO network_reject_hour (network_id, hour, reason, rejected)
SELECT network_id, hour, reason, sum(rejected) FROM reject_hour
WHERE hour >= now() - interval '2 days' GROUP BY network_id, hour, reason;

-- Miners whose balance moved in the day before rolled_at.
ALTER TABLE network_recent ADD COLUMN miners_moved integer NOT NULL DEFAULT 0;

-- Expected hashes of a block's target; null where the watcher did not know it.
ALTER TABLE chain_block ADD COLUMN hashes numeric CHECK (hashes > 0);

CREATE VIEW pool_network_reject_hour AS
    SELECT network_id, hour, reason, rejected FROM network_reject_hour;

CREATE OR REPLACE VIEW pool_network_recent AS
    SELECT network_id, rolled_at, short_since, day_since, miners, workers, miners_day, miners_moved FROM network_recent;

CREATE OR REPLACE VIEW pool_chain_block AS
    SELECT network_id, height, hash, block_time, subsidy, hashes FROM chain_block WHERE main;
