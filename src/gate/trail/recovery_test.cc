// After the process or the machine died, the chain goes on from the last record that is whole;
// nothing that was whole is lost, and what was signed as durable is never quietly cut off.

#include "gate/trail/recovery.h"

#include "gate/trail/trail_fixture_test.h"

#include <optional>

namespace meridian::trail {
namespace {

class RecoveryTest : public TrailTest {
 protected:
  void write_keys(TrailWriter& writer, int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(writer.append({}, KeyWrite{.command = "SET", .key = "session:1"}));
    }
  }

  // Where the record of this sequence lies in shard 0.
  RecordView find(std::uint64_t number, std::uint64_t sequence) {
    auto reader = SegmentReader::open(segment(0, number));
    EXPECT_TRUE(reader);
    for (;;) {
      const auto record = reader->next();
      if (!record || !*record) break;
      if ((*record)->header.sequence == sequence) return **record;
    }
    ADD_FAILURE() << "no record " << sequence;
    return {};
  }

  // As a page that never reached the disk.
  void lose(std::uint64_t number, std::uint64_t from, std::uint64_t size) {
    std::string bytes = read_file(segment(0, number));
    bytes.replace(from, size, size, '\0');
    write_file(segment(0, number), bytes);
  }

  NodeStarted restart() {
    auto trail = open(settings(), 1);
    const std::uint64_t sequence = trail->writer(0).last_sequence();
    EXPECT_TRUE(trail->close("over"));
    NodeStarted found;
    each_entry_anyway([&](const Entry& entry) {
      if (entry.record.header.kind != RecordKind::node_started) return;
      if (entry.record.header.sequence != sequence) return;
      found = *decode<NodeStarted>(entry.record.fields());
      detail_ = found.detail.bytes;
      found.detail = detail_;
      found.version = {};
    });
    return found;
  }

  // Also where something is broken.
  void each_entry_anyway(const std::function<void(const Entry&)>& see) {
    auto reader = TrailReader::open(folder_.path() / "trail");
    ASSERT_TRUE(reader);
    for (;;) {
      const auto entry = reader->next();
      ASSERT_TRUE(entry);
      if (!*entry) break;
      see(**entry);
    }
  }

  std::size_t count(RecordKind kind) {
    std::size_t found = 0;
    each_entry_anyway([&](const Entry& entry) { found += entry.record.header.kind == kind; });
    return found;
  }

  std::string detail_;
};

TEST_F(RecoveryTest, AnAppendThatDidNotFinishIsCutOff) {
  auto trail = open(settings(), 1);
  write_keys(trail->writer(0), 10);
  const RecordView last = find(1, 11);
  trail->abandon();
  trail.reset();
  std::string bytes = read_file(segment(0, 1));
  bytes.replace(last.end_offset() + 8, 100, 100, 'u');
  write_file(segment(0, 1), bytes);
  const NodeStarted started = restart();
  EXPECT_EQ(started.previous_end, PreviousEnd::killed);
  EXPECT_EQ(started.bytes_cut, 112u);  // In whole words.
  EXPECT_EQ(count(RecordKind::key_write), 10u);
  EXPECT_EQ(std::filesystem::file_size(segment(0, 1)), last.end_offset());
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(RecoveryTest, WhatWasNotDurableIsSetAsideAfterALossOfPower) {
  auto trail = open(settings(), 1);
  write_keys(trail->writer(0), 10);
  trail->seal_now();  // A head over record 11, at 12, which is not durable itself.
  write_keys(trail->writer(0), 10);
  const RecordView lost = find(1, 15);
  const RecordView last = find(1, 22);
  trail->abandon();
  trail.reset();
  lose(1, lost.offset, stride(lost.header.size));
  EXPECT_FALSE(verify_all().intact());
  const NodeStarted started = restart();
  EXPECT_EQ(started.previous_end, PreviousEnd::torn);
  EXPECT_EQ(started.bytes_cut, last.end_offset() - lost.offset);
  EXPECT_TRUE(started.detail.bytes.contains("record 15")) << started.detail.bytes;
  EXPECT_EQ(count(RecordKind::key_write), 12u);
  EXPECT_EQ(std::filesystem::file_size(segment(0, 1).string() + ".torn"), started.bytes_cut);
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
}

TEST_F(RecoveryTest, ARecordThatAHeadSaysWasDurableIsDamageAndStays) {
  auto trail = open(settings(), 1);
  write_keys(trail->writer(0), 10);
  trail->seal_now();
  write_keys(trail->writer(0), 10);
  const RecordView changed = find(1, 5);
  trail->abandon();
  trail.reset();
  const std::string before = read_file(segment(0, 1));
  lose(1, changed.offset + 48, 8);
  const NodeStarted started = restart();
  EXPECT_EQ(started.previous_end, PreviousEnd::damaged);
  EXPECT_EQ(read_file(segment(0, 1)).size(), before.size());
  auto report = verify_all();
  ASSERT_EQ(report.shards[0].findings.size(), 1u) << to_text(report);
  EXPECT_EQ(report.shards[0].findings[0].sequence, 5u);
  EXPECT_EQ(restart().previous_end, PreviousEnd::stopped);
  // Also when it is its size that is gone.
  write_file(segment(0, 1), before);
  std::filesystem::remove(segment(0, 2));
  std::filesystem::remove(segment(0, 3));
  lose(1, changed.offset, 4);
  EXPECT_EQ(restart().previous_end, PreviousEnd::damaged);
  report = verify_all();
  EXPECT_EQ(report.shards[0].findings.at(0).sequence, 5u) << to_text(report);
}

class TwoSegmentsTest : public RecoveryTest {
 protected:
  // Segment 1 is full and segment 2 begun, and nothing of both is durable but what was sealed.
  std::unique_ptr<Trail> fill_one_segment() {
    auto trail = open(settings(), 1);
    trail->seal_now();
    const std::string key(500, 'k');
    std::uint64_t appended = 0;
    while (metrics_.total("meridian_trail_segments_total", {{"shard", "0"}}) < 2) {
      EXPECT_TRUE(trail->writer(0).append({}, KeyWrite{.command = "SET", .key = key}));
      ++appended;
    }
    in_first_ = appended - 1;
    write_keys(trail->writer(0), 5);
    return trail;
  }

  std::uint64_t in_first_ = 0;  // Keys written to segment 1.
};

TEST_F(TwoSegmentsTest, TheSegmentAfterATornOneIsSetAside) {
  auto trail = fill_one_segment();
  const RecordView lost = find(1, 20);
  trail->abandon();
  trail.reset();
  lose(1, lost.offset + 60, 100);
  const NodeStarted started = restart();
  EXPECT_EQ(started.previous_end, PreviousEnd::torn);
  EXPECT_TRUE(std::filesystem::exists(segment(0, 1).string() + ".torn"));
  EXPECT_TRUE(std::filesystem::exists(segment(0, 2).string() + ".torn"));
  // node_started, a head over it, and what follows.
  EXPECT_EQ(count(RecordKind::key_write), 17u);
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
}

TEST_F(TwoSegmentsTest, ButNotWhenAHeadInItVouchesForTheFirst) {
  auto trail = fill_one_segment();
  trail->seal_now();  // Everything is durable, and the head in segment 2 says so.
  const RecordView changed = find(1, 20);
  trail->abandon();
  trail.reset();
  lose(1, changed.offset + 60, 100);
  // Nothing was lost with the power, so nothing is looked for in segment 1; verify finds it.
  EXPECT_EQ(restart().previous_end, PreviousEnd::killed);
  EXPECT_EQ(verify_all().shards[0].findings.at(0).sequence, 20u);
  EXPECT_EQ(count(RecordKind::key_write), in_first_ + 1 + 5);
}

TEST_F(TwoSegmentsTest, WhatAHeadOfTheFirstSaysWasDurableIsDamageThere) {
  auto trail = fill_one_segment();
  trail->abandon();
  trail.reset();
  lose(1, find(1, 1).offset + 49, 4);  // node_started, which was sealed.
  EXPECT_EQ(restart().previous_end, PreviousEnd::damaged);
  const auto report = verify_all();
  EXPECT_EQ(report.shards[0].findings.size(), 1u) << to_text(report);
  EXPECT_EQ(report.shards[0].findings.at(0).sequence, 1u);
}

TEST_F(TwoSegmentsTest, WhenTheProcessDiedNothingIsCut) {
  auto trail = fill_one_segment();
  trail->abandon();
  trail.reset();
  const NodeStarted started = restart();
  EXPECT_EQ(started.previous_end, PreviousEnd::killed);
  EXPECT_EQ(started.bytes_cut, 0u);
  EXPECT_EQ(count(RecordKind::key_write), in_first_ + 1 + 5);
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(RecoveryTest, AHeaderThatIsBrokenIsDamageAndTheChainGoesOn) {
  ASSERT_TRUE(open(settings(), 1)->close("over"));
  ASSERT_TRUE(open(settings(), 1)->close("over"));
  std::string bytes = read_file(segment(0, 2));
  for (const std::size_t at : {std::size_t{0}, std::size_t{100}, std::size_t{255}}) {
    std::string broken = bytes;
    broken[at] = static_cast<char>(broken[at] ^ 0x10);
    write_file(segment(0, 2), broken);
    EXPECT_EQ(restart().previous_end, PreviousEnd::damaged) << at;
    const auto report = verify_all();
    EXPECT_EQ(report.shards[0].findings.at(0).fault, Fault::header_mismatch);
    EXPECT_EQ(report.shards[0].findings.at(0).file, "0-00000002.trail");
    std::filesystem::remove(segment(0, 3));
  }
  // One without a magic number is no prepared segment when it has records.
  bytes.replace(0, 8, 8, '\0');
  write_file(segment(0, 2), bytes);
  EXPECT_EQ(restart().previous_end, PreviousEnd::damaged);
  EXPECT_EQ(read_file(segment(0, 2)), bytes);
}

TEST_F(RecoveryTest, ASegmentThatWasOnlyPreparedIsRemoved) {
  auto trail = open(settings(), 1);
  trail->seal_now();
  trail->abandon();
  trail.reset();
  EXPECT_TRUE(std::filesystem::exists(segment(0, 2)));
  // The process died while it wrote the header.
  std::string bytes = read_file(segment(0, 2));
  bytes.replace(40, 32, 32, 'k');
  write_file(segment(0, 2), bytes);
  EXPECT_TRUE(verify_all().intact());
  const auto recovered = recover_shard(node_folder(), 0);
  ASSERT_TRUE(recovered);
  EXPECT_EQ(recovered->next_number, 2u);
  EXPECT_EQ(recovered->previous_end, PreviousEnd::killed);
  EXPECT_FALSE(std::filesystem::exists(segment(0, 2)));
}

TEST_F(RecoveryTest, ARunThatDiedBeforeItsFirstRecordLeavesAnEmptySegment) {
  ASSERT_TRUE(open(settings(), 1)->close("over"));
  auto trail = open(settings(), 1);
  trail->abandon();
  trail.reset();
  // Only the header of segment 2.
  std::string bytes = read_file(segment(0, 2));
  std::fill(bytes.begin() + segment_header_size, bytes.end(), '\0');
  write_file(segment(0, 2), bytes);
  EXPECT_EQ(restart().previous_end, PreviousEnd::killed);
  EXPECT_EQ(restart().previous_end, PreviousEnd::stopped);
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
}

TEST_F(RecoveryTest, AnyFileCutAnywhereIsRecoveredFromAndNothingWholeIsLost) {
  auto trail = open(settings(), 1);
  write_keys(trail->writer(0), 10);
  trail->abandon();
  trail.reset();
  const std::string whole = read_file(segment(0, 1));
  const std::uint64_t end = find(1, 11).end_offset();
  for (std::uint64_t size = 0; size <= end + 8; size += 4) {
    for (const auto& entry : std::filesystem::directory_iterator(node_folder())) {
      std::filesystem::remove(entry.path());
    }
    write_file(segment(0, 1), std::string_view(whole).substr(0, size));
    std::size_t left = 0;
    for (std::uint64_t sequence = 2; sequence <= 11; ++sequence) {
      std::uint64_t record_end = segment_header_size;
      auto reader = SegmentReader::open(segment(0, 1));
      for (;;) {
        const auto record = reader->next();
        if (!record || !*record || (*record)->header.sequence > sequence) break;
        record_end = (*record)->end_offset();
        if ((*record)->header.sequence == sequence && record_end <= size) ++left;
      }
    }
    (void)restart();
    EXPECT_EQ(count(RecordKind::key_write), left) << size;
  }
}

}  // namespace
}  // namespace meridian::trail
