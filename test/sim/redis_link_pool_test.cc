// The pool finds its way back to a server that was lost, leases no more exclusive links than it
// may, and never hands one visit's state, or one visit's bytes, to another. Over simulated wires
// and a simulated server, in many schedules.

#include "pool/redis/link_pool.h"
#include "redis/sim_redis_connector.h"
#include "wire/resp/encoder.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace meridian::redis {
namespace {

using resp::Protocol;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string request_of(std::initializer_list<std::string_view> words) {
  std::string request;
  resp::append_request(request, words);
  return request;
}

constexpr SimWireOptions slow_wire{.delay_min = std::chrono::microseconds(50),
                                   .delay_max = std::chrono::microseconds(500),
                                   .piece_size_max = 200};

class LinkPoolTest : public ::testing::TestWithParam<std::uint64_t> {
 public:
  void make(LinkPoolOptions options = {}) {
    pool_.emplace(loop_, connector_, metrics_, std::move(options));
    pool_->start();
  }

  void TearDown() override {
    if (pool_) {
      scope_.spawn([](LinkPoolTest& test) -> Async<> {
        co_await test.pool_->close();
        co_await test.redis_.stop();
      }(*this));
      settle(seconds(100));
    }
    EXPECT_EQ(scope_.count(), 0U);
    EXPECT_EQ(redis_.connections_count(), 0U);
    EXPECT_EQ(metrics_.total("meridian_redis_links", {{"kind", "shared"}}), 0U);
    EXPECT_EQ(metrics_.total("meridian_redis_links", {{"kind", "exclusive"}}), 0U);
  }

  void settle(Duration duration = seconds(1)) {
    loop_.run(loop_.now().time_since_epoch() + duration);
  }

  // One request on an exclusive link, and its reply.
  static Async<std::string> ask(Link& link,
                                Exchange& exchange,
                                std::initializer_list<std::string_view> words) {
    link.request(exchange, request_of(words), Effect::writes);
    std::string reply;
    EXPECT_EQ(co_await exchange.answers(), Wake::ready);
    if (exchange.failed()) co_return "failed";
    exchange.take(reply);
    co_return reply;
  }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  SimRedis redis_{loop_, {.password = "secret", .command_reply = {}}};
  SimRedisConnector connector_{
      loop_, redis_, {.user = "default", .password = Secret("secret")}, slow_wire};
  Scope scope_{loop_};
  std::optional<LinkPool> pool_;
};

INSTANTIATE_TEST_SUITE_P(Seeds, LinkPoolTest, ::testing::Range<std::uint64_t>(0, 100));

TEST_P(LinkPoolTest, ASharedLinkStandsForEachProtocolVersion) {
  make({.shared_links_count = 2});
  settle();
  EXPECT_EQ(redis_.connections_count(), 4U);
  const Exchange exchange;
  EXPECT_NE(pool_->link_for(exchange, Protocol::resp2), nullptr);
  EXPECT_NE(pool_->link_for(exchange, Protocol::resp3), nullptr);
  EXPECT_NE(pool_->link_for(exchange, Protocol::resp2), pool_->link_for(exchange, Protocol::resp3));
}

TEST_P(LinkPoolTest, CallsAreAnswered) {
  make();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    const std::string request = request_of({"SET", "a", "1"});
    const auto reply = co_await test.pool_->call(request, Effect::writes, Deadline::never());
    EXPECT_EQ(reply.value_or("failed"), "+OK\r\n");
    EXPECT_EQ(test.redis_.keys().at("a"), "1");
  }(*this));
  settle();
}

TEST_P(LinkPoolTest, OwnRepliesAreBounded) {
  if (GetParam() > 1) return;  // Much to copy: two schedules will do.
  make();
  redis_.keys()["large"] = std::string(LinkPool::own_reply_bytes_max, 'x');
  redis_.keys()["small"] = std::string(1'000, 'x');
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    const std::string large = request_of({"GET", "large"});
    const auto refused = co_await test.pool_->call(large, Effect::reads, Deadline::never());
    EXPECT_EQ(refused.error().code(), Errc::exhausted);
    const std::string small = request_of({"GET", "small"});
    const auto reply = co_await test.pool_->call(small, Effect::reads, Deadline::never());
    EXPECT_EQ(reply.value_or("").size(), 1'000U + 9);
  }(*this));
  settle(seconds(1'000));
}

TEST_P(LinkPoolTest, AWrongPasswordSaysSo) {
  SimRedisConnector wrong(loop_, redis_, {.user = "default", .password = Secret("wrong")});
  LinkPool pool(loop_, wrong, metrics_);
  pool.start();
  scope_.spawn([](LinkPoolTest& test, LinkPool& its) -> Async<> {
    Exchange exchange;
    const auto link =
        co_await its.wait_for_link(exchange, Protocol::resp2, test.loop_.after(milliseconds(500)));
    EXPECT_EQ(link.error().code(), Errc::unavailable);
    EXPECT_TRUE(link.error().detail().contains("WRONGPASS"));
    EXPECT_FALSE(link.error().detail().contains("secret"));
    const auto lease = co_await its.lease(Protocol::resp2, Deadline::never());
    EXPECT_EQ(lease.error().code(), Errc::unauthenticated);
    co_await its.close();
  }(*this, pool));
  settle(seconds(10));
  EXPECT_EQ(scope_.count(), 0U);
}

TEST_P(LinkPoolTest, ALostServerIsFoundAgain) {
  make();
  settle();
  connector_.set_down(true);
  redis_.break_connections();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    (void)co_await test.loop_.sleep(milliseconds(1));
    Exchange exchange;
    const auto refused = co_await test.pool_->wait_for_link(
        exchange, Protocol::resp2, test.loop_.after(seconds(10)));
    EXPECT_EQ(refused.error().code(), Errc::unavailable);
    EXPECT_TRUE(refused.error().detail().contains("connection refused"));
    test.connector_.set_down(false);
    const Time back = test.loop_.now();
    const auto found =
        co_await test.pool_->wait_for_link(exchange, Protocol::resp2, Deadline::never());
    EXPECT_TRUE(found);
    EXPECT_LE(test.loop_.now() - back, milliseconds(1'100));
  }(*this));
  settle(seconds(20));
  // Some ten tries a second would be too many: the pause grows to a second.
  EXPECT_LE(metrics_.total("meridian_redis_connects_total", {{"outcome", "failed"}}), 2 * 35U);
  EXPECT_EQ(metrics_.total("meridian_redis_links_lost_total"), 2U);
}

TEST_P(LinkPoolTest, WhoWaitsForRoomMayOutliveTheLink) {
  LinkPoolOptions options;
  options.limits.expected_max = 1;
  make(options);
  settle();
  int ready = 0;
  int failed = 0;
  const auto visit = [](LinkPoolTest& test, int& its_ready, int& its_failed) -> Async<> {
    for (int round = 0; round < 20; ++round) {
      Exchange exchange;
      for (int i = 0; i < 3; ++i) {
        Link* link = test.pool_->link_for(exchange, Protocol::resp2);
        if (!link) {
          const auto found =
              co_await test.pool_->wait_for_link(exchange, Protocol::resp2, Deadline::never());
          if (!found) break;
          link = *found;
        }
        link->request(exchange, request_of({"PING"}), Effect::reads);
      }
      (void)co_await exchange.answers();
      ++(exchange.failed() ? its_failed : its_ready);
    }
  };
  for (int i = 0; i < 5; ++i)
    scope_.spawn(visit(*this, ready, failed));
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    for (int i = 0; i < 10; ++i) {
      (void)co_await test.loop_.sleep(milliseconds(5));
      test.pool_->renew();
    }
  }(*this));
  settle(seconds(50));
  EXPECT_EQ(ready + failed, 100);
  EXPECT_GT(ready, 50);
}

TEST_P(LinkPoolTest, NoRoomUntilTheDeadlineIsExhausted) {
  LinkPoolOptions options;
  options.limits.expected_max = 1;
  make(options);
  settle();
  Exchange first;
  pool_->link_for(first, Protocol::resp2)->request(first, request_of({"PING"}), Effect::reads);
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    Exchange exchange;
    EXPECT_EQ(test.pool_->link_for(exchange, Protocol::resp2), nullptr);
    const auto link = co_await test.pool_->wait_for_link(
        exchange, Protocol::resp2, test.loop_.after(Duration(1)));
    EXPECT_TRUE(link || link.error().code() == Errc::exhausted);
  }(*this));
  settle();
}

TEST_P(LinkPoolTest, ARenewedPoolHasNewLinks) {
  make();
  settle();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    {
      auto lease = co_await test.pool_->lease(Protocol::resp2, Deadline::never());
      EXPECT_TRUE(lease);
      test.pool_->renew();
      EXPECT_FALSE(test.pool_->connected(Protocol::resp2));
      EXPECT_TRUE(lease->link().open());
    }
    Exchange exchange;
    EXPECT_TRUE(co_await test.pool_->wait_for_link(exchange, Protocol::resp2, Deadline::never()));
  }(*this));
  settle();
  EXPECT_EQ(redis_.connections_count(), 2U);  // The leased one was not kept.
}

TEST_P(LinkPoolTest, LeasesAreBoundedAndInOrder) {
  make({.exclusive_max = 2});
  std::vector<int> order;
  const auto visit = [](LinkPoolTest& test, std::vector<int>& out, int name) -> Async<> {
    (void)co_await test.loop_.sleep(milliseconds(10 * name));
    auto lease = co_await test.pool_->lease(Protocol::resp3, Deadline::never());
    EXPECT_TRUE(lease);
    out.push_back(name);
    (void)co_await test.loop_.sleep(milliseconds(100));
  };
  for (int name = 0; name < 8; ++name)
    scope_.spawn(visit(*this, order, name));
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    (void)co_await test.loop_.sleep(milliseconds(35));
    const auto late =
        co_await test.pool_->lease(Protocol::resp2, test.loop_.after(milliseconds(20)));
    EXPECT_EQ(late.error().code(), Errc::exhausted);
    EXPECT_TRUE(late.error().detail().contains("exclusive_max=2"));
  }(*this));
  settle(seconds(10));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(metrics_.total("meridian_redis_connects_total", {{"outcome", "ok"}}), 2U + 2U);
}

TEST_P(LinkPoolTest, AWaitForALeaseMayBeCancelled) {
  make({.exclusive_max = 1});
  Scope visits(loop_);
  const auto visit = [](LinkPoolTest& test) -> Async<> {
    const auto lease = co_await test.pool_->lease(Protocol::resp2, Deadline::never());
    if (lease) (void)co_await test.loop_.sleep(seconds(1));
  };
  for (int i = 0; i < 5; ++i)
    visits.spawn(visit(*this));
  settle(milliseconds(100));
  visits.abandon();
  bool leased = false;
  scope_.spawn([](LinkPoolTest& test, bool& out) -> Async<> {
    out = (co_await test.pool_->lease(Protocol::resp2, Deadline::never())).has_value();
  }(*this, leased));
  settle();
  EXPECT_TRUE(leased);
}

TEST_P(LinkPoolTest, AnExclusiveLinkComesBackAsNew) {
  make();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    std::string id;
    {
      auto lease = co_await test.pool_->lease(Protocol::resp3, Deadline::never());
      EXPECT_TRUE(lease);
      Exchange exchange;
      lease->link().set_owner(exchange);
      id = co_await ask(lease->link(), exchange, {"CLIENT", "ID"});
      EXPECT_EQ(co_await ask(lease->link(), exchange, {"CLIENT", "SETNAME", "mallory"}), "+OK\r\n");
      lease->link().request(exchange, request_of({"SUBSCRIBE", "gossip"}), Effect::reads, 0);
      std::string subscribed;
      while (!subscribed.ends_with(":1\r\n")) {
        EXPECT_EQ(co_await exchange.bytes(), Wake::ready);
        exchange.take(subscribed);
      }
      EXPECT_TRUE(subscribed.starts_with(">3\r\n"));
      EXPECT_EQ(co_await ask(lease->link(), exchange, {"MULTI"}), "+OK\r\n");
      EXPECT_EQ(co_await ask(lease->link(), exchange, {"SET", "a", "1"}), "+QUEUED\r\n");
    }
    const std::string publish = request_of({"PUBLISH", "gossip", "psst"});
    EXPECT_TRUE(co_await test.pool_->call(publish, Effect::writes, Deadline::never()));
    (void)co_await test.loop_.sleep(milliseconds(100));
    EXPECT_TRUE(co_await test.pool_->call(publish, Effect::writes, Deadline::never()));
    auto lease = co_await test.pool_->lease(Protocol::resp3, Deadline::never());
    EXPECT_TRUE(lease);
    Exchange exchange;
    lease->link().set_owner(exchange);
    EXPECT_EQ(co_await ask(lease->link(), exchange, {"CLIENT", "ID"}), id);
    EXPECT_EQ(co_await ask(lease->link(), exchange, {"CLIENT", "GETNAME"}), "$8\r\nmeridian\r\n");
    EXPECT_EQ(co_await ask(lease->link(), exchange, {"EXEC"}), "-ERR EXEC without MULTI\r\n");
    EXPECT_EQ(co_await ask(lease->link(), exchange, {"GET", "a"}), "_\r\n");
  }(*this));
  settle(seconds(5));
}

TEST_P(LinkPoolTest, ALinkWithUnansweredRequestsIsNotUsedAgain) {
  make();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    {
      auto lease = co_await test.pool_->lease(Protocol::resp2, Deadline::never());
      Exchange exchange;
      lease->link().request(exchange, request_of({"PING"}), Effect::reads);
    }
    (void)co_await test.loop_.sleep(milliseconds(100));
    EXPECT_EQ(test.redis_.connections_count(), 2U);
  }(*this));
  settle(seconds(5));
}

TEST_P(LinkPoolTest, NoVisitSeesAnotherOnesBytesThroughFaults) {
  make({.exclusive_max = 3});
  struct Tally {
    int asked = 0;
    int counted = 0;
    int unknown = 0;
  } tally;
  // Each round asks for an increment and an echo of a tag of its own, on whatever link.
  const auto visit = [](LinkPoolTest& test, Tally& out, int name) -> Async<> {
    for (int round = 0; round < 30; ++round) {
      const std::string tag = std::to_string(name) + "." + std::to_string(round);
      const bool exclusive = test.loop_.random().chance(0.3);
      LinkPool::Lease lease;
      Exchange exchange;
      Link* link = nullptr;
      if (exclusive) {
        auto leased = co_await test.pool_->lease(Protocol::resp2, Deadline::never());
        if (!leased) continue;
        lease = std::move(*leased);
        link = &lease.link();
      } else {
        auto found =
            co_await test.pool_->wait_for_link(exchange, Protocol::resp2, Deadline::never());
        if (!found) continue;
        link = *found;
      }
      ++out.asked;
      link->request(exchange, request_of({"INCR", "n"}), Effect::writes);
      link->request(exchange, request_of({"ECHO", tag}), Effect::reads);
      if (test.loop_.random().chance(0.05)) {
        ++out.unknown;
        continue;  // Walks away.
      }
      (void)co_await exchange.answers();
      std::string replies;
      exchange.take(replies);
      if (replies.starts_with(":")) {
        ++out.counted;
        if (exchange.replies_left() == 0) {
          EXPECT_EQ(replies.substr(replies.find('$')),
                    "$" + std::to_string(tag.size()) + "\r\n" + tag + "\r\n");
        }
      } else if (exchange.failure().code() == Errc::outcome_unknown) {
        ++out.unknown;
      } else {
        EXPECT_EQ(exchange.failure().code(), Errc::unavailable);
      }
    }
  };
  for (int name = 0; name < 12; ++name)
    scope_.spawn(visit(*this, tally, name));
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    for (int i = 0; i < 10; ++i) {
      (void)co_await test.loop_.sleep(milliseconds(3));
      test.redis_.break_connections();
    }
  }(*this));
  settle(seconds(100));
  EXPECT_EQ(scope_.count(), 0U);
  const int stored = std::stoi(redis_.keys().at("n"));
  EXPECT_GE(stored, tally.counted);
  EXPECT_LE(stored, tally.counted + tally.unknown);
  EXPECT_GT(tally.counted, 50);
}

TEST_P(LinkPoolTest, ClosingEndsWhatWaits) {
  make();
  settle();
  Exchange exchange;
  pool_->link_for(exchange, Protocol::resp2)
      ->request(exchange, request_of({"SET", "a", "1"}), Effect::writes);
  scope_.spawn([](Exchange& waited) -> Async<> {
    EXPECT_EQ(co_await waited.answers(), Wake::ready);
    EXPECT_TRUE(waited.failed() || waited.replies_left() == 0);
  }(exchange));
  scope_.spawn([](LinkPoolTest& test) -> Async<> { co_await test.pool_->close(); }(*this));
  settle();
  scope_.spawn([](LinkPoolTest& test) -> Async<> {
    Exchange late;
    EXPECT_FALSE(test.pool_->connected(Protocol::resp2));
    EXPECT_FALSE(co_await test.pool_->lease(Protocol::resp2, Deadline::never()));
    EXPECT_FALSE(co_await test.pool_->wait_for_link(late, Protocol::resp2, Deadline::never()));
  }(*this));
  settle();
}

}  // namespace
}  // namespace meridian::redis
