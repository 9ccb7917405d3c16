// The story of a request has everything that it did, over shards and doors, what it made old and
// who read that afterwards, and nothing of other requests.

#include "gate/trail/trace.h"

#include "gate/trail/publication_tally.h"
#include "gate/trail/trail_fixture_test.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

namespace meridian::trail {
namespace {

class TraceTest : public TrailTest {
 protected:
  // As in the demo: checkout changes order 1 through one door, storefront reads it through another.
  void make_story(Trail& trail) {
    TrailWriter& writes = trail.writer(0);
    TrailWriter& reads = trail.writer(1);
    const RecordContext reader{.visit = VisitId(9), .request = request_id(2)};
    tick();
    ASSERT_TRUE(reads.append(
        reader,
        VisitOpened{.door = "redis", .address = "192.0.2.2", .port = 2, .transport = "tcp"}));
    ASSERT_TRUE(reads.append(reader, Admitted{.subject = "shop:storefront", .role = "storefront"}));
    // Before the change.
    ASSERT_TRUE(reads.append(reader, read_of("order:1")));
    tick();
    record_a_visit(writes, VisitId(7), request_id(1));
    tick();
    Invalidation invalidation{
        .position = Lsn(0x1'0000'0abc), .transaction_id = 771, .entries_count = 30};
    invalidation.entries.push_back({.view = "order", .key = "order:1"});
    invalidation.entries.push_back({.view = "sales", .key = {}});
    ASSERT_TRUE(reads.append({.request = request_id(1)}, invalidation));
    tick();
    ASSERT_TRUE(reads.append(reader, read_of("order:1")));
    tick();
    ASSERT_TRUE(reads.append(reader, read_of("order:2")));
    advance(std::chrono::seconds(10));
    ASSERT_TRUE(reads.append(reader, read_of("order:1")));  // Long after.
    // Another request in a visit of the same number, in another run, elsewhere.
    ASSERT_TRUE(reads.append({.visit = VisitId(7), .request = request_id(3)},
                             KeyWrite{.command = "SET", .key = "other"}));
  }

  void tick() { advance(std::chrono::milliseconds(2)); }

  static KeyReads read_of(std::string_view key) {
    KeyReads reads{.view = "order",
                   .reads_count = 1,
                   .hits_count = 0,
                   .misses_count = 1,
                   .keys = {},
                   .other_reads_count = 0,
                   .interval = std::chrono::seconds(1)};
    reads.keys.push_back({.key = key, .reads_count = 1});
    return reads;
  }

  Story story_of(RequestId request, TraceSettings wanted = {}) {
    auto story = trace(folder_.path() / "trail", request, wanted);
    EXPECT_TRUE(story) << story.error().detail();
    return story ? *story : Story{};
  }
};

TEST_F(TraceTest, AStoryGoesOverShardsAndDoors) {
  auto trail = open();
  make_story(*trail);
  trail->abandon();
  const std::string text = to_text(story_of(request_id(1)));
  EXPECT_EQ(
      std::regex_replace(text, std::regex("  +"), "|"),
      "request 01000000-0000-0000-0000-000000000001\n"
      "TIME|AFTER|NODE|DOOR|VISIT|WHAT|DETAIL\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|visit opened|"
      "from 192.0.2.1 port 40000 over tls\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|admitted as checkout|"
      "subject shop:checkout, issuer https://issuer.example.com, by binding checkout[0], "
      "token t-1\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|statement 1|"
      "update orders set state = $1 where id = $2: 1 row in 1.2 ms\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|SET session:1\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|denied: write secret:1|"
      "by rule redis.write\n"
      "2026-01-01T00:00:00.004000Z|+0 s|n1|postgres|7|visit ended|"
      "client left, after 12 ms: 1 statements, 2 commands, 300 bytes in, 400 out\n"
      "2026-01-01T00:00:00.006000Z|+2 ms|n1|-|-|invalidated order:1, all of sales and 28 more|"
      "commit at 1/ABC, transaction 771\n"
      "2026-01-01T00:00:00.008000Z|+4 ms|n1|redis|9|> read afterwards: order:1|"
      "by storefront in the 1 s before\n");
  // In columns.
  const auto column_of = [&](std::string_view cell) {
    const std::size_t at = text.find(cell);
    return at - text.rfind('\n', at);
  };
  EXPECT_EQ(column_of("from 192.0.2.1"), column_of("DETAIL"));
  EXPECT_EQ(column_of("commit at"), column_of("DETAIL"));
}

// A message whose request is not its visit's, committed together with another's, from its
// publication to what the change of its row set off. The records are not in that order.
TEST_F(TraceTest, AMessageIsFollowedIntoItsTransactionAndOutOfIt) {
  auto trail = open();
  const RequestId visit = request_id(1);
  const RequestId mine = request_id(2);
  const RequestId other = request_id(3);
  const RequestId transaction = request_id(4);
  const RecordContext publisher{.visit = VisitId(5), .request = visit};
  TrailWriter& door = trail->writer(0);
  TrailWriter& ingest = trail->writer(1);
  ASSERT_TRUE(door.append(
      publisher,
      VisitOpened{.door = "nats", .address = "192.0.2.3", .port = 3, .transport = "tcp"}));
  ASSERT_TRUE(door.append(publisher, Admitted{.subject = "shop:checkout", .role = "checkout"}));
  PublicationTally tally(door, publisher);
  tick();
  ASSERT_TRUE(tally.count("orders.>", "orders.created", 100, mine));
  tick();
  ASSERT_TRUE(tally.count("orders.>", "orders.created", 100, other));
  ASSERT_TRUE(tally.count("orders.>", "orders.created", 100, mine));
  advance(std::chrono::milliseconds(3));
  Invalidation invalidation{
      .position = Lsn(0x1'0000'0abc), .transaction_id = 9, .entries_count = 1};
  invalidation.entries.push_back({.view = "order", .key = "order:1"});
  ASSERT_TRUE(door.append({.request = transaction}, invalidation));
  const std::string requests = mine.to_hex() + " " + other.to_hex();
  ASSERT_TRUE(ingest.append({.request = transaction},
                            IngestBatch{.rule = "orders",
                                        .stream = "ORDERS",
                                        .epoch = 2,
                                        .number = 7,
                                        .first_sequence = 40,
                                        .last_sequence = 42,
                                        .rows_count = 3,
                                        .requests = requests,
                                        .duration = std::chrono::milliseconds(1)}));
  tick();
  ASSERT_TRUE(ingest.append({.request = transaction},
                            OutboxPublication{.stream = "OUTBOX",
                                              .subject = "orders.changed.1",
                                              .first_number = 11,
                                              .messages_count = 3,
                                              .bytes = 30}));
  advance(std::chrono::seconds(1));
  ASSERT_TRUE(tally.flush());
  trail->abandon();
  const auto told = [&](RequestId request) {
    std::string lines;
    for (const TraceStep& step : story_of(request).steps)
      lines += step.what + ": " + step.detail + "\n";
    return lines;
  };
  const std::string rest =
      "committed by ingest orders: batch 2.7 of stream ORDERS, messages 40 to 42: 3 rows in 1 ms, "
      "then acknowledged{}\n"
      "invalidated order:1: commit at 1/ABC, transaction 9\n"
      "outbox published 3 messages as orders.changed.1: into OUTBOX, from number 11 on\n";
  EXPECT_EQ(told(mine),
            "visit opened: from 192.0.2.3 port 3 over tcp\n"
            "admitted as checkout: subject shop:checkout\n"
            "published one or more of 3 messages: orders.created in 1.0 s, counted with the visit, "
            "request " +
                visit.to_string() + "\n" + std::regex_replace(rest, std::regex("\\{\\}"), ""));
  EXPECT_EQ(told(other), told(mine));
  // Who reads the transaction's id in a message of the outbox finds whose messages were in it.
  EXPECT_EQ(
      told(transaction),
      std::regex_replace(
          rest, std::regex("\\{\\}"), ", of requests " + mine.to_hex() + ", " + other.to_hex()));
  EXPECT_TRUE(told(visit).contains("published 3 messages: orders.created in 1.0 s\n"));
  EXPECT_FALSE(told(visit).contains("ingest"));
}

// A visit whose messages have more requests than a record names writes more records.
TEST_F(TraceTest, EachRequestThatAMessageBringsIsFound) {
  auto trail = open();
  const RecordContext publisher{.visit = VisitId(5), .request = request_id(255)};
  PublicationTally tally(trail->writer(0), publisher);
  const auto request_of = [](std::uint64_t number) {
    std::array<std::uint8_t, 16> bytes{2};
    bytes[14] = static_cast<std::uint8_t>(number >> 8);
    bytes[15] = static_cast<std::uint8_t>(number);
    return RequestId(bytes);
  };
  constexpr std::uint64_t count = 300;
  for (std::uint64_t i = 0; i < 2 * count; ++i)
    ASSERT_TRUE(tally.count("orders.>", "orders.created", 1, request_of(i / 2)));
  ASSERT_TRUE(tally.flush());
  trail->abandon();
  for (const std::uint64_t i : {std::uint64_t{0}, count / 2, count - 1})
    EXPECT_EQ(story_of(request_of(i)).steps.size(), 1u) << i;
  EXPECT_EQ(story_of(request_id(255)).steps.size(), 3u);
}

TEST_F(TraceTest, TheWindowDecidesWhichReadsFollowed) {
  auto trail = open();
  make_story(*trail);
  trail->abandon();
  const auto follows = [&](Duration window) {
    const Story story = story_of(request_id(1), {.reads_window = window});
    return std::ranges::count_if(story.steps, &TraceStep::follows);
  };
  EXPECT_EQ(follows(std::chrono::milliseconds(1)), 0);
  EXPECT_EQ(follows(std::chrono::seconds(5)), 1);
  EXPECT_EQ(follows(std::chrono::minutes(1)), 2);
}

TEST_F(TraceTest, AVisitOfTheSameNumberInAnotherRunIsNotInTheStory) {
  auto trail = open();
  record_a_visit(trail->writer(0), VisitId(7), request_id(1));
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  trail = open();
  record_a_visit(trail->writer(0), VisitId(7), request_id(2));
  trail->abandon();
  EXPECT_EQ(story_of(request_id(1)).steps.size(), 6u);
  EXPECT_EQ(story_of(request_id(2)).steps.size(), 6u);
  EXPECT_TRUE(story_of(request_id(3)).steps.empty());
  EXPECT_TRUE(to_text(story_of(request_id(3))).contains("knows nothing of it"));
}

TEST_F(TraceTest, ARefusalAndAFailureAreToldWithTheirReasons) {
  auto trail = open();
  const RecordContext context{.visit = VisitId(4), .request = request_id(1)};
  TrailWriter& writer = trail->writer(1);
  ASSERT_TRUE(writer.append(
      context,
      VisitOpened{.door = "postgres", .address = "192.0.2.9", .port = 1, .transport = "tls"}));
  ASSERT_TRUE(writer.append(context,
                            Refused{.door = "postgres",
                                    .address = "192.0.2.9",
                                    .rule = "token.expired",
                                    .detail = "expired 3 m ago",
                                    .issuer = {},
                                    .subject = "shop:checkout"}));
  ASSERT_TRUE(writer.append(
      context, Statement{.fingerprint = Fingerprint(5), .ordinal = 2, .text_size = 1}, "select"));
  ASSERT_TRUE(writer.add_outcome({.visit = VisitId(4),
                                  .ordinal = 2,
                                  .duration = std::chrono::milliseconds(3),
                                  .rows_count = 0,
                                  .sqlstate = Sqlstate::of("42501")}));
  ASSERT_TRUE(writer.flush_outcomes());
  trail->abandon();
  const Story story = story_of(request_id(1));
  ASSERT_EQ(story.steps.size(), 3u);
  EXPECT_EQ(story.steps[1].what, "refused by rule token.expired");
  EXPECT_EQ(story.steps[1].detail, "expired 3 m ago, from 192.0.2.9, subject shop:checkout");
  EXPECT_EQ(story.steps[2].detail, "select: failed with 42501 after 3 ms");
}

TEST_F(TraceTest, WritesThatGatheredAreOneStepWithAllOfThem) {
  auto trail = open();
  const RecordContext context{.visit = VisitId(1), .request = request_id(1)};
  for (const std::string_view key : {"a", "b", "c"}) {
    ASSERT_TRUE(trail->writer(0).add_write(context, "set", key));
  }
  ASSERT_TRUE(trail->writer(0).append(context, Denied{.action = "write", .resource = "d"}));
  ASSERT_TRUE(trail->writer(0).add_write(context, "del", "a"));
  trail->writer(0).flush_writes();
  trail->abandon();
  const Story story = story_of(request_id(1));
  ASSERT_EQ(story.steps.size(), 3u);
  EXPECT_EQ(story.steps[0].what, "set a");
  EXPECT_EQ(story.steps[0].detail, "then set b, set c");
  EXPECT_EQ(story.steps[1].what, "denied: write d");
  EXPECT_EQ(story.steps[2].what, "del a");
  EXPECT_EQ(story.steps[2].detail, "");
}

TEST_F(TraceTest, AStoryThatIsTooLongIsCutAndSaysSo) {
  auto trail = open();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(trail->writer(0).append({.visit = VisitId(1), .request = request_id(1)},
                                        KeyWrite{.command = "SET", .key = "a"}));
  }
  trail->abandon();
  const Story story = story_of(request_id(1), {.steps_max = 5});
  EXPECT_EQ(story.steps.size(), 5u);
  EXPECT_TRUE(story.cut);
  EXPECT_TRUE(to_text(story).contains("the story was cut here"));
}

TEST_F(TraceTest, TheJsonFormHasTheSameSteps) {
  auto trail = open();
  make_story(*trail);
  trail->abandon();
  const auto object = nlohmann::json::parse(to_json(story_of(request_id(1))));
  EXPECT_EQ(object["request"], "01000000-0000-0000-0000-000000000001");
  EXPECT_EQ(object["steps"].size(), 8u);
  EXPECT_EQ(object["steps"][7]["follows"], true);
  EXPECT_EQ(object["steps"][7]["door"], "redis");
}

TEST_F(TraceTest, TheNilRequestIsRefused) {
  EXPECT_EQ(trace(folder_.path(), RequestId(), {}).error().code(), Errc::invalid);
}

}  // namespace
}  // namespace meridian::trail
