// An acknowledgement waits until the feed has applied the commit, a late feed is nudged, and one
// that does not come stops the hits instead of the clients. The keeper settles what has become
// visible, and opens the valve again.

#include "cache/commit_wait.h"

#include "cache/keeper.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Answers what the test says, after a while.
class Positions final : public PositionSource {
 public:
  explicit Positions(Loop& loop) : loop_(loop) {}

  Async<Result<OfBoot<Position>>> flushed(Deadline /*deadline*/) override {
    ++questions;
    const OfBoot<Position> position{.value = end, .boot = boot};
    (void)co_await loop_.sleep(milliseconds(1));
    if (down) co_return fail(Errc::unavailable, "down");
    co_return position;
  }
  Async<Result<OfBoot<Snapshot>>> snapshot(Deadline /*deadline*/) override {
    ++snapshots;
    (void)co_await loop_.sleep(milliseconds(1));
    if (down) co_return fail(Errc::unavailable, "down");
    co_return OfBoot<Snapshot>{.value = visible, .boot = boot};
  }
  Async<Result<BootId>> nudge(Deadline /*deadline*/) override {
    ++nudges;
    const BootId nudged = boot;
    if (moves_behind_nudge) boot = 1;
    (void)co_await loop_.sleep(milliseconds(1));
    co_return nudged;
  }
  void reconnect() noexcept override { ++reconnects; }

  Position end{20};
  Snapshot visible{100, {}};
  BootId boot = 1;
  bool moves_behind_nudge = false;
  bool down = false;
  int reconnects = 0;
  int questions = 0;
  int snapshots = 0;
  int nudges = 0;

 private:
  Loop& loop_;
};

class CommitWaitTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  CommitWaitTest() {
    coherence_.add_watch(wait_);
    coherence_.resume(1, Position{10}, Snapshot(100, {}));
  }
  void TearDown() override {
    scope_.spawn(wait_.close());
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(1)));
  }

  // Begins to wait; says when it was over.
  void begin(std::optional<Time>& over, bool unflushed = false) {
    scope_.spawn([](CommitWaitTest& test, std::optional<Time>& at, bool lazy) -> Async<> {
      const Wake wake = co_await test.wait_.wait(lazy);
      EXPECT_EQ(wake, Wake::ready);
      at = test.loop_.now();
    }(*this, over, unflushed));
  }
  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  Positions positions_{loop_};
  Coherence coherence_{4'096};
  CommitWait wait_{loop_, coherence_, positions_, metrics_};
  Scope scope_{loop_};
};

INSTANTIATE_TEST_SUITE_P(Seeds, CommitWaitTest, ::testing::Range<std::uint64_t>(1, 21));

TEST_P(CommitWaitTest, TheFeedIsThereAlready) {
  coherence_.advance(Position{20});
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(2));
  EXPECT_TRUE(over);
  EXPECT_EQ(positions_.nudges, 0);
}

TEST_P(CommitWaitTest, NobodyIsToldBeforeTheFeedIsThere) {
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(4));
  coherence_.advance(Position{19});
  pass(milliseconds(1));
  EXPECT_FALSE(over);
  coherence_.advance(Position{20});
  pass(milliseconds(1));
  EXPECT_TRUE(over);
}

TEST_P(CommitWaitTest, OneQuestionServesAllWhoCameBeforeIt) {
  coherence_.advance(Position{20});
  std::array<std::optional<Time>, 50> over;
  for (auto& one : over)
    begin(one);
  pass(milliseconds(10));
  for (const auto& one : over)
    EXPECT_TRUE(one);
  EXPECT_LE(positions_.questions, 2);
}

// Who comes while a question is under way is not served by it: its answer may be too old.
TEST_P(CommitWaitTest, ALaterCommitIsNotServedByAnEarlierQuestion) {
  coherence_.advance(Position{20});
  std::optional<Time> first;
  std::optional<Time> second;
  begin(first);
  pass(std::chrono::microseconds(500));
  ASSERT_EQ(positions_.questions, 1);
  positions_.end = Position{30};
  begin(second);
  pass(milliseconds(4));
  EXPECT_TRUE(first);
  EXPECT_FALSE(second);
  coherence_.advance(Position{30});
  pass(milliseconds(20));
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST_P(CommitWaitTest, ALateFeedIsNudgedAndALazyCommitAtOnce) {
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(30));
  EXPECT_EQ(positions_.nudges, 1);
  EXPECT_FALSE(over);
  std::optional<Time> lazy;
  begin(lazy, true);
  pass(milliseconds(1));
  EXPECT_EQ(positions_.nudges, 2);
  coherence_.advance(Position{20});
  pass(milliseconds(20));
  EXPECT_TRUE(over);
  EXPECT_TRUE(lazy);
}

TEST_P(CommitWaitTest, AFeedThatDoesNotComeStopsHitsInPlaceOfClients) {
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(240));
  EXPECT_FALSE(over);
  EXPECT_TRUE(coherence_.serving());
  pass(milliseconds(30));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());
  EXPECT_FALSE(wait_.needed());
}

TEST_P(CommitWaitTest, WithoutAnAnswerHitsStopToo) {
  positions_.down = true;
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(5));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());
}

TEST_P(CommitWaitTest, ALostFeedLetsEverybodyGo) {
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(3));
  coherence_.suspend();
  pass(milliseconds(1));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());
}

// After a failover positions of the new server may be lower than those of the old one: that the
// feed of the old one is past them says nothing.
TEST_P(CommitWaitTest, APositionOfAnotherServerProvesNothing) {
  coherence_.advance(Position{30});
  positions_.boot = 2;
  std::optional<Time> over;
  begin(over);
  pass(milliseconds(5));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());  // So nobody reads what is older.
  EXPECT_EQ(positions_.reconnects, 1);
}

TEST_P(CommitWaitTest, NorDoesOneBehindANudgeOfAnotherServer) {
  coherence_.advance(Position{30});
  positions_.boot = 2;
  positions_.moves_behind_nudge = true;
  std::optional<Time> over;
  begin(over, true);
  pass(milliseconds(5));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());
}

// The feed is made again on the new server between the question and its answer.
TEST_P(CommitWaitTest, NorDoesThePositionOfTheServerBefore) {
  std::optional<Time> over;
  begin(over);
  pass(std::chrono::microseconds(500));
  ASSERT_EQ(positions_.questions, 1);
  coherence_.suspend();
  coherence_.resume(2, Position{40}, Snapshot(100, {}));
  pass(milliseconds(5));
  EXPECT_TRUE(over);
  EXPECT_FALSE(coherence_.serving());
}

class KeeperTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  KeeperTest() {
    coherence_.resume(1, Position{10}, Snapshot(100, {}));
    keeper_.start();
  }
  void TearDown() override {
    scope_.spawn(keeper_.close());
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(10)));
  }
  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  Positions positions_{loop_};
  Coherence coherence_{4'096};
  int moved_ = 0;
  Keeper keeper_{loop_, coherence_, positions_, metrics_, {.server_changed = [this] { ++moved_; }}};
  Scope scope_{loop_};
};

INSTANTIATE_TEST_SUITE_P(Seeds, KeeperTest, ::testing::Range<std::uint64_t>(1, 11));

TEST_P(KeeperTest, WhatIsVisibleIsNotPendingAnyMore) {
  const std::array<SlotIndex, 1> slots{Slots::rows_first};
  positions_.visible = Snapshot(101, {100});  // Transaction 100 is still in progress.
  coherence_.apply(100, slots, Position{11});
  keeper_.transaction_delivered();
  pass(milliseconds(50));
  EXPECT_TRUE(coherence_.any_pending());
  EXPECT_FALSE(coherence_.begin_fill(slots, 0));
  positions_.visible = Snapshot(102, {});
  pass(milliseconds(50));
  EXPECT_FALSE(coherence_.any_pending());
  EXPECT_TRUE(coherence_.begin_fill(slots, 0));
  const int asked = positions_.snapshots;
  pass(seconds(1));
  EXPECT_EQ(positions_.snapshots, asked);  // Nothing to settle: nothing is asked.
}

TEST_P(KeeperTest, TheValveOpensWhenTheFeedHasCaughtUp) {
  coherence_.shut();
  pass(seconds(1));
  EXPECT_FALSE(coherence_.serving());  // The feed is not where the database is.
  coherence_.advance(Position{20});
  pass(seconds(1));
  EXPECT_TRUE(coherence_.serving());
}

TEST_P(KeeperTest, TheValveStaysShutWhileAnotherServerAnswers) {
  coherence_.shut();
  coherence_.advance(Position{30});
  positions_.boot = 2;
  pass(seconds(1));
  EXPECT_FALSE(coherence_.serving());
  EXPECT_GE(moved_, 1);
  EXPECT_EQ(positions_.reconnects, moved_);
  coherence_.suspend();
  coherence_.resume(2, Position{20}, Snapshot(100, {}));
  coherence_.shut();
  pass(seconds(1));
  EXPECT_TRUE(coherence_.serving());
}

// The ids of another server's transactions are not those of the feed's.
TEST_P(KeeperTest, ASnapshotOfAnotherServerSettlesNothing) {
  const std::array<SlotIndex, 1> slots{Slots::rows_first};
  positions_.boot = 2;
  positions_.visible = Snapshot(200, {});
  coherence_.apply(100, slots, Position{11});
  keeper_.transaction_delivered();
  pass(seconds(1));
  EXPECT_TRUE(coherence_.any_pending());
  EXPECT_GE(moved_, 1);
  positions_.boot = 1;
  pass(seconds(1));
  EXPECT_FALSE(coherence_.any_pending());
}

TEST_P(KeeperTest, TheValveStaysShutWhileTheFeedIsGone) {
  coherence_.suspend();
  coherence_.advance(Position{20});
  pass(seconds(2));
  EXPECT_FALSE(coherence_.serving());
  EXPECT_EQ(positions_.questions, 0);
}

}  // namespace
}  // namespace meridian
