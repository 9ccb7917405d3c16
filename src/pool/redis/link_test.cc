// Every reply reaches the exchange that asked for it, in order, whatever the wire does to the
// bytes; what is lost is reported as what it was; and a visit that does not take its replies costs
// no other visit anything. Runs over simulated wires, each test in many schedules.

#include "pool/redis/link.h"

#include "runtime/sim/sim_stream.h"
#include "wire/resp/encoder.h"
#include "wire/resp/request_decoder.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace meridian::redis {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string echo(std::string_view text) {
  std::string request;
  resp::append_request(request, {"ECHO", text});
  return request;
}

std::string bulk(std::string_view text) {
  std::string reply;
  resp::ReplyWriter(reply, resp::Protocol::resp2).bulk(text);
  return reply;
}

// Answers each request with its last argument, as ECHO does.
Async<> serve_echo(Stream& stream) {
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  std::array<char, 4'096> buffer;
  for (;;) {
    const auto size = co_await read_some(stream, buffer, Deadline::never());
    if (!size || *size == 0) co_return;
    std::string_view input(buffer.data(), *size);
    std::string replies;
    for (;;) {
      const auto request = decoder.next(input);
      EXPECT_TRUE(request);
      if (!request || !*request) break;
      replies += bulk((*request)->arguments.back());
    }
    if (!co_await write_all(stream, replies, Deadline::never())) co_return;
  }
}

// Passes everything on and counts the writes.
class CountingStream final : public Stream {
 public:
  CountingStream(std::unique_ptr<Stream> lower, int& writes_count)
      : lower_(std::move(lower)), writes_count_(writes_count) {}

  Transfer try_read(std::span<char> into) override { return lower_->try_read(into); }
  Transfer try_write(std::string_view bytes) override {
    ++writes_count_;
    return lower_->try_write(bytes);
  }
  void shutdown_write() noexcept override { lower_->shutdown_write(); }
  void close() noexcept override { lower_->close(); }
  const Peer& peer() const noexcept override { return lower_->peer(); }
  std::string failure() const override { return lower_->failure(); }

 protected:
  bool watch(IoWait& wait, Interest interest) override { return watch_in(*lower_, wait, interest); }

 private:
  std::unique_ptr<Stream> lower_;
  int& writes_count_;
};

class LinkTest : public ::testing::TestWithParam<std::uint64_t> {
 public:
  void connect(LinkLimits limits = {},
               SimWireOptions wire = {},
               Link::Kind kind = Link::Kind::shared) {
    auto [ours, theirs] = SimStream::make_pair(loop_, wire);
    server_ = std::move(theirs);
    ground_.emplace(loop_, metrics_, limits);
    link_.emplace(*ground_, std::make_unique<CountingStream>(std::move(ours), writes_count_), kind);
    scope_.spawn(
        [](LinkTest& test) -> Async<> { test.ended_ = co_await test.link_->serve(); }(*this));
  }

  void TearDown() override {
    if (!link_) return;
    link_->close(Error(Errc::cancelled, "the test is over"));
    server_->close();
    settle(seconds(100));
    EXPECT_EQ(scope_.count(), 0U);
    EXPECT_EQ(ground_->budget.held_bytes(), 0U);
    EXPECT_EQ(ground_->replies_pending, 0U);
    EXPECT_EQ(count("meridian_redis_held_bytes"), 0U);
    EXPECT_EQ(count("meridian_redis_pending_requests"), 0U);
  }

  // Lets everything happen that happens soon.
  void settle(Duration duration = seconds(1)) {
    loop_.run(loop_.now().time_since_epoch() + duration);
  }

  // What the server has received and not read.
  std::string received() {
    std::string bytes;
    std::array<char, 4'096> buffer;
    for (;;) {
      const Transfer transfer = server_->try_read(buffer);
      if (transfer.status != Transfer::Status::done) return bytes;
      bytes.append(buffer.data(), transfer.size);
    }
  }

  void send(std::string_view bytes) {
    const Transfer transfer = server_->try_write(bytes);
    EXPECT_EQ(transfer.size, bytes.size());
  }

  std::uint64_t count(std::string_view name) { return metrics_.total(name); }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  int writes_count_ = 0;
  std::unique_ptr<SimStream> server_;
  std::optional<LinkGround> ground_;
  std::optional<Error> ended_;
  Scope scope_{loop_};
  std::optional<Link> link_;
};

INSTANTIATE_TEST_SUITE_P(Seeds, LinkTest, ::testing::Range<std::uint64_t>(0, 20));

TEST_P(LinkTest, RepliesGoToWhoAskedForThem) {
  connect({},
          {.delay_min = milliseconds(1),
           .delay_max = milliseconds(5),
           .piece_size_max = 40,
           .buffered_max = 500});
  scope_.spawn(serve_echo(*server_));
  const auto visit = [](LinkTest& test, int name) -> Async<> {
    Exchange exchange;
    for (int round = 0; round < 10; ++round) {
      std::string expected;
      const int requests_count = 1 + (name + round) % 4;
      for (int i = 0; i < requests_count; ++i) {
        const std::string tag =
            std::to_string(name) + "/" + std::to_string(round) + "/" + std::to_string(i);
        test.link_->request(exchange, echo(tag), Effect::reads);
        expected += bulk(tag);
        // Now and then another visit comes between two requests of this one.
        if (test.loop_.random().chance(0.3)) (void)co_await test.loop_.yield();
      }
      std::string replies;
      EXPECT_EQ(co_await exchange.answers(), Wake::ready);
      exchange.take(replies);
      EXPECT_EQ(exchange.replies_left(), 0U);
      EXPECT_EQ(replies, expected);
    }
  };
  for (int name = 0; name < 20; ++name)
    scope_.spawn(visit(*this, name));
  settle(seconds(100));
  EXPECT_EQ(scope_.count(), 2U);  // The link and the server.
  EXPECT_EQ(count("meridian_redis_requests_total"), count("meridian_redis_replies_total"));
}

TEST_P(LinkTest, ABatchIsOneWrite) {
  connect();
  std::array<Exchange, 50> exchanges;
  for (Exchange& exchange : exchanges)
    link_->request(exchange, echo("x"), Effect::reads);
  EXPECT_EQ(writes_count_, 0);
  settle();
  EXPECT_EQ(writes_count_, 1);
}

TEST_P(LinkTest, SeveralRepliesMayBeAskedForAtOnce) {
  connect();
  Exchange exchange;
  link_->request(exchange, echo("a") + echo("b") + echo("c"), Effect::reads, 3);
  settle();
  send("$1\r\na\r\n$1\r\nb\r\n$1\r\n");
  settle();
  EXPECT_EQ(exchange.replies_left(), 1U);
  EXPECT_EQ(exchange.held(), "$1\r\na\r\n$1\r\nb\r\n$1\r\n");
  send("c\r\n");
  settle();
  EXPECT_EQ(exchange.replies_left(), 0U);
}

TEST_P(LinkTest, TheRepliesOfAnEndedExchangeAreDropped) {
  connect();
  Exchange first;
  std::optional<Exchange> middle(std::in_place);
  Exchange last;
  link_->request(first, echo("1"), Effect::reads);
  link_->request(*middle, echo("2"), Effect::reads);
  link_->request(last, echo("3"), Effect::reads);
  link_->request(*middle, echo("4"), Effect::reads);
  link_->request(first, echo("5"), Effect::reads);
  settle();
  send("$1\r\n1\r\n$1\r");  // Ends in the middle of its reply.
  settle();
  middle.reset();
  send("\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n");
  settle();
  EXPECT_EQ(first.held(), "$1\r\n1\r\n$1\r\n5\r\n");
  EXPECT_EQ(last.held(), "$1\r\n3\r\n");
  EXPECT_TRUE(link_->open());
  EXPECT_FALSE(link_->busy());
}

TEST_P(LinkTest, AResetExchangeAsksAnew) {
  connect();
  Exchange exchange;
  link_->request(exchange, echo("old"), Effect::reads);
  settle();
  exchange.reset();
  link_->request(exchange, echo("new"), Effect::reads);
  settle();
  send("$3\r\nold\r\n$3\r\nnew\r\n");
  settle();
  EXPECT_EQ(exchange.held(), "$3\r\nnew\r\n");
  EXPECT_EQ(exchange.replies_left(), 0U);
}

TEST_P(LinkTest, ALostRequestIsReportedAsWhatItWas) {
  connect({}, {.buffered_max = 100});
  Exchange read;
  Exchange write;
  Exchange mixed;
  Exchange unsent;
  link_->request(read, echo("1"), Effect::reads);
  link_->request(write, echo("2"), Effect::writes);
  link_->request(mixed, echo("3"), Effect::reads);
  link_->request(write, echo("4"), Effect::reads);
  link_->request(mixed, echo("5"), Effect::writes);
  settle();
  (void)received();
  link_->request(read, echo(std::string(200, 'x')), Effect::reads);
  link_->request(unsent, echo("6"), Effect::writes);
  settle();
  server_->close();
  settle();
  EXPECT_EQ(read.failure().code(), Errc::unavailable);
  EXPECT_EQ(write.failure().code(), Errc::outcome_unknown);
  EXPECT_EQ(mixed.failure().code(), Errc::outcome_unknown);
  EXPECT_EQ(unsent.failure().code(), Errc::unavailable);
  EXPECT_EQ(mixed.replies_left(), 2U);
  EXPECT_FALSE(link_->open());
  ASSERT_TRUE(ended_);
  EXPECT_EQ(ended_->code(), Errc::unavailable);

  Exchange late;
  link_->request(late, echo("7"), Effect::writes);
  ASSERT_TRUE(late.failed());
  EXPECT_EQ(late.failure().code(), Errc::unavailable);
}

TEST_P(LinkTest, ARequestOnADyingLinkIsLostWithTheOthers) {
  connect();
  {
    Exchange exchange;
    link_->request(exchange, echo("1"), Effect::reads);
    link_->close(Error(Errc::unavailable, "sawn off"));
    link_->request(exchange, echo("2"), Effect::reads);
    EXPECT_EQ(exchange.replies_left(), 2U);
  }
  Exchange late;
  link_->request(late, echo("3"), Effect::reads);
  EXPECT_TRUE(late.failed());
  settle();
  EXPECT_TRUE(ended_);
}

TEST_P(LinkTest, WholeRepliesSurviveALossAndPartsDoNot) {
  connect();
  Exchange held;
  Exchange taken;
  link_->request(held, echo("1"), Effect::reads);
  settle();
  send("+whole\r\n");
  settle();
  link_->request(held, echo("2"), Effect::reads);
  settle();
  send("+par");
  settle();
  server_->close();
  settle();
  EXPECT_TRUE(held.failed());
  EXPECT_FALSE(held.torn());
  EXPECT_EQ(held.held(), "+whole\r\n");
}

TEST_P(LinkTest, AReplyThatWasPassedOnInPartIsTorn) {
  connect();
  Exchange exchange;
  link_->request(exchange, echo("1"), Effect::reads);
  settle();
  send("$10\r\n12345");
  settle();
  std::string out;
  exchange.take(out);
  EXPECT_EQ(out, "$10\r\n12345");
  server_->close();
  settle();
  EXPECT_TRUE(exchange.torn());
  EXPECT_EQ(exchange.held(), "");
}

TEST_P(LinkTest, AServerOutOfStepEndsTheLink) {
  for (const std::string_view bytes : {"+OK\r\n+and more\r\n",
                                       "garbage\r\n",
                                       "$-7\r\n",
                                       "$1\r\nabc",
                                       "HTTP/1.1 400 Bad Request\r\n"}) {
    connect();
    Exchange exchange;
    link_->request(exchange, echo("1"), Effect::writes);
    settle();
    send(bytes);
    settle();
    EXPECT_FALSE(link_->open()) << bytes;
    EXPECT_EQ(ended_->code(), Errc::invalid) << bytes;
    EXPECT_EQ(exchange.failed(), bytes[0] != '+') << bytes;
    link_.reset();
  }
}

TEST_P(LinkTest, MessagesThatNobodyAskedForAreDropped) {
  connect();
  Exchange exchange;
  link_->request(exchange, echo("1"), Effect::reads);
  settle();
  send(">2\r\n+invalidate\r\n_\r\n+OK\r\n>1\r\n+x\r\n");
  settle();
  EXPECT_EQ(exchange.held(), "+OK\r\n");
  EXPECT_TRUE(link_->open());
  EXPECT_EQ(count("meridian_redis_dropped_messages_total"), 2U);
}

// Takes all replies as they come, and how much was held at most.
Async<> take_all(Exchange& exchange, std::string& out, std::size_t& held_max) {
  while (!exchange.failed() && exchange.replies_left() > 0) {
    EXPECT_EQ(co_await exchange.answers(), Wake::ready);
    held_max = std::max(held_max, exchange.held().size());
    exchange.take(out);
  }
}

TEST_P(LinkTest, LargeRepliesPassInParts) {
  LinkLimits limits;
  limits.held_bytes_max = 1'000'000;
  connect(limits);
  Exchange exchange;
  std::string out;
  std::size_t held_max = 0;
  link_->request(exchange, echo("1"), Effect::reads);
  scope_.spawn(take_all(exchange, out, held_max));
  const std::string reply = bulk(std::string(10'000'000, 'x'));
  scope_.spawn([](Stream& stream, std::string_view bytes) -> Async<> {
    EXPECT_TRUE(co_await write_all(stream, bytes, Deadline::never()));
  }(*server_, reply));
  settle();
  EXPECT_EQ(out, reply);
  EXPECT_LT(held_max, limits.held_bytes_max);
  EXPECT_FALSE(exchange.failed());
}

TEST_P(LinkTest, ASlowVisitLosesItsRepliesAndNobodyElse) {
  LinkLimits limits;
  limits.held_bytes_max = 200'000;
  connect(limits);
  Exchange slow;
  Exchange other;
  link_->request(slow, echo("1"), Effect::reads);
  link_->request(other, echo("2"), Effect::reads);
  link_->request(slow, echo("3"), Effect::reads);
  const std::string replies = bulk(std::string(1'000'000, 'x')) + "+other\r\n" + "+late\r\n";
  scope_.spawn([](Stream& stream, std::string_view bytes) -> Async<> {
    EXPECT_TRUE(co_await write_all(stream, bytes, Deadline::never()));
  }(*server_, replies));
  settle();
  ASSERT_TRUE(slow.failed());
  EXPECT_EQ(slow.failure().code(), Errc::exhausted);
  EXPECT_TRUE(slow.failure().detail().contains("held_bytes_max=200000"));
  EXPECT_TRUE(slow.torn());
  EXPECT_EQ(slow.held(), "");
  EXPECT_EQ(other.held(), "+other\r\n");
  EXPECT_FALSE(link_->busy());
  EXPECT_EQ(count("meridian_redis_dropped_exchanges_total"), 1U);
}

TEST_P(LinkTest, AllVisitsTogetherAreBounded) {
  LinkLimits limits;
  limits.held_bytes_total_max = 1'000;
  connect(limits);
  std::array<Exchange, 10> exchanges;
  std::string replies;
  for (Exchange& exchange : exchanges) {
    link_->request(exchange, echo("1"), Effect::reads);
    replies += bulk(std::string(292, 'x'));  // 300 bytes.
  }
  settle();
  send(replies);
  settle();
  int failures_count = 0;
  for (const Exchange& exchange : exchanges)
    failures_count += exchange.failed() ? 1 : 0;
  EXPECT_EQ(failures_count, 7);
  EXPECT_EQ(ground_->budget.held_bytes(), 900U);
}

TEST_P(LinkTest, TellsWhenThereIsRoomAgain) {
  LinkLimits limits;
  limits.queued_bytes_max = 1'000;
  connect(limits, {.buffered_max = 100});
  Exchange exchange;
  link_->request(exchange, echo(std::string(2'000, 'x')), Effect::reads);
  EXPECT_FALSE(link_->has_room());
  bool got_room = false;
  scope_.spawn([](LinkTest& test, bool& out) -> Async<> {
    while (!test.link_->has_room())
      EXPECT_EQ(co_await test.ground_->changed.wait(), Wake::ready);
    out = true;
  }(*this, got_room));
  settle();
  EXPECT_FALSE(got_room);
  scope_.spawn(serve_echo(*server_));
  settle();
  EXPECT_TRUE(got_room);
  EXPECT_EQ(exchange.held(), bulk(std::string(2'000, 'x')));
}

TEST_P(LinkTest, SoManyExchangesMayWaitAndNoMore) {
  LinkLimits limits;
  limits.expected_max = 2;
  connect(limits);
  Exchange first;
  Exchange second;
  link_->request(first, echo("1"), Effect::reads);
  link_->request(first, echo("2"), Effect::reads);
  EXPECT_TRUE(link_->has_room());
  link_->request(second, echo("3"), Effect::reads);
  EXPECT_FALSE(link_->has_room());
  settle();
  send("+1\r\n+2\r\n");
  settle();
  EXPECT_TRUE(link_->has_room());
  link_->close(Error(Errc::unavailable, "closed"));
  EXPECT_FALSE(link_->has_room());
}

TEST_P(LinkTest, ASilentServerIsGivenUp) {
  connect();
  settle(seconds(300));
  EXPECT_TRUE(link_->open());  // An idle link may be silent for ever.
  Exchange exchange;
  link_->request(exchange, echo("1"), Effect::writes);
  settle(seconds(29));
  EXPECT_TRUE(link_->open());
  settle(seconds(61));
  ASSERT_TRUE(exchange.failed());
  EXPECT_EQ(exchange.failure().code(), Errc::outcome_unknown);
}

TEST_P(LinkTest, AWaitMayBeLateOrCancelled) {
  connect();
  std::vector<Wake> wakes;
  Scope visits(loop_);
  visits.spawn([](LinkTest& test, std::vector<Wake>& out) -> Async<> {
    Exchange exchange;
    test.link_->request(exchange, echo("1"), Effect::reads);
    out.push_back(co_await exchange.answers(test.loop_.after(milliseconds(50))));
    out.push_back(co_await exchange.answers());
  }(*this, wakes));
  settle(seconds(1));
  visits.cancel();
  settle(seconds(1));
  EXPECT_EQ(wakes, (std::vector{Wake::timeout, Wake::cancelled}));
  send("+nobody wants it\r\n");
  settle(seconds(1));
  EXPECT_TRUE(link_->open());
  EXPECT_FALSE(link_->busy());
}

TEST_P(LinkTest, AVisitMayVanishWhereItWaits) {
  connect();
  Scope visits(loop_);
  const auto visit = [](LinkTest& test) -> Async<> {
    Exchange exchange;
    test.link_->request(exchange, echo("1"), Effect::reads);
    (void)co_await exchange.answers();
  };
  for (int i = 0; i < 3; ++i)
    visits.spawn(visit(*this));
  settle(milliseconds(10));
  send("+first\r\n+second\r\n");  // Woken, perhaps not run yet.
  loop_.run(loop_.now().time_since_epoch());
  visits.abandon();
  send("+third\r\n");
  settle(milliseconds(10));
  EXPECT_FALSE(link_->busy());
}

TEST_P(LinkTest, TheOwnerOfAnExclusiveLinkGetsAllThatComes) {
  connect({}, {}, Link::Kind::exclusive);
  Exchange owner;
  link_->set_owner(owner);
  std::string out;
  scope_.spawn([](Exchange& exchange, std::string& taken) -> Async<> {
    while (!exchange.failed()) {
      EXPECT_EQ(co_await exchange.bytes(), Wake::ready);
      exchange.take(taken);
    }
  }(owner, out));
  link_->request(owner, echo("1"), Effect::reads);
  settle();
  send(">1\r\n+message\r\n+reply\r\n*1\r\n+unasked\r\n");
  settle();
  EXPECT_EQ(out, ">1\r\n+message\r\n+reply\r\n*1\r\n+unasked\r\n");
  EXPECT_EQ(owner.replies_left(), 0U);
  server_->close();
  settle();
  EXPECT_EQ(owner.failure().code(), Errc::unavailable);
}

TEST_P(LinkTest, AnExclusiveLinkReadsNoFurtherThanItsOwnerTakes) {
  LinkLimits limits;
  limits.read_ahead_max = 100'000;
  limits.held_bytes_max = 200'000;
  connect(limits, {.buffered_max = 10'000}, Link::Kind::exclusive);
  Exchange owner;
  link_->set_owner(owner);
  const std::string reply = bulk(std::string(1'000'000, 'x'));
  scope_.spawn([](Stream& stream, std::string_view bytes) -> Async<> {
    EXPECT_TRUE(co_await write_all(stream, bytes, Deadline::never()));
  }(*server_, reply));
  settle();
  EXPECT_GE(owner.held().size(), limits.read_ahead_max);
  EXPECT_LE(owner.held().size(), limits.held_bytes_max);
  std::string out;
  while (out.size() < reply.size() && !owner.held().empty()) {
    owner.take(out);
    settle();
  }
  EXPECT_EQ(out, reply);
  EXPECT_FALSE(owner.failed());
}

TEST_P(LinkTest, AnOwnerThatWaitsIsToldWhenItsLinkGoes) {
  connect({}, {}, Link::Kind::exclusive);
  Exchange waits;
  link_->set_owner(waits);
  scope_.spawn([](Exchange& exchange) -> Async<> {
    EXPECT_EQ(co_await exchange.bytes(), Wake::ready);
    EXPECT_EQ(exchange.failure().code(), Errc::cancelled);
  }(waits));
  settle();
  link_->clear_owner();
  settle();
  EXPECT_EQ(scope_.count(), 1U);
  Exchange rests;
  link_->set_owner(rests);
  link_->clear_owner();
  EXPECT_FALSE(rests.failed());
}

TEST_P(LinkTest, AnOwnerMayEndBeforeItsLink) {
  connect({}, {}, Link::Kind::exclusive);
  {
    Exchange owner;
    link_->set_owner(owner);
    link_->request(owner, echo("1"), Effect::reads);
    settle();
  }
  EXPECT_TRUE(link_->busy());
  send("+OK\r\n+more\r\n");
  settle();
  EXPECT_TRUE(link_->open());
  EXPECT_FALSE(link_->busy());
}

}  // namespace
}  // namespace meridian::redis
