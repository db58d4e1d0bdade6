-- The original's tables as Django makes them on Postgres after all of its
-- migrations (2018), without indexes that no import reads, and a small pool.

CREATE TABLE miner_miner (
    id uuid PRIMARY KEY,
    address varchar(100) NOT NULL UNIQUE,
    network varchar(20) NOT NULL,
    rating integer NOT NULL,
    ratio numeric(14, 4) NOT NULL,
    percent_ratio numeric(14, 4) NOT NULL,
    balance numeric(14, 4) NOT NULL,
    last_accepted_solution_at timestamptz,
    enabled boolean NOT NULL,
    inserted_at timestamptz NOT NULL
);
CREATE TABLE miner_worker (
    id serial PRIMARY KEY,
    name varchar(100) NOT NULL,
    inserted_at timestamptz NOT NULL,
    miner_id uuid NOT NULL REFERENCES miner_miner DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE block_block (
    id serial PRIMARY KEY,
    height integer NOT NULL,
    network varchar(20) NOT NULL,
    pool_block boolean NOT NULL,
    subsidy integer NOT NULL,
    recipient varchar(100) NOT NULL,
    block_version varchar(100) NOT NULL,
    block_version2 varchar(100) NOT NULL,
    process_status varchar(2) NOT NULL,
    sharedout boolean NOT NULL,
    inserted_at timestamptz NOT NULL,
    miner_id uuid REFERENCES miner_miner DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE puretransaction_transaction (
    id serial PRIMARY KEY,
    inserted_at timestamptz NOT NULL,
    network varchar(20) NOT NULL,
    note text NOT NULL,
    internal_note text NOT NULL,
    amount numeric(14, 4) NOT NULL,
    category varchar(2) NOT NULL,
    tx varchar(200) NOT NULL,
    miner_id uuid NOT NULL REFERENCES miner_miner DEFERRABLE INITIALLY DEFERRED
);

INSERT INTO miner_miner VALUES
('11111111-1111-4111-8111-111111111111', 'BAlice1111111111111111111111111111', 'main', 0, 0, 100, 1001.0001, NULL, true, '2018-03-01 10:00+00'),
('22222222-2222-4222-8222-222222222222', 'BBob222222222222222222222222222222', 'main', 1, 0, 140, 0.0000, NULL, false, '2018-03-02 10:00+00'),
('33333333-3333-4333-8333-333333333333', 'BCarol3333333333333333333333333333', 'main', 0, 0, 100, 0, NULL, true, '2018-03-03 10:00+00'),
('44444444-4444-4444-8444-444444444444', 'yDave44444444444444444444444444444', 'test', 0, 0, 100, 7.5000, NULL, true, '2018-03-04 10:00+00'),
-- Paid twice by the original: below zero. Its copied balance says 0.
('55555555-5555-4555-8555-555555555555', 'BErin5555555555555555555555555555', 'main', 0, 0, 100, 0.0000, NULL, true, '2018-03-05 10:00+00');

INSERT INTO miner_worker (name, inserted_at, miner_id) VALUES
('rig1', '2018-03-01 10:00+00', '11111111-1111-4111-8111-111111111111'),
('rig1', '2018-03-01 10:00+00', '11111111-1111-4111-8111-111111111111'), -- made twice by a race
('rig2', '2018-03-01 11:00+00', '11111111-1111-4111-8111-111111111111'),
('my rig', '2018-03-02 10:00+00', '22222222-2222-4222-8222-222222222222'),
('', '2018-03-03 10:00+00', '33333333-3333-4333-8333-333333333333'),
('d', '2018-03-04 10:00+00', '44444444-4444-4444-8444-444444444444');

INSERT INTO block_block (height, network, pool_block, subsidy, recipient, block_version, block_version2, process_status, sharedout, inserted_at, miner_id) VALUES
(30000, 'main', false, 5000, 'BSomebody', '', '', 'OP', false, '2018-03-01 12:00+00', NULL),
(30001, 'main', true, 5492, 'BPool', '', '', 'FI', true, '2018-03-02 12:00+00', '11111111-1111-4111-8111-111111111111'),
(30002, 'main', true, 5491, 'BPool', '', '', 'ST', false, '2018-03-03 12:00+00', NULL),
(30003, 'main', false, 5490, 'BSomebody', '', '', 'OP', false, '2018-03-04 12:00+00', NULL),
(90, 'test', true, 100, 'yPool', '', '', 'FI', true, '2018-03-04 12:00+00', '44444444-4444-4444-8444-444444444444');

INSERT INTO puretransaction_transaction (inserted_at, network, note, internal_note, amount, category, tx, miner_id) VALUES
('2018-03-03 13:00+00', 'main', 'Share for block 30001', 'BLOCK:30001|SOLUTIONS:3', 1001.0001, 'MS', '', '11111111-1111-4111-8111-111111111111'),
('2018-03-03 13:00+00', 'main', 'Share for block 30001', 'BLOCK:30001|SOLUTIONS:9', 2000.3333, 'MS', '', '22222222-2222-4222-8222-222222222222'),
('2018-03-03 19:00+00', 'main', 'Autosend', 'TX_ID:ab', -2000.3333, 'TX', 'abababababababababababababababababababababababababababababababab', '22222222-2222-4222-8222-222222222222'),
('2018-03-03 13:00+00', 'test', 'Share for block 90', '', 7.5000, 'MS', '', '44444444-4444-4444-8444-444444444444'),
('2018-03-03 13:00+00', 'main', 'Share for block 30001', '', 100.0000, 'MS', '', '55555555-5555-4555-8555-555555555555'),
('2018-03-03 19:00+00', 'main', 'Autosend', '', -100.0000, 'TX', 'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd', '55555555-5555-4555-8555-555555555555'),
('2018-03-03 19:02+00', 'main', 'Autosend', '', -100.0000, 'TX', '', '55555555-5555-4555-8555-555555555555');
