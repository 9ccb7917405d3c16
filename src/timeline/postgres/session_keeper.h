#pragma once
// A session that is made when it is first wanted and made again when it broke.
//
// Belongs to one loop. close() before it ends.

#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/postgres/boot.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace meridian {

class SessionKeeper {
 public:
  // Asked before each attempt, so that a rotated password is the current one. Errors are those of
  // an attempt.
  using Options = std::function<Result<PostgresOptions>()>;

  struct Prepared {
    std::string name;
    std::string sql;
  };

  // `statements` are prepared on each session before it is given out.
  SessionKeeper(EpollLoop& loop, Options options, std::vector<Prepared> statements = {});
  ~SessionKeeper();

  // The session, connected. Fibres that ask meanwhile share the attempt; after a failure the next
  // attempt waits for up to backoff_max. Errors: unavailable, denied, timeout, cancelled. The
  // pointer is good until the caller waits.
  Async<Result<PostgresSession*>> get(Deadline deadline);

  // Of the session that get() gave. Asked once for each connection.
  BootId boot() const noexcept { return identity_.boot; }

  // The system identifier of its server.
  const std::string& system() const noexcept { return identity_.system; }

  // Counts the sessions made.
  std::uint64_t generation() const noexcept { return generation_; }

  std::size_t under_way() const noexcept { return session_ ? session_->under_way() : 0; }
  bool connected() const noexcept { return session_ && !session_->broken(); }

  // Of the session's backend; zero when there is none.
  int process_id() const noexcept { return connected() ? session_->process_id() : 0; }

  // The next get() makes a new session; statements under way fail.
  void reset();

  Async<> close();

 private:
  static constexpr Duration connect_timeout = std::chrono::seconds(5);
  static constexpr Duration backoff_min = std::chrono::milliseconds(50);
  static constexpr Duration backoff_max = std::chrono::seconds(2);

  Async<> attempt();
  Async<Result<std::unique_ptr<PostgresSession>>> make();
  void drop();

  EpollLoop& loop_;
  Options options_;
  std::vector<Prepared> statements_;
  std::unique_ptr<PostgresSession> session_;
  ServerIdentity identity_;
  std::uint64_t generation_ = 0;
  bool attempting_ = false;
  Duration backoff_ = Duration::zero();
  Time retry_at_{};
  std::optional<Error> failure_;  // Of the last attempt.
  Event attempted_;
  Scope scope_;
};

}  // namespace meridian
