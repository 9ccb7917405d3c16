// Rows are kept whole or not at all, within a bound, and given to nobody who might not see them.

#include "streams/outbox_rows.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace meridian {
namespace {

struct OutboxRowsTest : ::testing::Test {
  static Cell text(std::string_view value) { return {.kind = Cell::Kind::text, .text = value}; }

  void keep(TransactionId transaction,
            std::uint64_t id,
            std::string_view payload = "\\x4142",
            std::string_view created = "2026-11-21 08:15:30.25+00") {
    const std::array cells{text("730"),
                           text("12"),
                           text("1"),
                           text(created),
                           text("a.b"),
                           Cell{.kind = Cell::Kind::null, .text = {}},
                           text("A: b\r\n"),
                           text(payload)};
    rows.keep(transaction, id, {.relation = relation, .before = {}, .after = cells});
  }

  OutboxRows rows{2'000};
  Relation relation{
      .id = 1,
      .schema = "meridian",
      .table = "outbox",
      .columns = {
          "transaction", "id", "part", "created_at", "subject", "identity", "headers", "payload"}};
  const Snapshot all{100, {}};
};

TEST_F(OutboxRowsTest, GivesARowAsTheFeedBroughtIt) {
  keep(5, 1);
  const auto row = rows.take(1, all);
  ASSERT_TRUE(row);
  EXPECT_EQ(row->id, 1U);
  EXPECT_EQ(row->subject, "a.b");
  EXPECT_EQ(row->identity, "");
  EXPECT_EQ(row->headers, "A: b\r\n");
  EXPECT_EQ(row->payload, "AB");
  EXPECT_EQ(row->payload_size, 2U);
  EXPECT_EQ(to_rfc3339(row->created_at), "2026-11-21T08:15:30.250000Z");
  EXPECT_FALSE(rows.take(1, all)) << "once";
  EXPECT_EQ(rows.size(), 0U);
}

TEST_F(OutboxRowsTest, GivesNoneThatCannotBeSeen) {
  keep(5, 1);
  keep(6, 2);
  const Snapshot seen(7, {5});
  EXPECT_FALSE(rows.take(1, seen));
  EXPECT_TRUE(rows.take(2, seen));
  EXPECT_EQ(rows.count(), 0U);
  keep(5, 3);
  EXPECT_FALSE(rows.take(3, Snapshot())) << "nothing is known to be seen";
}

TEST_F(OutboxRowsTest, KeepsNoneThatIsNotWhole) {
  keep(5, 1, "not hex");
  keep(5, 2, "\\x4142", "2026-11-21 08:15:30+01");
  relation.columns.pop_back();
  keep(5, 3);
  EXPECT_EQ(rows.count(), 0U);
  EXPECT_EQ(rows.size(), 0U);
}

TEST_F(OutboxRowsTest, KeepsAsManyAsFit) {
  const std::string large = "\\x" + std::string(2'000, '0');
  keep(5, 1, large);
  keep(5, 2, large);
  EXPECT_EQ(rows.count(), 1U);
  keep(5, 3);
  EXPECT_EQ(rows.count(), 2U);
  EXPECT_LE(rows.size(), 2'000U);
  EXPECT_TRUE(rows.take(1, all));
  keep(5, 2, large);
  EXPECT_TRUE(rows.take(2, all));
  rows.clear();
  EXPECT_EQ(rows.size(), 0U);
}

TEST_F(OutboxRowsTest, ForgetsTransactions) {
  keep(5, 1);
  keep(6, 2);
  keep(7, 3);
  rows.forget(5);
  rows.forget_seen(Snapshot(7, {}));
  EXPECT_EQ(rows.count(), 1U);
  EXPECT_TRUE(rows.take(3, all));
  EXPECT_EQ(rows.size(), 0U);
}

}  // namespace
}  // namespace meridian
