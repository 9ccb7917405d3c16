// The outbox's statements against PostgreSQL: what was read before its server may have crashed is
// not acted upon after.

#include "streams/outbox_store.h"

#include "integration/engine_node.h"
#include "timeline/postgres/kept_statements.h"
#include "timeline/postgres/migrations.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace meridian {
namespace {

// Asked again while the session is being made anew.
template <class T>
Async<Result<T>> settled(EpollLoop& loop, std::function<Async<Result<T>>()> ask) {
  for (;;) {
    auto answer = co_await ask();
    if (answer || answer.error().code() != Errc::unavailable) co_return answer;
    (void)co_await loop.sleep(std::chrono::milliseconds(10));
  }
}

TEST(OutboxStores, TakeNothingOverFromBeforeACrash) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (!opened) co_return co_await node.close();
    const auto options = [&]() -> Result<PostgresOptions> { return login_of(node); };
    KeptStatements numbering(loop, options);
    KeptStatements others(loop, options);
    {
      auto session = co_await numbering.session(loop.after(patience));
      EXPECT_TRUE(session);
      const auto version = co_await migrate(**session, loop.after(patience));
      EXPECT_TRUE(version) << version.error().detail();
    }
    Session writer(*node.postgres);
    EXPECT_EQ(writer.query("SELECT epoch FROM meridian.acquire_lease('outbox', 'a', '1h')"), "1");
    SqlOutboxStore store(
        {.numbering = numbering, .reading = others, .marking = others, .slow = others}, "outbox");
    store.set_epoch(1);

    const auto snapshot = co_await store.snapshot(loop.after(patience));
    EXPECT_TRUE(snapshot);
    EXPECT_TRUE(co_await store.horizon(loop.after(patience)));
    EXPECT_TRUE(co_await store.mark_settled(1, loop.after(patience)));
    EXPECT_TRUE(co_await store.number_backlog(snapshot->text, {}, 1, loop.after(patience)));

    // Whoever has drawn a row id is below the horizon's transaction, also who has drawn the newest
    // transaction id of all and still runs.
    Session running(*node.postgres);
    EXPECT_EQ(running.query("BEGIN"), "");
    EXPECT_NE(running.query("SELECT pg_current_xact_id()"), "");
    const std::string newest = running.query("SELECT nextval('meridian.outbox_id')");
    const auto horizon = co_await store.horizon(loop.after(patience));
    EXPECT_TRUE(horizon);
    EXPECT_EQ(std::to_string(horizon->id), newest);
    EXPECT_LT((co_await store.snapshot(loop.after(patience)))->oldest, horizon->next_transaction);
    EXPECT_EQ(running.query("ROLLBACK"), "");
    EXPECT_GE((co_await store.snapshot(loop.after(patience)))->oldest, horizon->next_transaction);

    // Ended as by a crash, which ends all sessions.
    EXPECT_EQ(writer.query("SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity"
                           " WHERE pid <> pg_backend_pid() AND usename = 'meridian'"),
              "t");
    const auto backlog =
        co_await settled<std::uint64_t>(loop, [&]() -> Async<Result<std::uint64_t>> {
          co_return co_await store.number_backlog(snapshot->text, {}, 9, loop.after(patience));
        });
    EXPECT_EQ(backlog.error().code(), Errc::conflict);
    const auto marked = co_await settled<void>(loop, [&]() -> Async<Result<void>> {
      co_return co_await store.mark_settled(9, loop.after(patience));
    });
    EXPECT_EQ(marked.error().code(), Errc::conflict);
    EXPECT_EQ(writer.query("SELECT settled_id FROM meridian.outbox_state"), "1");
    const auto seen =
        co_await settled<OutboxSnapshot>(loop, [&]() -> Async<Result<OutboxSnapshot>> {
          co_return co_await store.snapshot(loop.after(patience));
        });
    EXPECT_EQ(seen.error().code(), Errc::conflict);
    EXPECT_EQ((co_await store.horizon(loop.after(patience))).error().code(), Errc::conflict);

    // With the next epoch everything is read anew.
    store.set_epoch(1);
    EXPECT_TRUE(co_await store.snapshot(loop.after(patience)));
    EXPECT_TRUE(co_await store.mark_settled(9, loop.after(patience)));
    co_await numbering.close();
    co_await others.close();
    co_await node.close();
  });
}

}  // namespace
}  // namespace meridian
