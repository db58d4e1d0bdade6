-- Shares are copied into their partitions by themselves.

-- +goose Up

-- Into share itself Postgres inserts row by row, because of its trigger; into a
-- partition a page at a time. So the backend copies into partitions, and each has
-- the trigger of the whole: whichever way a share comes in, it is counted, once,
-- since only the triggers of the table that a statement names are run. The
-- backend's right to insert there is given to each partition as it is made.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION attach_partition(parent text, part text, bounds text) RETURNS void
LANGUAGE plpgsql SET search_path = purepool, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
    IF parent = 'share_minute' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', part); -- rows are updated in place
    ELSIF parent LIKE 'share\_n%' THEN
        PERFORM open_share_partition(part);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES %s', parent, part, bounds);
END
$$;

CREATE FUNCTION open_share_partition(part text) RETURNS void
LANGUAGE plpgsql SET search_path = purepool, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER share_counts_late AFTER INSERT ON %I
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_late_shares()', part);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO purepool_backend', part);
END
$$;

-- The partitions of share that there are.
CREATE FUNCTION share_partitions() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = purepool, pg_temp AS $$
    SELECT c.relname FROM pg_partition_tree('share') t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf AND c.relkind = 'r'
$$;
-- +goose StatementEnd

SELECT open_share_partition(part) FROM share_partitions() AS part;
