// Edges of the coherence protocol that docs/coherence/protocol.pml found: the valve and commits
// that do not wait for the disk, servers that lost commits, flights over a change of the views.

#include "cache/commit_wait.h"
#include "cache/invalidator.h"
#include "cache/keeper.h"
#include "cache/view_reader.h"
#include "runtime/log.h"
#include "runtime/sim/sim_loop.h"
#include "timeline/sim/sim_database.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr SlotIndex row = Slots::rows_first;

// Every commit is one of the row.
class RowConsumer final : public FeedConsumer {
 public:
  RowConsumer(Coherence& coherence) : coherence_(coherence) {}

  Keeper* keeper = nullptr;

  void lost() override { coherence_.suspend(); }
  void resumed(BootId boot, Position position, const Snapshot& snapshot) override {
    coherence_.resume(boot, position, snapshot);
    keeper->transaction_delivered();
  }
  void changed(TransactionId /*transaction*/, const ChangedRow& /*row*/) override {
    changed_ = true;
  }
  void truncated(TransactionId /*transaction*/,
                 std::span<const Relation* const> /*relations*/) override {}
  void message(TransactionId /*transaction*/,
               std::string_view /*prefix*/,
               std::string_view /*content*/) override {}
  void aborted(TransactionId /*transaction*/) override {}
  void committed(TransactionId transaction, Position end, WallTime /*at*/) override {
    const std::array slots{row};
    coherence_.apply(transaction,
                     changed_ ? std::span<const SlotIndex>(slots) : std::span<const SlotIndex>(),
                     end);
    changed_ = false;
    keeper->transaction_delivered();
  }
  void advanced(Position position) override { coherence_.advance(position); }

 private:
  Coherence& coherence_;
  bool changed_ = false;
};

// A side connection whose nudges fail while its questions are answered.
class WithoutNudge final : public PositionSource {
 public:
  explicit WithoutNudge(SimDatabase& database) : database_(database) {}
  Async<Result<OfBoot<Position>>> flushed(Deadline deadline) override {
    return database_.flushed(deadline);
  }
  Async<Result<OfBoot<Snapshot>>> snapshot(Deadline deadline) override {
    return database_.snapshot(deadline);
  }
  Async<Result<BootId>> nudge(Deadline /*deadline*/) override {
    co_return fail(Errc::unavailable, "the connection broke");
  }
  void reconnect() noexcept override {}

 private:
  SimDatabase& database_;
};

std::vector<SimWrite> a_write() {
  std::vector<SimWrite> writes;
  writes.push_back({.table = "rows", .key = {"1"}, .value = "new"});
  return writes;
}

struct Node {
  explicit Node(std::uint64_t seed)
      : loop(seed),
        // A lazy commit is on the disk long after the valve could open.
        database(loop, {.lazy_flush_max = seconds(60)}),
        coherence(4'096),
        consumer(coherence),
        keeper(loop, coherence, database, metrics) {
    set_log_level(LogLevel::error);
    consumer.keeper = &keeper;
    keeper.start();
    database.start_feed(consumer);
  }

  Async<> until_serving() {
    while (!coherence.serving())
      (void)co_await loop.sleep(microseconds(10));
  }

  SimLoop loop;
  Metrics metrics;
  SimDatabase database;
  Coherence coherence;
  RowConsumer consumer;
  Keeper keeper;
};

TEST(CoherenceEdges, TheValveOpensAfterCommitsThatDidNotWaitForTheDisk) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Node node(seed);
    Scope scope(node.loop);
    bool checked = false;
    scope.spawn([](Node& node, bool& checked) -> Async<> {
      co_await node.until_serving();
      const std::uint64_t version = node.coherence.slots().version(row);
      node.coherence.shut();
      EXPECT_TRUE((co_await node.database.write(a_write(), true)).has_value());
      // Acknowledged without waiting, for the valve is shut; no hit may be older from here on.
      EXPECT_FALSE(node.coherence.must_wait());
      co_await node.until_serving();
      EXPECT_GT(node.coherence.slots().version(row), version);
      checked = true;
      co_await node.keeper.close();
      co_await node.database.close();
    }(node, checked));
    EXPECT_TRUE(node.loop.run(seconds(600)));
    EXPECT_TRUE(checked);
  }
}

TEST(CoherenceEdges, ALazyCommitIsNotTakenForDeliveredWhenTheNudgeFails) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Node node(seed);
    WithoutNudge positions(node.database);
    CommitWait commit_wait(node.loop, node.coherence, positions, node.metrics);
    node.coherence.add_watch(commit_wait);
    Scope scope(node.loop);
    bool checked = false;
    scope.spawn([](Node& node, CommitWait& commit_wait, bool& checked) -> Async<> {
      co_await node.until_serving();
      const std::uint64_t version = node.coherence.slots().version(row);
      EXPECT_TRUE((co_await node.database.write(a_write(), true)).has_value());
      EXPECT_EQ(co_await commit_wait.wait(true), Wake::ready);
      EXPECT_TRUE(!node.coherence.serving() || node.coherence.slots().version(row) > version);
      checked = true;
      co_await commit_wait.close();
      co_await node.keeper.close();
      co_await node.database.close();
    }(node, commit_wait, checked));
    EXPECT_TRUE(node.loop.run(seconds(600)));
    EXPECT_TRUE(checked);
  }
}

class Watch final : public PositionWatch {
 public:
  void wake() noexcept override {}
};

TEST(CoherenceEdges, AServerThatLostCommitsBeginsBelowThePositionOfBefore) {
  Coherence coherence(4'096);
  Watch watch;
  coherence.add_watch(watch);
  coherence.resume(1, Position{100}, Snapshot(10, {}));
  coherence.suspend();
  coherence.resume(2, Position{50}, Snapshot(5, {}));
  EXPECT_FALSE(coherence.reached(watch, Position{60}));
  coherence.apply(6, {}, Position{60});
  EXPECT_TRUE(coherence.reached(watch, Position{60}));
}

class NoReader final : public Reader {
 public:
  Async<Result<ReadRows>> read(std::shared_ptr<const ReadQuery> /*query*/,
                               std::vector<std::string> /*parameters*/,
                               Deadline /*deadline*/) override {
    co_return fail(Errc::unavailable, "nothing to read");
  }
};

std::shared_ptr<const ViewSet> view_set(std::uint64_t generation) {
  auto view = std::make_shared<View>();
  view->name = "v";
  view->pattern = *KeyPattern::parse("v:{id}");
  view->generation = generation;
  return std::make_shared<ViewSet>(std::vector<std::shared_ptr<const View>>{view}, 1, generation);
}

TEST(CoherenceEdges, AReaderSharesNoFlightByAnEarlierDefinition) {
  SimLoop loop(1);
  Metrics metrics;
  Coherence coherence(4'096);
  Reclaimer reclaimer;
  Store store(reclaimer, Store::bytes_max_default);
  FlightBoard flights(coherence);
  NoReader source;
  ViewReader reader(loop, ViewCache{coherence, store, flights}, source, metrics);
  const auto older = view_set(1);
  const auto newer = view_set(2);
  const auto board = [&](const ViewSet& views, std::shared_ptr<Flight>& flight) {
    return flights.board(*views.find("v:1"), reader, std::make_shared<Passenger>(loop), flight);
  };
  std::shared_ptr<Flight> first;
  EXPECT_EQ(board(*older, first), FlightBoard::Boarded::starts);
  std::shared_ptr<Flight> none;
  EXPECT_EQ(board(*older, none), FlightBoard::Boarded::joined);
  // It has not begun, but its definition is the earlier one.
  EXPECT_EQ(board(*newer, none), FlightBoard::Boarded::queued);
  flights.begin(*first, {});
  const auto second = flights.land(first).next;
  ASSERT_TRUE(second);
  EXPECT_EQ(second->view->generation, 2U);
  EXPECT_EQ(board(*older, none), FlightBoard::Boarded::joined);

  // One that waits takes the newer definition of who comes later.
  const auto newest = view_set(3);
  flights.begin(*second, {});
  EXPECT_EQ(board(*newer, none), FlightBoard::Boarded::queued);
  EXPECT_EQ(board(*newest, none), FlightBoard::Boarded::joined);
  const auto third = flights.land(second).next;
  ASSERT_TRUE(third);
  EXPECT_EQ(third->view->generation, 3U);
  EXPECT_EQ(third->passengers.size(), 2U);
  flights.begin(*third, {});
  EXPECT_FALSE(flights.land(third).next);
}

class NoListener final : public InvalidationListener {
 public:
  void voided(TransactionId /*transaction*/,
              Position /*end*/,
              RequestId /*request*/,
              std::span<const VoidedKey> /*keys*/,
              std::size_t /*voided_count*/) override {}
  void schema_changed(Position /*end*/, bool matters) override { lookups += matters ? 1 : 0; }
  void feed_lost() override {}
  void feed_resumed(Position /*position*/) override {}

  int lookups = 0;
};

TEST(CoherenceEdges, WhatIsPendingStaysSoForTheViewsThatFollow) {
  Coherence coherence(4'096);
  coherence.set_views_generation(1);
  coherence.resume(1, Position{1}, Snapshot(1, {}));
  const std::array of_before{row};
  coherence.apply(10, of_before, Position{2});
  coherence.set_views_generation(2);
  // By the new rules the change may have been one of this row.
  const std::array slots{Slots::everything, row + 1};
  EXPECT_FALSE(coherence.begin_fill(slots, 2));
  coherence.settle(Snapshot(11, {}));
  EXPECT_TRUE(coherence.begin_fill(slots, 2));
  EXPECT_FALSE(coherence.any_pending());
}

TEST(CoherenceEdges, WhatChangedByTheRulesOfBeforeVoidsEverythingWhenItCommits) {
  Metrics metrics;
  Coherence coherence(4'096);
  NoListener listener;
  Invalidator invalidator(coherence, listener, metrics);
  invalidator.set_views(view_set(1), {{.id = 1, .schema = "public", .table = "rows"}});
  invalidator.resumed(1, Position{1}, Snapshot(1, {}));
  const Relation relation{
      .id = 1, .schema = "public", .table = "rows", .columns = {"id"}, .whole_old_rows = false};
  const std::array<Cell, 1> cells{Cell{.kind = Cell::Kind::text, .text = "1"}};
  invalidator.changed(10, {.relation = relation, .before = {}, .after = cells});
  invalidator.set_views(view_set(2), {{.id = 1, .schema = "public", .table = "rows"}});
  const std::uint64_t version = coherence.slots().version(Slots::everything);
  invalidator.committed(10, Position{2}, {});
  EXPECT_GT(coherence.slots().version(Slots::everything), version);
}

TEST(CoherenceEdges, WhatWasForgottenInAnOverflowVoidsEverythingWhenItCommits) {
  Metrics metrics;
  Coherence coherence(4'096);
  NoListener listener;
  Invalidator invalidator(coherence, listener, metrics);
  invalidator.set_views(view_set(1), {{.id = 1, .schema = "public", .table = "rows"}});
  invalidator.resumed(1, Position{1}, Snapshot(1, {}));
  const Relation relation{
      .id = 1, .schema = "public", .table = "rows", .columns = {"id"}, .whole_old_rows = false};
  const std::array<Cell, 1> cells{Cell{.kind = Cell::Kind::text, .text = "1"}};
  const ChangedRow changed{.relation = relation, .before = {}, .after = cells};
  constexpr TransactionId last = 10 + Invalidator::transactions_max;
  for (TransactionId transaction = 10; transaction <= last; ++transaction)
    invalidator.changed(transaction, changed);
  // The one that is remembered ends first; the others are still owed.
  invalidator.committed(last, Position{2}, {});
  const std::uint64_t version = coherence.slots().version(Slots::everything);
  invalidator.committed(10, Position{3}, {});
  EXPECT_GT(coherence.slots().version(Slots::everything), version);
  EXPECT_EQ(listener.lookups, 1);
}

}  // namespace
}  // namespace meridian
