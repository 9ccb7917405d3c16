#include "timeline/postgres/migrations.h"

#include "base/number.h"
#include "runtime/log.h"
#include "timeline/postgres/migration_ingest.h"
#include "timeline/postgres/outbox_schema.h"

#include <array>
#include <string>

namespace meridian {
namespace {

constexpr std::array<std::string_view, 4> first{
    R"sql(CREATE TABLE meridian.revocations (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  issuer text,
  subject text,
  token_id text,
  role text,
  reason text NOT NULL DEFAULT '',
  revoked_by text NOT NULL,
  revoked_at timestamptz NOT NULL DEFAULT now(),
  until timestamptz,
  expires_at timestamptz NOT NULL DEFAULT now() + interval '1 day',
  CHECK (num_nonnulls(issuer, subject, token_id, role) >= 1)))sql",
    R"sql(COMMENT ON TABLE meridian.revocations IS
  'Who is no longer admitted. The feed carries each row to every node, '
  'which ends the visits that match.')sql",

    R"sql(CREATE TABLE meridian.trail_heads (
  node text NOT NULL,
  shard integer NOT NULL,
  segment bigint NOT NULL,
  sequence bigint NOT NULL,
  hash text NOT NULL,
  signature text NOT NULL,
  signed_at timestamptz NOT NULL,
  PRIMARY KEY (node, shard))
WITH (fillfactor = 50))sql",
    R"sql(COMMENT ON TABLE meridian.trail_heads IS
  'The newest signed head of each shard of the audit trail, so that a trail '
  'that was cut short shows.')sql",
};

// Settings that a client can set prove nothing, so the subject comes with a proof that only
// Meridian can make: a keyed hash over the backend's process id, the role and the subject.
constexpr std::array<std::string_view, 9> second{
    R"sql(CREATE TABLE meridian.secrets (
  name text PRIMARY KEY,
  value text NOT NULL))sql",
    "REVOKE ALL ON meridian.secrets FROM PUBLIC",
    R"sql(INSERT INTO meridian.secrets (name, value)
VALUES ('identity', encode(sha256(convert_to(
  gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text,
  'UTF8')), 'hex')))sql",
    R"sql(CREATE FUNCTION meridian.subject() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  subject text := current_setting('meridian.subject', true);
  proof text := current_setting('meridian.proof', true);
  secret bytea;
  message bytea;
BEGIN
  IF coalesce(subject, '') = '' OR coalesce(proof, '') = '' THEN
    RETURN NULL;
  END IF;
  SELECT convert_to(value, 'UTF8') INTO STRICT secret FROM meridian.secrets WHERE name = 'identity';
  message := convert_to(pg_backend_pid() || '|' || session_user || '|' || subject, 'UTF8');
  IF encode(sha256(secret || sha256(secret || message)), 'hex') = proof THEN
    RETURN subject;
  END IF;
  RETURN NULL;
END
$body$)sql",
    R"sql(COMMENT ON FUNCTION meridian.subject() IS
  'The verified subject of the visit that this session serves, or NULL. '
  'Fit for row-level security.')sql",
    R"sql(CREATE FUNCTION meridian.request_id() RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $body$ SELECT nullif(current_setting('meridian.request_id', true), '')::uuid $body$)sql",
    R"sql(COMMENT ON FUNCTION meridian.request_id() IS
  'The request id of the transaction as Meridian stamped it, or NULL. '
  'The client can change the setting.')sql",
    R"sql(CREATE FUNCTION meridian.note_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  request text := current_setting('meridian.request_id', true);
BEGIN
  IF coalesce(request, '') <> '' THEN
    PERFORM pg_logical_emit_message(true, 'meridian.request', request);
  END IF;
  RETURN NULL;
END
$body$)sql",
    "GRANT USAGE ON SCHEMA meridian TO PUBLIC",
};

constexpr std::array<std::string_view, 2> third{
    // What is read out of it is decided by the reader (cache/invalidator.cc); a partition is more
    // than an addition.
    R"sql(CREATE FUNCTION meridian.note_schema_change() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  command record;
BEGIN
  FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
    IF coalesce(command.schema_name, '') LIKE 'pg\_temp%' OR command.schema_name = 'meridian' THEN
      CONTINUE;
    END IF;
    PERFORM pg_logical_emit_message(true, 'meridian.ddl',
      CASE WHEN EXISTS (SELECT FROM pg_class WHERE oid = command.objid AND relispartition)
        THEN 'PARTITION ' ELSE '' END
      || command.command_tag || ' ' || coalesce(command.object_identity, ''));
  END LOOP;
END
$body$)sql",
    R"sql(CREATE FUNCTION meridian.note_schema_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  dropped record;
BEGIN
  FOR dropped IN SELECT * FROM pg_event_trigger_dropped_objects() LOOP
    IF NOT dropped.is_temporary AND dropped.original THEN
      PERFORM pg_logical_emit_message(true, 'meridian.ddl',
        'DROP ' || dropped.object_type || ' ' || dropped.object_identity);
    END IF;
  END LOOP;
END
$body$)sql",
};

constexpr std::array<std::string_view, 1> fourth{
    // A table that inherits from another one answers for it, and is not published with it: also
    // more than an addition.
    R"sql(CREATE OR REPLACE FUNCTION meridian.note_schema_change() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  command record;
BEGIN
  FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
    IF coalesce(command.schema_name, '') LIKE 'pg\_temp%' OR command.schema_name = 'meridian' THEN
      CONTINUE;
    END IF;
    PERFORM pg_logical_emit_message(true, 'meridian.ddl',
      CASE WHEN command.classid = 'pg_class'::regclass
          AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = command.objid)
        THEN 'PARTITION ' ELSE '' END
      || command.command_tag || ' ' || coalesce(command.object_identity, ''));
  END LOOP;
END
$body$)sql",
};

constexpr std::array<std::string_view, 1> seventh{
    // Those behind what is settled are asked for each second, and those before it are kept for
    // hours.
    "CREATE INDEX outbox_batches_id_max ON meridian.outbox_batches (id_max)",
};

constexpr std::array<std::string_view, 4> ninth{
    // The order in which a rollback reads the ledger; by the clock, one that was set back in
    // between
    // would hide a replay behind what it did again. Earlier rows have none.
    "CREATE SEQUENCE meridian.ingest_ordinal",
    "ALTER TABLE meridian.ingest_batches ADD COLUMN ordinal bigint",
    "ALTER TABLE meridian.ingest_batches ALTER COLUMN ordinal"
    " SET DEFAULT nextval('meridian.ingest_ordinal')",
    R"sql(COMMENT ON COLUMN meridian.ingest_batches.ordinal IS
  'The order of the batches, whatever the clock said.')sql",
};

const std::array<Migration, 9> all{
    Migration{.version = 1, .name = "revocations and trail heads", .statements = first},
    Migration{.version = 2, .name = "who asks, inside the database", .statements = second},
    Migration{.version = 3, .name = "changes of the schema", .statements = third},
    Migration{.version = 4, .name = "tables that inherit", .statements = fourth},
    Migration{.version = 5, .name = "leases and the outbox", .statements = outbox_schema},
    Migration{.version = 6, .name = "ingest", .statements = ingest_migration()},
    Migration{.version = 7, .name = "batches of the outbox by their rows", .statements = seventh},
    Migration{.version = 8,
              .name = "time that ingest has counted",
              .statements = ingest_clock_migration()},
    Migration{.version = 9, .name = "the ledger's order", .statements = ninth},
};

// Chosen once: the first eight bytes of "meridian" as a number.
// Another node may be at it: that is worth waiting for, and no user takes this lock.
constexpr std::string_view patience = "SELECT set_config('lock_timeout', '20s', true)";
constexpr std::string_view lock = "SELECT pg_advisory_xact_lock(7883960468316154222)";

}  // namespace

std::span<const Migration> migrations() noexcept {
  return all;
}

Async<Result<int>> migrate(PostgresSession& session, Deadline deadline) {
  MERIDIAN_CO_CHECK(co_await session.transact({std::string(patience),
                                               std::string(lock),
                                               "CREATE SCHEMA IF NOT EXISTS meridian",
                                               "CREATE TABLE IF NOT EXISTS meridian.migrations "
                                               "(version integer PRIMARY KEY, name text NOT NULL,"
                                               " applied_at timestamptz NOT NULL DEFAULT now())"},
                                              deadline));
  const int newest = all.back().version;
  for (const Migration& migration : all) {
    MERIDIAN_CO_TRY(const Rows rows,
                    co_await session.query(
                        "SELECT coalesce(max(version), 0) FROM meridian.migrations", {}, deadline));
    const int present = parse_number<int>(rows.text(0, 0)).value_or(0);
    if (present > newest) {
      co_return fail(Errc::conflict,
                     "the schema \"meridian\" is at version " + std::to_string(present) +
                         ", this program knows versions up to " + std::to_string(newest) +
                         ": run the newer program");
    }
    if (present >= migration.version) continue;
    std::vector<std::string> statements{std::string(patience), std::string(lock)};
    const std::string version = std::to_string(migration.version);
    // Fails with a duplicate key, before anything is changed, when another node was faster.
    statements.push_back("INSERT INTO meridian.migrations (version, name) VALUES (" + version +
                         ", " + quote_literal(migration.name) + ")");
    for (const std::string_view statement : migration.statements)
      statements.emplace_back(statement);
    auto applied = co_await session.transact(std::move(statements), deadline);
    if (!applied) {
      auto again = co_await session.query(
          "SELECT 1 FROM meridian.migrations WHERE version = " + version, {}, deadline);
      if (again && !again->empty()) continue;
      co_return fail_while("migration " + version + " (" + std::string(migration.name) + ")",
                           applied.error());
    }
    log_info("timeline",
             "applied a migration",
             {{"version", migration.version}, {"name", migration.name}});
  }
  co_return newest;
}

Async<Result<void>> install_schema_watch(PostgresSession& session, Deadline deadline) {
  struct Trigger {
    std::string_view name;
    std::string_view event;
    std::string_view function;
  };
  constexpr std::string_view present =
      "SELECT evtenabled = 'A' FROM pg_catalog.pg_event_trigger WHERE evtname = $1";
  constexpr std::array triggers{
      Trigger{"meridian_schema_change", "ddl_command_end", "meridian.note_schema_change"},
      Trigger{"meridian_schema_drop", "sql_drop", "meridian.note_schema_drop"}};
  for (const Trigger& trigger : triggers) {
    MERIDIAN_CO_TRY(const Rows rows, co_await session.query(present, {trigger.name}, deadline));
    if (!rows.empty() && rows.flag(0, 0)) continue;
    const std::string name(trigger.name);
    std::vector<std::string> statements{std::string(patience), std::string(lock)};
    if (rows.empty()) {
      statements.push_back("CREATE EVENT TRIGGER " + name + " ON " + std::string(trigger.event) +
                           " EXECUTE FUNCTION " + std::string(trigger.function) + "()");
    }
    statements.push_back("ALTER EVENT TRIGGER " + name + " ENABLE ALWAYS");
    auto installed = co_await session.transact(std::move(statements), deadline);
    if (installed) continue;
    // Another node may have been faster.
    auto again = co_await session.query(present, {trigger.name}, deadline);
    if (!again || again->empty() || !again->flag(0, 0)) co_return installed;
  }
  co_return Result<void>();
}

}  // namespace meridian
