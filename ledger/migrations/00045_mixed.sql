-- While programs of two versions run side by side.

-- +goose Up

-- The open round keeps its beginning to its end. A backend that is older than
-- counting along would move it, and count again what is counted: it is refused,
-- and a newer one ends the round.
-- +goose StatementBegin
CREATE FUNCTION keep_counted_beginning() RETURNS trigger
LANGUAGE plpgsql SET search_path = purepool, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'round % is counted along: this program is older than that, and must leave its end to a newer one', OLD.id
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER round_keeps_counted_beginning BEFORE UPDATE OF from_at ON round
    FOR EACH ROW WHEN (OLD.counted_until IS NOT NULL AND NEW.from_at <> OLD.from_at)
    EXECUTE FUNCTION keep_counted_beginning();
