#pragma once
// Statements on PostgreSQL: one session, made again when it broke, which prepares each text once.

#include "timeline/postgres/session_keeper.h"
#include "timeline/statements.h"

#include <cstdint>
#include <map>
#include <string>

namespace meridian {

class KeptStatements final : public Statements {
 public:
  // Texts are ours, so they are few; one more than this runs unprepared.
  static constexpr std::size_t prepared_max = 64;

  KeptStatements(EpollLoop& loop, SessionKeeper::Options options)
      : sessions_(loop, std::move(options)) {}

  Async<Result<Rows>> run(std::string_view sql, Parameters parameters, Deadline deadline) override;

  // The session itself, for transactions of several statements. As SessionKeeper::get().
  Async<Result<PostgresSession*>> session(Deadline deadline) { return sessions_.get(deadline); }

  // As SessionKeeper::process_id().
  int process_id() const noexcept { return sessions_.process_id(); }

  // What runs fails, and the next statement has a new session.
  void reset() { sessions_.reset(); }

  Async<> close() { return sessions_.close(); }

 private:
  SessionKeeper sessions_;
  std::uint64_t generation_ = 0;  // Of the session that has what is in `prepared_`.
  std::map<std::string, std::string, std::less<>> prepared_;  // Text to name.
};

}  // namespace meridian
