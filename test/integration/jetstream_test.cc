// Our connection to JetStream against nats-server itself: what is published is acknowledged in
// order, what is pulled comes once and comes again when nobody acknowledged it, and what breaks is
// said.

#include "streams/jetstream.h"

#include "engines/nats_engine.h"
#include "integration/engine_node.h"
#include "runtime/blocking_pool.h"
#include "streams/pull.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <signal.h>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A nats-server of our own and a connection to it.
struct Stage {
  EpollLoop& loop;
  Metrics metrics{};
  BlockingPool blocking{1};
  std::unique_ptr<DataFolder> folder{};
  std::unique_ptr<NatsEngine> engine{};
  std::optional<Supervisor> supervisor{};
  std::optional<nats::Connector> connector{};
  std::unique_ptr<JetStream> jetstream{};

  Deadline soon() const { return loop.after(patience); }

  Async<Result<void>> open(std::filesystem::path path) {
    MERIDIAN_CO_TRY(folder, DataFolder::open({.path = std::move(path)}, loop.wall_now()));
    MERIDIAN_CO_TRY(engine, co_await NatsEngine::open(loop, *folder, {}));
    supervisor.emplace(loop, *engine, metrics);
    supervisor->start();
    MERIDIAN_CO_CHECK(co_await supervisor->ready(soon()));
    connector.emplace(loop,
                      blocking,
                      nats::ConnectorOptions{
                          .endpoints = [this] { return std::vector<Endpoint>{engine->endpoint()}; },
                          .secret = engine->token()},
                      metrics);
    co_return co_await connect();
  }
  Async<Result<void>> connect() {
    if (jetstream) co_await jetstream->close();
    MERIDIAN_CO_TRY(jetstream, co_await JetStream::connect(loop, *connector, "test", soon()));
    co_return Result<void>();
  }
  Async<> close() {
    if (jetstream) co_await jetstream->close();
    if (supervisor) co_await supervisor->close();
    if (folder) folder->close();
  }

  // Publishes n, n + 1, ... and waits for all acknowledgements.
  Async<> publish(std::string subject, int first, int count) {
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE(jetstream->publish(subject, {}, std::to_string(first + i)));
    }
    int acknowledged = 0;
    while (acknowledged < count) {
      const auto some = co_await jetstream->acknowledgements(soon());
      EXPECT_TRUE(some) << some.error().detail();
      if (!some) co_return;
      for (const auto& each : *some)
        EXPECT_TRUE(each.ack) << each.ack.error().detail();
      acknowledged += static_cast<int>(some->size());
    }
  }
};

void run_with_nats(FunctionRef<Async<>(Stage&)> body) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Stage stage{.loop = loop};
    const auto opened = co_await stage.open(temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (opened) co_await body(stage);
    co_await stage.close();
  });
}

TEST(JetStream, MakesStreamsAndFindsThemAgain) {
  run_with_nats([](Stage& stage) -> Async<> {
    JetStream& js = *stage.jetstream;
    const auto missing = co_await js.stream_info("ORDERS", stage.soon());
    EXPECT_EQ(missing ? "" : std::string(to_string(missing.error().code())), "not_found");
    const auto made = co_await js.create_stream(
        {.name = "ORDERS", .subjects = {"orders.>"}, .max_age = seconds(3600)}, stage.soon());
    EXPECT_TRUE(made) << made.error().detail();
    const auto again = co_await js.create_stream(
        {.name = "ORDERS", .subjects = {"orders.>"}, .max_age = seconds(3600)}, stage.soon());
    EXPECT_TRUE(again && again->created == made->created);
    const auto other =
        co_await js.create_stream({.name = "ORDERS", .subjects = {"other.>"}}, stage.soon());
    EXPECT_FALSE(other);
    if (!other) EXPECT_EQ(other.error().code(), Errc::conflict) << other.error().detail();
    const auto names = co_await js.streams_of("orders.created", stage.soon());
    EXPECT_TRUE(names && *names == std::vector<std::string>{"ORDERS"});
    const auto none = co_await js.streams_of("elsewhere", stage.soon());
    EXPECT_TRUE(none && none->empty());

    co_await stage.publish("orders.created", 1, 3);
    const auto info = co_await js.stream_info("ORDERS", stage.soon());
    EXPECT_TRUE(info && info->last_sequence == 3 && info->first_sequence == 1);
    EXPECT_TRUE(info && info->config.subjects == std::vector<std::string>{"orders.>"});
    const auto last = co_await js.last_message("ORDERS", "orders.created", stage.soon());
    EXPECT_TRUE(last && last->sequence == 3 && last->payload == "3");
    const auto second = co_await js.message("ORDERS", 2, stage.soon());
    EXPECT_TRUE(second && second->payload == "2" && second->headers.empty());
    EXPECT_TRUE(co_await js.delete_stream("ORDERS", stage.soon()));
  });
}

TEST(JetStream, PublishesInOrderAndStopsAtTheFirstThatIsRefused) {
  run_with_nats([](Stage& stage) -> Async<> {
    JetStream& js = *stage.jetstream;
    EXPECT_TRUE(co_await js.create_stream({.name = "S", .subjects = {"s"}}, stage.soon()));
    constexpr int count = 2'000;
    std::vector<std::uint64_t> numbers;
    for (int i = 0; i < count; ++i) {
      // One in the middle expects what is not: it and all after it are refused.
      const int expected = i < 1'000 ? i : i + 1;
      const auto number =
          js.publish("s",
                     make_headers({{"Nats-Expected-Last-Sequence", std::to_string(expected)},
                                   {"Nats-Msg-Id", "out." + std::to_string(i)}}),
                     "row " + std::to_string(i));
      EXPECT_TRUE(number);
      numbers.push_back(*number);
    }
    std::vector<JetStream::Acknowledged> all;
    while (all.size() < count) {
      auto some = co_await js.acknowledgements(stage.soon());
      EXPECT_TRUE(some) << some.error().detail();
      if (!some) co_return;
      std::ranges::move(*some, std::back_inserter(all));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i].number, numbers[i]);
      EXPECT_EQ(all[i].ack.has_value(), i < 1'000) << i;
      if (all[i].ack) EXPECT_EQ(all[i].ack->sequence, i + 1);
      if (!all[i].ack) EXPECT_EQ(all[i].ack.error().code(), Errc::conflict);
    }
    EXPECT_EQ(js.publishes_under_way(), 0U);
    const auto last = co_await js.last_message("S", "s", stage.soon());
    EXPECT_TRUE(last && find_header(last->headers, "nats-msg-id") == "out.999");

    EXPECT_TRUE(js.publish("nobody.listens", {}, "x"));
    const auto refused = co_await js.acknowledgements(stage.soon());
    EXPECT_TRUE(refused && refused->size() == 1 && !refused->front().ack);
    EXPECT_FALSE(js.publish("s", {}, std::string(js.payload_size_max() + 1, 'x')));
  });
}

TEST(JetStream, PullsEachMessageOnceAndAgainWhenItIsNotAcknowledged) {
  run_with_nats([](Stage& stage) -> Async<> {
    JetStream& js = *stage.jetstream;
    EXPECT_TRUE(co_await js.create_stream({.name = "S", .subjects = {"s.*"}}, stage.soon()));
    const auto consumer = co_await js.create_consumer("S",
                                                      {.durable = "rule",
                                                       .filter_subject = "s.a",
                                                       .ack_wait = patience,
                                                       .ack_pending_max = 10'000},
                                                      stage.soon());
    EXPECT_TRUE(consumer) << consumer.error().detail();
    constexpr int count = 5'000;
    co_await stage.publish("s.b", 0, 10);
    co_await stage.publish("s.a", 0, count);
    std::vector<int> seen(count, 0);
    {
      PullSubscription pull(
          stage.loop, js, {.stream = "S", .consumer = "rule", .messages_max = 1'000});
      int received = 0;
      while (received < count) {
        const auto batch = co_await pull.take(300, stage.soon());
        EXPECT_TRUE(batch) << batch.error().detail();
        if (!batch) co_return;
        EXPECT_LE(batch->size(), 300U);
        EXPECT_LE(pull.held_count(), 1'000U);
        for (const Delivery& delivery : *batch) {
          EXPECT_EQ(delivery.subject(), "s.a");
          EXPECT_EQ(delivery.attempts, 1U);
          EXPECT_GT(delivery.time, 0);
          const int number = std::stoi(std::string(delivery.payload()));
          EXPECT_EQ(delivery.sequence, static_cast<std::uint64_t>(number + 11));
          ++seen[static_cast<std::size_t>(number)];
          js.send(delivery.reply(), "+ACK");
        }
        received += static_cast<int>(batch->size());
      }
      const auto none = co_await pull.take(300, stage.loop.after(milliseconds(100)));
      EXPECT_TRUE(!none && none.error().code() == Errc::timeout);
    }
    EXPECT_EQ(std::ranges::count(seen, 1), count);
    // The server takes acknowledgements up when it comes to it.
    const Deadline last = stage.soon();
    auto info = co_await js.consumer_info("S", "rule", stage.soon());
    while (info && info->ack_pending_count > 0 && !last.passed(stage.loop.now())) {
      (void)co_await stage.loop.sleep(milliseconds(10));
      info = co_await js.consumer_info("S", "rule", stage.soon());
    }
    EXPECT_TRUE(info && info->ack_pending_count == 0 && info->pending_count == 0);
    EXPECT_TRUE(info && info->ack_floor == 11 + count - 1U);

    // One that was not acknowledged comes again.
    EXPECT_TRUE(co_await js.create_consumer(
        "S",
        {.durable = "late", .filter_subject = "s.c", .ack_wait = milliseconds(500)},
        stage.soon()));
    co_await stage.publish("s.c", 77, 1);
    PullSubscription late(stage.loop, js, {.stream = "S", .consumer = "late"});
    for (const std::uint64_t attempt : {1U, 2U}) {
      const auto got = co_await late.take(1, stage.soon());
      EXPECT_TRUE(got && got->size() == 1 && got->front().payload() == "77" &&
                  got->front().attempts == attempt);
    }
  });
}

TEST(JetStream, BoundsWhatIsHeldInBytes) {
  run_with_nats([](Stage& stage) -> Async<> {
    JetStream& js = *stage.jetstream;
    EXPECT_TRUE(co_await js.create_stream({.name = "S", .subjects = {"s"}}, stage.soon()));
    EXPECT_TRUE(co_await js.create_consumer("S", {.durable = "rule"}, stage.soon()));
    const std::string large(100'000, 'x');
    for (int i = 0; i < 60; ++i)
      EXPECT_TRUE(js.publish("s", {}, large));
    PullSubscription pull(
        stage.loop,
        js,
        {.stream = "S", .consumer = "rule", .messages_max = 500, .bytes_max = 1'000'000});
    std::size_t received = 0;
    while (received < 60) {
      const auto batch = co_await pull.take(2, stage.soon());
      EXPECT_TRUE(batch) << batch.error().detail();
      if (!batch) co_return;
      EXPECT_LE(pull.held_count(), 10U);
      received += batch->size();
      for (const Delivery& delivery : *batch)
        js.send(delivery.reply(), "+ACK");
    }
  });
}

TEST(JetStream, SaysThatTheConsumerWasDeleted) {
  run_with_nats([](Stage& stage) -> Async<> {
    JetStream& js = *stage.jetstream;
    EXPECT_TRUE(co_await js.create_stream({.name = "S", .subjects = {"s"}}, stage.soon()));
    EXPECT_TRUE(co_await js.create_consumer("S", {.durable = "rule"}, stage.soon()));
    PullSubscription pull(stage.loop, js, {.stream = "S", .consumer = "rule"});
    const auto none = co_await pull.take(1, stage.loop.after(milliseconds(100)));
    EXPECT_FALSE(none);
    EXPECT_TRUE(co_await js.delete_consumer("S", "rule", stage.soon()));
    const auto gone = co_await pull.take(1, stage.soon());
    EXPECT_TRUE(!gone && gone.error().code() == Errc::not_found)
        << (gone ? "messages" : gone.error().detail());
  });
}

TEST(JetStream, FailsWhatIsUnderWayWhenTheServerDies) {
  run_with_nats([](Stage& stage) -> Async<> {
    EXPECT_TRUE(
        co_await stage.jetstream->create_stream({.name = "S", .subjects = {"s"}}, stage.soon()));
    co_await stage.publish("s", 0, 100);
    EXPECT_TRUE(stage.jetstream->publish("s", {}, "100"));
    ::kill(stage.supervisor->status().process, SIGKILL);
    for (;;) {  // What was acknowledged before comes first.
      const auto some = co_await stage.jetstream->acknowledgements(stage.soon());
      if (some) continue;
      EXPECT_EQ(some.error().code(), Errc::unavailable);
      break;
    }
    EXPECT_TRUE(stage.jetstream->broken());
    EXPECT_FALSE(co_await stage.jetstream->stream_info("S", stage.soon()));
    EXPECT_FALSE(stage.jetstream->publish("s", {}, "x"));
    // Another connection to the server that came back finds what was acknowledged.
    EXPECT_TRUE(co_await stage.supervisor->ready(stage.soon()));
    const Deadline last = stage.soon();
    while (!co_await stage.connect() && !last.passed(stage.loop.now()))
      (void)co_await stage.loop.sleep(milliseconds(50));
    Result<StreamInfo> info = co_await stage.jetstream->stream_info("S", stage.soon());
    EXPECT_TRUE(info && info->last_sequence >= 100) << (info ? "" : info.error().detail());
  });
}

}  // namespace
}  // namespace meridian
