#include "timeline/postgres/positions.h"

#include "base/escape.h"
#include "timeline/postgres/boot.h"
#include "wire/postgres/lsn.h"

#include <utility>

namespace meridian {
namespace {

SessionKeeper::Prepared question(std::string name, std::string_view expression) {
  return {.name = std::move(name),
          .sql = "SELECT " + std::string(expression) + ", " + std::string(boot_columns)};
}

}  // namespace

PostgresPositions::PostgresPositions(EpollLoop& loop, SessionKeeper::Options options)
    : keeper_(
          loop,
          std::move(options),
          {// Not the insert position: it may lie behind bytes that nobody will ever flush.
           question("flushed", "pg_catalog.pg_current_wal_flush_lsn()"),
           question("snapshot", "pg_catalog.pg_current_snapshot()"),
           question("nudge", "pg_catalog.pg_logical_emit_message(true, 'meridian.nudge', '')")}) {}

Async<Result<OfBoot<std::string>>> PostgresPositions::ask(std::string_view statement,
                                                          Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await keeper_.get(deadline));
  // Of this very connection: read before the wait.
  const std::string system = keeper_.system();
  MERIDIAN_CO_TRY(const Rows rows, co_await session->execute(statement, {}, deadline));
  MERIDIAN_CO_TRY(const BootId boot, boot_of(rows, 1, system));
  co_return OfBoot<std::string>{.value = std::string(rows.text(0, 0)), .boot = boot};
}

Async<Result<OfBoot<Position>>> PostgresPositions::flushed(Deadline deadline) {
  MERIDIAN_CO_TRY(const auto answer, co_await ask("flushed", deadline));
  MERIDIAN_CO_TRY(const Position position, parse_position(answer.value));
  co_return OfBoot<Position>{.value = position, .boot = answer.boot};
}

Async<Result<OfBoot<Snapshot>>> PostgresPositions::snapshot(Deadline deadline) {
  MERIDIAN_CO_TRY(const auto answer, co_await ask("snapshot", deadline));
  MERIDIAN_CO_TRY(Snapshot snapshot, Snapshot::parse(answer.value));
  co_return OfBoot<Snapshot>{.value = std::move(snapshot), .boot = answer.boot};
}

Async<Result<BootId>> PostgresPositions::nudge(Deadline deadline) {
  MERIDIAN_CO_TRY(const auto answer, co_await ask("nudge", deadline));
  co_return answer.boot;
}

Result<Position> parse_position(std::string_view lsn) {
  const auto parsed = postgres::Lsn::parse(lsn);
  if (!parsed) return fail(Errc::invalid, quote(lsn) + " is not a position in the log");
  return Position{parsed->value};
}

std::string to_string(Position position) {
  return postgres::Lsn{position.value}.to_string();
}

}  // namespace meridian
