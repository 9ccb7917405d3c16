#pragma once
// PostgreSQL's positions: asked for on a session of their own, so that no client's session is
// touched. Each answer says in the same statement which incarnation of the server it is of.

#include "timeline/position_source.h"
#include "timeline/postgres/session_keeper.h"

namespace meridian {

class PostgresPositions final : public PositionSource {
 public:
  PostgresPositions(EpollLoop& loop, SessionKeeper::Options options);

  Async<Result<OfBoot<Position>>> flushed(Deadline deadline) override;
  Async<Result<OfBoot<Snapshot>>> snapshot(Deadline deadline) override;
  Async<Result<BootId>> nudge(Deadline deadline) override;
  void reconnect() noexcept override { keeper_.reset(); }

  Async<> close() { co_await keeper_.close(); }

 private:
  Async<Result<OfBoot<std::string>>> ask(std::string_view statement, Deadline deadline);

  SessionKeeper keeper_;
};

// "0/16B3748" as one number. Errors: invalid.
Result<Position> parse_position(std::string_view lsn);
std::string to_string(Position position);

}  // namespace meridian
