// The reader gives every record once, in the order of time, live or not, and what a filter lets
// pass.

#include "gate/trail/trail_reader.h"

#include "gate/trail/trail_fixture_test.h"

#include <functional>

namespace meridian::trail {
namespace {

class ReaderTest : public TrailTest {
 protected:
  Result<void> append_key(Trail& trail, std::size_t shard, std::string_view key) {
    return trail.writer(shard).append({}, KeyWrite{.command = "SET", .key = key});
  }

  TrailReader reader(Filter filter = {}) {
    auto reader = TrailReader::open(folder_.path() / "trail", std::move(filter));
    EXPECT_TRUE(reader);
    return std::move(*reader);
  }

  // The keys of the key_writes that are there now.
  static std::vector<std::string> keys(TrailReader& reader) {
    std::vector<std::string> found;
    for (;;) {
      const auto entry = reader.next();
      EXPECT_TRUE(entry);
      if (!entry || !*entry) return found;
      if ((*entry)->record.header.kind != RecordKind::key_write) continue;
      found.emplace_back(decode<KeyWrite>((*entry)->record.fields())->key.bytes);
    }
  }
};

using Strings = std::vector<std::string>;

TEST_F(ReaderTest, ShardsAreMergedByTime) {
  auto trail = open();
  for (const auto& [shard, key] :
       {std::pair<std::size_t, std::string_view>{0, "a"}, {1, "b"}, {1, "c"}, {0, "d"}, {1, "e"}}) {
    ASSERT_TRUE(append_key(*trail, shard, key));
    advance(std::chrono::milliseconds(5));
  }
  auto all = reader();
  EXPECT_EQ(keys(all), (Strings{"a", "b", "c", "d", "e"}));
  trail->abandon();
}

TEST_F(ReaderTest, ALiveTrailGoesOnOverSegmentsAndRuns) {
  auto trail = open();
  auto live = reader();
  EXPECT_EQ(keys(live), Strings());
  ASSERT_TRUE(append_key(*trail, 0, "a"));
  EXPECT_EQ(keys(live), Strings{"a"});
  EXPECT_EQ(keys(live), Strings());
  trail->seal_now();
  std::size_t expected = 0;
  std::size_t found = 0;
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(append_key(*trail, 0, std::string(300, 'k')));
    ++expected;
    if (i % 100 == 0) {
      trail->seal_now();
      found += keys(live).size();
    }
  }
  found += keys(live).size();
  EXPECT_EQ(found, expected);
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  trail = open();
  ASSERT_TRUE(append_key(*trail, 0, "after"));
  EXPECT_EQ(keys(live), Strings{"after"});
  EXPECT_TRUE(live.broken().empty());
  trail->abandon();
}

TEST_F(ReaderTest, FiltersLetPassWhatTheySay) {
  auto trail = open();
  TrailWriter& writer = trail->writer(1);
  record_a_visit(writer, VisitId(7), request_id(1));
  advance(std::chrono::seconds(10));
  const RecordContext reads{.visit = VisitId(8), .request = request_id(2)};
  ASSERT_TRUE(writer.append(
      reads, VisitOpened{.door = "redis", .address = "192.0.2.2", .port = 1, .transport = "tcp"}));
  ASSERT_TRUE(writer.append(reads, Admitted{.subject = "shop:storefront", .role = "storefront"}));
  KeyReads record{.view = "order", .reads_count = 3, .hits_count = 2, .misses_count = 1};
  record.keys.push_back({.key = "order:1", .reads_count = 3});
  ASSERT_TRUE(writer.append(reads, record));
  Invalidation made_old{.position = Lsn(1), .transaction_id = 2, .entries_count = 1};
  made_old.entries.push_back({.view = "order", .key = "order:1"});
  ASSERT_TRUE(writer.append({.request = request_id(1)}, made_old));

  using enum RecordKind;
  using Kinds = std::vector<RecordKind>;
  EXPECT_EQ(kinds({.request = request_id(1)}),
            (Kinds{statement_shape, statement, key_write, denied, invalidation}));
  EXPECT_EQ(kinds({.visit = VisitId(8)}), (Kinds{visit_opened, admitted, key_reads}));
  EXPECT_EQ(kinds({.kinds = {admitted, denied}}), (Kinds{admitted, denied, admitted}));
  EXPECT_EQ(kinds({.subject = "shop:storefront"}), (Kinds{admitted, key_reads}));
  EXPECT_EQ(kinds({.role = "checkout"}),
            (Kinds{admitted, statement_shape, statement, key_write, denied, visit_ended}));
  EXPECT_EQ(kinds({.door = "redis"}), (Kinds{denied, visit_opened, admitted, key_reads}));
  EXPECT_EQ(kinds({.key = "order:1"}), (Kinds{key_reads, invalidation}));
  EXPECT_EQ(kinds({.key = "order"}), (Kinds{key_reads, invalidation}));
  EXPECT_EQ(kinds({.key = "secret:1"}), (Kinds{denied}));
  EXPECT_EQ(kinds({.key = "order:"}), Kinds());
  for (const std::string_view key : {"k:1", "k:2", "k:3"}) {
    ASSERT_TRUE(writer.add_write(reads, "SET", key));
  }
  writer.flush_writes();
  for (const std::string_view key : {"k:1", "k:2", "k:3"}) {
    EXPECT_EQ(kinds({.key = std::string(key)}), Kinds{key_write}) << key;
  }
  EXPECT_EQ(kinds({.role = "storefront", .key = "k:4"}), Kinds());
  const WallTime middle = main_.wall_now() - std::chrono::seconds(5);
  EXPECT_EQ(kinds({.visit = VisitId(7), .since = middle}), Kinds());
  EXPECT_EQ(kinds({.visit = VisitId(8), .until = middle}), Kinds());
  EXPECT_EQ(kinds({.visit = VisitId(8), .since = middle}).size(), 4u);
  EXPECT_EQ(kinds({.node = "n2"}), Kinds());
  trail->abandon();
}

TEST_F(ReaderTest, VisitsOfAnEarlierRunAreOtherVisits) {
  auto trail = open();
  const RecordContext context{.visit = VisitId(1)};
  ASSERT_TRUE(trail->writer(0).append(context, Admitted{.role = "checkout"}));
  trail->abandon();
  trail.reset();
  trail = open();
  ASSERT_TRUE(trail->writer(0).append(context, KeyWrite{.command = "SET", .key = "a"}));
  EXPECT_EQ(kinds({.role = "checkout"}), std::vector{RecordKind::admitted});
  trail->abandon();
}

TEST_F(ReaderTest, ABrokenSegmentIsNotedAndTheNextOneRead) {
  for (const std::string_view key : {"a", "b", "c"}) {
    auto trail = open(settings(), 1);
    ASSERT_TRUE(append_key(*trail, 0, key));
    ASSERT_TRUE(trail->close("over"));
  }
  std::string bytes = read_file(segment(0, 2));
  bytes[segment_header_size] = 3;  // The size of its first record.
  write_file(segment(0, 2), bytes);
  auto all = reader();
  EXPECT_EQ(keys(all), (Strings{"a", "c"}));
  EXPECT_EQ(keys(all), Strings());
  ASSERT_EQ(all.broken().size(), 1u);
  EXPECT_TRUE(all.broken()[0].starts_with("n1/0-00000002.trail: at byte 256: 3 is no size"));
  bytes[10] = 'x';
  write_file(segment(0, 2), bytes);
  auto again = reader();
  EXPECT_EQ(keys(again), (Strings{"a", "c"}));
  EXPECT_EQ(again.broken().size(), 1u);
}

TEST_F(ReaderTest, AFolderThatIsNoneIsAnError) {
  EXPECT_EQ(TrailReader::open(folder_.path() / "nowhere").error().code(), Errc::not_found);
  auto empty = TrailReader::open(folder_.path());
  ASSERT_TRUE(empty);
  EXPECT_FALSE(*empty->next());
}

TEST_F(ReaderTest, FollowGivesWhatComesUntilItIsCancelled) {
  auto trail = open();
  ASSERT_TRUE(append_key(*trail, 0, "before"));
  auto live = reader({.kinds = {RecordKind::key_write}});
  std::vector<std::string> seen;
  Scope scope(main_);
  std::optional<Result<void>> ended;
  scope.spawn([](TrailReader& from,
                 Loop& loop,
                 std::vector<std::string>& out,
                 std::optional<Result<void>>& outcome) -> Async<> {
    auto see = [&](const Entry& entry) -> Result<void> {
      out.emplace_back(decode<KeyWrite>(entry.record.fields())->key.bytes);
      return {};
    };
    outcome = co_await follow(from, loop, std::chrono::milliseconds(100), see);
  }(live, main_, seen, ended));
  EXPECT_FALSE(main_.run(std::chrono::milliseconds(250)));
  EXPECT_EQ(seen, Strings{"before"});
  ASSERT_TRUE(append_key(*trail, 1, "meanwhile"));
  EXPECT_FALSE(main_.run(std::chrono::milliseconds(350)));
  EXPECT_EQ(seen, (Strings{"before", "meanwhile"}));
  scope.cancel();
  EXPECT_TRUE(main_.run(std::chrono::seconds(1)));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->error().code(), Errc::cancelled);
  trail->abandon();
}

TEST_F(ReaderTest, FollowEndsWithTheErrorOfWhoSees) {
  auto trail = open();
  auto live = reader();
  Scope scope(main_);
  std::optional<Result<void>> ended;
  scope.spawn([](TrailReader& from, Loop& loop, std::optional<Result<void>>& outcome) -> Async<> {
    auto see = [](const Entry&) -> Result<void> { return fail(Errc::unavailable, "no pipe"); };
    outcome = co_await follow(from, loop, std::chrono::milliseconds(100), see);
  }(live, main_, ended));
  EXPECT_TRUE(main_.run(std::chrono::seconds(1)));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->error().code(), Errc::unavailable);
  trail->abandon();
}

}  // namespace
}  // namespace meridian::trail
