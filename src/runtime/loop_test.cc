// Fibres, waits, deadlines and cancellation behave the same on the simulated loop, whatever the
// order.

#include "runtime/channel.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LoopTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  SimLoop loop_{GetParam()};
  Scope scope_{loop_};
};

INSTANTIATE_TEST_SUITE_P(Seeds, LoopTest, ::testing::Range<std::uint64_t>(0, 20));

Async<int> twice(int value) {
  co_return value * 2;
}

Async<int> deep(int levels) {
  if (levels == 0) co_return 1;
  co_return 1 + co_await deep(levels - 1);
}

TEST_P(LoopTest, AnAwaitedAsyncGivesItsValue) {
  int seen = 0;
  scope_.spawn([](int& out) -> Async<> { out = co_await twice(21) + co_await deep(1000); }(seen));
  EXPECT_TRUE(loop_.run(seconds(1)));
  EXPECT_EQ(seen, 42 + 1001);
}

TEST_P(LoopTest, SleepsEndInTheOrderOfTheirTimes) {
  std::vector<int> order;
  const auto sleeper = [](Loop& loop, std::vector<int>& out, int ms) -> Async<> {
    EXPECT_EQ(co_await loop.sleep(milliseconds(ms)), Wake::ready);
    out.push_back(ms);
  };
  for (const int ms : {30, 10, 20, 5})
    scope_.spawn(sleeper(loop_, order, ms));
  EXPECT_TRUE(loop_.run(seconds(1)));
  EXPECT_EQ(order, (std::vector{5, 10, 20, 30}));
  EXPECT_EQ(loop_.now(), Time(milliseconds(30)));
}

TEST_P(LoopTest, ADeadlineEndsAWaitWithinATickAfterIt) {
  Event event(loop_);
  for (const auto deadline :
       {milliseconds(1), milliseconds(250), milliseconds(10'300), milliseconds(300'000)}) {
    scope_.spawn([](Loop& loop, Event& waited, Duration after) -> Async<> {
      EXPECT_EQ(co_await waited.wait(loop.after(after)), Wake::timeout);
      EXPECT_GE(loop.now(), Time(after));
      EXPECT_LE(loop.now(), Time(after) + milliseconds(10));
    }(loop_, event, deadline));
  }
  EXPECT_TRUE(loop_.run(seconds(1'000)));
  EXPECT_EQ(scope_.count(), 0U);
}

TEST_P(LoopTest, CancelEndsTheWaitOfNowAndEveryLaterOne) {
  Event never(loop_);
  std::vector<Wake> wakes;
  scope_.spawn([](Loop& loop, Event& event, std::vector<Wake>& out) -> Async<> {
    out.push_back(co_await event.wait());
    out.push_back(co_await loop.sleep(seconds(5)));
    const Shield shield(co_await this_fibre());
    out.push_back(co_await loop.sleep(milliseconds(1)));
  }(loop_, never, wakes));
  Scope canceller(loop_);
  canceller.spawn([](Loop& loop, Scope& scope) -> Async<> {
    (void)co_await loop.sleep(milliseconds(10));
    co_await scope.close();
  }(loop_, scope_));
  EXPECT_TRUE(loop_.run(seconds(1)));
  EXPECT_EQ(wakes, (std::vector{Wake::cancelled, Wake::cancelled, Wake::ready}));
  EXPECT_EQ(loop_.now(), Time(milliseconds(11)));
}

TEST_P(LoopTest, AbandonDestroysFibresWhereverTheyWait) {
  Event event(loop_);
  int ended = 0;
  struct Mark {
    int& count;
    ~Mark() { ++count; }
  };
  const auto waiter = [](Event& waited, int& count) -> Async<> {
    const Mark mark{count};
    (void)co_await waited.wait();
  };
  const auto sleeper = [](Loop& loop, int& count) -> Async<> {
    const Mark mark{count};
    (void)co_await loop.sleep(seconds(1));
  };
  scope_.spawn(waiter(event, ended));
  scope_.spawn(sleeper(loop_, ended));
  EXPECT_FALSE(loop_.run(milliseconds(1)));
  scope_.spawn(waiter(event, ended));  // Not started yet.
  event.notify_all();                  // Woken, not run yet.
  scope_.abandon();
  EXPECT_EQ(ended, 2);
  EXPECT_TRUE(loop_.run(seconds(2)));
}

TEST_P(LoopTest, AChannelKeepsOrderAndItsBound) {
  Channel<int> channel(loop_, 3);
  std::vector<int> received;
  scope_.spawn([](Channel<int>& out) -> Async<> {
    for (int i = 0; i < 20; ++i)
      EXPECT_TRUE(co_await out.send(i));
    out.close();
  }(channel));
  scope_.spawn([](Loop& loop, Channel<int>& in, std::vector<int>& out) -> Async<> {
    while (auto item = co_await in.receive()) {
      EXPECT_LE(in.count(), 3U);
      out.push_back(*item);
      (void)co_await loop.sleep(milliseconds(1));
    }
  }(loop_, channel, received));
  EXPECT_TRUE(loop_.run(seconds(1)));
  ASSERT_EQ(received.size(), 20U);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(received[static_cast<std::size_t>(i)], i);
}

TEST(SimLoop, OneSeedIsOneSchedule) {
  const auto run = [](std::uint64_t seed) {
    SimLoop loop(seed);
    Scope scope(loop);
    std::string order;
    for (char name = 'a'; name < 'k'; ++name) {
      scope.spawn([](Loop& on, std::string& out, char letter) -> Async<> {
        for (int i = 0; i < 3; ++i) {
          out += letter;
          (void)co_await on.yield();
        }
      }(loop, order, name));
    }
    EXPECT_TRUE(loop.run(seconds(1)));
    return std::pair(order, loop.digest());
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

}  // namespace
}  // namespace meridian
