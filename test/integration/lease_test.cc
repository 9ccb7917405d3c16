// Leases in a real database: one holder, a growing epoch, and a fence that holds for the whole
// transaction.

#include "streams/lease.h"

#include "integration/engine_node.h"
#include "timeline/postgres/kept_statements.h"
#include "timeline/postgres/migrations.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <tuple>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Leases, FenceWhoeverHadThemBefore) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (!opened) co_return co_await node.close();
    const auto options = [&]() -> Result<PostgresOptions> { return login_of(node); };
    KeptStatements statements(loop, options);
    {
      auto session = co_await statements.session(loop.after(patience));
      EXPECT_TRUE(session);
      const auto version = co_await migrate(**session, loop.after(patience));
      EXPECT_TRUE(version) << version.error().detail();
    }
    // Longer than a busy machine stands still.
    constexpr Duration ttl = seconds(8);
    Lease first(loop, statements, {.name = "work", .owner = "a", .ttl = ttl});
    Lease second(
        loop, statements, {.name = "work", .owner = "b", .ttl = ttl, .retry = milliseconds(50)});
    first.start();
    EXPECT_TRUE(co_await first.becomes(true, loop.after(patience)));
    EXPECT_EQ(first.epoch(), 1U);
    second.start();
    EXPECT_FALSE(co_await second.becomes(true, loop.after(ttl + seconds(1))));
    EXPECT_TRUE(first.held());

    const auto fence = [&](std::string epoch) -> Async<Result<Rows>> {
      co_return co_await statements.run(
          "SELECT meridian.fence('work', $1::bigint)", {epoch}, loop.after(patience));
    };
    EXPECT_TRUE(co_await fence("1"));
    const auto wrong = co_await fence("2");
    EXPECT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code(), Errc::denied) << wrong.error().detail();
    EXPECT_TRUE(wrong.error().detail().contains(lease_lost_sqlstate)) << wrong.error().detail();

    // A transaction that has passed the fence holds the next owner off, and not the renewals.
    Session writer(*node.postgres);
    EXPECT_EQ(writer.query("BEGIN"), "");
    EXPECT_EQ(writer.query("SELECT meridian.fence('work', 1)"), "");
    (void)co_await loop.sleep(ttl + seconds(1));
    EXPECT_TRUE(first.held());
    co_await first.close();
    EXPECT_FALSE(co_await second.becomes(true, loop.after(seconds(1))));
    EXPECT_EQ(writer.query("COMMIT"), "");
    EXPECT_TRUE(co_await second.becomes(true, loop.after(patience)));
    EXPECT_EQ(second.epoch(), 2U);
    EXPECT_FALSE(co_await fence("1"));
    EXPECT_TRUE(co_await fence("2"));

    // Given before the database's clock was set back by hours, by an owner that is gone since.
    const auto kept = co_await statements.run(
        "INSERT INTO meridian.leases (name, owner, epoch, acquired_at, expires_at) VALUES"
        " ('old', 'gone', 7, clock_timestamp(), clock_timestamp() + interval '5 hours')",
        {},
        loop.after(patience));
    EXPECT_TRUE(kept) << kept.error().detail();
    Lease heir(loop, statements, {.name = "old", .owner = "b", .ttl = ttl});
    heir.start();
    EXPECT_TRUE(co_await heir.becomes(true, loop.after(patience)));
    EXPECT_EQ(heir.epoch(), 8U);
    co_await heir.close();

    // A session that breaks is made again, and the lease with it.
    EXPECT_EQ(writer.query("SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity"
                           " WHERE pid <> pg_backend_pid() AND usename = 'meridian'"),
              "t");
    (void)co_await loop.sleep(ttl + seconds(1));
    EXPECT_TRUE(co_await second.becomes(true, loop.after(patience)));
    co_await second.close();

    // A killed run leaves its lease behind: the node's next run takes it at once, others wait.
    const auto killed = [&](std::string owner) -> Async<> {
      auto done = co_await statements.run(
          "UPDATE meridian.leases SET owner = $1, expires_at = clock_timestamp() + interval '15s'",
          {owner},
          loop.after(patience));
      EXPECT_TRUE(done) << done.error().detail();
    };
    for (const auto& [owner, name, number, taken] :
         std::initializer_list<std::tuple<std::string, std::string, std::uint64_t, bool>>{
             {"n 1f 9 7b", "n 1f", 10, true},
             {"n 1f 10 7b", "n 1f", 10, false},
             {"n 1f 11 7b", "n 1f", 10, false},
             {"n 1f 9 7b", "m 1f", 10, false},
             {"n 1f 9 7b", "n", 10, false},
             {"n 1f replay 9 7b", "n 1f", 10, false},
             {"n 1f", "n 1f", 10, false}}) {
      co_await killed(owner);
      Lease next(loop, statements, {.name = "work", .owner = name, .run = number});
      next.start();
      EXPECT_EQ(
          (co_await next.becomes(true, loop.after(taken ? patience : seconds(1)))).has_value(),
          taken)
          << owner << " and " << name << " " << number;
      co_await next.close();
    }
    co_await statements.close();
    co_await node.close();
  });
}

}  // namespace
}  // namespace meridian
