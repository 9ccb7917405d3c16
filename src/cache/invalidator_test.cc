// Each changed row voids the keys that it can belong to: by its old and its new values; the view
// where a key cannot be told; everything where the view cannot. Nothing before its commit, nothing
// that was rolled back, and nothing lost however many transactions are open at once.

#include "cache/invalidator.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace meridian {
namespace {

class InvalidatorTest : public ::testing::Test, public InvalidationListener {
 protected:
  void SetUp() override {
    auto view = std::make_shared<View>();
    view->name = "order";
    view->pattern = *KeyPattern::parse("order:{id}");
    view->dependencies.push_back(
        {.schema = "public",
         .table = "orders",
         .equalities = {{.column = "id", .part = 0, .type = PartType::integer}},
         .reason = {}});
    view->dependencies.push_back(
        {.schema = "public", .table = "rates", .equalities = {}, .reason = "not equal to a part"});
    set_ = std::make_shared<ViewSet>(std::vector<std::shared_ptr<const View>>{view}, 1, 1);
    invalidator_.set_ignored_schema("meridian");
    invalidator_.set_views(set_,
                           {{.id = 1, .schema = "public", .table = "orders"},
                            {.id = 2, .schema = "public", .table = "rates"}});
    invalidator_.resumed(1, Position{10}, Snapshot(100, {}));
  }

  static Cell text(std::string_view value) { return {.kind = Cell::Kind::text, .text = value}; }

  using Row = std::vector<Cell>;
  void change(TransactionId transaction,
              const Relation& table,
              const Row& before,
              const Row& after) {
    invalidator_.changed(transaction, {.relation = table, .before = before, .after = after});
  }
  void commit(TransactionId transaction) {
    invalidator_.committed(transaction, Position{++position_}, WallTime());
  }

  // Whether a value that was filled just now would be void after `what`.
  template <class F>
  bool voids(std::string_view key, F what) {
    const auto found = set_->find(key);
    const auto slots = dependency_slots(coherence_.slots(), *found->view, found->part_list());
    SlotStamp stamp{.count = static_cast<std::uint32_t>(slots->count)};
    for (std::size_t i = 0; i < slots->count; ++i) {
      stamp.slots[i] = slots->slots[i];
      stamp.versions[i] = coherence_.slots().version(slots->slots[i]);
    }
    what();
    return !coherence_.valid(stamp);
  }

  void voided(TransactionId /*transaction*/,
              Position /*end*/,
              RequestId /*request*/,
              std::span<const VoidedKey> keys,
              std::size_t count) override {
    told_.clear();
    for (const VoidedKey& key : keys)
      told_.push_back(key.key.empty() ? key.view->name + " as a whole" : key.key);
    told_count_ = count;
  }
  void schema_changed(Position /*end*/, bool matters) override { schema_matters_ = matters; }
  void feed_lost() override {}
  void feed_resumed(Position /*position*/) override {}

  Relation orders_{.id = 1, .schema = "public", .table = "orders", .columns = {"id", "state"}};
  Relation rates_{.id = 2, .schema = "public", .table = "rates", .columns = {"rate"}};
  Metrics metrics_;
  Coherence coherence_{1 << 20};
  Invalidator invalidator_{coherence_, *this, metrics_};
  std::shared_ptr<const ViewSet> set_;
  std::uint64_t position_ = 10;
  std::vector<std::string> told_;
  std::size_t told_count_ = 0;
  std::optional<bool> schema_matters_;
};

TEST_F(InvalidatorTest, ARowVoidsItsKeyAtItsCommit) {
  EXPECT_FALSE(voids("order:7", [&] { change(50, orders_, {}, {text("7"), text("new")}); }));
  EXPECT_TRUE(voids("order:7", [&] { commit(50); }));
  EXPECT_EQ(told_, std::vector<std::string>{"order:7"});
  EXPECT_EQ(coherence_.applied(), Position{11});
  EXPECT_FALSE(voids("order:8", [&] {
    change(51, orders_, {}, {text("7"), text("new")});
    commit(51);
  }));
}

TEST_F(InvalidatorTest, AChangedKeyVoidsBoth) {
  const auto move = [&] {
    change(50, orders_, {text("7"), Cell{}}, {text("8"), text("new")});
    commit(50);
  };
  EXPECT_TRUE(voids("order:7", [&] { EXPECT_TRUE(voids("order:8", move)); }));
  EXPECT_EQ(told_count_, 2U);
}

TEST_F(InvalidatorTest, WhatCannotBeToldVoidsTheView) {
  EXPECT_TRUE(voids("order:9", [&] {
    change(50, rates_, {}, {text("1.5")});
    commit(50);
  }));
  EXPECT_EQ(told_, std::vector<std::string>{"order as a whole"});
  EXPECT_TRUE(voids("order:9", [&] {
    change(51, orders_, {}, {Cell{.kind = Cell::Kind::unchanged, .text = {}}, text("new")});
    commit(51);
  }));
  // A column is gone: the schema is not what the view was registered with.
  Relation altered = orders_;
  altered.columns = {"number", "state"};
  EXPECT_TRUE(voids("order:9", [&] {
    change(52, altered, {}, {text("7"), text("new")});
    commit(52);
  }));
  EXPECT_TRUE(voids("order:9", [&] {
    const std::array<const Relation*, 1> tables{&orders_};
    invalidator_.truncated(53, tables);
    commit(53);
  }));
}

TEST_F(InvalidatorTest, ATableThatNobodyKnowsVoidsEverythingAndOursNothing) {
  const Relation other{.id = 9, .schema = "public", .table = "other", .columns = {"id"}};
  EXPECT_TRUE(voids("order:7", [&] {
    change(50, other, {}, {text("1")});
    commit(50);
  }));
  const Relation ours{.id = 10, .schema = "meridian", .table = "revocations", .columns = {"id"}};
  EXPECT_FALSE(voids("order:7", [&] {
    change(51, ours, {}, {text("1")});
    commit(51);
  }));
}

TEST_F(InvalidatorTest, NullIsEqualToNoPart) {
  EXPECT_FALSE(voids("order:7", [&] {
    change(50, orders_, {}, {Cell{.kind = Cell::Kind::null, .text = {}}, text("new")});
    commit(50);
  }));
}

TEST_F(InvalidatorTest, WhatWasRolledBackVoidsNothing) {
  EXPECT_FALSE(voids("order:7", [&] {
    change(50, orders_, {}, {text("7"), text("new")});
    invalidator_.aborted(50);
    commit(51);
  }));
}

TEST_F(InvalidatorTest, ASchemaChangePausesCachingUnlessItOnlyAdds) {
  const std::vector<SlotIndex> slots{Slots::everything};
  invalidator_.message(50, Invalidator::schema_prefix, "CREATE TABLE other");
  EXPECT_FALSE(voids("order:7", [&] { commit(50); }));
  EXPECT_EQ(schema_matters_, false);
  EXPECT_TRUE(coherence_.begin_fill(slots, 1));
  invalidator_.message(51, Invalidator::schema_prefix, "ALTER TABLE orders");
  EXPECT_TRUE(voids("order:7", [&] { commit(51); }));
  EXPECT_EQ(schema_matters_, true);
  EXPECT_FALSE(coherence_.begin_fill(slots, 1));
}

TEST_F(InvalidatorTest, ManyKeysOfATransactionBecomeTheView) {
  for (std::size_t i = 0; i < 80'000;  // Some share a slot.
        ++i) {
    const std::string id = std::to_string(i);
    change(50, orders_, {}, {text(id), text("new")});
  }
  EXPECT_TRUE(voids("order:999999", [&] { commit(50); }));
  EXPECT_EQ(told_.size(), Invalidator::voided_keys_max);
}

// More are open in the stream than are remembered. Those that are forgotten must not be lost,
// whatever the others do meanwhile.
TEST_F(InvalidatorTest, NothingIsLostWhenTooManyTransactionsAreOpen) {
  change(1'000, orders_, {}, {text("7"), text("new")});
  for (TransactionId i = 1; i <= Invalidator::transactions_max; ++i)
    change(1'000 + i, orders_, {}, {text("8"), text("new")});
  // The last is the only one that is remembered; when it has gone the stream looks calm.
  commit(1'000 + Invalidator::transactions_max);
  EXPECT_TRUE(voids("order:7", [&] { commit(1'000); }));
}

TEST_F(InvalidatorTest, ALostFeedForgetsWhatWasOpen) {
  change(50, orders_, {}, {text("7"), text("new")});
  EXPECT_TRUE(voids("order:7", [&] { invalidator_.lost(); }));
  EXPECT_FALSE(coherence_.serving());
  invalidator_.resumed(2, Position{20}, Snapshot(200, {}));
  EXPECT_TRUE(coherence_.serving());
  EXPECT_FALSE(voids("order:7", [&] { invalidator_.committed(50, Position{21}, WallTime()); }));
}

}  // namespace
}  // namespace meridian
