-- Partitions: made ahead, dropped by age. Only the owner may make and drop
-- tables; the backend calls these functions, which do nothing else.

-- +goose Up

-- +goose StatementBegin

-- One lock for all of them: two never make the same partition.
CREATE FUNCTION lock_partitions() RETURNS void
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT pg_advisory_xact_lock(7310587201)
$$;

CREATE FUNCTION has_partition(part text) RETURNS boolean
LANGUAGE sql SET search_path = purepool, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'purepool' AND c.relname = part AND c.relispartition)
$$;

-- Makes a table like its parent and attaches it. CREATE TABLE … PARTITION OF
-- would lock the parent against readers and writers; this does not.
CREATE FUNCTION attach_partition(parent text, part text, bounds text) RETURNS void
LANGUAGE plpgsql SET search_path = purepool, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
    IF parent = 'share_minute' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', part); -- rows are updated in place
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES %s', parent, part, bounds);
END
$$;

-- The tables that are partitioned by day.
CREATE FUNCTION day_partitioned() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY['work', 'share_solution', 'rejected_share', 'share_minute']
$$;

-- Makes the partitions of the days from … to, both included, of all tables that
-- are partitioned by day, and returns how many were missing.
CREATE FUNCTION ensure_day_partitions(from_day date, to_day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = purepool, pg_temp SET timezone = 'UTC' SET lock_timeout = '10s' AS $$
DECLARE
    parent text;
    day date;
    part text;
    made integer := 0;
BEGIN
    IF to_day - from_day NOT BETWEEN 0 AND 60 THEN
        RAISE EXCEPTION 'from % to % is no range of up to 60 days', from_day, to_day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH parent IN ARRAY day_partitioned() LOOP
        FOR day IN SELECT from_day + n FROM generate_series(0, to_day - from_day) AS n LOOP
            part := parent || '_d' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN has_partition(part);
            PERFORM lock_partitions();
            CONTINUE WHEN has_partition(part);
            PERFORM attach_partition(parent, part,
                format('FROM (%L) TO (%L)', day::timestamptz, (day + 1)::timestamptz));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- How many heights a partition of share holds.
CREATE FUNCTION share_partition_heights() RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT 200 $$;

-- Makes the partitions for these heights of a network, both included, and
-- returns how many were missing.
CREATE FUNCTION ensure_share_partitions(network smallint, from_height integer, to_height integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = purepool, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    size constant integer := share_partition_heights();
    parent text := 'share_n' || network;
    low bigint;
    part text;
    made integer := 0;
BEGIN
    IF from_height < 0 OR to_height < from_height OR to_height - from_height > 50 * size THEN
        RAISE EXCEPTION 'from % to % is no range of up to % heights', from_height, to_height, 50 * size
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR low IN SELECT generate_series(from_height / size, to_height / size) LOOP
        low := low * size;
        part := parent || '_h' || low;
        CONTINUE WHEN has_partition(part);
        PERFORM lock_partitions();
        CONTINUE WHEN has_partition(part);
        PERFORM attach_partition(parent, part,
            format('FROM (%s) TO (%s)', low, least(low + size, 2147483647)));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Makes a network known: its row, its branch of share, its first open round.
CREATE FUNCTION ensure_network(network_name text) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = purepool, pg_temp SET timezone = 'UTC' SET lock_timeout = '10s' AS $$
DECLARE
    new_id smallint;
BEGIN
    PERFORM lock_partitions();
    SELECT id INTO new_id FROM network WHERE name = network_name;
    IF FOUND THEN
        RETURN new_id;
    END IF;
    INSERT INTO network (id, name)
    SELECT coalesce(max(id), 0) + 1, network_name FROM network RETURNING id INTO new_id;
    EXECUTE format('CREATE TABLE %I (LIKE share INCLUDING ALL) PARTITION BY RANGE (height)', 'share_n' || new_id);
    EXECUTE format('ALTER TABLE share ATTACH PARTITION %I FOR VALUES IN (%s)', 'share_n' || new_id, new_id);
    INSERT INTO round (network_id, from_at) VALUES (new_id, '1970-01-01');
    RETURN new_id;
END
$$;

-- Drops the partitions of one table that hold nothing from that day on, and
-- returns their names. Dropping waits at most three seconds for readers: better
-- to try again later than to hold up everybody who comes after.
CREATE FUNCTION drop_day_partitions(parent text, before_day date) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = purepool, pg_temp SET timezone = 'UTC' SET lock_timeout = '3s' AS $$
DECLARE
    part text;
BEGIN
    IF NOT parent = ANY (day_partitioned()) THEN
        RAISE EXCEPTION '% is not partitioned by day', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM lock_partitions();
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass
          AND right(c.relname, 8)::date < before_day
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', part);
        RETURN NEXT part;
    END LOOP;
END
$$;

-- Drops the partitions of a network's shares in which every share has arrived
-- before that moment and is settled, and returns their names. An empty
-- partition goes only once a higher one holds shares: the others were made
-- ahead.
CREATE FUNCTION drop_share_partitions(network smallint, before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = purepool, pg_temp SET timezone = 'UTC' SET lock_timeout = '3s' AS $$
DECLARE
    parent text := 'share_n' || network;
    part text;
    keep boolean;
    top integer;
    cut timestamptz := least(before, settled_until(network));
BEGIN
    PERFORM lock_partitions();
    SELECT max(s.height) INTO top FROM share s WHERE s.network_id = network;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass
          AND substring(c.relname FROM '_h(\d+)$')::bigint + share_partition_heights() <= top
        ORDER BY substring(c.relname FROM '_h(\d+)$')::bigint
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE received_at >= $1)', part) INTO keep USING cut;
        CONTINUE WHEN keep;
        -- Once more with everybody locked out: a late share may have come.
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE received_at >= $1)', part) INTO keep USING cut;
        CONTINUE WHEN keep;
        EXECUTE format('DROP TABLE %I', part);
        RETURN NEXT part;
    END LOOP;
END
$$;

-- +goose StatementEnd
