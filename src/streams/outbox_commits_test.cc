// Rows come out in the order of their transactions' commits, each once, and within a bound.

#include "streams/outbox_commits.h"

#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace meridian {
namespace {

struct OutboxCommitsTest : ::testing::Test {
  void row(TransactionId transaction, std::uint64_t id) {
    const std::string text = std::to_string(id);
    const std::array cells{Cell{.kind = Cell::Kind::text, .text = "7"},
                           Cell{.kind = Cell::Kind::text, .text = text}};
    commits.changed(transaction, {.relation = relation, .before = {}, .after = cells});
  }
  void commit(TransactionId transaction, std::uint64_t position) {
    commits.committed(transaction, Position{position}, WallTime());
  }

  SimLoop loop{1};
  OutboxCommits commits{loop, 8};
  Relation relation{.id = 1, .schema = "meridian", .table = "outbox", .columns = {"part", "id"}};
};

TEST_F(OutboxCommitsTest, GivesRowsInTheOrderOfTheCommits) {
  commits.resumed(1, Position{10}, Snapshot());
  row(5, 1);
  row(6, 2);
  row(5, 3);
  row(6, 4);
  commit(6, 20);
  commit(5, 30);
  EXPECT_EQ(commits.position(), Position{30});
  EXPECT_EQ(commits.waiting(), (std::vector<TransactionId>{6, 5}));
  EXPECT_EQ(commits.take(100), (std::vector<IdRun>{{2, 1}, {4, 1}, {1, 1}, {3, 1}}));
  EXPECT_TRUE(commits.empty());
  EXPECT_TRUE(commits.take(100).empty());
}

TEST_F(OutboxCommitsTest, CountsTransactions) {
  commits.resumed(1, Position{10}, Snapshot());
  row(5, 1);
  row(6, 3);
  row(6, 5);
  commit(5, 20);
  commit(6, 30);
  EXPECT_EQ(commits.told_count(), 2U);
  EXPECT_EQ(commits.taken_count(), 0U);
  (void)commits.take(2);
  EXPECT_EQ(commits.taken_count(), 1U) << "of the other one a row is left";
  (void)commits.take(2);
  EXPECT_EQ(commits.taken_count(), 2U);
  row(7, 7);
  commit(7, 40);
  commits.lost();
  EXPECT_EQ(commits.told_count(), 3U);
  EXPECT_EQ(commits.taken_count(), 3U) << "nobody waits for what is forgotten";
}

TEST_F(OutboxCommitsTest, JoinsAndCutsRuns) {
  commits.resumed(1, Position{10}, Snapshot());
  for (std::uint64_t id = 1; id <= 5; ++id)
    row(5, id);
  commit(5, 20);
  row(6, 6);
  row(6, 7);
  commit(6, 30);
  EXPECT_EQ(commits.take(3), (std::vector<IdRun>{{1, 3}}));
  EXPECT_EQ(commits.waiting(), (std::vector<TransactionId>{5, 6}));
  EXPECT_EQ(commits.take(3), (std::vector<IdRun>{{4, 3}}));
  EXPECT_EQ(commits.take(3), (std::vector<IdRun>{{7, 1}}));
  EXPECT_TRUE(commits.empty());
}

TEST_F(OutboxCommitsTest, ForgetsWhatNeverCommittedAndWhatWasSeenElsewhere) {
  commits.resumed(1, Position{10}, Snapshot());
  row(5, 1);
  commits.aborted(5);
  commit(5, 20);
  row(6, 2);
  commit(6, 30);
  row(7, 3);
  commit(7, 40);
  commits.forget_seen(Snapshot(9, {7}));
  EXPECT_EQ(commits.take(100), (std::vector<IdRun>{{3, 1}}));
}

TEST_F(OutboxCommitsTest, ForgetsEverythingWhereContinuityBreaks) {
  commits.resumed(1, Position{10}, Snapshot());
  EXPECT_TRUE(commits.live());
  const std::uint64_t first = commits.beginning();
  row(5, 1);
  commit(5, 20);
  row(6, 2);
  commits.lost();
  EXPECT_FALSE(commits.live());
  EXPECT_TRUE(commits.empty());
  commits.resumed(1, Position{50}, Snapshot());
  commit(6, 60);
  EXPECT_TRUE(commits.empty()) << "its row came before the break";
  EXPECT_NE(commits.beginning(), first);
}

TEST_F(OutboxCommitsTest, BeginsAnewWhereTooMuchWaits) {
  commits.resumed(1, Position{10}, Snapshot());
  const std::uint64_t first = commits.beginning();
  for (std::uint64_t i = 0; i < 8; ++i)
    row(5, 10 * i);
  EXPECT_EQ(commits.beginning(), first);
  row(5, 1'000);
  EXPECT_NE(commits.beginning(), first);
  EXPECT_TRUE(commits.live());
  // What is left of that transaction must not count alone: it is read whole from the table.
  const std::uint64_t second = commits.beginning();
  row(5, 1'001);
  commit(5, 20);
  EXPECT_TRUE(commits.empty());
  EXPECT_NE(commits.beginning(), second);
  row(6, 2);
  commit(6, 30);
  EXPECT_EQ(commits.take(9), (std::vector<IdRun>{{2, 1}}));
}

}  // namespace
}  // namespace meridian
