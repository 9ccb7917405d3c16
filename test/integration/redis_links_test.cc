// The pool's links against redis-server itself: order, large values, subscriptions, a server that
// is killed, and above all that no state of a visit survives on a link that goes to the next.

#include "base/function_ref.h"
#include "pool/redis/link_pool.h"
#include "redis/real_redis.h"
#include "wire/resp/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <signal.h>
#include <string>
#include <vector>

namespace meridian {
namespace {

using redis::Effect;
using redis::Exchange;
using redis::Link;
using redis::LinkPool;
using resp::Protocol;
using std::chrono::milliseconds;
using std::chrono::seconds;

using Words = std::vector<std::string_view>;

std::string request_of(const Words& words) {
  std::string request;
  resp::append_request(request, words);
  return request;
}

std::string bulk(std::string_view text) {
  std::string reply;
  resp::ReplyWriter(reply, Protocol::resp2).bulk(text);
  return reply;
}

struct Stage {
  EpollLoop& loop;
  RealRedis& server;
  LinkPool& pool;
  Metrics& metrics;
  Deadline soon() const { return loop.after(seconds(60)); }
};

void run(redis::RedisLogin login,
         std::vector<std::string> arguments,
         FunctionRef<Async<>(Stage&)> body) {
  EpollLoop loop;
  Metrics metrics;
  RealRedis server(loop);
  Scope scope(loop);
  const auto main = [&]() -> Async<> {
    const auto started = co_await server.start(arguments);
    EXPECT_TRUE(started) << started.error().detail();
    if (started) {
      const auto connector = server.connector(login);
      // One, so that whoever comes next waits for its reset, however long that takes.
      LinkPool pool(loop, *connector, metrics, {.exclusive_max = 1, .reset_timeout = seconds(60)});
      pool.start();
      Stage stage{.loop = loop, .server = server, .pool = pool, .metrics = metrics};
      co_await body(stage);
      co_await pool.close();
    }
    loop.stop();
  };
  scope.spawn(main());
  loop.run();
}

void run(FunctionRef<Async<>(Stage&)> body) {
  run({}, {}, body);
}

// Sends requests with as many replies on a link, and gives what comes for them.
Async<std::string> ask(Stage& stage,
                       Link& link,
                       Exchange& exchange,
                       std::string request,
                       std::uint32_t replies_count = 1) {
  link.request(exchange, request, Effect::writes, replies_count);
  std::string replies;
  do {
    EXPECT_EQ(co_await exchange.answers(stage.soon()), Wake::ready);
    exchange.take(replies);
  } while (exchange.replies_left() > 0 && !exchange.failed());
  co_return exchange.failed() ? exchange.failure().detail() : replies;
}

TEST(RedisLinks, PipelinesOfManyVisitsKeepTheirOrder) {
  run([](Stage& stage) -> Async<> {
    Exchange first;
    EXPECT_TRUE(co_await stage.pool.wait_for_link(first, Protocol::resp2, stage.soon()));
    Scope visits(stage.loop);
    const auto visit = [](Stage& on, int name) -> Async<> {
      Exchange exchange;
      for (int round = 0; round < 200; ++round) {
        Link* const link = on.pool.link_for(exchange, Protocol::resp2);
        EXPECT_NE(link, nullptr);
        if (!link) co_return;
        std::string expected;
        for (int i = 0; i <= round % 8; ++i) {
          const std::string tag = std::to_string(name) + ":" + std::to_string(round + i);
          link->request(exchange, request_of({"ECHO", tag}), Effect::reads);
          expected += bulk(tag);
        }
        EXPECT_EQ(co_await exchange.answers(on.soon()), Wake::ready);
        std::string replies;
        exchange.take(replies);
        EXPECT_EQ(replies, expected);
      }
    };
    for (int name = 0; name < 50; ++name)
      visits.spawn(visit(stage, name));
    co_await visits.join();
  });
}

TEST(RedisLinks, LargeValuesPassBothWays) {
  run([](Stage& stage) -> Async<> {
    Exchange exchange;
    auto link = co_await stage.pool.wait_for_link(exchange, Protocol::resp2, stage.soon());
    EXPECT_TRUE(link);
    if (!link) co_return;
    std::string value(60'000'000, 'v');
    for (std::size_t i = 0; i < value.size(); i += 1'000)
      value[i] = static_cast<char>(i / 1'000);
    const std::string stored =
        co_await ask(stage, **link, exchange, request_of({"SET", "large", value}));
    EXPECT_EQ(stored, "+OK\r\n");
    const std::string read = co_await ask(stage, **link, exchange, request_of({"GET", "large"}));
    EXPECT_TRUE(read == bulk(value));  // Not EQ: nobody wants to read the difference.
  });
}

// What CLIENT INFO says of a link, without what differs between any two connections or moments.
Async<std::string> state_of(Stage& stage, Link& link, Exchange& exchange) {
  std::string info = co_await ask(stage, link, exchange, request_of({"CLIENT", "INFO"}));
  std::string state;
  std::size_t begin = 0;
  while (begin < info.size()) {
    const std::size_t end = std::min(info.find(' ', begin), info.size());
    const std::string field = info.substr(begin, end - begin);
    for (const auto* name :
         {"name=", "flags=", "db=", "sub=", "psub=", "ssub=", "multi=", "user=", "redir=", "resp="})
      if (field.starts_with(name)) state += field + " ";
    begin = end + 1;
  }
  co_return state;
}

struct Trace {
  std::string name;
  std::vector<Words> requests;
  std::uint32_t replies_count;  // Of all requests; messages do not count.
};

TEST(RedisLinks, NothingOfAVisitStaysOnItsLink) {
  const std::vector<Trace> traces{
      {"nothing", {}, 0},
      {"a transaction", {{"MULTI"}, {"SET", "a", "1"}}, 2},
      {"watched keys", {{"WATCH", "a"}}, 1},
      {"a subscription", {{"SUBSCRIBE", "c", "d"}}, 0},
      {"a pattern", {{"PSUBSCRIBE", "*"}}, 0},
      {"a shard channel", {{"SSUBSCRIBE", "c"}}, 0},
      {"tracking", {{"CLIENT", "TRACKING", "ON", "BCAST"}}, 1},
      {"no eviction", {{"CLIENT", "NO-EVICT", "ON"}}, 1},
      {"a database", {{"SELECT", "5"}}, 1},
      {"a name", {{"CLIENT", "SETNAME", "mallory"}}, 1},
      {"no replies", {{"CLIENT", "REPLY", "OFF"}}, 0},
      {"a protocol", {{"HELLO", "3"}}, 1},
      {"another protocol", {{"HELLO", "2"}}, 1},
      {"another user", {{"AUTH", "other", "words"}}, 1},
      {"a reset", {{"RESET"}}, 1},
      {"a monitor", {{"MONITOR"}}, 1},
      {"READONLY", {{"READONLY"}}, 1},
  };
  for (const Protocol protocol : {Protocol::resp2, Protocol::resp3}) {
    run({.user = "default", .password = Secret("sesame")},
        {"--requirepass", "sesame", "--user", "other", "on", ">words", "+@all", "~*", "&*"},
        [&](Stage& stage) -> Async<> {
          std::string fresh;
          for (const Trace& trace : traces) {
            auto lease = co_await stage.pool.lease(protocol, stage.soon());
            EXPECT_TRUE(lease) << trace.name;
            if (!lease) co_return;
            Exchange exchange;
            lease->link().set_owner(exchange);
            const std::string before = co_await state_of(stage, lease->link(), exchange);
            if (fresh.empty()) fresh = before;
            EXPECT_EQ(before, fresh) << "before " << trace.name;
            std::string requests;
            for (const Words& words : trace.requests)
              requests += request_of(words);
            if (!requests.empty()) {
              lease->link().request(exchange, requests, Effect::writes, trace.replies_count);
              (void)co_await exchange.answers(stage.soon());
              // What has no reply is to be on its way, too.
              while (lease->link().busy())
                (void)co_await stage.loop.sleep(milliseconds(1));
            }
            exchange.reset();
            lease->give_back();
            // Something happens that a subscriber, a monitor or a tracker would hear of.
            for (int i = 0; i < 3; ++i) {
              (void)co_await stage.pool.call(
                  request_of({"PUBLISH", "c", "psst"}), Effect::writes, stage.soon());
              (void)co_await stage.pool.call(
                  request_of({"SET", "a", "2"}), Effect::writes, stage.soon());
            }
            (void)co_await stage.loop.sleep(milliseconds(20));
          }
          EXPECT_TRUE(fresh.contains("name=meridian"));
          // All of it on one exclusive link, so every reset was verified.
          EXPECT_EQ(stage.metrics.total("meridian_redis_resets_failed_total"), 0U);
          EXPECT_EQ(stage.metrics.total("meridian_redis_connects_total", {{"outcome", "ok"}}), 3U);
        });
  }
}

TEST(RedisLinks, ABlockedLinkIsClosed) {
  run([](Stage& stage) -> Async<> {
    {
      auto lease = co_await stage.pool.lease(Protocol::resp2, stage.soon());
      EXPECT_TRUE(lease);
      if (!lease) co_return;
      Exchange exchange;
      lease->link().set_owner(exchange);
      lease->link().request(exchange, request_of({"BLPOP", "list", "0"}), Effect::writes);
      EXPECT_EQ(co_await exchange.answers(stage.loop.after(milliseconds(50))), Wake::timeout);
    }
    // Whoever pops now gets the element: nobody is left waiting in the server.
    for (;;) {
      const auto blocked =
          co_await stage.pool.call(request_of({"INFO", "clients"}), Effect::reads, stage.soon());
      EXPECT_TRUE(blocked);
      if (!blocked || blocked->contains("blocked_clients:0")) break;
      (void)co_await stage.loop.sleep(milliseconds(1));
    }
    const auto pushed =
        co_await stage.pool.call(request_of({"RPUSH", "list", "x"}), Effect::writes, stage.soon());
    EXPECT_EQ(pushed.value_or(""), ":1\r\n");
    const auto popped =
        co_await stage.pool.call(request_of({"LPOP", "list"}), Effect::writes, stage.soon());
    EXPECT_EQ(popped.value_or(""), "$1\r\nx\r\n");
  });
}

TEST(RedisLinks, ASubscriberGetsItsMessages) {
  run([](Stage& stage) -> Async<> {
    for (const Protocol protocol : {Protocol::resp2, Protocol::resp3}) {
      auto lease = co_await stage.pool.lease(protocol, stage.soon());
      EXPECT_TRUE(lease);
      if (!lease) co_return;
      Exchange exchange;
      lease->link().set_owner(exchange);
      lease->link().request(exchange, request_of({"SUBSCRIBE", "news"}), Effect::reads, 0);
      std::string heard;
      while (!heard.contains("news")) {
        EXPECT_EQ(co_await exchange.bytes(stage.soon()), Wake::ready);
        exchange.take(heard);
      }
      heard.clear();
      const auto published = co_await stage.pool.call(
          request_of({"PUBLISH", "news", "hello"}), Effect::writes, stage.soon());
      EXPECT_EQ(published.value_or(""), ":1\r\n");
      while (!heard.contains("hello")) {
        EXPECT_EQ(co_await exchange.bytes(stage.soon()), Wake::ready);
        exchange.take(heard);
      }
      EXPECT_EQ(heard,
                std::string(protocol == Protocol::resp2 ? "*" : ">") + "3\r\n" + bulk("message") +
                    bulk("news") + bulk("hello"));
    }
  });
}

TEST(RedisLinks, AKilledServerIsReportedAndFoundAgain) {
  run([](Stage& stage) -> Async<> {
    Exchange write;
    Exchange read;
    auto link = co_await stage.pool.wait_for_link(write, Protocol::resp2, stage.soon());
    EXPECT_TRUE(link);
    if (!link) co_return;
    stage.server.signal(SIGSTOP);
    (*link)->request(write, request_of({"SET", "a", "1"}), Effect::writes);
    (*link)->request(read, request_of({"GET", "a"}), Effect::reads);
    EXPECT_EQ(co_await write.answers(stage.loop.after(milliseconds(30))), Wake::timeout);
    stage.server.kill();
    EXPECT_EQ(co_await write.answers(stage.soon()), Wake::ready);
    EXPECT_TRUE(write.failed() && write.failure().code() == Errc::outcome_unknown);
    EXPECT_TRUE(read.failed() && read.failure().code() == Errc::unavailable);
    read.reset();
    const auto nobody = co_await stage.pool.wait_for_link(
        read, Protocol::resp2, stage.loop.after(milliseconds(100)));
    EXPECT_FALSE(nobody);
    EXPECT_TRUE(co_await stage.server.start());
    const auto reply = co_await stage.pool.call(request_of({"PING"}), Effect::reads, stage.soon());
    EXPECT_EQ(reply.value_or(""), "+PONG\r\n");
  });
}

TEST(RedisLinks, AWrongPasswordIsRefusedInWords) {
  run({.user = "default", .password = Secret("wrong")},
      {"--requirepass", "right"},
      [](Stage& stage) -> Async<> {
        const auto lease = co_await stage.pool.lease(Protocol::resp3, stage.soon());
        EXPECT_FALSE(lease);
        if (lease) co_return;
        EXPECT_EQ(lease.error().code(), Errc::unauthenticated);
        EXPECT_TRUE(lease.error().detail().contains("WRONGPASS"));
      });
  run({}, {"--requirepass", "right"}, [](Stage& stage) -> Async<> {
    const auto lease = co_await stage.pool.lease(Protocol::resp3, stage.soon());
    EXPECT_FALSE(lease);
    if (lease) co_return;
    EXPECT_EQ(lease.error().code(), Errc::unauthenticated);
  });
}

}  // namespace
}  // namespace meridian
