-- Room for rows that are counted along.

-- +goose Up

-- Rows of the open round are updated in place every few minutes.
ALTER TABLE round_weight SET (fillfactor = 70);
