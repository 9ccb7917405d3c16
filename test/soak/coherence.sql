-- What `script/soak coherence` adds to the shop: for each way in which a view can change, a table whose rows count their
-- changes. Run by the owner; the role checkout owns the tables, so that it may also truncate, alter and attach them.

-- Which revision each order was last sent to. A statement that outlived its client, and runs late, finds itself overtaken.
CREATE TABLE soak_ledger (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0);

CREATE FUNCTION soak_step(step_id bigint, step_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE soak_ledger SET revision = step_revision WHERE id = step_id AND revision < step_revision;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'revision % of % was overtaken', step_revision, step_id;
  END IF;
END $$;

-- Joined: two rows, always changed together.
CREATE TABLE soak_left (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0);
CREATE TABLE soak_right (id bigint PRIMARY KEY, left_id bigint NOT NULL UNIQUE REFERENCES soak_left, other bigint NOT NULL DEFAULT 0);

-- Grouped: several rows under one key, each changed by another writer.
CREATE TABLE soak_members (id bigint PRIMARY KEY, group_id bigint NOT NULL, revision bigint NOT NULL DEFAULT 0);
CREATE INDEX ON soak_members (group_id);
ALTER TABLE soak_members REPLICA IDENTITY FULL;

-- A partition that is detached, written to, and attached.
CREATE TABLE soak_parts (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
CREATE TABLE soak_parts_low PARTITION OF soak_parts FOR VALUES FROM (1) TO (100);
CREATE TABLE soak_parts_high PARTITION OF soak_parts FOR VALUES FROM (100) TO (200);

CREATE FUNCTION soak_move_part(step_id bigint, step_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM soak_step(step_id, step_revision);
  IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = 'soak_parts_low'::regclass) THEN
    ALTER TABLE soak_parts DETACH PARTITION soak_parts_low;
  END IF;
  IF step_revision % 2 = 0 THEN
    UPDATE soak_parts_low SET revision = step_revision;
    ALTER TABLE soak_parts ATTACH PARTITION soak_parts_low FOR VALUES FROM (1) TO (100);
  END IF;
END $$;

-- Emptied as a whole.
CREATE TABLE soak_side (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0);

CREATE FUNCTION soak_empty_side(step_id bigint, step_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM soak_step(step_id, step_revision);
  TRUNCATE soak_side;
  IF step_revision % 2 = 0 THEN
    INSERT INTO soak_side SELECT n, step_revision FROM generate_series(1, 8) AS n;
  END IF;
END $$;

-- Changed by its definition alone: rewriting a column writes no row to the feed.
CREATE TABLE soak_defined (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0);

CREATE FUNCTION soak_define(step_id bigint, step_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM soak_step(step_id, step_revision);
  EXECUTE format('ALTER TABLE soak_defined ALTER COLUMN revision TYPE bigint USING %s', step_revision);
  IF step_revision % 2 = 0 THEN
    ALTER TABLE soak_left ADD COLUMN IF NOT EXISTS note text DEFAULT 'none';
  ELSE
    ALTER TABLE soak_left DROP COLUMN IF EXISTS note;
  END IF;
END $$;

-- Changed in one large transaction.
CREATE TABLE soak_bulk (id bigint PRIMARY KEY, revision bigint NOT NULL DEFAULT 0);

CREATE FUNCTION soak_change_bulk(step_id bigint, step_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM soak_step(step_id, step_revision);
  UPDATE soak_bulk SET revision = step_revision;
END $$;

INSERT INTO soak_left SELECT n FROM generate_series(1, 256) AS n;
INSERT INTO soak_right SELECT 1000 + n, n FROM generate_series(1, 256) AS n;
INSERT INTO soak_members SELECT n, 1 + (n - 1) / 4 FROM generate_series(1, 256) AS n;
INSERT INTO soak_parts SELECT n FROM generate_series(1, 8) AS n;
INSERT INTO soak_side SELECT n FROM generate_series(1, 8) AS n;
INSERT INTO soak_defined SELECT n FROM generate_series(1, 8) AS n;
INSERT INTO soak_bulk SELECT n FROM generate_series(1, :bulk) AS n;

GRANT CREATE ON SCHEMA public TO checkout;
GRANT SELECT ON soak_left, soak_right, soak_members, soak_parts, soak_side, soak_defined, soak_bulk TO view_reader;
SELECT format('ALTER TABLE %I OWNER TO checkout', relname) FROM pg_class WHERE relname LIKE 'soak\_%' AND relkind IN ('r', 'p') \gexec
