#include "timeline/postgres/session_keeper.h"

#include <algorithm>
#include <utility>

namespace meridian {

SessionKeeper::SessionKeeper(EpollLoop& loop, Options options, std::vector<Prepared> statements)
    : loop_(loop),
      options_(std::move(options)),
      statements_(std::move(statements)),
      attempted_(loop),
      scope_(loop) {}

SessionKeeper::~SessionKeeper() = default;

Async<> SessionKeeper::close() {
  scope_.cancel();
  co_await scope_.join();
  if (session_) co_await session_->close();
  session_.reset();
}

void SessionKeeper::reset() {
  drop();
}

// A session ends with an await, so it is ended aside.
void SessionKeeper::drop() {
  identity_ = {};
  if (!session_) return;
  scope_.spawn([](std::unique_ptr<PostgresSession> ended) -> Async<> {
    co_await ended->close();
  }(std::move(session_)));
}

Async<Result<PostgresSession*>> SessionKeeper::get(Deadline deadline) {
  for (;;) {
    if (connected()) co_return session_.get();
    if (!attempting_) {
      if (failure_ && loop_.now() < retry_at_) co_return std::unexpected(*failure_);
      attempting_ = true;
      failure_.reset();
      drop();
      scope_.spawn(attempt());
    }
    MERIDIAN_CO_CHECK(to_result(co_await attempted_.wait(deadline), "a session with PostgreSQL"));
    if (failure_) co_return std::unexpected(*failure_);
  }
}

Async<> SessionKeeper::attempt() {
  auto made = co_await make();
  attempting_ = false;
  if (made) {
    session_ = std::move(*made);
    ++generation_;
    backoff_ = Duration::zero();
  } else {
    failure_ = made.error();
    backoff_ = std::clamp(backoff_ * 2, backoff_min, backoff_max);
    retry_at_ = loop_.now() + backoff_;
  }
  attempted_.notify_all();
}

Async<Result<std::unique_ptr<PostgresSession>>> SessionKeeper::make() {
  MERIDIAN_CO_TRY(PostgresOptions options, options_());
  const Deadline deadline = loop_.after(connect_timeout);
  MERIDIAN_CO_TRY(auto session,
                  co_await PostgresSession::connect(loop_, std::move(options), deadline));
  auto asked = co_await session->query(boot_query, {}, deadline);
  auto identity = asked ? identity_of(*asked) : std::unexpected(asked.error());
  Result<void> prepared;
  for (const Prepared& statement : statements_) {
    if (!identity || !prepared) break;
    auto described = co_await session->prepare(statement.name, statement.sql, deadline);
    if (!described) prepared = std::unexpected(described.error());
  }
  if (!identity || !prepared) {
    const Error error = identity ? prepared.error() : identity.error();
    co_await session->close();
    co_return std::unexpected(error);
  }
  identity_ = *std::move(identity);
  co_return session;
}

}  // namespace meridian
