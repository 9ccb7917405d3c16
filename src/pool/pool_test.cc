// A pool's bounds and its queue: who waits is served in order, in time or told so; no place is lost
// and none is given twice, whatever ends or fails meanwhile.
//
// A real loop with a double of the server behind each backend; nothing here takes longer than the
// milliseconds that it waits for.

#include "pool/pool.h"

#include "base/function_ref.h"
#include "runtime/log.h"
#include "wire/postgres/backend_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <sys/socket.h>

namespace meridian {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Opens backends at the other end of a pair of sockets; what is there answers a reset.
class Source final : public BackendSource {
 public:
  explicit Source(EpollLoop& loop) : opened_(loop), servers_(loop) {}

  Async<Result<std::unique_ptr<Backend>>> open(EpollLoop& loop,
                                               std::string /*role*/,
                                               std::string /*database*/,
                                               SessionDefaults /*defaults*/,
                                               Deadline deadline) override {
    ++asked;
    while (held) {
      const Wake wake = co_await opened_.wait(deadline);
      if (wake != Wake::ready) co_return std::unexpected(to_result(wake, "a login").error());
    }
    if (failures > 0) {
      --failures;
      co_return fail(Errc::unavailable, "the server is away");
    }
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    servers_.spawn(serve(loop, Socket{.file = File(ends[1]), .peer = {}}));
    auto stream = std::make_unique<SocketStream>(loop, Socket{.file = File(ends[0]), .peer = {}});
    SocketStream& socket = *stream;
    co_return std::make_unique<Backend>(std::move(stream), socket, BackendKey{}, loop.now());
  }

  void release() {
    held = false;
    opened_.notify_all();
  }
  Async<> close() { co_await servers_.close(); }

  int asked = 0;
  int failures = 0;
  bool held = false;     // Logins take until release().
  bool mute = false;     // Resets are not answered.
  bool refuses = false;  // Resets fail.

 private:
  Async<> serve(EpollLoop& loop, Socket socket) {
    SocketStream stream(loop, std::move(socket));
    std::string received;
    std::array<char, 1'000> buffer;
    for (;;) {
      const auto size = co_await read_some(stream, buffer, Deadline::never());
      if (!size || *size == 0) co_return;
      received.append(buffer.data(), *size);
      if (mute || !received.contains("DISCARD ALL")) continue;
      received.clear();
      std::string answer;
      for (const std::string_view tag : {"ROLLBACK", "DISCARD ALL"}) {
        postgres::append_command_complete(answer, tag);
        postgres::append_ready_for_query(answer,
                                         refuses ? postgres::TransactionStatus::in_transaction
                                                 : postgres::TransactionStatus::idle);
      }
      if (!co_await write_all(stream, answer, Deadline::never())) co_return;
    }
  }

  Event opened_;
  Scope servers_;
};

struct Asked {
  std::optional<Result<std::unique_ptr<Backend>>> answer;
  bool has() const { return answer && answer->has_value(); }
  std::unique_ptr<Backend> give() { return std::move(**answer); }
  Errc refusal() const { return answer->error().code(); }
};

class PoolTest : public ::testing::Test {
 protected:
  void run(PoolOptions options, FunctionRef<Async<>()> body) {
    set_log_level(LogLevel::error);
    pool_.emplace("r", "d", source_, metrics_, options);
    Scope scope(loop_);
    scope.spawn([](PoolTest& test, FunctionRef<Async<>()> work) -> Async<> {
      co_await work();
      co_await test.visits_.close();
      const Pool::Status left = test.pool_->status();
      EXPECT_EQ(left.in_use, 0U);
      EXPECT_EQ(left.waiting, 0U);
      EXPECT_EQ(test.metrics_.total("meridian_pool_backends_in_use"), 0U);
      EXPECT_EQ(test.metrics_.total("meridian_pool_waiting"), 0U);
      EXPECT_EQ(test.metrics_.total("meridian_pool_backends"), left.idle);
      test.pool_.reset();
      co_await test.source_.close();
      test.loop_.stop();
    }(*this, body));
    loop_.run();
  }

  // A visit that asks for a backend.
  void ask(Asked& asked, Deadline deadline = Deadline::never()) {
    ask_in(visits_, asked, deadline);
  }
  void ask_in(Scope& scope, Asked& asked, Deadline deadline = Deadline::never()) {
    scope.spawn([](PoolTest& test, Asked& into, Deadline until) -> Async<> {
      into.answer = co_await test.pool_->take(test.loop_, until);
    }(*this, asked, deadline));
  }
  Async<> give_back(Asked& asked) { co_await pool_->give_back(loop_, asked.give()); }

  // Until it holds; far longer than it takes.
  Async<> until(FunctionRef<bool()> holds) {
    const Deadline patience = loop_.after(seconds(20));
    while (!holds()) {
      if (patience.passed(loop_.now())) {
        ADD_FAILURE() << "it does not come to pass";
        co_return;
      }
      (void)co_await loop_.sleep(milliseconds(1));
    }
  }
  // Whoever is ready to run has run.
  Async<> settle() {
    for (int i = 0; i < 10; ++i)
      (void)co_await loop_.yield();
  }

  EpollLoop loop_;
  Metrics metrics_;
  Source source_{loop_};
  Scope visits_{loop_};
  std::optional<Pool> pool_;
};

TEST_F(PoolTest, WhoWaitsIsServedInOrder) {
  run({.backends_max = 1}, [&]() -> Async<> {
    std::array<Asked, 4> visits;
    for (Asked& visit : visits) {
      ask(visit);
      co_await settle();
    }
    co_await until([&] { return visits[0].has(); });
    EXPECT_EQ(pool_->status().waiting, 3U);
    for (std::size_t i = 0; i < visits.size(); ++i) {
      EXPECT_TRUE(visits[i].has());
      if (i + 1 < visits.size()) EXPECT_FALSE(visits[i + 1].answer);
      co_await give_back(visits[i]);
      if (i + 1 < visits.size()) co_await until([&] { return visits[i + 1].has(); });
    }
    EXPECT_EQ(source_.asked, 1);
    EXPECT_EQ(pool_->status().idle, 1U);
  });
}

TEST_F(PoolTest, TheQueueIsBounded) {
  run({.backends_max = 1, .queue_max = 1}, [&]() -> Async<> {
    std::array<Asked, 3> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    ask(visits[1]);
    co_await settle();
    ask(visits[2]);
    co_await until([&] { return visits[2].answer.has_value(); });
    EXPECT_EQ(visits[2].refusal(), Errc::exhausted);
    EXPECT_TRUE(visits[2].answer->error().detail().contains("queue_max"));
    co_await give_back(visits[0]);
    co_await until([&] { return visits[1].has(); });
    co_await give_back(visits[1]);
  });
}

TEST_F(PoolTest, WhoWaitsTooLongIsTold) {
  run({.backends_max = 1, .queue_timeout = milliseconds(5)}, [&]() -> Async<> {
    std::array<Asked, 2> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    ask(visits[1]);
    co_await until([&] { return visits[1].answer.has_value(); });
    EXPECT_EQ(visits[1].refusal(), Errc::exhausted);
    EXPECT_TRUE(visits[1].answer->error().detail().contains("queue_timeout"));
    EXPECT_EQ(pool_->status().waiting, 0U);
    // It is not kept for the one who left.
    co_await give_back(visits[0]);
    EXPECT_EQ(pool_->status().idle, 1U);
  });
}

TEST_F(PoolTest, TheVisitsOwnDeadlineCountsToo) {
  run({.backends_max = 1, .queue_timeout = hours(1)}, [&]() -> Async<> {
    std::array<Asked, 2> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    ask(visits[1], loop_.after(milliseconds(5)));
    co_await until([&] { return visits[1].answer.has_value(); });
    EXPECT_EQ(visits[1].refusal(), Errc::exhausted);
    co_await give_back(visits[0]);
  });
}

TEST_F(PoolTest, ALoginThatTakesTooLongGivesItsPlaceBack) {
  run({.backends_max = 1, .open_timeout = milliseconds(5)}, [&]() -> Async<> {
    source_.held = true;
    Asked visit;
    ask(visit);
    co_await until([&] { return visit.answer.has_value(); });
    EXPECT_EQ(visit.refusal(), Errc::timeout);
    source_.release();
    // The next one has the place; it asks again where its own login is too slow for such a short
    // time.
    for (;;) {
      Asked next;
      ask(next);
      co_await until([&] { return next.answer.has_value(); });
      if (!next.has() && next.answer && next.refusal() == Errc::timeout) continue;
      EXPECT_TRUE(next.has());
      if (next.has()) co_await give_back(next);
      break;
    }
  });
}

// The visit is cancelled in the moment between being handed a backend and learning of it.
TEST_F(PoolTest, WhatWasHandedToOneWhoLeavesGoesOn) {
  run({.backends_max = 1}, [&]() -> Async<> {
    std::array<Asked, 3> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    Scope leaving(loop_);
    ask_in(leaving, visits[1]);
    co_await settle();
    ask(visits[2]);
    co_await settle();
    EXPECT_EQ(pool_->status().waiting, 2U);
    co_await give_back(visits[0]);
    co_await leaving.close();
    co_await until([&] { return visits[2].has() || (visits[1].answer && visits[1].has()); });
    // Whichever was first: nothing is lost.
    if (visits[1].answer && visits[1].has()) co_await give_back(visits[1]);
    co_await until([&] { return visits[2].has(); });
    co_await give_back(visits[2]);
    EXPECT_EQ(source_.asked, 1);
    EXPECT_EQ(pool_->status().idle, 1U);
  });
}

TEST_F(PoolTest, AFailedLoginLetsTheNextOneTry) {
  run({.backends_max = 1}, [&]() -> Async<> {
    source_.held = true;
    source_.failures = 1;
    std::array<Asked, 2> visits;
    ask(visits[0]);
    co_await settle();
    ask(visits[1]);
    co_await settle();
    EXPECT_EQ(pool_->status().waiting, 1U);
    source_.release();
    co_await until([&] { return visits[0].answer && visits[1].has(); });
    EXPECT_EQ(visits[0].refusal(), Errc::unavailable);
    co_await give_back(visits[1]);
  });
}

TEST_F(PoolTest, ABackendThatEndsLeavesItsPlaceToWhoWaits) {
  run({.backends_max = 1}, [&]() -> Async<> {
    std::array<Asked, 2> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    ask(visits[1]);
    co_await settle();
    pool_->discard(visits[0].give());
    co_await until([&] { return visits[1].has(); });
    EXPECT_EQ(source_.asked, 2);
    co_await give_back(visits[1]);
  });
}

TEST_F(PoolTest, WhatDoesNotAnswerTheResetIsClosed) {
  run({.backends_max = 1, .reset_timeout = milliseconds(5)}, [&]() -> Async<> {
    source_.mute = true;
    Asked visit;
    ask(visit);
    co_await until([&] { return visit.has(); });
    co_await give_back(visit);
    EXPECT_EQ(pool_->status().idle, 0U);
  });
}

TEST_F(PoolTest, WhatStaysInATransactionIsClosed) {
  run({.backends_max = 1}, [&]() -> Async<> {
    source_.refuses = true;
    Asked visit;
    ask(visit);
    co_await until([&] { return visit.has(); });
    co_await give_back(visit);
    EXPECT_EQ(pool_->status().idle, 0U);
  });
}

TEST_F(PoolTest, RenewedBackendsAreClosedAsTheyComeBack) {
  run({.backends_max = 2}, [&]() -> Async<> {
    std::array<Asked, 2> visits;
    for (Asked& visit : visits)
      ask(visit);
    co_await until([&] { return visits[0].has() && visits[1].has(); });
    co_await give_back(visits[0]);
    EXPECT_EQ(pool_->status().idle, 1U);
    pool_->renew();
    co_await give_back(visits[1]);
    EXPECT_EQ(pool_->status().idle, 1U);  // The one that was there is looked at when it is taken.
    Asked next;
    ask(next);
    co_await until([&] { return next.has(); });
    EXPECT_EQ(source_.asked, 3);
    co_await give_back(next);
  });
}

TEST_F(PoolTest, WhereMoreMayBeOpenWhoWaitsOpensThem) {
  run({.backends_max = 1, .queue_timeout = hours(1)}, [&]() -> Async<> {
    std::array<Asked, 3> visits;
    for (Asked& visit : visits) {
      ask(visit);
      co_await settle();
    }
    co_await until([&] { return visits[0].has(); });
    pool_->set_options({.backends_max = 2, .queue_timeout = hours(1)});
    co_await until([&] { return visits[1].has(); });
    co_await settle();
    EXPECT_FALSE(visits[2].answer);
    co_await give_back(visits[0]);
    co_await until([&] { return visits[2].has(); });
    co_await give_back(visits[1]);
    co_await give_back(visits[2]);
    EXPECT_EQ(source_.asked, 2);
  });
}

TEST_F(PoolTest, WhatIsTooManyIsClosed) {
  run({.backends_max = 3}, [&]() -> Async<> {
    std::array<Asked, 4> visits;
    for (std::size_t i = 0; i < 3; ++i)
      ask(visits[i]);
    co_await until([&] { return visits[0].has() && visits[1].has() && visits[2].has(); });
    ask(visits[3]);
    co_await settle();
    pool_->set_options({.backends_max = 1});
    // Two too many come back, and are nobody's, though somebody waits.
    co_await give_back(visits[0]);
    pool_->discard(visits[1].give());
    co_await settle();
    EXPECT_FALSE(visits[3].answer);
    co_await give_back(visits[2]);
    co_await until([&] { return visits[3].has(); });
    co_await give_back(visits[3]);
    EXPECT_EQ(pool_->status().idle, 1U);
    EXPECT_EQ(source_.asked, 3);
  });
}

TEST_F(PoolTest, ClosingTellsWhoWaits) {
  run({.backends_max = 1, .queue_timeout = hours(1)}, [&]() -> Async<> {
    std::array<Asked, 3> visits;
    ask(visits[0]);
    co_await until([&] { return visits[0].has(); });
    ask(visits[1]);
    co_await settle();
    pool_->close();
    co_await until([&] { return visits[1].answer.has_value(); });
    EXPECT_EQ(visits[1].refusal(), Errc::unavailable);
    ask(visits[2]);
    co_await until([&] { return visits[2].answer.has_value(); });
    EXPECT_EQ(visits[2].refusal(), Errc::unavailable);
    co_await give_back(visits[0]);
    EXPECT_EQ(pool_->status().idle, 0U);
  });
}

TEST_F(PoolTest, TheLeastAreKeptOpenAndFailuresLeaveNoHole) {
  run({.backends_max = 3, .backends_min = 2}, [&]() -> Async<> {
    source_.failures = 1;
    co_await pool_->tend(loop_);
    EXPECT_EQ(pool_->status().idle, 0U);
    co_await pool_->tend(loop_);
    EXPECT_EQ(pool_->status().idle, 2U);
    co_await pool_->tend(loop_);
    EXPECT_EQ(source_.asked, 3);
    // All three places are there.
    std::array<Asked, 3> visits;
    for (Asked& visit : visits)
      ask(visit);
    co_await until([&] { return visits[0].has() && visits[1].has() && visits[2].has(); });
    for (Asked& visit : visits)
      co_await give_back(visit);
  });
}

}  // namespace
}  // namespace meridian
