// What was appended is there, in order and verifiable, however the node ended; and when it cannot
// be recorded, the append says so.

#include "gate/trail/trail.h"

#include "gate/trail/trail_fixture_test.h"

#include <algorithm>
#include <cerrno>
#include <map>

namespace meridian::trail {
namespace {

TEST_F(TrailTest, WhatWasAppendedIsReadBackInOrderAndVerifies) {
  auto trail = open();
  record_a_visit(trail->writer(1), VisitId(7), request_id(1));
  ASSERT_TRUE(trail->close("test over"));
  EXPECT_EQ(kinds({.visit = VisitId(7)}),
            (std::vector{RecordKind::visit_opened,
                         RecordKind::admitted,
                         RecordKind::statement_shape,
                         RecordKind::statement,
                         RecordKind::key_write,
                         RecordKind::denied,
                         RecordKind::statement_outcomes,
                         RecordKind::visit_ended}));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_TRUE(report.keys_trusted);
  ASSERT_EQ(report.shards.size(), 2u);
  // node_started, the visit's eight, node_stopped and its head.
  EXPECT_EQ(report.shards[1].records_count, 11u);
  EXPECT_EQ(report.shards[1].unsealed_count, 0u);
  EXPECT_EQ(report.shards[1].last_head->sequence, 10u);
}

TEST_F(TrailTest, ASegmentThatIsClosedHasNoRoomLeftOver) {
  ASSERT_TRUE(open()->close("over"));
  for (const auto& entry : std::filesystem::directory_iterator(node_folder())) {
    EXPECT_LT(entry.file_size(), 1'000u) << entry.path();
  }
}

TEST_F(TrailTest, TheNextRunContinuesTheChainAndSaysHowTheLastOneEnded) {
  ASSERT_TRUE(open()->close("over"));
  auto trail = open();
  record_a_visit(trail->writer(0), VisitId(1), request_id(1));
  trail->abandon();  // As if killed.
  trail.reset();
  ASSERT_TRUE(open()->close("over"));
  std::vector<PreviousEnd> ends;
  each_entry({.kinds = {RecordKind::node_started}}, [&](const Entry& entry) {
    if (entry.shard == 0) ends.push_back(decode<NodeStarted>(entry.record.fields())->previous_end);
  });
  EXPECT_EQ(ends, (std::vector{PreviousEnd::none, PreviousEnd::stopped, PreviousEnd::killed}));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_EQ(report.shards[0].segments_count, 3u);
  EXPECT_EQ(report.shards[0].first_sequence, 1u);
}

TEST_F(TrailTest, ATrailThatIsBeingWrittenVerifiesAndCountsWhatIsNotSignedYet) {
  auto trail = open();
  trail->seal_now();
  record_a_visit(trail->writer(0), VisitId(1), request_id(1));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_EQ(report.shards[0].unsealed_count, 8u);
  trail->abandon();
}

TEST_F(TrailTest, OutcomesAreWrittenAtTheEndOfABatchOrWhenManyHaveGathered) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  const auto add = [&](std::uint32_t ordinal) {
    EXPECT_TRUE(writer.add_outcome({.visit = VisitId(1),
                                    .ordinal = ordinal,
                                    .duration = {},
                                    .rows_count = 0,
                                    .sqlstate = {}}));
  };
  const std::uint64_t before = writer.last_sequence();
  for (std::uint32_t i = 0; i < 64; ++i) {
    add(i);
  }
  EXPECT_EQ(writer.last_sequence(), before);
  add(64);
  EXPECT_EQ(writer.last_sequence(), before + 1);
  advance(std::chrono::milliseconds(1));  // Ends the batch.
  EXPECT_EQ(writer.last_sequence(), before + 2);
  trail->abandon();
}

// What the key_writes on the trail say, each record as "set a, set b".
class WritesTest : public TrailTest {
 protected:
  static constexpr RecordContext context_{.visit = VisitId(1), .request = {}};
  static constexpr std::size_t count_max = 1 + decltype(KeyWrite::further)::count_max;

  std::vector<std::string> records() const {
    std::vector<std::string> found;
    each_entry({.kinds = {RecordKind::key_write}, .node = "n1"}, [&](const Entry& entry) {
      const auto write = decode<KeyWrite>(entry.record.fields());
      ASSERT_TRUE(write);
      std::string text;
      write->for_each([&](const WrittenKey& each) {
        text += text.empty() ? "" : ", ";
        text += each.command.bytes;
        text += ' ';
        text += each.key.bytes;
      });
      found.push_back(text);
    });
    return found;
  }
  using Records = std::vector<std::string>;
};

TEST_F(WritesTest, ThoseOfOneVisitGatherIntoOneRecordInTheirOrder) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  const std::uint64_t before = writer.last_sequence();
  std::string key = "a";  // Is not kept by reference.
  for (; key != "d"; ++key[0]) {
    ASSERT_TRUE(writer.add_write(context_, "set", key));
  }
  ASSERT_TRUE(writer.add_write(context_, "del", "b"));
  EXPECT_TRUE(writer.gathers_writes());
  EXPECT_EQ(writer.last_sequence(), before);
  writer.flush_writes();
  EXPECT_FALSE(writer.gathers_writes());
  EXPECT_EQ(writer.last_sequence(), before + 1);
  writer.flush_writes();
  EXPECT_EQ(writer.last_sequence(), before + 1);
  ASSERT_TRUE(writer.add_write(context_, "set", ""));
  writer.flush_writes();
  trail->abandon();
  EXPECT_EQ(records(), (Records{"set a, set b, set c, del b", "set "}));
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(WritesTest, AnotherVisitOrRequestBeginsItsOwnRecord) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  ASSERT_TRUE(writer.add_write(context_, "set", "a"));
  ASSERT_TRUE(writer.add_write({.visit = VisitId(2), .request = {}}, "set", "b"));
  ASSERT_TRUE(writer.add_write({.visit = VisitId(2), .request = request_id(1)}, "set", "c"));
  ASSERT_TRUE(writer.add_write({.visit = VisitId(2), .request = request_id(1)}, "set", "d"));
  writer.flush_writes();
  trail->abandon();
  EXPECT_EQ(records(), (Records{"set a", "set b", "set c, set d"}));
  EXPECT_EQ(kinds({.visit = VisitId(2)}).size(), 2u);
  EXPECT_EQ(kinds({.request = request_id(1)}).size(), 1u);
}

TEST_F(WritesTest, EveryOtherRecordStandsBehindThem) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  using enum RecordKind;
  const auto add = [&] { ASSERT_TRUE(writer.add_write(context_, "set", "a")); };
  add();
  ASSERT_TRUE(writer.append(context_, Denied{.action = "write", .resource = "b"}));
  add();
  ASSERT_TRUE(writer.append(context_, Statement{.fingerprint = Fingerprint(1)}, "select"));
  add();
  ASSERT_TRUE(writer.add_outcome({.visit = VisitId(1), .ordinal = 1}));
  ASSERT_TRUE(writer.append(context_, VisitEnded{.reason = "over"}));
  trail->abandon();
  EXPECT_EQ(kinds({.visit = VisitId(1)}),
            (std::vector{key_write,
                         denied,
                         key_write,
                         statement_shape,
                         statement,
                         key_write,
                         statement_outcomes,
                         visit_ended}));
}

TEST_F(WritesTest, WhatIsTooMuchForOneRecordGoesIntoTheNext) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  const std::uint64_t before = writer.last_sequence();
  const std::string longest(600, 'k');
  for (std::size_t i = 0; i < count_max; ++i) {
    ASSERT_TRUE(writer.add_write(context_, longest, longest));
  }
  EXPECT_EQ(writer.last_sequence(), before);
  ASSERT_TRUE(writer.add_write(context_, "set", "a"));
  EXPECT_EQ(writer.last_sequence(), before + 1);
  writer.flush_writes();
  trail->abandon();
  std::vector<std::size_t> counts;
  each_entry({.kinds = {RecordKind::key_write}}, [&](const Entry& entry) {
    EXPECT_LE(entry.record.header.size, record_size_max);
    std::size_t count = 0;
    decode<KeyWrite>(entry.record.fields())->for_each([&](const WrittenKey& each) {
      ++count;
      if (counts.empty()) {
        EXPECT_EQ(each.key.bytes, longest.substr(0, Text::size_max));
        EXPECT_TRUE(each.key.cut && each.command.cut);
      }
    });
    counts.push_back(count);
  });
  EXPECT_EQ(counts, (std::vector{count_max, std::size_t{1}}));
  EXPECT_TRUE(verify_all().intact());
}

// Bursts of all lengths meet the ends of segments at all distances.
TEST_F(WritesTest, TheyAreWholeAndInOrderOverTheEndsOfSegments) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  std::size_t added = 0;
  for (std::size_t burst = 0; burst < 300; ++burst) {
    for (std::size_t i = 0; i < burst % 40; ++i) {
      const std::string key = std::to_string(added) + std::string(added % 90, 'k');
      ASSERT_TRUE(writer.add_write(context_, "set", key));
      ++added;
    }
    if (burst % 7 == 0) writer.rotate();
    writer.flush_writes();
    trail->seal_now();
  }
  ASSERT_TRUE(trail->close("over"));
  std::size_t found = 0;
  std::set<std::uint64_t> segments;
  each_entry({.kinds = {RecordKind::key_write}}, [&](const Entry& entry) {
    segments.insert(entry.segment);
    decode<KeyWrite>(entry.record.fields())->for_each([&](const WrittenKey& each) {
      EXPECT_EQ(each.key.bytes, std::to_string(found) + std::string(found % 90, 'k'));
      ++found;
    });
  });
  EXPECT_EQ(found, added);
  EXPECT_GE(segments.size(), 3u);
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(WritesTest, WhatWasTakenIsOnTheTrailThoughTheDiskIsFullAndWhatWasRefusedIsNot) {
  for (const std::size_t length : {1u, 3u, 31u, 70u}) {
    SCOPED_TRACE(length);
    bool full = false;
    TrailSettings wanted = settings();
    wanted.node = "length-" + std::to_string(length);
    wanted.disk.preallocate = [&, system = Disk::system().preallocate](int fd, std::uint64_t size) {
      return full ? ENOSPC : system(fd, size);
    };
    auto trail = open(std::move(wanted));
    TrailWriter& writer = trail->writer(0);
    trail->seal_now();
    full = true;
    std::size_t taken = 0;
    Result<void> outcome;
    while (outcome) {
      for (std::size_t i = 0; i < length && outcome; ++i) {
        outcome = writer.add_write(context_, "set", std::to_string(taken));
        if (outcome) ++taken;
      }
      writer.flush_writes();
      trail->seal_now();
    }
    EXPECT_EQ(outcome.error().code(), Errc::exhausted);
    EXPECT_FALSE(writer.gathers_writes());
    EXPECT_FALSE(writer.add_write(context_, "set", "refused"));
    EXPECT_FALSE(writer.append({}, Denied{}));
    full = false;
    trail->seal_now();
    ASSERT_TRUE(writer.add_write(context_, "set", std::to_string(taken++)));
    ASSERT_TRUE(trail->close("over"));
    std::size_t found = 0;
    std::uint64_t refused = 0;
    each_entry({.node = "length-" + std::to_string(length)}, [&](const Entry& entry) {
      if (entry.record.header.kind == RecordKind::interruption) {
        refused = decode<Interruption>(entry.record.fields())->refused_count;
        EXPECT_EQ(found, taken - 1);
      }
      if (entry.record.header.kind != RecordKind::key_write) return;
      decode<KeyWrite>(entry.record.fields())->for_each([&](const WrittenKey& each) {
        EXPECT_EQ(each.key.bytes, std::to_string(found));
        ++found;
      });
    });
    EXPECT_EQ(found, taken);
    EXPECT_EQ(refused, 3u);
  }
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(WritesTest, AFailedSyncRefusesTheNextAndNotWhatWasTaken) {
  bool broken = false;
  TrailSettings wanted = settings();
  wanted.disk.sync = [&, system = Disk::system().sync](void* begin, std::size_t size) {
    return broken ? EIO : system(begin, size);
  };
  auto trail = open(std::move(wanted));
  TrailWriter& writer = trail->writer(0);
  ASSERT_TRUE(writer.append(context_, Denied{}));
  ASSERT_TRUE(writer.add_write(context_, "set", "a"));
  broken = true;
  trail->seal_now();
  const auto outcome = writer.add_write(context_, "set", "b");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Errc::unavailable);
  EXPECT_FALSE(writer.gathers_writes());
  trail->abandon();
  EXPECT_EQ(records(), Records{"set a"});
}

TEST_F(TrailTest, AShapeIsWrittenOnceInASegmentAndBeforeItsStatement) {
  auto trail = open();
  TrailWriter& writer = trail->writer(0);
  for (std::uint32_t i = 1; i <= 3'000; ++i) {
    ASSERT_TRUE(writer.append({.visit = VisitId(1), .request = request_id(1)},
                              Statement{.fingerprint = Fingerprint(1 + i % 3),
                                        .ordinal = i,
                                        .text_size = 10,
                                        .proven_read_only = true,
                                        .extended_protocol = false,
                                        .copy = false},
                              "select $1"));
    if (i % 500 == 0) trail->seal_now();
  }
  ASSERT_TRUE(writer.append({}, Statement{}, ""));  // Without a fingerprint there is no shape.
  ASSERT_TRUE(trail->close("over"));
  std::map<std::uint64_t, std::map<std::uint64_t, int>> shapes;  // By segment and fingerprint.
  each_entry({}, [&](const Entry& entry) {
    if (entry.record.header.kind == RecordKind::statement_shape) {
      ++shapes[entry.segment][decode<StatementShape>(entry.record.fields())->fingerprint.value()];
    }
    if (entry.record.header.kind != RecordKind::statement) return;
    const auto statement = decode<Statement>(entry.record.fields());
    if (statement->fingerprint.value() == 0) return;
    EXPECT_EQ(shapes[entry.segment][statement->fingerprint.value()], 1);
  });
  EXPECT_GE(shapes.size(), 2u);
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(TrailTest, SegmentsFollowOneAnotherAndEachEndsInAHead) {
  auto trail = open();
  TrailWriter& writer = trail->writer(1);
  const std::string key(400, 'k');
  for (int i = 0; i < 2'000; ++i) {
    ASSERT_TRUE(writer.append({}, KeyWrite{.command = "SET", .key = key}));
    if (i % 100 == 0) trail->seal_now();
  }
  ASSERT_TRUE(trail->close("over"));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_GE(report.shards[1].segments_count, 7u);
  std::map<std::uint64_t, RecordKind> last;
  each_entry({}, [&](const Entry& entry) {
    if (entry.shard == 1) last[entry.segment] = entry.record.header.kind;
  });
  for (const auto& [segment, kind] : last) {
    EXPECT_EQ(kind, RecordKind::head) << segment;
  }
  EXPECT_EQ(metrics_.total("meridian_trail_segments_total", {{"shard", "1"}}),
            report.shards[1].segments_count);
  EXPECT_EQ(metrics_.total("meridian_trail_records_total", {{"shard", "1"}}),
            report.shards[1].records_count);
}

TEST_F(TrailTest, ASecondProcessIsRefusedAndToldWhoHoldsTheTrail) {
  auto trail = open();
  const auto second = try_open(settings());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::conflict);
  EXPECT_TRUE(second.error().detail().contains("process " + std::to_string(::getpid())))
      << second.error().detail();
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  ASSERT_TRUE(open()->close("over"));
}

TEST_F(TrailTest, SettingsThatDoNotFitAreRefusedByName) {
  const auto refused = [&](auto change) {
    TrailSettings wrong = settings();
    change(wrong);
    const auto trail = try_open(std::move(wrong));
    EXPECT_FALSE(trail);
    EXPECT_EQ(trail.error().code(), Errc::invalid);
    return trail.error().detail();
  };
  EXPECT_TRUE(refused([](auto& s) { s.node = "../n1"; }).contains("name"));
  EXPECT_TRUE(refused([](auto& s) { s.node = "key"; }).contains("name"));
  EXPECT_TRUE(refused([](auto& s) { s.segment_bytes = 4'096; }).contains("segment_bytes"));
  EXPECT_TRUE(refused([](auto& s) { s.segment_bytes += 1; }).contains("segment_bytes"));
  EXPECT_TRUE(refused([](auto& s) { s.retention = {}; }).contains("retention"));
}

TEST_F(TrailTest, OnlyWhatIsNewIsSignedAndEveryHeadIsOffered) {
  std::vector<SignedHead> heads;
  TrailSettings wanted = settings();
  wanted.head_sink = [&](const SignedHead& head) { heads.push_back(head); };
  auto trail = open(std::move(wanted));
  trail->seal_now();
  EXPECT_EQ(heads.size(), 2u);  // node_started of both shards.
  trail->seal_now();
  trail->seal_now();
  EXPECT_EQ(heads.size(), 2u);
  ASSERT_TRUE(trail->writer(1).append({}, KeyWrite{.command = "DEL", .key = "a"}));
  trail->seal_now();
  ASSERT_EQ(heads.size(), 3u);
  EXPECT_EQ(heads[2].shard, 1u);
  EXPECT_EQ(heads[2].sequence, 3u);  // node_started, a head, and the key_write.
  EXPECT_EQ(heads[2].synced_sequence, 3u);
  EXPECT_TRUE(heads[2].signature_holds());
  EXPECT_EQ(heads[2].key, trail->public_key());
  ASSERT_TRUE(trail->close("over"));
  EXPECT_EQ(heads.size(), 5u);
  EXPECT_TRUE(verify_all({.node = {}, .keys = {}, .heads = heads}).intact());
}

TEST_F(TrailTest, TheKeyIsMadeOnceAndReadableByItsOwnerAlone) {
  auto trail = open();
  const PublicKey first = trail->public_key();
  ASSERT_TRUE(trail->close("over"));
  const auto path = folder_.path() / "trail" / key_folder / "signing.key";
  const auto permissions = std::filesystem::status(path).permissions();
  EXPECT_EQ(permissions & std::filesystem::perms::mask,
            (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  trail = open();
  EXPECT_EQ(trail->public_key(), first);
  ASSERT_TRUE(trail->close("over"));
  const auto keys = read_public_keys(folder_.path() / "trail" / key_folder);
  ASSERT_TRUE(keys);
  EXPECT_EQ(*keys, std::vector{first});
}

TEST_F(TrailTest, AKeyThatOthersMayReadOrThatIsNoneIsRefused) {
  ASSERT_TRUE(open()->close("over"));
  const auto path = folder_.path() / "trail" / key_folder / "signing.key";
  std::filesystem::permissions(
      path, std::filesystem::perms::owner_read | std::filesystem::perms::group_read);
  EXPECT_EQ(try_open(settings()).error().code(), Errc::invalid);
  std::filesystem::permissions(
      path, (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  write_file(path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  EXPECT_EQ(try_open(settings()).error().code(), Errc::invalid);
}

TEST_F(TrailTest, AFullDiskRefusesRecordsAndAGoodOneTakesThemAgain) {
  bool full = false;
  TrailSettings wanted = settings();
  wanted.disk.preallocate = [&, system = Disk::system().preallocate](int fd, std::uint64_t size) {
    return full ? ENOSPC : system(fd, size);
  };
  auto trail = open(std::move(wanted));
  TrailWriter& writer = trail->writer(0);
  trail->seal_now();  // The next segment is there.
  full = true;
  const KeyWrite write{.command = "SET", .key = std::string_view("session:1")};
  std::uint64_t taken = 0;
  Result<void> outcome;
  while ((outcome = writer.append({}, write))) {
    ++taken;
    trail->seal_now();
  }
  EXPECT_EQ(outcome.error().code(), Errc::exhausted);
  EXPECT_TRUE(outcome.error().detail().contains("No space left")) << outcome.error().detail();
  EXPECT_FALSE(writer.ready());
  EXPECT_FALSE(writer.append({}, write));
  EXPECT_FALSE(writer.append({}, Statement{.fingerprint = Fingerprint(1)}, "select"));
  EXPECT_EQ(metrics_.total("meridian_trail_append_failures_total", {{"shard", "0"}}), 3u);
  EXPECT_TRUE(verify_all().intact());
  full = false;
  trail->seal_now();
  ASSERT_TRUE(writer.ready());
  ASSERT_TRUE(writer.append({}, write));
  ASSERT_TRUE(trail->close("over"));
  EXPECT_TRUE(verify_all().intact());
  std::uint64_t found = 0;
  std::uint64_t refused = 0;
  each_entry({.node = "n1"}, [&](const Entry& entry) {
    if (entry.record.header.kind == RecordKind::key_write) ++found;
    if (entry.record.header.kind == RecordKind::interruption) {
      refused = decode<Interruption>(entry.record.fields())->refused_count;
    }
  });
  EXPECT_EQ(found, taken + 1);
  EXPECT_EQ(refused, 3u);
}

TEST_F(TrailTest, AFullDiskAtTheStartIsAnErrorThatSaysSo) {
  TrailSettings wanted = settings();
  wanted.disk.preallocate = [](int, std::uint64_t) { return ENOSPC; };
  const auto trail = try_open(std::move(wanted));
  ASSERT_FALSE(trail);
  EXPECT_EQ(trail.error().code(), Errc::exhausted);
  EXPECT_TRUE(std::filesystem::is_empty(node_folder()) || !std::filesystem::exists(segment(0, 1)));
}

TEST_F(TrailTest, AFailedSyncEndsTheShardAndNoOther) {
  bool broken = false;
  TrailSettings wanted = settings();
  wanted.disk.sync = [&, system = Disk::system().sync](void* begin, std::size_t size) {
    return broken ? EIO : system(begin, size);
  };
  auto trail = open(std::move(wanted));
  ASSERT_TRUE(trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "a"}));
  trail->seal_now();
  broken = true;
  ASSERT_TRUE(trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "b"}));
  // Both shards have a head to write, and neither can.
  trail->seal_now();
  const auto outcome = trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "c"});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Errc::unavailable);
  EXPECT_TRUE(outcome.error().detail().contains("Input/output error"));
  broken = false;
  trail->seal_now();
  EXPECT_FALSE(trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "d"}));
  const auto closed = trail->close("over");
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code(), Errc::unavailable);
  trail.reset();
  ASSERT_TRUE(open()->close("over"));  // A new start takes records again.
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(TrailTest, OldSegmentsAreRemovedAndTheRestStillVerifies) {
  auto trail = open();
  const auto pass_a_day = [&] {
    for (int i = 0; i < 150; ++i) {
      ASSERT_TRUE(
          trail->writer(1).append({}, KeyWrite{.command = "SET", .key = std::string(500, 'k')}));
    }
    advance(std::chrono::days(1));
    trail->seal_now();
  };
  for (int day = 0; day < 95; ++day) {
    pass_a_day();
  }
  EXPECT_FALSE(std::filesystem::exists(segment(1, 1)));
  EXPECT_FALSE(std::filesystem::exists(segment(1, 2)));
  auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_GT(report.shards[1].first_sequence, 150u);
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  // The next run goes on with it.
  trail = open();
  for (int day = 0; day < 10; ++day) {
    pass_a_day();
  }
  ASSERT_TRUE(trail->close("over"));
  report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);

  // One segment more than was announced is missing.
  std::uint64_t first = 1;
  while (!std::filesystem::exists(segment(1, first))) {
    ++first;
  }
  std::filesystem::remove(segment(1, first));
  report = verify_all();
  ASSERT_FALSE(report.intact());
  EXPECT_EQ(report.shards[1].findings.front().fault, Fault::missing_segment);
}

TEST_F(TrailTest, AQuietSegmentIsEndedWhenItIsOld) {
  auto trail = open();
  trail->seal_now();
  EXPECT_FALSE(std::filesystem::exists(segment(0, 3)));
  advance(std::chrono::hours(25));
  trail->seal_now();  // Segment 2 is begun, and 3 prepared.
  EXPECT_TRUE(std::filesystem::exists(segment(0, 3)));
  EXPECT_LT(std::filesystem::file_size(segment(0, 1)), 1'000u);
  // One that nothing was written to does not age.
  advance(std::chrono::hours(25));
  trail->seal_now();
  trail->writer(0).rotate();
  EXPECT_EQ(metrics_.total("meridian_trail_segments_total", {{"shard", "0"}}), 2u);
  ASSERT_TRUE(trail->close("over"));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_EQ(report.shards[0].segments_count, 2u);
}

TEST_F(TrailTest, ShardsOfLoopsThatAreNoMoreAgeLikeTheOthers) {
  auto trail = open(settings(), 3);
  ASSERT_TRUE(trail->writer(2).append({}, KeyWrite{.command = "SET", .key = "a"}));
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  trail = open(settings(), 2);
  advance(std::chrono::days(100));
  trail->seal_now();
  EXPECT_FALSE(std::filesystem::exists(segment(2, 1)));
  EXPECT_TRUE(std::filesystem::exists(segment(2, 2)));
  ASSERT_TRUE(trail->close("over"));
  trail.reset();
  // And they come back.
  trail = open(settings(), 3);
  ASSERT_TRUE(trail->close("over"));
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  EXPECT_EQ(report.shards.size(), 3u);
  EXPECT_EQ(report.shards[2].unsealed_count, 0u);
}

TEST_F(TrailTest, TwoNodesShareAFolderAndAKey) {
  auto first = open();
  TrailSettings wanted = settings();
  wanted.node = "n2";
  auto second = open(std::move(wanted));
  EXPECT_EQ(first->public_key(), second->public_key());
  record_a_visit(first->writer(0), VisitId(1), request_id(1));
  record_a_visit(second->writer(0), VisitId(1), request_id(2));
  ASSERT_TRUE(first->close("over"));
  ASSERT_TRUE(second->close("over"));
  EXPECT_EQ(verify_all().shards.size(), 4u);
  EXPECT_TRUE(verify_all().intact());
  EXPECT_EQ(kinds({.kinds = {RecordKind::visit_ended}, .node = "n2"}).size(), 1u);
}

}  // namespace
}  // namespace meridian::trail
