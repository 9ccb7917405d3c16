// Many readers of a key cost one query; none is given a value from before it asked once that could
// be stale; only what may be kept is kept.

#include "cache/view_reader.h"

#include "cache/view_set.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Answers after 10 ms with what was said when the query began.
class Rowset final : public Reader {
 public:
  explicit Rowset(Loop& loop) : loop_(loop) {}

  Async<Result<ReadRows>> read(std::shared_ptr<const ReadQuery> /*query*/,
                               std::vector<std::string> parameters,
                               Deadline /*deadline*/) override {
    ++queries;
    Result<Rows> now = rows;
    if (failures_first > 0) {
      --failures_first;
      now = fail(failure, "the session was closed");
    }
    const BootId from = boot;
    (void)co_await loop_.sleep(milliseconds(10));
    last = parameters.at(0);
    if (!now) co_return std::unexpected(now.error());
    co_return ReadRows{.rows = *now, .boot = from};
  }

  Result<Rows> rows = Rows({"json", "id", "note"}, {"{}", "7", std::nullopt});
  BootId boot = 1;
  int failures_first = 0;
  Errc failure = Errc::unavailable;
  int queries = 0;
  std::string last;

 private:
  Loop& loop_;
};

class ViewReaderTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  ViewReaderTest() {
    auto view = std::make_shared<View>();
    view->name = "order";
    view->pattern = *KeyPattern::parse("order:{id}");
    view->dependencies.push_back(
        {.schema = "public",
         .table = "orders",
         .equalities = {{.column = "id", .part = 0, .type = PartType::integer}},
         .reason = {}});
    view_ = view.get();
    set_ = std::make_shared<ViewSet>(std::vector<std::shared_ptr<const View>>{view}, 1, 0);
    coherence_.resume(1, Position{10}, Snapshot(100, {}));
  }
  void TearDown() override {
    EXPECT_EQ(flights_.count(), 0U);
    scope_.spawn(reader_.close());
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(1)));
  }
  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }
  auto board(const std::string& key) { return reader_.board(*set_->find(key)); }
  const Entry* hit(const std::string& key) { return reader_.hit(*set_->find(key)); }
  void change(std::string_view id) {
    const std::array<std::string_view, 1> parts{id};
    const std::array<SlotIndex, 1> slots{dependency_slot(coherence_.slots(), *view_, 0, parts)};
    coherence_.apply(101, slots, Position{++position_});
  }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  Coherence coherence_{1 << 16};
  Reclaimer reclaimer_;
  Store store_{reclaimer_, 1 << 20};
  FlightBoard flights_{coherence_};
  Rowset rows_{loop_};
  ViewReader reader_{
      loop_, ViewCache{coherence_, store_, flights_}, rows_, metrics_, {.value_bytes_max = 4'096}};
  const View* view_ = nullptr;
  std::shared_ptr<ViewSet> set_;
  std::uint64_t position_ = 10;
  Scope scope_{loop_};
};

INSTANTIATE_TEST_SUITE_P(Seeds, ViewReaderTest, ::testing::Range<std::uint64_t>(1, 11));

TEST_P(ViewReaderTest, OneQueryForManyReadersAndHitsAfterIt) {
  std::vector<std::shared_ptr<Passenger>> passengers;
  EXPECT_EQ(hit("order:7"), nullptr);
  for (int i = 0; i < 20; ++i)
    passengers.push_back(board("order:7"));
  pass(milliseconds(20));
  EXPECT_EQ(rows_.queries, 1);
  EXPECT_EQ(rows_.last, "7");
  for (const auto& passenger : passengers) {
    ASSERT_TRUE(passenger->result && *passenger->result);
    EXPECT_TRUE((**passenger->result)->present);
    EXPECT_EQ((**passenger->result)->fields.size(), 1U);  // NULL is left out.
  }
  ASSERT_NE(hit("order:7"), nullptr);
  EXPECT_EQ(hit("order:7")->json(), "{}");
  EXPECT_EQ(hit("order:8"), nullptr);
  change("7");
  EXPECT_EQ(hit("order:7"), nullptr);
}

TEST_P(ViewReaderTest, AFlightThatWasVoidedIsNotJoinedAndNotKept) {
  const auto first = board("order:7");
  pass(milliseconds(5));
  change("7");
  rows_.rows = Rows({"json"}, {"new"});
  const auto second = board("order:7");
  pass(milliseconds(40));
  EXPECT_EQ(rows_.queries, 2);
  EXPECT_EQ((**first->result)->json, "{}");
  EXPECT_EQ((**second->result)->json, "new");
  EXPECT_EQ(hit("order:7"), nullptr);  // The change is not known to be visible yet.
  coherence_.settle(Snapshot(102, {}));
  (void)board("order:7");
  pass(milliseconds(20));
  EXPECT_NE(hit("order:7"), nullptr);
}

TEST_P(ViewReaderTest, WhatIsNotThereIsKeptAsNothing) {
  rows_.rows = Rows({"json"}, {});
  (void)board("order:7");
  pass(milliseconds(20));
  ASSERT_NE(hit("order:7"), nullptr);
  EXPECT_FALSE(hit("order:7")->present());
}

TEST_P(ViewReaderTest, ErrorsAndOversizeAreToldAndNotKept) {
  rows_.rows = fail(Errc::denied, "no");
  const auto refused = board("order:7");
  pass(milliseconds(20));
  EXPECT_EQ(refused->result->error().code(), Errc::denied);
  rows_.rows = Rows({"json"}, {"a", "b"});
  const auto two_rows = board("order:7");
  pass(milliseconds(20));
  EXPECT_EQ(two_rows->result->error().code(), Errc::invalid);
  rows_.rows = Rows({"json"}, {std::string(5'000, 'x')});
  const auto large = board("order:7");
  pass(milliseconds(20));
  EXPECT_EQ((**large->result)->json.size(), 5'000U);
  EXPECT_EQ(hit("order:7"), nullptr);
  EXPECT_EQ(store_.count(), 0U);
}

TEST_P(ViewReaderTest, ThatOfAnotherServerOrAnotherSetOrADoubtfulKeyIsNotKept) {
  rows_.boot = 2;
  (void)board("order:7");
  pass(milliseconds(20));
  EXPECT_EQ(hit("order:7"), nullptr);
  rows_.boot = 1;
  const auto doubtful = board("order:07");
  pass(milliseconds(20));
  EXPECT_TRUE(*doubtful->result);
  EXPECT_EQ(hit("order:07"), nullptr);
  coherence_.set_views_generation(9);
  (void)board("order:7");
  pass(milliseconds(20));
  EXPECT_EQ(hit("order:7"), nullptr);
}

// While the schema changes sessions are made again and tables are locked: nobody need be told.
TEST_P(ViewReaderTest, WhatFailsForAMomentIsAskedAgain) {
  for (const auto& [failure, key] : {std::pair{Errc::unavailable, "order:7"},
                                     std::pair{Errc::exhausted, "order:8"},
                                     std::pair{Errc::conflict, "order:9"}}) {
    rows_.failure = failure;
    rows_.failures_first = 3;
    const auto passenger = board(key);
    pass(milliseconds(200));
    ASSERT_TRUE(passenger->result && *passenger->result);
    EXPECT_NE(hit(key), nullptr);
  }
}

TEST_P(ViewReaderTest, AnInvalidationBetweenTheAttemptsIsHeardOf) {
  rows_.failures_first = 2;
  const auto passenger = board("order:7");
  pass(milliseconds(12));
  coherence_.apply(100, std::array{Slots::everything}, Position{11});
  pass(milliseconds(200));
  ASSERT_TRUE(passenger->result && *passenger->result);
  EXPECT_EQ(hit("order:7"), nullptr);
}

TEST_P(ViewReaderTest, WhatGoesOnFailingIsToldInBoundedTime) {
  rows_.failures_first = 1'000;
  const auto passenger = board("order:7");
  pass(milliseconds(500));
  EXPECT_FALSE(passenger->result);
  pass(milliseconds(700));
  ASSERT_TRUE(passenger->result);
  EXPECT_EQ(passenger->result->error().code(), Errc::unavailable);
  EXPECT_LE(rows_.queries, 20);
}

TEST_P(ViewReaderTest, WhatIsWrongIsToldAtOnce) {
  rows_.failure = Errc::invalid;
  rows_.failures_first = 1;
  const auto passenger = board("order:7");
  pass(milliseconds(20));
  ASSERT_TRUE(passenger->result);
  EXPECT_EQ(passenger->result->error().code(), Errc::invalid);
  EXPECT_EQ(rows_.queries, 1);
}

TEST_P(ViewReaderTest, NothingIsServedWhileTheValveIsShut) {
  (void)board("order:7");
  pass(milliseconds(20));
  ASSERT_NE(hit("order:7"), nullptr);
  coherence_.shut();
  EXPECT_EQ(hit("order:7"), nullptr);
  const auto first = board("order:7");
  pass(milliseconds(5));
  const auto second = board("order:7");
  pass(milliseconds(40));
  EXPECT_EQ(rows_.queries, 3);  // A flight that began before the reader came is not shared.
  EXPECT_TRUE(reader_.forget(*set_->find("order:7")));
}

}  // namespace
}  // namespace meridian
