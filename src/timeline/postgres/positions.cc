#include "timeline/postgres/positions.h"

#include "base/escape.h"
#include "wire/postgres/lsn.h"

#include <utility>

namespace meridian {

PostgresPositions::PostgresPositions(EpollLoop& loop, SessionKeeper::Options options)
    : keeper_(loop,
              std::move(options),
              {// Not the insert position: it may lie behind bytes that nobody will ever flush.
               {.name = "flushed", .sql = "SELECT pg_catalog.pg_current_wal_flush_lsn()"},
               {.name = "snapshot", .sql = "SELECT pg_catalog.pg_current_snapshot()"},
               {.name = "nudge",
                .sql = "SELECT pg_catalog.pg_logical_emit_message(true, 'meridian.nudge', '')"}}) {}

Async<Result<std::string>> PostgresPositions::ask(std::string_view statement, Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await keeper_.get(deadline));
  MERIDIAN_CO_TRY(const Rows rows, co_await session->execute(statement, {}, deadline));
  co_return std::string(rows.text(0, 0));
}

Async<Result<Position>> PostgresPositions::flushed(Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string text, co_await ask("flushed", deadline));
  co_return parse_position(text);
}

Async<Result<Snapshot>> PostgresPositions::snapshot(Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string text, co_await ask("snapshot", deadline));
  co_return Snapshot::parse(text);
}

Async<Result<void>> PostgresPositions::nudge(Deadline deadline) {
  auto done = co_await ask("nudge", deadline);
  if (!done) co_return std::unexpected(done.error());
  co_return Result<void>();
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
