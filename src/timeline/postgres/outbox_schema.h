#pragma once
// The fifth migration: leases, and the outbox with what writes, numbers and removes its rows.

#include <array>
#include <string_view>

namespace meridian {

inline constexpr std::array<std::string_view, 29> outbox_schema{
    // The pair is unique so that changing the epoch takes the lock that a fence holds off, and
    // changing the expiry does not.
    R"sql(CREATE TABLE meridian.leases (
  name text PRIMARY KEY,
  owner text NOT NULL,
  epoch bigint NOT NULL,
  acquired_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  UNIQUE (name, epoch))
WITH (fillfactor = 50))sql",
    R"sql(COMMENT ON TABLE meridian.leases IS
  'Who of several nodes does a piece of work that has one owner. The epoch grows with each '
  'acquisition, and each transaction of the owner proves that its epoch is the present one.')sql",
    R"sql(CREATE FUNCTION meridian.acquire_lease(
  wanted text, taker text, ttl interval, OUT epoch bigint, OUT holder text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $body$
BEGIN
  -- Without a lock, or the holder's renewals would queue behind ours. One that seems to last much
  -- longer than any does was given before the clock was set back.
  SELECT l.owner INTO holder FROM meridian.leases l
    WHERE l.name = wanted AND l.expires_at > clock_timestamp()
      AND l.expires_at <= clock_timestamp() + 2 * ttl AND l.owner <> taker;
  IF FOUND THEN
    RETURN;
  END IF;
  INSERT INTO meridian.leases AS l (name, owner, epoch, acquired_at, expires_at)
  VALUES (wanted, taker, 1, clock_timestamp(), clock_timestamp() + ttl)
  ON CONFLICT (name) DO UPDATE
    SET owner = excluded.owner, epoch = l.epoch + 1, acquired_at = excluded.acquired_at,
      expires_at = excluded.expires_at
    WHERE l.expires_at <= clock_timestamp() OR l.expires_at > clock_timestamp() + 2 * ttl
      OR l.owner = excluded.owner
  RETURNING l.epoch INTO epoch;
  IF epoch IS NULL THEN
    SELECT l.owner INTO holder FROM meridian.leases l WHERE l.name = wanted;
  END IF;
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.fence(lease text, present bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  PERFORM FROM meridian.leases WHERE name = lease AND epoch = present FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'lease "%" is no longer held in epoch %', lease, present
      USING ERRCODE = 'MLEAS';
  END IF;
END
$body$)sql",
    R"sql(REVOKE ALL ON FUNCTION meridian.acquire_lease(text, text, interval),
  meridian.fence(text, bigint) FROM PUBLIC)sql",

    // The outbox. The transaction's id is drawn before the row's, in the order of the columns, so
    // that whoever has a row id has had a transaction id (outbox_store.h needs it). The partition
    // is that of the half hour in which the transaction began.
    "CREATE SEQUENCE meridian.outbox_id",
    R"sql(CREATE TABLE meridian.outbox (
  transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id bigint NOT NULL DEFAULT nextval('meridian.outbox_id'),
  part smallint NOT NULL DEFAULT (date_part('epoch', now())::bigint / 1800) % 16,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  subject text NOT NULL,
  identity text,
  headers text,
  payload bytea NOT NULL,
  PRIMARY KEY (id, part))
PARTITION BY LIST (part))sql",
    R"sql(DO $body$
BEGIN
  FOR part IN 0..15 LOOP
    EXECUTE format('CREATE TABLE meridian.outbox_%s PARTITION OF meridian.outbox'
      ' FOR VALUES IN (%s)', part, part);
  END LOOP;
END
$body$)sql",
    R"sql(COMMENT ON TABLE meridian.outbox IS
  'Messages that were committed and are published in the order of the commits. Written by '
  'meridian.publish() and by the triggers of the rules under `publish`; emptied by partition.')sql",
    R"sql(CREATE TABLE meridian.outbox_state (
  name text PRIMARY KEY,
  numbered bigint NOT NULL DEFAULT 0,
  published bigint NOT NULL DEFAULT 0,
  stream_created text NOT NULL DEFAULT '',
  stream_sequence bigint NOT NULL DEFAULT 0,
  settled_id bigint NOT NULL DEFAULT 0,
  done_id bigint NOT NULL DEFAULT 0,
  subjects text NOT NULL DEFAULT '^$',
  condition text NOT NULL DEFAULT '',
  resume text NOT NULL DEFAULT '')
WITH (fillfactor = 50))sql",
    R"sql(COMMENT ON TABLE meridian.outbox_state IS
  'Up to which number messages have one, up to which they are known to be in the stream and where '
  'there; up to which row id all rows have a number, and are published.')sql",
    "INSERT INTO meridian.outbox_state (name) VALUES ('outbox')",
    R"sql(CREATE TABLE meridian.outbox_batches (
  first bigint PRIMARY KEY,
  count bigint NOT NULL,
  ids bigint[] NOT NULL,
  counts bigint[] NOT NULL,
  id_max bigint NOT NULL,
  numbered_at timestamptz NOT NULL DEFAULT clock_timestamp()))sql",
    R"sql(COMMENT ON TABLE meridian.outbox_batches IS
  'Which rows have the numbers from `first` on: runs of ids, each with its length.')sql",
    R"sql(CREATE TABLE meridian.outbox_dead_letters (
  number bigint PRIMARY KEY,
  id bigint NOT NULL,
  subject text,
  identity text,
  headers text,
  payload bytea,
  error text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()))sql",
    R"sql(COMMENT ON TABLE meridian.outbox_dead_letters IS
  'Rows of the outbox that could not become messages. In their place in the stream stands a '
  'message without a payload that says so.')sql",
    R"sql(CREATE TABLE meridian.publishers (
  role text PRIMARY KEY,
  allowed text NOT NULL,
  denied text NOT NULL))sql",
    R"sql(COMMENT ON TABLE meridian.publishers IS
  'What each role may publish, from `nats.publish` and `nats.publish_deny` of the configuration, '
  'as regular expressions.')sql",

    R"sql(CREATE FUNCTION meridian.encode_part(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  bytes bytea := convert_to(left(coalesce(value, ''), 128), 'UTF8');
  out text := '';
  byte integer;
BEGIN
  IF length(bytes) = 0 THEN
    RETURN '%';
  END IF;
  FOR i IN 0..length(bytes) - 1 LOOP
    byte := get_byte(bytes, i);
    out := out || CASE WHEN chr(byte) ~ '[A-Za-z0-9_-]' AND byte < 128 THEN chr(byte)
      ELSE '%' || upper(lpad(to_hex(byte), 2, '0')) END;
  END LOOP;
  RETURN out;
END
$body$)sql",
    R"sql(COMMENT ON FUNCTION meridian.encode_part(text) IS
  'A value as one token of a subject.')sql",
    // As the nats door stamps: values percent-encoded but for what is plain.
    R"sql(CREATE FUNCTION meridian.outbox_identity() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  subject text := meridian.subject();
  request text := current_setting('meridian.request_id', true);
  identity text := '';
BEGIN
  IF subject ~ '[^-._~:/@+|A-Za-z0-9]' THEN
    SELECT string_agg(CASE WHEN c ~ '[-._~:/@+|A-Za-z0-9]' AND ascii(c) < 128 THEN c
        ELSE upper(regexp_replace(encode(convert_to(c, 'UTF8'), 'hex'), '(..)', '%\1', 'g')) END,
        '' ORDER BY n)
      INTO subject FROM regexp_split_to_table(subject, '') WITH ORDINALITY AS t(c, n);
  END IF;
  IF subject IS NOT NULL THEN
    identity := 'sub=' || left(subject, 512) || ';';
  END IF;
  identity := identity || 'role='
    || regexp_replace(session_user::text, '[^A-Za-z0-9._-]', '?', 'g');
  IF request ~ '^[0-9a-f-]{32,36}$' THEN
    identity := identity || ';req=' || replace(request, '-', '');
  END IF;
  RETURN identity;
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.publish(subject text, payload bytea, headers jsonb DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  covered text;
  may text;
  may_not text;
  block text;
BEGIN
  IF subject IS NULL OR subject !~ '^[^\s.*>[:cntrl:]]+(\.[^\s.*>[:cntrl:]]+)*$'
      OR octet_length(subject) > 1024 THEN
    RAISE EXCEPTION 'meridian.publish: "%" is not the subject of a message', left(subject, 100)
      USING ERRCODE = '22023',
        HINT = 'Tokens between dots, without white space and wildcards, 1,024 bytes at most.';
  END IF;
  SELECT s.subjects INTO STRICT covered FROM meridian.outbox_state s WHERE s.name = 'outbox';
  IF subject !~ covered THEN
    RAISE EXCEPTION 'meridian.publish: subject "%" does not belong to the outbox', subject
      USING ERRCODE = '42501',
        HINT = 'A rule under `publish` in Meridian''s configuration names those that do.';
  END IF;
  IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
    SELECT p.allowed, p.denied INTO may, may_not
      FROM meridian.publishers p WHERE p.role = session_user;
    IF may IS NULL OR subject !~ may OR (may_not <> '' AND subject ~ may_not) THEN
      RAISE EXCEPTION 'meridian.publish: role "%" may not publish "%"', session_user, subject
        USING ERRCODE = '42501',
          HINT = 'roles.*.nats.publish in Meridian''s configuration names what it may.';
    END IF;
  END IF;
  IF headers IS NOT NULL THEN
    IF jsonb_typeof(headers) <> 'object' OR EXISTS (
        SELECT FROM jsonb_each(headers) AS h(name, value)
        WHERE jsonb_typeof(value) <> 'string' OR name !~ '^[A-Za-z0-9_-]{1,128}$'
          OR name ~* '^(nats|meridian)([-_]|$)' OR value #>> '{}' ~ '[[:cntrl:]]'
          OR octet_length(value #>> '{}') > 4096) THEN
      RAISE EXCEPTION 'meridian.publish: headers are an object of texts, named with letters,'
          ' digits, - and _, and not Nats-* or Meridian-*' USING ERRCODE = '22023';
    END IF;
    SELECT string_agg(name || ': ' || value || E'\r\n', '') INTO block
      FROM jsonb_each_text(headers) AS h(name, value);
  END IF;
  INSERT INTO meridian.outbox (subject, identity, headers, payload)
  VALUES (subject, meridian.outbox_identity(), block, coalesce(payload, ''));
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.publish(subject text, payload text, headers jsonb DEFAULT NULL)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $body$ SELECT meridian.publish(subject, convert_to(payload, 'UTF8'), headers) $body$)sql",
    R"sql(CREATE FUNCTION meridian.publish(subject text, payload jsonb, headers jsonb DEFAULT NULL)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $body$ SELECT meridian.publish(subject, convert_to(payload::text, 'UTF8'), headers) $body$)sql",
    R"sql(COMMENT ON FUNCTION meridian.publish(text, bytea, jsonb) IS
  'Publishes a message if and when this transaction commits, after those of all transactions that '
  'committed before.')sql",

    R"sql(CREATE FUNCTION meridian.number_outbox(
  lease text, epoch bigint, first_number bigint, firsts bigint[], lengths bigint[])
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  total bigint;
  last_id bigint;
  present bigint;
BEGIN
  PERFORM meridian.fence(lease, epoch);
  SELECT sum(l), max(f + l - 1) INTO STRICT total, last_id FROM unnest(firsts, lengths) AS r(f, l);
  UPDATE meridian.outbox_state SET numbered = numbered + total
    WHERE name = 'outbox' AND numbered = first_number - 1 RETURNING numbered INTO present;
  IF FOUND THEN
    INSERT INTO meridian.outbox_batches (first, count, ids, counts, id_max)
      VALUES (first_number, total, firsts, lengths, last_id);
    RETURN present;
  END IF;
  -- The answer to the same call was lost, and it is made again.
  PERFORM FROM meridian.outbox_batches b
    WHERE b.first = first_number AND b.ids = firsts AND b.counts = lengths;
  IF FOUND THEN
    RETURN first_number + total - 1;
  END IF;
  RAISE EXCEPTION 'number % of the outbox is given already', first_number USING ERRCODE = 'MLEAS';
END
$body$)sql",
    // Rows that `seen` sees and that have no number yet, transactions in the order of their last
    // rows: what one of them did after another's commit has a higher id than all of that one's.
    R"sql(CREATE FUNCTION meridian.number_outbox_backlog(
  lease text, epoch bigint, seen pg_snapshot, excluded bigint[], id_limit bigint)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  settled bigint;
  base bigint;
  given int8multirange;
  added bigint;
BEGIN
  PERFORM meridian.fence(lease, epoch);
  SELECT settled_id, numbered INTO STRICT settled, base
    FROM meridian.outbox_state WHERE name = 'outbox' FOR UPDATE;
  SELECT coalesce(range_agg(int8range(f, f + l)), '{}') INTO given
    FROM meridian.outbox_batches b, unnest(b.ids, b.counts) AS r(f, l) WHERE b.id_max > settled;
  WITH rows AS (
    SELECT o.transaction, o.id,
        max(o.id) OVER (PARTITION BY o.transaction) AS last
      FROM meridian.outbox o
      WHERE o.id > settled AND o.id <= id_limit AND pg_visible_in_snapshot(o.transaction, seen)
        AND NOT o.id <@ given
        AND NOT (o.transaction::text::bigint & 4294967295) = ANY (excluded)),
  placed AS (SELECT transaction, id, row_number() OVER (ORDER BY last, id) - 1 AS n FROM rows),
  runs AS (
    SELECT n / 8192 AS batch, min(n) AS n, min(id) AS first, count(*) AS count
      FROM placed GROUP BY n / 8192, transaction, id - n),
  made AS (
    INSERT INTO meridian.outbox_batches (first, count, ids, counts, id_max)
    SELECT base + 1 + min(n), sum(count), array_agg(first ORDER BY n), array_agg(count ORDER BY n),
        max(first + count - 1)
      FROM runs GROUP BY batch RETURNING count)
  SELECT coalesce(sum(count), 0) INTO added FROM made;
  IF added > 0 THEN
    UPDATE meridian.outbox_state SET numbered = base + added WHERE name = 'outbox';
  END IF;
  RETURN added;
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.trim_outbox(lease text, epoch bigint, keep interval)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  done bigint;
  settled bigint;
  known bigint;
  last record;
  emptied bigint := 0;
BEGIN
  PERFORM meridian.fence(lease, epoch);
  SELECT done_id, settled_id, published INTO STRICT done, settled, known
    FROM meridian.outbox_state WHERE name = 'outbox';
  DELETE FROM meridian.outbox_batches b WHERE b.first + b.count - 1 <= known
    AND b.id_max <= settled AND b.numbered_at < clock_timestamp() - keep;
  FOR part IN 0..15 LOOP
    EXECUTE format('SELECT id, created_at FROM meridian.outbox_%s ORDER BY id DESC LIMIT 1', part)
      INTO last;
    CONTINUE WHEN last.id IS NULL OR last.id > done OR last.created_at > clock_timestamp() - keep;
    BEGIN
      -- Who is writing into it is not waited for: the next time will do.
      EXECUTE format('LOCK TABLE ONLY meridian.outbox_%s IN ACCESS EXCLUSIVE MODE NOWAIT', part);
      EXECUTE format('SELECT max(id) AS id FROM meridian.outbox_%s', part) INTO last;
      CONTINUE WHEN last.id > done;
      EXECUTE format('TRUNCATE ONLY meridian.outbox_%s', part);
      emptied := emptied + 1;
    EXCEPTION WHEN lock_not_available THEN
      NULL;
    END;
  END LOOP;
  RETURN emptied;
END
$body$)sql",
    R"sql(REVOKE ALL ON FUNCTION meridian.outbox_identity(),
  meridian.number_outbox(text, bigint, bigint, bigint[], bigint[]),
  meridian.number_outbox_backlog(text, bigint, pg_snapshot, bigint[], bigint),
  meridian.trim_outbox(text, bigint, interval) FROM PUBLIC)sql",
};

}  // namespace meridian
