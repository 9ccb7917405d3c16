// A lease is held from an answer that gives it until an answer that does not, or until its time has
// passed without any answer; what is lost is tried for again.

#include "streams/lease.h"

#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The table meridian.leases with one row, as the migration's functions treat it.
class LeaseTable final : public Statements {
 public:
  explicit LeaseTable(SimLoop& loop) : loop_(loop) {}

  Async<Result<Rows>> run(std::string_view sql, Parameters parameters, Deadline) override {
    const auto items = parameters.items();
    const std::string first(items[1].value_or(""));
    const auto what = std::string(sql);
    co_await loop_.sleep(milliseconds(1));
    ++asked;
    if (!reachable) co_return fail(Errc::unavailable, "the database is gone");
    const bool expired = now() >= expires_at;
    if (what.starts_with("SELECT")) {
      if (!expired && owner != first) {
        co_return Rows({"epoch", "holder"}, {std::nullopt, owner});
      }
      owner = first;
      expires_at = now() + ttl;
      co_return Rows({"epoch", "holder"}, {std::to_string(++epoch), std::nullopt});
    }
    if (what.contains("starts_with")) {
      const std::uint64_t below = std::stoull(std::string(items[2].value_or("")));
      if (expired || !owner.starts_with(first)) co_return Rows({"owner"}, {});
      if (std::stoull(owner.substr(first.size())) >= below) co_return Rows({"owner"}, {});
      expires_at = loop_.now();
      co_return Rows({"owner"}, {owner});
    }
    if (std::to_string(epoch) != first) co_return Rows({"epoch"}, {});
    if (what.contains("-infinity")) {
      expires_at = now();
      co_return Rows();
    }
    expires_at = now() + ttl;
    co_return Rows({"epoch"}, {first});
  }

  // By the database's clock, which jumps.
  Time now() const { return loop_.now() + jump; }

  static constexpr Duration ttl = seconds(10);
  Duration jump{};
  bool reachable = true;
  std::string owner;
  std::uint64_t epoch = 0;
  Time expires_at{};
  int asked = 0;

 private:
  SimLoop& loop_;
};

struct LeaseTest : ::testing::TestWithParam<std::uint64_t> {
  void in_time(Async<> work) {
    scope.spawn(std::move(work));
    EXPECT_TRUE(loop.run(seconds(300)));
  }
  LeaseOptions options(std::string owner) {
    return {.name = "outbox", .owner = std::move(owner), .ttl = LeaseTable::ttl};
  }

  SimLoop loop{GetParam()};
  Scope scope{loop};
  LeaseTable table{loop};
};

INSTANTIATE_TEST_SUITE_P(Seeds, LeaseTest, ::testing::Range<std::uint64_t>(0, 5));

TEST_P(LeaseTest, IsKeptWhileItIsRenewed) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease lease(test.loop, test.table, test.options("a"));
    lease.start();
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(1))));
    EXPECT_EQ(lease.epoch(), 1U);
    EXPECT_FALSE(co_await lease.becomes(false, test.loop.after(seconds(60))));
    EXPECT_EQ(lease.epoch(), 1U);
    EXPECT_GE(test.table.asked, 15);
    co_await lease.close();
    EXPECT_FALSE(lease.held());
    EXPECT_GE(test.loop.now(), test.table.expires_at) << "it was not given back";
  }(*this));
}

TEST_P(LeaseTest, HasOneHolderAtATime) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease first(test.loop, test.table, test.options("a"));
    Lease second(test.loop, test.table, test.options("b"));
    first.start();
    EXPECT_TRUE(co_await first.becomes(true, test.loop.after(seconds(1))));
    second.start();
    EXPECT_FALSE(co_await second.becomes(true, test.loop.after(seconds(30))));
    EXPECT_EQ(second.holder(), "a");
    co_await first.close();
    EXPECT_TRUE(co_await second.becomes(true, test.loop.after(seconds(3))));
    EXPECT_EQ(second.epoch(), 2U);
    co_await second.close();
  }(*this));
}

TEST_P(LeaseTest, IsLostToWhoeverTookIt) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease lease(test.loop, test.table, test.options("a"));
    lease.start();
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(1))));
    test.table.owner = "b";
    test.table.epoch = 7;
    test.table.expires_at = test.loop.now() + seconds(20);
    EXPECT_TRUE(co_await lease.becomes(false, test.loop.after(seconds(5))));
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(25))));
    EXPECT_EQ(lease.epoch(), 8U);
    co_await lease.close();
  }(*this));
}

TEST_P(LeaseTest, IsNotBelievedInPastItsTimeWithoutTheDatabase) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease lease(test.loop, test.table, test.options("a"));
    lease.start();
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(1))));
    test.table.reachable = false;
    const Time from = test.loop.now();
    EXPECT_TRUE(co_await lease.becomes(false, test.loop.after(seconds(20))));
    EXPECT_GE(test.loop.now() - from, seconds(6));
    EXPECT_LE(test.loop.now() - from, seconds(14));
    EXPECT_TRUE(lease.last_error().has_value());
    test.table.reachable = true;
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(15))));
    EXPECT_EQ(lease.epoch(), 2U);
    co_await lease.close();
  }(*this));
}

TEST_P(LeaseTest, OfAnEarlierRunIsTakenAtOnceByTheNodeAndByNobodyElse) {
  in_time([](LeaseTest& test) -> Async<> {
    const auto of = [&](std::string node, std::uint64_t run) {
      LeaseOptions options = test.options(std::move(node));
      options.run = run;
      return options;
    };
    const auto held_soon = [&](LeaseOptions options) -> Async<bool> {
      Lease lease(test.loop, test.table, std::move(options));
      lease.start();
      const auto held = co_await lease.becomes(true, test.loop.after(seconds(3)));
      co_await lease.close();
      co_return held.has_value();
    };
    const auto killed = [&](std::string owner) {
      test.table.owner = std::move(owner);
      test.table.expires_at = test.loop.now() + seconds(9);
    };
    killed("a 4 0f");
    EXPECT_FALSE(co_await held_soon(of("b", 5)));
    killed("a 4 0f");
    EXPECT_FALSE(co_await held_soon(of("a", 4))) << "a copy of the folder";
    killed("a 4 0f");
    EXPECT_FALSE(co_await held_soon(of("a", 3))) << "a folder that was restored";
    killed("a 4 0f");
    EXPECT_TRUE(co_await held_soon(of("a", 5)));
    killed("a 9 0f");
    EXPECT_TRUE(co_await held_soon(of("a", 10)));
  }(*this));
}

TEST_P(LeaseTest, ThatAFencedStatementFoundLostIsAskedForAtOnce) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease lease(test.loop, test.table, test.options("a"));
    lease.start();
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(1))));
    lease.lose();
    EXPECT_FALSE(lease.held());
    EXPECT_TRUE(co_await lease.becomes(true, test.loop.after(seconds(1))));
    EXPECT_EQ(lease.epoch(), 2U);
    co_await lease.close();
  }(*this));
}

// Another may take it early, and then has a later epoch, so nothing that the first still writes
// counts; and the first finds out by its next renewal.
TEST_P(LeaseTest, TheDatabasesClockJumpsForward) {
  in_time([](LeaseTest& test) -> Async<> {
    Lease first(test.loop, test.table, test.options("a"));
    Lease second(test.loop, test.table, test.options("b"));
    first.start();
    EXPECT_TRUE(co_await first.becomes(true, test.loop.after(seconds(1))));
    second.start();
    (void)co_await test.loop.sleep(seconds(5));
    EXPECT_FALSE(second.held());
    test.table.jump = std::chrono::hours(5);
    EXPECT_TRUE(co_await second.becomes(true, test.loop.after(seconds(15))) || first.held());
    (void)co_await test.loop.sleep(LeaseTable::ttl);
    EXPECT_NE(first.held(), second.held());
    EXPECT_EQ(first.held() ? first.epoch() : second.epoch(), test.table.epoch);
    co_await first.close();
    co_await second.close();
  }(*this));
}

// Its owner keeps it, and what it renews expires by the new clock.
TEST_P(LeaseTest, TheDatabasesClockJumpsBack) {
  in_time([](LeaseTest& test) -> Async<> {
    test.table.jump = std::chrono::hours(5);
    Lease first(test.loop, test.table, test.options("a"));
    Lease second(test.loop, test.table, test.options("b"));
    first.start();
    EXPECT_TRUE(co_await first.becomes(true, test.loop.after(seconds(1))));
    second.start();
    test.table.jump = {};
    (void)co_await test.loop.sleep(seconds(30));
    EXPECT_TRUE(first.held());
    EXPECT_FALSE(second.held());
    EXPECT_EQ(test.table.epoch, 1U);
    EXPECT_LE(test.table.expires_at, test.table.now() + LeaseTable::ttl);
    co_await first.close();
    EXPECT_TRUE(co_await second.becomes(true, test.loop.after(seconds(15))));
    EXPECT_EQ(second.epoch(), 2U);
    co_await second.close();
  }(*this));
}

}  // namespace
}  // namespace meridian
