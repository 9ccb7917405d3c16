#include "timeline/postgres/standby.h"

#include "base/escape.h"

#include <utility>

namespace meridian {
namespace {

constexpr Duration look_pause = std::chrono::milliseconds(2);

}  // namespace

// A commit under way. Shared with its fibre, which may outlive who waits.
struct SynchronousStandby::Probe {
  Result<void> result;
  bool done = false;
};

SynchronousStandby::SynchronousStandby(EpollLoop& loop,
                                       SessionKeeper::Options session,
                                       const std::string& name)
    : loop_(loop),
      admin_(loop, session),
      prober_(loop, std::move(session)),
      names_("FIRST 1 (" + quote_identifier(name) + ")"),
      scope_(loop) {}

Async<> SynchronousStandby::close() {
  co_await scope_.close();
  co_await prober_.close();
  co_await admin_.close();
}

// Of the first eight bytes of "meridian", plus two.
std::string_view SynchronousStandby::claim(bool confirms) noexcept {
  return confirms ? "SELECT pg_catalog.pg_try_advisory_lock(7883960468316154224)"
                  : "SELECT pg_catalog.pg_try_advisory_lock_shared(7883960468316154224)";
}

Async<Result<void>> SynchronousStandby::withdraw_at_end(Deadline deadline) {
  // The server may take a moment to notice that the stream has ended.
  for (;;) {
    MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
    MERIDIAN_CO_TRY(const Rows claimed, co_await session->query(claim(true), {}, deadline));
    if (claimed.flag(0, 0)) co_return co_await withdraw_remains(deadline);
    if (deadline.passed(loop_.now() + look_pause)) co_return Result<void>();
    if (co_await loop_.sleep(look_pause) != Wake::ready) co_return fail(Errc::cancelled);
  }
}

Async<Result<void>> SynchronousStandby::withdraw(Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  // What the files say: what this session has read of them may be older.
  MERIDIAN_CO_TRY(
      const Rows set,
      co_await session->query("SELECT setting FROM pg_catalog.pg_file_settings"
                              " WHERE name = 'synchronous_standby_names' AND setting <> ''"
                              " ORDER BY seqno DESC LIMIT 1",
                              {},
                              deadline));
  if (!set.empty() && set.text(0, 0) != names_) {
    co_return fail(Errc::invalid,
                   "timeline.commit_wait is database, and synchronous_standby_names is already " +
                       quote(set.text(0, 0)) + "; unset it or use commit_wait: door");
  }
  if (!set.empty()) {
    MERIDIAN_CO_CHECK(co_await reset(deadline));
  }
  // It returns once the setting has taken effect everywhere.
  co_return co_await commit(deadline);
}

Async<Result<void>> SynchronousStandby::withdraw_remains(Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  MERIDIAN_CO_TRY(
      const Rows set,
      co_await session->query(
          "SELECT pg_catalog.current_setting('synchronous_standby_names')", {}, deadline));
  if (set.text(0, 0) != names_) co_return Result<void>();
  co_return co_await reset(deadline);
}

Async<Result<void>> SynchronousStandby::reset(Deadline deadline) {
  for (const std::string_view statement :
       {"ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_catalog.pg_reload_conf()"}) {
    MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
    auto done = co_await session->query(statement, {}, deadline);
    if (!done) co_return std::unexpected(done.error());
  }
  co_return Result<void>();
}

Async<Result<void>> SynchronousStandby::engage(Deadline deadline) {
  const std::string set = "ALTER SYSTEM SET synchronous_standby_names = " + quote_literal(names_);
  for (const std::string_view statement :
       {std::string_view(set), std::string_view("SELECT pg_catalog.pg_reload_conf()")}) {
    MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
    auto done = co_await session->query(statement, {}, deadline);
    if (!done) co_return std::unexpected(done.error());
  }
  MERIDIAN_CO_TRY(PostgresSession * session, co_await prober_.get(deadline));
  MERIDIAN_CO_TRY(const Rows pid,
                  co_await session->query("SELECT pg_catalog.pg_backend_pid()", {}, deadline));
  const std::string prober(pid.text(0, 0));
  std::shared_ptr<Probe> probe;
  while (!deadline.passed(loop_.now())) {
    if (probe && probe->done) {
      if (!probe->result) co_return probe->result;
      probe.reset();  // It waited for nobody.
    }
    if (!probe) {
      probe = std::make_shared<Probe>();
      scope_.spawn(
          [](SynchronousStandby& self, std::shared_ptr<Probe> one, Deadline end) -> Async<> {
            one->result = co_await self.commit(end);
            one->done = true;
          }(*this, probe, deadline));
    }
    MERIDIAN_CO_TRY(PostgresSession * watcher, co_await admin_.get(deadline));
    MERIDIAN_CO_TRY(const Rows waits,
                    co_await watcher->query("SELECT 1 FROM pg_catalog.pg_stat_activity"
                                            " WHERE pid = $1::int AND wait_event = 'SyncRep'",
                                            {prober},
                                            deadline));
    if (!waits.empty()) co_return Result<void>();
    if (co_await loop_.sleep(look_pause) != Wake::ready) co_return fail(Errc::cancelled);
  }
  co_return fail(Errc::timeout, "no commit waits for us though synchronous_standby_names says so");
}

Async<Result<void>> SynchronousStandby::commit(Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await prober_.get(deadline));
  // Our own sessions wait for the disk alone.
  auto waits = co_await session->query(
      "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)", {}, deadline);
  if (!waits) co_return std::unexpected(waits.error());
  MERIDIAN_CO_TRY(session, co_await prober_.get(deadline));
  auto done = co_await session->query(
      "SELECT pg_catalog.pg_logical_emit_message(true, 'meridian.nudge', '')", {}, deadline);
  if (!done) {
    // A commit that still waits must not be in the way of the next one.
    prober_.reset();
    co_return std::unexpected(done.error());
  }
  co_return Result<void>();
}

}  // namespace meridian
