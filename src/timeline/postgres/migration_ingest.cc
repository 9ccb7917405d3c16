#include "timeline/postgres/migration_ingest.h"

#include <array>

namespace meridian {
namespace {

// Statements of ingest run as the rule's role, which has no rights here: these functions do what
// the role may not, and take a proof that only Meridian can make, as meridian.subject() does. It is
// a bound parameter, so that pg_stat_activity does not show it.
constexpr std::array<std::string_view, 17> statements{
    R"sql(CREATE TABLE meridian.ingest_rules (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  stream text NOT NULL DEFAULT '',
  stream_created text NOT NULL DEFAULT '',
  incarnation bigint NOT NULL DEFAULT 1,
  floor bigint NOT NULL DEFAULT 0,
  floor_time bigint NOT NULL DEFAULT 0,
  paused boolean NOT NULL DEFAULT false,
  paused_why text NOT NULL DEFAULT '',
  made_at timestamptz NOT NULL DEFAULT now()))sql",
    R"sql(COMMENT ON TABLE meridian.ingest_rules IS
  'Each ingest rule, the stream that it reads and how far it has come when it was last idle. '
  'A stream that was deleted and made again is another incarnation.')sql",
    R"sql(CREATE TABLE meridian.ingest_batches (
  day date NOT NULL,
  rule integer NOT NULL,
  epoch bigint NOT NULL,
  number bigint NOT NULL,
  kind smallint NOT NULL,
  incarnation bigint NOT NULL,
  first_sequence bigint NOT NULL,
  last_sequence bigint NOT NULL,
  first_time bigint NOT NULL,
  last_time bigint NOT NULL,
  floor bigint NOT NULL,
  floor_time bigint NOT NULL,
  messages integer NOT NULL,
  fresh integer NOT NULL,
  entries bytea NOT NULL,
  skipped integer[],
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (day, rule, kind, epoch, number))
PARTITION BY RANGE (day))sql",
    R"sql(CREATE INDEX ingest_batches_last ON meridian.ingest_batches
  (rule, incarnation, last_sequence))sql",
    R"sql(COMMENT ON TABLE meridian.ingest_batches IS
  'The ledger: one row for each committed batch, with the place of each of its messages in the '
  'stream (streams/ledger.h). What is in it is done.')sql",
    R"sql(CREATE TABLE meridian.ingest_generations (
  generation integer PRIMARY KEY,
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp()))sql",
    R"sql(CREATE TABLE meridian.ingest_ids (
  generation integer NOT NULL,
  id uuid NOT NULL,
  payload bigint NOT NULL,
  PRIMARY KEY (generation, id))
PARTITION BY LIST (generation))sql",
    R"sql(COMMENT ON TABLE meridian.ingest_ids IS
  'Hashes of the publishers'' message ids that were seen, and of their payloads, in generations: '
  'the newest is written, the one before it is read too, and older ones are dropped.')sql",
    R"sql(CREATE TABLE meridian.dead_letters (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule integer NOT NULL REFERENCES meridian.ingest_rules,
  incarnation bigint NOT NULL,
  sequence bigint NOT NULL,
  stored_at bigint NOT NULL,
  subject text NOT NULL,
  reason text NOT NULL,
  sqlstate text,
  error text NOT NULL,
  attempt integer NOT NULL DEFAULT 1,
  headers bytea NOT NULL,
  payload bytea NOT NULL,
  buried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  state text NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'retried', 'discarded')),
  settled_at timestamptz,
  UNIQUE (rule, incarnation, sequence, stored_at)))sql",
    R"sql(CREATE INDEX dead_letters_dead ON meridian.dead_letters (rule, id)
WHERE state = 'dead')sql",
    R"sql(COMMENT ON TABLE meridian.dead_letters IS
  'Messages that became no row: what they were and why. They wait for somebody to retry them.')sql",
    R"sql(CREATE FUNCTION meridian.check_ingest_proof(proof text, rule integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  secret bytea;
BEGIN
  SELECT convert_to(value, 'UTF8') INTO STRICT secret FROM meridian.secrets WHERE name = 'identity';
  IF proof IS NULL OR encode(sha256(secret || sha256(secret || convert_to(
      'ingest|' || pg_backend_pid() || '|' || session_user || '|' || rule, 'UTF8'))), 'hex')
      <> proof THEN
    RAISE EXCEPTION 'this function is Meridian''s own' USING ERRCODE = '42501';
  END IF;
END
$body$)sql",
    // head: rule, epoch, number, kind, incarnation, first and last sequence, first and last time,
    // floor, its time, number of messages, day since 2000-01-01.
    R"sql(CREATE FUNCTION meridian.ingest_claim(
  proof text, lease text, head bigint[], entries bytea, ids uuid[], hashes bigint[],
  skipped integer[], strict boolean)
RETURNS TABLE (n bigint, verdict "char")
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A plan for the batch at hand reads all ids of a generation that nobody has analysed yet, since it
-- expects few of them there; the plan for any batch looks each up.
SET plan_cache_mode = force_generic_plan AS $body$
#variable_conflict use_column
DECLARE
  present integer;
  taken uuid[];
  wanted bigint;
  fresh bigint;
  others integer[] := skipped;
BEGIN
  PERFORM meridian.check_ingest_proof(proof, head[1]::integer);
  PERFORM meridian.fence(lease, head[2]);
  fresh := head[12];
  IF head[4] = 2 THEN
    -- What is undone may come again.
    DELETE FROM meridian.ingest_ids o WHERE o.id = ANY (ids);
  ELSIF ids IS NOT NULL THEN
    -- Held to the end of the transaction, so that no generation is opened meanwhile.
    SELECT max(generation) INTO STRICT present FROM meridian.ingest_generations;
    wanted := (SELECT count(u) FROM unnest(ids) AS u);
    WITH kept AS (
      INSERT INTO meridian.ingest_ids (generation, id, payload)
      SELECT present, u.id, u.hash FROM (
        -- The first message with an id has it.
        SELECT DISTINCT ON (a.id) a.id, a.hash
        FROM unnest(ids, hashes) WITH ORDINALITY AS a(id, hash, n)
        WHERE a.id IS NOT NULL ORDER BY a.id, a.n) AS u
      WHERE NOT EXISTS (
        SELECT FROM meridian.ingest_ids o WHERE o.generation = present - 1 AND o.id = u.id)
      ORDER BY u.id
      ON CONFLICT DO NOTHING RETURNING id)
    SELECT coalesce(array_agg(id), '{}') INTO taken FROM kept;
    IF cardinality(taken) < wanted THEN
      fresh := head[12] - wanted + cardinality(taken);
      RETURN QUERY
        SELECT u.n, CASE
          WHEN u.id IS NULL THEN 'f'::"char"
          WHEN EXISTS (SELECT FROM meridian.ingest_ids o
            WHERE o.generation IN (present, present - 1)
            AND o.id = u.id AND o.payload = u.hash)
          THEN CASE WHEN u.id = ANY (taken) THEN 'f'::"char" ELSE 'd'::"char" END
          ELSE 'c'::"char" END
        FROM unnest(ids, hashes) WITH ORDINALITY AS u(id, hash, n);
      IF strict AND EXISTS (
          SELECT FROM unnest(ids, hashes) AS u(id, hash)
          WHERE u.id IS NOT NULL AND NOT EXISTS (
            SELECT FROM meridian.ingest_ids o WHERE o.generation IN (present, present - 1)
            AND o.id = u.id AND o.payload = u.hash)) THEN
        RAISE EXCEPTION 'a message id was used before for another message' USING ERRCODE = 'MCONF';
      END IF;
      others := others || (SELECT array_agg(u.n::integer)
        FROM unnest(ids) WITH ORDINALITY AS u(id, n)
        WHERE u.id IS NOT NULL AND NOT u.id = ANY (taken));
    END IF;
  END IF;
  IF fresh = head[12] THEN
    RETURN QUERY SELECT g, 'f'::"char" FROM generate_series(1, head[12]) AS g;
  END IF;
  INSERT INTO meridian.ingest_batches (day, rule, epoch, number, kind, incarnation, first_sequence,
    last_sequence, first_time, last_time, floor, floor_time, messages, fresh, entries, skipped)
  VALUES (date '2000-01-01' + head[13]::integer, head[1], head[2], head[3], head[4], head[5],
    head[6], head[7], head[8], head[9], head[10], head[11], head[12], fresh, entries,
    nullif(others, '{}'));
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.ingest_bury(
  proof text, rule integer, incarnation bigint, sequences bigint[], times bigint[],
  subjects text[], reasons text[], sqlstates text[], errors text[], headers bytea[],
  payloads bytea[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  buried bigint;
BEGIN
  PERFORM meridian.check_ingest_proof(proof, rule);
  INSERT INTO meridian.dead_letters AS d (rule, incarnation, sequence, stored_at, subject, reason,
    sqlstate, error, headers, payload)
  SELECT ingest_bury.rule, ingest_bury.incarnation, u.* FROM unnest(
    sequences, times, subjects, reasons, sqlstates, errors, headers, payloads) AS u
  ON CONFLICT ON CONSTRAINT dead_letters_rule_incarnation_sequence_stored_at_key DO UPDATE
    SET attempt = d.attempt + 1, reason = excluded.reason, sqlstate = excluded.sqlstate,
      error = excluded.error, state = 'dead', settled_at = NULL;
  GET DIAGNOSTICS buried = ROW_COUNT;
  RETURN buried;
END
$body$)sql",
    // Dead letters that are tried again: those that nobody else has settled meanwhile.
    R"sql(CREATE FUNCTION meridian.ingest_reclaim(proof text, rule integer, letters bigint[])
RETURNS TABLE (n bigint, verdict "char")
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
#variable_conflict use_column
BEGIN
  PERFORM meridian.check_ingest_proof(proof, ingest_reclaim.rule);
  RETURN QUERY WITH mine AS (
    UPDATE meridian.dead_letters d SET state = 'retried', settled_at = clock_timestamp()
    WHERE d.id = ANY (letters) AND d.state = 'dead' AND d.rule = ingest_reclaim.rule
    RETURNING d.id)
    SELECT u.n, CASE WHEN mine.id IS NULL THEN 'd'::"char" ELSE 'f'::"char" END
    FROM unnest(letters) WITH ORDINALITY AS u(id, n) LEFT JOIN mine ON mine.id = u.id;
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.ingest_rotate(
  window_kept interval, ledger_kept interval) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $body$
DECLARE
  today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
  newest integer;
  opened timestamptz;
  each record;
BEGIN
  FOR i IN -1 .. 3 LOOP
    IF to_regclass(format('meridian.ingest_batches_%s', to_char(today + i, 'YYYYMMDD'))) IS NULL
    THEN
      EXECUTE format('CREATE TABLE meridian.ingest_batches_%s PARTITION OF meridian.ingest_batches'
        ' FOR VALUES FROM (%L) TO (%L)', to_char(today + i, 'YYYYMMDD'), today + i, today + i + 1);
    END IF;
  END LOOP;
  FOR each IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
    WHERE h.inhparent = 'meridian.ingest_batches'::regclass
      AND c.relname < 'ingest_batches_' || to_char(today - ledger_kept, 'YYYYMMDD')
  LOOP
    EXECUTE format('DROP TABLE meridian.%I', each.relname);
  END LOOP;
  SELECT generation, opened_at INTO newest, opened FROM meridian.ingest_generations
    ORDER BY generation DESC LIMIT 1;
  IF newest IS NULL OR opened < clock_timestamp() - window_kept THEN
    LOCK TABLE meridian.ingest_generations IN ACCESS EXCLUSIVE MODE;
    SELECT generation, opened_at INTO newest, opened FROM meridian.ingest_generations
      ORDER BY generation DESC LIMIT 1;
    IF newest IS NULL OR opened < clock_timestamp() - window_kept THEN
      newest := coalesce(newest, 0) + 1;
      EXECUTE format('CREATE TABLE meridian.ingest_ids_%s PARTITION OF meridian.ingest_ids'
        ' FOR VALUES IN (%s)', newest, newest);
      INSERT INTO meridian.ingest_generations (generation) VALUES (newest);
      DELETE FROM meridian.ingest_generations WHERE generation < newest - 1;
      FOR each IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
        WHERE h.inhparent = 'meridian.ingest_ids'::regclass
          AND c.relname NOT IN
            (format('ingest_ids_%s', newest), format('ingest_ids_%s', newest - 1))
      LOOP
        EXECUTE format('DROP TABLE meridian.%I', each.relname);
      END LOOP;
    END IF;
  END IF;
END
$body$)sql",
    R"sql(REVOKE ALL ON FUNCTION meridian.ingest_rotate(interval, interval),
  meridian.check_ingest_proof(text, integer) FROM PUBLIC)sql",
};

// Wall clocks jump; what is remembered must not be dropped by that, nor be kept for ever.
constexpr std::array<std::string_view, 7> counted_time{
    R"sql(CREATE TABLE meridian.ingest_clock (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  counted timestamptz NOT NULL,
  looked_at timestamptz NOT NULL))sql",
    R"sql(COMMENT ON TABLE meridian.ingest_clock IS
  'The clock by which ids and the ledger are dropped: the time in which a node was there to look '
  'at the database''s clock. It does not follow the jumps of that one.')sql",
    R"sql(INSERT INTO meridian.ingest_clock (counted, looked_at)
SELECT least(max(opened_at), clock_timestamp()), clock_timestamp()
  FROM meridian.ingest_generations)sql",
    // By that clock from now on; one of them may be of a day on which the other was ahead.
    R"sql(UPDATE meridian.ingest_generations SET opened_at = least(opened_at, c.counted)
FROM meridian.ingest_clock c)sql",
    "DROP FUNCTION meridian.ingest_rotate(interval, interval)",
    // counted_max: what may have passed since the last look. day: since 2000-01-01, that to which
    // the ledger's rows belong now. passed: by the database's clock, in whole seconds.
    R"sql(CREATE FUNCTION meridian.ingest_rotate(
  window_kept interval, ledger_kept interval, counted_max interval,
  OUT day integer, OUT passed bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $body$
#variable_conflict use_column
DECLARE
  present timestamptz := clock_timestamp();
  clock meridian.ingest_clock;
  today date;
  edge date;
  old text[];
  newest integer;
  opened timestamptz;
  each text;
BEGIN
  -- Other nodes wait here: one looks at a time.
  SELECT * INTO STRICT clock FROM meridian.ingest_clock FOR UPDATE;
  clock.counted := clock.counted
    + least(greatest(present - clock.looked_at, interval '0'), counted_max);
  passed := extract(epoch FROM present - clock.looked_at);
  UPDATE meridian.ingest_clock SET counted = clock.counted, looked_at = present;
  today := (clock.counted AT TIME ZONE 'UTC')::date;
  day := today - date '2000-01-01';

  FOR i IN 0 .. 2 LOOP
    IF to_regclass(format('meridian.ingest_batches_%s', to_char(today + i, 'YYYYMMDD'))) IS NULL
    THEN
      EXECUTE format('CREATE TABLE meridian.ingest_batches_%s PARTITION OF meridian.ingest_batches'
        ' FOR VALUES FROM (%L) TO (%L)', to_char(today + i, 'YYYYMMDD'), today + i, today + i + 1);
    END IF;
  END LOOP;
  edge := (today - ledger_kept)::date;
  old := ARRAY(SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
    WHERE h.inhparent = 'meridian.ingest_batches'::regclass
      AND c.relname < 'ingest_batches_' || to_char(edge, 'YYYYMMDD'));
  IF cardinality(old) > 0 THEN
    -- Where a rule goes on stays known, however long nothing has come for it.
    UPDATE meridian.ingest_rules r
      SET floor = f.floor, floor_time = greatest(r.floor_time, f.floor_time)
      FROM meridian.ingest_rules s CROSS JOIN LATERAL (
        SELECT max(floor) AS floor, max(floor_time) AS floor_time FROM (
          SELECT b.floor, b.floor_time FROM meridian.ingest_batches b
          WHERE b.rule = s.id AND b.incarnation = s.incarnation AND b.kind = 0
          ORDER BY b.last_sequence DESC LIMIT 1000) AS b) AS f
      WHERE r.id = s.id AND r.incarnation = s.incarnation AND f.floor > r.floor;
    UPDATE meridian.ingest_batches b SET day = today
      FROM meridian.ingest_rules r
      WHERE b.day < edge AND b.rule = r.id AND b.incarnation = r.incarnation AND b.kind = 0
        AND b.last_sequence > r.floor;
    FOREACH each IN ARRAY old LOOP
      EXECUTE format('DROP TABLE meridian.%I', each);
    END LOOP;
  END IF;

  SELECT generation, opened_at INTO newest, opened FROM meridian.ingest_generations
    ORDER BY generation DESC LIMIT 1;
  IF newest IS NULL OR opened <= clock.counted - window_kept THEN
    -- Batches that write into the newest one are waited for.
    LOCK TABLE meridian.ingest_generations IN ACCESS EXCLUSIVE MODE;
    newest := coalesce(newest, 0) + 1;
    EXECUTE format('CREATE TABLE meridian.ingest_ids_%s PARTITION OF meridian.ingest_ids'
      ' FOR VALUES IN (%s)', newest, newest);
    INSERT INTO meridian.ingest_generations (generation, opened_at) VALUES (newest, clock.counted);
    DELETE FROM meridian.ingest_generations WHERE generation < newest - 1;
    FOR each IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
      WHERE h.inhparent = 'meridian.ingest_ids'::regclass
        AND c.relname NOT IN
          (format('ingest_ids_%s', newest), format('ingest_ids_%s', newest - 1))
    LOOP
      EXECUTE format('DROP TABLE meridian.%I', each);
    END LOOP;
  END IF;
END
$body$)sql",
    R"sql(REVOKE ALL ON FUNCTION meridian.ingest_rotate(interval, interval, interval)
FROM PUBLIC)sql",
};

}  // namespace

std::span<const std::string_view> ingest_migration() noexcept {
  return statements;
}

std::span<const std::string_view> ingest_clock_migration() noexcept {
  return counted_time;
}

}  // namespace meridian
