#include "timeline/postgres/backend_watch.h"

#include <optional>
#include <string>
#include <utility>

namespace meridian {
namespace {

constexpr Duration look_timeout = std::chrono::seconds(10);

}  // namespace

Async<Result<bool>> BackendWatch::at_work(int process_id) {
  const Deadline deadline = loop_.after(look_timeout);
  const std::string process = std::to_string(process_id);
  MERIDIAN_CO_TRY(PostgresSession * session, co_await asking_.get(deadline));
  // Also true of a walsender that runs a command.
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await session->query("SELECT EXISTS (SELECT FROM pg_stat_get_activity($1::int)"
                                          " WHERE state = 'active')",
                                          {process},
                                          deadline));
  co_return rows.flag(0, 0);
}

Async<Result<Rows>> BackendWatch::guard(Async<Result<Rows>> work, FunctionRef<int()> process_id) {
  Event done(loop_);
  std::optional<Result<Rows>> answer;
  Scope working(loop_);
  working.spawn(
      [](Async<Result<Rows>> asked, std::optional<Result<Rows>>& given, Event& over) -> Async<> {
        given = co_await std::move(asked);
        over.set();
      }(std::move(work), answer, done));

  int idle_looks = 0;
  while (idle_looks < idle_looks_max &&
         co_await done.wait(loop_.after(look_every)) == Wake::timeout) {
    const int process = process_id();
    // Who cannot be asked has not said that it does nothing.
    const auto busy = process == 0 ? Result<bool>(true) : co_await at_work(process);
    if (busy) idle_looks = *busy ? 0 : idle_looks + 1;
  }
  {
    const Shield shield(co_await this_fibre());
    co_await working.close();
  }
  if (idle_looks == idle_looks_max && answer && !*answer &&
      answer->error().code() == Errc::cancelled) {
    co_return fail(Errc::unavailable,
                   "PostgreSQL does not work on a statement that it has not answered: the network "
                   "between has lost one or the other");
  }
  co_return std::move(*answer);
}

}  // namespace meridian
